"""From chunks to durable facts: gather, run the pipeline, append, dead-letter, then acknowledge.

The order is the promise. A chunk is acknowledged, and so may be committed, only after its facts
are in the sink and its dead letters are on their topic; ids are remembered only then, so that a
batch that must be written again is not taken for duplicates of itself.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol, TypeVar

from streams import meters
from streams.config import StreamsConfig
from streams.errors import Unavailable
from streams.events import DeadLetter
from streams.ledger import Chunk
from streams.pipeline import Facts, Pipeline, Record

logger = logging.getLogger(__name__)

BATCH_BYTES_MAX = 64 * 2**20
"""A batch is written when it holds so many bytes, whatever the number of its events."""
RETRY_S_MIN = 0.1
RETRY_S_MAX = 5.0
"""Between two attempts at something unavailable: doubling from the first to the second."""

T = TypeVar("T")

Trace = Callable[[Sequence[Record], Facts, float], None]
"""Is told of each batch whose facts are durable, and the seconds that it took."""


class ChunkEvent(Protocol):
    """A stream event whose value is a chunk."""

    @property
    def value(self) -> Chunk:
        """The records."""

    def ack(self) -> object:
        """Say that its facts are durable."""


class Batch:
    """Chunks on their way to be written, oldest first."""

    def __init__(self, *, linger_s: float, events_max: int, bytes_max: int) -> None:
        self._linger_s = linger_s
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._gathered: deque[tuple[float, ChunkEvent]] = deque()
        self._num_records = 0
        self._num_bytes = 0

    def __len__(self) -> int:
        return len(self._gathered)

    def put(self, event: ChunkEvent, now: float) -> None:
        """Add a chunk that came at `now` (s)."""
        self._gathered.append((now, event))
        self._num_records += len(event.value.records)
        self._num_bytes += event.value.num_bytes

    def wait_s(self, now: float) -> float | None:
        """How long to wait before writing; None while there is nothing to write."""
        if not self._gathered:
            return None
        if self._num_records >= self._events_max or self._num_bytes >= self._bytes_max:
            return 0.0
        return max(0.0, self._gathered[0][0] + self._linger_s - now)

    def take(self) -> list[ChunkEvent]:
        """The oldest chunks: at least one, and no more than fit into one write."""
        taken: list[ChunkEvent] = []
        num_records = num_bytes = 0
        while self._gathered:
            chunk = self._gathered[0][1].value
            num_records += len(chunk.records)
            num_bytes += chunk.num_bytes
            if taken and (num_records > self._events_max or num_bytes > self._bytes_max):
                break
            taken.append(self._gathered.popleft()[1])
            self._num_records -= len(chunk.records)
            self._num_bytes -= chunk.num_bytes
        return taken

    def clear(self) -> None:
        """Drop everything: its partitions were taken away."""
        self._gathered.clear()
        self._num_records = self._num_bytes = 0


class Writer:
    """Writes what is put into it, in batches, for ever."""

    def __init__(
        self,
        config: StreamsConfig,
        *,
        append: Callable[[Facts], None],
        send_dead_letters: Callable[[Sequence[DeadLetter]], Awaitable[None]],
        commit: Callable[[], Awaitable[object]],
        trace: Trace | None = None,
    ) -> None:
        """`append` makes facts durable and `send_dead_letters` has them acknowledged by the broker;
        both raise Unavailable to be called again. `commit` commits what was acknowledged."""
        self.pipeline = Pipeline(config)
        self.waits_since: float | None = None
        """Since when (monotonic s) something needed is unavailable; None while all is well."""
        self._append = append
        self._send_dead_letters = send_dead_letters
        self._commit = commit
        self._trace = trace
        self._batch = Batch(
            linger_s=config.linger_ms / 1000,
            events_max=config.batch_events_max,
            bytes_max=BATCH_BYTES_MAX,
        )
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_hurried = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")

    def put(self, event: ChunkEvent) -> None:
        """Take in a chunk."""
        self._batch.put(event, time.monotonic())
        self._idle.clear()
        self._changed.set()

    async def run(self) -> None:
        """Write until cancelled. What the sink raises, other than Unavailable, rises."""
        while True:
            await self._gather()
            await self._write(self._batch.take())
            if not self._batch:
                self._idle.set()

    async def drain(self, wait_s: float) -> bool:
        """Write all that was put in, without lingering; False if it was not done in time."""
        self._is_hurried = True
        self._changed.set()
        try:
            await asyncio.wait_for(self._idle.wait(), wait_s)
        except TimeoutError:
            return False
        finally:
            self._is_hurried = False
        return True

    def drop(self) -> None:
        """Forget what is gathered and not yet being written: its partitions were taken away."""
        self._batch.clear()

    async def _gather(self) -> None:
        """Wait until there is a batch to write."""
        while True:
            wait_s = self._batch.wait_s(time.monotonic())
            if wait_s is not None and (self._is_hurried or wait_s <= 0):
                return
            if wait_s is None:
                self._idle.set()
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)

    async def _write(self, events: list[ChunkEvent]) -> None:
        records = [record for event in events for record in event.value.records]
        if records:
            started = time.monotonic()
            facts = await self._in_thread(lambda: self.pipeline.run(records))
            if facts.received > facts.duplicates:
                await self._insist(lambda: self._in_thread(lambda: self._append(facts)))
            if facts.dead_letters:
                await self._insist(lambda: self._send_dead_letters(facts.dead_letters))
            await self._in_thread(lambda: self.pipeline.remember(facts))
            write_s = time.monotonic() - started
            meters.count(facts, write_s)
            if (trace := self._trace) is not None:
                await self._in_thread(lambda: trace(records, facts, write_s))
        for event in events:
            event.ack()
        await self._commit()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do it beside the event loop, whose heartbeats and fetches go on."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _insist(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Attempt until it is done. Nothing is committed meanwhile and nothing dropped."""
        pause_s = RETRY_S_MIN
        while True:
            try:
                await attempt()
            except Unavailable as error:
                if self.waits_since is None:
                    self.waits_since = time.monotonic()
                    logger.warning("unavailable, waiting", extra={"cause": str(error)})
                meters.SINK_UNAVAILABLE.inc()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)
            else:
                if self.waits_since is not None:
                    waited_s = round(time.monotonic() - self.waits_since, 1)
                    logger.warning("available again", extra={"waited_s": waited_s})
                    self.waits_since = None
                return
