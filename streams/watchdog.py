"""Ends a worker that makes no progress although there is work: it never stops in silence.

What counts is offsets, not heartbeats: a worker can send heartbeats for hours while its agents do
nothing (faust-streaming issues 523 and 532). So we ask the broker, over a connection of our own and
from a thread of our own, how far the group has committed, and believe nothing that Faust says of
itself.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet

from streams import meters
from streams.config import StreamsConfig
from streams.errors import Unavailable
from streams.kafka import topics
from streams.kafka.progress import GroupProgress, Partition

logger = logging.getLogger(__name__)


def standings(config: StreamsConfig) -> dict[Partition, GroupProgress]:
    """How far the group has come in each partition of the topics of events; also shows the lag.

    Raises Unavailable.
    """
    found = topics.standings(config)
    meters.show_lag({place: standing.lag for place, standing in found.items()})
    return found


class StallDetector:
    """Since when partitions with a lag have not moved."""

    def __init__(self) -> None:
        self._since: dict[Partition, tuple[int, float]] = {}

    def stalled_s(
        self, standings: Mapping[Partition, GroupProgress], mine: AbstractSet[Partition], now: float
    ) -> dict[Partition, float]:
        """For how long, in seconds, each of my lagging partitions has not moved, at `now`.

        While none is mine, all are: perhaps the worker fell out of its group unnoticed.
        """
        watched = {p: s for p, s in standings.items() if s.lag and (p in mine or not mine)}
        self._since = {
            place: self._since[place]
            if place in self._since and self._since[place][0] == standing.committed
            else (standing.committed, now)
            for place, standing in watched.items()
        }
        return {place: now - since for place, (_committed, since) in self._since.items()}

    def excuse(self) -> None:
        """Start to count anew: there was a good reason to stand still."""
        self._since.clear()


class Watchdog(threading.Thread):
    """Looks at the progress every `interval_s`; calls `on_stall`, once, after `limit_s` of none."""

    def __init__(
        self,
        *,
        look: Callable[[], Mapping[Partition, GroupProgress]],
        mine: Callable[[], AbstractSet[Partition]],
        is_excused: Callable[[], bool],
        on_stall: Callable[[Mapping[Partition, float]], None],
        limit_s: float,
        interval_s: float,
    ) -> None:
        """`look` asks the broker, and raises Unavailable if it cannot; `mine` gives the partitions
        of this worker; `is_excused` says whether it waits for its sink, and knows it."""
        super().__init__(name="watchdog", daemon=True)
        self._look = look
        self._mine = mine
        self._is_excused = is_excused
        self._on_stall = on_stall
        self._limit_s = limit_s
        self._interval_s = interval_s
        self._progress = StallDetector()
        self._is_stopped = threading.Event()

    def run(self) -> None:
        """Look until stopped or stalled."""
        while not self._is_stopped.wait(self._interval_s):
            if self.has_stalled(time.monotonic()):
                return

    def stop(self) -> None:
        """Stop looking."""
        self._is_stopped.set()

    def has_stalled(self, now: float) -> bool:
        """Look once, at `now` (monotonic s)."""
        try:
            standings = self._look()
        except Unavailable as error:
            logger.warning("progress unknown", extra={"cause": str(error)})
            self._progress.excuse()
            return False
        if self._is_excused():
            self._progress.excuse()
            return False
        stalled_s = self._progress.stalled_s(standings, self._mine(), now)
        stalled_s = {place: s for place, s in stalled_s.items() if s >= self._limit_s}
        if stalled_s:
            self._on_stall(stalled_s)
        return bool(stalled_s)
