"""Goal: the interval of a love rate covers the truth, also when replies to one user are alike.

Method: known values; and coverage over 2,000 simulated sets with a fixed seed. The bound on
coverage allows three standard errors of the simulation (0.5 points each) and what Wilson's interval
is known to miss.
"""

import numpy as np
import pytest
from scipy.stats import binomtest

from serving.intervals import UserSums, design_effect, love_rate


def sums_of(per_user: list[tuple[int, int]]) -> UserSums:
    """(shown, loved) of each user."""
    return UserSums(
        num_users=len(per_user),
        n=sum(n for n, _ in per_user),
        y=sum(y for _, y in per_user),
        yy=sum(y * y for _, y in per_user),
        yn=sum(y * n for n, y in per_user),
        nn=sum(n * n for n, _ in per_user),
    )


def test_with_one_reply_a_user_it_is_wilsons_interval():
    rate = love_rate(sums_of([(1, 1)] * 12 + [(1, 0)] * 88))
    expected = binomtest(12, 100).proportion_ci(0.95, method="wilson")
    assert rate is not None
    # The linearised variance has U - 1 where the binomial has U: one percent of the variance.
    assert rate.low == pytest.approx(expected.low, abs=1e-3)
    assert rate.high == pytest.approx(expected.high, abs=1e-3)
    assert rate.value == 0.12


def test_users_who_love_everything_widen_it():
    alike = love_rate(sums_of([(20, 20)] * 5 + [(20, 0)] * 45))
    apart = love_rate(sums_of([(20, 2)] * 50))
    assert alike is not None
    assert apart is not None
    assert alike.value == apart.value == 0.1
    assert alike.high - alike.low > 3 * (apart.high - apart.low)


@pytest.mark.parametrize(("loved", "shown"), [(0, 50), (50, 50), (0, 1), (1, 1)])
def test_at_the_ends_it_stays_in_bounds_and_has_a_width(loved: int, shown: int):
    rate = love_rate(sums_of([(1, 1)] * loved + [(1, 0)] * (shown - loved)))
    assert rate is not None
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert rate.high > rate.low


def test_one_user_counts_as_one_reply():
    assert design_effect(sums_of([(100, 50)])) == 100
    rate = love_rate(sums_of([(100, 50)]))
    assert rate is not None
    assert rate.high - rate.low > 0.8


def test_nothing_shown_has_no_rate():
    assert love_rate(sums_of([])) is None


def test_it_covers_the_truth_when_users_differ():
    generator = np.random.default_rng(7)
    truth, covered, runs = 0.1, 0, 2_000
    for _ in range(runs):
        shown = generator.integers(1, 12, 150)
        tendency = generator.beta(0.5, 4.5, 150)  # Mean 0.1, very uneven.
        loved = generator.binomial(shown, tendency)
        rate = love_rate(sums_of(list(zip(shown.tolist(), loved.tolist(), strict=True))))
        assert rate is not None
        covered += rate.low <= truth <= rate.high
    assert covered / runs > 0.92
