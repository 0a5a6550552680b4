"""Goal: the drift rule seldom alarms where nothing drifted, and finds a large shift soon.

Method: a few worlds of benchmarks/drift.py, which measures the same over many; sums by hand.
"""

import math

import numpy as np
import pytest

from benchmarks.drift import measure
from training.evidence.drift import LOVED_MIN, observed_over_predicted, shift_noise


def test_days_without_drift_raise_no_alarm_and_a_doubled_rate_does_within_two_weeks() -> None:
    """A false alarm in 28 days has a chance of at most 1 in 100: one in 20 worlds would be seen in
    18 % of such tests at the very most. The benchmark finds all worlds of a doubled rate by day 14.
    """
    quiet, doubled = measure(0.05, 1.0, 20), measure(0.05, 2.0, 10)
    assert quiet.alarmed_by_day[28] == 0.0
    assert quiet.replaced_alarms_per_100_days > 25
    assert doubled.alarmed_by_day[14] >= 0.9


def test_the_ratio_is_that_of_sums_and_its_interval_counts_users() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(200), 10)
    loved = (rng.random(2000) < 0.1).astype(np.float64)
    expected = np.full(2000, 0.1)
    ratio = observed_over_predicted(loved, expected, users, alpha=0.01)
    assert ratio.value == pytest.approx(loved.sum() / 200)
    assert ratio.low < 1.0 < ratio.high
    alike = np.repeat(rng.random(200) < 0.1, 10).astype(np.float64)
    wide = observed_over_predicted(alike, expected, users, alpha=0.01)
    assert math.log(wide.high / wide.low) > 2 * math.log(ratio.high / ratio.low)
    surer = observed_over_predicted(loved, expected, users, alpha=0.1)
    assert ratio.low < surer.low < surer.high < ratio.high


def test_what_has_not_arrived_yet_is_no_drift() -> None:
    """Half of the loves are still out: expected are half as many."""
    users = np.arange(400)
    loved = (np.arange(400) % 4 == 0).astype(np.float64)
    ratio = observed_over_predicted(loved, np.full(400, 0.5) * 0.5, users, alpha=0.01)
    assert ratio.value == pytest.approx(1.0)


@pytest.mark.parametrize("num_loved", [0, LOVED_MIN - 1])
def test_with_few_loves_nothing_is_said(num_loved: int) -> None:
    loved = (np.arange(400) < num_loved).astype(np.float64)
    ratio = observed_over_predicted(loved, np.full(400, 0.1), np.arange(400), alpha=0.01)
    assert math.isnan(ratio.low)
    assert math.isnan(ratio.high)


def test_noise_of_a_population_shift_is_that_of_chi_squared() -> None:
    """The 99 % point with 9 degrees of freedom is 21.67; two samples of 100 have 2/100."""
    assert shift_noise(100, 100, bins=10, alpha=0.01) == pytest.approx(0.4333, abs=1e-3)
