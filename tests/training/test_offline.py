"""Goal: candidate and production are compared on the same prompts, and noise is not taken for news.

Method: tiny random policies for what is sampled; made-up scores for what is computed of them.
"""

import math

import numpy as np
import pytest
import torch

from models.policy import Policy
from models.verdicts import hold
from tests.tiny_policy import ask, save_tiny_policy
from tests.training.fake_samples import by_name, samples_of
from training.evidence.gates import POLICY_GATES
from training.evidence.limits import Limits
from training.evidence.offline import (
    draw_samples,
    examine,
    kl_nats,
    love_measures,
    safety_measures,
    score_samples,
    wins_of,
)
from training.evidence.sentinels import watch

PROMPTS = [ask(f"Question {number}?") for number in range(12)]


def logit(p):
    return np.log(p) - np.log1p(-p)


def letters(chats) -> torch.Tensor:
    """A logit for the share of letters in the reply: random policies differ in it."""
    replies = [chat[-1]["content"] for chat in chats]
    return torch.tensor([sum(map(str.isalpha, reply)) / max(1, len(reply)) for reply in replies])


def stars(chats) -> torch.Tensor:
    """A logit of one for each "*" of the reply."""
    return torch.tensor([float(chat[-1]["content"].count("*")) for chat in chats])


@pytest.fixture(scope="module")
def policies(tmp_path_factory) -> tuple[Policy, Policy]:
    """Two random policies."""
    folders = [
        save_tiny_policy(tmp_path_factory.mktemp(f"policy{seed}"), seed=seed) for seed in (0, 1)
    ]
    return Policy.from_pretrained(folders[0]), Policy.from_pretrained(folders[1])


def measured(samples, scorers, **dials):
    """What the reward models say of the samples, by name."""
    scores = score_samples(samples, scorers)
    return by_name(examine(samples, scores, safety_threshold=None, **dials))


def users(num_prompts):
    """A user of its own for each prompt."""
    return np.arange(num_prompts)


def draw(candidate, production, seed=0):
    return draw_samples(
        candidate,
        production,
        PROMPTS,
        np.arange(len(PROMPTS)),
        replies_per_prompt=3,
        max_new_tokens=6,
        seed=seed,
        on_progress=lambda stage, done, total: None,
    )


# What is sampled.


def test_a_policy_compared_with_itself_shows_nothing(policies):
    _, production = policies
    samples = draw(production, production)
    assert samples.candidate == samples.production
    scorers = dict.fromkeys(("love", "love_training", "helpfulness", "safety"), letters)
    measures = measured(samples, scorers)
    assert measures["love_rise"].value == measures["love_lift"].value == 0.0
    assert measures["win_rate_gap"].value == measures["safety_rise"].value == 0.0
    for name in ("love_win_rate", "love_training_win_rate", "helpfulness_win_rate"):
        # Each pair of different draws is met from both sides.
        assert measures[name].value == pytest.approx(0.5)
    # Sampling keeps a cache and scoring does not: float32 over seven tokens.
    assert samples.log_ratio == pytest.approx(np.zeros((12, 3)), abs=1e-4)
    assert measures["kl_nats"].high < 1e-4
    assert POLICY_GATES["offline_love"].decide(measures, Limits()).passed  # Nothing is no fall.


def test_log_ratios_are_those_of_the_candidates_own_tokens(policies):
    candidate, production = policies
    samples = draw(candidate, production)
    for k in range(3):
        own = [replies[k] for replies in samples.candidate]
        by_hand = candidate.log_probs(PROMPTS, own) - production.log_probs(PROMPTS, own)
        assert samples.log_ratio[:, k] == pytest.approx(by_hand.double().numpy(), abs=1e-3)
    measure = kl_nats(samples)
    assert measure.value == pytest.approx(samples.log_ratio.mean())
    assert 0 < measure.low < measure.value < measure.high
    assert measure.unit == "nats"


def test_draws_are_fresh_for_each_reply_and_repeatable(policies):
    candidate, production = policies
    samples = draw(candidate, production)
    assert (samples.num_replies, len(samples.production)) == (36, 12)
    assert all(len({reply.text for reply in replies}) == 3 for replies in samples.candidate)
    again = draw(candidate, production)
    assert again.candidate == samples.candidate
    assert again.production == samples.production
    assert draw(candidate, production, seed=9).candidate != samples.candidate


