"""Bytewax: a dataflow with a stateful step, a dynamic sink and a recovery store.

As its documentation has it: its Kafka source, `key_on` and `stateful_flat_map` for what must be
remembered, a `DynamicSink`, and `RecoveryConfig` (SQLite), which keeps state and offsets at the end
of each epoch; it commits nothing to Kafka. Deviations: an epoch of 1 s instead of 10 s, because the
stored rows trail by one, and rows are written by 10,000, or when the dataflow ends.
The clock ends when the last epoch is in the recovery store.
"""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op  # type: ignore[import-not-found]
from bytewax.connectors.kafka import KafkaSource  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.outputs import DynamicSink, StatelessSinkPartition  # type: ignore[import-not-found]
from bytewax.recovery import RecoveryConfig, init_db_dir  # type: ignore[import-not-found]
from bytewax.testing import cluster_main  # type: ignore[import-not-found]

from benchmarks.stream_shared import Clock, ReactionEvent, Rows, Task, decode, read_task, report

EPOCH = timedelta(seconds=1)
ROWS_MAX = 10_000
FETCH_MAX = 10_000


class RowPartition(StatelessSinkPartition[tuple[str, ReactionEvent]]):  # type: ignore[misc]
    """Gathers rows and writes them durably."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._gathered: list[ReactionEvent] = []

    def write_batch(self, items: list[tuple[str, ReactionEvent]]) -> None:
        """Take rows in."""
        self._gathered += [event for _, event in items]
        if len(self._gathered) >= ROWS_MAX:
            self.close()

    def close(self) -> None:
        """Write what is left."""
        self._rows.write(self._gathered)
        self._gathered = []


class RowSink(DynamicSink[tuple[str, ReactionEvent]]):  # type: ignore[misc]
    """One part per worker."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def build(self, step_id: str, worker_index: int, worker_count: int) -> RowPartition:
        """The part of this worker."""
        return RowPartition(self._rows)


def make_flow(task: Task, clock: Clock, rows: Rows, count: Counter[str]) -> Dataflow:
    """Source, decode, remember, sink."""

    class Source(KafkaSource):  # type: ignore[misc]
        def build_part(self, *args: object, **more: object) -> object:
            part = super().build_part(*args, **more)
            clock.begin()
            return part

    def take(message: object) -> ReactionEvent | None:
        count["received"] += 1
        event = decode(message.value)  # type: ignore[attr-defined]
        if event is None:
            count["rejected"] += 1
        return event

    def once(seen: bool | None, event: ReactionEvent) -> tuple[bool, list[ReactionEvent]]:
        return True, [] if seen else [event]

    flow = Dataflow("reactions")
    source = Source([task.brokers], [task.topic], tail=False, batch_size=FETCH_MAX)
    events = op.filter_map("decode", op.input("read", flow, source), take)
    keyed = op.key_on("key", events, lambda event: event.id)
    op.output("write", op.stateful_flat_map("once", keyed, once), RowSink(rows))
    return flow


def main() -> None:
    """Take the whole topic in, then print what was done."""
    task = read_task()
    folder = Path(task.folder)
    (folder / "recovery").mkdir()
    init_db_dir(folder / "recovery", 1)
    clock, rows, count = Clock(), Rows(folder), Counter[str]()
    cluster_main(
        make_flow(task, clock, rows, count),
        [],
        0,
        epoch_interval=EPOCH,
        recovery_config=RecoveryConfig(str(folder / "recovery")),
    )
    clock.end()
    report(clock, {**count, **rows.counts()})


if __name__ == "__main__":
    main()
