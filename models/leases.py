"""Leases: the right to do what only one may do at a time, which ends by itself if its holder dies.

The row in the database is the lock, so it holds between machines. A thread renews it while the work
goes on; a holder that was killed renews no more, and after the time to live others may take over.

Source: Gray and Cheriton 1989, "Leases". The token that goes up with each taking is the fencing
token of Kleppmann 2016, "How to do distributed locking".
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models.errors import Conflict, Unavailable
from models.tables import LeaseRecord

logger = logging.getLogger(__name__)

RENEWALS_PER_LIFE = 4
"""A lease is renewed this often in its time to live: three renewals may fail before it is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who holds the right, or held it last."""

    name: str
    holder: str
    token: int
    acquired_at: datetime
    renewed_at: datetime
    expires_at: datetime
    is_released: bool

    def is_held(self, now: datetime) -> bool:
        """Whether it keeps others out at this time."""
        return not self.is_released and now < self.expires_at


class Held:
    """A lease that is being kept alive."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self._is_lost = threading.Event()

    def is_lost(self) -> bool:
        """Whether it ran out before it could be renewed: another may be at work by now."""
        return self._is_lost.is_set()

    def check(self) -> None:
        """Raises Conflict where the lease was lost. For before a step that must be ours alone."""
        if self.is_lost():
            raise Conflict(
                f"the lease {self.lease.name!r} ran out while its holder could not renew it",
                expected=self.lease.holder,
                found="nobody, or another",
            )

    def lose(self) -> None:
        """Note that it could not be renewed in time."""
        self._is_lost.set()


@contextmanager
def keep(
    lease: Lease, ttl: timedelta, renew_once: Callable[[Lease], Lease | None]
) -> Iterator[Held]:
    """Renew the lease in a thread for as long as the block runs.

    `renew_once` gives the renewed lease, or None where it is lost for good, and may raise
    Unavailable, which is tried again until the time to live has passed.
    """
    held = Held(lease)
    done = threading.Event()
    life_s = ttl.total_seconds()

    def renew_until_done() -> None:
        renewed_s = time.monotonic()
        while not done.wait(life_s / RENEWALS_PER_LIFE):
            asked_s = time.monotonic()
            try:
                renewed = renew_once(held.lease)
            except Unavailable as fault:
                logger.warning("lease not renewed", extra={"lease": lease.name, "why": str(fault)})
                if time.monotonic() - renewed_s < life_s:
                    continue
                renewed = None
            if renewed is None:
                logger.error("lease lost", extra={"lease": lease.name, "holder": lease.holder})
                held.lose()
                return
            held.lease, renewed_s = renewed, asked_s

    thread = threading.Thread(target=renew_until_done, name=f"lease-{lease.name}", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        done.set()
        thread.join()


def acquire(session: Session, name: str, holder: str, ttl: timedelta, now: datetime) -> Lease:
    """Take the lease. Raises Conflict saying who holds it."""
    query = select(LeaseRecord).where(LeaseRecord.name == name).with_for_update()
    record = session.scalar(query)
    if record is None:
        try:
            with session.begin_nested():
                session.add(_never_held(name, now))
        except IntegrityError:  # Another process made the row between our look and our insert.
            pass
        record = session.scalars(query).one()
    lease = _to_lease(record)
    if lease.is_held(now):
        raise Conflict(
            f"{name!r} is held by {lease.holder} since {_second(lease.acquired_at)}, and ends at "
            f"{_second(lease.expires_at)} unless renewed",
            expected="nobody",
            found=lease.holder,
        )
    record.holder, record.token, record.is_released = holder, record.token + 1, False
    record.acquired_at, record.renewed_at, record.expires_at = now, now, now + ttl
    session.flush()
    return _to_lease(record)


def renew(session: Session, lease: Lease, ttl: timedelta, now: datetime) -> Lease | None:
    """Hold on to it; None where it expired or was taken by another, and must be given up."""
    record = _own(session, lease)
    if record is None or not _to_lease(record).is_held(now):
        return None
    record.renewed_at, record.expires_at = now, now + ttl
    session.flush()
    return _to_lease(record)


def release(session: Session, lease: Lease) -> None:
    """Give it back. One that was lost is left to whoever has it."""
    record = _own(session, lease)
    if record is not None:
        record.is_released = True


def find(session: Session, name: str) -> Lease | None:
    """The lease as it is; None where it was never taken."""
    record = session.get(LeaseRecord, name)
    return None if record is None else _to_lease(record)


def _own(session: Session, lease: Lease) -> LeaseRecord | None:
    return session.scalar(
        select(LeaseRecord)
        .where(LeaseRecord.name == lease.name, LeaseRecord.token == lease.token)
        .with_for_update()
    )


def _never_held(name: str, now: datetime) -> LeaseRecord:
    return LeaseRecord(
        name=name,
        holder="",
        token=0,
        acquired_at=now,
        renewed_at=now,
        expires_at=now,
        is_released=True,
    )


def _to_lease(record: LeaseRecord) -> Lease:
    return Lease(
        name=record.name,
        holder=record.holder,
        token=record.token,
        acquired_at=record.acquired_at,
        renewed_at=record.renewed_at,
        expires_at=record.expires_at,
        is_released=record.is_released,
    )


def _second(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
