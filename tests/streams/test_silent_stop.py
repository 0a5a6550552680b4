"""Goal: a worker never stops in silence; and what is no standstill is no alarm.

Method: Apache Kafka itself and workers as processes, made to stand still in the ways of
faust-streaming's open issues 523 and 532 and of their neighbours: alive, with heartbeats, without
progress. While its watchdog cannot look, the worker stands still for as long as we wait, which is
what makes the test able to fail; once it can, it ends, says where it stood, and the next one goes
on.
"""

import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.config import StreamsConfig
from streams.kafka.broker import Broker
from streams.kafka.topics import ensure_topics, lag
from streams.worker import EXIT_STALLED
from tests.conftest import CACHE
from tests.offsets import committed_offsets
from tests.streams.silent_rig import (
    Dials,
    InBackground,
    num_members,
    start_silent,
    visit_group,
)
from tests.streams.test_worker import produce_reactions, reactions
from tests.streams.worker_rig import RunningWorker, is_caught_up
from tests.waiting import WAIT_S, patiently, wait_for

pytestmark = pytest.mark.kafka

LIMIT_S = 2.0
"""Of the watchdog."""
SILENCE_S = 7.0
"""Several times that limit, and longer than a member without heartbeats is kept (6 s)."""

Start = Callable[[StreamsConfig, Dials], RunningWorker]


@pytest.fixture
def config(streams_config) -> StreamsConfig:
    patiently(lambda: ensure_topics(streams_config))
    return streams_config


@pytest.fixture
def start(tmp_path) -> Iterator[Start]:
    """Starts workers that end with the test, whatever became of it."""
    running: list[RunningWorker] = []

    def start(config: StreamsConfig, dials: Dials) -> RunningWorker:
        running.append(start_silent(config, tmp_path, dials))
        return running[-1]

    yield start
    for worker in running:
        if worker.process.poll() is None:
            worker.kill()


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def begin_fault(config: StreamsConfig, folder: Path) -> None:
    """A healthy beginning, then the fault, a rebalance as in the issues, and work to be done."""
    produce_reactions(config, ids("before", 40))
    wait_for(lambda: is_caught_up(config))
    (folder / "fault").touch()
    visit_group(config, 1.0)
    produce_reactions(config, ids("after", 40))


def lagging(config: StreamsConfig) -> set[str]:
    lags = patiently(lambda: lag(config))
    return {f"{topic}/{partition}" for (topic, partition), n in lags.items() if n}


def stands_still(config: StreamsConfig, worker: RunningWorker) -> set[str]:
    """The partitions that lag once nothing was committed for a while, however late that begins."""
    until = time.monotonic() + WAIT_S
    stands_at, stood = committed_offsets(config), lagging(config)
    since = time.monotonic()
    while time.monotonic() < since + SILENCE_S or not stood:
        assert worker.process.poll() is None
        assert time.monotonic() < until, f"committed {stands_at}, lagging {stood}"
        time.sleep(0.5)
        now = committed_offsets(config), lagging(config)
        if now != (stands_at, stood):
            stands_at, stood = now
            since = time.monotonic()
    return stood


@pytest.mark.parametrize("fault", ["523", "532", "fetching", "fetches", "commits", "poison"])
def test_unwatched_it_stands_still_with_heartbeats_and_watched_it_ends_and_names_where(
    config, start, tmp_path, fault
):
    unwatched = tmp_path / "unwatched"
    unwatched.touch()
    worker = start(config, Dials(fault=fault, stall_limit_s=LIMIT_S, is_unwatched=True))
    begin_fault(config, tmp_path)
    stood = stands_still(config, worker)
    assert num_members(config) == 1, "the broker has heartbeats of it"
    if fault == "poison":
        assert f"{config.reactions_topic}/0" in stood

    unwatched.unlink()  # From its next look on, all that stands has stood equally long.
    assert worker.process.wait(WAIT_S) == EXIT_STALLED
    said = worker.log.read_text()
    assert sorted(re.findall(r"CRITICAL no progress (\S+)", said)) == sorted(stood), said
    (tmp_path / "fault").unlink()
    start(config, Dials(stall_limit_s=WAIT_S))  # The dead one holds its partitions for 6 s more.
    wait_for(lambda: is_caught_up(config))
    assert set(reactions(tmp_path)) == {*ids("before", 40), *ids("after", 40)}


def test_a_broker_that_is_gone_longer_than_the_limit_and_comes_back_is_no_alarm(
    tmp_path, start, streams_config
):
    home = tmp_path / "broker"
    name = uuid.uuid4().hex[:8]

    def own_broker() -> Broker:
        return Broker.start(home, cache=CACHE, on_progress=lambda _: None)

    with own_broker() as broker:
        changed = {"brokers": broker.brokers, "group": name}
        config = StreamsConfig(
            **{n: getattr(streams_config, n) for n in StreamsConfig.__slots__} | changed
        )
        patiently(lambda: ensure_topics(config))
        worker = start(config, Dials(stall_limit_s=8.0))
        produce_reactions(config, ids("before", 40))
        wait_for(lambda: is_caught_up(config))
        address = broker.brokers
    time.sleep(10.0)
    assert worker.process.poll() is None
    with own_broker() as broker:
        assert broker.brokers == address
        produce_reactions(config, ids("after", 40))
        wait_for(lambda: is_caught_up(config))
        assert worker.process.poll() is None
        assert set(reactions(tmp_path)) == {*ids("before", 40), *ids("after", 40)}
        assert worker.stop() == 0


def test_in_a_storm_of_rebalances_it_goes_on_and_nothing_is_lost(config, start, tmp_path):
    worker = start(config, Dials(stall_limit_s=WAIT_S))
    sent: list[str] = []
    with InBackground(lambda: visit_group(config, 0.5)) as visits:

        def send_some() -> bool:
            batch = ids(f"{len(sent)}-", 50)
            produce_reactions(config, batch)
            sent.extend(batch)
            return visits.times >= 4 and bool(reactions(tmp_path))

        wait_for(send_some, "a storm, and progress while it goes on")
    wait_for(lambda: is_caught_up(config))
    assert worker.process.poll() is None
    assert set(reactions(tmp_path)) == set(sent)
