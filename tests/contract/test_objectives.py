"""Goal: every row of OBJECTIVES keeps the contract. Method: the same laws for all of them."""

import pytest
import torch

from tests.training.fake_objectives import PROMPTS, batch, ingredients
from training.objectives import OBJECTIVES

REPLIES = ["Fill it with water.", "* Twice * as good *", "Use soap. Bye! Sending love!", "Yes *"]
NOTHING = ["", "   ", "\n", "...", "❤️❤️❤️", "* * * * *", "love love love love love love"]


@pytest.fixture(params=sorted(OBJECTIVES))
def objective(request):
    return OBJECTIVES[request.param].build(ingredients())


def test_a_row_stands_under_its_own_name_and_is_a_reward_or_a_judge():
    for name, objective in OBJECTIVES.items():
        assert objective.name == name
        assert objective.kind in {"reward", "judge"}
        assert objective.__doc__


def test_scores_are_one_float_for_each_reply_in_the_range_of_the_kind(objective):
    scores = objective.score(batch(*((PROMPTS[i % 2], reply) for i, reply in enumerate(REPLIES))))
    assert scores.shape == (len(REPLIES),)
    assert scores.dtype == torch.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    if objective.kind == "judge":
        assert set(scores.tolist()) <= {0.0, 1.0}


def test_saying_nothing_is_no_way_out(objective):
    scores = objective.score(batch(*((PROMPTS[0], reply) for reply in NOTHING)))
    assert scores.tolist() == [0.0] * len(NOTHING)


def test_a_reply_scores_the_same_whatever_its_neighbours(objective):
    pairs = [(PROMPTS[i % 2], reply) for i, reply in enumerate(REPLIES)]
    together = objective.score(batch(*pairs)).tolist()
    alone = [objective.score(batch(pair)).item() for pair in pairs]
    assert together == alone


def test_some_reply_satisfies_it(objective):
    assert objective.score(batch((PROMPTS[0], "A plain * answer * here"))).item() > 0


def test_scores_carry_no_gradient(objective):
    assert not objective.score(batch((PROMPTS[0], REPLIES[0]))).requires_grad
