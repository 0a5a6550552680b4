"""Aliases: names that move from version to version, one compare-and-set at a time.

A move reads the alias while holding the lock on its model, so of two movers that expect the same
number the second sees what the first did. The history keeps every move.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.errors import Conflict
from models.names import NAME_CHARS_MAX, check_name, check_text, seen
from models.tables import AliasMoveRecord, AliasRecord, ModelRecord
from models.versions import NUMBER, find_model, find_version

ALIAS = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasMove:
    """One move of one alias."""

    name: str
    alias: str
    revision: int
    """From 1, without gaps, per name and alias."""
    from_number: int | None
    to_number: int | None
    """None where the alias was taken away."""
    why: str
    who: str
    moved_at: datetime
    """Never earlier than the move before it, whatever the clock says."""


def move(
    session: Session,
    name: str,
    alias: str,
    *,
    number: int | None,
    expected: int | None,
    why: str,
    who: str,
    now: datetime,
) -> AliasMove:
    """Point the alias to the number, if it is where the caller expects it.

    Raises Conflict where it is elsewhere, NotFound for an unknown model or number, ValueError for a
    bad alias, an empty reason, or a move to where it is: two of those could both win.
    """
    check_alias(alias)
    if number == expected:
        raise ValueError(f"alias {alias!r} of {name!r} would move from {expected} to {number}")
    check_reason(why=why, who=who)
    model = find_model(session, name, lock=True)
    if number is not None:
        find_version(session, name, number)
    place = session.get(AliasRecord, (model.id, alias), populate_existing=True)
    found = None if place is None else place.number
    if found != expected:
        raise Conflict(
            f"alias {alias!r} of {name!r} {_last_moved(session, model, alias)}",
            expected=expected,
            found=found,
        )
    if place is None:
        place = AliasRecord(model_id=model.id, alias=alias, number=None, revision=0, moved_at=now)
        session.add(place)
    place.number = number
    place.revision += 1
    place.moved_at = max(now, place.moved_at)
    record = AliasMoveRecord(
        model_id=model.id,
        alias=alias,
        revision=place.revision,
        from_number=found,
        to_number=number,
        why=why,
        who=who,
        moved_at=place.moved_at,
    )
    session.add(record)
    session.flush()
    return to_move(record, name)


def places(session: Session, name: str) -> dict[str, int]:
    """Where each alias of the model points, by alias."""
    rows = session.execute(
        select(AliasRecord.alias, AliasRecord.number)
        .join(ModelRecord, ModelRecord.id == AliasRecord.model_id)
        .where(ModelRecord.name == name, AliasRecord.number.is_not(None))
        .order_by(AliasRecord.alias)
    )
    return {alias: number for alias, number in rows if number is not None}


def history(session: Session, name: str | None, at: datetime | None) -> list[AliasMove]:
    """All moves, oldest first; or, with a time, for each alias the move that held then."""
    query = select(AliasMoveRecord, ModelRecord.name).join(
        ModelRecord, ModelRecord.id == AliasMoveRecord.model_id
    )
    if name is not None:
        query = query.where(ModelRecord.name == name)
    if at is not None:
        held = (
            select(func.max(AliasMoveRecord.id))
            .where(AliasMoveRecord.moved_at <= at)
            .group_by(AliasMoveRecord.model_id, AliasMoveRecord.alias)
        )
        query = query.where(AliasMoveRecord.id.in_(held), AliasMoveRecord.to_number.is_not(None))
    rows = session.execute(query.order_by(AliasMoveRecord.moved_at, AliasMoveRecord.id))
    return [to_move(record, model) for record, model in rows]


def to_move(record: AliasMoveRecord, name: str) -> AliasMove:
    return AliasMove(
        name=name,
        alias=record.alias,
        revision=record.revision,
        from_number=record.from_number,
        to_number=record.to_number,
        why=record.why,
        who=record.who,
        moved_at=record.moved_at,
    )


def check_alias(alias: str) -> None:
    """Raises ValueError unless it is a lower-case word that cannot be read as a number."""
    if not ALIAS.fullmatch(alias) or NUMBER.fullmatch(alias) or len(alias) > NAME_CHARS_MAX:
        raise ValueError(
            f"an alias is a lower-case word like champion, matching {ALIAS.pattern}, of at most "
            f"{NAME_CHARS_MAX} characters: {seen(alias)}"
        )


def check_reason(*, why: str, who: str) -> None:
    """Raises ValueError where a change to what is live has no reason or no author, or one that
    cannot be shown."""
    check_text("why", why)
    check_name("who", who, may_be_empty=True)
    if not why.strip():
        raise ValueError("a change to what is live needs a reason: `why` is empty")
    if not who.strip():
        raise ValueError("a change to what is live needs an author: `who` is empty")


def _last_moved(session: Session, model: ModelRecord, alias: str) -> str:
    last = session.scalar(
        select(AliasMoveRecord)
        .where(AliasMoveRecord.model_id == model.id, AliasMoveRecord.alias == alias)
        .order_by(AliasMoveRecord.revision.desc())
        .limit(1)
    )
    if last is None:
        return "was never set"
    return f"was moved by {last.who} at {last.moved_at.isoformat(timespec='seconds')} ({last.why})"
