"""Arms: which share of the users gets which version. What is set here is what live users get."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.aliases import check_reason
from models.names import check_name
from models.tables import ArmRecord, ArmSetRecord, ModelRecord, VersionRecord
from models.versions import find_model, find_version

SHARE_TOLERANCE = 1e-9
"""How far shares may sum from 1: rounding of decimal fractions, not a missing arm."""


ARMS_MAX = 100
"""Each keeps a version loaded, or at least a share of users too small to tell anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One version and its share of the users."""

    name: str
    version: int
    share: float
    """In [0, 1]; 0 keeps a version loaded without giving it users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSet:
    """One division of the users."""

    experiment: str
    """Empty where nothing is being compared."""
    revision: int
    """From 1, without gaps, per model; 0 where no arms were ever set."""
    arms: tuple[Arm, ...]
    why: str = ""
    who: str = ""
    set_at: datetime | None = None


NO_ARMS = ArmSet(experiment="", revision=0, arms=())


def set_arms(
    session: Session,
    name: str,
    arms: Sequence[Arm],
    *,
    experiment: str,
    why: str,
    who: str,
    now: datetime,
) -> ArmSet:
    """Divide the users anew. Raises NotFound for an unknown version, ValueError for bad shares."""
    check_reason(why=why, who=who)
    check_arms(arms)
    check_name("experiment", experiment, may_be_empty=True)
    model = find_model(session, name, lock=True)
    last = session.scalar(
        select(ArmSetRecord)
        .where(ArmSetRecord.model_id == model.id)
        .order_by(ArmSetRecord.revision.desc())
        .limit(1)
    )
    made = ArmSetRecord(
        model_id=model.id,
        revision=1 if last is None else last.revision + 1,
        experiment=experiment,
        why=why,
        who=who,
        set_at=now if last is None else max(now, last.set_at),
    )
    versions = [find_version(session, name, arm.version) for arm in arms]
    session.add(made)
    session.flush()
    session.add_all(
        ArmRecord(
            arm_set_id=made.id,
            position=position,
            name=arm.name,
            version_id=version.id,
            share=arm.share,
        )
        for position, (arm, version) in enumerate(zip(arms, versions, strict=True))
    )
    session.flush()
    return to_arm_set(session, made)


def live(session: Session, name: str) -> ArmSet:
    """The arms that hold now; NO_ARMS where none were set."""
    last = session.scalar(
        select(ArmSetRecord)
        .join(ModelRecord, ModelRecord.id == ArmSetRecord.model_id)
        .where(ModelRecord.name == name)
        .order_by(ArmSetRecord.revision.desc())
        .limit(1)
    )
    return NO_ARMS if last is None else to_arm_set(session, last)


def history(session: Session, name: str) -> list[ArmSet]:
    """All divisions there were, oldest first."""
    rows = session.scalars(
        select(ArmSetRecord)
        .join(ModelRecord, ModelRecord.id == ArmSetRecord.model_id)
        .where(ModelRecord.name == name)
        .order_by(ArmSetRecord.revision)
    )
    return [to_arm_set(session, row) for row in rows.all()]


def check_arms(arms: Sequence[Arm]) -> None:
    """Raises ValueError unless names differ and shares lie in [0, 1] and sum to 1."""
    if len(arms) > ARMS_MAX:
        raise ValueError(f"at most {ARMS_MAX} arms, got {len(arms)}")
    names = [arm.name for arm in arms]
    for name in names:
        check_name("an arm's name", name)
    if not arms or len(set(names)) != len(names):
        raise ValueError(f"arms need different names, at least one: {names}")
    shares = [arm.share for arm in arms]
    if any(not 0.0 <= share <= 1.0 for share in shares):
        raise ValueError(f"a share lies between 0 and 1: {shares}")
    if abs(math.fsum(shares) - 1.0) > SHARE_TOLERANCE:
        raise ValueError(f"shares sum to 1, these to {math.fsum(shares)}: {shares}")


def to_arm_set(session: Session, record: ArmSetRecord) -> ArmSet:
    rows = session.execute(
        select(ArmRecord, VersionRecord.number)
        .join(VersionRecord, VersionRecord.id == ArmRecord.version_id)
        .where(ArmRecord.arm_set_id == record.id)
        .order_by(ArmRecord.position)
    )
    return ArmSet(
        experiment=record.experiment,
        revision=record.revision,
        arms=tuple(Arm(name=arm.name, version=number, share=arm.share) for arm, number in rows),
        why=record.why,
        who=record.who,
        set_at=record.set_at,
    )
