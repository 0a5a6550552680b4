"""Events that tests start from: valid, small, and easy to change in one place."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from streams.events import Erasure, GuardRuling, Message, Reaction, Shown
from streams.pipeline import Record

KNOWN_AT = datetime(2025, 11, 24, 12, 0, tzinfo=UTC)
KNOWN_AT_MS = int(KNOWN_AT.timestamp() * 1000)
OCCURRED_AT = KNOWN_AT - timedelta(seconds=2)


def shown(**changes: Any) -> Shown:
    """An exposure."""
    fields: dict[str, Any] = {
        "id": "s-1",
        "source": "/serving",
        "response_id": "chatcmpl-1",
        "conversation_id": "c-7",
        "user_id": "u-9",
        "turn": 2,
        "messages": (Message(role="user", content="How do I descale a kettle?"),),
        "response": "Fill it with water and vinegar.",
        "policy": "chat@12",
        "experiment": "weights-2026-11",
        "arm": "challenger",
        "propensity": 0.05,
        "surface": "web",
        "language": "en",
        "logprob": -12.5,
        "occurred_at": OCCURRED_AT,
        "known_at": KNOWN_AT,
    }
    return Shown(**(fields | changes))


def reaction(**changes: Any) -> Reaction:
    """A love that was added."""
    fields: dict[str, Any] = {
        "id": "r-1",
        "source": "/serving",
        "response_id": "chatcmpl-1",
        "user_id": "u-9",
        "signal": "love",
        "action": "add",
        "occurred_at": OCCURRED_AT,
        "known_at": KNOWN_AT,
    }
    return Reaction(**(fields | changes))


def erasure(**changes: Any) -> Erasure:
    """A wish to be forgotten."""
    fields: dict[str, Any] = {
        "id": "e-1",
        "source": "/admin",
        "user_id": "u-9",
        "occurred_at": OCCURRED_AT,
        "known_at": KNOWN_AT,
    }
    return Erasure(**(fields | changes))


def verdict(**changes: Any) -> GuardRuling:
    """A person's ruling on one reaction."""
    fields: dict[str, Any] = {
        "id": "v-1",
        "source": "/operator",
        "user_id": "u-9",
        "response_id": "chatcmpl-1",
        "action": "quarantine",
        "rule": "person",
        "rule_version": 1,
        "evidence": '{"who":"ada"}',
        "since": OCCURRED_AT,
        "occurred_at": OCCURRED_AT,
        "known_at": KNOWN_AT,
    }
    return GuardRuling(**(fields | changes))


def envelope(**changes: Any) -> dict[str, Any]:
    """A reaction as a CloudEvent, decoded; `data__x` changes the field x of its data."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": "r-1",
        "source": "/serving",
        "type": "rluf.reaction.v1",
        "time": "2025-11-24T11:59:58Z",
        "subject": "chatcmpl-1",
        "partitionkey": "chatcmpl-1",
        "datacontenttype": "application/json",
        "data": {"response_id": "chatcmpl-1", "user_id": "u-9", "signal": "love", "action": "add"},
    }
    data = {name[6:]: value for name, value in changes.items() if name.startswith("data__")}
    outer = {name: value for name, value in changes.items() if not name.startswith("data__")}
    return event | {"data": event["data"] | data} | outer


def envelope_bytes(**changes: Any) -> bytes:
    """The same, encoded."""
    return msgspec.json.encode(envelope(**changes))


def record(value: bytes | None, *, offset: int = 0, **changes: Any) -> Record:
    """A record of the reactions topic that holds `value`."""
    fields: dict[str, Any] = {
        "topic": "rluf.reactions.v1",
        "partition": 0,
        "offset": offset,
        "timestamp_ms": KNOWN_AT_MS,
        "key": b"chatcmpl-1",
        "value": value,
        "headers": (),
    }
    return Record(**(fields | changes))
