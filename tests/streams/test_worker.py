"""Goal: what the broker acknowledged is stored, each event at least once and each bad record as a
dead letter, whatever happens to workers; and what is committed is what is stored.

Method: Apache Kafka itself, workers as processes of their own that are killed, stopped, starved and
joined by others, and a sink that is a file which we read.
"""

import asyncio
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from streams.codec import encode
from streams.config import StreamsConfig
from streams.events import Erasure, Reaction, Shown
from streams.kafka.producer import Producer
from streams.kafka.topics import ensure_topics, lag
from streams.worker import EXIT_STALLED
from tests.offsets import committed_offsets
from tests.reading import read_whole
from tests.streams.worker_rig import (
    dead_letters,
    is_caught_up,
    num_read,
    start_worker,
    stored,
    wait_for,
)
from tests.waiting import WAIT_S, patiently

pytestmark = pytest.mark.kafka

NOW = datetime.now(UTC)


@pytest.fixture
def config(kafka_broker) -> StreamsConfig:
    """Topics and a group of our own on the broker of the session."""
    own = uuid.uuid4().hex[:8]
    config = StreamsConfig(
        brokers=kafka_broker.brokers,
        group=f"{own}-worker",
        shown_topic=f"{own}.shown",
        reactions_topic=f"{own}.reactions",
        erasures_topic=f"{own}.erasures",
        verdicts_topic=f"{own}.verdicts",
        dead_letters_topic=f"{own}.dead-letters",
        decisions_topic=f"{own}.decisions",
        linger_ms=50,
    )
    patiently(lambda: ensure_topics(config))
    return config


def reaction(id: str) -> Reaction:
    return Reaction(
        id=id,
        source="/test",
        response_id=f"response-{id}",
        user_id="u1",
        signal="love",
        action="add",
        occurred_at=NOW,
        known_at=NOW,
    )


def produce(config: StreamsConfig, values: Iterable[bytes], topic: str = "") -> None:
    """Have `values` acknowledged, spread over the partitions by a key of their own."""
    with Producer(config) as producer:
        futures = [
            producer.send_raw(topic or config.reactions_topic, b"%d" % number, value)
            for number, value in enumerate(values)
        ]
        producer.flush(WAIT_S)
        for future in futures:
            future.result(0)


def produce_reactions(config: StreamsConfig, ids: Iterable[str]) -> None:
    produce(config, [encode(reaction(id)) for id in ids])


def reactions(folder: Path) -> dict[str, int]:
    """How often each reaction was stored."""
    return {id: times for (kind, id), times in stored(folder).items() if kind == "reaction"}


def catch_up(config: StreamsConfig) -> None:
    wait_for(lambda: is_caught_up(config))


def test_events_of_every_kind_are_stored_and_bad_neighbours_become_dead_letters(
    config, workers, tmp_path
):
    shown = Shown(
        id="s1",
        source="/test",
        response_id="response-1",
        conversation_id="c1",
        user_id="u1",
        response="Fill it with vinegar.",
        policy="chat@1",
        occurred_at=NOW,
        known_at=NOW,
    )
    erasure = Erasure(id="e1", source="/test", user_id="u1", occurred_at=NOW, known_at=NOW)
    bad = [
        b"{not json",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        encode(reaction("other")).replace(b"rluf.reaction.v1", b"rluf.other.v1"),
        encode(reaction("big")) + b" " * 5_000_000,
    ]
    workers.append(start_worker(config, tmp_path))
    with Producer(config) as producer:
        producer.send(shown)
        producer.send(erasure)
        for number, value in enumerate(bad):  # Good and bad ones in turn, in one partition.
            producer.send_raw(config.reactions_topic, b"one key", encode(reaction(f"r{number}")))
            producer.send_raw(config.reactions_topic, b"one key", value)
        producer.flush(WAIT_S)
    catch_up(config)

    good = {("shown", "s1"), ("erasure", "e1")} | {("reaction", f"r{i}") for i in range(len(bad))}
    assert {key for key in stored(tmp_path) if key[0] != "dead"} == good
    assert set(dead_letters(tmp_path)) == set(bad)
    on_topic = read_topic(config, config.dead_letters_topic)
    assert {value for value, _headers in on_topic} == set(bad)
    for value, headers in on_topic:
        assert headers["reason"].decode() == dead_letters(tmp_path)[value]
        assert headers["topic"].decode() == config.reactions_topic
        assert set(headers) == {"reason", "topic", "partition", "offset"}
    reasons = dead_letters(tmp_path)
    assert (reasons[bad[0]], reasons[bad[-1]]) == ("malformed_json", "too_large")


def read_topic(config: StreamsConfig, topic: str) -> list[tuple[bytes, dict[str, bytes]]]:
    """Values and headers of all records of a topic."""
    records = read_whole(config.brokers, topic)
    return [(record.value, dict(record.headers)) for record in records]


