"""Goal: a future is done exactly when the log has the event; trouble is told, never swallowed.

Method: a fake of kafka-python that acknowledges when told, for every kind of trouble; the shared
broker for what only a real one can show.
"""

import threading
from concurrent.futures import Future
from datetime import timedelta

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from kafka.future import Future as KafkaFuture
from kafka.producer.future import RecordMetadata

from streams.codec import decode
from streams.config import RECORD_BYTES_MAX, StreamsConfig
from streams.errors import BadEvent, Unavailable
from streams.events import new_id
from streams.kafka import producer as module
from streams.kafka.producer import Producer, RecordPlace
from streams.kafka_binding import STRUCTURED_HEADER
from streams.pipeline import Pipeline, Record
from tests.streams.samples import KNOWN_AT, KNOWN_AT_MS, erasure, reaction, shown
from tests.waiting import WAIT_S


class FakeKafka:
    """kafka-python's producer, as far as ours calls it."""

    def __init__(self, **settings: object) -> None:
        self.settings = settings
        self.sent: list[tuple[str, dict[str, object]]] = []
        self.futures: list[KafkaFuture] = []
        self.fault: KafkaError | None = None

    def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def send(self, topic: str, **fields: object) -> KafkaFuture:
        if self.fault is not None:
            raise self.fault
        self.sent.append((topic, fields))
        self.futures.append(KafkaFuture())
        return self.futures[-1]

    def acknowledge(self, number: int) -> None:
        self.futures[number].success(RecordMetadata("t", 3, None, number, 0, None, 0, 0, 0))

    def flush(self, timeout: float) -> None:
        if self.fault is not None:
            raise self.fault

    def close(self, timeout: float) -> None:
        self.flush(timeout)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(module, "ensure_topics", lambda config: [])
    monkeypatch.setattr(module, "KafkaProducer", FakeKafka)

    def make(**settings: object) -> tuple[Producer, FakeKafka]:
        made = Producer(StreamsConfig(brokers="127.0.0.1:1", **settings))
        return made, made._kafka

    return make


def test_it_asks_kafka_for_all_replicas_and_no_duplicates(fake):
    settings = fake(send_timeout_s=5)[1].settings
    assert (settings["acks"], settings["enable_idempotence"]) == ("all", True)
    assert settings["delivery_timeout_ms"] == 5_000
    assert settings["request_timeout_ms"] < 5_000
    assert settings["allow_auto_create_topics"] is False


def test_a_future_is_done_when_kafka_acknowledges_and_not_before(fake):
    producer, kafka = fake()
    first, second = producer.send(reaction()), producer.send(shown())
    assert not first.done()
    kafka.acknowledge(1)
    assert second.result(0) == RecordPlace("t", 3, 1)
    assert not first.done()


def test_events_go_out_as_structured_cloudevents_keyed_by_response(fake):
    producer, kafka = fake()
    for event in (shown(), reaction(), erasure()):
        producer.send(event)
    topics = [topic for topic, _ in kafka.sent]
    assert topics == ["rluf.shown.v1", "rluf.reactions.v1", "rluf.erasures.v1"]
    for (_, fields), event in zip(kafka.sent, (shown(), reaction(), erasure()), strict=True):
        assert decode(fields["value"], fields["headers"], known_at=KNOWN_AT) == event
        assert fields["headers"] == [STRUCTURED_HEADER]
        assert fields["timestamp_ms"] is None
    assert [fields["key"] for _, fields in kafka.sent] == [b"chatcmpl-1", b"chatcmpl-1", b"u-9"]


@pytest.mark.parametrize(
    ("fault", "becomes"),
    [
        (KafkaTimeoutError("expired"), Unavailable),
        (KafkaError("broker gone"), Unavailable),
        (MessageSizeTooLargeError("11 MB"), BadEvent),
    ],
)
def test_what_kafka_says_later_comes_through_the_future(fake, fault, becomes):
    producer, kafka = fake()
    future = producer.send(reaction())
    kafka.futures[0].failure(fault)
    assert isinstance(future.exception(0), becomes)


@pytest.mark.parametrize(
    ("fault", "becomes"),
    [(KafkaTimeoutError("no metadata"), Unavailable), (MessageSizeTooLargeError("x"), BadEvent)],
)
def test_what_kafka_says_at_once_is_raised_and_gives_the_room_back(fake, fault, becomes):
    producer, kafka = fake(pending_bytes_max=1)
    kafka.fault = fault
    with pytest.raises(becomes):
        producer.send(reaction())
    kafka.fault = None
    producer.send(reaction())


def test_an_event_that_the_worker_would_refuse_is_never_sent(fake):
    producer, kafka = fake(event_bytes_max=100)
    with pytest.raises(BadEvent, match="too_large"):
        producer.send(shown())
    assert kafka.sent == []


