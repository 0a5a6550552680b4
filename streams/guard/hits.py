"""What a rule finds: an account, a response of a user, or all that a user was shown in a day."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from streams.guard.facts import US_PER_DAY, GuardFacts, Longs, Taps


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule found, in the numbers of GuardFacts; `response` -1 stands for all."""

    user: int
    response: int
    at: int
    evidence: Mapping[str, str | int | float]


def of_tap(taps: Taps, row: int, evidence: Mapping[str, str | int | float]) -> Hit:
    return Hit(int(taps.user[row]), int(taps.response[row]), int(taps.at[row]), evidence)


def of_exposure(facts: GuardFacts, row: int, evidence: Mapping[str, str | int | float]) -> Hit:
    shown = facts.exposures
    return Hit(int(shown.user[row]), int(shown.response[row]), int(shown.at[row]), evidence)


def of_days(
    facts: GuardFacts, most: Mapping[tuple[int, int], int], *, allowed: int
) -> Iterable[Hit]:
    """All that was shown on these days of users, praised or not; and their praise of what was not
    shown to them. `most` has the praise seen, by user and day."""
    if not most:
        return
    shown, taps = facts.exposures, facts.firsts
    judged = np.array(sorted({user for user, _ in most}), np.int64)
    for row in np.flatnonzero(np.isin(shown.user, judged)).tolist():
        praised = most.get((int(shown.user[row]), int(shown.at[row]) // US_PER_DAY))
        if praised is not None:
            yield of_exposure(facts, row, {"praised": praised, "allowed": allowed})
    for row in np.flatnonzero(np.isin(taps.user, judged) & (taps.exposure < 0)).tolist():
        praised = most.get((int(taps.user[row]), int(taps.at[row]) // US_PER_DAY))
        if praised is not None:
            yield of_tap(taps, row, {"praised": praised, "allowed": allowed})


def days_of(facts: GuardFacts, taps: Taps) -> Longs:
    """The UTC day on which what was praised was shown; where it is not known, of the praise."""
    if not len(facts.exposures.at):
        return taps.at // US_PER_DAY
    shown_at = facts.exposures.at[np.maximum(taps.exposure, 0)]
    return np.where(taps.exposure >= 0, shown_at, taps.at) // US_PER_DAY


def first_seen(facts: GuardFacts) -> Longs:
    """The first exposure or praise of each user, in microseconds: a ruling on an account is on all
    of it, also on what it was shown before its first praise."""
    first = np.full(len(facts.users), np.iinfo(np.int64).max)
    np.minimum.at(first, facts.firsts.user, facts.firsts.at)
    np.minimum.at(first, facts.exposures.user, facts.exposures.at)
    return first


def count_runs(*keys: Longs) -> tuple[Longs, Longs]:
    """Where each run of equal rows of sorted keys begins, and how long it is."""
    num = len(keys[0])
    is_new = np.ones(num, np.bool_)
    is_new[1:] = np.any([np.diff(key) != 0 for key in keys], axis=0)
    starts = np.flatnonzero(is_new)
    return starts, np.diff(np.append(starts, num))
