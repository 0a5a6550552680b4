"""Peak memory of a process and all its children, sampled."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

SAMPLE_S = 0.5
MEGABYTE = 1_000_000


class PeakMemory:
    """Samples resident memory of this process's tree until the block ends.

    Resident sizes are added up, so pages that processes share count once for each: an upper bound.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    @property
    def peak_mb(self) -> int:
        """Megabytes (10^6 bytes) at the highest sample so far."""
        return self.peak_bytes // MEGABYTE

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(SAMPLE_S):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue  # It ended between the listing and the reading.
            self.peak_bytes = max(self.peak_bytes, total)
