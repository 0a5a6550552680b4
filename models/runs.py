"""Runs: pieces of work with steps, found again by their key after a crash."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.database import json_text
from models.errors import Conflict, NotFound
from models.names import at_most
from models.tables import RunRecord, RunStepRecord

RunStatus: TypeAlias = Literal["running", "done", "failed", "abandoned"]
StepStatus: TypeAlias = Literal["running", "done", "failed", "skipped"]

ENDS = ("done", "failed", "abandoned")
RUN_STATUS: dict[str, RunStatus] = {status: status for status in get_args(RunStatus)}
STEP_STATUS: dict[str, StepStatus] = {status: status for status in get_args(StepStatus)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """One step of a run as last recorded."""

    step: str
    status: StepStatus
    result: Mapping[str, object]
    started_at: datetime
    """When it was first recorded."""
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One piece of work."""

    id: str
    kind: str
    key: str
    """Names the work: the same kind and key is the same run."""
    settings: Mapping[str, object]
    status: RunStatus
    result: Mapping[str, object]
    """What it ended with; empty while it runs."""
    started_at: datetime
    finished_at: datetime | None
    steps: Mapping[str, RunStep]
    """By name, in the order in which they were first recorded."""


def start(
    session: Session, kind: str, key: str, settings: Mapping[str, object], now: datetime
) -> Run:
    """Give the run of this kind and key: new, or found again with the steps it has behind it.

    A failed or abandoned run starts again; a done one is given back done. Raises Conflict where it
    was started with other settings: another piece of work needs another key.
    """
    query = select(RunRecord).where(RunRecord.kind == kind, RunRecord.key == key).with_for_update()
    record = session.scalar(query)
    if record is None:
        try:
            with session.begin_nested():
                session.add(
                    RunRecord(
                        id=uuid.uuid4().hex,
                        kind=kind,
                        key=key,
                        settings=dict(settings),
                        status="running",
                        result={},
                        started_at=now,
                        finished_at=None,
                    )
                )
        except IntegrityError:  # Another process started it between our look and our insert.
            pass
        record = session.scalars(query).one()
    if record.settings != json.loads(json_text(dict(settings))):
        raise Conflict(
            f"{kind} run {key!r} has other settings", expected=settings, found=record.settings
        )
    if record.status in ("failed", "abandoned"):
        record.status, record.result, record.finished_at = "running", {}, None
    session.flush()
    return to_run(session, record)


def record_step(
    session: Session,
    run_id: str,
    step: str,
    status: StepStatus,
    result: Mapping[str, object],
    now: datetime,
) -> RunStep:
    """Note where a step of the run stands. Raises NotFound, or ValueError for a bad status."""
    if status not in STEP_STATUS:
        raise ValueError(f"a step is one of {', '.join(STEP_STATUS)}, not {status!r}")
    find_run(session, run_id, lock=True)
    record = session.get(RunStepRecord, (run_id, step))
    if record is None:
        steps = session.scalars(select(RunStepRecord.step).where(RunStepRecord.run_id == run_id))
        record = RunStepRecord(
            run_id=run_id,
            step=step,
            position=len(steps.all()),
            status=status,
            result=dict(result),
            started_at=now,
            recorded_at=now,
        )
        session.add(record)
    record.status, record.result, record.recorded_at = status, dict(result), now
    session.flush()
    return _to_step(record)


def finish(
    session: Session,
    run_id: str,
    status: RunStatus,
    result: Mapping[str, object],
    now: datetime,
) -> Run:
    """Note how the run ended. Raises NotFound, or ValueError for a status that is not an end."""
    if status not in ENDS:
        raise ValueError(f"a run ends {', '.join(ENDS)}, not {status!r}")
    record = find_run(session, run_id, lock=True)
    record.status, record.result, record.finished_at = status, dict(result), now
    session.flush()
    return to_run(session, record)


def find_run(session: Session, run_id: str, *, lock: bool = False) -> RunRecord:
    """Raises NotFound."""
    query = select(RunRecord).where(RunRecord.id == run_id)
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        last = select(RunRecord.id).order_by(RunRecord.started_at.desc())
        raise NotFound("run", run_id, session.scalars(last).all())
    return found


def list_runs(
    session: Session, kind: str | None, status: RunStatus | None, limit: int | None
) -> list[Run]:
    """Runs in the order in which they started; with a limit, the last ones."""
    query = select(RunRecord)
    if kind is not None:
        query = query.where(RunRecord.kind == kind)
    if status is not None:
        query = query.where(RunRecord.status == status)
    latest = query.order_by(RunRecord.started_at.desc(), RunRecord.id.desc()).limit(at_most(limit))
    return [to_run(session, record) for record in reversed(session.scalars(latest).all())]


def to_run(session: Session, record: RunRecord) -> Run:
    steps = session.scalars(
        select(RunStepRecord)
        .where(RunStepRecord.run_id == record.id)
        .order_by(RunStepRecord.position)
    )
    return Run(
        id=record.id,
        kind=record.kind,
        key=record.key,
        settings=record.settings,
        status=RUN_STATUS[record.status],
        result=record.result,
        started_at=record.started_at,
        finished_at=record.finished_at,
        steps={step.step: _to_step(step) for step in steps},
    )


def _to_step(record: RunStepRecord) -> RunStep:
    return RunStep(
        step=record.step,
        status=STEP_STATUS[record.status],
        result=record.result,
        started_at=record.started_at,
        recorded_at=record.recorded_at,
    )
