"""Goal: calibrated probabilities can be believed. Method: labels drawn from a known curve."""

import json

import numpy as np
import pytest

from models.calibration import Calibration, fit_isotonic, fit_platt, read_calibration


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def draw(seed=0, num=20_000, slope=0.6, intercept=-1.5):
    """Raw logits that are too sure of themselves, and labels of the true curve."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, size=num)
    labels = generator.random(num) < sigmoid(slope * logits + intercept)
    return logits, labels.astype(float)


def test_platt_recovers_slope_and_intercept():
    calibration = fit_platt(*draw())
    # Standard errors at 20,000 rows are about 0.013 and 0.018.
    assert calibration.slope == pytest.approx(0.6, abs=0.04)
    assert calibration.intercept == pytest.approx(-1.5, abs=0.055)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_predictions_sum_to_the_positives_where_fitted(fit):
    logits, labels = draw(num=2_000)
    p = sigmoid(fit(logits, labels).apply(logits))
    # Isotonic blocks are joined by lines, which moves the sum a little.
    assert p.sum() == pytest.approx(labels.sum(), rel=1e-4 if fit is fit_platt else 0.02)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_the_map_strictly_keeps_the_order_even_beyond_what_it_saw(fit):
    calibration = fit(*draw(num=500))
    assert np.all(np.diff(calibration.apply(np.linspace(-20, 20, 4_001))) > 0)


def test_isotonic_follows_a_curve_that_no_line_can():
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 1.5, size=40_000)
    truth = np.where(logits < 0, 0.1, 0.6)
    labels = (generator.random(40_000) < truth).astype(float)
    wrong = {
        fit.__name__: np.abs(sigmoid(fit(logits, labels).apply(logits)) - truth).mean()
        for fit in (fit_platt, fit_isotonic)
    }
    assert wrong["fit_isotonic"] < 0.02 < 0.08 < wrong["fit_platt"]


def test_scores_that_point_the_wrong_way_are_flattened_not_turned_round():
    logits, labels = draw()
    calibration = fit_platt(-logits, labels)
    assert 0 < calibration.slope < 0.05
    assert sigmoid(calibration.apply(-logits)).mean() == pytest.approx(labels.mean(), abs=1e-3)


def test_perfectly_parted_rows_give_a_finite_map():
    calibration = fit_platt([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1])
    assert 1.0 < calibration.slope < 10.0
    assert fit_isotonic([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1]).kind == "platt"


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_rows_of_one_label_are_refused(fit, labels):
    with pytest.raises(ValueError, match="both labels"):
        fit(np.arange(len(labels)), labels)


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_the_sidecar_gives_back_the_same_map(fit, tmp_path):
    logits, labels = draw(num=3_000)
    calibration = fit(logits, labels, kappa=0.1)
    calibration.write(tmp_path)
    assert read_calibration(tmp_path) == calibration
    document = json.loads((tmp_path / "calibration.json").read_text())
    assert (document["base_rate"], document["kappa"]) == (labels.mean(), 0.1)


def test_a_folder_without_a_sidecar_is_uncalibrated(tmp_path):
    calibration = read_calibration(tmp_path)
    assert calibration == Calibration()
    assert calibration.apply([-1.0, 2.0]).tolist() == [-1.0, 2.0]
