"""Goal: rates say truly how often negatives were kept, and no user or time is on two sides.

Method: made-up exposures, checked against counts in plain numpy.
"""

import numpy as np
import pytest

from features.sampling import hash_share, split, thin_negatives, user_offsets


def draw(num=20_000, seed=0, base_rate=0.01):
    """Strata of different size and base rate, with labels and hashes."""
    rng = np.random.default_rng(seed)
    strata = rng.choice(["a", "b", "tiny"], size=num, p=[0.6, 0.399, 0.001])
    rate = np.where(strata == "a", base_rate, base_rate * 3)
    return strata, rng.random(num) < rate, rng.random(num)


def test_kappa_is_the_share_of_negatives_that_were_kept_in_each_stratum():
    strata, is_positive, order = draw()
    kept, kappa, report = thin_negatives(strata, is_positive, order, positive_share=0.1)
    assert kept[is_positive].all()
    for stratum in report:
        negatives = (strata == stratum.name) & ~is_positive
        assert stratum.kappa == kept[negatives].sum() / negatives.sum()
        assert (kappa[strata == stratum.name] == stratum.kappa).all()


def test_positives_become_a_tenth():
    strata, is_positive, order = draw()
    kept, _, _ = thin_negatives(strata, is_positive, order, positive_share=0.1)
    assert is_positive[kept].mean() == pytest.approx(0.1, abs=0.002)  # A few rows by rounding up.


def test_nothing_is_dropped_where_positives_are_plenty():
    strata, is_positive, order = draw(base_rate=0.15)
    kept, kappa, _ = thin_negatives(strata, is_positive, order, positive_share=0.1)
    assert kept.all()
    assert (kappa == 1.0).all()


def test_a_stratum_without_positives_keeps_some_negatives():
    strata = np.array(["loved"] * 1000 + ["never"] * 1000)
    is_positive = np.zeros(2000, dtype=bool)
    is_positive[:10] = True
    _, _, report = thin_negatives(strata, is_positive, np.linspace(0, 1, 2000), positive_share=0.1)
    never = next(stratum for stratum in report if stratum.name == "never")
    assert 0.0 < never.kappa < 0.05
    assert never.num_kept == round(never.kappa * 1000)


def test_the_correction_by_kappa_gives_the_natural_rate_back():
    strata, is_positive, order = draw(num=200_000)
    kept, kappa, _ = thin_negatives(strata, is_positive, order, positive_share=0.1)
    for name in ("a", "b"):
        rows = kept & (strata == name)
        q = is_positive[rows].mean()
        p = q / (q + (1 - q) / kappa[rows][0])
        assert p == pytest.approx(is_positive[strata == name].mean(), rel=1e-9)


def make_users(num_users, rows_each, spread, seed=0):
    """Users who come one after the other and stay for `spread` times the gap between them."""
    rng = np.random.default_rng(seed)
    user_of = np.repeat(np.arange(num_users), rows_each)
    start = np.repeat(np.arange(num_users) * 1_000_000, rows_each)
    shown_us = start + (rng.random(len(user_of)) * spread * 1_000_000).astype(np.int64)
    return [f"u{i}" for i in range(num_users)], user_of, shown_us


@pytest.mark.parametrize("spread", [1, 30, 100_000])  # From passers-by to users who always stay.
def test_splits_share_no_user_and_evaluation_comes_later(spread):
    users, user_of, shown_us = make_users(300, 8, spread)
    splits = split(users, user_of, shown_us, eval_share=0.2, calibration_share=0.2, seed=0)
    of = {name: set(user_of[splits.names == name]) for name in ("train", "calibration", "eval")}
    assert all(of.values())
    assert not of["train"] & of["eval"]
    assert not of["calibration"] & of["eval"]
    assert not of["train"] & of["calibration"]
    earlier = shown_us[np.isin(splits.names, ["train", "calibration"])]
    assert earlier.max() <= splits.cut_us < shown_us[splits.names == "eval"].min()


def test_users_who_come_and_go_leave_hardly_any_exposure_out():
    users, user_of, shown_us = make_users(300, 8, spread=3)
    splits = split(users, user_of, shown_us, eval_share=0.2, calibration_share=0.2, seed=0)
    assert (splits.names == "").mean() < 0.01
    assert (splits.names == "eval").mean() == pytest.approx(0.2, abs=0.02)
    assert (splits.names == "calibration").mean() == pytest.approx(0.16, abs=0.05)


def test_one_exposure_alone_can_be_split():
    splits = split(
        ["u"], np.array([0]), np.array([5]), eval_share=0.2, calibration_share=0.2, seed=0
    )
    assert splits.names.tolist() in (["train"], ["calibration"])


def test_hashes_are_even_and_depend_on_purpose_seed_and_id():
    ids = [f"u{i}" for i in range(20_000)]
    numbers = hash_share("half", 0, ids)
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert numbers.mean() == pytest.approx(0.5, abs=0.01)  # 5 standard errors.
    assert abs(np.corrcoef(numbers, hash_share("calibration", 0, ids))[0, 1]) < 0.04
    assert abs(np.corrcoef(numbers, hash_share("half", 1, ids))[0, 1]) < 0.04
    assert hash_share("half", 0, ["u0"])[0] == numbers[0]


def test_hashes_stay_the_same_between_versions():
    assert hash_share("half", 0, ["u0"])[0] == pytest.approx(0.5582016, abs=1e-6)


def test_user_offsets_are_zero_without_history_and_shrunk_with_little():
    num_signal, num_shown = np.array([0, 0, 1, 500]), np.array([0, 1000, 1, 1000])
    none, never, once, often = user_offsets(num_signal, num_shown, p0=0.1, strength=20.0)
    assert none == 0.0
    assert never < -2.0
    assert 0.0 < once < 0.6
    assert often == pytest.approx(np.log(0.5 / 0.5) - np.log(0.1 / 0.9), abs=0.1)
