"""Goal: assignment is uniform, sticky in every process, and moves few when shares change.

Method: 20,000 units; bounds are those of the binomial at 4.5 standard deviations or a chi-square at
p = 1e-4, so that a sound hash fails once in ten thousand changes of the salt, and never by chance:
nothing here is random.
"""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from serving.arms import ArmShare, check_shares, choose, point

UNITS = [f"user-{number}" for number in range(20_000)]


def arms(*shares: float) -> list[ArmShare]:
    return [ArmShare(name=f"arm-{index}", share=share) for index, share in enumerate(shares)]


def counts(values: list[int], num: int) -> list[int]:
    return [values.count(value) for value in range(num)]


def test_points_are_uniform():
    bins = counts([int(point("experiment", unit) * 50) for unit in UNITS], 50)
    expected = len(UNITS) / 50
    statistic = sum((found - expected) ** 2 / expected for found in bins)
    assert statistic < chi2.ppf(1 - 1e-4, 49)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.95, 0.05), (0.6, 0.3, 0.1), (0.0, 1.0)])
def test_each_arm_gets_its_share(shares: tuple[float, ...]):
    found = counts([choose("e", arms(*shares), unit) for unit in UNITS], len(shares))
    for num, share in zip(found, shares, strict=True):
        deviation = (len(UNITS) * share * (1 - share)) ** 0.5
        assert abs(num - len(UNITS) * share) <= 4.5 * deviation


def test_experiments_divide_users_independently():
    both = [(choose("one", arms(0.5, 0.5), u), choose("two", arms(0.5, 0.5), u)) for u in UNITS]
    expected = len(UNITS) / 4
    cells = [both.count((i, j)) for i in (0, 1) for j in (0, 1)]
    assert sum((found - expected) ** 2 / expected for found in cells) < chi2.ppf(1 - 1e-4, 3)


def test_another_process_assigns_the_same():
    script = (
        "from serving.arms import ArmShare, choose\n"
        "a = [ArmShare(name=str(i), share=0.25) for i in range(4)]\n"
        "print(*[choose('e', a, f'user-{i}') for i in range(200)])"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    here = [choose("e", arms(0.25, 0.25, 0.25, 0.25), unit) for unit in UNITS[:200]]
    assert [int(word) for word in told.split()] == here


def test_growing_the_second_of_two_arms_only_moves_users_into_it():
    before = [choose("e", arms(0.9, 0.1), unit) for unit in UNITS]
    after = [choose("e", arms(0.7, 0.3), unit) for unit in UNITS]
    moves = {(old, new) for old, new in zip(before, after, strict=True) if old != new}
    assert moves == {(0, 1)}


def test_a_new_last_arm_takes_users_from_nobody_but_the_arm_before_it():
    before = [choose("e", arms(0.5, 0.5), unit) for unit in UNITS]
    after = [choose("e", arms(0.5, 0.3, 0.2), unit) for unit in UNITS]
    assert {(o, n) for o, n in zip(before, after, strict=True) if o != n} == {(1, 2)}


def test_a_control_between_two_treatments_lets_both_grow_without_moving_each_other():
    before = [choose("e", arms(0.1, 0.8, 0.1), unit) for unit in UNITS]
    after = [choose("e", arms(0.3, 0.5, 0.2), unit) for unit in UNITS]
    assert {(o, n) for o, n in zip(before, after, strict=True) if o != n} == {(1, 0), (1, 2)}


@given(st.text(), st.text(), st.lists(st.integers(0, 10), min_size=1, max_size=6))
def test_every_unit_gets_an_arm_that_has_a_share(experiment: str, unit: str, weights: list[int]):
    if sum(weights) == 0:
        weights = [*weights[1:], 1]
    shares = arms(*(weight / sum(weights) for weight in weights))
    assert shares[choose(experiment, shares, unit)].share > 0


def test_the_boundary_between_experiment_and_unit_counts():
    assert point("ab", "c") != point("a", "bc")


@pytest.mark.parametrize("shares", [(), (0.5, 0.4), (1.5, -0.5), (0.6, 0.6)])
def test_shares_that_are_no_distribution_are_refused(shares: tuple[float, ...]):
    with pytest.raises(ValueError):
        check_shares(arms(*shares))


def test_arms_of_one_name_are_refused():
    with pytest.raises(ValueError, match="differ"):
        check_shares([ArmShare(name="a", share=0.5), ArmShare(name="a", share=0.5)])
