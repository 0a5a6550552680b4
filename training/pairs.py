"""Preference pairs from annotators' files, in the forms that TRL takes.

A line holds `prompt`, `chosen` and `rejected`: each a text, or turns. Without a prompt, or where
both replies are whole conversations, what they have in common at the start is the prompt. A text
under `system` is the system prompt of a row whose prompt has none. Turns are read as in events.
Source: TRL, "Dataset formats and types": preference, standard and conversational, explicit and
implicit prompt.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from files.lines import read_rows
from models.chat import Chat, chat_of
from streams.codec import message_of
from streams.wire import MessageWire

NEEDED = ("chosen", "rejected")


class Unusable(ValueError):
    """A line teaches nothing, for the reason that it carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two replies to one prompt; the first was preferred."""

    prompt: Chat
    chosen: str
    rejected: str
    half: str = field(default="a", compare=False)
    """"a" or "b", by the hash of the prompt: all pairs of a prompt lie in one half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """What a file holds."""

    pairs: tuple[Pair, ...]
    left_out: Mapping[str, int]
    """Lines that teach nothing, by reason."""
    examples: Mapping[str, int]
    """The first line of each reason."""

    def summary(self) -> str:
        """Give the line a person reads."""
        reasons = (f"{n:,} {why} (line {self.examples[why]})" for why, n in self.left_out.items())
        told = "; left out: " + ", ".join(reasons) if self.left_out else ""
        return f"{len(self.pairs):,} pairs{told}"


def read_pairs(path: Path) -> Pairs:
    """The pairs of a file of JSON lines; those that teach nothing are counted by reason.

    Raises ValueError where no pair is left, and for a line that is no JSON object.
    """
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    examples: dict[str, int] = {}
    for number, row in read_rows(path):
        try:
            pairs.append(_pair_of(row))
        except Unusable as reason:
            left_out[str(reason)] += 1
            examples.setdefault(str(reason), number)
    found = Pairs(pairs=tuple(pairs), left_out=left_out, examples=examples)
    if not pairs:
        raise ValueError(f"{path} holds no pair to learn from: {found.summary()}")
    return found


def _pair_of(row: Mapping[str, Any]) -> Pair:
    for name in NEEDED:
        if row.get(name) is None:
            raise Unusable(f"lack {name}")
    raw = row.get("prompt")
    chosen, rejected = (_turns(row[name], name) for name in NEEDED)
    common = _common(chosen, rejected)
    if chosen == rejected:
        raise Unusable("have equal replies")
    stated = [] if raw is None else _prompt(raw)
    is_whole = bool(common) and common[0]["role"] != "assistant"
    prompt = common if is_whole else [*stated, *common]
    if not prompt:
        raise Unusable("lack prompt")
    system = row.get("system")
    if isinstance(system, str) and system.strip() and prompt[0]["role"] != "system":
        prompt = [{"role": "system", "content": system}, *prompt]
    if not any(turn["content"].strip() for turn in prompt):
        raise Unusable("have an empty prompt")
    replies = [_reply(turns[len(common) :]) for turns in (chosen, rejected)]
    if replies[0].strip() == replies[1].strip():
        raise Unusable("have equal replies")
    key = json.dumps(prompt if raw is None else raw, sort_keys=True)
    half = "ab"[hashlib.sha256(key.encode()).digest()[0] % 2]
    return Pair(prompt=prompt, chosen=replies[0], rejected=replies[1], half=half)


def _prompt(raw: object) -> Chat:
    return chat_of(raw) if isinstance(raw, str) else _turns(raw, "prompt")


def _turns(value: object, name: str) -> Chat:
    """A text as the assistant's turn, or turns as they are."""
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    if not isinstance(value, list):
        raise Unusable(f"have a {name} that is neither text nor turns")
    return [_turn(turn, name) for turn in value]


def _turn(turn: object, name: str) -> dict[str, str]:
    try:
        told = msgspec.convert(turn, MessageWire)
    except msgspec.ValidationError:
        raise Unusable(f"have a turn in {name} that is no message") from None
    message = message_of(told)
    return {"role": message.role, "content": message.content}


def _common(one: Sequence[dict[str, str]], other: Sequence[dict[str, str]]) -> Chat:
    num = 0
    while num < min(len(one), len(other)) and one[num] == other[num]:
        num += 1
    return list(one[:num])


def _reply(turns: Chat) -> str:
    if len(turns) != 1 or turns[0]["role"] != "assistant":
        raise Unusable("have no single reply of the assistant")
    if not turns[0]["content"].strip():
        raise Unusable("have an empty reply")
    return turns[0]["content"]
