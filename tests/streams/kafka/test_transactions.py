"""Goal: what a producer rolled back was never said, and what it has not decided yet can wait.

Method: Apache Kafka itself and transactional producers that commit, roll back, are fenced and leave
transactions open; a worker as a process whose watchdog ends it after seconds; the log read anew.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer

from streams.codec import encode
from streams.config import StreamsConfig
from streams.events import new_id
from streams.kafka.log import measure, read_log
from streams.kafka.topics import ensure_topics, lag, standings
from tests.streams.kafka.conftest import STALL_S
from tests.streams.samples import shown
from tests.streams.silent_rig import watched
from tests.streams.test_worker import reaction, reactions
from tests.streams.worker_rig import is_caught_up, stored, wait_for
from tests.waiting import patiently, until

pytestmark = pytest.mark.kafka


@pytest.fixture
def config(streams_config) -> StreamsConfig:
    patiently(lambda: ensure_topics(streams_config))
    return streams_config


@asynccontextmanager
async def producer(config: StreamsConfig, id: str = "") -> AsyncIterator[AIOKafkaProducer]:
    """One that writes in transactions."""
    made = AIOKafkaProducer(
        bootstrap_servers=config.brokers,
        transactional_id=id or new_id(),
        transaction_timeout_ms=600_000,
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def say(into: AIOKafkaProducer, config: StreamsConfig, *ids: str, partition: int = 0) -> None:
    for id in ids:
        await into.send_and_wait(config.reactions_topic, encode(reaction(id)), partition=partition)


def replayed(config: StreamsConfig, start: object = None) -> list[bytes]:
    """What of the reactions' topic the log says when it is read anew."""
    stretch = measure(config, start=start)
    return [
        record.value
        for records in read_log(config, stretch)
        for record in records
        if record.topic == config.reactions_topic
    ]


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())


def test_only_what_was_committed_becomes_facts_live_and_in_replays(config, start, tmp_path):
    async def transact() -> None:
        async with producer(config) as into:
            for round in range(5):
                await into.begin_transaction()
                await say(into, config, f"kept-{round}")
                await into.commit_transaction()
                await into.begin_transaction()
                await say(into, config, f"undone-{round}")
                await into.abort_transaction()  # At last a marker is the partition's end.
            await into.begin_transaction()
            await say(into, config, "never", partition=1)  # All that partition 1 ever gets.
            await into.abort_transaction()

    worker = start()
    before = datetime.now(UTC) - timedelta(minutes=1)
    run(transact)
    wait_for(lambda: is_caught_up(config))
    kept = {f"kept-{round}": 1 for round in range(5)}
    assert reactions(tmp_path) == kept
    assert sum(lag(config).values()) == 0
    said = [encode(reaction(id)) for id in kept]
    for begin in (None, before, {(config.reactions_topic, 0): 0}):
        assert replayed(config, begin) == said
    assert replayed(config, {(config.reactions_topic, 0): 1}) == said[1:]
    assert worker.process.poll() is None


def test_a_transaction_that_stays_open_is_no_lag_and_no_stall_and_is_read_once_committed(
    config, start, tmp_path
):
    async def transact() -> None:
        async with producer(config) as into, producer(config) as other:
            await into.begin_transaction()
            await say(into, config, "open")
            await other.begin_transaction()
            await say(other, config, "behind it")
            await other.commit_transaction()
            await other.begin_transaction()
            await say(other, config, "elsewhere", partition=1)
            await other.commit_transaction()
            await until(lambda: "elsewhere" in reactions(tmp_path))
            with watched(tmp_path):
                over_at = time.monotonic() + 3 * STALL_S
                await until(lambda: time.monotonic() > over_at)
            assert worker.process.poll() is None
            assert reactions(tmp_path) == {"elsewhere": 1}
            standing = standings(config)[config.reactions_topic, 0]
            assert (standing.lag, standing.undecided) == (0, 3)  # Two records and one marker.
            stretch = measure(config, start=None)
            assert stretch.undecided == {(config.reactions_topic, 0): 3}
            assert replayed(config) == [encode(reaction("elsewhere"))]
            await into.commit_transaction()
            await until(lambda: is_caught_up(config))

    worker = start()
    run(transact)
    assert reactions(tmp_path) == {"elsewhere": 1, "open": 1, "behind it": 1}
    assert sum(standing.undecided for standing in standings(config).values()) == 0


def test_of_a_producer_that_is_fenced_nothing_is_read_and_of_its_successor_all(
    config, start, tmp_path
):
    async def transact() -> None:
        async with producer(config, "one id") as old:
            await old.begin_transaction()
            await say(old, config, "old")
            async with producer(config, "one id") as new:
                await new.begin_transaction()
                await say(new, config, "new")
                await new.commit_transaction()

    start()
    run(transact)
    wait_for(lambda: is_caught_up(config))
    assert reactions(tmp_path) == {"new": 1}
    assert replayed(config) == [encode(reaction("new"))]


def test_a_transaction_over_both_topics_is_taken_whole_or_not_at_all(config, start, tmp_path):
    async def transact() -> None:
        async with producer(config) as into:
            for id in ("kept", "undone"):
                await into.begin_transaction()
                event = encode(shown(id=id, response_id=id))
                await into.send_and_wait(config.shown_topic, event, partition=2)
                await say(into, config, id, partition=2)
                await (into.commit_transaction() if id == "kept" else into.abort_transaction())

    start()
    run(transact)
    wait_for(lambda: is_caught_up(config))
    assert set(stored(tmp_path)) == {("shown", "kept"), ("reaction", "kept")}
