"""Which prompts a turn uses for what: to practise, to know when to stop, to judge, to ask for harm.

No user is on two sides of it: those whom evidence is taken from are practised on nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from features.prompts import newest_prompts
from features.sampling import hash_share
from features.snapshot import Snapshot
from models.chat import Chat
from rluf.settings import Settings
from training.evidence.harmful import Harmful
from training.pairs import read_pairs

Prompts = Sequence[Chat]
HARMFUL_PROMPTS = Path(__file__).resolve().parents[2] / "recipes" / "harmful-prompts.jsonl"
"""Asks of our own writing, for those who name no file of theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Prompts and who asked each."""

    chats: Prompts
    users: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """What a policy practises on, and where it is asked how often it wins; no user is in both."""

    prompts: Prompts
    held_back: Prompts


def practice_prompts(settings: Settings, snapshot: Snapshot, as_of: datetime) -> Practice:
    """Give the newest prompts, as often as they come, of users whom no evidence is taken from."""
    refresh = settings.refresh
    newest = newest_prompts(
        settings.features,
        as_of=as_of,
        limit=refresh.train_prompts_max,
        without=set(snapshot.examples("eval").column("user_id").to_pylist()),
        guard=settings.guard,
    )
    is_held_back = hash_share("held back", refresh.seed, [each.user_id for each in newest])
    sides: tuple[list[Chat], list[Chat]] = ([], [])
    for prompt, chance in zip(newest, is_held_back, strict=True):
        sides[int(chance < refresh.held_back_share)].append(json.loads(prompt.messages))
    return Practice(prompts=sides[0], held_back=sides[1])


def evidence_prompts(snapshot: Snapshot, limit: int) -> Asked:
    """Give the latest different prompts of the users held out for evidence, oldest first."""
    rows = snapshot.examples("eval").sort_by(
        [("shown_at", "descending"), ("response_id", "ascending")]
    )
    different: dict[str, str] = {}
    for text, user in zip(
        rows.column("messages").to_pylist(), rows.column("user_id").to_pylist(), strict=True
    ):
        if text != "[]":
            different.setdefault(text, user)
    latest = list(different.items())[:limit][::-1]
    return Asked(
        chats=[json.loads(text) for text, _ in latest], users=tuple(user for _, user in latest)
    )


def harmful_prompts(file: str) -> Harmful:
    """Read the prompts that should be declined, with an answer to each that complies.

    Raises ValueError where the file holds none.
    """
    pairs = read_pairs(Path(file) if file else HARMFUL_PROMPTS).pairs
    return Harmful(
        prompts=[pair.prompt for pair in pairs], unsafe=[pair.rejected for pair in pairs]
    )