def test_progress_counts_the_draws(policies):
    seen = []
    draw_samples(
        *policies,
        PROMPTS[:2],
        np.arange(2),
        replies_per_prompt=2,
        max_new_tokens=2,
        seed=0,
        on_progress=lambda *event: seen.append(event),
    )
    assert seen == [("sample replies", done, 2) for done in (0, 1, 2)]


# What is computed.


def test_scores_go_to_the_side_and_the_prompt_they_belong_to():
    samples = samples_of([["**", "**"], ["*", "*"]], [["", ""], ["***", "***"]])
    measures = measured(samples, {"love": stars, "helpfulness": stars})
    p = 1 / (1 + np.exp(-np.arange(4.0)))
    rise = (p[2] + p[1]) / 2 - (p[0] + p[3]) / 2
    assert measures["love_rise"].value == pytest.approx(rise)
    assert measures["love_lift"].value == pytest.approx(rise / ((p[0] + p[3]) / 2))
    assert measures["helpfulness_win_rate"].value == 0.5  # One prompt won, one lost.
    assert (measures["num_prompts"].value, measures["num_replies"].value) == (2, 4)


def test_measures_of_missing_models_are_left_out_and_their_gates_decide_nothing():
    samples = samples_of([["*"]] * 30, [[""]] * 30)
    measures = measured(samples, {"love": stars})
    assert set(measures) == {
        *("num_prompts", "num_replies", "kl_nats"),
        *("love_rise", "love_lift", "love_win_rate"),
    }
    assert POLICY_GATES["offline_love"].decide(measures, Limits()).ruling == "passed"
    for gate in ("helpfulness", "safety", "reward_hacking"):
        assert POLICY_GATES[gate].decide(measures, Limits()).ruling == "undecided"


def test_prompts_are_paired_so_a_small_steady_rise_is_seen_over_large_differences():
    rng = np.random.default_rng(0)
    theirs = rng.normal(-2.0, 2.0, size=(300, 1))
    mine = theirs + 0.1
    rise, _ = love_measures(mine, theirs, users(300))
    assert 0 < rise.low < rise.value < rise.high
    # The same scores with the pairs torn apart say nothing.
    apart, _ = love_measures(rng.permutation(mine), theirs, users(300))
    assert apart.value == pytest.approx(rise.value)
    assert apart.low < 0 < apart.high


def test_more_replies_of_the_same_kind_to_a_prompt_are_no_more_evidence():
    rng = np.random.default_rng(1)
    mine, theirs = rng.normal(0.2, 1, size=(100, 1)), rng.normal(0, 1, size=(100, 1))
    once = love_measures(mine, theirs, users(100))[0]
    tenfold = love_measures(np.repeat(mine, 10, axis=1), np.repeat(theirs, 10, axis=1), users(100))[
        0
    ]
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_the_same_prompts_of_one_user_are_no_more_evidence():
    rng = np.random.default_rng(1)
    mine, theirs = rng.normal(0.2, 1, size=(100, 1)), rng.normal(0, 1, size=(100, 1))
    once = love_measures(mine, theirs, users(100))[0]
    again = love_measures(
        np.repeat(mine, 4, axis=0), np.repeat(theirs, 4, axis=0), np.repeat(users(100), 4)
    )[0]
    assert (again.low, again.high) == pytest.approx((once.low, once.high))
    assert again.num_users == 100


def test_the_interval_covers_the_true_rise():
    """200 made-up evaluations of 60 users with four alike prompts each, truly 0.3 logits ahead."""
    rng = np.random.default_rng(2)
    prompts = rng.normal(-1.0, math.hypot(1.0, 0.5), 500_000)
    truth = float(np.mean(1 / (1 + np.exp(-prompts - 0.3)) - 1 / (1 + np.exp(-prompts))))
    covered = 0
    for _ in range(200):
        theirs = np.repeat(rng.normal(-1.0, 1.0, size=(60, 1)), 4, axis=0)
        noise = rng.normal(0, 0.5, size=(2, 240, 1))
        rise, _ = love_measures(theirs + 0.3 + noise[0], theirs + noise[1], np.repeat(users(60), 4))
        covered += rise.low <= truth <= rise.high
    # 95 % is asked for; 200 evaluations have a standard error of 1.5 points.
    assert 0.90 * 200 <= covered < 200


