"""`rluf replay --from-offsets / --from-time`: the log once more, into a store that is new.

The lines from bytes to facts are those of the worker; nothing is committed and the log is not
written to. Two stores that were filled from the same records hold the same labels: their digests
say so.
"""

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from features.digest import labels_digest
from features.repair import repair_online
from features.snapshot import take_snapshot
from features.store import FactStore
from rluf.settings import Settings
from rluf.turn.steps import OnProgress
from streams.kafka.log import measure, read_log
from streams.kafka.topics import Offsets
from streams.pipeline import Pipeline, Record

BATCH_RECORDS = 20_000
"""Records that are written at a time."""
BATCH_BYTES = 64 * 2**20
"""The same in bytes of their values."""


@dataclass(slots=True, kw_only=True)
class ReplayedLog:
    """What was read of the log, what became of it, and what the two stores say."""

    into: str
    records: int = 0
    shown: int = 0
    reactions: int = 0
    erasures: int = 0
    verdicts: int = 0
    dead_letters: int = 0
    """Kept in the new store; not sent to the topic of dead letters again."""
    duplicates: int = 0
    seconds: float = 0.0
    first: dict[str, int] = field(default_factory=dict)
    """Where reading began, by topic:partition."""
    until: dict[str, int] = field(default_factory=dict)
    """Where it ended: before this offset."""
    lost: dict[str, int] = field(default_factory=dict)
    """Offsets that were asked for and that Kafka has deleted, by topic:partition."""
    beyond: dict[str, int] = field(default_factory=dict)
    """How far beyond the log's end the start lay, by topic:partition."""
    undecided: dict[str, int] = field(default_factory=dict)
    """Offsets after `until` that an open transaction holds back, by topic:partition."""
    labels_digest: str = ""
    labels_digest_home: str = ""
    """The same of the store of the settings, as it is now."""
    snapshot: str = ""
    """Hash of a snapshot of the new store, or why there is none; empty: not asked for."""
    snapshot_home: str = ""

    @property
    def is_same(self) -> bool:
        """Whether both stores hold the same labels, and name the same snapshot."""
        return (self.labels_digest, self.snapshot) == (self.labels_digest_home, self.snapshot_home)

    def summary(self) -> str:
        """Give the lines a person reads."""
        lines = [
            f"read {self.records:,} records of the log into {self.into} in {self.seconds:.1f} s:"
            f" {self.shown:,} exposures, {self.reactions:,} reactions, {self.erasures:,} erasures,"
            f" {self.verdicts:,} verdicts, {self.dead_letters:,} dead letters,"
            f" {self.duplicates:,} duplicates"
        ]
        lines += [
            f"LOST: {count:,} offsets of {place} lie before the log's start; Kafka deleted them"
            for place, count in self.lost.items()
        ]
        lines += [
            f"{place} ends {count:,} offsets before the start that was asked for"
            for place, count in self.beyond.items()
        ]
        lines += [
            f"{place}: {count:,} offsets not read, a transaction is open"
            for place, count in self.undecided.items()
        ]
        verdict = "the same as" if self.is_same else "DIFFERENT from"
        lines.append(f"labels {self.labels_digest}: {verdict} the store in use")
        if not self.is_same:
            lines.append(f"labels {self.labels_digest_home}: the store in use")
        if self.snapshot:
            lines.append(f"snapshot {self.snapshot}; of the store in use {self.snapshot_home}")
        return "\n".join(lines)


def replay_log(
    settings: Settings,
    *,
    start: Offsets | datetime | None,
    into: Path,
    on_progress: OnProgress,
    signal: str = "",
) -> ReplayedLog:
    """Read the log from `start` (see streams.kafka.log.measure) into a new store under `into`.

    With `signal`, also take a snapshot of it in both stores, as known now. The worker may store
    more meanwhile: stop it, or compare while nothing comes in. Raises ValueError where `into` holds
    a store already or `start` names what does not exist, and Unavailable; what was written into
    `into` by then is no whole store and has to be removed.
    """
    if into.absolute() == settings.home.absolute() or (into / "store").exists():
        raise ValueError(f"{into} holds a store already; give a new folder")
    began = time.monotonic()
    stretch = measure(settings.streams, start=start)
    features = replace(settings.features, root=into.absolute())
    store = FactStore(features)
    # The ids that the worker remembers belong to its store: here each event is new.
    pipeline = Pipeline(replace(settings.streams, dedup_dir=None))
    report = ReplayedLog(
        into=str(into),
        first=_named(stretch.first),
        until=_named(stretch.until),
        beyond=_named(stretch.beyond),
        undecided=_named(stretch.undecided),
    )
    total = stretch.num_offsets
    on_progress("replay", "records", 0, total)
    batch: list[Record] = []
    num_bytes = 0
    for records in read_log(settings.streams, stretch):
        batch += records
        num_bytes += sum(len(record.value or b"") for record in records)
        if len(batch) >= BATCH_RECORDS or num_bytes >= BATCH_BYTES:
            _store(pipeline, store, batch, report)
            batch, num_bytes = [], 0
            on_progress("replay", "records", report.records, total)
    if batch:
        _store(pipeline, store, batch, report)
    report.lost = _named(stretch.lost)
    store.compact()
    repair_online(features)
    on_progress("replay", "records", total, total)
    report.labels_digest = labels_digest(features.root)
    report.labels_digest_home = labels_digest(settings.home)
    if signal:
        as_of = datetime.now(UTC)
        report.snapshot = _snapshot(replace(settings, features=features), signal, as_of)
        report.snapshot_home = _snapshot(settings, signal, as_of)
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _store(
    pipeline: Pipeline, store: FactStore, records: list[Record], report: ReplayedLog
) -> None:
    """Make records durable as facts, and count them."""
    facts = pipeline.run(records)
    store.append(facts)
    pipeline.remember(facts)
    report.records += facts.received
    report.shown += len(facts.shown)
    report.reactions += len(facts.reactions)
    report.erasures += len(facts.erasures)
    report.verdicts += len(facts.verdicts)
    report.dead_letters += len(facts.dead_letters)
    report.duplicates += facts.duplicates


def _snapshot(settings: Settings, signal: str, as_of: datetime) -> str:
    """The hash of a snapshot, or why none could be taken."""
    try:
        return take_snapshot(
            settings.features, signal=signal, as_of=as_of, guard=settings.guard
        ).hash
    except ValueError as refusal:
        return f"none: {refusal}"


def _named(offsets: Offsets) -> dict[str, int]:
    return {f"{topic}:{partition}": offset for (topic, partition), offset in offsets.items()}
