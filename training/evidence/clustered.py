"""Intervals of means, shares and ratios over values that come in clusters: one cluster a user.

A user's prompts are alike, so their values are not independent: the variance of a mean is that of
sums over users (the ratio estimator, Cochran 1977, section 6.4; Deng et al. 2018 for A/B tests).
Everything that evidence says of means goes through here.
"""

# P values, U users

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from models.verdicts import Measure

Floats: TypeAlias = npt.NDArray[np.float64]
Users: TypeAlias = npt.NDArray[np.int64]

ALPHA = 0.05
ONE_LOOK = float(norm.ppf(1 - ALPHA / 2))
"""The normal quantile of a 95 % interval that is looked at once."""
USERS_MIN = 10
"""Fewer users: no interval is given, for the variance itself would be a guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over values with its standard error, clustered by user."""

    value: float
    error: float
    num_users: int


def mean(values_P: Floats, users_P: Users) -> Estimate:
    """The mean of the values; every value weighs the same."""
    value = float(values_P.mean())
    return Estimate(
        value=value, error=_error(values_P - value, users_P), num_users=_num_users(users_P)
    )


def mean_measure(
    name: str, values_P: Floats, users_P: Users, *, unit: str, quantile: float = ONE_LOOK
) -> Measure:
    """The mean of the values with its interval."""
    return measure_of(name, mean(values_P, users_P), unit=unit, quantile=quantile)


def share_measure(
    name: str,
    shares_P: Floats,
    users_P: Users,
    *,
    replies: int,
    unit: str = "ratio",
    quantile: float = ONE_LOOK,
) -> Measure:
    """The mean of shares, each over `replies` replies.

    Where next to nothing was seen, the clustered variance is near 0 and says nothing; then the
    interval is that of independent replies with two successes and two failures more (Agresti and
    Coull 1998), which is near the rule of three.
    """
    estimate = _at_least(mean(shares_P, users_P), _plus_two_variance(shares_P, replies))
    return _within(measure_of(name, estimate, unit=unit, quantile=quantile), 0.0, 1.0)


def rise_measure(
    name: str,
    mine_P: Floats,
    theirs_P: Floats,
    users_P: Users,
    *,
    replies: int,
    unit: str = "ratio",
    quantile: float = ONE_LOOK,
) -> Measure:
    """How much higher a share is than another on the same prompts, as in `share_measure`."""
    least = _plus_two_variance(mine_P, replies) + _plus_two_variance(theirs_P, replies)
    estimate = _at_least(mean(mine_P - theirs_P, users_P), least)
    return _within(measure_of(name, estimate, unit=unit, quantile=quantile), -1.0, 1.0)


def ratio_measure(
    name: str,
    mine_P: Floats,
    theirs_P: Floats,
    users_P: Users,
    *,
    floor: float,
    unit: str = "ratio",
    quantile: float = ONE_LOOK,
) -> Measure:
    """Mean over mean, both raised by `floor` so that nothing over nothing is 1.

    The interval is symmetric on the log scale (delta method).
    """
    mine, theirs = float(mine_P.mean()) + floor, float(theirs_P.mean()) + floor
    influence_P = (mine_P + floor) / mine - (theirs_P + floor) / theirs
    estimate = Estimate(
        value=math.log(mine / theirs),
        error=_error(influence_P, users_P),
        num_users=_num_users(users_P),
    )
    logs = measure_of(name, estimate, unit=unit, quantile=quantile)
    return Measure(
        name=name,
        value=mine / theirs,
        low=math.exp(logs.low),
        high=math.exp(logs.high),
        unit=unit,
        num_users=logs.num_users,
    )


def measure_of(name: str, estimate: Estimate, *, unit: str, quantile: float = ONE_LOOK) -> Measure:
    """The estimate with its interval: Student's t with one degree of freedom less than users."""
    low = high = math.nan
    if estimate.num_users >= USERS_MIN:
        half = t.ppf(norm.cdf(quantile), estimate.num_users - 1) * estimate.error
        low, high = estimate.value - half, estimate.value + half
    return Measure(
        name=name,
        value=estimate.value,
        low=float(low),
        high=float(high),
        unit=unit,
        num_users=estimate.num_users,
    )


def _error(residuals_P: Floats, users_P: Users) -> float:
    """Standard error of a mean whose residuals these are."""
    num_users = _num_users(users_P)
    if num_users < 2:
        return math.nan
    _, codes_P = np.unique(users_P, return_inverse=True)
    sums_U = np.bincount(codes_P, weights=residuals_P)
    return math.sqrt(float(sums_U @ sums_U) * num_users / (num_users - 1)) / len(residuals_P)


def _num_users(users_P: Users) -> int:
    return len(np.unique(users_P))


def _plus_two_variance(shares_P: Floats, replies: int) -> float:
    total = len(shares_P) * replies
    p = (float(shares_P.sum()) * replies + 2) / (total + 4)
    return p * (1 - p) / (total + 4)


def _at_least(estimate: Estimate, variance: float) -> Estimate:
    error = max(estimate.error, math.sqrt(variance))
    return Estimate(value=estimate.value, error=error, num_users=estimate.num_users)


def _within(measure: Measure, low: float, high: float) -> Measure:
    """The measure with its interval cut to what it can be; one without an interval stays so."""
    if math.isnan(measure.low):
        return measure
    return replace(measure, low=max(low, measure.low), high=min(high, measure.high))
