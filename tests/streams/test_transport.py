"""Goal: chunks acknowledge ranges, and no gap in the offsets can lose a record or stall a commit.

Method: the ledger by hand; chunks cut from record batches in Kafka's own format, made with
aiokafka's builder and damaged as compaction and transactions do it; the consumer without a broker.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import faust
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from faust.types import TP

from streams.agents import make_app
from streams.config import StreamsConfig
from streams.kafka.topics import ensure_topics
from streams.ledger import Chunk, Ledger, OffsetsSkipped
from streams.pipeline import Record
from streams.transport import _chunk_of
from tests.waiting import WAIT_S, patiently

T = TypeVar("T")


ONE = TP("rluf.shown.v1", 0)
TWO = TP("rluf.shown.v1", 1)


def chunk(first: int, next: int, generation: int = 1) -> Chunk:
    records = [
        Record(ONE.topic, ONE.partition, offset, 1_700_000_000_000, None, b"{}", [])
        for offset in range(first, next)
    ]
    return Chunk(
        records=records, first=first, next=next, num_bytes=2 * len(records), generation=generation
    )


def test_nothing_is_committable_before_a_chunk_is_done():
    ledger = Ledger()
    ledger.open(ONE, chunk(0, 10))
    assert ledger.committable(ONE) is None
    assert ledger.partitions() == []


def test_a_later_chunk_that_is_done_first_waits_for_the_one_before_it():
    ledger = Ledger()
    first, second, third = chunk(0, 10), chunk(10, 25), chunk(25, 30)
    for each in (first, second, third):
        ledger.open(ONE, each)
    ledger.close(ONE, second)
    assert ledger.committable(ONE) is None
    ledger.close(ONE, first)
    assert ledger.committable(ONE) == 25
    ledger.close(ONE, third)
    assert ledger.committable(ONE) == 30
    assert not ledger.has_open()


def test_partitions_do_not_wait_for_each_other():
    ledger = Ledger()
    one, two = chunk(0, 10), chunk(0, 7)
    ledger.open(ONE, one)
    ledger.open(TWO, two)
    ledger.close(TWO, two)
    assert (ledger.committable(ONE), ledger.committable(TWO)) == (None, 7)


def test_a_chunk_that_was_never_handed_over_is_a_fault_and_not_a_gap():
    ledger = Ledger()
    ledger.open(ONE, chunk(0, 10))
    with pytest.raises(OffsetsSkipped, match="offset 20, not at 10"):
        ledger.open(ONE, chunk(20, 30))


def test_a_chunk_of_a_partition_taken_away_since_acknowledges_nothing():
    ledger = Ledger()
    old, new = chunk(0, 10, generation=1), chunk(0, 5, generation=2)
    ledger.open(ONE, old)
    ledger.forget({ONE})
    ledger.open(ONE, new)
    assert not ledger.close(ONE, old)
    assert ledger.committable(ONE) is None
    assert ledger.close(ONE, new)
    assert ledger.committable(ONE) == 5


def test_the_ledger_counts_what_is_handed_over_and_not_done():
    ledger = Ledger()
    one, two = chunk(0, 10), chunk(10, 15)
    ledger.open(ONE, one)
    ledger.open(ONE, two)
    assert (ledger.num_open_records, ledger.num_open_bytes) == (15, 30)
    ledger.close(ONE, one)
    assert (ledger.num_open_records, ledger.num_open_bytes) == (5, 10)
    ledger.forget([ONE, TWO])
    assert (ledger.num_open_records, ledger.num_open_bytes) == (0, 0)


CONTROL = 0x20  # Bit of a batch's attributes: its records are markers, not messages.
ATTRIBUTES_AT = 21  # Byte of a batch where they stand: KIP-98, record batch v2.


def batch(base: int, values: list[bytes | None], *, control: bool = False) -> bytes:
    """A record batch that begins at offset `base`; a None in `values` was compacted away."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    for delta, value in enumerate(values):
        if value is not None:
            builder.append(delta, 1_700_000_000_000 + delta, b"key", value, [("h", b"1")])
    raw = bytearray(builder.build())
    raw[0:8] = struct.pack(">q", base)
    raw[23:27] = struct.pack(">i", len(values) - 1)  # lastOffsetDelta
    if control:
        raw[ATTRIBUTES_AT : ATTRIBUTES_AT + 2] = struct.pack(">h", CONTROL)
    return bytes(raw)


def fetched(raw: bytes, position: int) -> FetchResult:
    """What aiokafka holds after fetching `raw` at `position`."""
    partition = TopicPartition(ONE.topic, ONE.partition)
    assignment = Assignment([partition])
    assignment.state_value(partition).reset_to(position)
    records = PartitionRecords(partition, MemoryRecords(raw), [], position, None, None, False, 0)
    return FetchResult(partition, assignment=assignment, partition_records=records, backoff=0)


def cut(raw: bytes, position: int, max_records: int | None = None) -> list[Chunk]:
    """All chunks of `raw`."""

    async def run() -> list[Chunk]:
        result = fetched(raw, position)
        chunks = []
        while (each := _chunk_of(result, 1, max_records)) is not None:
            chunks.append(each)
        return chunks

    return asyncio.run(run())


def test_a_chunk_holds_the_records_as_they_are_on_the_broker():
    (only,) = cut(batch(40, [b"a", b"b"]), 40)
    assert only.records == [
        Record(ONE.topic, 0, 40, 1_700_000_000_000, b"key", b"a", [("h", b"1")]),
        Record(ONE.topic, 0, 41, 1_700_000_000_001, b"key", b"b", [("h", b"1")]),
    ]
    assert (only.first, only.next, only.num_bytes) == (40, 42, 2)


