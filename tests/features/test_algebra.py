"""Goal: labels, snapshots and online features are functions of the set of events alone.

Method: hypothesis plays a worker that delivers a drawn history in another order, in chunks of any
size, twice, with crashes between writing and committing, and with files merged in between; at the
end it has delivered all, and what the store says must equal, byte by byte, what a store says that
got each record once and in order. Feast costs half a second to open: the machine reads the SQL that
Feast's rows are computed from, and one test compares real snapshots and real online rows.
"""

import random
import shutil
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from features.config import FeaturesConfig
from features.digest import labels_bytes
from features.examples import draw, expose
from features.history import current_sql
from features.offline.parquet import ParquetStore
from features.online import OnlineStore, online_features
from features.repair import repair_online
from features.snapshot import take_snapshot
from features.store import FactStore
from features.views import connect
from streams.pipeline import Pipeline, Record
from streams.signals import SIGNALS
from tests.features.algebra_events import CONFIG, HISTORIES, Bytes, in_log, unplaced
from tests.features.histories import AFTER, busy_month, erasure, reaction, shown
from tests.properties import examples

CHUNK = st.integers(1, 12)


def said(root: Path) -> dict[str, object]:
    """All that a store says, without Feast: labels, what a snapshot draws, current features."""
    config = FeaturesConfig(root=root)
    told: dict[str, object] = {"labels": b"".join(labels_bytes(root))}
    with connect(root, AFTER + timedelta(days=60)) as connection:
        for key in ("user_id", "policy"):
            sql = current_sql(key, strength=20.0, rate=0.05)
            rows = connection.sql(sql).to_arrow_table()
            told[key] = rows.drop_columns(["event_timestamp", "created_timestamp"]).to_pylist()
        exposed = expose(connection, config, SIGNALS["love"])
    told["exposures"] = exposed.to_pylist()
    try:
        told["drawn"] = draw(exposed, config, "love").rows.to_pylist()
    except ValueError as refusal:
        told["drawn"] = str(refusal)
    return told


def said_of_once_in_order(records: Sequence[Bytes]) -> dict[str, object]:
    """The same of a store that gets each record once, in order, at once."""
    with tempfile.TemporaryDirectory() as folder:
        deliver_in_order(Path(folder), records)
        return said(Path(folder))


def deliver_in_order(root: Path, records: Sequence[Bytes]) -> None:
    everything = [Record(r[0], 0, i, r[3], r[1], r[2], ()) for i, r in enumerate(records)]
    facts = Pipeline(CONFIG).run(everything)
    ParquetStore(FeaturesConfig(root=root)).append(facts)


