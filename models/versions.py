"""Versions: numbered, never changed, each with everything that it came from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.artifacts import check_model_name
from models.errors import Conflict, NotFound
from models.names import NAME_CHARS_MAX, NUMBER_MAX, check_text
from models.runs import find_run
from models.tables import AliasRecord, ModelRecord, VersionParentRecord, VersionRecord

ModelKind: TypeAlias = Literal["policy", "reward"]

KINDS: dict[str, ModelKind] = {kind: kind for kind in get_args(ModelKind)}
NUMBER = re.compile(r"v?([0-9]+)")
NUMBER_DIGITS_MAX = 10
"""Those of the largest number that the registry holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One learned model and its lineage."""

    name: str
    number: int
    """From 1, without gaps, per name."""
    kind: ModelKind
    artifact_hash: str
    artifact_path: Path
    """Absolute: the home of whoever asked, joined with the relative path that is stored."""
    config_hash: str
    snapshot_hash: str | None
    parents: tuple[tuple[str, int], ...]
    """(name, number) of the versions it was made from, in the order given."""
    recipe: str
    run_id: str | None
    measures: Mapping[str, object]
    created_at: datetime

    @property
    def ref(self) -> str:
        """Name and number in one word: chat@12."""
        return f"{self.name}@{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """What a version is registered with."""

    kind: str
    artifact_hash: str
    artifact_path: str
    config_hash: str
    snapshot_hash: str | None
    parents: Sequence[tuple[str, int]]
    recipe: str
    run_id: str | None
    measures: Mapping[str, object]


def add_version(session: Session, name: str, new: NewVersion, now: datetime) -> VersionRecord:
    """Give the version with this artifact, config and snapshot, making it where it is missing.

    Raises Conflict where the name belongs to the other kind, NotFound for a parent or run that does
    not exist.
    """
    if new.kind not in KINDS:
        raise ValueError(f"a model is one of {', '.join(KINDS)}, not {new.kind!r}")
    check_text("recipe", new.recipe)
    model = _locked_or_new_model(session, name, new.kind, now)
    found = session.scalar(
        select(VersionRecord).where(
            VersionRecord.model_id == model.id,
            VersionRecord.artifact_hash == new.artifact_hash,
            VersionRecord.config_hash == new.config_hash,
            VersionRecord.snapshot_hash == (new.snapshot_hash or ""),
        )
    )
    if found is not None:
        return found
    if new.run_id is not None:
        find_run(session, new.run_id)
    last = session.scalar(
        select(func.max(VersionRecord.number)).where(VersionRecord.model_id == model.id)
    )
    made = VersionRecord(
        model_id=model.id,
        number=(last or 0) + 1,
        artifact_hash=new.artifact_hash,
        artifact_path=new.artifact_path,
        config_hash=new.config_hash,
        snapshot_hash=new.snapshot_hash or "",
        recipe=new.recipe,
        run_id=new.run_id,
        measures=dict(new.measures),
        created_at=now,
    )
    parents = [find_version(session, *parent) for parent in new.parents]
    session.add(made)
    session.flush()
    session.add_all(
        VersionParentRecord(version_id=made.id, position=position, parent_id=parent.id)
        for position, parent in enumerate(parents)
    )
    return made


def find_model(session: Session, name: str, *, lock: bool = False) -> ModelRecord:
    """Give the model's row; locked, other writers to this name wait. Raises NotFound."""
    query = select(ModelRecord).where(ModelRecord.name == name)
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        names = session.scalars(select(ModelRecord.name).order_by(ModelRecord.name)).all()
        raise NotFound("model", name, names)
    return found


