"""The input file of a run: one line for each record that the sender sends, in its order.

Bytes stand in it as text (UTF-8, other bytes as lone surrogates), so that a line can be read.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

Headers: TypeAlias = tuple[tuple[str, str], ...]
What: TypeAlias = Literal["event", "duplicate", "malformed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One record to send."""

    topic: Literal["shown", "reactions"]
    key: str
    value: bytes
    at_ms: int
    """The record's timestamp: when the producer's clock says that it was sent."""
    what: What
    reason: str = ""
    """Of a malformed one: why it must be refused."""
    headers: Headers = ()
    """Empty: those of structured CloudEvents."""


def write_lines(path: Path, lines: Iterable[Line]) -> int:
    """Write the input file; gives the number of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    num_lines = 0
    with path.open("w", encoding="ascii") as out:
        for line in lines:
            fields = [line.topic, line.key, as_text(line.value), line.at_ms, line.what]
            out.write(json.dumps([*fields, line.reason, line.headers]) + "\n")
            num_lines += 1
    return num_lines


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of an input file, in order."""
    with path.open(encoding="ascii") as file:
        for text in file:
            topic, key, value, at_ms, what, reason, headers = json.loads(text)
            yield Line(
                topic=topic,
                key=key,
                value=value.encode("utf-8", "surrogateescape"),
                at_ms=at_ms,
                what=what,
                reason=reason,
                headers=tuple((name, each) for name, each in headers),
            )


def as_text(value: bytes) -> str:
    """Bytes as text that can be turned back."""
    return value.decode("utf-8", "surrogateescape")


def iso(at: datetime) -> str:
    """An aware time as it stands in an event, to the microsecond."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
