"""One ingestion worker: from bytes on the broker to durable facts, as a process.

Faust runs the group, the fetching and the commits (streams/agents.py, streams/transport.py), the
writer makes facts durable (streams/writer.py), the watchdog ends a worker that stands still
(streams/watchdog.py). Here they are joined, started and stopped. A worker is never repaired from
within: what goes wrong rises, the process ends non-zero and its supervisor starts another, which
goes on from what was committed.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from faust.types import TP
from prometheus_client import start_http_server

from files.durable import write_durably
from streams import meters
from streams.agents import make_app
from streams.config import StreamsConfig
from streams.dead_letters import send_dead_letters
from streams.errors import Refused, Unavailable
from streams.events import GuardRuling
from streams.kafka.producer import Producer
from streams.kafka.remade import watch_topics
from streams.kafka.rights import refusal_of
from streams.kafka.topics import ensure_topics, require_worker_rights, topic_ids
from streams.pipeline import Facts
from streams.watchdog import Watchdog, standings
from streams.writer import Trace, Writer

logger = logging.getLogger(__name__)

PUSH_INTERVAL_S = 0.2
"""Between two pushes of online features."""
GUARD_INTERVAL_S = 10.0
"""Between two looks of the guard; after a slow one it rests GUARD_REST times as long."""
GUARD_REST = 9.0
SEND_WAIT_S = 30.0
"""How long the broker may take to acknowledge rulings."""
REVOKE_WAIT_S = 3.0
"""How long partitions that are taken away wait for their facts: half of the session timeout, after
which the group would go on without us. What is not durable by then is written by the next owner."""
DRAIN_WAIT_S = 10.0
"""How long a stopping worker may take to write what it has read."""
STOP_WAIT_S = 10.0
"""How long Faust may take to leave the group and stop."""
START_RETRY_S = 1.0
STALL_LIMIT_S = 60.0
"""Without a commit for so long, while there is something to commit, the worker ends."""
LOOK_INTERVAL_S = 10.0
"""Between two looks of the watchdog, and between two at the ids of the topics."""
EXIT_STALLED = 70
"""Exit status of a worker that the watchdog ended (EX_SOFTWARE of sysexits.h)."""


class Sink(Protocol):
    """Where facts become durable."""

    def append(self, facts: Facts) -> None:
        """Store facts; they are durable when it returns.

        Raises Unavailable to be called again with the same facts: a part of them may be stored
        already, because readers drop duplicates.
        """

    def push(self) -> int:
        """Bring the online features of users and policies touched since the last push up to date.

        Gives the number of rows. Runs in another thread than `append`, and beside it.
        """


Guard = Callable[[], Sequence[GuardRuling]]
"""Looks at the facts and gives the rulings that changed. Raises Unavailable."""


def run_worker(
    config: StreamsConfig,
    sink: Sink,
    *,
    guard: Guard | None = None,
    trace: Trace | None = None,
    metrics_port: int | None = None,
    ready_file: Path | None = None,
) -> None:
    """Run one worker until SIGTERM or SIGINT, on which it writes and commits what it has read.

    Call it in the main thread. `ready_file` is written once partitions are assigned. Whatever kills
    an agent, the writer or Faust itself is raised; a worker that makes no progress for
    STALL_LIMIT_S ends the process with EXIT_STALLED. `metrics_port` serves /metrics to this host.
    """
    meters.begin(config.event_topics)
    if metrics_port is not None:
        start_http_server(metrics_port, addr="127.0.0.1")
    config.data_dir.mkdir(parents=True, exist_ok=True)

    async def run() -> None:
        await Worker(config, sink, guard=guard, trace=trace, ready_file=ready_file).run()

    asyncio.run(run())


class Worker:
    """The parts of one worker, joined."""

    def __init__(
        self,
        config: StreamsConfig,
        sink: Sink,
        *,
        guard: Guard | None,
        ready_file: Path | None,
        trace: Trace | None = None,
    ) -> None:
        self._config = config
        self._ready_file = ready_file
        self._held: frozenset[TP] = frozenset()
        self._stopping = asyncio.Event()
        self._pusher = Pusher(sink)
        self._judge = None if guard is None else Judge(guard, config)
        self._writer = Writer(
            config,
            append=sink.append,
            send_dead_letters=lambda letters: send_dead_letters(
                self._app.producer, config.dead_letters_topic, letters
            ),
            commit=lambda: self._app.consumer.commit(),
            trace=trace,
        )
        self._app = make_app(config, self._writer.put)
        self._app.on_partitions_revoked.connect(self._on_revoked)
        self._app.on_partitions_assigned.connect(self._on_assigned)
        self._watchdog = Watchdog(
            look=lambda: standings(config),
            mine=lambda: self._held,
            is_excused=lambda: self._writer.waits_since is not None,
            on_stall=_end_process,
            limit_s=STALL_LIMIT_S,
            interval_s=LOOK_INTERVAL_S,
        )

    async def run(self) -> None:
        """Start, wait for the end, stop; raises what ended it, unless it was a signal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        if not await self._ensure_topics():
            return
        stopping = asyncio.create_task(self._stopping.wait())
        writing = asyncio.create_task(self._writer.run())
        running = asyncio.create_task(self._run_app())
        watching = asyncio.create_task(
            watch_topics(
                lambda: topic_ids(self._config),
                self._app.consumer.topic_ids,
                interval_s=LOOK_INTERVAL_S,
            )
        )
        tasks = (writing, running, watching)
        self._pusher.start()
        if self._judge is not None:
            self._judge.start()
        self._watchdog.start()
        try:
            await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            if not (writing.done() or running.done()):
                await self._drain()
        finally:
            self._watchdog.stop()
            await self._stop(*tasks)
            stopping.cancel()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def _ensure_topics(self) -> bool:
        """Wait for the broker, make the topics and ask for their ids; False if told to stop before.

        No record is fetched before the ids are known: see streams/kafka/remade.py.
        """
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(ensure_topics, self._config)
                await asyncio.to_thread(require_worker_rights, self._config)
                ids = await asyncio.to_thread(topic_ids, self._config)
            except Refused:
                raise
            except Unavailable as error:
                logger.warning("broker unavailable, waiting", extra={"cause": str(error)})
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), START_RETRY_S)
            else:
                self._app.consumer.topic_ids = ids
                return True
        return False

    async def _run_app(self) -> None:
        """Run Faust until it crashes; raises the reason."""
        await self._app.start()
        logger.info("worker ready", extra={"partitions": len(self._held)})
        if self._ready_file is not None:
            write_durably(self._ready_file, f"{os.getpid()}\n".encode())
        await self._app.wait_until_stopped()
        reason = self._app.crash_reason or RuntimeError("Faust stopped without being told to")
        raise refusal_of(reason, self._config) or reason

    async def _drain(self) -> None:
        """Write and commit what is read, and read no more."""
        consumer = self._app.consumer
        consumer.stop_fetching()
        try:
            async with asyncio.timeout(DRAIN_WAIT_S):
                await self._writer.drain(DRAIN_WAIT_S)  # Also what is of partitions gone by now.
                while consumer.ledger.has_open():
                    await self._writer.drain(DRAIN_WAIT_S)
                    await asyncio.sleep(0.01)  # The agents take what their streams still hold.
        except TimeoutError:
            logger.warning("stopped before all that was read is durable; it will be read again")
        else:
            logger.info("worker drained")

    async def _stop(self, *tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(self._pusher.stop)
        if self._judge is not None:
            await asyncio.to_thread(self._judge.stop)
        try:
            await asyncio.wait_for(self._app.stop(), STOP_WAIT_S)
        except TimeoutError:
            logger.warning("Faust did not stop in time")

    async def _on_revoked(self, app: object, revoked: set[TP], **_more: Any) -> None:
        """Make what was read of these partitions durable before another worker reads it again."""
        if not await self._writer.drain(REVOKE_WAIT_S):
            logger.warning("partitions leave before all that was read of them is durable")
        self._writer.drop()
        await self._app.consumer.commit()
        self._app.consumer.ledger.forget(revoked)

    async def _on_assigned(self, app: object, assigned: set[TP], **_more: Any) -> None:
        """Forget the ids of partitions that did not come back from the rebalance."""
        for topic, partition in self._held - assigned:
            self._writer.pipeline.forget(topic, partition)
        self._held = frozenset(assigned)
        logger.info("partitions assigned", extra={"partitions": len(assigned)})


class Pusher:
    """Calls `sink.push` every PUSH_INTERVAL_S, in a thread of its own."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pusher", daemon=True)

    def start(self) -> None:
        """Begin to push."""
        self._thread.start()

    def stop(self) -> None:
        """Push once more and end, within STOP_WAIT_S."""
        self._is_stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_WAIT_S)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_stopped.wait(PUSH_INTERVAL_S)
            self._push()

    def _push(self) -> None:
        try:
            num_rows = self._sink.push()
        except Exception:
            # The outermost loop of this thread. Online features are derived: late ones are a pity,
            # while ingestion that stops for them would be a fault.
            meters.PUSH_FAILURES.inc()
            logger.exception("push of online features failed")
        else:
            meters.PUSHED_ROWS.inc(num_rows)


class Judge:
    """Asks the guard every GUARD_INTERVAL_S, in a thread of its own, and sends what it decided.

    Rulings travel through the log: they become facts as all others do, and a replay has them.
    """

    def __init__(self, guard: Guard, config: StreamsConfig) -> None:
        self._guard = guard
        self._config = config
        self._producer: Producer | None = None
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; ends within STOP_WAIT_S."""
        self._is_stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_WAIT_S)

    def _run(self) -> None:
        rest_s = GUARD_INTERVAL_S
        while not self._is_stopped.wait(rest_s):
            started = time.monotonic()
            try:
                self._decide()
            except Exception:
                # The outermost loop of this thread. Rulings are derived: late ones are a pity,
                # while ingestion that stops for them would be a fault.
                meters.GUARD_FAILURES.inc()
                logger.exception("the guard failed")
            rest_s = max(GUARD_INTERVAL_S, GUARD_REST * (time.monotonic() - started))
        if self._producer is not None:
            self._producer.close()

    def _decide(self) -> None:
        rulings = self._guard()
        if not rulings:
            return
        if self._producer is None:
            self._producer = Producer(self._config)
        sent = [self._producer.send(ruling) for ruling in rulings]
        for future in sent:
            future.result(SEND_WAIT_S)
        meters.count_rulings(rulings)


def _end_process(stalled_s: Mapping[tuple[str, int], float]) -> None:
    """End a worker that stands still, at once: what stands still may not stop in order either."""
    for (topic, partition), seconds in stalled_s.items():
        logger.critical(
            "no progress",
            extra={"topic": topic, "partition": partition, "seconds": round(seconds)},
        )
    logging.shutdown()
    os._exit(EXIT_STALLED)
