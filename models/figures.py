"""The registry in numbers, for meters: where aliases point, how good the champions are, what gates
decided, and when a champion was taken back. Every number is counted from rows that never change."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from models.aliases import AliasMove
from models.database import translated_faults
from models.live import CHAMPION, PREVIOUS
from models.registry import Registry
from models.tables import AliasRecord, MeasureRecord, ModelRecord, VerdictRecord, VersionRecord
from models.verdicts import Ruling, ruling_of

ECE = "ece"
"""Name of the calibration error in the measures of a reward model's version."""
KL = "kl_nats"
"""Name of the divergence from production in the verdicts on a policy's version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasedVersion:
    """A version of a model, and what an alias of it says."""

    name: str
    number: int
    alias: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """A move of the champion back to the version that it had replaced."""

    name: str
    revision: int
    """Of the alias champion: names the move."""
    to_number: int
    at: datetime
    next_at: datetime | None
    """When the champion moved again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryFigures:
    """What the registry holds at one look."""

    places: tuple[AliasedVersion, ...]
    """Where every alias of every model points."""
    ece: Mapping[AliasedVersion, float]
    """Expected calibration error of each champion among reward models that has one on record: mean
    distance of predicted from observed shares on its evaluation split, in [0, 1]."""
    kl_nats: Mapping[AliasedVersion, float]
    """How far each champion among policies had moved from the production of then, per reply, by the
    last verdict on it that measured it; a version registered by hand has none."""
    decisions: Mapping[tuple[str, Ruling], int]
    """Verdicts ever given, by (gate, ruling)."""
    rollbacks: tuple[Rollback, ...]
    """Oldest first."""


def read_standing(registry: Registry) -> RegistryFigures:
    """Look once. Raises SchemaMismatch and Unavailable, as the registry does."""
    registry.check_schema()  # Also says so where the SQLite file is gone; connecting would make it.
    with translated_faults(registry.engine.url), Session(registry.engine) as session:
        found = session.execute(
            select(ModelRecord.name, AliasRecord.number, AliasRecord.alias)
            .join(ModelRecord, ModelRecord.id == AliasRecord.model_id)
            .where(AliasRecord.number.is_not(None))
            .order_by(ModelRecord.name, AliasRecord.alias)
        )
        places = [
            AliasedVersion(name=name, number=number, alias=alias)
            for name, number, alias in found
            if number is not None
        ]
        # A row of schema 0001 knew no third ruling.
        ruling = func.coalesce(
            VerdictRecord.ruling, case((VerdictRecord.passed, "passed"), else_="refused")
        )
        decisions = session.execute(
            select(VerdictRecord.gate, ruling, func.count()).group_by(VerdictRecord.gate, ruling)
        )
        return RegistryFigures(
            places=tuple(places),
            ece=_ece(session),
            kl_nats=_kl_nats(session),
            decisions={(gate, ruling_of(told)): count for gate, told, count in decisions},
            rollbacks=tuple(rollbacks_of(registry.history())),
        )


def rollbacks_of(moves: list[AliasMove]) -> list[Rollback]:
    """Find the moves of the champion to the version named `previous`, whichever verb made them."""
    before: dict[str, int | None] = {}
    found: dict[str, list[AliasMove]] = {}
    undone: list[AliasMove] = []
    for move in moves:
        if move.alias == PREVIOUS:
            before[move.name] = move.to_number
        if move.alias == CHAMPION:
            found.setdefault(move.name, []).append(move)
            if move.to_number is not None and move.to_number == before.get(move.name):
                undone.append(move)
    return [
        Rollback(
            name=move.name,
            revision=move.revision,
            to_number=move.to_number,
            at=move.moved_at,
            next_at=next(
                (m.moved_at for m in found[move.name] if m.revision == move.revision + 1), None
            ),
        )
        for move in undone
        if move.to_number is not None
    ]


def _ece(session: Session) -> dict[AliasedVersion, float]:
    rows = session.execute(
        select(ModelRecord.name, VersionRecord.number, VersionRecord.measures)
        .join(ModelRecord, ModelRecord.id == VersionRecord.model_id)
        .join(
            AliasRecord,
            (AliasRecord.model_id == ModelRecord.id) & (AliasRecord.number == VersionRecord.number),
        )
        .where(AliasRecord.alias == CHAMPION, ModelRecord.kind == "reward")
    )
    return {
        AliasedVersion(name=name, number=number, alias=CHAMPION): float(ece)
        for name, number, measures in rows
        if isinstance(ece := measures.get(ECE), int | float)
    }


def _kl_nats(session: Session) -> dict[AliasedVersion, float]:
    rows = session.execute(
        select(ModelRecord.name, VersionRecord.number, MeasureRecord.value)
        .join(VerdictRecord, VerdictRecord.id == MeasureRecord.verdict_id)
        .join(VersionRecord, VersionRecord.id == VerdictRecord.version_id)
        .join(ModelRecord, ModelRecord.id == VersionRecord.model_id)
        .join(
            AliasRecord,
            (AliasRecord.model_id == ModelRecord.id) & (AliasRecord.number == VersionRecord.number),
        )
        .where(
            AliasRecord.alias == CHAMPION,
            ModelRecord.kind == "policy",
            MeasureRecord.name == KL,
            MeasureRecord.value.is_not(None),
        )
        .order_by(VerdictRecord.id)
    )
    return {
        AliasedVersion(name=name, number=number, alias=CHAMPION): value
        for name, number, value in rows
        if value is not None
    }
