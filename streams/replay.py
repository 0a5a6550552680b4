"""Sends a file of events into the log, as if they came in now."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from files.lines import Line, read_lines
from streams.config import StreamsConfig
from streams.errors import BadEvent
from streams.kafka.producer import RecordPlace
from streams.wire import ERASURE_TYPE, REACTION_TYPE, SHOWN_TYPE, VERDICT_TYPE

PENDING_MAX = 5_000
"""Records sent ahead of their acknowledgement; beyond it replay waits for the oldest."""
PENDING_BYTES_MAX = 16 * 2**20
"""The same in bytes; below StreamsConfig.pending_bytes_max, so that nothing is refused."""
PROGRESS_EVERY = 500
"""Lines between two reports of progress."""
ENDINGS = (".jsonl", ".ndjson", ".json")
UNREADABLE = "unreadable"
"""Counted for a line that does not name a type."""
EXAMPLES_MAX = 10
"""Line numbers told of one kind of fault."""


class RawProducer(Protocol):
    """What we need of streams.kafka.producer.Producer."""

    def send_raw(self, topic: str, key: bytes | None, value: bytes) -> Future[RecordPlace]:
        """Send bytes as they are, stamped with the present."""


@dataclass(slots=True)
class Places:
    """Offsets in one partition and the lines that went there: 16 bytes a line."""

    offsets: array[int] = field(default_factory=lambda: array("q"))
    lines: array[int] = field(default_factory=lambda: array("q"))

    def line_of(self) -> dict[int, int]:
        """Line by offset."""
        return dict(zip(self.offsets, self.lines, strict=True))


@dataclass(slots=True, kw_only=True)
class ReplayReport:
    """What was sent and acknowledged."""

    sent: int = 0
    refused: int = 0
    """Lines larger than Kafka takes: the only ones that are not in the log now."""
    refused_lines: list[int] = field(default_factory=list)
    """The first of their line numbers, at most EXAMPLES_MAX."""
    places: dict[tuple[str, int], Places] = field(default_factory=dict)
    """Where each line went, by topic and partition."""
    by_type: dict[str, int] = field(default_factory=dict)
    """Number of lines by CloudEvents type; those that name none count as UNREADABLE."""

    def refuse(self, number: int) -> None:
        """Count a line that Kafka does not take."""
        self.refused += 1
        if len(self.refused_lines) < EXAMPLES_MAX:
            self.refused_lines.append(number)


class _Address(msgspec.Struct, gc=False):
    """As much of an event as its routing needs."""

    type: str = UNREADABLE
    subject: str | None = None
    partitionkey: str | None = None


def read_events(path: Path) -> Iterator[Line]:
    """The lines of a file of events as they are. Raises ValueError for a name of another kind of
    file, and as files/lines.py says."""
    name = path.name.lower().removesuffix(".gz")
    if path.is_file() and not name.endswith(ENDINGS):
        allowed = ", ".join(f"*{ending}" for ending in ENDINGS)
        raise ValueError(f"{path.name} is none of {allowed}, plain or .gz: one event a line")
    return read_lines(path)


def replay_file(
    path: Path,
    producer: RawProducer,
    config: StreamsConfig,
    *,
    on_progress: Callable[[int, int], None],
) -> ReplayReport:
    """Send every line to the topic of its type and wait until all are acknowledged.

    What names no type of ours goes to the reactions topic, for the worker to dead-letter. Times in
    the events stay as they are; the log stamps them with the present. `on_progress` gets lines
    acknowledged and lines in all. Raises Unavailable when one is not acknowledged; what was sent
    before stays sent, and sending all of it again is harmless.
    """
    topics = {
        SHOWN_TYPE: config.shown_topic,
        REACTION_TYPE: config.reactions_topic,
        ERASURE_TYPE: config.erasures_topic,
        VERDICT_TYPE: config.verdicts_topic,
    }
    num_lines = sum(1 for _ in read_events(path))
    report = ReplayReport()
    pending: deque[tuple[Future[RecordPlace], int, int]] = deque()
    pending_bytes = 0

    def settle_oldest() -> int:
        future, size, number = pending.popleft()
        try:
            topic, partition, offset = future.result()
            report.sent += 1
            places = report.places.setdefault((topic, partition), Places())
            places.offsets.append(offset)
            places.lines.append(number)
        except BadEvent:
            report.refuse(number)
        if report.sent % PROGRESS_EVERY == 0:
            on_progress(report.sent, num_lines)
        return size

    on_progress(0, num_lines)
    for number, line in read_events(path):
        address = _address_of(line)
        report.by_type[address.type] = report.by_type.get(address.type, 0) + 1
        while pending and (
            len(pending) >= PENDING_MAX or pending_bytes + len(line) > PENDING_BYTES_MAX
        ):
            pending_bytes -= settle_oldest()
        key = address.partitionkey or address.subject
        topic = topics.get(address.type, config.reactions_topic)
        try:
            future = producer.send_raw(topic, key.encode() if key else None, line)
        except BadEvent:
            report.refuse(number)
            continue
        pending.append((future, len(line), number))
        pending_bytes += len(line)
    while pending:
        settle_oldest()
    on_progress(report.sent + report.refused, num_lines)
    return report


def _address_of(line: bytes) -> _Address:
    try:
        return _ADDRESS.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Address()


_ADDRESS = msgspec.json.Decoder(_Address)