def test_killed_in_the_middle_nothing_is_lost_and_nothing_doubled_after_removing_duplicates(
    config, workers, tmp_path
):
    ids = [f"k{number}" for number in range(20_000)]
    config = small_batches(config)
    produce_reactions(config, ids)
    for _ in range(2):
        worker = start_worker(config, tmp_path, append_s=0.1)
        workers.append(worker)
        seen = len(reactions(tmp_path))
        wait_for(lambda seen=seen: len(reactions(tmp_path)) > seen)
        worker.kill()
    assert 0 < len(reactions(tmp_path)) < len(ids)
    workers.append(start_worker(config, tmp_path))
    catch_up(config)
    assert set(reactions(tmp_path)) == set(ids)
    # At most what was written and not committed is written again: one batch per kill.
    assert sum(reactions(tmp_path).values()) - len(ids) <= 2 * 2 * config.batch_events_max
    assert set(lag(config).values()) == {0}


def small_batches(config: StreamsConfig) -> StreamsConfig:
    """Many small writes, so that a kill falls between them."""
    return StreamsConfig(
        **{name: getattr(config, name) for name in StreamsConfig.__slots__}
        | {"batch_events_max": 500}
    )


def test_a_sink_that_is_away_for_a_while_loses_nothing_and_commits_nothing(
    config, workers, tmp_path
):
    ids = [f"u{number}" for number in range(2_000)]
    down = tmp_path / "down"
    down.touch()
    worker = start_worker(config, tmp_path)
    workers.append(worker)
    produce_reactions(config, ids)
    time.sleep(4)  # Several of Faust's own commit intervals.
    assert committed_offsets(config) == {}
    assert worker.process.poll() is None
    down.unlink()
    catch_up(config)
    assert reactions(tmp_path) == dict.fromkeys(ids, 1)


def test_a_stopped_worker_writes_and_commits_what_it_has_read(config, workers, tmp_path):
    patient = StreamsConfig(
        **{name: getattr(config, name) for name in StreamsConfig.__slots__} | {"linger_ms": 600_000}
    )
    worker = start_worker(patient, tmp_path)
    workers.append(worker)
    produce_reactions(patient, ["a", "b", "c"])
    wait_for(lambda: num_read(tmp_path) == 3)  # Its batch would wait for ten minutes.
    assert reactions(tmp_path) == {}
    assert worker.stop() == 0
    assert reactions(tmp_path) == {"a": 1, "b": 1, "c": 1}
    assert is_caught_up(patient)


def test_transaction_markers_and_the_gaps_they_leave_do_not_stall_the_commit(
    config, workers, tmp_path
):
    async def transact() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=config.brokers, transactional_id=config.group, linger_ms=0
        )
        await producer.start()
        for number in range(5):
            async with producer.transaction():
                for partition in range(config.partitions):
                    value = encode(reaction(f"t{number}-{partition}"))
                    await producer.send(config.reactions_topic, value, partition=partition)
        await producer.stop()

    asyncio.run(transact())
    workers.append(start_worker(config, tmp_path))
    catch_up(config)
    places = [(config.reactions_topic, number) for number in range(config.partitions)]
    # Five events and five markers in each partition.
    assert {committed_offsets(config)[place] for place in places} == {10}
    expected = {f"t{number}-{place}" for number in range(5) for place in range(config.partitions)}
    assert reactions(tmp_path) == dict.fromkeys(expected, 1)


def test_a_second_worker_joins_and_leaves_and_nothing_is_lost(config, workers, tmp_path):
    config = small_batches(config)
    ids = [f"j{number}" for number in range(9_000)]
    workers.append(start_worker(config, tmp_path))
    produce_reactions(config, ids[:3_000])
    second = start_worker(config, tmp_path)
    workers.append(second)
    produce_reactions(config, ids[3_000:6_000])
    assert second.stop() == 0
    produce_reactions(config, ids[6_000:])
    catch_up(config)
    assert set(reactions(tmp_path)) == set(ids)
    assert workers[0].stop() == 0


@pytest.mark.parametrize("fault", ["agent", "sink"])
def test_a_worker_whose_part_dies_ends_with_it_and_commits_nothing(
    config, workers, tmp_path, fault
):
    produce_reactions(config, ["a"])
    worker = start_worker(config, tmp_path, fault=fault)
    workers.append(worker)
    assert worker.process.wait(WAIT_S) == 1
    assert f"RuntimeError: {'an' if fault == 'agent' else 'a'} {fault}'s fault" in (
        worker.log.read_text()
    )
    assert committed_offsets(config) == {}


def test_a_worker_that_stands_still_is_ended_by_its_watchdog(config, workers, tmp_path):
    produce_reactions(config, ["a"])
    worker = start_worker(config, tmp_path, fault="standstill")
    workers.append(worker)
    assert worker.process.wait(WAIT_S) == EXIT_STALLED
    assert "no progress" in worker.log.read_text()
