"""Goal: what minimises the loss is the world at natural prevalence, without the users' own taste.

Method: a line is fitted to made-up numbers whose truth we know (science: -4.0 and 1.2), their
negatives thinned as snapshots thin them.
"""

import numpy as np
import pytest
import torch

from tests.training.fake_snapshot import make_snapshot
from training.examples import read_examples
from training.label_loss import label_loss, natural_logit


def line_of(x, labels, kappas, offsets) -> tuple[float, float]:
    """Intercept and slope that minimise the label loss."""
    columns = [torch.tensor(column) for column in (labels, kappas, offsets, np.ones(len(x)))]
    line = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = label_loss(line[0] + line[1] * torch.tensor(x), *columns) / len(x)
        loss.backward()
        return loss

    optimizer.step(closure)
    intercept, slope = line.tolist()
    return intercept, slope


def thinned_world(num_rows=300_000, offset=0.0, lean=0.0):
    """Rows of logit -4 + 1.2 x + offset, their negatives kept less often where x is low.

    `lean` is how much further a user's x lies for each logit of their offset.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=num_rows) + lean * offset
    labels = (rng.random(num_rows) < 1 / (1 + np.exp(-(-4.0 + 1.2 * x + offset)))).astype(float)
    kappas = np.where(x < 0, 0.1, 0.3)
    kept = (labels == 1) | (rng.random(num_rows) < kappas)
    return x[kept], labels[kept], kappas[kept], kept


def test_the_correction_for_kept_negatives_finds_the_natural_prevalence():
    x, labels, kappas, _ = thinned_world()
    intercept, slope = line_of(x, labels, kappas, np.zeros(len(x)))
    # Some 10,000 positives: standard errors are 0.02 and 0.01, so these are four of them.
    assert intercept == pytest.approx(-4.0, abs=0.08)
    assert slope == pytest.approx(1.2, abs=0.05)
    naive_intercept, naive_slope = line_of(x, labels, np.ones(len(x)), np.zeros(len(x)))
    assert naive_intercept > -4.0 + 1.0
    assert naive_slope < 1.2 - 0.1


def test_users_who_love_often_do_not_pass_their_taste_on_to_what_they_are_shown():
    offset = np.where(np.random.default_rng(1).random(300_000) < 0.5, -1.5, 1.5)
    x, labels, kappas, kept = thinned_world(offset=offset, lean=0.5)
    assert line_of(x, labels, kappas, offset[kept]) == pytest.approx((-4.0, 1.2), abs=0.08)
    _, slope = line_of(x, labels, kappas, np.zeros(len(x)))
    assert slope > 1.2 + 0.3


def test_an_offset_is_added_to_the_logit_and_a_weight_multiplies_its_row():
    zeros, ones = torch.zeros(2), torch.ones(2)
    logits, labels = torch.tensor([0.3, -1.0]), torch.tensor([1.0, 0.0])
    offsets = torch.tensor([0.7, -0.4])
    shifted = label_loss(logits + offsets, labels, ones, zeros, ones)
    assert torch.equal(label_loss(logits, labels, ones, offsets, ones), shifted)
    first = label_loss(logits[:1], labels[:1], ones[:1], zeros[:1], ones[:1])
    weighted = label_loss(logits, labels, ones, zeros, torch.tensor([3.0, 0.0]))
    torch.testing.assert_close(weighted, 3 * first)


def test_the_starting_bias_counts_a_kept_negative_as_those_it_stands_for():
    thinned, natural = (
        natural_logit(read_examples(make_snapshot(kappa=kappa), "train")) for kappa in (0.2, 1.0)
    )
    # 600 rows each: a standard error of 0.1 on either side.
    assert thinned == pytest.approx(natural, abs=0.4)
    lying = make_snapshot(kappa=0.2).with_columns(kappa=np.ones(1300))
    assert natural_logit(read_examples(lying, "train")) > natural + 1.0
