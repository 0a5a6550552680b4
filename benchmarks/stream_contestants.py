"""The contestants of the streaming benchmark; each runs in a process of its own.

`python -m benchmarks.stream_contestants TASK` prints one line of JSON: seconds, received, unique,
duplicates, rejected.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faust
import pyarrow.parquet as pq
from faust.exceptions import ValueDecodeError
from faust.transport.consumer import Consumer
from faust.types import TP, StreamT

from features.config import FeaturesConfig
from features.store import FactStore
from streams.config import StreamsConfig
from streams.worker import run_worker


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


class ReactionData(faust.Record, validation=True):  # type: ignore[misc, call-arg]
    """What the peers take for the data of a reaction."""

    response_id: str
    user_id: str
    signal: str
    action: str


class ReactionEvent(faust.Record, validation=True):  # type: ignore[misc, call-arg]
    """What the peers take for a reaction."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    data: ReactionData


def run_peer(
    config: StreamsConfig, folder: Path, clock: Clock, *, has_table: bool
) -> dict[str, int]:
    """A Faust agent after the documentation's first pages, with ids in a set or in a table.

    It takes bytes and decodes them itself, because one bad value would crash the agent.
    """
    count = Counter[str]()

    async def run() -> None:
        app = faust.App(
            config.group,
            env={},
            broker=f"kafka://{config.brokers}",
            datadir=folder,
            store="memory://",
            web_enabled=False,
            topic_partitions=config.partitions,
        )
        topic = app.topic(config.reactions_topic, value_type=bytes, value_serializer="raw")
        table = app.Table("ids", default=int, partitions=config.partitions) if has_table else None
        seen: set[str] = set()
        done = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)

        @app.agent(topic)  # type: ignore[untyped-decorator]
        async def take(stream: StreamT) -> None:
            async for value in stream:
                count["received"] += 1
                try:
                    event = ReactionEvent.loads(value, serializer="json")
                except (ValueDecodeError, ValueError, TypeError):
                    count["rejected"] += 1
                    continue
                if table is not None:
                    is_known = table[event.id] > 0
                    table[event.id] += 1
                else:
                    is_known = event.id in seen
                    seen.add(event.id)
                if is_known:
                    count["duplicates"] += 1
                    continue
                count["unique"] += 1
                count[f"{event.data.signal} {event.data.action}"] += 1

        async def commit_when_through() -> None:
            while not done.is_set():
                await asyncio.sleep(0.02)
                if count["received"] >= clock.limit:
                    await app.consumer.commit()

        await app.start()
        committing = asyncio.create_task(commit_when_through())
        await done.wait()
        await committing
        os._exit(report(clock, dict(count)))  # Faust takes seconds to stop; nothing is left to do.

    asyncio.run(run())
    return dict(count)


def report(clock: Clock, counts: dict[str, int]) -> int:
    """Print the result; gives the exit status."""
    print(json.dumps({"seconds": round(clock.ended - clock.began, 4), **counts}), flush=True)
    return 0


def main() -> None:
    """Run the contestant that the task names."""
    task = json.loads(sys.argv[1])
    folder = Path(task["folder"])
    config = StreamsConfig(brokers=task["brokers"], group=task["group"], data_dir=folder / "faust")
    clock = Clock(limit=task["limit"])
    clock.install()
    if task["name"] == "ours":
        report(clock, run_ours(config, folder, clock))
    else:
        run_peer(config, folder, clock, has_table=task["name"] == "table")


if __name__ == "__main__":
    main()
