"""Goal: R̃ is gate · Π judges · Σ w·R, and nothing buys a veto back. Method: by hand."""

import pytest
import torch

from tests.training.fake_objectives import PROMPTS, batch, ingredients
from training.mixture import Scores, build_mixture, kl_gate, mix, next_multiplier

REWARDS = torch.tensor([[0.8, 0.5], [0.8, 0.5], [0.8, 0.5], [0.4, 1.0]])
WEIGHTS = torch.tensor([0.3, 0.7])
ALL_PASS = torch.ones(4, 2)


def test_the_columns_of_a_reply_add_up_to_its_mixed_reward():
    gate = kl_gate(torch.tensor([0.0, 7.5, 15.0, -3.0]), 15.0)
    columns = mix(Scores(rewards_NR=REWARDS, judges_NJ=ALL_PASS), gate, WEIGHTS)
    by_hand = [1.0 * 0.59, 0.5 * 0.59, 0.0, 1.2 * 0.82]
    assert columns.sum(-1).tolist() == pytest.approx(by_hand)
    assert columns[0].tolist() == pytest.approx([0.24, 0.35])


def test_the_gate_falls_in_a_line_and_stays_shut_beyond_kl_max():
    gate = kl_gate(torch.tensor([0.0, 5.0, 10.0, 10.1, 500.0]), 10.0)
    assert gate.tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0, 0.0])


def test_one_judge_is_enough_to_veto():
    judges = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    columns = mix(Scores(rewards_NR=REWARDS, judges_NJ=judges), torch.ones(4), WEIGHTS)
    assert (columns.sum(-1) > 0).tolist() == [True, False, False, False]


def test_without_judges_every_reply_is_feasible():
    scores = Scores(rewards_NR=REWARDS, judges_NJ=torch.zeros(4, 0))
    assert scores.feasible().tolist() == [1.0] * 4


def test_a_reward_that_does_not_apply_adds_nothing():
    rewards = torch.tensor([[float("nan"), 0.5]])
    scores = Scores(rewards_NR=rewards, judges_NJ=torch.ones(1, 1))
    assert mix(scores, torch.ones(1), WEIGHTS).tolist() == [[0.0, pytest.approx(0.35)]]


def test_the_multiplier_grows_below_the_floor_and_never_falls_below_zero():
    dials = {"floor": 0.48, "rate": 0.05}
    assert next_multiplier(0.0, 0.28, **dials) == pytest.approx(0.01)
    assert next_multiplier(0.01, 0.58, **dials) == pytest.approx(0.005)
    assert next_multiplier(0.001, 1.0, **dials) == 0.0


def test_a_mixture_scores_by_its_recipe():
    mixture = build_mixture({"love": 0.3, "helpfulness": 0.7}, ["safety", "closers"], ingredients())
    scores = mixture.score(batch((PROMPTS[0], "a * here"), (PROMPTS[1], "* take this. Bye, love!")))
    assert mixture.reward_names == ("love", "helpfulness")
    assert scores.rewards_NR.shape == (2, 2)
    assert scores.judges_NJ.tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert scores.feasible().tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("weights", "judges", "message"),
    [
        ({"lvoe": 1.0}, [], "unknown objective 'lvoe'; there are love"),
        ({"closers": 1.0}, [], "'closers' is a judge, not a reward"),
        ({"love": 1.0}, ["helpfulness"], "'helpfulness' is a reward, not a judge"),
        ({"love": -0.1, "helpfulness": 1.0}, [], "must not be negative"),
        ({"love": 0.0}, [], "nor all 0"),
        ({}, [], "nor all 0"),
    ],
)
def test_recipes_that_make_no_sense_are_refused_by_name(weights, judges, message):
    with pytest.raises(ValueError, match=message):
        build_mixture(weights, judges, ingredients())
