"""Hands events to the broker and says whether it has them for good.

The producer acknowledges in its own thread; here each event is awaited without blocking anyone
else, and never for long: an answer to a user goes out whether or not the broker is there, and says
which. While the broker is away, waits are cut short; the first acknowledgement ends that.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

from serving.config import ServingConfig
from serving.meters import Meters
from serving.tracing import Tracing
from streams.codec import encode_checked
from streams.config import StreamsConfig
from streams.errors import BadEvent, Unavailable
from streams.events import Event
from streams.kafka.producer import RecordPlace

logger = logging.getLogger(__name__)

AWAY_AFTER = 2
"""Failures in a row that mean that the broker is away, and not that one event was unlucky."""
WATCH_INTERVAL_S = 2.0
CONNECT_TIMEOUT_S = 1.0


class EventProducer(Protocol):
    """What we need of streams.kafka.producer.Producer."""

    def send(self, event: Event, headers: Sequence[tuple[str, bytes]] = ()) -> Future[RecordPlace]:
        """Queue one event; the future is done once it is durable. Raises or sets Unavailable."""


class Recorder:
    """Sends events, awaits acknowledgements, and knows how the broker is."""

    def __init__(
        self,
        producer: EventProducer,
        config: ServingConfig,
        streams: StreamsConfig,
        meters: Meters,
        tracing: Tracing | None = None,
    ) -> None:
        """`tracing` None makes no spans and sends no header of them."""
        self._producer = producer
        self._tracing = tracing
        self._config = config
        self._streams = streams
        self._meters = meters
        # A producer may block on `send` while it looks for its broker: not on the event loop.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rluf-send")
        self._num_failures = 0
        self._num_pending = 0
        self._problem = ""
        self._unreachable = ""
        self._watcher: asyncio.Task[None] | None = None
        self._meters.broker_up.set(1)

    def watch(self, brokers: str) -> None:
        """Look after the brokers now and then, so that an idle API knows too when they are gone."""
        addresses = [address for address in brokers.split(",") if address]
        if addresses:
            self._watcher = asyncio.create_task(self._watch(addresses), name="rluf-broker-watch")

    @property
    def problem(self) -> str:
        """Say why events are not being recorded; empty while they are."""
        return self._unreachable or (self._problem if self._num_failures >= AWAY_AFTER else "")

    async def record(self, event: Event) -> bool:
        """Send an event; True once the broker has it, False where that is not known in time.

        Raises BadEvent where the event can never be taken in.
        """
        kind = type(event).__name__.lower()
        try:
            self.check(event)
        except BadEvent:
            self._meters.events_sent.labels(kind, "refused").inc()
            raise
        if self._num_pending >= self._config.pending_events_max:
            self._note_failure(f"{self._num_pending} events wait for it already")
            self._meters.events_sent.labels(kind, "not_sent").inc()
            return False
        loop = asyncio.get_running_loop()
        started = loop.time()
        is_away = self.problem != ""
        limit_s = self._config.ack_timeout_down_s if is_away else self._config.ack_timeout_s
        delivery = asyncio.create_task(self._deliver(event))
        done, _ = await asyncio.wait({delivery}, timeout=limit_s)
        if not done:
            # It may yet arrive; whoever asked is told that we do not know.
            self._note_failure(f"no acknowledgement within {limit_s:g} s")
            delivery.add_done_callback(self._on_late)
            self._meters.events_sent.labels(kind, "unknown").inc()
            return False
        error = delivery.exception()
        if isinstance(error, Unavailable):
            self._note_failure(str(error))
            self._meters.events_sent.labels(kind, "unavailable").inc()
            return False
        if error is not None:
            result = "refused" if isinstance(error, BadEvent) else "failed"
            self._meters.events_sent.labels(kind, result).inc()
            raise error
        self._note_success()
        self._meters.events_sent.labels(kind, "acknowledged").inc()
        self._meters.ack_duration.observe(loop.time() - started)
        return True

    def check(self, event: Event) -> None:
        """Raise BadEvent unless the worker will take the event in, as `record` would send it."""
        encode_checked(event, self._streams)

    async def stop(self) -> None:
        """Send nothing more. The producer belongs to whoever made it."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait({self._watcher})
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _deliver(self, event: Event) -> None:
        self._num_pending += 1
        try:
            if self._tracing is None:
                await self._send(partial(self._producer.send, event))
            else:
                with self._tracing.sending(event) as headers:
                    await self._send(partial(self._producer.send, event, headers))
        finally:
            self._num_pending -= 1

    async def _send(self, send: Callable[[], Future[RecordPlace]]) -> None:
        place = await asyncio.get_running_loop().run_in_executor(self._thread, send)
        await asyncio.wrap_future(place)

    async def _watch(self, addresses: Sequence[str]) -> None:
        while True:
            reached = [await _can_connect(address) for address in addresses]
            self._unreachable = "" if any(reached) else f"no broker answers at {addresses}"
            self._meters.broker_up.set(0 if self.problem else 1)
            await asyncio.sleep(WATCH_INTERVAL_S)

    def _on_late(self, delivery: "asyncio.Task[None]") -> None:
        if delivery.cancelled():
            return
        error = delivery.exception()
        if error is None:
            self._note_success()
        elif not isinstance(error, Unavailable):
            logger.error("event not sent", exc_info=error)

    def _note_success(self) -> None:
        if self.problem:
            logger.info("broker is back")
        self._num_failures = 0
        self._unreachable = ""
        self._meters.broker_up.set(1)

    def _note_failure(self, why: str) -> None:
        was_up = not self.problem
        self._num_failures += 1
        self._problem = f"the broker does not acknowledge events: {why}"
        if was_up and self.problem:
            logger.warning("broker is away", extra={"why": why})
            self._meters.broker_up.set(0)


async def _can_connect(address: str) -> bool:
    """Whether something listens at host:port."""
    host, _, port = address.strip().rpartition(":")
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError, ValueError):
        return False
    writer.close()
    return True
