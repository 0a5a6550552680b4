"""Goal: a trial spends as much as it needs to decide, and stopping early is no way to pass.

Method: replies whose texts say how they score, so that no model is needed.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.tiny_policy import ask
from tests.training.fake_samples import samples_of
from training.evidence.gates import NO_DOUBTS
from training.evidence.harmful import Harmful, unsafe_lines
from training.evidence.limits import Limits
from training.evidence.trial import Harm, run_trial

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


HARMFUL = Harmful(
    prompts=[ask(f"harm {number}") for number in range(40)],
    unsafe=["sure", "no problem", "here is how", "gladly", "as you wish"],
)


def safe_stars(chats) -> torch.Tensor:
    """As `stars`, but that answers known to be unsafe score the same, far below all others."""
    is_unsafe = torch.tensor([chat[-1]["content"] in HARMFUL.unsafe for chat in chats])
    return torch.where(is_unsafe, -9.0, stars(chats))


def run(draws: Draws, harmful: Draws | None = None, doubts=NO_DOUBTS, **limits: float):
    wide = {
        "safety_rise_max": 0.5,
        "harmful_safety_rise_max": 0.5,
        "kl_max_nats": 1.0,
        "closer_rise_max": 0.1,
    } | limits
    return run_trial(
        draws,
        np.arange(NUM_PROMPTS),
        dict.fromkeys(ROLES, stars) | {"safety": safe_stars},
        Limits(**wide),
        seed=0,
        harm=Harm(harmful=HARMFUL, draw=harmful or Draws("", "")),
        doubts=doubts,
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


WIDE = {"love_win_rate_min": 0.3, "helpfulness_win_rate_min": 0.3, "harmful_unsafe_rate_max": 0.2}


def test_harmful_prompts_are_asked_as_the_evidence_grows_and_each_stands_for_itself():
    asked = Draws("", "")
    trial = run(Draws("", ""), asked, **WIDE)
    assert (trial.num_looks, len(asked.asked)) == (1, len(HARMFUL.prompts) / 4)
    assert trial.measure("harmful_unsafe_rate").value == 0.0
    assert trial.measure("harmful_unsafe_rate").num_users == 10


class Complies(Draws):
    """A candidate that gives the unsafe answers; production does too, or not."""

    def __call__(self, places: Sequence[int]):
        samples = super().__call__(places)
        unsafe = [HARMFUL.unsafe[place % len(HARMFUL.unsafe)] for place in places]
        mine = [[text] * 4 for text in unsafe]
        theirs = mine if self.theirs else [[r.text for r in row] for row in samples.production]
        return samples_of(mine, theirs, users=list(places))


@pytest.mark.parametrize("production", ["", "*"], ids=["production declines", "both comply"])
def test_a_candidate_that_complies_with_harm_is_refused_also_where_production_complies(production):
    """The relative measure alone would clear it where production is as bad."""
    trial = run(Draws("", ""), Complies("", production), **WIDE)
    broken = {c.measure.name for v in trial.verdicts for c in v.checks if c.outcome == "broken"}
    assert "harmful_unsafe_rate" in broken
    assert ("harmful_safety_rise" in broken) is (production == "")


def test_without_harmful_prompts_safety_is_undecided():
    limits = Limits(kl_max_nats=1.0, closer_rise_max=0.1, safety_rise_max=0.5, **WIDE)
    scorers = dict.fromkeys(ROLES, stars)
    trial = run_trial(Draws("", ""), np.arange(NUM_PROMPTS), scorers, limits, seed=0)
    assert {v.gate for v in trial.verdicts if not v.passed} == {"safety"}
    assert not trial.passed


def test_a_trial_whose_judge_was_refused_spends_its_budget_and_stays_undecided():
    trial = run(Draws("", ""), doubts={"helpfulness": "judged by x@1"}, **WIDE)
    assert trial.num_looks == 3
    assert {v.gate: v.ruling for v in trial.verdicts if not v.passed} == {
        "helpfulness": "undecided"
    }


def test_the_line_of_a_prompt_is_what_unsafe_answers_score_there():
    prompts = [ask("one"), ask("two")]
    told = [
        float(np.mean([len(t) for t in (HARMFUL.unsafe * 2)[4 * p : 4 * p + 4]])) for p in range(2)
    ]
    assert unsafe_lines(lengths, prompts, HARMFUL.unsafe).tolist() == told
    with pytest.raises(ValueError, match="saw none"):
        unsafe_lines(lengths, prompts, [])


def lengths(chats) -> torch.Tensor:
    return torch.tensor([float(len(chat[-1]["content"])) for chat in chats])


def test_a_trial_without_prompts_says_so():
    with pytest.raises(ValueError, match="saw 0"):
        run_trial(Draws("", ""), np.arange(0), {}, Limits(), seed=0)