def test_a_full_buffer_refuses_at_once_until_something_is_settled(fake):
    producer, kafka = fake(pending_bytes_max=25)
    for _ in range(2):
        producer.send_raw("t", None, b"x" * 10)
    with pytest.raises(Unavailable, match="20 bytes wait"):
        producer.send_raw("t", None, b"x" * 10)
    kafka.acknowledge(0)
    producer.send_raw("t", None, b"x" * 10)
    kafka.futures[1].failure(KafkaTimeoutError("expired"))
    producer.send_raw("t", None, b"x" * 10)
    assert len(kafka.sent) == 4


def test_one_record_larger_than_the_buffer_still_passes_through_an_empty_one(fake):
    producer, kafka = fake(pending_bytes_max=1)
    producer.send_raw("t", None, b"x" * 10)
    assert len(kafka.sent) == 1


def test_a_future_cannot_be_cancelled_as_a_record_cannot_be_called_back(fake):
    producer, kafka = fake()
    future = producer.send(reaction())
    assert not future.cancel()
    kafka.acknowledge(0)
    assert future.result(0).offset == 0


def test_flush_and_close_do_not_hang_on_a_broker_that_is_gone(fake):
    producer, kafka = fake()
    kafka.fault = KafkaTimeoutError("gone")
    with pytest.raises(Unavailable):
        producer.flush(0.1)
    producer.close(0.1)


@pytest.mark.parametrize("brokers", ["127.0.0.1:1", "no.such.host.invalid:9092"])
def test_without_a_broker_it_says_where_it_looked(monkeypatch, brokers):
    monkeypatch.setattr("streams.kafka.topics.REQUEST_TIMEOUT_MS", 300)
    with pytest.raises(Unavailable, match=brokers):
        Producer(StreamsConfig(brokers=brokers))


def read_all(config: StreamsConfig, topic: str) -> list[Record]:
    """Everything that a topic holds."""
    consumer = KafkaConsumer(bootstrap_servers=config.brokers, fetch_max_bytes=50 << 20)
    places = [TopicPartition(topic, n) for n in range(config.partitions)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    ends = consumer.end_offsets(places)
    found: list[Record] = []
    while any(consumer.position(place) < ends[place] for place in places):
        for batch in consumer.poll(500).values():
            found += [
                Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers)
                for r in batch
            ]
    consumer.close()
    return found


@pytest.mark.kafka
def test_what_was_acknowledged_stands_where_the_future_said(streams_config):
    events = [reaction(id=str(n), response_id=f"r-{n}") for n in range(200)]
    with Producer(streams_config) as producer:
        futures = [producer.send(event) for event in events]
        places = [future.result(WAIT_S) for future in futures]
    records = read_all(streams_config, streams_config.reactions_topic)
    stored = {(r.partition, r.offset): r.value for r in records}
    assert len(stored) == 200
    facts = Pipeline(streams_config).run(records)
    assert {r.id for r in facts.reactions} == {event.id for event in events}
    for event, place in zip(events, places, strict=True):
        found = decode(stored[place.partition, place.offset], known_at=KNOWN_AT)
        assert found == event


@pytest.mark.kafka
def test_a_response_and_its_reactions_share_a_partition(streams_config):
    with Producer(streams_config) as producer:
        for n in range(40):
            ids = {"response_id": f"r-{n}"}
            futures = [producer.send(shown(**ids)), producer.send(reaction(**ids))]
            one, two = (future.result(WAIT_S).partition for future in futures)
            assert one == two


@pytest.mark.kafka
def test_raw_bytes_keep_key_headers_and_time_and_may_be_larger_than_an_event(streams_config):
    value = b"x" * 5_000_000
    with Producer(streams_config) as producer:
        topic = streams_config.reactions_topic
        producer.send_raw(topic, b"k", value, KNOWN_AT_MS, [("a", b"1")]).result(WAIT_S)
        with pytest.raises(BadEvent, match="too_large"):
            producer.send_raw(topic, b"k", b"x" * (RECORD_BYTES_MAX + 10_000))
        (record,) = read_all(streams_config, topic)
    assert (record.key, record.value, list(record.headers)) == (b"k", value, [("a", b"1")])
    assert record.timestamp_ms == KNOWN_AT_MS
    (letter,) = Pipeline(streams_config).run([record]).dead_letters
    assert (letter.reason, letter.value) == ("too_large", value)
    assert letter.known_at - KNOWN_AT == timedelta(0)


@pytest.mark.kafka
def test_many_threads_may_send_at_once(streams_config):
    futures: list[Future[RecordPlace]] = []
    with Producer(streams_config) as producer:

        def send_some() -> None:
            futures.extend([producer.send(reaction(id=new_id())) for _ in range(50)])

        threads = [threading.Thread(target=send_some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({future.result(WAIT_S) for future in futures}) == 200
