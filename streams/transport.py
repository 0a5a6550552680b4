"""A Faust transport that hands over what one fetch brought of a partition as ONE stream event.

Faust's own consumer makes two asyncio tasks, a message and a queue entry per record, which costs
60 % of its time. Here the value of a stream event is a Chunk: every record of one fetch of one
partition, as raw bytes. Group membership, assignment, generations, flow control, seeking and the
commit loop stay Faust's.

What is acknowledged is a range of offsets (streams/ledger.py).

Only what is committed is read: records of a transaction that was rolled back never come, and none
come from where one is still open (KIP-98). Ranges pass over the former; what follows on the latter
waits, as in any consumer that reads committed records.

Where the log no longer holds the offset to be read, because it was deleted by age, size or hand,
the partition goes on at the first that is left, with an empty Chunk over what is gone: so the loss
is committed, and named, once. aiokafka decides nothing of this by itself: it is told to reset
nowhere.

Kafka knows a commit's topic by name. Ours say its id as well, and one of a topic that was deleted
and made again since counts for none: the new topic is read from its first record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import islice
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import FetchError, FetchResult, OffsetResetStrategy
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust import Schema
from faust.transport.drivers import aiokafka
from faust.types import TP, AppT, ConsumerMessage, EventT, Message

from streams import meters
from streams.kafka.topics import is_of_another_topic, is_stamped, stamp_of
from streams.ledger import Chunk, Ledger
from streams.pipeline import Record

PREFETCH_BACKOFF_S = 86_400.0
"""How long records that are fetched and not taken keep aiokafka from asking their broker again."""
START_TIMEOUT_MS = 5_000
"""Longest wait for where the log begins, of a partition that has to be found again."""


class ChunkSchema(Schema):  # type: ignore[misc]
    """Passes the chunk of a message on as it is: nothing is deserialised by Faust."""

    def compile(self, app: AppT, **kwargs: Any) -> Callable[..., Awaitable[EventT]]:
        """Give the function that makes a stream event of a message."""

        async def decode(message: Message, *, propagate: bool = False) -> EventT:
            event: EventT = app.create_event(None, message.value, None, message)
            return event

        return decode


class ChunkThread(aiokafka.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread in which aiokafka fetches, heartbeats and commits."""

    async def on_start(self) -> None:
        """Start aiokafka's consumer, which is told not to fetch past what waits to be taken.

        By default it asks a broker again after 0.1 s, for the other partitions. Where these have
        nothing to give, as topics of rare events, the broker holds that question for 1.5 s, and
        what is taken meanwhile is not fetched on: the worker would stand still after each time
        that it was full.
        """
        await super().on_start()
        self._consumer._fetcher._prefetch_backoff = PREFETCH_BACKOFF_S

    def _create_worker_consumer(self, transport: aiokafka.Transport) -> AIOKafkaConsumer:
        """Give Faust's consumer, which reads committed records only and never resets by itself.

        Faust has one setting for both, which also makes it write transactions of its own.
        """
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        consumer._auto_offset_reset = "none"
        return consumer

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust would call an open transaction slow. The watchdog asks the broker."""

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, Chunk]:
        """Everything that is fetched and not yet handed over, after at most `timeout` seconds.

        Deviates from aiokafka's `fetched_records` in that it never waits for a reassignment and
        then goes on in the new one: those records would be dropped by Faust, whose flow is still
        stopped, and where nothing is committed yet nobody would ever seek back to them.
        """
        fetcher = consumer._fetcher
        with fetcher._subscriptions.fetch_context():
            chunks = self._take(consumer, active_partitions, max_records)
            if not chunks and timeout and not _astray(consumer, active_partitions):
                waiter = fetcher._create_fetch_waiter()
                await asyncio.wait([waiter], timeout=timeout)
                if not waiter.done():
                    waiter.cancel()
                    return {}
                waiter.result()  # Raises what the coordinator cannot recover from.
                chunks = self._take(consumer, active_partitions, max_records)
            return chunks | await self._find_again(consumer, active_partitions)

    def _take(
        self, consumer: AIOKafkaConsumer, active_partitions: set[TP], max_records: int | None
    ) -> dict[TP, Chunk]:
        """Take what lies fetched. Has no await in it: the assignment cannot change meanwhile."""
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        subscriptions = fetcher._subscriptions
        if not self.consumer.flow_active or subscriptions.reassignment_in_progress:
            return {}
        chunks: dict[TP, Chunk] = {}
        for partition in list(fetcher._records):
            if partition not in active_partitions:
                if not subscriptions.is_assigned(partition):
                    del fetcher._records[partition]
                continue
            result = fetcher._records[partition]
            if isinstance(result, FetchResult):
                chunk = _chunk_of(result, consumer._coordinator.generation, max_records)
                if chunk is not None:
                    chunks[TP(*partition)] = chunk
                if result.has_more():
                    continue
            elif chunks or _is_out_of_range(result):
                continue  # First hand over what is good; the error is for the next call.
            del fetcher._records[partition]
            fetcher._notify(fetcher._wait_consume_future)
            if not isinstance(result, FetchResult):
                result.check_raise()
        return chunks

    async def _find_again(
        self, consumer: AIOKafkaConsumer, active_partitions: set[TP]
    ) -> dict[TP, Chunk]:
        """Go on where the log still holds something, of partitions whose next offset it does not.

        Gives an empty chunk from there to here, and names what it passes over or goes back to.
        """
        astray = _astray(consumer, active_partitions)
        if not astray:
            return {}
        try:
            starts = await consumer._fetcher._retrieve_offsets(
                dict.fromkeys(astray, OffsetResetStrategy.EARLIEST), timeout_ms=START_TIMEOUT_MS
            )
        except (KafkaTimeoutError, KafkaConnectionError) as error:
            self.log.warning("cannot ask where %s begin: %r", sorted(astray), error)
            return {}  # The fault stays where it is, for the next call.
        chunks: dict[TP, Chunk] = {}
        if not self.consumer.flow_active:
            return chunks
        # Meanwhile the assignment may have changed, and with it what is to be read.
        for partition, at in _astray(consumer, set(starts)).items():
            start = starts[partition][0]
            if at < start:
                meters.count_lost(partition, first=at, until=start)
            else:
                self.log.error(
                    "%s/%d: the log ends before offset %d, which was to be read: its end was lost."
                    " It is read again from offset %d",
                    *(*partition, at, start),
                )
            chunks[TP(*partition)] = Chunk(
                records=[],
                first=at,
                next=start,
                num_bytes=0,
                generation=consumer._coordinator.generation,
            )
            consumer._fetcher.seek_to(partition, start)
        return chunks

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """Seek all partitions to what is committed of these very topics; gives the offsets.

        A partition without a commit is read from offset 0, and so is one whose commit is of another
        topic under the same name. Whether the log still holds that offset is found when it is
        fetched.
        """
        offsets: Mapping[TP, int | None] = await self.call_thread(self._seek_to_committed)
        return offsets

    async def _seek_to_committed(self) -> dict[TP, int | None]:
        consumer, ids = self._ensure_consumer(), self.consumer.topic_ids
        partitions = [TP(*partition) for partition in consumer.assignment()]
        committed = await consumer._coordinator.fetch_committed_offsets(partitions)
        offsets: dict[TP, int | None] = dict.fromkeys(partitions)
        anew: list[TP] = []
        unstamped: dict[TP, int] = {}
        for partition, at in committed.items():
            tp = TP(*partition)
            if is_of_another_topic(at.metadata, ids.get(tp.topic)):
                anew.append(tp)
                continue
            offsets[tp] = at.offset
            if not is_stamped(at.metadata):
                unstamped[tp] = at.offset
        for tp, offset in offsets.items():
            consumer._fetcher.seek_to(TopicPartition(*tp), offset or 0)
        if anew:
            self.log.warning(
                "%s: deleted and made again since the last commit; read from the first record",
                ", ".join(f"{tp.topic}/{tp.partition}" for tp in sorted(anew)),
            )
        if unstamped and ids:
            # Committed again with the topic's id, also where no further record comes.
            await self._commit(unstamped)
        return offsets

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit what is of partitions that we hold; False if the group went on without us.

        Deviates from Faust's in that the metadata says of which topic the offsets are: of the one
        that bore the name before any record was fetched.
        """
        consumer, ids, assigned = (
            self._ensure_consumer(),
            self.consumer.topic_ids,
            self.assignment(),
        )
        stamped = {
            TopicPartition(*tp): OffsetAndMetadata(offset, stamp_of(ids.get(tp.topic)))
            for tp, offset in offsets.items()
            if tp in assigned
        }
        self.tp_last_committed_at.update(dict.fromkeys((TP(*tp) for tp in stamped), monotonic()))
        try:
            await consumer.commit(stamped)
        except CommitFailedError as error:
            if "already rebalanced" not in str(error):
                await self.crash(error)
            return False
        except KafkaError as error:
            self.log.error("cannot commit %s: %r", stamped, error)
            await self.crash(error)
            return False
        return True


