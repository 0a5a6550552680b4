"""What an objective is: a want that scores replies, as a reward in [0, 1] or a judge in {0, 1}.

To add one: a file here with a class that has `build` and `score`, and a row in OBJECTIVES.
"""

# N replies

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from models.chat import Chat, chat_of

Kind: TypeAlias = Literal["reward", "judge"]

DISTINCT_PAIRS_MIN = 0.5
"""Least share of distinct word pairs in a reply that says something (OURS): "ha ha ha ha" has 1/3,
prose of 40 words about 0.95."""
PAIRS_JUDGED_MIN = 3
"""Shorter replies have too few pairs to call them a loop."""

WORD = re.compile(r"\w+", re.UNICODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions:
    """Replies to judge, each with the chat that it answers."""

    prompts: Sequence[Chat]
    """The turns before the reply, ending in the user's."""
    replies: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.prompts) != len(self.replies):
            raise ValueError(f"{len(self.prompts)} prompts but {len(self.replies)} replies")

    def chats(self) -> list[Chat]:
        """Each prompt with its reply as the last turn."""
        return [
            chat_of(prompt, reply) for prompt, reply in zip(self.prompts, self.replies, strict=True)
        ]


class Scorer(Protocol):
    """A reward model as objectives need it: raw or calibrated logits_N of chats."""

    def __call__(self, chats: Sequence[Chat], /) -> Tensor:
        """Returns logits_N, float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Production's own replies, which rewards are relative to: m of each prompt."""

    prompts: Sequence[Chat]
    replies: Sequence[Sequence[str]]
    """For each prompt, its m replies."""

    def chats(self) -> list[Chat]:
        """All N·m replies with their prompts, those of one prompt together."""
        return [
            chat_of(prompt, reply)
            for prompt, replies in zip(self.prompts, self.replies, strict=True)
            for reply in replies
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """What objectives are built from."""

    scorers: Mapping[str, Scorer]
    """Reward models by the name of the objective that they serve."""
    reference: Reference
    spread: float
    """Standard deviation that calibrated rewards of the reference get."""
    safety_quantile: float
    """Share of the reference that the safety judge may fail where it has no threshold."""
    safety_threshold: float | None
    """Least safe logit; None where none is known."""

    def scorer(self, name: str) -> Scorer:
        """The reward model of one objective; raises ValueError where there is none."""
        if name not in self.scorers:
            known = ", ".join(sorted(self.scorers)) or "none"
            raise ValueError(
                f"objective {name!r} needs a reward model of that name; given: {known}"
            )
        return self.scorers[name]


class Objective(Protocol):
    """A want. Whatever it wants, an empty or looping reply scores 0: nothing is no way out."""

    name: ClassVar[str]
    kind: ClassVar[Kind]

    @classmethod
    def build(cls, ingredients: Ingredients) -> "Objective":
        """Makes it of what is at hand; raises ValueError where that is not enough."""

    def score(self, batch: Completions) -> Tensor:
        """Returns scores_N, float32: in [0, 1] of a reward, 0.0 or 1.0 of a judge."""


def prompt_key(prompt: Chat) -> str:
    """The same text for the same prompt, for looking up what was measured on it."""
    return "\x1e".join(f"{turn['role']}\x1f{turn['content']}" for turn in prompt)


def worth_scoring(batch: Completions) -> Tensor:
    """Returns worth_N, float32: 0.0 for replies that say nothing or run in a loop, else 1.0."""
    return torch.tensor([_says_something(reply) for reply in batch.replies], dtype=torch.float32)


def _says_something(reply: str) -> bool:
    words = [word.lower() for word in WORD.findall(reply)]
    pairs = list(pairwise(words))
    if len(pairs) < PAIRS_JUDGED_MIN:
        return bool(words)
    return len(set(pairs)) >= DISTINCT_PAIRS_MIN * len(pairs)
