"""What the worker does on disk, small and the same each time. All of it is synthetic.

A scenario can be run again in the same folder after any crash, as a supervisor starts a worker
again: it goes on from the last offsets that the broker has committed and ends with all of it done.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from features.config import FeaturesConfig
from features.erasing import forget_user, search
from features.online import features_as_of, online_features
from features.repair import repair_online
from features.snapshot import take_snapshot
from features.store import FactStore
from features.views import VIEWS, connect
from files.durable import PARTIAL_PREFIX
from streams.config import StreamsConfig
from streams.events import DeadLetter
from streams.ledger import Chunk
from streams.pipeline import Pipeline, Record
from streams.writer import Writer
from tests.features.algebra_events import Bytes, in_log, unplaced
from tests.features.crash_points import Points
from tests.features.histories import (
    AFTER,
    busy_month,
    erasure,
    facts_of,
    reaction,
    shown,
    verdict,
)

IMPORTED_LATE = (
    "feast.infra.offline_stores.duckdb",
    "feast.infra.online_stores.sqlite",
    "feast.infra.passthrough_provider",
    "feast.repo_operations",
    "ibis.backends.duckdb",
)
"""Feast imports these when it is first asked: done once, not in every child."""
DAY_S = 86_400
AFTER_ALL = datetime(2100, 1, 1, tzinfo=UTC)
"""When homes are looked at: how old an exposure is would differ from look to look."""
NUM_PARTITIONS = 2
CHUNK_RECORDS = 2
MALFORMED = b'{"specversion":"1.0"'


def records() -> list[Bytes]:
    """Exposures of two days, reactions, an erasure, a verdict, no events, and repetitions."""
    reactions_topic = StreamsConfig().reactions_topic
    once = [
        unplaced(shown("r1", "u1")),
        unplaced(shown("r2", "u2", 3, policy="chat@2")),
        unplaced(shown("r3", "u3", 6)),
        unplaced(shown("r4", "u2", DAY_S)),
        unplaced(shown("r5", "u1", DAY_S + 9)),
        unplaced(reaction("r1", "add", 5, user_id="u1")),
        unplaced(reaction("r2", "add", 8, user_id="u2")),
        unplaced(reaction("r1", "remove", 60, user_id="u1")),
        unplaced(reaction("r3", "add", 61, user_id="u3")),
        unplaced(reaction("r4", "add", DAY_S + 1, user_id="u2", signal="dislike")),
        unplaced(reaction("r5", "add", DAY_S + 30, user_id="u1")),
        unplaced(erasure("u3", 500)),
        unplaced(verdict("u2", seconds=70, response_id="r2")),
    ]
    bad = [(reactions_topic, key, MALFORMED, once[5][3]) for key in (b"r1", b"r2")]
    return [*once[:8], *once[:3], bad[0], *once[8:], once[5], once[8], bad[1], once[11]]


class Broker:
    """The log, and what outlives a worker of the rest: commits and letters, in files beside."""

    def __init__(self, folder: Path, points: Points) -> None:
        self.log = in_log(records(), partitions=NUM_PARTITIONS)
        self._points = points
        self._commits = folder / "commits.json"
        self._letters = folder / "letters"
        self.next = dict.fromkeys(self.log, 0)
        if self._commits.exists():
            self.next |= {(t, p): at for t, p, at in json.loads(self._commits.read_bytes())}
        self._done = dict(self.next)

    def chunks(self) -> list[Chunk]:
        """The next records of every partition."""
        found = []
        for place, held in self.log.items():
            first = self.next[place]
            taken = held[first : first + CHUNK_RECORDS]
            if taken:
                self.next[place] = first + len(taken)
                size = sum(len(record.value or b"") for record in taken)
                found.append(
                    Chunk(
                        records=taken,
                        first=first,
                        next=self.next[place],
                        num_bytes=size,
                        generation=1,
                    )
                )
        return found

    async def take_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Acknowledge dead letters."""
        self._points.reach("dead letters are sent")
        with self._letters.open("a") as file:
            file.writelines(f"{each.topic} {each.partition} {each.offset}\n" for each in letters)

    def letters(self) -> set[str]:
        """The places of the records that were sent as dead letters."""
        return set(self._letters.read_text().splitlines())

    async def commit(self) -> None:
        """Keep what was acknowledged."""
        self._points.reach("offsets are committed")
        beside = self._commits.with_suffix(".new")
        beside.write_text(json.dumps([[*place, at] for place, at in self._done.items()]))
        os.replace(beside, self._commits)

    def acknowledge(self, chunk: Chunk) -> None:
        """All up to the end of the chunk is done."""
        self._done[chunk.records[0].topic, chunk.records[0].partition] = chunk.next


class Handed:
    """A chunk on its way through the writer."""

    def __init__(self, value: Chunk, broker: Broker) -> None:
        self.value = value
        self._broker = broker

    def ack(self) -> None:
        """Say that it is durable."""
        self._broker.acknowledge(self.value)


def streams_config(home: Path) -> StreamsConfig:
    """As rluf/settings.py lays a home out."""
    return StreamsConfig(dedup_dir=home / "store" / "ids", linger_ms=0)


