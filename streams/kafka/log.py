"""Reads a stretch of the log: from where one likes up to where it ends now, outside of any group.

Nothing is committed and no worker notices. What cannot be read any more, because Kafka deleted it
by age or size, is counted in the stretch and never passed over in silence.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError

from streams.config import RECORD_BYTES_MAX, StreamsConfig
from streams.errors import Unavailable
from streams.kafka.reach import require_reachable
from streams.kafka.rights import refusal_of
from streams.kafka.security import client_settings
from streams.kafka.topics import REACH_WAIT_S, REQUEST_TIMEOUT_MS, Offsets, extents
from streams.pipeline import Record

BEGINNING = "beginning"
"""For `parse_offsets`: everything that the log still holds."""
RECORDS_MAX = 5_000
"""Records given at a time."""
POLL_MS = 500
STALL_S = 60.0
"""Without a step forward for this long, reading ends with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What is to be read of each partition of the topics of events: [first, until)."""

    first: Offsets
    until: Offsets
    """Where the log ended when the stretch was measured: before the first open transaction."""
    lost: Offsets = field(default_factory=dict)
    """How many offsets that were asked for lie before the log's start: Kafka deleted them. Of the
    beginning, offset 0; of a time none, because what is gone has no time any more. Grows while the
    stretch is read, where more is deleted meanwhile."""
    beyond: Offsets = field(default_factory=dict)
    """How far beyond the log's end the start that was asked for lies; nothing is read there."""
    undecided: Offsets = field(default_factory=dict)
    """How many offsets lie from `until` to the log's end because a transaction is open: which of
    them will be committed, nobody knows yet."""

    @property
    def num_offsets(self) -> int:
        """Offsets in it; records may be fewer, where the log has holes."""
        return sum(self.until[place] - first for place, first in self.first.items())


def parse_offsets(text: str, config: StreamsConfig) -> Offsets:
    """Offsets from `topic:partition=offset,...`, or none from `beginning`, which means all.

    Raises ValueError, saying what was seen and what is allowed.
    """
    if text.strip() == BEGINNING:
        return {}
    offsets: Offsets = {}
    for part in text.split(","):
        place, _, offset = part.strip().rpartition("=")
        topic, _, partition = place.strip().rpartition(":")
        if not (_is_whole(partition) and _is_whole(offset)) or not topic:
            raise ValueError(
                f"saw {part.strip()!r}; give {BEGINNING!r} or topic:partition=offset with commas,"
                f" such as {config.reactions_topic}:0=1200"
            )
        if topic not in config.event_topics:
            raise ValueError(
                f"saw topic {topic!r}; topics of events are {', '.join(config.event_topics)}"
            )
        if (topic, int(partition)) in offsets:
            raise ValueError(f"saw {topic}:{partition} twice; give one offset for each partition")
        offsets[topic, int(partition)] = int(offset)
    return offsets


def measure(config: StreamsConfig, *, start: Offsets | datetime | None) -> Stretch:
    """What there is to read from `start` on, of the topics of events that exist.

    Offsets: partitions that they do not name are read from their beginning. A time (aware): the
    first record of each partition that the log received then or later. None: the beginning.
    Raises ValueError for a partition that does not exist, and Unavailable.
    """
    if isinstance(start, datetime) and start.tzinfo is None:
        raise ValueError(f"start is {start.isoformat()}, must have a timezone")
    held = extents(config)
    until = {place: extent.stable for place, extent in held.items()}
    if not until:
        raise Unavailable(
            f"Kafka at {config.brokers} has none of {', '.join(config.event_topics)}: no log"
        )
    if isinstance(start, datetime):
        with _consumer(config) as consumer:
            asked = _offsets_at(consumer, start, until)
    else:
        asked = dict.fromkeys(until, 0) | (start or {})
    unknown = sorted(set(asked) - set(until))
    if unknown:
        raise ValueError(
            f"saw {_names(unknown)}, which the log does not have; it has {_names(sorted(until))}"
        )
    is_time = isinstance(start, datetime)  # What was deleted cannot be asked for by its time.
    return Stretch(
        first={
            place: min(max(asked[place], extent.start), extent.stable)
            for place, extent in held.items()
        },
        until=until,
        lost={
            place: extent.start - asked[place]
            for place, extent in held.items()
            if asked[place] < extent.start and not is_time
        },
        beyond={
            place: asked[place] - extent.end
            for place, extent in held.items()
            if asked[place] > extent.end
        },
        undecided={
            place: extent.end - extent.stable
            for place, extent in held.items()
            if extent.stable < extent.end
        },
    )


