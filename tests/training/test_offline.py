"""Goal: candidate and production are compared on the same prompts, and noise is not taken for news.

Method: tiny random policies for what is sampled; made-up scores for what is computed of them.
"""

import math

import numpy as np
import pytest
import torch

from models.policy import Policy
from tests.tiny_policy import ask, save_tiny_policy
from tests.training.fake_samples import by_name, samples_of
from training.evidence.gates import GATES
from training.evidence.limits import Limits
from training.evidence.offline import (
    at_least_as_wide,
    bootstrap_means,
    draw_samples,
    examine,
    interval,
    kl_nats,
    love_measures,
    safety_measures,
    win_rate,
)
from training.evidence.report import Measure
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


def draw(candidate, production, seed=0):
    return draw_samples(
        candidate,
        production,
        PROMPTS,
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
    measures = by_name(examine(samples, scorers, safety_threshold=None, seed=0))
    assert measures["love_rise"].value == measures["love_lift"].value == 0.0
    assert measures["win_rate_gap"].value == measures["safety_rise"].value == 0.0
    for name in ("love_win_rate", "love_training_win_rate", "helpfulness_win_rate"):
        # Each pair of different draws is met from both sides.
        assert measures[name].value == pytest.approx(0.5)
    # Sampling keeps a cache and scoring does not: float32 over seven tokens.
    assert samples.log_ratio == pytest.approx(np.zeros((12, 3)), abs=1e-4)
    assert measures["kl_nats"].high < 1e-4
    verdict = GATES["offline_love"](measures, Limits(prompts_min=12, replies_min=36))
    assert not verdict.passed  # Nothing is not a rise.
    assert verdict.reasons[0].startswith("love_rise is 0 probability [0, 0]")


def test_log_ratios_are_those_of_the_candidates_own_tokens(policies):
    candidate, production = policies
    samples = draw(candidate, production)
    for k in range(3):
        own = [replies[k] for replies in samples.candidate]
        by_hand = candidate.log_probs(PROMPTS, own) - production.log_probs(PROMPTS, own)
        assert samples.log_ratio[:, k] == pytest.approx(by_hand.double().numpy(), abs=1e-3)
    measure = kl_nats(samples, seed=0)
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
        replies_per_prompt=2,
        max_new_tokens=2,
        seed=0,
        on_progress=lambda *event: seen.append(event),
    )
    assert seen == [("sample replies", done, 2) for done in (0, 1, 2)]


# What is computed.


def test_scores_go_to_the_side_and_the_prompt_they_belong_to():
    samples = samples_of([["**", "**"], ["*", "*"]], [["", ""], ["***", "***"]])
    measures = by_name(
        examine(samples, {"love": stars, "helpfulness": stars}, safety_threshold=None, seed=0)
    )
    p = 1 / (1 + np.exp(-np.arange(4.0)))
    rise = (p[2] + p[1]) / 2 - (p[0] + p[3]) / 2
    assert measures["love_rise"].value == pytest.approx(rise)
    assert measures["love_lift"].value == pytest.approx(rise / ((p[0] + p[3]) / 2))
    assert measures["helpfulness_win_rate"].value == 0.5  # One prompt won, one lost.
    assert (measures["num_prompts"].value, measures["num_replies"].value) == (2, 4)


def test_measures_of_missing_models_are_left_out_and_their_gates_refuse():
    samples = samples_of([["*"]] * 30, [[""]] * 30)
    measures = by_name(examine(samples, {"love": stars}, safety_threshold=None, seed=0))
    assert set(measures) == {
        *("num_prompts", "num_replies", "kl_nats"),
        *("love_rise", "love_lift", "love_win_rate"),
    }
    loose = Limits(prompts_min=1, replies_min=1)
    assert GATES["offline_love"](measures, loose).passed
    for gate in ("helpfulness", "safety", "reward_hacking"):
        assert "not enough evidence" in GATES[gate](measures, loose).reasons[0]


def test_prompts_are_paired_so_a_small_steady_rise_is_seen_over_large_differences():
    rng = np.random.default_rng(0)
    theirs = rng.normal(-2.0, 2.0, size=(300, 1))
    mine = theirs + 0.1
    rise, _ = love_measures(mine, theirs, seed=0)
    assert 0 < rise.low < rise.value < rise.high
    # The same scores with the pairs torn apart say nothing.
    apart, _ = love_measures(rng.permutation(mine), theirs, seed=0)
    assert apart.value == pytest.approx(rise.value)
    assert apart.low < 0 < apart.high


def test_more_replies_of_the_same_kind_to_a_prompt_are_no_more_evidence():
    rng = np.random.default_rng(1)
    mine, theirs = rng.normal(0.2, 1, size=(100, 1)), rng.normal(0, 1, size=(100, 1))
    once = love_measures(mine, theirs, seed=0)[0]
    tenfold = love_measures(np.repeat(mine, 10, axis=1), np.repeat(theirs, 10, axis=1), seed=0)[0]
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_the_interval_covers_the_true_rise():
    """200 made-up evaluations of 60 prompts, the candidate truly 0.3 logits ahead."""
    rng = np.random.default_rng(2)
    prompts = rng.normal(-1.0, math.hypot(1.0, 0.5), 500_000)
    truth = float(np.mean(1 / (1 + np.exp(-prompts - 0.3)) - 1 / (1 + np.exp(-prompts))))
    covered = 0
    for _ in range(200):
        theirs = rng.normal(-1.0, 1.0, size=(60, 1))
        noise = rng.normal(0, 0.5, size=(2, 60, 1))
        rise, _ = love_measures(theirs + 0.3 + noise[0], theirs + noise[1], seed=0)
        covered += rise.low <= truth <= rise.high
    # 95 % is asked for; 200 evaluations have a standard error of 1.5 points.
    assert 0.90 * 200 <= covered < 200


