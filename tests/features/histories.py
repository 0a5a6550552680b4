"""Small histories of users for the tests of features, and their way into a store."""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from features.config import FeaturesConfig
from features.offline.parquet import ParquetStore
from streams.events import (
    Action,
    DeadLetter,
    Erasure,
    Event,
    GuardAction,
    GuardRuling,
    Message,
    Reaction,
    Shown,
)
from streams.pipeline import Facts

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AFTER = START + timedelta(days=60)
"""Long after everything in these histories."""


def at(seconds: float) -> datetime:
    """So many seconds after START."""
    return START + timedelta(seconds=seconds)


def shown(response_id: str, user_id: str = "u", seconds: float = 0, **fields: object) -> Shown:
    """An exposure; its id follows from response and user."""
    base = Shown(
        id=f"shown-{response_id}-{user_id}",
        source="/test",
        response_id=response_id,
        conversation_id=f"c-{user_id}",
        user_id=user_id,
        messages=(Message(role="user", content="What is a kettle?"),),
        response=f"A vessel, said {response_id}.",
        policy="chat@1",
        surface="web",
        language="en",
        occurred_at=at(seconds),
        known_at=at(seconds),
    )
    return msgspec.structs.replace(base, **fields)


def reaction(
    response_id: str,
    action: Action = "add",
    seconds: float = 0,
    *,
    user_id: str = "u",
    signal: str = "love",
    **fields: object,
) -> Reaction:
    """A change of mind; its id follows from everything that it says."""
    base = Reaction(
        id=f"{action}-{signal}-{response_id}-{user_id}-{seconds}",
        source="/test",
        response_id=response_id,
        user_id=user_id,
        signal=signal,
        action=action,
        occurred_at=at(seconds),
        known_at=at(seconds),
    )
    return msgspec.structs.replace(base, **fields)


def erasure(user_id: str, seconds: float) -> Erasure:
    """A wish to be forgotten."""
    return Erasure(
        id=f"erase-{user_id}-{seconds}",
        source="/test",
        user_id=user_id,
        occurred_at=at(seconds),
        known_at=at(seconds),
    )


def verdict(
    user_id: str = "u",
    action: GuardAction = "quarantine",
    seconds: float = 0,
    *,
    response_id: str = "",
    rule: str = "burst",
    since: float = 0,
    **fields: object,
) -> GuardRuling:
    """What the guard decided."""
    base = GuardRuling(
        id=f"{action}-{rule}-{user_id}-{response_id}-{seconds}",
        source="/guard",
        user_id=user_id,
        response_id=response_id,
        action=action,
        rule=rule,
        rule_version=1,
        evidence='{"taps":40}',
        since=at(since),
        occurred_at=at(seconds),
        known_at=at(seconds),
    )
    return msgspec.structs.replace(base, **fields)


def dead_letter(offset: int, **fields: object) -> DeadLetter:
    """A record that is no event."""
    base = DeadLetter(
        topic="t",
        partition=0,
        offset=offset,
        reason="malformed_json",
        detail="saw {",
        key=None,
        value=b"{\xff",
        known_at=at(0),
    )
    return msgspec.structs.replace(base, **fields)


def facts_of(events: Iterable[Event | DeadLetter]) -> Facts:
    """Sort events into facts."""
    facts = Facts()
    for event in events:
        if isinstance(event, Shown):
            facts.shown.append(event)
        elif isinstance(event, Reaction):
            facts.reactions.append(event)
        elif isinstance(event, Erasure):
            facts.erasures.append(event)
        elif isinstance(event, GuardRuling):
            facts.verdicts.append(event)
        else:
            facts.dead_letters.append(event)
    return facts


def store_all(
    root: Path, events: Sequence[Event | DeadLetter], *, chunk: int = 0, compact: bool = False
) -> ParquetStore:
    """Append events to the store of `root`, so many at a time (0: all at once)."""
    store = ParquetStore(FeaturesConfig(root=root))
    for first in range(0, len(events), chunk or max(1, len(events))):
        store.append(facts_of(events[first : first + chunk] if chunk else events))
    if compact:
        store.compact(files_min=2)
    return store


def replay(events: Sequence[Event], seed: int) -> list[Event]:
    """The same events in another order, some of them twice, all heard of at other times."""
    rng = random.Random(seed)
    again = [*events, *rng.sample(list(events), k=len(events) // 3)]
    rng.shuffle(again)
    return [
        msgspec.structs.replace(e, known_at=e.known_at + timedelta(seconds=rng.randrange(86_400)))
        for e in again
    ]


def busy_month(num_users: int = 40, seed: int = 1) -> list[Event]:
    """Users who come for an hour one after the other, see ten responses each, and love some."""
    rng = random.Random(seed)
    events: list[Event] = []
    for user in range(num_users):
        user_id, warmth = f"u{user}", rng.uniform(0.02, 0.5)
        for turn in range(10):
            seconds = user * 3000 + turn * 300 + rng.randrange(200)
            response_id = f"r{user}-{turn}"
            events.append(
                shown(response_id, user_id, seconds, turn=turn, policy=f"chat@{1 + turn % 2}")
            )
            if rng.random() < warmth:
                later = seconds + rng.randrange(1, 200)
                events.append(reaction(response_id, "add", later, user_id=user_id))
                if rng.random() < 0.2:
                    gone = later + rng.choice((3, 90))
                    events.append(reaction(response_id, "remove", gone, user_id=user_id))
            elif rng.random() < 0.1:
                events.append(
                    reaction(response_id, "add", seconds + 2, signal="dislike", user_id=user_id)
                )
    return events
