"""Goal: the log, read again into a new store, gives the hashes of the store that the worker wrote.

Method: synthetic events through Apache Kafka and `rluf worker` into one home, with redelivery, bad
records and an erasure among them; then the log from the beginning, from offsets and from a time.
"""

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.config import FeaturesConfig
from features.digest import labels_digest
from features.online import online_features
from features.repair import repair_online
from features.views import query
from rluf.replay_log import ReplayedLog, replay_log
from rluf.settings import Settings
from streams.codec import key_of
from streams.config import StreamsConfig
from streams.events import Event, new_id
from streams.kafka.producer import Producer
from streams.kafka.topics import Offsets, ensure_topics, lag
from tests.features.histories import busy_month, erasure, reaction, store_all
from tests.offsets import end_offsets
from tests.rluf.command import finish, start
from tests.waiting import WAIT_S, patiently

pytestmark = pytest.mark.kafka

EVENTS: list[Event] = [
    *busy_month(),
    reaction("never-shown", "add", 7, user_id="u1"),
    erasure("u5", 16_000),
]
EARLIER, LATER = EVENTS[::2], EVENTS[1::2]
TICK_S = 0.01
"""The log cuts its times to ms: this keeps what is sent on each side of a time on that side."""
TOPICS = ("shown", "reactions", "erasures", "verdicts", "dead_letters", "decisions")
IDS = "SELECT id FROM shown UNION ALL SELECT id FROM reactions UNION ALL SELECT id FROM erasures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was sent, and where and when its second half began."""

    settings: Settings
    halfway: Offsets
    halfway_at: datetime


@contextmanager
def working(config: StreamsConfig, home: Path) -> Iterator[None]:
    """A worker of its own process, until it has stored all that the log holds."""
    names = ("brokers", "group", *(f"{kind}_topic" for kind in TOPICS))
    dials = {f"RLUF_STREAMS__{name.upper()}": str(getattr(config, name)) for name in names}
    process = start("worker", home=home, settings=dials)
    try:
        yield
        until = time.monotonic() + WAIT_S
        while sum(lag(config).values()):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until, f"behind after {WAIT_S:.0f} s: {lag(config)}"
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGTERM)
        finish(process)


@pytest.fixture(scope="module")
def told(kafka_broker, tmp_path_factory) -> Told:
    """Both halves in the log and in the worker's store; a quarter of the first came twice."""
    home, own = tmp_path_factory.mktemp("worker"), new_id()
    topics = {f"{kind}_topic": f"{own}.{kind}" for kind in TOPICS}
    config = StreamsConfig(brokers=kafka_broker.brokers, group=f"{own}.group", **topics)
    patiently(lambda: ensure_topics(config))
    with working(config, home), Producer(config) as producer:
        for event in [*EARLIER, *EARLIER[::4]]:
            producer.send(event)
        producer.send_raw(config.reactions_topic, key_of(EARLIER[0]), b"{")
        producer.flush(WAIT_S)
        halfway = end_offsets(config)
        time.sleep(TICK_S)
        halfway_at = datetime.now(UTC)
        time.sleep(TICK_S)
        for event in LATER:
            producer.send(event)
        producer.flush(WAIT_S)
    settings = Settings(home=home, streams=config, features=FeaturesConfig(root=home))
    return Told(settings=settings, halfway=halfway, halfway_at=halfway_at)


def again(told: Told, into: Path, start: Offsets | datetime | None) -> ReplayedLog:
    return replay_log(
        told.settings, start=start, into=into, on_progress=lambda *_: None, signal="love"
    )


def test_from_the_beginning_all_hashes_are_those_of_the_worker(told, tmp_path):
    report = again(told, tmp_path / "new", None)
    assert report.is_same
    assert report.labels_digest == labels_digest(told.settings.home)
    assert len(report.snapshot) == 64, report.snapshot
    assert report.records == len(EVENTS) + len(EARLIER[::4]) + 1
    assert (report.duplicates, report.dead_letters) == (len(EARLIER[::4]), 1)
    assert (report.lost, report.beyond) == ({}, {})
    assert "the same as the store in use" in report.summary()
    repair_online(told.settings.features)
    users = [f"u{number}" for number in range(40)]
    assert online_features(tmp_path / "new", users=users) == online_features(
        told.settings.home, users=users
    )


@pytest.mark.parametrize("by", ["offsets", "time"])
def test_from_the_middle_exactly_the_events_before_it_are_missing(told, tmp_path, by):
    start = told.halfway if by == "offsets" else told.halfway_at
    report = again(told, tmp_path / "new", start)
    assert not report.is_same
    assert report.records == len(LATER)
    store_all(tmp_path / "direct", LATER)
    assert report.labels_digest == labels_digest(tmp_path / "direct")
    ids = query(tmp_path / "new", IDS).column("id").to_pylist()
    assert sorted(ids) == sorted(query(tmp_path / "direct", IDS).column("id").to_pylist())


def test_a_folder_that_holds_a_store_is_refused_and_nothing_is_read(told, tmp_path):
    again(told, tmp_path / "new", told.halfway_at)
    before = labels_digest(tmp_path / "new")
    for taken in (tmp_path / "new", told.settings.home):
        with pytest.raises(ValueError, match="holds a store already"):
            again(told, taken, None)
    assert labels_digest(tmp_path / "new") == before
    shutil.rmtree(tmp_path / "new")
    assert again(told, tmp_path / "new", told.halfway_at).labels_digest == before
