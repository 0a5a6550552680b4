"""Which frozen examples a version learned from; the examples themselves belong to `features`."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.errors import Conflict
from models.tables import SnapshotRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRow:
    """What the registry knows of a snapshot."""

    hash: str
    signal: str
    as_of: datetime
    num_rows: int
    num_positives: int
    path: Path
    """Absolute, as artifact_path of a version."""
    recorded_at: datetime


def add_snapshot(session: Session, new: SnapshotRecord) -> SnapshotRecord:
    """Give the snapshot's row, making it where it is missing.

    The first as_of stands: the same facts looked at later have the same hash. Raises Conflict where
    other counts were recorded under this hash.
    """
    found = find_snapshot(session, new.hash)
    if found is None:
        try:
            with session.begin_nested():
                session.add(new)
        except IntegrityError:  # Another process recorded it between our look and our insert.
            pass
        found = find_snapshot(session, new.hash)
        assert found is not None
    seen = (found.signal, found.num_rows, found.num_positives)
    expected = (new.signal, new.num_rows, new.num_positives)
    if seen != expected:
        raise Conflict(f"snapshot {new.hash} is recorded otherwise", expected=expected, found=seen)
    return found


def find_snapshot(session: Session, hash: str) -> SnapshotRecord | None:
    return session.scalar(select(SnapshotRecord).where(SnapshotRecord.hash == hash))


def to_snapshot(record: SnapshotRecord, root: Path) -> SnapshotRow:
    return SnapshotRow(
        hash=record.hash,
        signal=record.signal,
        as_of=record.as_of,
        num_rows=record.num_rows,
        num_positives=record.num_positives,
        path=root / record.path,
        recorded_at=record.recorded_at,
    )
