"""Goal: topics exist as the house needs them, and what is not yet durable is known.

Method: the shared broker, topics under names of their own, and a plain consumer that commits.
"""

from dataclasses import replace

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata

from streams.config import RECORD_BYTES_MAX, StreamsConfig
from streams.errors import Unavailable
from streams.kafka import topics as module
from streams.kafka.producer import Producer
from streams.kafka.topics import ensure_topics, extents, lag, standings
from tests.offsets import committed_offsets, delete_topics, end_offsets
from tests.streams.samples import reaction
from tests.waiting import WAIT_S

pytestmark = pytest.mark.kafka


@pytest.fixture
def config(streams_config):
    return replace(streams_config, partitions=3)


def commit(config: StreamsConfig, offsets: dict[tuple[str, int], int]) -> None:
    consumer = KafkaConsumer(
        bootstrap_servers=config.brokers, group_id=config.group, enable_auto_commit=False
    )
    consumer.commit(
        {TopicPartition(*place): OffsetAndMetadata(at, "", -1) for place, at in offsets.items()}
    )
    consumer.close()


def test_topics_are_created_once_and_left_alone_after(config):
    assert sorted(ensure_topics(config)) == sorted(config.topics)
    assert ensure_topics(config) == []
    assert ensure_topics(replace(config, partitions=8)) == []
    assert len(end_offsets(config)) == 12


def test_topics_take_records_that_are_too_large_for_an_event(config):
    ensure_topics(config)
    admin = KafkaAdminClient(bootstrap_servers=config.brokers)
    try:
        assert config.event_bytes_max < RECORD_BYTES_MAX
        topic = ConfigResource(ConfigResourceType.TOPIC, config.reactions_topic)
        found = admin.describe_configs([topic])
    finally:
        admin.close()
    assert str(RECORD_BYTES_MAX) in str(found)


def test_lag_is_what_was_not_committed(config):
    with Producer(config) as producer:
        places = [producer.send(reaction(response_id=f"r-{n}")) for n in range(30)]
        offsets = [place.result(WAIT_S) for place in places]
    assert sum(lag(config).values()) == 30
    assert committed_offsets(config) == {}
    topic = config.reactions_topic
    ends = {(topic, n): sum(place.partition == n for place in offsets) for n in range(3)}
    assert end_offsets(config, [topic]) == ends
    commit(config, {(topic, 0): ends[topic, 0], (topic, 1): 1})
    assert committed_offsets(config) == {(topic, 0): ends[topic, 0], (topic, 1): 1}
    left = lag(config)
    assert left[topic, 0] == 0
    assert left[topic, 1] == ends[topic, 1] - 1
    assert left[topic, 2] == ends[topic, 2]
    assert left[config.shown_topic, 0] == 0
    assert len(left) == 12


def test_topics_that_do_not_exist_have_no_offsets_and_no_lag(config):
    assert end_offsets(config) == {}
    assert lag(config) == {}


def test_a_topic_can_be_deleted_and_made_anew_empty(config):
    with Producer(config) as producer:
        producer.send(reaction()).result(WAIT_S)
    delete_topics(config, [config.reactions_topic])
    assert ensure_topics(config) == [config.reactions_topic]
    assert sum(end_offsets(config).values()) == 0


def test_a_broker_that_is_not_there_is_unavailable(config, monkeypatch):
    monkeypatch.setattr(module, "REACH_WAIT_S", 0.3)
    away = replace(config, brokers="127.0.0.1:1")
    for ask in (ensure_topics, extents, standings, lag):
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
            ask(away)