def _is_out_of_range(result: FetchResult | FetchError) -> bool:
    """Whether the log did not hold the offset that was asked for."""
    return isinstance(result, FetchError) and isinstance(result._error, OffsetOutOfRangeError)


def _astray(
    consumer: AIOKafkaConsumer, partitions: AbstractSet[tuple[str, int]]
) -> dict[TopicPartition, int]:
    """Those of our partitions of which the log does not hold the next offset, and that offset."""
    fetcher = consumer._fetcher
    return {
        partition: fetcher._subscriptions.subscription.assignment.state_value(partition).position
        for partition, result in fetcher._records.items()
        if _is_out_of_range(result)
        and partition in partitions
        and fetcher._subscriptions.is_assigned(partition)
    }


def _chunk_of(result: FetchResult, generation: int, max_records: int | None) -> Chunk | None:
    """The next records of one fetched partition; None if they are of no use any more."""
    partition = result._topic_partition
    if not result.has_more() or not result.check_assignment(partition):
        return None
    position = result._assignment.state_value(partition)
    first = position.position
    # As aiokafka's `getall` does it, in fewer steps per record, and without making of each a
    # ConsumerRecord of which we would make a Record.
    unread = result._partition_records
    unread._consumer_record = _record_of
    records: list[Record] = list(islice(unread._records_iterator, max_records))
    result._update_position()
    if max_records is None or len(records) < max_records:
        result._partition_records = None
    if position.position == first:
        return None
    return Chunk(
        records=records,
        first=first,
        next=position.position,
        num_bytes=sum([len(record.value or b"") for record in records]),
        generation=generation,
    )


