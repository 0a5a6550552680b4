"""Quix Streams: a streaming dataframe with RocksDB state and a batching sink.

As its documentation has it: `filter(..., stateful=True)` with ids kept in state under the record's
key (RocksDB and a changelog topic, so that it survives a restart), and a `BatchingSink` that
writes when a checkpoint is committed. Deviations, all in its favour: values are taken as bytes and
decoded by msgspec, which is faster than its JSON deserializer; a checkpoint comes every 50,000
events, as in our worker, besides its 5 s.
"""

from collections import Counter
from pathlib import Path

from quixstreams import Application, State  # type: ignore[import-not-found]
from quixstreams.checkpointing import Checkpoint  # type: ignore[import-not-found]
from quixstreams.sinks import BatchingSink, SinkBatch  # type: ignore[import-not-found]

from benchmarks.stream_shared import (
    BATCH_EVENTS,
    Clock,
    ReactionEvent,
    Rows,
    decode,
    read_task,
    report,
)


class RowSink(BatchingSink):  # type: ignore[misc]
    """Writes the batch of one partition as one durable file."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self._rows = rows

    def write(self, batch: SinkBatch) -> None:
        """Called before the offsets are committed."""
        self._rows.write([item.value for item in batch])


def is_new(event: ReactionEvent, state: State) -> bool:
    """Whether the id was not seen before; remembers it."""
    if state.exists(event.id):
        return False
    state.set(event.id, 1)
    return True


def main() -> None:
    """Take the whole topic in, then print what was done."""
    task = read_task()
    folder = Path(task.folder)
    clock, rows, count = Clock(), Rows(folder), Counter[str]()
    app = Application(
        broker_address=task.brokers,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        state_dir=folder / "state",
        commit_every=BATCH_EVENTS,
        loglevel="WARNING",
    )
    on_assign, commit = app._on_assign, Checkpoint.commit

    def assigned(*args: object) -> None:
        on_assign(*args)
        clock.begin()

    def committed(checkpoint: Checkpoint, *args: object, **more: object) -> None:
        commit(checkpoint, *args, **more)
        clock.end()
        if count["received"] >= task.limit:
            app.stop()

    def take(value: bytes) -> ReactionEvent | None:
        count["received"] += 1
        event = decode(value)
        if event is None:
            count["rejected"] += 1
        if count["received"] >= task.limit:
            app.stop()
        return event

    app._on_assign, Checkpoint.commit = assigned, committed
    topic = app.topic(task.topic, value_deserializer="bytes", key_deserializer="bytes")
    frame = app.dataframe(topic).apply(take).filter(lambda event: event is not None)
    frame.filter(is_new, stateful=True).sink(RowSink(rows))
    app.run()
    report(clock, {**count, **rows.counts()})


if __name__ == "__main__":
    main()