def test_offsets_missing_by_compaction_lie_inside_the_range():
    (only,) = cut(batch(40, [None, b"b", None, b"d", None]) + batch(50, [b"e"]), 40)
    assert [record.offset for record in only.records] == [41, 43, 50]
    assert (only.first, only.next) == (40, 51)


def test_transaction_markers_lie_inside_the_range():
    raw = batch(0, [b"a"]) + batch(1, [b"marker"], control=True) + batch(2, [b"b"])
    (only,) = cut(raw, 0)
    assert [record.value for record in only.records] == [b"a", b"b"]
    assert (only.first, only.next) == (0, 3)


def test_markers_alone_make_an_empty_chunk_so_that_the_commit_moves_on():
    (only,) = cut(batch(7, [b"marker"], control=True), 7)
    assert (only.records, only.first, only.next) == ([], 7, 8)


def test_a_fetch_larger_than_allowed_makes_chunks_that_touch():
    chunks = cut(batch(0, [b"a", b"b", b"c", b"d", b"e"]), 0, max_records=2)
    assert [len(each.records) for each in chunks] == [2, 2, 1]
    assert [(each.first, each.next) for each in chunks] == [(0, 2), (2, 4), (4, 5)]


def test_a_fetch_that_a_seek_made_useless_gives_nothing():
    async def run() -> Chunk | None:
        result = fetched(batch(0, [b"a"]), 0)
        result._assignment.state_value(result._topic_partition).seek(5)
        return _chunk_of(result, 1, None)

    assert asyncio.run(run()) is None


def with_app(tmp_path, use: Callable[[faust.App], Awaitable[T]]) -> T:
    """What `use` gives for an application that is not started."""
    config = StreamsConfig(brokers="127.0.0.1:1", data_dir=tmp_path, batch_events_max=10)

    async def run() -> T:
        app = make_app(config, lambda event: None)
        try:
            return await use(app)
        finally:
            app.consumer._thread.thread_loop.close()

    return asyncio.run(run())


def test_acknowledging_a_message_makes_its_range_committable_once(tmp_path):
    async def use(app: faust.App) -> None:
        consumer = app.consumer
        message = consumer._to_message(ONE, chunk(0, 4))
        assert consumer.ack(message)
        assert not consumer.ack(message)
        assert consumer._filter_committable_offsets([ONE]) == {ONE: 4}

    with_app(tmp_path, use)


def test_fetching_waits_while_too_much_is_not_done(tmp_path):
    async def use(app: faust.App) -> None:
        consumer = app.consumer
        messages = [consumer._to_message(ONE, chunk(i, i + 10)) for i in (0, 10)]
        assert await consumer._getmany({ONE}, timeout=0.001) == {}
        assert consumer._is_full()
        consumer.ack(messages[0])
        assert not consumer._is_full()

    with_app(tmp_path, use)


@pytest.mark.kafka
def test_while_the_worker_is_full_no_question_is_left_lying_at_the_broker(tmp_path, streams_config):
    """One about topics that have nothing to give would lie there for 1.5 s, and the records that
    come after those taken meanwhile would wait for it."""
    config = replace(streams_config, data_dir=tmp_path, partitions=1)
    patiently(lambda: ensure_topics(config))
    taken: asyncio.Queue[Chunk] = asyncio.Queue()

    async def run() -> None:
        app = make_app(config, lambda event: taken.put_nowait(event.value))
        app.consumer.open_records_max = 1
        async with app, AIOKafkaProducer(bootstrap_servers=config.brokers) as producer:
            await producer.send_and_wait(config.shown_topic, b"first")
            first = await asyncio.wait_for(taken.get(), WAIT_S)
            await producer.send_and_wait(config.shown_topic, b"second")
            fetcher = app.consumer._thread._consumer._fetcher
            async with asyncio.timeout(WAIT_S):
                while not fetcher._records:
                    await asyncio.sleep(0.01)
            assert app.consumer._is_full()
            for _ in range(10):
                await asyncio.sleep(0.1)
                assert not fetcher._in_flight
            app.consumer.open_records_max = 10
            second = await asyncio.wait_for(taken.get(), WAIT_S)
        assert [r.value for r in first.records + second.records] == [b"first", b"second"]

    asyncio.run(run())


def test_a_log_that_was_made_anew_is_read_from_its_beginning(tmp_path):
    async def use(app: faust.App) -> None:
        consumer = app.consumer
        consumer._committed_offset[ONE] = consumer._read_offset[ONE] = 5_000
        message = consumer._to_message(ONE, chunk(0, 4))
        assert consumer._read_offset[ONE] is None  # Faust drops what lies before it.
        consumer.ack(message)
        assert consumer._filter_committable_offsets([ONE]) == {ONE: 4}

    with_app(tmp_path, use)


def test_each_topic_of_events_has_an_agent_and_none_else(tmp_path):
    async def use(app: faust.App) -> set[str]:
        return {name for agent in app.agents.values() for name in agent.get_topic_names()}

    assert with_app(tmp_path, use) == set(StreamsConfig().event_topics)


def test_faust_reads_no_settings_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("BROKER_SESSION_TIMEOUT", "59")
    monkeypatch.setenv("BROKER_URL", "kafka://elsewhere:9092")

    async def use(app: faust.App) -> None:
        assert app.conf.broker_session_timeout == 6.0
        assert [url.host for url in app.conf.broker] == ["127.0.0.1"]

    with_app(tmp_path, use)
