"""Goal: what only one may do is done by one, and a dead holder keeps nobody out for long.

Method: a set clock, a holder killed with kill -9, and a renewal that is made to fail.
"""

import multiprocessing
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.errors import Conflict, Unavailable
from models.leases import Lease, keep
from models.registry import Registry
from tests.models.conftest import Clock, Opened
from tests.models.hammer import take_lease_and_die
from tests.waiting import WAIT_S, wait_for

TTL = timedelta(seconds=60)


def test_a_held_lease_keeps_others_out_and_says_who_holds_it(registry: Registry) -> None:
    with registry.lease("turn", holder="ada"):
        with pytest.raises(Conflict, match="held by ada"), registry.lease("turn", holder="bo"):
            pytest.fail("two hold it")
        with registry.lease("another", holder="bo"):
            pass


def test_a_lease_given_back_is_free_at_once(registry: Registry) -> None:
    assert registry.find_lease("turn") is None
    with registry.lease("turn", holder="ada"):
        pass
    with pytest.raises(ZeroDivisionError), registry.lease("turn", holder="bo"):
        raise ZeroDivisionError
    with registry.lease("turn", holder="cy") as held:
        assert held.lease.token == 3
    lease = registry.find_lease("turn")
    assert lease is not None
    assert (lease.holder, lease.is_released) == ("cy", True)


def test_the_lease_of_a_killed_process_ends_by_itself(
    url: str, home: Path, opened: Opened, clock: Clock
) -> None:
    dying = multiprocessing.get_context("forkserver").Process(
        target=take_lease_and_die, args=(url, home)
    )
    dying.start()
    dying.join(WAIT_S)
    assert dying.exitcode == -signal.SIGKILL
    clock.time = datetime.now(UTC)
    registry = opened(url, clock=clock)
    with pytest.raises(Conflict, match="held by dead"), registry.lease("turn", holder="ada"):
        pytest.fail("the dead one's lease had not ended yet")
    clock.advance(seconds=61)
    with registry.lease("turn", holder="ada") as held:
        assert held.lease.token == 2


def test_the_lease_of_one_known_to_be_dead_can_be_broken(registry: Registry) -> None:
    with registry.lease("turn", holder="dead") as old:
        registry.break_lease(old.lease)
        with registry.lease("turn", holder="ada") as held:
            registry.break_lease(old.lease)  # Only the one that was seen, not its successor.
            found = registry.find_lease("turn")
            assert found is not None
            assert (found.token, found.is_released) == (held.lease.token, False)


def test_a_holder_that_was_away_too_long_learns_that_it_lost(registry: Registry) -> None:
    lost = threading.Event()

    def renew_once(lease: Lease) -> None:
        lost.set()

    with keep(_lease(), timedelta(seconds=0.02), renew_once) as held:
        assert lost.wait(WAIT_S)
        wait_for(held.is_lost)
        with pytest.raises(Conflict, match="ran out"):
            held.check()


def test_a_lease_is_kept_while_the_database_is_away_for_a_while() -> None:
    asked: list[Lease] = []
    renewed = threading.Event()

    def renew_once(lease: Lease) -> Lease:
        asked.append(lease)
        if len(asked) < 3:
            raise Unavailable("away")
        renewed.set()
        return lease

    with keep(_lease(), timedelta(seconds=2), renew_once) as held:
        assert renewed.wait(WAIT_S)
        held.check()


def test_a_lease_is_lost_when_the_database_is_away_for_its_whole_life() -> None:
    def renew_once(lease: Lease) -> Lease:
        raise Unavailable("away")

    with keep(_lease(), timedelta(seconds=0.04), renew_once) as held:
        wait_for(held.is_lost)


def test_a_lease_is_renewed_while_work_goes_on(url: str, opened: Opened) -> None:
    registry = opened(url)
    with registry.lease("turn", holder="ada", ttl=timedelta(seconds=2)) as held:
        first = held.lease.expires_at
        wait_for(lambda: held.lease.expires_at > first)
        held.check()


def test_an_expired_lease_is_not_renewed_and_not_taken_from_its_new_holder(
    registry: Registry, clock: Clock
) -> None:
    with registry.lease("turn", holder="ada") as old:
        clock.advance(seconds=61)
        assert registry._renew(old.lease, TTL) is None
        with registry.lease("turn", holder="bo"):
            assert registry._renew(old.lease, TTL) is None
            registry._release(old.lease)
            found = registry.find_lease("turn")
            assert found is not None
            assert (found.holder, found.is_held(clock.time)) == ("bo", True)


def _lease() -> Lease:
    now = datetime(2026, 11, 24, tzinfo=UTC)
    return Lease(
        name="turn",
        holder="ada",
        token=1,
        acquired_at=now,
        renewed_at=now,
        expires_at=now,
        is_released=False,
    )
