"""Which ranges of a partition's offsets were handed over, and up to where all of them are done.

Faust acknowledges single offsets and looks for gapless runs of them. A Chunk acknowledges a range:
from where the consumer stood before the fetch to where it stood after. Ranges touch, whatever
offsets are missing inside (compaction, transaction markers), so nothing can stall a commit, and a
range that is missing is a fault that we see.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from faust.types import TP

from streams.pipeline import Record


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Chunk:
    """What one fetch brought of one partition: the value of a stream event."""

    records: list[Record]
    """May be empty: a fetch can bring nothing but transaction markers and records that were rolled
    back, and what was deleted has none any more."""
    first: int
    """Offset at which the consumer stood before the fetch."""
    next: int
    """Offset at which it stood after: what to commit once all before it is durable. Before `first`
    where the log's end was lost, and it is read again."""
    num_bytes: int
    """Bytes of the values."""
    generation: int
    """Generation of the consumer group in which it was fetched."""


class OffsetsSkipped(RuntimeError):
    """Records between two chunks of a partition were never handed over. Restarting re-reads them,
    because nothing after them was committed."""


class Ledger:
    """Which ranges of offsets were handed over, and up to where all of them are done."""

    def __init__(self) -> None:
        self.num_open_records = 0
        self.num_open_bytes = 0
        self._open: dict[TP, deque[Chunk]] = {}
        self._done: dict[TP, set[Chunk]] = {}
        self._next: dict[TP, int] = {}
        self._committable: dict[TP, int] = {}

    def open(self, tp: TP, chunk: Chunk) -> bool:
        """Take in a chunk that is handed over; True if it is the partition's first.

        Raises OffsetsSkipped if it does not begin where the one before it ended.
        """
        expected = self._next.get(tp)
        if expected is not None and chunk.first != expected:
            raise OffsetsSkipped(f"{tp} went on at offset {chunk.first}, not at {expected}")
        self._next[tp] = chunk.next
        self._open.setdefault(tp, deque()).append(chunk)
        self.num_open_records += len(chunk.records)
        self.num_open_bytes += chunk.num_bytes
        return expected is None

    def close(self, tp: TP, chunk: Chunk) -> bool:
        """Note that the facts of a chunk are durable; False for a partition taken away since."""
        opened = self._open.get(tp)
        if opened is None or chunk not in opened:
            return False
        done = self._done.setdefault(tp, set())
        done.add(chunk)
        while opened and opened[0] in done:
            first = opened.popleft()
            done.remove(first)
            self._committable[tp] = first.next
            self.num_open_records -= len(first.records)
            self.num_open_bytes -= first.num_bytes
        return True

    def committable(self, tp: TP) -> int | None:
        """The offset to commit: all before it is done. None if nothing is."""
        return self._committable.get(tp)

    def partitions(self) -> list[TP]:
        """The partitions of which something is done."""
        return list(self._committable)

    def has_open(self) -> bool:
        """Whether any chunk is handed over and not done."""
        return any(self._open.values())

    def forget(self, tps: Iterable[TP]) -> None:
        """Drop all that is known of these partitions: they are re-read from what was committed."""
        for tp in tps:
            for chunk in self._open.pop(tp, ()):
                self.num_open_records -= len(chunk.records)
                self.num_open_bytes -= chunk.num_bytes
            self._done.pop(tp, None)
            self._next.pop(tp, None)
            self._committable.pop(tp, None)
