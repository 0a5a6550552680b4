"""Which events were already taken in: bounded in time and in number, and still known after a crash.

Ids are kept as 64-bit hashes in sorted arrays, 8 bytes each, in segments of time; what is older
than the window is dropped a segment at a time. Beside memory stands a folder: each segment is a
file of hashes that only grows, so that a worker that was killed, or another that takes over the
partition, knows what this one knew. The files are a cache: they are not synced, and one that cannot
be written is done without.

Two different ids share a hash with a probability of 5e-13 at ten million remembered (then an event
is dropped as a duplicate). What falls out of the window, or is lost with a file, comes to the store
a second time, where the views drop it by the full (source, id).
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from streams.kafka.progress import Partition

logger = logging.getLogger(__name__)

Hashes: TypeAlias = NDArray[np.uint64]

SEGMENTS = 8
"""Segments of a window: between one window and one eighth more is remembered."""
HASH_BYTES = 8
SUFFIX = ".ids"
MERGE_FACTOR = 2
"""A run is merged with the one before it unless that is more than this many times as long."""


def hash_id(source: str, id: str) -> int:
    """A 64-bit hash of (source, id), the same in every process; different pairs hash different
    texts."""
    return xxhash.xxh3_64_intdigest(f"{len(source)} {source}{id}".encode())


@dataclass(slots=True)
class _Segment:
    """What was remembered in one stretch of time, as sorted runs of falling length."""

    start_s: int
    runs: list[Hashes] = field(default_factory=list)
    """None of them empty."""
    path: Path | None = None
    """Its file; None where there is none, or none any more."""

    def __len__(self) -> int:
        return sum(run.size for run in self.runs)

    def add(self, hashes: Hashes) -> None:
        """Take in sorted hashes; merging like lengths costs each a handful of copies in all."""
        if not hashes.size:  # So it is with the file of an owner killed before its first write.
            return
        self.runs.append(hashes)
        while len(self.runs) > 1 and self.runs[-2].size <= MERGE_FACTOR * self.runs[-1].size:
            self._merge(2)

    def close(self) -> None:
        """Make one run of all: nothing will be added."""
        if len(self.runs) > 1:
            self._merge(len(self.runs))

    def _merge(self, count: int) -> None:
        merged = np.concatenate(self.runs[-count:])
        merged.sort(kind="stable")
        self.runs[-count:] = [merged]


class SeenIds:
    """The ids of the latest window, by partition."""

    def __init__(
        self,
        *,
        num_max: int,
        window_s: float,
        folder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Remember at most `num_max` ids for `window_s`; `folder` outlives this process.

        `clock` gives seconds since 1970; tests set it.
        """
        self._num_max = num_max
        self._window_s = window_s
        self._folder = folder
        self._clock = clock
        self._segments: dict[Partition, list[_Segment]] = {}

    def __len__(self) -> int:
        return sum(len(segment) for _place, segment in self._all())

    @property
    def num_bytes(self) -> int:
        """Memory that the hashes take."""
        return HASH_BYTES * len(self)

    def known(self, place: Partition, hashes: Hashes) -> NDArray[np.bool_]:
        """Which of these hashes are remembered of one partition, in their order."""
        found = np.zeros(hashes.size, dtype=np.bool_)
        runs = [run for segment in self._of(place) for run in segment.runs]
        if not runs or not hashes.size:
            return found
        order = np.argsort(hashes)  # Neighbours in order share what the cache has of a run.
        asked = hashes[order]
        for run in runs:
            at = np.searchsorted(run, asked)
            at[at == run.size] = 0
            found |= run[at] == asked
        answer = np.empty_like(found)
        answer[order] = found
        return answer

    def add(self, place: Partition, hashes: Collection[int]) -> None:
        """Remember these ids of one partition, in memory and in its file."""
        if not hashes or not self._num_max:
            return
        segments = self._of(place)
        now_s = self._clock()
        self._drop_old(segments, now_s)
        segment = self._current(place, segments, now_s)
        fresh = np.fromiter(hashes, dtype=np.uint64, count=len(hashes))
        fresh.sort()
        segment.add(fresh)
        _append(segment, fresh)
        while len(self) > self._num_max and self._drop_oldest():
            pass

    def forget(self, place: Partition) -> None:
        """Drop one partition from memory; its files stay for whoever takes it over."""
        self._segments.pop(place, None)

    def _all(self) -> Iterator[tuple[Partition, _Segment]]:
        for place, segments in list(self._segments.items()):
            for segment in list(segments):
                yield place, segment

    def _of(self, place: Partition) -> list[_Segment]:
        """The segments of a partition, oldest first; read from its files when first asked for."""
        segments = self._segments.get(place)
        if segments is None:
            segments = self._segments[place] = self._read(place)
            self._drop_old(segments, self._clock())
        return segments

    def _current(self, place: Partition, segments: list[_Segment], now_s: float) -> _Segment:
        """The segment to add to: a new one where the last is full or its time is over."""
        span_s = self._window_s / SEGMENTS
        num_max = self._num_max / (SEGMENTS * len(self._segments))
        if segments:
            last = segments[-1]
            if now_s < last.start_s + span_s and len(last) < num_max:
                return last
            last.close()
        start_s = max(int(now_s), segments[-1].start_s + 1) if segments else int(now_s)
        path = None if self._folder is None else self._place(place) / f"{start_s}{SUFFIX}"
        segments.append(_Segment(start_s, path=path))
        return segments[-1]

    def _drop_old(self, segments: list[_Segment], now_s: float) -> None:
        """Drop what lies outside of the window: segments that ended before it."""
        until_s = now_s - self._window_s * (1 + 1 / SEGMENTS)
        while segments and segments[0].start_s < until_s:
            _delete(segments.pop(0))

    def _drop_oldest(self) -> bool:
        """Make room: drop the oldest segment of all; False where only one is left."""
        everything = list(self._all())
        if len(everything) < 2:
            return False
        place, oldest = min(everything, key=lambda item: item[1].start_s)
        self._segments[place].remove(oldest)
        _delete(oldest)
        return True

    def _place(self, place: Partition) -> Path:
        assert self._folder is not None
        return self._folder / place[0] / str(place[1])

    def _read(self, place: Partition) -> list[_Segment]:
        """What an earlier owner of the partition left; nothing where that cannot be read."""
        if self._folder is None:
            return []
        segments = []
        try:
            for path in self._place(place).glob(f"*{SUFFIX}"):
                if path.stem.isdecimal():
                    segment = _Segment(int(path.stem), path=path)
                    segment.add(_load(path))
                    segments.append(segment)
        except OSError as fault:
            logger.warning("ids not read, duplicates cost space", extra={"cause": fault.strerror})
        return sorted(segments, key=lambda segment: segment.start_s)


def _load(path: Path) -> Hashes:
    """The hashes of a file, sorted; what a crash half wrote at its end is cut off."""
    num_bytes = path.stat().st_size
    if num_bytes % HASH_BYTES:
        with path.open("r+b") as file:
            file.truncate(num_bytes - num_bytes % HASH_BYTES)
    hashes = np.fromfile(path, dtype="<u8").astype(np.uint64, copy=False)
    hashes.sort()
    return hashes


def _append(segment: _Segment, hashes: Hashes) -> None:
    """Write hashes to the segment's file; where that fails, go on without it."""
    if segment.path is None:
        return
    try:
        segment.path.parent.mkdir(parents=True, exist_ok=True)
        with segment.path.open("ab") as file:  # Buffered: writes all of it or raises.
            file.write(hashes.astype("<u8", copy=False).tobytes())
    except OSError as fault:
        logger.warning("ids not kept, duplicates cost space", extra={"cause": fault.strerror})
        _delete(segment)  # Half a hash in it would spoil all that follow.
        segment.path = None


def _delete(segment: _Segment) -> None:
    if segment.path is not None:
        try:
            segment.path.unlink(missing_ok=True)
        except OSError as fault:
            logger.warning("old ids not deleted", extra={"cause": fault.strerror})
