"""Sends a file of events into the log, as if they came in now."""

import gzip
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, cast

import msgspec

from streams.config import StreamsConfig
from streams.errors import BadEvent
from streams.producer import RecordPlace
from streams.wire import ERASURE_TYPE, REACTION_TYPE, SHOWN_TYPE, VERDICT_TYPE

PENDING_MAX = 5_000
"""Records sent ahead of their acknowledgement; beyond it replay waits for the oldest."""
PENDING_BYTES_MAX = 16 * 2**20
"""The same in bytes; below StreamsConfig.pending_bytes_max, so that nothing is refused."""
PROGRESS_EVERY = 500
"""Lines between two reports of progress."""
UNREADABLE = "unreadable"
"""Counted for a line that does not name a type."""


class RawProducer(Protocol):
    """What we need of streams.producer.Producer."""

    def send_raw(self, topic: str, key: bytes | None, value: bytes) -> Future[RecordPlace]:
        """Send bytes as they are, stamped with the present."""


@dataclass(slots=True, kw_only=True)
class ReplayReport:
    """What was sent and acknowledged."""

    sent: int = 0
    refused: int = 0
    """Lines larger than Kafka takes: the only ones that are not in the log now."""
    by_type: dict[str, int] = field(default_factory=dict)
    """Number of lines by CloudEvents type; those that name none count as UNREADABLE."""


class _Address(msgspec.Struct, gc=False):
    """As much of an event as its routing needs."""

    type: str = UNREADABLE
    subject: str | None = None
    partitionkey: str | None = None


def read_events(path: Path) -> Iterator[bytes]:
    """The lines of a .jsonl or .jsonl.gz file as they are, without line ends; blank ones not.

    Raises ValueError for another suffix, and for a gzip file that is damaged or cut short.
    """
    with _opened(path) as lines:
        try:
            for line in lines:
                stripped = line.strip()
                if stripped:
                    yield stripped
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error


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
    pending: deque[tuple[Future[RecordPlace], int]] = deque()
    pending_bytes = 0

    def settle_oldest() -> int:
        future, size = pending.popleft()
        try:
            future.result()
            report.sent += 1
        except BadEvent:
            report.refused += 1
        if report.sent % PROGRESS_EVERY == 0:
            on_progress(report.sent, num_lines)
        return size

    on_progress(0, num_lines)
    for line in read_events(path):
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
            report.refused += 1
            continue
        pending.append((future, len(line)))
        pending_bytes += len(line)
    while pending:
        settle_oldest()
    on_progress(report.sent + report.refused, num_lines)
    return report


def _opened(path: Path) -> IO[bytes]:
    if path.name.endswith(".jsonl.gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.name.endswith(".jsonl"):
        return path.open("rb")
    raise ValueError(f"{path.name} is neither .jsonl nor .jsonl.gz")


def _address_of(line: bytes) -> _Address:
    try:
        return _ADDRESS.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Address()


_ADDRESS = msgspec.json.Decoder(_Address)