class Worker(RuleBasedStateMachine):
    """A worker that is killed and restarted over a log whose order hypothesis chose."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.store = FactStore(FeaturesConfig(root=self.root))
        self.pipeline = Pipeline(CONFIG)
        self.records: list[Bytes] = []
        self.log: dict[tuple[str, int], list[Record]] = {}
        self.position: dict[tuple[str, int], int] = {}
        self.committed: dict[tuple[str, int], int] = {}

    @initialize(records=HISTORIES, shuffler=st.randoms(), partitions=st.integers(1, 3))
    def write_log(self, records: list[Bytes], shuffler: random.Random, partitions: int) -> None:
        self.records = records
        shuffled = list(records)
        shuffler.shuffle(shuffled)
        self.log = in_log(shuffled, partitions=partitions)
        self.position = dict.fromkeys(self.log, 0)
        self.committed = dict.fromkeys(self.log, 0)

    def _append(self, size: int, places: Sequence[tuple[str, int]]) -> None:
        """Write the next records of these partitions as one batch, and go on reading behind."""
        batch = []
        for place in places:
            chunk = self.log[place][self.position[place] : self.position[place] + size]
            self.position[place] += len(chunk)
            batch += chunk
        self.facts = self.pipeline.run(batch)
        self.store.append(self.facts)

    def _restart(self) -> None:
        self.pipeline = Pipeline(CONFIG)
        self.store = FactStore(FeaturesConfig(root=self.root))
        self.position = dict(self.committed)

    @rule(size=CHUNK, choose=st.randoms())
    def deliver(self, size: int, choose: random.Random) -> None:
        places = choose.sample(sorted(self.log), k=choose.randint(1, len(self.log)))
        self._append(size, places)
        self.pipeline.remember(self.facts)
        self.committed.update({place: self.position[place] for place in places})

    @rule(size=CHUNK)
    def crash_between_append_and_commit(self, size: int) -> None:
        self._append(size, sorted(self.log))
        self._restart()

    @rule(size=CHUNK)
    def crash_between_remember_and_commit(self, size: int) -> None:
        self._append(size, sorted(self.log))
        self.pipeline.remember(self.facts)
        self._restart()

    @rule(size=CHUNK)
    def fail_to_commit_and_go_on(self, size: int) -> None:
        """The same process reads again what it remembers already."""
        before = dict(self.position)
        self._append(size, sorted(self.log))
        self.pipeline.remember(self.facts)
        self.position = before

    @rule(back=CHUNK, choose=st.randoms())
    def lose_a_partition_and_get_it_back(self, back: int, choose: random.Random) -> None:
        place = choose.choice(sorted(self.log))
        self.pipeline.forget(*place)
        self.committed[place] = self.position[place] = max(0, self.committed[place] - back)

    @precondition(lambda self: any(self.committed.values()))
    @rule()
    def merge_files(self) -> None:
        self.store.compact()

    def teardown(self) -> None:
        try:
            if self.log:
                self._append(1000, sorted(self.log))
                self.pipeline.remember(self.facts)
                assert said(self.root) == said_of_once_in_order(self.records)
        finally:
            shutil.rmtree(self.root)


TestAnyDelivery = Worker.TestCase
TestAnyDelivery.settings = settings(
    max_examples=examples(40),
    stateful_step_count=8,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_what_is_compared_differs_where_one_reaction_more_was_delivered(tmp_path):
    history = [unplaced(shown("r1")), unplaced(reaction("r1", "add", 5))]
    less, more = said_of_once_in_order(history[:1]), said_of_once_in_order(history)
    assert all(less[key] != more[key] for key in ("labels", "user_id", "policy", "exposures"))


HISTORY = [
    *busy_month(),
    reaction("never-shown", "add", 7, user_id="u1"),
    reaction("r3-1", "add", 60, user_id="u9"),
    erasure("u5", 16_000),
    erasure("u6", 10**6),
]


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> Path:
    """A home that got everything once and in order."""
    root = tmp_path_factory.mktemp("once")
    deliver_in_order(root, [unplaced(event) for event in HISTORY])
    repair_online(FeaturesConfig(root=root))
    return root


def online_of(root: Path) -> dict[str, object]:
    users = [f"u{n}" for n in range(40)] + ["nobody"]
    return online_features(root, users=users, policies=["chat@1", "chat@2", "none"])


@pytest.mark.parametrize("seed", range(3))
def test_snapshot_hash_labels_and_online_rows_are_those_of_once_in_order(tmp_path, once, seed):
    rng = random.Random(seed)
    records = [unplaced(event) for event in HISTORY]
    records += rng.sample(records, k=len(records) // 4)
    rng.shuffle(records)
    store, pipeline = FactStore(FeaturesConfig(root=tmp_path)), Pipeline(CONFIG)
    for held in in_log(records, partitions=3).values():
        first = 0
        while first < len(held):
            size = rng.randint(1, 200)
            facts = pipeline.run(held[first : first + size])
            store.append(facts)
            if rng.random() < 0.3:  # A crash: nothing remembered, the same chunk again.
                pipeline = Pipeline(CONFIG)
                continue
            pipeline.remember(facts)
            first += size
        store.push()
    store.compact()
    repair_online(FeaturesConfig(root=tmp_path))
    assert b"".join(labels_bytes(tmp_path)) == b"".join(labels_bytes(once))
    assert online_of(tmp_path) == online_of(once)
    taken, taken_once = (
        take_snapshot(FeaturesConfig(root=root), signal="love", as_of=AFTER)
        for root in (tmp_path, once)
    )
    assert taken.hash == taken_once.hash
    assert taken.num_rows > 50


def test_repair_brings_back_what_was_lost_and_removes_what_no_fact_supports(tmp_path):
    config = FeaturesConfig(root=tmp_path)
    deliver_in_order(tmp_path, [unplaced(shown("r1")), unplaced(reaction("r1", "add", 5))])
    assert repair_online(config) == 2  # One user and one policy.
    right = online_features(tmp_path, users=["u"], policies=["chat@1"])
    assert right["users"]["u"]["num_love"] == 1

    deliver_in_order(tmp_path, [unplaced(erasure("u", 60))])
    assert repair_online(config) == 0
    gone = online_features(tmp_path, users=["u"], policies=["chat@1"])
    assert gone["users"]["u"]["num_shown"] is None
    assert gone["policies"]["chat@1"]["num_shown"] is None


def test_repair_makes_an_online_store_that_was_deleted_anew(tmp_path):
    config = FeaturesConfig(root=tmp_path)
    deliver_in_order(tmp_path, [unplaced(shown("r1")), unplaced(reaction("r1", "add", 5))])
    repair_online(config)
    for path in tmp_path.rglob("online.db*"):
        path.unlink()
    assert repair_online(config) == 2
    assert OnlineStore(tmp_path).read(users=["u"])["users"]["u"]["num_love"] == 1
