"""The registry's tables.

Two kinds of rows. *History* (APPEND_ONLY) is written once: triggers made by the migration refuse
UPDATE and DELETE, whoever asks. *State* (aliases, runs, run_steps, leases) says what holds now.
"""

from datetime import UTC, datetime
from typing import ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from models.names import NUMBER_MAX, BadText, check_storable

SCHEMA = "0002"
"""The migration that these tables stand at. Revisions are numbered, so that a program can tell an
older database from a newer one; tests/models/test_migrate.py holds it equal to Alembic's head."""

APPEND_ONLY = (
    "models",
    "versions",
    "version_parents",
    "alias_moves",
    "arm_sets",
    "arms",
    "verdicts",
    "measures",
    "snapshots",
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC on every backend; SQLite forgets the zone, so it is put back here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"times must be aware, {value.isoformat()} has no zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class StoredText(TypeDecorator[str]):
    """A text that both databases hold; another one is refused before it gets there."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is not None:
            check_storable(value)
        return value


class StoredInteger(TypeDecorator[int]):
    """A whole number that both databases hold; SQLite's driver gives up above 64 bits."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        if value is not None and not -NUMBER_MAX <= value <= NUMBER_MAX:
            raise BadText(f"a number must lie within {NUMBER_MAX} of 0, and one does not")
        return value


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        str: StoredText(),
        int: StoredInteger(),
        datetime: UtcDateTime(),
        dict[str, object]: JSON(),
        list[str]: JSON(),
    }


class ModelRecord(Base):
    """A line of versions under one name. Its row is what writers to that name lock."""

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    created_at: Mapped[datetime]


class VersionRecord(Base):
    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        UniqueConstraint("model_id", "artifact_hash", "config_hash", "snapshot_hash"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    artifact_hash: Mapped[str]
    artifact_path: Mapped[str]
    """POSIX, relative to the home, so that the home can move."""
    config_hash: Mapped[str]
    snapshot_hash: Mapped[str]
    """Empty where no snapshot was used: NULLs would not be unique."""
    recipe: Mapped[str]
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))
    measures: Mapped[dict[str, object]]
    created_at: Mapped[datetime]


class VersionParentRecord(Base):
    __tablename__ = "version_parents"

    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), index=True)


class AliasRecord(Base):
    """Where an alias points now; number is NULL where it was taken away."""

    __tablename__ = "aliases"
    __table_args__ = (
        ForeignKeyConstraint(["model_id", "number"], ["versions.model_id", "versions.number"]),
    )

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    alias: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int | None]
    revision: Mapped[int]
    moved_at: Mapped[datetime]


class AliasMoveRecord(Base):
    """One move. The unique revision is the second lock: no two moves can follow the same one."""

    __tablename__ = "alias_moves"
    __table_args__ = (
        UniqueConstraint("model_id", "alias", "revision"),
        ForeignKeyConstraint(["model_id", "to_number"], ["versions.model_id", "versions.number"]),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    alias: Mapped[str]
    revision: Mapped[int]
    from_number: Mapped[int | None]
    to_number: Mapped[int | None]
    why: Mapped[str]
    who: Mapped[str]
    moved_at: Mapped[datetime] = mapped_column(index=True)


class ArmSetRecord(Base):
    """One division of users over versions; the highest revision is the one that is live."""

    __tablename__ = "arm_sets"
    __table_args__ = (UniqueConstraint("model_id", "revision"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    revision: Mapped[int]
    experiment: Mapped[str]
    why: Mapped[str]
    who: Mapped[str]
    set_at: Mapped[datetime]


class ArmRecord(Base):
    __tablename__ = "arms"
    __table_args__ = (
        UniqueConstraint("arm_set_id", "name"),
        CheckConstraint("share >= 0 AND share <= 1", name="share_is_a_share"),
    )

    arm_set_id: Mapped[int] = mapped_column(ForeignKey("arm_sets.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    share: Mapped[float]


class RunRecord(Base):
    __tablename__ = "runs"
    __table_args__ = (UniqueConstraint("kind", "key"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    key: Mapped[str]
    settings: Mapped[dict[str, object]]
    status: Mapped[str]
    result: Mapped[dict[str, object]]
    started_at: Mapped[datetime] = mapped_column(index=True)
    finished_at: Mapped[datetime | None]


class RunStepRecord(Base):
    __tablename__ = "run_steps"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    step: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    status: Mapped[str]
    result: Mapped[dict[str, object]]
    started_at: Mapped[datetime]
    recorded_at: Mapped[datetime]


class VerdictRecord(Base):
    __tablename__ = "verdicts"

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), index=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))
    gate: Mapped[str]
    passed: Mapped[bool]
    reasons: Mapped[list[str]]
    decided_at: Mapped[datetime]
    ruling: Mapped[str | None]
    """passed, refused or undecided; NULL in rows of schema 0001, which knew no third."""


class MeasureRecord(Base):
    __tablename__ = "measures"

    verdict_id: Mapped[int] = mapped_column(ForeignKey("verdicts.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    value: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    unit: Mapped[str]
    limit: Mapped[str]
    """The bound in words."""
    passed: Mapped[bool | None]
    """NULL where nothing was asked, or nothing could be decided."""
    outcome: Mapped[str | None]
    """kept, broken or undecided; NULL where nothing was asked, and in rows of schema 0001."""
    bound_low: Mapped[float | None]
    bound_high: Mapped[float | None]
    num_users: Mapped[int | None]
    users_needed: Mapped[int | None] = mapped_column(BigInteger)
    about: Mapped[str | None]


class SnapshotRecord(Base):
    __tablename__ = "snapshots"

    hash: Mapped[str] = mapped_column(primary_key=True)
    signal: Mapped[str]
    as_of: Mapped[datetime]
    num_rows: Mapped[int]
    num_positives: Mapped[int]
    path: Mapped[str]
    """POSIX, relative to the home."""
    recorded_at: Mapped[datetime]


class LeaseRecord(Base):
    """Who may do a thing that only one may do at a time, and until when."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    token: Mapped[int]
    """Goes up by one with each taking, so that an old holder can be told from the present one."""
    acquired_at: Mapped[datetime]
    renewed_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    is_released: Mapped[bool]