def test_win_rates_count_ties_half_and_do_not_pair_replies_of_one_draw():
    alike = np.zeros((5, 3))
    assert wins_of(alike, alike).tolist() == [0.5] * 5
    # Draw k of both sides shares its chance; only pairs off the diagonal count.
    mine, theirs = np.array([[1.0, 0.0]]), np.array([[0.0, 0.5]])
    assert wins_of(mine, theirs).tolist() == [0.75]  # 1 beats 0.5; 0 and 0 tie.
    assert wins_of(mine[:, :1], theirs[:, :1]).tolist() == [1.0]


def test_the_gap_is_what_only_the_training_model_likes():
    samples = samples_of([["***"]] * 40, [["a"]] * 40)
    scorers = {"love_training": stars, "love": lambda chats: torch.zeros(len(chats))}
    measures = measured(samples, scorers)
    assert measures["love_training_win_rate"].value == 1.0
    assert measures["win_rate_gap"].value == 0.5
    assert measures["win_rate_gap"].low == 0.5  # Every prompt says the same.


def test_unsafe_replies_are_those_below_the_line():
    mine, theirs = np.full((100, 10), 1.0), np.full((100, 10), 1.0)
    mine[:4, :5] = -1.0  # 20 of 1,000.
    rate, rise = safety_measures(mine, theirs, users(100), threshold=0.0)
    assert (rate.value, rise.value) == (0.02, 0.02)
    assert rate.low <= rate.value <= rate.high
    assert safety_measures(mine, theirs, users(100), threshold=-1.0)[0].value == 0.0


def test_without_a_line_it_is_drawn_low_among_productions_replies():
    theirs = np.arange(1000.0).reshape(100, 10)
    rate, rise = safety_measures(theirs, theirs, users(100), threshold=None)
    assert (rate.value, rise.value) == (0.02, 0.0)
    worse, rise = safety_measures(theirs - 100, theirs, users(100), threshold=None)
    assert worse.value == pytest.approx(0.12)
    assert rise.low > 0


def test_no_unsafe_reply_among_few_is_no_proof_of_safety():
    safe = np.ones((100, 2))
    rate, rise = safety_measures(safe, safe, users(100), threshold=0.0)
    # Near the rule of three, which says 3/200 of one rate.
    assert 2 / 200 < rate.high < 4 / 200
    bound = POLICY_GATES["safety"].asks["safety_rise"](Limits(safety_rise_max=0.01))
    assert hold(rise, bound).outcome == "undecided"
    many = np.ones((1000, 2))
    rise = safety_measures(many, many, users(1000), threshold=0.0)[1]
    assert hold(rise, bound).outcome == "kept"


def test_two_random_policies_are_told_apart_all_the_way(policies):
    """Everything together on real samples: no measure is missing, and KL is refused."""
    samples = draw(*policies)
    scorers = dict.fromkeys(("love", "love_training", "helpfulness", "safety"), letters)
    scores = score_samples(samples, scorers)
    lines_P = np.full(len(samples.prompts), -1.0)
    safety = safety_measures(
        *scores["safety"], samples.users, threshold=None, lines_P=lines_P, prefix="harmful_"
    )
    told = examine(samples, scores, safety_threshold=None, lines_P=lines_P)
    found = by_name([*told, *watch(samples), *safety])
    strict = Limits(kl_max_nats=found["kl_nats"].low - 0.1)
    verdicts = [gate.decide(found, strict) for gate in POLICY_GATES.values()]
    checks = [check for verdict in verdicts for check in verdict.checks]
    assert not [check.measure.name for check in checks if math.isnan(check.measure.value)]
    [kl] = [check for check in checks if check.measure.name == "kl_nats"]
    assert kl.outcome == "broken"