def find_version(session: Session, name: str, ref: int | str) -> VersionRecord:
    """Give the version by number (12, "12", "v12") or alias. Raises NotFound saying what exists."""
    model = find_model(session, name)
    number = ref if isinstance(ref, int) else _number_of(session, model, ref)
    found = None
    if number is not None and 0 < number <= NUMBER_MAX:
        found = session.scalar(
            select(VersionRecord).where(
                VersionRecord.model_id == model.id, VersionRecord.number == number
            )
        )
    if found is None:
        numbers = session.scalars(
            select(VersionRecord.number)
            .where(VersionRecord.model_id == model.id)
            .order_by(VersionRecord.number.desc())
        ).all()
        raise NotFound(f"version of {name!r}", _shown(ref), [str(n) for n in numbers])
    return found


def list_versions(session: Session, name: str | None) -> list[VersionRecord]:
    """All versions, or one model's, oldest first."""
    query = select(VersionRecord).join(ModelRecord, ModelRecord.id == VersionRecord.model_id)
    if name is not None:
        query = query.where(ModelRecord.name == name)
    return list(session.scalars(query.order_by(ModelRecord.name, VersionRecord.number)))


def to_versions(session: Session, records: Sequence[VersionRecord], root: Path) -> list[Version]:
    """Turn rows into values, their parents and names read in one query each."""
    models = {model.id: model for model in session.scalars(select(ModelRecord))}
    parents: dict[int, list[tuple[str, int]]] = {record.id: [] for record in records}
    rows = session.execute(
        select(VersionParentRecord.version_id, VersionRecord.model_id, VersionRecord.number)
        .join(VersionRecord, VersionRecord.id == VersionParentRecord.parent_id)
        .where(VersionParentRecord.version_id.in_(parents))
        .order_by(VersionParentRecord.version_id, VersionParentRecord.position)
    )
    for version_id, model_id, number in rows:
        parents[version_id].append((models[model_id].name, number))
    return [
        Version(
            name=models[record.model_id].name,
            number=record.number,
            kind=KINDS[models[record.model_id].kind],
            artifact_hash=record.artifact_hash,
            artifact_path=root / record.artifact_path,
            config_hash=record.config_hash,
            snapshot_hash=record.snapshot_hash or None,
            parents=tuple(parents[record.id]),
            recipe=record.recipe,
            run_id=record.run_id,
            measures=record.measures,
            created_at=record.created_at,
        )
        for record in records
    ]


def _locked_or_new_model(session: Session, name: str, kind: str, now: datetime) -> ModelRecord:
    check_model_name(name)
    query = select(ModelRecord).where(ModelRecord.name == name).with_for_update()
    model = session.scalar(query)
    if model is None:
        try:
            with session.begin_nested():
                session.add(ModelRecord(name=name, kind=kind, created_at=now))
        except IntegrityError:  # Another process made it between our look and our insert.
            pass
        model = session.scalars(query).one()
    if model.kind != kind:
        raise Conflict(
            f"the name {name!r} belongs to a {model.kind}", expected=kind, found=model.kind
        )
    return model


def _shown(ref: int | str) -> str:
    """A reference for an error; Python writes no number of thousands of digits."""
    if isinstance(ref, int):
        return str(ref) if abs(ref) <= NUMBER_MAX else "beyond any"
    return ref[:NAME_CHARS_MAX].removeprefix("v")


def _number_of(session: Session, model: ModelRecord, ref: str) -> int | None:
    """Give the number that a reference names; None for one that no version can have."""
    written = NUMBER.fullmatch(ref)
    if written is not None:
        digits = written[1].lstrip("0")
        return int(digits or "0") if len(digits) <= NUMBER_DIGITS_MAX else None
    aliases = session.scalars(
        select(AliasRecord)
        .where(AliasRecord.model_id == model.id, AliasRecord.number.is_not(None))
        .order_by(AliasRecord.alias)
    ).all()
    for alias in aliases:
        if alias.alias == ref and alias.number is not None:
            return alias.number
    raise NotFound(
        f"alias of {model.name!r}", ref[:NAME_CHARS_MAX], [alias.alias for alias in aliases]
    )
