"""What the peers of the streaming benchmark share: event, durable rows, remembered ids, clock.

Imports nothing of the house, since the peers run in an environment of their own.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

BATCH_EVENTS = 50_000
"""The most events in one file; that of our worker."""
LINGER_S = 0.2
"""How long a batch gathers, in s; that of our worker."""

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a contestant is told, as JSON on its command line."""

    name: str
    brokers: str
    topic: str
    group: str
    folder: str
    limit: int
    """Events on the topic: the contestant ends when their offsets are committed."""
    partitions: int


class ReactionData(msgspec.Struct, frozen=True):
    """The data of a reaction."""

    response_id: Text
    user_id: Text
    signal: Literal["love", "like", "dislike", "continue", "regenerate"]
    action: Literal["add", "remove"]


class ReactionEvent(msgspec.Struct, frozen=True):
    """A reaction as on the wire."""

    specversion: Literal["1.0"]
    id: Text
    source: Text
    type: Literal["rluf.reaction.v1"]
    time: datetime
    data: ReactionData


DECODER = msgspec.json.Decoder(ReactionEvent)


def decode(value: bytes | None) -> ReactionEvent | None:
    """The event; None for bytes that are none."""
    try:
        return DECODER.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Clock:
    """From the first fetch to the acknowledged commit of the last offset."""

    def __init__(self) -> None:
        self.began = 0.0
        self.ended = 0.0

    def begin(self) -> None:
        """The first fetch may go out; later calls change nothing."""
        self.began = self.began or time.perf_counter()

    def end(self) -> None:
        """Something was committed; the last call counts."""
        self.ended = time.perf_counter()

    @property
    def seconds(self) -> float:
        """What it took."""
        return self.ended - self.began


class Rows:
    """Parquet files of reactions, each whole and synced before its name is seen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "rows"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._num_files = 0

    def write(self, events: Sequence[ReactionEvent]) -> None:
        """Make the rows durable: write aside, fsync, rename, fsync of the folder."""
        if not events:
            return
        table = pa.table(
            {
                "id": [event.id for event in events],
                "source": [event.source for event in events],
                "occurred_at": pa.array(
                    [event.time for event in events], pa.timestamp("us", "UTC")
                ),
                "response_id": [event.data.response_id for event in events],
                "user_id": [event.data.user_id for event in events],
                "signal": [event.data.signal for event in events],
                "action": [event.data.action for event in events],
            }
        )
        self.write_table(table)

    def write_table(self, table: pa.Table) -> None:
        """Make one table a durable file."""
        self._num_files += 1
        path = self._folder / f"{os.getpid()}-{self._num_files:06d}.parquet"
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def counts(self) -> dict[str, int]:
        """Rows and different ids in the files, read back from them."""
        ids: list[str] = []
        paths = sorted(self._folder.glob("*.parquet"))
        for path in paths:
            ids.extend(pq.read_table(path, columns=["id"])["id"].to_pylist())
        return {"stored": len(ids), "unique": len(set(ids)), "files": len(paths)}


class KeptIds:
    """A set of ids beside an append-only file of them, which a restart reads: the simple way."""

    def __init__(self, folder: Path) -> None:
        path = folder / "ids.txt"
        self._seen = set(path.read_text().split()) if path.exists() else set[str]()
        self._file: IO[str] = path.open("a")

    def fresh(self, events: Sequence[ReactionEvent]) -> list[ReactionEvent]:
        """The events whose ids are new, each once; nothing is remembered yet."""
        seen = self._seen
        unique = {event.id: event for event in events if event.id not in seen}
        return list(unique.values())

    def remember(self, events: Sequence[ReactionEvent]) -> None:
        """Call it when their rows are durable."""
        ids = [event.id for event in events]
        self._seen.update(ids)
        self._file.writelines(f"{id}\n" for id in ids)
        self._file.flush()


class Intake:
    """The work of the raw consumers: decode, validate, drop duplicates, write durable rows."""

    def __init__(self, folder: Path) -> None:
        self._rows = Rows(folder)
        self._ids = KeptIds(folder)
        self.received = 0
        self.rejected = 0

    def take(self, values: Sequence[bytes | None]) -> None:
        """One batch; durable when it returns."""
        events = [event for event in map(decode, values) if event is not None]
        self.received += len(values)
        self.rejected += len(values) - len(events)
        fresh = self._ids.fresh(events)
        self._rows.write(fresh)
        self._ids.remember(fresh)

    def counts(self) -> dict[str, int]:
        """What was done."""
        return {"received": self.received, "rejected": self.rejected, **self._rows.counts()}


def read_task() -> Task:
    """The task on the command line."""
    return msgspec.json.decode(sys.argv[1], type=Task)


def report(clock: Clock, counts: dict[str, int]) -> None:
    """Print the result as the last line."""
    print(json.dumps({"seconds": round(clock.seconds, 4), **counts}), flush=True)
