"""Our worker and the Faust agents of the streaming benchmark, each in a process of its own.

`python -m benchmarks.stream_contestants TASK` prints one line of JSON: seconds, received, unique,
duplicates, rejected.
"""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faust
import pyarrow.parquet as pq
from faust.transport.consumer import Consumer
from faust.types import TP, EventT, StreamT

from benchmarks.stream_shared import ReactionEvent, Rows, decode, read_task
from features.config import FeaturesConfig
from features.store import FactStore
from streams.config import StreamsConfig
from streams.worker import run_worker

PEER_ROWS = 5_000
"""Events between two files of the agent that takes them one by one."""
TAKE_MAX = 1_000
TAKE_WITHIN_S = 0.2


@dataclass
class Clock:
    """Sees when the first fetch may go out and when the last offset is committed."""

    limit: int
    began: float = 0.0
    ended: float = 0.0
    committed: dict[TP, int] = field(default_factory=dict)

    def install(self) -> None:
        """Watch Faust's consumer, which is ours too: our worker's is derived from it."""
        resume_flow, commit_offsets = Consumer.resume_flow, Consumer._commit_offsets

        def resume(consumer: Any) -> None:
            self.began = self.began or time.perf_counter()
            resume_flow(consumer)

        async def commit(consumer: Any, offsets: Any, **more: Any) -> bool:
            did_commit: bool = await commit_offsets(consumer, offsets, **more)
            if did_commit:
                self.committed |= offsets
                if not self.ended and sum(self.committed.values()) >= self.limit:
                    self.ended = time.perf_counter()
                    os.kill(os.getpid(), signal.SIGTERM)
            return did_commit

        Consumer.resume_flow, Consumer._commit_offsets = resume, commit


def run_ours(config: StreamsConfig, folder: Path, clock: Clock) -> dict[str, int]:
    """The whole worker with the store of features."""
    run_worker(config, FactStore(FeaturesConfig(root=folder)))
    store = folder / "store"
    ids = Counter[str]()
    for path in store.glob("reactions/*/*.parquet"):
        ids.update(pq.read_table(path, columns=["id"])["id"].to_pylist())
    rejected = sum(
        pq.read_metadata(path).num_rows for path in store.glob("dead_letters/*/*.parquet")
    )
    stored = ids.total() + rejected
    received = sum(clock.committed.values())
    return {
        "received": received,
        "unique": len(ids),
        "duplicates": received - stored,
        "rejected": rejected,
        "files": len(list(store.glob("*/*/*.parquet"))),
    }


def run_peer(config: StreamsConfig, folder: Path, clock: Clock, *, in_batches: bool) -> None:
    """A Faust agent whose ids live in a table, one event at a time or by `take`.

    As Faust's documentation has it: `async for` over the stream, a `Table` (in memory, restored
    from its changelog topic after a restart), `take(max, within)` for batches. Deviations: it takes
    bytes and decodes them by msgspec, because one bad value would crash the agent; the agent of
    single events acknowledges by hand, after every PEER_ROWS rows are durable, where Faust by
    itself would commit events whose rows are not yet written.
    """
    asyncio.run(_run_peer(config, folder, clock, in_batches=in_batches))


async def _run_peer(config: StreamsConfig, folder: Path, clock: Clock, *, in_batches: bool) -> None:
    app = faust.App(
        config.group,
        env={},
        broker=f"kafka://{config.brokers}",
        datadir=folder / "faust",
        store="memory://",
        web_enabled=False,
        topic_partitions=config.partitions,
    )
    topic = app.topic(config.reactions_topic, value_type=bytes, value_serializer="raw")
    # `take` runs outside of the stream's context, where a table cannot tell an event's partition.
    table = app.Table("ids", default=int, partitions=config.partitions, use_partitioner=in_batches)
    count, rows, done = Counter[str](), Rows(folder), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)

    def fresh(value: bytes) -> list[ReactionEvent]:
        """The event of these bytes, unless they are bad or known; remembers its id."""
        count["received"] += 1
        event = decode(value)
        if event is None:
            count["rejected"] += 1
            return []
        if table[event.id]:
            return []
        table[event.id] = 1
        return [event]

    async def take_batches(stream: StreamT) -> None:
        async for values in stream.take(TAKE_MAX, within=TAKE_WITHIN_S):
            rows.write([event for value in values for event in fresh(value)])

    async def take_each(stream: StreamT) -> None:
        gathered: list[ReactionEvent] = []
        unwritten: list[EventT] = []
        async for event in stream.noack().events():
            gathered += fresh(event.value)
            unwritten.append(event)
            if len(unwritten) >= PEER_ROWS or count["received"] >= clock.limit:
                rows.write(gathered)
                for written in unwritten:
                    written.ack()
                gathered, unwritten = [], []

    async def commit_when_through() -> None:
        while not done.is_set():
            await asyncio.sleep(0.02)
            if count["received"] >= clock.limit:
                await app.consumer.commit()

    app.agent(topic, name="take")(take_batches if in_batches else take_each)
    await app.start()
    committing = asyncio.create_task(commit_when_through())
    await done.wait()
    await committing
    report(clock, {**count, **rows.counts()})
    os._exit(0)  # Faust takes seconds to stop; nothing is left to do.


def report(clock: Clock, counts: dict[str, int]) -> None:
    """Print the result as the last line."""
    print(json.dumps({"seconds": round(clock.ended - clock.began, 4), **counts}), flush=True)


def main() -> None:
    """Run the contestant that the task names."""
    task = read_task()
    folder = Path(task.folder)
    config = StreamsConfig(
        brokers=task.brokers,
        group=task.group,
        reactions_topic=task.topic,
        partitions=task.partitions,
        data_dir=folder / "faust",
        dedup_dir=folder / "ids",
    )
    clock = Clock(limit=task.limit)
    clock.install()
    if task.name == "ours":
        report(clock, run_ours(config, folder, clock))
    else:
        run_peer(config, folder, clock, in_batches=task.name == "take")


if __name__ == "__main__":
    main()
