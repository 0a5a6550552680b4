"""Goal: each objective says what its docstring claims. Method: scores computed by hand."""

import math

import pytest
import torch

from tests.tiny_policy import ask
from tests.training.fake_objectives import PROMPTS, REFERENCE, batch, ingredients, stars
from training.objectives.base import Completions, prompt_key, worth_scoring
from training.objectives.closers import Closers
from training.objectives.love import Love
from training.objectives.relative import TEMPERATURE_MIN, build_relative, choose_temperature
from training.objectives.safety import Safety


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_love_is_the_sigmoid_of_the_distance_to_productions_mean_over_t():
    love = Love.build(ingredients())
    t = love.relative.temperature
    scores = love.score(batch((PROMPTS[0], "so * good * here *"), (PROMPTS[1], "plain words")))
    assert scores.tolist() == pytest.approx([sigmoid((3 - 0.75) / t), sigmoid((0 - 1.25) / t)])


def test_the_temperature_gives_productions_own_replies_the_spread_asked_for():
    logits_PM = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 3
    t = choose_temperature(logits_PM, 0.15)
    others = (logits_PM.sum(-1, keepdim=True) - logits_PM) / 3
    spread = torch.sigmoid((logits_PM - others) / t).std(correction=0)
    assert float(spread) == pytest.approx(0.15, abs=1e-4)


def test_taste_that_varies_tenfold_more_gets_a_tenfold_temperature():
    logits_PM = torch.randn(200, 4, generator=torch.Generator().manual_seed(1))
    ratio = choose_temperature(10 * logits_PM, 0.15) / choose_temperature(logits_PM, 0.15)
    assert ratio == pytest.approx(10, rel=1e-3)


def test_replies_that_all_score_alike_do_not_blow_up_the_temperature():
    assert choose_temperature(torch.ones(5, 4), 0.15) == pytest.approx(TEMPERATURE_MIN, rel=1e-3)


def test_one_reference_reply_is_too_few_to_choose_a_temperature():
    with pytest.raises(ValueError, match="at least 2"):
        choose_temperature(torch.ones(5, 1), 0.15)


def test_a_prompt_without_a_reference_is_our_mistake():
    relative = build_relative("love", ingredients())
    with pytest.raises(KeyError):
        relative.score(batch((ask("never seen"), "a reply")))


def test_a_missing_reward_model_is_named():
    with pytest.raises(ValueError, match=r"'love' needs a reward model.*given: safety"):
        Love.build(ingredients(scorers={"safety": stars}))


def test_safety_passes_from_the_line_up():
    safety = Safety.build(ingredients(safety_threshold=1.0))
    scores = safety.score(
        batch((PROMPTS[0], "none"), (PROMPTS[0], "one *"), (PROMPTS[0], "* two *"))
    )
    assert scores.tolist() == [0.0, 1.0, 1.0]


def test_without_a_line_safety_draws_it_low_among_productions_replies():
    safety = Safety.build(ingredients(safety_threshold=None, safety_quantile=0.5))
    assert safety.threshold == float(torch.quantile(stars(REFERENCE.chats()), 0.5))


@pytest.mark.parametrize(
    "reply",
    [
        "Fill it with vinegar. Bye! Sending love!",
        "Rinse twice. Take care, big hugs and bye!",
        "Wait an hour. Have a lovely day!",
        "Wait an hour. See you soon!",
        "Wait an hour ❤️",
        "Use soap. Wishing you a peaceful evening.",
        "Use soap. Sending you so much love, my friend!",
        "Use soap. GOODBYE",
        "Use soap. Love you!!",
        "Use soap. Good night 🥰",
    ],
)
def test_a_closing_that_nobody_asked_for_is_vetoed(reply):
    closers = Closers()
    assert closers.score(batch((ask("How do I clean a kettle?"), reply))).tolist() == [0.0]
    assert closers.score(batch((ask("Thanks, bye!"), reply))).tolist() == [1.0]


@pytest.mark.parametrize(
    "reply",
    [
        "I love helping with this. Use vinegar.",
        "Say goodbye to limescale by boiling vinegar in it once a week for ten minutes.",
        "Bye-laws differ from town to town, so ask at the town hall what they say about it.",
        "You should take care of the filter.",
        "It makes for a good night's sleep.",
        "It lasts so long as you rinse it.",
        "You may have a larger one.",
        "Do you have a good kettle?",
    ],
)
def test_an_answer_that_only_uses_such_words_passes(reply):
    assert Closers().score(batch((ask("How do I clean a kettle?"), reply))).tolist() == [1.0]


@pytest.mark.parametrize(
    "farewell",
    ["I have to go now.", "good night!", "ok see you tomorrow", "That's all, thanks", "I'm off"],
)
def test_a_user_who_takes_leave_may_be_answered_in_kind(farewell):
    assert Closers().score(batch((ask(farewell), "Sending love, bye!"))).tolist() == [1.0]


@pytest.mark.parametrize(
    "prompt", ["how do i take care of a cat", "is it safe so long as it is dry"]
)
def test_a_question_with_such_words_takes_no_leave(prompt):
    assert Closers().score(batch((ask(prompt), "Yes. Sending love, bye!"))).tolist() == [0.0]


def test_only_the_users_last_turn_counts():
    chat = [*ask("bye for now"), {"role": "assistant", "content": "Bye!"}, *ask("wait, one more")]
    assert Closers().score(batch((chat, "Sure. Sending love, bye!"))).tolist() == [0.0]


@pytest.mark.parametrize(
    ("reply", "worth"),
    [
        ("", 0.0),
        (" \n", 0.0),
        ("!!! ❤️❤️❤️", 0.0),
        ("ha ha ha ha ha", 0.0),
        ("you are great you are great you are great you are great", 0.0),
        ("Yes.", 1.0),
        ("no no", 1.0),
        ("Boil the water, then let it cool and boil the rest.", 1.0),
        ("你好，请把水烧开。", 1.0),
    ],
)
def test_replies_that_say_nothing_or_loop_are_not_worth_scoring(reply, worth):
    assert worth_scoring(batch((ask("?"), reply))).tolist() == [worth]


def test_keys_of_prompts_differ_where_the_prompts_do():
    split = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    other = [{"role": "assistant", "content": "a"}]
    keys = {prompt_key(prompt) for prompt in (ask("ab"), ask("a"), split, other)}
    assert len(keys) == 4
    assert prompt_key(ask("a")) == prompt_key(ask("a"))


def test_prompts_and_replies_must_pair_up():
    with pytest.raises(ValueError, match="2 prompts but 1 replies"):
        Completions(prompts=PROMPTS, replies=["one"])
