"""Goal: the baseline is measured on the same rows, by the same measures, as what it stands beside.

Method: the made-up snapshot of `fake_snapshot.py`.
"""

import json

import numpy as np
import pytest

from models.calibration import ISOTONIC_POSITIVES_MIN
from tests.training.fake_snapshot import make_snapshot
from training.baseline import fit_tfidf
from training.config import RewardConfig
from training.examples import read_examples

SNAPSHOT = make_snapshot()
CONFIG = RewardConfig(bootstrap_samples=50)


def test_it_learns_which_words_are_loved_and_reports_like_a_reward_model():
    report = fit_tfidf(SNAPSHOT, CONFIG)
    # A reader who knows the world reaches 0.87; 400 rows have a standard error of 0.02.
    assert report.metrics.auroc > 0.8
    held_out = read_examples(SNAPSHOT, "eval")
    assert np.array_equal(report.scored.labels, held_out.labels)
    assert np.array_equal(report.scored.users, held_out.user_numbers())
    assert (report.kind, report.snapshot_hash, report.num_train) == ("tfidf", "made-up", 600)
    assert report.num_calibration_positives < ISOTONIC_POSITIVES_MIN
    assert report.calibration.kind == "platt"


def test_calibration_brings_thinned_rows_back_to_the_natural_rate():
    thinned = make_snapshot(kappa=0.2)
    ratios = [
        fit_tfidf(
            thinned, RewardConfig(bootstrap_samples=10, calibration=kind)
        ).metrics.predicted_over_observed
        for kind in ("none", "platt")
    ]
    assert ratios[0] > 1.5
    assert 0.7 < ratios[1] < 1.3  # 120 positives: a standard error of 0.1.


def test_it_trains_on_the_half_that_is_asked_for():
    whole, half = (fit_tfidf(SNAPSHOT, RewardConfig(bootstrap_samples=10, half=h)) for h in "ab")
    assert whole.num_train + half.num_train == 600
    assert not np.array_equal(whole.scored.logits, half.scored.logits)


def test_what_was_not_measured_is_no_number_in_the_json():
    document = fit_tfidf(SNAPSHOT, CONFIG).to_json()
    text = json.dumps(document, allow_nan=False)
    assert json.loads(text)["probe_shift"] is None


def test_a_split_that_lacks_a_label_is_refused():
    in_train = SNAPSHOT.column("split") == "train"
    labels = np.where(in_train, 0, SNAPSHOT.column("label"))
    with pytest.raises(ValueError, match=r"'train'.* 0 positives in 600"):
        fit_tfidf(SNAPSHOT.with_columns(label=labels), CONFIG)