def _record_of(partition: Any, record: Any) -> Record:
    return Record(
        partition.topic,
        partition.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        record.headers or (),
    )


class ChunkConsumer(aiokafka.Consumer):  # type: ignore[misc]
    """Faust's consumer, with a chunk where it had a record and a range where it had an offset."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ledger = Ledger()
        self.topic_ids: Mapping[str, str] = {}
        """Kafka's ids of the topics by name, asked for before anything is fetched: what is fetched
        later can be of these topics or of later ones, and is committed for these."""
        self.open_records_max = 100_000
        """Stop fetching while so many records are handed over and not done."""
        self.open_bytes_max = 128 * 2**20
        """Stop fetching while so many bytes are handed over and not done."""
        self._is_closing = False
        self._room = asyncio.Event()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ChunkThread:
        return ChunkThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(
        self, active_partitions: set[TP] | None, timeout: float
    ) -> Mapping[TP, Chunk]:
        if self._is_full():
            self._room.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), timeout)
            return {}
        chunks: Mapping[TP, Chunk] = await super()._getmany(active_partitions, timeout)
        return chunks

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """The chunks of one round of fetching, each as one message."""
        chunks, _active = await self._wait_next_records(timeout)
        for tp, chunk in (chunks or {}).items():
            if not self.flow_active or chunk.generation != self.app.consumer_generation_id:
                break  # A rebalance began: the new assignment starts at the committed offsets.
            if chunk.next < chunk.first:
                self._begin_anew(tp)
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            yield tp, self._to_message(tp, chunk)

    def _to_message(self, tp: TP, record: Chunk) -> ConsumerMessage:
        if self.ledger.open(tp, record):
            self._begin_at(tp, record.first)
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            record.first,
            timestamp=record.records[-1].timestamp_ms / 1000 if record.records else 0.0,
            timestamp_type=0,
            headers=None,
            key=None,
            value=record,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=record.num_bytes,
            tp=tp,
            generation_id=record.generation,
        )

    def _begin_at(self, tp: TP, offset: int) -> None:
        """Believe aiokafka where the partition begins, not what was committed.

        They differ when the topic was deleted and made again. Faust would drop every record before
        the committed offset and never commit one.
        """
        committed = self._committed_offset[tp]
        if committed is None or committed == offset:
            return
        self.log.error("%s begins at offset %s, but %s was committed", tp, offset, committed)
        self._read_offset[tp] = None
        if offset < committed:
            self._committed_offset[tp] = None

    def _begin_anew(self, tp: TP) -> None:
        """Forget how far this partition was read: what follows comes from before that."""
        self.ledger.forget([tp])
        self._read_offset[tp] = None
        self._committed_offset[tp] = None

    def stop_fetching(self) -> None:
        """Hand over nothing more; what is handed over can still be acknowledged and committed."""
        self._is_closing = True

    def _is_full(self) -> bool:
        ledger = self.ledger
        return (
            self._is_closing
            or ledger.num_open_records >= self.open_records_max
            or ledger.num_open_bytes >= self.open_bytes_max
        )

    def ack(self, message: Message) -> bool:
        """Note that the facts of a message's chunk are durable."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        is_ours = self.ledger.close(message.tp, message.value)
        self._room.set()
        return is_ours

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> list[TP]:
        tps = self.ledger.partitions()
        return [tp for tp in tps if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        return self.ledger.committable(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: ranges have no gaps."""

    async def perform_seek(self) -> None:
        """Seek all partitions to what is committed; what is handed over counts no more."""
        self.ledger.forget(self.assignment())
        await super().perform_seek()


class ChunkTransport(aiokafka.Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer."""

    Consumer = ChunkConsumer
