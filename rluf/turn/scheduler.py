"""Starts a turn whenever one is due, one at a time, from one scheduler per registry.

The turn runs in the thread that called run_scheduler, so two of them cannot overlap here. Two
leases hold between machines: "schedule" is held by the one scheduler that is at work while the
others stand by, and the turn's own lease is held by whoever takes a turn, also by hand. It is the
turn that holds it and not the scheduler, because it outlives a scheduler that is killed.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from types import FrameType

from models.errors import Conflict, Unavailable
from models.leases import RENEWALS_PER_LIFE, Held
from models.registry import Registry
from models.runs import RunStatus
from rluf.turn.schedule import Due, LoopReader, ScheduleConfig, ScheduleState, due

logger = logging.getLogger(__name__)

SCHEDULER_LEASE = "schedule"
TURN_LEASE = "refresh"
"""Held by rluf/turn/refresh.py for as long as a turn runs."""

RUN_KIND = "schedule"
"""Kind of the run rows that say which turns were started here, why, and how they ended."""

ENDED_WELL = (0, 3)
"""Exit codes of `rluf refresh`: done, and done with its candidate refused by its gates."""

STOP_LOOK_S = 0.2
"""How soon a signal or the loss of the lease is noticed between looks."""


class TurnStarter:
    """Looks whether a turn is due, and takes it."""

    def __init__(
        self,
        config: ScheduleConfig,
        registry: Registry,
        read_state: LoopReader,
        turn: Callable[[str], int],
    ) -> None:
        self._config = config
        self._registry = registry
        self._read_state = read_state
        self._turn = turn
        self._cron = config.crontab()
        self._began_at = registry.now()

    def look(self) -> Due | None:
        """Take a turn if one is due and none is running; say why it was."""
        now = self._registry.now()
        lease = self._registry.find_lease(TURN_LEASE)
        if lease is not None and lease.is_held(now):
            logger.debug("a turn is running already", extra={"holder": lease.holder})
            return None
        found = due(now, self._state(), self._config)
        if found is None:
            return None
        logger.info("turn due", extra={"reason": found.reason, "detail": found.detail})
        run = self._registry.start_run(
            RUN_KIND, now.isoformat(), {"reason": found.reason, "detail": found.detail}
        )
        code: int | None = None
        try:
            code = self._turn(str(found))
        finally:
            status: RunStatus = "done" if code in ENDED_WELL else "failed"
            logger.info("turn ended", extra={"status": status, "exit_code": code})
            self._registry.finish_run(run.id, status, {"exit_code": code})
        return found

    def close_abandoned(self) -> None:
        """Close the rows of turns whose scheduler died before they ended."""
        for run in self._registry.runs(kind=RUN_KIND, status="running"):
            self._registry.finish_run(run.id, "abandoned", {"why": "its scheduler died"})

    def _state(self) -> ScheduleState:
        started = [run.started_at for run in self._registry.runs(kind=RUN_KIND, limit=1)]
        lease = self._registry.find_lease(TURN_LEASE)
        if lease is not None:
            started.append(lease.acquired_at)
        last = max(started, default=None)
        cron_at: datetime | None = None
        if self._cron is not None:
            cron_at = self._cron.next_after(last or self._began_at)
        return ScheduleState(
            last_started_at=last,
            cron_at=cron_at,
            num_new_labels=self._read_state.num_new_labels(),
            drift=self._read_state.drift(),
        )


def run_scheduler(
    config: ScheduleConfig,
    registry: Registry,
    read_state: LoopReader,
    turn: Callable[[str], int],
    *,
    stop: threading.Event | None = None,
) -> None:
    """Start turns when they are due, until `stop` is set, SIGTERM comes, or Ctrl-C.

    `turn` gets the reason in words, returns when the turn has ended, and gives its exit code; it
    takes the lease TURN_LEASE itself. Called in the main thread, SIGTERM raises SystemExit inside
    it. While another scheduler is at work this one stands by. Raises Conflict where the registry
    could not be reached for so long that another scheduler may have taken over.
    """
    stop = stop or threading.Event()
    starter = TurnStarter(config, registry, read_state, turn)
    with ExitStack() as stack:
        stack.enter_context(_ending_on_sigterm())
        held = _stand_by(stack, config, registry, stop)
        if held is None:
            return
        starter.close_abandoned()
        while not stop.is_set():
            held.check()
            try:
                starter.look()
            except Unavailable as fault:
                logger.warning("not looked", extra={"why": str(fault)})
            _rest(config.poll_s, held, stop)


def _stand_by(
    stack: ExitStack, config: ScheduleConfig, registry: Registry, stop: threading.Event
) -> Held | None:
    """Wait until this scheduler is the one, held on the stack; None where stopped before."""
    holder = f"{socket.gethostname()}:{os.getpid()}"
    ttl = timedelta(seconds=config.lease_s)
    is_told = False
    while not stop.is_set():
        try:
            return stack.enter_context(registry.lease(SCHEDULER_LEASE, holder=holder, ttl=ttl))
        except Conflict as fault:
            if not is_told:
                logger.info("standing by", extra={"why": str(fault)})
                is_told = True
            stop.wait(min(config.poll_s, config.lease_s / RENEWALS_PER_LIFE))
    return None


def _rest(duration_s: float, held: Held, stop: threading.Event) -> None:
    """Wait so long, or until stopped. Raises Conflict as soon as the lease is known to be lost."""
    until = time.monotonic() + duration_s
    while not stop.is_set() and (left_s := until - time.monotonic()) > 0:
        stop.wait(min(left_s, STOP_LOOK_S))
        held.check()


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Unwind on SIGTERM instead of dying, so that leases are given back. Main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
