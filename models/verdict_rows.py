"""Verdicts in the registry: stored whatever they say, and read back as they were given."""

import math
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.names import at_most, check_name, check_text
from models.runs import find_run
from models.tables import MeasureRecord, ModelRecord, VerdictRecord, VersionRecord
from models.verdicts import (
    Bound,
    Check,
    Measure,
    Ruling,
    Verdict,
    outcome_of,
    plain_number,
    ruling_of,
)
from models.versions import find_version


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """One decision of one gate on one version."""

    id: int
    name: str
    number: int
    gate: str
    ruling: Ruling
    reasons: tuple[str, ...]
    """One sentence for each check that was not kept."""
    checks: tuple[Check, ...]
    """Empty for what a program of before schema 0002 stored: its limits were texts."""
    informative: tuple[Measure, ...]
    run_id: str | None
    """The turn that decided, so that a turn run again does not decide twice."""
    decided_at: datetime

    @property
    def passed(self) -> bool:
        """Whether the gate passed it."""
        return self.ruling == "passed"


def add_verdict(
    session: Session,
    name: str,
    number: int,
    verdict: Verdict,
    *,
    run_id: str | None,
    now: datetime,
) -> VerdictRow:
    """Store the verdict. Raises NotFound, or ValueError for what no database takes."""
    check_name("gate", verdict.gate)
    for reason in verdict.reasons:
        check_text("a reason", reason)
    version = find_version(session, name, number)
    if run_id is not None:
        find_run(session, run_id)
    record = VerdictRecord(
        version_id=version.id,
        run_id=run_id,
        gate=verdict.gate,
        passed=verdict.passed,
        ruling=verdict.ruling,
        reasons=list(verdict.reasons),
        decided_at=now,
    )
    session.add(record)
    session.flush()
    rows = [_record_of(check.measure, check) for check in verdict.checks]
    rows += [_record_of(measure, None) for measure in verdict.informative]
    for position, row in enumerate(rows):
        row.verdict_id, row.position = record.id, position
    session.add_all(rows)
    return _row_of(record, name, number, rows)


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
    measures: dict[int, list[MeasureRecord]] = {record.id: [] for record, _, _ in rows}
    for measure in session.scalars(
        select(MeasureRecord)
        .where(MeasureRecord.verdict_id.in_(measures))
        .order_by(MeasureRecord.verdict_id, MeasureRecord.position)
    ):
        measures[measure.verdict_id].append(measure)
    return [_row_of(record, model, version, measures[record.id]) for record, model, version in rows]


def _record_of(measure: Measure, check: Check | None) -> MeasureRecord:
    return MeasureRecord(
        name=measure.name,
        value=plain_number(measure.value),
        low=plain_number(measure.low),
        high=plain_number(measure.high),
        unit=measure.unit,
        num_users=measure.num_users,
        about=measure.about,
        limit="" if check is None else str(check.bound),
        passed=None if check is None else {"kept": True, "broken": False}.get(check.outcome),
        outcome=None if check is None else check.outcome,
        bound_low=None if check is None else plain_number(check.bound.low),
        bound_high=None if check is None else plain_number(check.bound.high),
        users_needed=None if check is None else check.users_needed,
    )


def _row_of(
    record: VerdictRecord, name: str, number: int, measures: list[MeasureRecord]
) -> VerdictRow:
    before = "passed" if record.passed else "refused"  # Of a row of schema 0001.
    return VerdictRow(
        id=record.id,
        name=name,
        number=number,
        gate=record.gate,
        ruling=ruling_of(record.ruling or before),
        reasons=tuple(record.reasons),
        checks=tuple(_check_of(m) for m in measures if m.outcome is not None),
        informative=tuple(_measure_of(m) for m in measures if m.outcome is None),
        run_id=record.run_id,
        decided_at=record.decided_at,
    )


def _check_of(record: MeasureRecord) -> Check:
    return Check(
        measure=_measure_of(record),
        bound=Bound(
            low=-math.inf if record.bound_low is None else record.bound_low,
            high=math.inf if record.bound_high is None else record.bound_high,
        ),
        outcome=outcome_of(record.outcome or ""),
        users_needed=record.users_needed,
    )


def _measure_of(record: MeasureRecord) -> Measure:
    return Measure(
        name=record.name,
        value=math.nan if record.value is None else record.value,
        low=math.nan if record.low is None else record.low,
        high=math.nan if record.high is None else record.high,
        unit=record.unit,
        num_users=record.num_users or 0,
        about=record.about or "",
    )
