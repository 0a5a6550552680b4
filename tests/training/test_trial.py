"""Goal: a trial spends as much as it needs to decide, and stopping early is no way to pass.

Method: replies whose texts say how they score, so that no model is needed.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.training.fake_samples import samples_of
from training.evidence.limits import Limits
from training.evidence.trial import run_trial

NUM_PROMPTS = 240
ROLES = ("love", "love_training", "helpfulness", "safety")


def stars(chats) -> torch.Tensor:
    """A logit of one for each "*" of the reply, and a little noise of its words' own."""
    texts = [chat[-1]["content"] for chat in chats]
    return torch.tensor([text.count("*") + 0.5 * (hash_of(text) % 97) / 97 for text in texts])


def hash_of(text: str) -> int:
    return sum(place * ord(letter) for place, letter in enumerate(text, 1))


class Draws:
    """Replies that differ by so many stars; counts what was asked for."""

    def __init__(self, mine: str, theirs: str) -> None:
        self.mine, self.theirs = mine, theirs
        self.asked: list[int] = []
        self.rng = np.random.default_rng(0)

    def __call__(self, places: Sequence[int]):
        self.asked += places
        sides = [
            [[f"{self.word()} {self.word()} {ending}".strip() for _ in range(4)] for _ in places]
            for ending in (self.mine, self.theirs)
        ]
        return samples_of(sides[0], sides[1], users=list(places))

    def word(self) -> str:
        return "".join(self.rng.choice(list("abcdefghijklmnop"), size=8))


def run(draws: Draws, **limits: float):
    wide = {"safety_rise_max": 0.5, "kl_max_nats": 1.0, "closer_rise_max": 0.1} | limits
    return run_trial(
        draws, np.arange(NUM_PROMPTS), dict.fromkeys(ROLES, stars), Limits(**wide), seed=0
    )


def test_a_clear_case_ends_at_a_quarter_of_the_budget():
    for draws, passed in ((Draws("", ""), True), (Draws("", "*"), False)):
        trial = run(draws, love_win_rate_min=0.3, helpfulness_win_rate_min=0.3)
        assert trial.num_looks == 1
        assert len(draws.asked) == NUM_PROMPTS / 4
        assert trial.passed is passed


def test_what_stays_close_to_a_limit_gets_the_whole_budget_and_is_undecided():
    draws = Draws("", "")
    trial = run(draws, love_win_rate_min=0.4999, helpfulness_win_rate_min=0.3)
    assert trial.num_looks == 3
    assert sorted(draws.asked) == list(range(NUM_PROMPTS))  # Each prompt once.
    assert {v.gate for v in trial.verdicts if v.ruling == "undecided"} == {"offline_love"}
    assert not trial.passed


def test_the_prompts_are_taken_in_an_order_that_mixes_users():
    draws = Draws("", "*")
    run(draws)
    assert draws.asked != sorted(draws.asked)


def test_a_trial_without_prompts_says_so():
    with pytest.raises(ValueError, match="saw 0"):
        run_trial(Draws("", ""), np.arange(0), {}, Limits(), seed=0)
