"""What gates said of versions: stored whether they passed or not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.names import at_most, check_name, check_text
from models.runs import find_run
from models.tables import MeasureRecord, ModelRecord, VerdictRecord, VersionRecord
from models.versions import find_version

MEASURE_FIELDS = ("name", "value", "low", "high", "unit", "limit", "passed")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRow:
    """One number that a gate looked at. NaN and infinities are kept as None: nothing measured."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    limit: str
    passed: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """One decision of one gate on one version."""

    id: int
    name: str
    number: int
    gate: str
    passed: bool
    reasons: tuple[str, ...]
    measures: tuple[MeasureRow, ...]
    run_id: str | None
    """The turn that judged, so that a turn run again does not judge twice."""
    decided_at: datetime


def add_verdict(
    session: Session,
    name: str,
    number: int,
    *,
    gate: str,
    passed: bool,
    reasons: Sequence[str],
    measures: Sequence[Mapping[str, object]],
    run_id: str | None,
    now: datetime,
) -> VerdictRow:
    """Store the verdict. Raises NotFound, or ValueError naming a field that no measure has."""
    check_name("gate", gate)
    for reason in reasons:
        check_text("a reason", reason)
    version = find_version(session, name, number)
    rows = [_measure_of(measure) for measure in measures]
    if run_id is not None:
        find_run(session, run_id)
    record = VerdictRecord(
        version_id=version.id,
        run_id=run_id,
        gate=gate,
        passed=passed,
        reasons=list(reasons),
        decided_at=now,
    )
    session.add(record)
    session.flush()
    session.add_all(
        MeasureRecord(
            verdict_id=record.id,
            position=position,
            name=row.name,
            value=row.value,
            low=row.low,
            high=row.high,
            unit=row.unit,
            limit=row.limit,
            passed=row.passed,
        )
        for position, row in enumerate(rows)
    )
    return _to_verdict(record, name, number, tuple(rows))


def list_verdicts(
    session: Session, name: str | None, number: int | None, limit: int | None
) -> list[VerdictRow]:
    """Verdicts in the order in which they were given; with a limit, the last ones."""
    query = (
        select(VerdictRecord, ModelRecord.name, VersionRecord.number)
        .join(VersionRecord, VersionRecord.id == VerdictRecord.version_id)
        .join(ModelRecord, ModelRecord.id == VersionRecord.model_id)
    )
    if name is not None:
        query = query.where(ModelRecord.name == name)
    if number is not None:
        query = query.where(VersionRecord.number == number)
    latest = query.order_by(VerdictRecord.id.desc()).limit(at_most(limit))
    rows = session.execute(latest).all()[::-1]
    measures: dict[int, list[MeasureRow]] = {record.id: [] for record, _, _ in rows}
    for measure in session.scalars(
        select(MeasureRecord)
        .where(MeasureRecord.verdict_id.in_(measures))
        .order_by(MeasureRecord.verdict_id, MeasureRecord.position)
    ):
        measures[measure.verdict_id].append(
            MeasureRow(
                name=measure.name,
                value=measure.value,
                low=measure.low,
                high=measure.high,
                unit=measure.unit,
                limit=measure.limit,
                passed=measure.passed,
            )
        )
    return [
        _to_verdict(record, model, version, tuple(measures[record.id]))
        for record, model, version in rows
    ]


def _to_verdict(
    record: VerdictRecord, name: str, number: int, measures: tuple[MeasureRow, ...]
) -> VerdictRow:
    return VerdictRow(
        id=record.id,
        name=name,
        number=number,
        gate=record.gate,
        passed=record.passed,
        reasons=tuple(record.reasons),
        measures=measures,
        run_id=record.run_id,
        decided_at=record.decided_at,
    )


def _measure_of(measure: Mapping[str, object]) -> MeasureRow:
    unknown = sorted(set(measure) - set(MEASURE_FIELDS))
    if unknown or "name" not in measure:
        raise ValueError(f"a measure has a name and the fields {MEASURE_FIELDS}, not {unknown}")
    passed = measure.get("passed")
    return MeasureRow(
        name=str(measure["name"]),
        value=_number(measure.get("value")),
        low=_number(measure.get("low")),
        high=_number(measure.get("high")),
        unit=str(measure.get("unit", "")),
        limit=str(measure.get("limit", "")),
        passed=None if passed is None else bool(passed),
    )


def _number(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise ValueError(f"a measure's value is a number, not {value!r}")
    return float(value) if math.isfinite(value) else None
