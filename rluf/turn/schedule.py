"""When the next turn of the loop is due: by the clock, by new labels, or by drift.

`due` is pure, a table of rules over plain values; rluf/turn/scheduler.py asks it again and again.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeAlias

from models.verdicts import Measure
from rluf.turn.crontab import Crontab, read_crontab

Reason: TypeAlias = Literal["clock", "labels", "drift"]

SHIFT_BINS = 10
"""Deciles of the reference, the usual form of the population stability index."""

SHIFT_PSEUDO_COUNT = 0.5
"""Added to each bin, so that an empty one gives a large finite term instead of an infinite one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """What makes a turn of the loop due. A rule at 0 is off."""

    every_s: float = 86_400.0
    """Seconds from the start of one turn to the next. Daily: labels take a day to mature."""
    cron: str = ""
    """The five times of crontab(5), such as "0 3 * * 1-5" or "@daily"; where given, they are used
    instead of every_s."""
    cron_zone: str = "UTC"
    """Time zone that `cron` is read in, such as "Europe/Berlin"; UTC has no clock changes."""
    labels_min: int = 1
    """The clock starts no turn with fewer new labels than this: nothing would be learned."""
    new_labels: int = 5_000
    """So many labels since the last finished turn make the next one due before its time."""
    psi_max: float = 0.25
    """Population stability index of P[Love] scores above which a turn is due (science 4.2)."""
    ratio_low: float = 0.9
    """Observed over predicted love rate that is tolerated, from (science 4.2)."""
    ratio_high: float = 1.1
    """The same, up to."""
    drift_alpha: float = 0.01
    """Chance of a false alarm between two turns, however often it is looked: with a turn a day, at
    most one in 100 days. A turn is due where the ratio, over all days since the last turn, lies
    outside the tolerated range with this confidence. 0 turns the rule off."""
    rest_s: float = 3_600.0
    """Labels and drift start no turn sooner than this after the start of the last one, so that a
    turn that fails, or does not mend the drift, is not started again at once."""
    poll_s: float = 60.0
    """How often it is looked whether a turn is due."""
    lease_s: float = 60.0
    """How long after the death of one scheduler another may take its place."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the dial and the value seen."""
        for name in ("every_s", "labels_min", "new_labels", "psi_max", "rest_s"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"schedule.{name} is 0 (off) or more, not {value}")
        for name in ("poll_s", "lease_s"):
            value = getattr(self, name)
            if value <= 0:
                raise ValueError(f"schedule.{name} is more than 0, not {value}")
        if not 0 <= self.drift_alpha < 1:
            raise ValueError(
                f"schedule.drift_alpha lies from 0 (off) to below 1, not {self.drift_alpha}"
            )
        if not 0 < self.ratio_low < self.ratio_high:
            raise ValueError(
                "schedule.ratio_low lies between 0 and ratio_high, "
                f"not {self.ratio_low} with {self.ratio_high}"
            )
        self.crontab()

    def crontab(self) -> Crontab | None:
        """The line of `cron`, read; None without one. Raises ValueError where it cannot be read."""
        if not self.cron:
            return None
        try:
            return read_crontab(self.cron, self.cron_zone)
        except ValueError as fault:
            raise ValueError(f"schedule.cron: {fault}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far the present lies from what P[Love] was fitted on."""

    psi: float | None = None
    """Of its scores, less what is noise at this many users; None where there are too few to say."""
    ratio: Measure | None = None
    """Observed over predicted love, with an interval that holds at every look; None as above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """Everything that `due` decides by, at one moment."""

    last_started_at: datetime | None
    """When the last turn began, however it ended; None where there was none."""
    cron_at: datetime | None
    """When the crontab line falls first after that; None without one."""
    num_new_labels: int
    """Labels that became known since the last finished turn looked."""
    drift: Drift


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Why a turn is due."""

    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class LoopReader(Protocol):
    """Reads from the store what the rules decide by. Met by rluf/wiring.py."""

    def num_new_labels(self) -> int:
        """Labels that became known since the last finished turn looked."""

    def drift(self) -> Drift:
        """How far the present lies from what P[Love] was fitted on."""


def due(now: datetime, state: ScheduleState, config: ScheduleConfig) -> Due | None:
    """Say why a turn is due now, by the first rule that says so; None where none does."""
    for rule in RULES:
        found = rule(now, state, config)
        if found is not None:
            return found
    return None


def population_shift(reference: Sequence[float], current: Sequence[float]) -> float:
    """Population stability index of two samples of scores, in deciles of the reference; 0 is alike.

    Σ (q − p)·ln(q/p) over the bins. Without any shift it is about (bins − 1)·(1/n + 1/m), so
    samples under some hundred scores say little. Scores that repeat share a bin. Raises ValueError
    where a sample is empty.
    """
    if not reference or not current:
        raise ValueError(f"both samples need scores, they have {len(reference)} and {len(current)}")
    ordered = sorted(reference)
    edges = sorted({ordered[len(ordered) * k // SHIFT_BINS] for k in range(1, SHIFT_BINS)})
    p = _shares(reference, edges)
    q = _shares(current, edges)
    return math.fsum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


def _shares(scores: Sequence[float], edges: Sequence[float]) -> list[float]:
    counts = [SHIFT_PSEUDO_COUNT] * (len(edges) + 1)
    for score in scores:
        counts[bisect.bisect_right(edges, score)] += 1
    return [count / math.fsum(counts) for count in counts]


def _by_clock(now: datetime, state: ScheduleState, config: ScheduleConfig) -> Due | None:
    if state.num_new_labels < config.labels_min:
        return None
    if config.cron:
        if state.cron_at is None or now < state.cron_at:
            return None
        return Due(reason="clock", detail=f"{config.cron} fell at {state.cron_at:%Y-%m-%d %H:%M}")
    if not config.every_s:
        return None
    if state.last_started_at is None:
        return Due(reason="clock", detail="there was no turn yet")
    age_s = (now - state.last_started_at).total_seconds()
    if age_s < config.every_s:
        return None
    return Due(reason="clock", detail=f"the last turn began {age_s:.0f} s ago")


def _by_labels(now: datetime, state: ScheduleState, config: ScheduleConfig) -> Due | None:
    if not config.new_labels or state.num_new_labels < config.new_labels:
        return None
    if not _is_rested(now, state, config):
        return None
    return Due(reason="labels", detail=f"{state.num_new_labels} new ones")


def _by_drift(now: datetime, state: ScheduleState, config: ScheduleConfig) -> Due | None:
    if not _is_rested(now, state, config):
        return None
    drift = state.drift
    if config.psi_max and drift.psi is not None and drift.psi > config.psi_max:
        detail = f"population shift {drift.psi:.3f} is above {config.psi_max}"
        return Due(reason="drift", detail=detail)
    ratio = drift.ratio
    if ratio is None or not config.drift_alpha:
        return None
    if ratio.low > config.ratio_high or ratio.high < config.ratio_low:
        detail = (
            f"observed/predicted {ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] lies outside"
            f" {config.ratio_low}-{config.ratio_high}"
        )
        return Due(reason="drift", detail=detail)
    return None


def _is_rested(now: datetime, state: ScheduleState, config: ScheduleConfig) -> bool:
    last = state.last_started_at
    return last is None or now - last >= timedelta(seconds=config.rest_s)


RULES: tuple[Callable[[datetime, ScheduleState, ScheduleConfig], Due | None], ...] = (
    _by_clock,
    _by_labels,
    _by_drift,
)