def features_config(home: Path) -> FeaturesConfig:
    """Replaced files are deleted by the next look at them, and not minutes later."""
    return FeaturesConfig(root=home, compact_grace_s=0.0)


def ingest(home: Path, points: Points) -> object:
    """A worker's writer takes in the log from the last commit on; files are merged, users erased.

    Gives what the store says afterwards.
    """
    points.labels.append("the worker starts")
    broker = Broker(home.parent, points)
    store = FactStore(features_config(home))
    asyncio.run(_write_all(home, broker, store))
    store.compact()
    store.erase()
    return look(home, broker)


async def _write_all(home: Path, broker: Broker, store: FactStore) -> None:
    writer = Writer(
        streams_config(home),
        append=store.append,
        send_dead_letters=broker.take_letters,
        commit=broker.commit,
    )
    running = asyncio.create_task(writer.run())
    num_batches = 0
    while chunks := broker.chunks():
        for chunk in chunks:
            writer.put(Handed(chunk, broker))
        draining = asyncio.create_task(writer.drain(30.0))
        await asyncio.wait({running, draining}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        num_batches += 1
        if num_batches == 2:
            store.compact()
    running.cancel()


def look(home: Path, broker: Broker) -> object:
    """All that a home says once everything is taken in; all else follows from these views."""
    told: dict[str, object] = {}
    with connect(home, as_of=AFTER_ALL) as connection:
        for view in VIEWS:
            rows = connection.sql(f"SELECT * FROM {view} ORDER BY ALL").to_arrow_table()
            told[view] = rows.to_pylist()
    told["letters"] = sorted(broker.letters())
    told["unreadable"] = [_name(home, path) for path in facts_files(home) if not _reads(path)]
    again = [record for held in broker.log.values() for record in held]
    told["taken for new"] = num_new(home, again)
    told["partial"] = partial_under(home)
    told["half hashes"] = [
        _name(home, path) for path in home.rglob("*.ids") if path.stat().st_size % 8
    ]
    return told


def partial_under(home: Path) -> list[str]:
    """Unfinished files that are still there; the next to tidy up should have deleted old ones."""
    return sorted(_name(home, path) for path in home.rglob(f"{PARTIAL_PREFIX}*"))


def num_new(home: Path, log: Sequence[Record]) -> int:
    """How many events of the log a worker that starts now would not know."""
    facts = Pipeline(streams_config(home)).run(log)
    return facts.received - facts.duplicates - len(facts.dead_letters)


def facts_files(home: Path) -> list[Path]:
    """The files that readers look at."""
    paths = (home / "store").rglob("*.parquet")
    return sorted(path for path in paths if not path.name.startswith(PARTIAL_PREFIX))


def _reads(path: Path) -> bool:
    try:
        pq.read_table(path)
    except (OSError, ValueError):
        return False
    return True


def _name(home: Path, path: Path) -> str:
    return str(path.relative_to(home))


SECRET = "what nobody else was ever told by anybody"
FORGOTTEN = "user-to-be-forgotten"
MONTH = [
    *(shown(f"f{n}", FORGOTTEN, 3000 + n, response=SECRET) for n in range(3)),
    *busy_month(),
    reaction("f1", "add", 3300, user_id=FORGOTTEN),
]


def begin_deriving(home: Path, points: Points) -> object:
    """Half of a month is taken in; the second scenario begins there."""
    FactStore(features_config(home)).append(facts_of(MONTH[:400]))
    return None


def derive(home: Path, points: Points) -> object:
    """Everything that is made of facts: online rows, a snapshot, a history, a user forgotten.

    Gives what is served and frozen afterwards, and where the forgotten user is still found.
    """
    points.labels.append("the worker starts")
    config = features_config(home)
    store = FactStore(config, clock=lambda: 0.0)
    store.push()
    store.append(facts_of(MONTH[400:]))
    store.push()
    take_snapshot(config, signal="love", as_of=AFTER)
    features_as_of(config, users=["u1", FORGOTTEN], policies=["chat@1"], at=AFTER)
    store.append(facts_of([erasure(FORGOTTEN, 10**6)]))
    store.push()
    forget_user(config, [FORGOTTEN])
    points.reach("the user is forgotten")
    snapshot = take_snapshot(config, signal="love", as_of=AFTER)
    store.push()
    repair_online(config)
    left = search(home, [FORGOTTEN], [SECRET])
    return {
        "online": _online(config),
        "snapshot": (snapshot.hash, snapshot.num_rows),
        "snapshots": sorted(p.name for p in (home / "snapshots").iterdir() if p.name[0] != "."),
        "found": [path for path in left.found if not path.startswith("store/erasures/")],
        "unread": left.unread,
        "partial": partial_under(home),
    }


def _online(config: FeaturesConfig) -> object:
    users = [f"u{n}" for n in range(40)] + [FORGOTTEN]
    return online_features(config.root, users=users, policies=["chat@1", "chat@2"])


def plain(told: object) -> bytes:
    """The same as bytes, to compare and to show."""
    return msgspec.json.format(msgspec.json.encode(told, enc_hook=repr), indent=1)
