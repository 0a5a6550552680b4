"""Workers that stop in silence, on purpose: alive, with heartbeats, and without progress.

`python -m tests.streams.silent_rig FILE` runs one by FILE. Its fault sets in once FOLDER/fault
exists, so that what came before is healthy. The faults are those that faust-streaming's issues 523
and 532 tell of, as near as they can be made on purpose, and some neighbours of theirs.
"""

import asyncio
import json
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.types import EventT
from kafka import KafkaAdminClient

import streams.worker as worker_module
from features.config import FeaturesConfig
from features.store import FactStore
from streams.agents import make_app
from streams.config import StreamsConfig
from streams.errors import Unavailable
from streams.kafka.progress import GroupProgress, Partition
from streams.transport import ChunkConsumer, ChunkThread
from streams.worker import Sink, run_worker
from tests.streams.worker_rig import FileSink, RunningWorker, launch
from tests.waiting import WAIT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Dials:
    """How a worker of this rig differs from one of the house."""

    fault: str = ""
    """A key of FAULTS; empty: none."""
    stall_limit_s: float = 3.0
    """Of the watchdog."""
    metadata_s: float | None = None
    """How old what is known of topics may become, in seconds; None: the house's own."""
    is_store: bool = False
    """Facts go to the store of the house, under FOLDER/home, not to a file."""
    is_unwatched: bool = False
    """While FOLDER/unwatched exists, the watchdog cannot ask the broker and so counts nothing."""


def start_silent(config: StreamsConfig, folder: Path, dials: Dials) -> RunningWorker:
    """Start a worker and wait until it is ready. Raises ChildProcessError if it ends instead."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"silent-{time.monotonic_ns()}"
    ready, told = folder / f"{name}.ready", folder / f"{name}.json"
    names = ("brokers", "group", "linger_ms", "batch_events_max", "partitions")
    topics = [each for each in StreamsConfig.__slots__ if each.endswith("_topic")]
    rig = {
        "config": {each: getattr(config, each) for each in (*names, *topics)},
        "dials": asdict(dials),
        "ready": str(ready),
    }
    told.write_text(json.dumps(rig))
    worker = launch("tests.streams.silent_rig", told, ready)
    if not ready.exists():
        raise ChildProcessError(f"it ended at once: {worker.log.read_text()}")
    return worker


def visit_group(config: StreamsConfig, stay_s: float) -> None:
    """Join the workers' group as one more member that reads nothing, and leave it after a while.

    Two rebalances: the member is given partitions and gives them back.
    """

    async def visit() -> None:
        visitor = AIOKafkaConsumer(
            *config.event_topics,
            bootstrap_servers=config.brokers,
            group_id=config.group,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            session_timeout_ms=6_000,
            heartbeat_interval_ms=500,
        )
        await visitor.start()
        await asyncio.sleep(stay_s)
        await visitor.stop()

    asyncio.run(visit())


def num_members(config: StreamsConfig) -> int:
    """Members of the workers' group whose heartbeats the broker believes."""
    admin = KafkaAdminClient(bootstrap_servers=config.brokers)
    try:
        (group,) = admin.describe_groups([config.group]).values()
        return len(group["members"])
    finally:
        admin.close()


def _flow_stays_suspended(is_on: Callable[[], bool]) -> None:
    """523: after a rebalance the consumer is told to seek and to fetch, and hands over nothing."""
    resume = ChunkConsumer.resume_flow

    def resume_flow(self: ChunkConsumer) -> None:
        if not is_on():
            resume(self)

    ChunkConsumer.resume_flow = resume_flow


def _agents_stop(is_on: Callable[[], bool]) -> None:
    """532: the agents' streams block, and so all that is fetched waits for ever."""
    events = faust.Stream.events

    async def blocked(self: faust.Stream) -> AsyncIterator[EventT]:
        async for event in events(self):
            while is_on():
                await asyncio.sleep(0.1)
            yield event

    faust.Stream.events = blocked


