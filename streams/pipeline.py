"""From bytes to facts, without side effects.

The worker, replay and the tests call these same lines. `run` decodes, redacts and drops duplicates;
it remembers nothing by itself, because ids may only be remembered once their facts are durable:
a batch that has to be written again must come out the same the second time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np

from streams.codec import Headers, decode_counting
from streams.config import StreamsConfig
from streams.dedup import Place, SeenIds, hash_id
from streams.errors import BadEvent
from streams.events import DeadLetter, Erasure, Event, GuardVerdict, Reaction, Shown
from streams.redaction import redact_shown

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
    verdicts: list[GuardVerdict] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    received: int = 0
    """Records read; equals the lengths of the five lists plus `duplicates`."""
    duplicates: int = 0
    unknown_fields: int = 0
    """Fields that the contract does not know, ignored."""
    ids: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    """Hashes of the ids of these facts by (topic, partition): what `remember` takes in."""


class Pipeline:
    """Turns records into facts; knows which events it has already seen made durable."""

    def __init__(self, config: StreamsConfig) -> None:
        self._config = config
        self._seen = SeenIds(
            num_max=config.dedup_ids_max, window_s=config.dedup_window_s, folder=config.dedup_dir
        )

    def run(self, records: Sequence[Record]) -> Facts:
        """The facts of `records`, in their order, each event once. Changes no state."""
        facts = Facts(received=len(records))
        place = ("", -1)
        ids: set[int] = set()
        fresh: list[tuple[int, Event]] = []
        stamp_ms, known_at = 0, EPOCH
        for record in records:
            if record.partition != place[1] or record.topic != place[0]:
                self._take(facts, place, fresh)
                fresh = []
                place = (record.topic, record.partition)
                ids = facts.ids.setdefault(place, set())
            try:
                if record.timestamp_ms != stamp_ms:  # Neighbours often share a millisecond.
                    known_at = known_at_of(record.timestamp_ms)
                    stamp_ms = record.timestamp_ms
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
            fresh.append((hashed, event))
        self._take(facts, place, fresh)
        return facts

    def _take(self, facts: Facts, place: Place, fresh: list[tuple[int, Event]]) -> None:
        """Add the events of one partition that are no duplicates of earlier batches."""
        if not fresh:
            return
        hashes = np.fromiter([hashed for hashed, _ in fresh], dtype=np.uint64, count=len(fresh))
        known = self._seen.known(place, hashes)
        if known.any():
            facts.duplicates += int(known.sum())
            facts.ids[place].difference_update(hashes[known].tolist())
            fresh = [
                each for each, is_known in zip(fresh, known.tolist(), strict=True) if not is_known
            ]
        for _, event in fresh:
            if isinstance(event, Reaction):
                facts.reactions.append(event)
            elif isinstance(event, Shown):
                facts.shown.append(redact_shown(event))
            elif isinstance(event, Erasure):
                facts.erasures.append(event)
            else:
                facts.verdicts.append(event)

    def remember(self, facts: Facts) -> None:
        """From now on the events of `facts` are duplicates. Call ONLY once they are durable."""
        for place, ids in facts.ids.items():
            self._seen.add(place, ids)

    def forget(self, topic: str, partition: int) -> None:
        """Forget the ids of a partition that now belongs to another worker."""
        self._seen.forget((topic, partition))


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
