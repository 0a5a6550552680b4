"""Goal: a stretch of the log is read whole, up to where it ended, and what is gone is said.

Method: Apache Kafka itself with records that we place in time and partition, deleted and compacted
ones among them; what is parsed needs no broker.
"""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from streams.config import StreamsConfig
from streams.errors import Unavailable
from streams.kafka.log import measure, parse_offsets, read_log
from streams.kafka.topics import ensure_topics
from tests.waiting import WAIT_S, patiently

NOON_MS = 1_760_000_000_000
CONFIG = StreamsConfig()


def test_offsets_are_parsed_and_the_beginning_is_a_word():
    assert parse_offsets(" beginning ", CONFIG) == {}
    text = "rluf.reactions.v1:0=1200, rluf.shown.v1:3=0"
    assert parse_offsets(text, CONFIG) == {
        ("rluf.reactions.v1", 0): 1200,
        ("rluf.shown.v1", 3): 0,
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "saw ''"),
        ("start", "saw 'start'"),
        ("rluf.shown.v1=3", "saw 'rluf.shown.v1=3'"),
        ("rluf.shown.v1:0=-1", "saw 'rluf.shown.v1:0=-1'"),
        ("rluf.shown.v1:0=1,", "saw ''"),
        ("rluf.shown.v1:0=1,rluf.shown.v1:0=2", "twice"),
        ("other:0=1", "topics of events are rluf.shown.v1"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(text, told):
    with pytest.raises(ValueError, match=told):
        parse_offsets(text, CONFIG)


def test_a_time_without_a_zone_is_refused_before_anything_is_asked():
    with pytest.raises(ValueError, match="timezone"):
        measure(CONFIG, start=datetime(2026, 1, 1))


def fill(config: StreamsConfig, count: int = 10) -> None:
    """So many reactions into partition 0, a second apart; one record into partition 2."""
    patiently(lambda: ensure_topics(config))
    with closing(KafkaProducer(bootstrap_servers=config.brokers)) as producer:
        for number in range(count):
            producer.send(
                config.reactions_topic,
                key=b"k",
                value=b"%d" % number,
                partition=0,
                timestamp_ms=NOON_MS + 1000 * number,
            )
        producer.send(config.reactions_topic, value=b"two", partition=2, timestamp_ms=NOON_MS)
        producer.flush(WAIT_S)


def values(config: StreamsConfig, start: object) -> list[bytes]:
    stretch = measure(config, start=start)
    return sorted(record.value for records in read_log(config, stretch) for record in records)


def numbers(first: int, count: int = 10) -> list[bytes]:
    return [b"%d" % number for number in range(first, count)]


@pytest.mark.kafka
def test_all_is_read_from_the_beginning_from_offsets_and_from_a_time(streams_config):
    fill(streams_config)
    topic = streams_config.reactions_topic
    assert values(streams_config, None) == [*numbers(0), b"two"]
    assert values(streams_config, {(topic, 0): 7}) == [*numbers(7), b"two"]
    assert values(streams_config, {(topic, 0): 10, (topic, 2): 1}) == []
    noon = datetime.fromtimestamp(NOON_MS / 1000, UTC)
    assert values(streams_config, noon) == [*numbers(0), b"two"]
    assert values(streams_config, noon + timedelta(seconds=3.5)) == numbers(4)
    assert values(streams_config, noon + timedelta(days=1)) == []


@pytest.mark.kafka
def test_what_comes_after_the_stretch_was_measured_is_not_read(streams_config):
    fill(streams_config)
    stretch = measure(streams_config, start=None)
    fill(streams_config)
    records = [record for records in read_log(streams_config, stretch) for record in records]
    assert len(records) == 11 == stretch.num_offsets
    first = next(record for record in records if record.partition == 0)
    assert (first.offset, first.timestamp_ms, first.key) == (0, NOON_MS, b"k")


@pytest.mark.kafka
def test_what_was_deleted_is_counted_and_a_start_beyond_the_end_is_said(streams_config):
    fill(streams_config)
    topic = streams_config.reactions_topic
    with closing(KafkaAdminClient(bootstrap_servers=streams_config.brokers)) as admin:
        admin.delete_records({TopicPartition(topic, 0): 4})
    stretch = measure(streams_config, start={(topic, 0): 1, (topic, 2): 5})
    assert stretch.lost == {(topic, 0): 3}
    assert stretch.beyond == {(topic, 2): 4}
    assert stretch.first[topic, 0] == 4
    assert values(streams_config, {(topic, 0): 1, (topic, 2): 5}) == numbers(4)


@pytest.mark.kafka
def test_a_partition_that_the_log_does_not_have_is_refused(streams_config):
    patiently(lambda: ensure_topics(streams_config))
    with pytest.raises(ValueError, match=":99, which the log does not have"):
        measure(streams_config, start={(streams_config.shown_topic, 99): 0})


@pytest.mark.kafka
def test_a_broker_without_our_topics_has_no_log(streams_config):
    with pytest.raises(Unavailable, match="no log"):
        measure(streams_config, start=None)
