"""Goal: whatever a producer or an operator does to the log has a defined outcome.

Method: Apache Kafka itself and workers as processes: records at the size limit, a batch that
unpacks to a hundred times its size, topics that grow, vanish and come back under a running worker,
events of a later schema, and a million taps on one response. docs/hostile.md says the outcomes.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from kafka import KafkaAdminClient

from features.views import query
from streams.codec import encode
from streams.config import RECORD_BYTES_MAX, StreamsConfig
from streams.kafka.topics import ensure_topics, topic_ids
from tests.offsets import delete_topics, end_offsets
from tests.streams.silent_rig import Dials, start_silent
from tests.streams.test_worker import produce, produce_reactions, reaction, reactions, read_topic
from tests.streams.worker_rig import RunningWorker, dead_letters, is_caught_up
from tests.waiting import WAIT_S, patiently, wait_for

pytestmark = pytest.mark.kafka

MB = 2**20
BOMB_BYTES = 48 * MB
BOMBS = 3
MANY = 1_000_000
MEMORY_BYTES_MAX = 700 * MB
"""What a worker may take with the bombs in hand: some 120 MiB at rest, and a handful of copies of
one bomb (unpacked, cut out, kept as a dead letter, on its way to the topic)."""

Start = Callable[..., RunningWorker]


@pytest.fixture
def config(streams_config) -> StreamsConfig:
    patiently(lambda: ensure_topics(streams_config))
    return streams_config


@pytest.fixture
def start(tmp_path, config) -> Iterator[Start]:
    """Starts workers that end with the test, whatever became of it."""
    running: list[RunningWorker] = []

    def start(**dials) -> RunningWorker:
        running.append(start_silent(config, tmp_path, Dials(**({"stall_limit_s": 20.0} | dials))))
        return running[-1]

    yield start
    for worker in running:
        if worker.process.poll() is None:
            worker.kill()


def catch_up(config: StreamsConfig) -> None:
    wait_for(lambda: is_caught_up(config))


def event_of_bytes(size: int) -> bytes:
    """JSON of exactly so many bytes."""
    value = encode(reaction("big"))
    return value + b" " * (size - len(value))


def send_alone(config: StreamsConfig, value: bytes, **settings) -> None:
    """One record in a batch of its own, from a producer with no limits of its own."""

    async def send() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=config.brokers, max_request_size=2**31 - 1, **settings
        )
        await producer.start()
        try:
            await producer.send_and_wait(config.reactions_topic, value, partition=0)
        finally:
            await producer.stop()

    asyncio.run(send())


def test_the_largest_record_that_the_topic_takes_is_a_dead_letter_and_one_byte_more_is_refused(
    config, start, tmp_path
):
    start()
    overhead = 70  # Of a batch with one record without key and headers (Kafka's format, version 2).
    whole = RECORD_BYTES_MAX - overhead
    too_large: list[int] = []
    for size in range(whole - 12, whole + 13):  # Lengths are varints: the edge lies in here.
        try:
            send_alone(config, event_of_bytes(size))
        except MessageSizeTooLargeError:
            too_large.append(size)
            break
    (first_refused,) = too_large
    produce_reactions(config, ["after"])
    catch_up(config)
    largest = event_of_bytes(first_refused - 1)
    assert dead_letters(tmp_path)[largest] == "too_large"
    assert reactions(tmp_path) == {"after": 1}
    letters = [h for _value, h in read_topic(config, config.dead_letters_topic)]
    assert all(h["reason"] == b"too_large" for h in letters)


def test_an_event_of_the_most_bytes_allowed_is_stored_and_one_byte_more_is_a_dead_letter(
    config, start, tmp_path
):
    start()
    fits, not_quite = (event_of_bytes(config.event_bytes_max + more) for more in (0, 1))
    produce(config, [fits, not_quite])
    catch_up(config)
    assert reactions(tmp_path) == {"big": 1}
    assert dead_letters(tmp_path) == {not_quite: "too_large"}


def test_batches_that_unpack_to_a_thousand_times_their_size_are_dead_letters_in_bounded_memory(
    config, start, tmp_path
):
    worker = start()
    produce_reactions(config, ["before"])
    catch_up(config)
    process, peak, is_over = psutil.Process(worker.process.pid), [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        for number in range(BOMBS):
            send_alone(config, b"%d" % number + b" " * BOMB_BYTES, compression_type="gzip")
        produce_reactions(config, ["after"])
        catch_up(config)
    finally:
        is_over.set()
        watching.join()
    assert worker.process.poll() is None
    assert reactions(tmp_path) == {"before": 1, "after": 1}
    assert {len(value): reason for value, reason in dead_letters(tmp_path).items()} == {
        BOMB_BYTES + 1: "too_large"
    }
    letters = read_topic(config, config.dead_letters_topic)
    assert [headers["value_bytes"] for _, headers in letters] == [b"%d" % (BOMB_BYTES + 1)] * BOMBS
    assert peak[0] < MEMORY_BYTES_MAX


def test_a_partition_added_under_a_running_worker_is_read_from_its_first_record(
    config, start, tmp_path
):
    worker = start(metadata_s=2.0)
    produce_reactions(config, ["before"])
    catch_up(config)
    admin = KafkaAdminClient(bootstrap_servers=config.brokers)
    admin.create_partitions({config.reactions_topic: config.partitions + 1})
    admin.close()

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=config.brokers) as producer:
            await producer.send_and_wait(
                config.reactions_topic, encode(reaction("new")), partition=config.partitions
            )

    asyncio.run(send())
    wait_for(lambda: "new" in reactions(tmp_path))
    catch_up(config)
    assert worker.process.poll() is None
    assert reactions(tmp_path) == {"before": 1, "new": 1}


def make_anew(config: StreamsConfig, topic: str) -> None:
    """Delete a topic with all that is in it, and make it again as soon as it is gone."""
    delete_topics(config, [topic])
    wait_for(lambda: topic not in patiently(lambda: topic_ids(config)))
    patiently(lambda: ensure_topics(config))


@pytest.mark.parametrize("num_new", [8, 20, 60])
def test_a_topic_deleted_and_made_again_with_less_as_much_or_more_in_it_loses_nothing(
    config, start, tmp_path, num_new
):
    worker = start()
    produce_reactions(config, [f"old{n}" for n in range(20)])
    catch_up(config)
    make_anew(config, config.reactions_topic)
    produce_reactions(config, [f"new{n}" for n in range(num_new)])
    assert worker.process.wait(WAIT_S) != 0  # Its supervisor starts another.
    start()
    catch_up(config)
    assert set(reactions(tmp_path)) == {
        *(f"old{n}" for n in range(20)),
        *(f"new{n}" for n in range(num_new)),
    }


def test_while_a_topic_is_gone_the_others_are_read(config, start, tmp_path):
    worker = start()
    produce_reactions(config, ["before"])
    catch_up(config)
    delete_topics(config, [config.erasures_topic])
    time.sleep(5.0)
    send_alone(config, encode(reaction("after")))  # Our own producer would make the topic anew.
    wait_for(lambda: "after" in reactions(tmp_path))
    assert config.erasures_topic not in topic_ids(config)
    assert worker.process.poll() is None
    assert worker.stop() == 0
    start()
    assert any(topic == config.erasures_topic for topic, _ in end_offsets(config))


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
def test_batches_that_foreign_producers_compress_are_read(config, start, tmp_path, codec):
    start()
    send_alone(config, encode(reaction("packed")), compression_type=codec)
    catch_up(config)
    assert reactions(tmp_path) == {"packed": 1}


def future(change: Callable[[dict], None]) -> bytes:
    event = msgspec.json.decode(encode(reaction("future")))
    change(event)
    return msgspec.json.encode(event)


def test_events_of_a_later_schema_are_taken_or_refused_by_name_and_their_neighbours_stored(
    config, start, tmp_path
):
    refused = {
        future(lambda event: event.update(specversion="2.0")): "bad_value",
        future(lambda event: event.update(type="rluf.reaction.v2")): "unknown_type",
        future(lambda event: event["data"].update(signal="adore")): "unknown_signal",
        future(lambda event: event["data"].update(action="toggle")): "unknown_action",
        future(lambda event: event["data"].update(user_id={"tenant": 1, "id": 2})): "wrong_type",
    }
    taken = future(lambda event: event.update(mood="glad", dataschema="urn:later", id="taken"))
    start()
    produce(config, [encode(reaction("before")), *refused, taken, encode(reaction("after"))])
    catch_up(config)
    assert dead_letters(tmp_path) == refused
    assert reactions(tmp_path) == {"before": 1, "taken": 1, "after": 1}


def test_a_million_events_for_one_response_are_one_label(config, start, tmp_path):
    start(is_store=True, stall_limit_s=60.0)
    last = reaction("last")
    produce_many(config, [encode(msgspec.structs.replace(last, id=f"{n}")) for n in range(MANY)])
    catch_up(config)
    told = query(
        tmp_path / "home",
        "SELECT (SELECT count(*) FROM reactions) AS reactions, count(*) AS labels,"
        " bool_and(value) AS value FROM labels",
    ).to_pylist()
    assert told == [{"reactions": MANY, "labels": 1, "value": True}]


def produce_many(config: StreamsConfig, values: Sequence[bytes]) -> None:
    """Have many values acknowledged in one partition, in large batches."""

    async def send() -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=config.brokers, max_batch_size=MB // 2
        ) as producer:
            batch, sent = producer.create_batch(), []
            for value in values:
                while batch.append(key=b"one response", value=value, timestamp=None) is None:
                    sent.append(
                        await producer.send_batch(batch, config.reactions_topic, partition=0)
                    )
                    batch = producer.create_batch()
            sent.append(await producer.send_batch(batch, config.reactions_topic, partition=0))
            await asyncio.gather(*sent)

    asyncio.run(send())
