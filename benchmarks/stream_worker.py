"""One worker with its store, as a process that says when facts became durable and visible.

    python -m benchmarks.stream_worker JSON     (see WorkerTask; used by latency.py and scaling.py)

It runs until SIGTERM and then writes `report` as JSON.
"""

import json
import sys
import time
from pathlib import Path

import msgspec
from faust.transport.consumer import Consumer

from features.config import FeaturesConfig
from features.store import FactStore
from streams.config import StreamsConfig
from streams.pipeline import Facts
from streams.worker import run_worker


class WorkerTask(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is told."""

    brokers: str
    group: str
    topic: str
    partitions: int
    folder: str
    """Home of the store, shared by all workers of one run."""
    report: str
    ready: str
    is_timed: bool
    """Whether to note each id's time; otherwise only counts and memory are reported."""


class WatchedStore:
    """A store of facts that notes, on the wall clock, when which ids became durable."""

    def __init__(self, store: FactStore, *, is_timed: bool) -> None:
        self._store = store
        self._is_timed = is_timed
        self.appended: list[tuple[float, list[str]]] = []
        self.num_facts = 0

    def append(self, facts: Facts) -> None:
        """As the store's."""
        self._store.append(facts)
        self.num_facts += len(facts.reactions)
        if self._is_timed:
            self.appended.append((time.time(), [event.id for event in facts.reactions]))

    def push(self) -> int:
        """As the store's."""
        return self._store.push()


def main() -> None:
    """Run the worker that the command line names."""
    task = msgspec.json.decode(sys.argv[1], type=WorkerTask)
    root = Path(task.folder)
    own = Path(task.report).with_suffix(".faust")
    config = StreamsConfig(
        brokers=task.brokers,
        group=task.group,
        reactions_topic=task.topic,
        partitions=task.partitions,
        data_dir=own,
        dedup_dir=root / "ids",
    )
    store = WatchedStore(FactStore(FeaturesConfig(root=root)), is_timed=task.is_timed)
    began: list[float] = []
    resume_flow = Consumer.resume_flow

    def resume(consumer: Consumer) -> None:
        began.append(time.time())
        resume_flow(consumer)

    Consumer.resume_flow = resume  # The first fetch may go out: partitions are assigned.
    run_worker(config, store, ready_file=Path(task.ready))
    Path(task.report).write_text(
        json.dumps(
            {
                "began": began[0] if began else 0.0,
                "num_facts": store.num_facts,
                "peak_mb": peak_mb(),
                "appended": store.appended,
            }
        )
    )


def peak_mb() -> float:
    """The largest resident size of this process.

    Not that of getrusage, which Linux lets a process inherit from the one that started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM: memory is measured on Linux only")


if __name__ == "__main__":
    main()
