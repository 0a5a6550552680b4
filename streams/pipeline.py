"""From bytes to facts, without side effects.

The worker, replay and the tests call these same lines. `run` decodes, redacts and drops duplicates;
it remembers nothing by itself, because ids may only be remembered once their facts are durable:
a batch that has to be written again must come out the same the second time.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import compress

import msgspec
import numpy as np

from streams.codec import decode_counting
from streams.config import StreamsConfig
from streams.dedup import SeenIds, hash_id
from streams.errors import BadEvent
from streams.events import DeadLetter, Erasure, Event, GuardRuling, Reaction, Shown
from streams.kafka.progress import Partition
from streams.kafka_binding import Headers
from streams.redaction.redact import redact_shown

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of a Kafka partition.

    Made for each record that is fetched: a Struct that the garbage collector does not follow costs
    a tenth of a NamedTuple.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """When the log received it, in ms since 1970 UTC: `known_at` of the fact in it."""
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(slots=True, kw_only=True)
class Facts:
    """What one batch of records told."""

    shown: list[Shown] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    erasures: list[Erasure] = field(default_factory=list)
    verdicts: list[GuardRuling] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    received: int = 0
    """Records read; equals the lengths of the five lists plus `duplicates`."""
    duplicates: int = 0
    unknown_fields: int = 0
    """Fields that the contract does not know, ignored."""
    out_of_order: Counter[type[Event]] = field(default_factory=Counter)
    """How many of these events happened before one taken earlier from their partition."""
    late: Counter[type[Event]] = field(default_factory=Counter)
    """How many of them the log received more than StreamsConfig.late_s after they happened."""
    latest: dict[Partition, datetime] = field(default_factory=dict)
    """The latest `occurred_at` taken from each (topic, partition): for `remember`."""
    ids: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    """Hashes of the ids of these facts by (topic, partition): what `remember` takes in."""


@dataclass(slots=True)
class _Fresh:
    """Events of one partition that are new in this batch, with the hashes of their ids."""

    hashes: list[int] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class Pipeline:
    """Turns records into facts; knows which events it has already seen made durable."""

    def __init__(self, config: StreamsConfig) -> None:
        self._config = config
        self._seen = SeenIds(
            num_max=config.dedup_ids_max, window_s=config.dedup_window_s, folder=config.dedup_dir
        )
        self._late = timedelta(seconds=config.late_s)
        self._latest: dict[Partition, datetime] = {}
        """The latest `occurred_at` made durable of each partition; a new owner begins anew."""

    def run(self, records: Sequence[Record]) -> Facts:
        """The facts of `records`, in their order, each event once. Changes no state."""
        facts = Facts(received=len(records))
        place = ("", -1)
        ids: set[int] = set()
        fresh = _Fresh()
        stamp_ms, known_at, newest_ms = 0, EPOCH, 0
        for record in records:
            if record.partition != place[1] or record.topic != place[0]:
                self._take(facts, place, fresh, newest_ms)
                fresh = _Fresh()
                place = (record.topic, record.partition)
                ids = facts.ids.setdefault(place, set())
            try:
                if record.timestamp_ms != stamp_ms:  # Neighbours often share a millisecond.
                    known_at = known_at_of(record.timestamp_ms)
                    stamp_ms = record.timestamp_ms
                    if stamp_ms > newest_ms:
                        newest_ms = stamp_ms
                event, num_unknown = decode_counting(
                    record.value, record.headers, known_at=known_at, config=self._config
                )
            except BadEvent as error:
                facts.dead_letters.append(_dead_letter(record, error))
                continue
            if num_unknown:
                facts.unknown_fields += num_unknown
            hashed = hash_id(event.source, event.id)
            if hashed in ids:
                facts.duplicates += 1
                continue
            ids.add(hashed)
            fresh.hashes.append(hashed)
            fresh.events.append(event)
        self._take(facts, place, fresh, newest_ms)
        return facts

    def _take(self, facts: Facts, place: Partition, fresh: _Fresh, newest_ms: int) -> None:
        """Add the events of one partition that are no duplicates of earlier batches.

        `newest_ms` is when the log received the last of them, or later.
        """
        events = fresh.events
        if not events:
            return
        hashes = np.array(fresh.hashes, dtype=np.uint64)
        known = self._seen.known(place, hashes)
        if known.any():
            facts.duplicates += int(known.sum())
            facts.ids[place].difference_update(hashes[known].tolist())
            events = list(compress(events, (~known).tolist()))
        self._count_odd(facts, place, events, newest_ms)
        for event in events:
            if isinstance(event, Reaction):
                facts.reactions.append(event)
            elif isinstance(event, Shown):
                facts.shown.append(redact_shown(event))
            elif isinstance(event, Erasure):
                facts.erasures.append(event)
            else:
                facts.verdicts.append(event)

    def _count_odd(
        self, facts: Facts, place: Partition, events: Sequence[Event], newest_ms: int
    ) -> None:
        """Count the events of one partition that are out of order or late."""
        latest = facts.latest.get(place) or self._latest.get(place, EPOCH)
        maybe_late = known_at_of(newest_ms) - self._late
        # One comparison for most events: what happened at or after the bar is not late and, as the
        # bar goes up with the latest, not out of order.
        bar = max(latest, maybe_late)
        out_of_order: list[Event] = []
        late: list[Event] = []
        for event in events:
            at = event.occurred_at
            if at >= bar:
                bar = latest = at
                continue
            if at < latest:
                out_of_order.append(event)
            else:
                latest = at
            if at < maybe_late and event.known_at - at > self._late:
                late.append(event)
        facts.latest[place] = latest
        facts.out_of_order.update(map(type, out_of_order))
        facts.late.update(map(type, late))

    def remember(self, facts: Facts) -> None:
        """From now on the events of `facts` are duplicates. Call ONLY once they are durable."""
        for place, ids in facts.ids.items():
            self._seen.add(place, ids)
        self._latest |= facts.latest

    def forget(self, topic: str, partition: int) -> None:
        """Forget the ids of a partition that now belongs to another worker."""
        self._seen.forget((topic, partition))
        self._latest.pop((topic, partition), None)


def known_at_of(timestamp_ms: int) -> datetime:
    """The record's time. Raises BadEvent for one that no clock shows."""
    if timestamp_ms < 0:
        raise BadEvent("absurd_time", f"saw record timestamp {timestamp_ms} ms; it must be >= 0")
    try:
        return EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        raise BadEvent(
            "absurd_time", f"saw record timestamp {timestamp_ms} ms; it lies beyond the year 9999"
        ) from None


def _dead_letter(record: Record, error: BadEvent) -> DeadLetter:
    try:
        known_at = known_at_of(record.timestamp_ms)
    except BadEvent:
        known_at = EPOCH  # The timestamp itself is what was wrong with it.
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=error.reason,
        detail=error.detail,
        key=record.key,
        value=record.value or b"",
        known_at=known_at,
    )
