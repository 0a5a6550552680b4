"""Where the worker puts facts: the Sink of streams/worker.py."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from features.config import FeaturesConfig
from features.guarding import decide
from features.offline import OFFLINE_STORES
from features.online import OnlinePusher
from streams.errors import Unavailable
from streams.events import GuardRuling
from streams.guard.rules import GuardConfig
from streams.pipeline import Facts

logger = logging.getLogger(__name__)

COMPACT_INTERVAL_S = 30.0
"""How often a worker looks for small files to merge, in seconds."""


class FactStore:
    """Facts appended durably; online features and file sizes kept in order beside the stream.

    `append` and `push` may run at the same time in different threads.
    """

    def __init__(
        self, config: FeaturesConfig, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds; tests set it."""
        self._config = config
        self._offline = OFFLINE_STORES[config.offline_store](config)
        self._pusher = OnlinePusher(config, self._offline, clock=clock)
        self._clock = clock
        self._compacted_at = clock()

    def append(self, facts: Facts) -> None:
        """Keep the facts; durable when it returns. Raises Unavailable, with nothing half done."""
        self._offline.append(facts)

    def push(self) -> int:
        """Bring the online features up to date and, now and then, merge small files.

        Gives the rows pushed. Raises Unavailable.
        """
        num_rows = self._pusher.push()
        if self._clock() - self._compacted_at >= COMPACT_INTERVAL_S:
            self._compacted_at = self._clock()
            self._compact(self._config.compact_files_min)
        return num_rows

    def judge(self, guard: GuardConfig) -> Sequence[GuardRuling]:
        """What the guard decides on the facts of now; nothing where another process decides."""
        return decide(self._offline, self._config, guard, now=datetime.now(UTC))

    def compact(self) -> Mapping[str, int]:
        """Merge all small files now. Gives num_merged, num_deleted, num_files."""
        return self._compact(2)

    def erase(self) -> int:
        """Remove from the files what erased users did; views hide it anyway. Gives rows removed."""
        num_rows = self._offline.erase()
        logger.info("erased", extra={"rows": num_rows})
        return num_rows

    def _compact(self, files_min: int) -> Mapping[str, int]:
        try:
            done = self._offline.compact(files_min=files_min)
        except OSError as fault:
            raise Unavailable(f"cannot merge files of facts: {fault.strerror}") from fault
        counts = {
            "num_merged": done.num_merged,
            "num_deleted": done.num_deleted,
            "num_files": done.num_files,
        }
        if done.num_merged or done.num_deleted:
            logger.info("facts compacted", extra=counts)
        return counts
