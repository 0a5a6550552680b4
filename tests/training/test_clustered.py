"""Goal: intervals hold as often as they say, however users' values hang together.

Method: coverage over made-up samples whose truth is known; closed forms where there are any.
"""

import math

import numpy as np
import pytest

from training.evidence.clustered import mean, mean_measure, ratio_measure, rise_measure
from training.evidence.looks import LOOKS, pocock_quantile

RUNS = 400
# 95 % is asked for; 400 runs have a standard error of 1.1 points.
COVERED = (0.92 * RUNS, 0.98 * RUNS)


def crowd(rng, num_users=60, spread=1.0):
    """Users with one to seven prompts, and an effect of each user on each prompt."""
    users = np.repeat(np.arange(num_users), rng.integers(1, 8, size=num_users))
    return users, spread * rng.normal(size=num_users)[users]


def test_of_one_prompt_a_user_the_error_is_the_ordinary_one():
    values = np.array([1.0, 2.0, 4.0, 8.0])
    found = mean(values, np.arange(4))
    assert found.value == 3.75
    assert found.error == pytest.approx(values.std(ddof=1) / 2)


def test_the_mean_of_users_who_are_alike_in_themselves_is_covered():
    rng = np.random.default_rng(0)
    covered = naive = 0
    for _ in range(RUNS):
        users, effects = crowd(rng)
        values = 0.3 + effects + rng.normal(size=len(users))
        clustered = mean_measure("x", values, users, unit="")
        covered += clustered.low <= 0.3 <= clustered.high
        apart = mean_measure("x", values, np.arange(len(users)), unit="")
        naive += apart.low <= 0.3 <= apart.high
    assert COVERED[0] <= covered <= COVERED[1]
    assert naive < 0.85 * RUNS  # What taking each prompt for a user would have claimed.


def test_the_ratio_of_two_means_is_covered():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(RUNS):
        users, effects = crowd(rng, spread=0.3)
        mine = rng.poisson(1.5 * np.exp(effects)).astype(float)
        theirs = rng.poisson(1.0 * np.exp(effects)).astype(float)
        found = ratio_measure("x", mine, theirs, users, floor=0.0)
        covered += found.low <= 1.5 <= found.high
    assert COVERED[0] <= covered <= COVERED[1]


@pytest.mark.parametrize("rate", [0.002, 0.02])
def test_the_rise_of_a_rare_share_is_covered_also_where_it_was_not_seen(rate):
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(RUNS):
        mine = rng.binomial(4, 1.5 * rate, size=250) / 4
        theirs = rng.binomial(4, rate, size=250) / 4
        found = rise_measure("x", mine, theirs, np.arange(250), replies=4)
        covered += found.low <= 0.5 * rate <= found.high
    assert covered >= COVERED[0]  # Rather too wide than too narrow.


def test_nothing_over_nothing_is_one():
    nothing = np.zeros(20)
    found = ratio_measure("x", nothing, nothing, np.arange(20), floor=0.05)
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)


def test_of_one_user_no_error_is_known():
    found = mean_measure("x", np.ones(5), np.zeros(5, dtype=np.int64), unit="")
    assert found.value == 1.0
    assert math.isnan(found.low)
    assert found.num_users == 1


# Several looks.


def test_the_quantiles_are_pococks():
    # Jennison and Turnbull 2000, table 2.1, for equally spaced looks.
    assert pocock_quantile((0.5, 1.0)) == pytest.approx(2.178, abs=0.002)
    assert pocock_quantile((0.25, 0.5, 0.75, 1.0)) == pytest.approx(2.361, abs=0.002)
    assert pocock_quantile((1.0,)) == pytest.approx(1.96, abs=0.001)


def test_intervals_hold_at_all_looks_together():
    rng = np.random.default_rng(3)
    quantile, held, held_once = pocock_quantile(), 0, 0
    for _ in range(2000):
        values = rng.normal(size=400)
        looks = [values[: round(share * 400)] for share in LOOKS]
        z = [abs(look.mean()) * math.sqrt(len(look)) / look.std(ddof=1) for look in looks]
        held += max(z) <= quantile
        held_once += max(z) <= 1.96
    # 2,000 runs have a standard error of half a point.
    assert 0.935 * 2000 <= held <= 0.965 * 2000
    assert held_once < 0.91 * 2000


@pytest.mark.parametrize("looks", [(), (0.5,), (0.5, 0.5, 1.0), (0.0, 1.0), (0.5, 1.5)])
def test_looks_that_do_not_rise_to_the_whole_budget_are_refused(looks):
    with pytest.raises(ValueError, match="saw"):
        pocock_quantile(looks)
