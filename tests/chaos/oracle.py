"""What a run must end in, computed from its input file in plain Python.

It shares no line with the house: neither its codec, nor its fold, nor its table of signals. What it
knows it has from docs/events.md.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from tests.chaos.lines import Line

SPELLINGS = {
    "love": "love",
    "❤️": "love",
    "🥰": "love",
    "<3": "love",
    " LOVE ": "love",
    "like": "like",
    "👍": "like",
    "👍🏽": "like",
    "+1": "like",
    "dislike": "dislike",
    "👎": "dislike",
    "-1": "dislike",
    "continue": "continue",
    "regenerate": "regenerate",
}
"""Every spelling that a story uses, and the signal that docs/events.md says it is."""
MISTAP = {name: timedelta(seconds=10) for name in ("love", "like", "dislike")}
"""Taken back sooner than this it was a mis-tap; other signals know none."""

LabelKey = tuple[str, str, str]
"""(response, user, signal)."""


class Label(NamedTuple):
    """What must hold of one (response, user, signal)."""

    value: bool
    added_at: datetime | None
    removed_at: datetime | None
    mistap: bool
    dangling: bool


@dataclass(slots=True, kw_only=True)
class Expected:
    """What must be in the store at the end."""

    shown: dict[tuple[str, str], int] = field(default_factory=dict)
    """(source, id) of each exposure to a hash of what it says."""
    reactions: dict[tuple[str, str], int] = field(default_factory=dict)
    """The same of each reaction."""
    labels: dict[LabelKey, Label] = field(default_factory=dict)
    dead_letters: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """Key of each malformed record to the reason and the bytes."""


def expect(lines: Iterable[Line]) -> Expected:
    """What the acknowledged lines of an input file must end in."""
    expected = Expected()
    latest: dict[LabelKey, dict[str, datetime]] = {}
    responses: set[str] = set()
    for line in lines:
        if line.what == "malformed":
            expected.dead_letters[line.key] = (line.reason, line.value)
            continue
        event = json.loads(line.value)
        data = event["data"]
        at = datetime.fromisoformat(event["time"])
        name = (event["source"], event["id"])
        if event["type"] == "rluf.response.shown.v1":
            responses.add(data["response_id"])
            says = (data["response"], data["policy"], data["learnable"])
            expected.shown[name] = content(data["response_id"], data["user_id"], *says, at)
            continue
        signal, action = SPELLINGS[data["signal"]], data["action"]
        expected.reactions[name] = content(data["response_id"], data["user_id"], signal, action, at)
        times = latest.setdefault((data["response_id"], data["user_id"], signal), {})
        if action not in times or times[action] < at:
            times[action] = at
    for key, times in latest.items():
        expected.labels[key] = label(key, times, is_dangling=key[0] not in responses)
    return expected


def content(*fields: object) -> int:
    """A hash of what an event says, the same within one process."""
    return hash(fields)


def label(key: LabelKey, times: dict[str, datetime], *, is_dangling: bool) -> Label:
    """The outcome of the latest add and the latest removal; on a tie the removal wins."""
    added_at, removed_at = times.get("add"), times.get("remove")
    stands = added_at is not None and (removed_at is None or added_at > removed_at)
    was_mistap = False
    if added_at is not None and removed_at is not None and not stands:
        was_mistap = removed_at - added_at < MISTAP.get(key[2], timedelta(0))
    return Label(stands, added_at, removed_at, was_mistap, is_dangling)