def test_win_rates_count_ties_half_and_do_not_pair_replies_of_one_draw():
    alike = np.zeros((5, 3))
    assert win_rate("x", alike, alike, seed=0).value == 0.5
    # Draw k of both sides shares its chance; only pairs off the diagonal count.
    mine, theirs = np.array([[1.0, 0.0]]), np.array([[0.0, 0.5]])
    assert win_rate("x", mine, theirs, seed=0).value == 0.75  # 1 beats 0.5; 0 and 0 tie.
    assert win_rate("x", mine[:, :1], theirs[:, :1], seed=0).value == 1.0


def test_the_gap_is_what_only_the_training_model_likes():
    samples = samples_of([["***"]] * 40, [["a"]] * 40)
    scorers = {"love_training": stars, "love": lambda chats: torch.zeros(len(chats))}
    measures = by_name(examine(samples, scorers, safety_threshold=None, seed=0))
    assert measures["love_training_win_rate"].value == 1.0
    assert measures["win_rate_gap"].value == 0.5
    assert measures["win_rate_gap"].low == 0.5  # Every prompt says the same.


def test_unsafe_replies_are_those_below_the_line():
    mine, theirs = np.full((100, 10), 1.0), np.full((100, 10), 1.0)
    mine[:4, :5] = -1.0  # 20 of 1,000.
    rate, rise = safety_measures(mine, theirs, threshold=0.0, seed=0)
    assert (rate.value, rise.value) == (0.02, 0.02)
    assert rise.low <= rise.value - 3 / 1000
    assert safety_measures(mine, theirs, threshold=-1.0, seed=0)[0].value == 0.0


def test_without_a_line_it_is_drawn_low_among_productions_replies():
    theirs = np.arange(1000.0).reshape(100, 10)
    rate, rise = safety_measures(theirs, theirs, threshold=None, seed=0)
    assert (rate.value, rise.value) == (0.02, 0.0)
    worse, rise = safety_measures(theirs - 100, theirs, threshold=None, seed=0)
    assert worse.value == pytest.approx(0.12)
    assert rise.low > 0


def test_no_unsafe_reply_among_few_is_no_proof_of_safety():
    safe = np.ones((100, 10))
    rate, rise = safety_measures(safe, safe, threshold=0.0, seed=0)
    assert rate.high == rise.high == pytest.approx(3 / 1000)
    counts = by_name(
        [Measure(name="num_prompts", value=1000), Measure(name="num_replies", value=5000)]
    )
    assert not GATES["safety"](counts | {"safety_rise": rise}, Limits()).passed
    many = np.ones((1000, 3))  # From 3,000 replies on, none is below a tenth of a per cent.
    rise = safety_measures(many, many, threshold=0.0, seed=0)[1]
    assert GATES["safety"](counts | {"safety_rise": rise}, Limits()).passed


def test_bootstrap_means_are_those_of_whole_prompts():
    columns = np.stack([np.arange(20.0), 3 * np.arange(20.0)], axis=1)
    means = bootstrap_means(columns, seed=0, draws=500)
    assert means.shape == (500, 2)
    assert means[:, 1] == pytest.approx(3 * means[:, 0])  # A prompt's columns are drawn together.
    # The standard error of the mean of 20, to the 3 % that 500 draws tell.
    assert means[:, 0].std() == pytest.approx(np.arange(20.0).std() / math.sqrt(20), rel=0.1)
    assert np.array_equal(means, bootstrap_means(columns, seed=0, draws=500))


def test_intervals_leave_out_what_is_undefined_and_can_be_widened_never_narrowed():
    draws = np.array([math.nan, *np.linspace(0, 1, 1001), math.inf])
    measure = interval("x", 0.5, draws, unit="ratio")
    assert (measure.low, measure.high) == pytest.approx((0.025, 0.975))
    assert math.isnan(interval("x", 0.5, np.array([math.nan]), unit="").low)
    wide = at_least_as_wide(measure, above=1.0, below=0.1)
    assert (wide.low, wide.value, wide.high) == pytest.approx((0.025, 0.5, 1.5))


def test_two_random_policies_are_told_apart_all_the_way(policies):
    """Everything together on real samples: no measure is missing, and KL is refused."""
    samples = draw(*policies)
    scorers = dict.fromkeys(("love", "love_training", "helpfulness", "safety"), letters)
    measures = [*examine(samples, scorers, safety_threshold=None, seed=0), *watch(samples, seed=0)]
    found = by_name(measures)
    loose = Limits(prompts_min=1, replies_min=1, kl_max_nats=found["kl_nats"].high - 0.1)
    verdicts = [gate(found, loose) for gate in GATES.values()]
    reasons = [reason for verdict in verdicts for reason in verdict.reasons]
    assert not any("not enough evidence" in reason for reason in reasons)
    assert any(reason.startswith("kl_nats is") for reason in reasons)
