"""Whether a reward model still fits the stream: what users gave over what it predicted.

The loves seen over those expected are held against a tolerated range by a confidence sequence
(Robbins 1970; see training/evidence/online.py): however often one looks, the chance that it ever
lies wholly outside a range that holds the truth is at most alpha. The variance is that of sums over
users, over all days at once, for a user's replies are alike and the same users come again.
"""

# N rows

import math

import numpy as np
from scipy.stats import chi2

from models.verdicts import Measure
from training.evidence.clustered import USERS_MIN, Floats, Users
from training.evidence.online import confidence_sequence

RATIO_PRIOR_SD = math.log(1.5)
"""Change of the ratio that the sequence is sharpest for: half as much again, or a third less."""
LOVED_MIN = 10
"""With fewer loves seen or expected nothing is said: a normal law does not hold yet."""


def observed_over_predicted(
    loved_N: Floats, expected_N: Floats, users_N: Users, *, alpha: float
) -> Measure:
    """The ratio with its confidence sequence, symmetric on the log scale (delta method).

    expected_N is the chance of each row that its love has been seen by now: predicted, times the
    share that has arrived by the row's age.
    """
    num_loved, num_expected = float(loved_N.sum()), float(expected_N.sum())
    num_users = len(np.unique(users_N))
    value = num_loved / num_expected if num_expected else math.nan
    low = high = math.nan
    if min(num_loved, num_expected) >= LOVED_MIN and num_users >= USERS_MIN:
        _, codes_N = np.unique(users_N, return_inverse=True)
        influence_U = np.bincount(codes_N, loved_N / num_loved - expected_N / num_expected)
        clustered = float(influence_U @ influence_U) * num_users / (num_users - 1)
        # Few loves: the variance seen may be small by chance, that of a Poisson count is a floor.
        variance = max(clustered, 1 / num_expected)
        low, high = map(
            math.exp, confidence_sequence(math.log(value), variance, RATIO_PRIOR_SD, alpha)
        )
    return Measure(
        name="observed_over_predicted",
        value=value,
        low=low,
        high=high,
        unit="ratio",
        num_users=num_users,
    )


def shift_noise(num_reference: int, num_current: int, *, bins: int, alpha: float) -> float:
    """What a population stability index of two samples of one population stays below, but for a
    chance of alpha: times n m / (n + m) it is chi-squared with one degree less than bins."""
    per_unit = 1 / num_reference + 1 / num_current
    return float(chi2.ppf(1 - alpha, bins - 1)) * per_unit
