"""Looking several times while evidence grows, without fooling oneself.

Looks are taken at stated shares of a budget. At each the intervals use one wider quantile, chosen
so that all looks together hold with 95 % (Pocock 1977): a trial may stop at the first look that
decides.
"""

import functools
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq
from scipy.stats import multivariate_normal

from training.evidence.clustered import ALPHA, ONE_LOOK

LOOKS = (0.25, 0.5, 1.0)
"""Shares of the budget at which a trial looks: clear cases end at a quarter of it."""
TOLERANCE = 1e-4
"""Of the quantile: a tenth of what rounding to two digits hides."""


@functools.cache
def pocock_quantile(looks: tuple[float, ...] = LOOKS) -> float:
    """The normal quantile of every interval, given the share of the budget seen at each look.

    Raises ValueError unless the shares rise and end at 1.
    """
    if not looks or any(a >= b for a, b in pairwise(looks)) or looks[0] <= 0:
        raise ValueError(f"looks are rising shares of the budget, ending at 1, saw {looks}")
    if looks[-1] != 1.0:
        raise ValueError(f"the last look is at the whole budget, 1.0, saw {looks[-1]}")
    if len(looks) == 1:
        return ONE_LOOK
    shares = np.array(looks)
    # Means over the first n and the first m > n observations correlate by the root of n/m.
    correlation = np.sqrt(np.minimum.outer(shares, shares) / np.maximum.outer(shares, shares))
    joint = multivariate_normal(cov=correlation, seed=0)

    def excess(quantile: float) -> float:
        ends = np.full(len(looks), quantile)
        return float(joint.cdf(ends, lower_limit=-ends)) - (1 - ALPHA)

    return float(brentq(excess, ONE_LOOK, 2 * ONE_LOOK, xtol=TOLERANCE))
