"""The love rate of one version with its 95 % interval, for looking at while data come in.

Replies to one user are alike, so their number overstates what is known. The interval is Wilson's
(1927) with the number of replies divided by the design effect, that is by how much larger the
variance of the ratio is when users and not replies are drawn (the linearised ratio estimator;
Korn and Graubard 1998 do the same with Clopper-Pearson). It stays inside [0, 1] and says something
sensible at 0 hearts, where the delta method has width 0. Decisions are not made by this one:
training/evidence has its own.
"""

import math
from dataclasses import dataclass

Z_95 = 1.959964
"""The 97.5 % point of the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSums:
    """Sums over users u of n_u, the replies shown to u, and y_u, those that u loved."""

    num_users: int
    n: int
    y: int
    yy: int
    yn: int
    nn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share with its interval; all in [0, 1]."""

    value: float
    low: float
    high: float


def love_rate(sums: UserSums) -> Rate | None:
    """Give loved over shown replies; None where nothing was shown."""
    if sums.n == 0:
        return None
    rate = sums.y / sums.n
    n_effective = sums.n / design_effect(sums)
    spread = Z_95 * math.sqrt(rate * (1 - rate) / n_effective + (Z_95 / (2 * n_effective)) ** 2)
    centre = rate + Z_95**2 / (2 * n_effective)
    scale = 1 + Z_95**2 / n_effective
    # At the ends rounding could leave the value outside of its own interval.
    low = min(rate, max(0.0, (centre - spread) / scale))
    high = max(rate, min(1.0, (centre + spread) / scale))
    return Rate(value=rate, low=low, high=high)


def design_effect(sums: UserSums) -> float:
    """Give the variance when users are drawn over that when replies are, at least 1.

    A single user says nothing about others: then all replies together count as one.
    """
    if sums.num_users < 2:
        return float(sums.n)
    rate = sums.y / sums.n
    alone = rate * (1 - rate) / sums.n
    if alone == 0:
        return 1.0
    residuals = sums.yy - 2 * rate * sums.yn + rate**2 * sums.nn
    clustered = residuals * sums.num_users / (sums.num_users - 1) / sums.n**2
    return min(float(sums.n), max(1.0, clustered / alone))