def _fetching_hangs(is_on: Callable[[], bool]) -> None:
    """The loop that takes from aiokafka waits for something that never comes."""
    getmany = ChunkConsumer.getmany

    async def hanging(self: ChunkConsumer, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        while is_on():
            await asyncio.sleep(0.1)
        async for each in getmany(self, timeout):
            yield each

    ChunkConsumer.getmany = hanging  # type: ignore[method-assign]


def _one_partition_is_poisoned(is_on: Callable[[], bool]) -> None:
    """What is fetched of partition 0 of the reactions is never handed over; others go on."""
    take = ChunkThread._take

    def without_it(
        self: ChunkThread, consumer: Any, active: set[Any], max_records: int | None
    ) -> Any:
        if is_on():
            active = {tp for tp in active if tp.partition or not tp.topic.endswith(".reactions")}
        return take(self, consumer, active, max_records)

    ChunkThread._take = without_it  # type: ignore[method-assign]


def _fetches_stay_away(is_on: Callable[[], bool]) -> None:
    """aiokafka has records and does not say so: it looks as if there were none."""
    has_more = FetchResult.has_more

    def nothing(self: FetchResult) -> bool:
        return not is_on() and bool(has_more(self))

    FetchResult.has_more = nothing


def _commits_get_lost(is_on: Callable[[], bool]) -> None:
    """Facts are stored and acknowledged; no commit ever reaches the broker."""
    commit = ChunkConsumer.commit

    async def lost(self: ChunkConsumer, *args: Any, **kwargs: Any) -> Any:
        return False if is_on() else await commit(self, *args, **kwargs)

    ChunkConsumer.commit = lost


FAULTS: dict[str, Callable[[Callable[[], bool]], None]] = {
    "523": _flow_stays_suspended,
    "532": _agents_stop,
    "fetching": _fetching_hangs,
    "fetches": _fetches_stay_away,
    "commits": _commits_get_lost,
    "poison": _one_partition_is_poisoned,
}


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Let the watchdog look meanwhile; at other times a slow machine is no standstill."""
    (folder / "unwatched").unlink()
    yield
    (folder / "unwatched").touch()


def _look_only_where_allowed(forbidden: Path) -> None:
    """Have the watchdog find the broker away while this file exists."""
    look = worker_module.standings

    def standings(config: StreamsConfig) -> dict[Partition, GroupProgress]:
        if forbidden.exists():
            raise Unavailable("the test does not let it look")
        return look(config)

    worker_module.standings = standings  # type: ignore[attr-defined]


class Telling(logging.Formatter):
    """Adds the place to a line that has one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told = vars(record)
        place = f" {told['topic']}/{told['partition']}" if "partition" in told else ""
        return f"{record.levelname} {super().format(record)}{place}"


def main() -> None:
    """Run one worker by a description."""
    path = Path(sys.argv[1])
    rig = json.loads(path.read_text())
    dials = Dials(**rig["dials"])
    handler = logging.StreamHandler()
    handler.setFormatter(Telling("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    worker_module.STALL_LIMIT_S = dials.stall_limit_s
    worker_module.LOOK_INTERVAL_S = 0.5
    if dials.fault:
        FAULTS[dials.fault]((path.parent / "fault").exists)
    if dials.is_unwatched:
        _look_only_where_allowed(path.parent / "unwatched")
    if dials.metadata_s is not None:
        metadata_ms = int(1000 * dials.metadata_s)

        def impatient(config: StreamsConfig, put: Callable[[EventT], None]) -> faust.App:
            app = make_app(config, put)
            app.conf.consumer_metadata_max_age_ms = metadata_ms
            return app

        worker_module.make_app = impatient  # type: ignore[attr-defined]
    config = StreamsConfig(**rig["config"], data_dir=path.with_suffix(".data"))
    sink: Sink = FileSink(path.parent, append_s=0.0)
    if dials.is_store:
        sink = FactStore(FeaturesConfig(root=path.parent / "home"))
    run_worker(config, sink, ready_file=Path(rig["ready"]))


class InBackground:
    """Does something again and again until left."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._is_over = threading.Event()
        self.times = 0
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._is_over.is_set():
                self._work()
                self.times += 1
        except BaseException as fault:  # It is raised where the test waits.
            self._fault = fault

    def __enter__(self) -> "InBackground":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(WAIT_S)
        if self._fault is not None:
            raise self._fault


if __name__ == "__main__":
    main()