def read_log(config: StreamsConfig, stretch: Stretch) -> Iterator[list[Record]]:
    """The records of a stretch, each partition in its order, a few thousand at a time.

    What Kafka deletes before it is read is added to `stretch.lost`. Raises Unavailable.
    """
    left = {
        TopicPartition(*place): until
        for place, until in stretch.until.items()
        if stretch.first[place] < until
    }
    if not left:
        return
    with _consumer(config) as consumer:
        consumer.assign(list(left))
        for place in left:
            consumer.seek(place, stretch.first[place.topic, place.partition])
        moved_at = time.monotonic()
        while left:
            before = {place: consumer.position(place) for place in left}
            try:
                fetched = consumer.poll(timeout_ms=POLL_MS, max_records=RECORDS_MAX)
            except OffsetOutOfRangeError:
                _go_on(consumer, left, stretch)
                fetched = {}
            records = [
                Record(
                    place.topic,
                    place.partition,
                    record.offset,
                    record.timestamp,
                    record.key,
                    record.value,
                    tuple(record.headers or ()),
                )
                for place, found in fetched.items()
                for record in found
                if place in left and record.offset < left[place]
            ]
            if records:
                yield records
            after = {place: consumer.position(place) for place in left}
            if after != before:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > STALL_S:
                raise Unavailable(f"nothing was read of {_names(left)} for {STALL_S:.0f} s")
            done = [place for place, until in left.items() if after[place] >= until]
            for place in done:
                del left[place]
            if done:
                consumer.pause(*done)


def _go_on(consumer: KafkaConsumer, left: Mapping[TopicPartition, int], stretch: Stretch) -> None:
    """Seek to where the log begins now, of partitions that begin after their position."""
    for place, start in consumer.beginning_offsets(list(left)).items():
        at, until = consumer.position(place), left[place]
        if at < start:
            lost = stretch.lost.get((place.topic, place.partition), 0)
            stretch.lost[place.topic, place.partition] = lost + min(start, until) - at
            consumer.seek(place, start)


def _offsets_at(consumer: KafkaConsumer, start: datetime, until: Offsets) -> Offsets:
    """The first offset of each partition at or after a time; its end where there is none."""
    stamp_ms = -(-int(start.timestamp() * 1_000_000) // 1000)
    found = consumer.offsets_for_times({TopicPartition(*place): stamp_ms for place in until})
    offsets = dict(until)
    for place, at in found.items():
        if at is not None and at.offset >= 0:
            offsets[place.topic, place.partition] = at.offset
    return offsets


@contextmanager
def _consumer(config: StreamsConfig) -> Iterator[KafkaConsumer]:
    """A consumer without a group; Kafka's errors become Unavailable."""
    require_reachable(config, wait_s=REACH_WAIT_S)
    try:
        with closing(
            KafkaConsumer(
                bootstrap_servers=config.brokers.split(","),
                **client_settings(config.security),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",  # Never go on elsewhere than we were told to.
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                max_partition_fetch_bytes=RECORD_BYTES_MAX,
                bootstrap_timeout_ms=REQUEST_TIMEOUT_MS,
            )
        ) as consumer:
            yield consumer
    except KafkaError as error:
        refusal = refusal_of(error, config)
        raise refusal or Unavailable(f"Kafka at {config.brokers}: {error!r}") from error


def _is_whole(text: str) -> bool:
    return text.strip().isascii() and text.strip().isdigit()


def _names(places: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{topic}:{partition}" for topic, partition in places)
