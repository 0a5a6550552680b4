"""What came of each exposure, as a loop over events: what features/outcomes.py must agree with.

Events are told apart by their ids: copies are tests/features/test_one_fold.py's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.events import Event, GuardRuling, Reaction, Shown
from streams.reactions import ReactionState
from streams.signals import SIGNALS

LONGEST = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one exposure, of one signal."""

    policy: str
    arm: str
    shown_at: datetime
    added_at: datetime | None
    learnable: bool
    quarantined_by: list[str]
    stands: bool
    mistap: bool
    taken_back: bool
    too_late: bool

    @property
    def counts(self) -> bool:
        return self.learnable and not self.quarantined_by and not self.mistap


def outcomes_of(events: Sequence[Event]) -> dict[tuple[str, str, str], Outcome]:
    """By response, user and signal. Every verdict is a quarantine that stands."""
    rulings = [event for event in events if isinstance(event, GuardRuling)]
    reports: dict[tuple[str, str], list[Shown]] = {}
    for event in events:
        if isinstance(event, Shown):
            reports.setdefault((event.response_id, event.user_id), []).append(event)
    found = {}
    for (response_id, user_id), told in reports.items():
        first = min(told, key=lambda report: report.occurred_at)
        for name, signal in SIGNALS.items():
            taps = [
                event
                for event in events
                if isinstance(event, Reaction)
                and (event.response_id, event.user_id, event.signal) == (response_id, user_id, name)
                and not any(covers(ruling, event) for ruling in rulings)
            ]
            adds = [tap.occurred_at for tap in taps if tap.action == "add"]
            in_time = [at for at in adds if at <= first.occurred_at + signal.window]
            removed = [tap.occurred_at for tap in taps if tap.action == "remove"]
            state = ReactionState()
            state = ReactionState(
                added_at=max(in_time, default=state.added_at),
                removed_at=max(removed, default=state.removed_at),
            )
            found[response_id, user_id, name] = Outcome(
                policy=first.policy,
                arm=first.arm,
                shown_at=first.occurred_at,
                added_at=state.added_at if in_time else None,
                learnable=all(report.learnable for report in told),
                quarantined_by=sorted({r.rule for r in rulings if bars(r, first)}),
                stands=state.is_on(),
                mistap=bool(in_time and removed) and state.was_mistap(signal),
                taken_back=bool(in_time) and not state.is_on(),
                too_late=bool(adds) and not in_time,
            )
    return found


def covers(ruling: GuardRuling, tap: Reaction) -> bool:
    """Whether the reaction is quarantined."""
    return (
        ruling.user_id == tap.user_id
        and ruling.response_id in ("", tap.response_id)
        and ruling.since <= tap.occurred_at
    )


def bars(ruling: GuardRuling, first: Shown) -> bool:
    """Whether the exposure is: it could still be answered when the ruling on its user began."""
    if ruling.user_id != first.user_id:
        return False
    if ruling.response_id:
        return ruling.response_id == first.response_id
    return ruling.since <= first.occurred_at + LONGEST


def arrived_by(
    outcomes: Sequence[Outcome], now: datetime, age_s: float, *, reactions_min: int
) -> float | None:
    """F(age): Kaplan and Meier's share answered by then, over that at the latest delay seen.

    None where too few reactions were seen; `outcomes` are of one signal.
    """
    lives = []
    for outcome in outcomes:
        if outcome.counts:
            left_s = max((now - outcome.shown_at).total_seconds(), 0.0)
            if outcome.stands and outcome.added_at is not None:
                delay_s = (outcome.added_at - outcome.shown_at).total_seconds()
                lives.append((min(max(delay_s, 0.0), left_s), True))
            else:
                lives.append((left_s, False))
    num_reactions = sum(came for _, came in lives)
    silent, steps = 1.0, []
    for at_s in sorted({time_s for time_s, came in lives if came}):
        num_at_risk = sum(time_s >= at_s for time_s, _ in lives)
        if num_at_risk * num_reactions < reactions_min * len(lives):
            break
        silent *= 1 - sum(came and time_s == at_s for time_s, came in lives) / num_at_risk
        steps.append((at_s, 1 - silent))
    if not steps:
        return None
    reached = [share for at_s, share in steps if at_s <= age_s]
    return (reached[-1] if reached else 0.0) / steps[-1][1]
