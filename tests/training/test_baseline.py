"""Goal: the baselines learn from the same rows and are measured on the same rows as what they stand
beside; one reads the prompt alone.

Method: the made-up snapshot of `fake_snapshot.py`, whose prompts say nothing, and with its texts
exchanged.
"""

import numpy as np
import pytest

from tests.training.fake_snapshot import make_snapshot
from training.baseline import measure_baselines
from training.config import RewardConfig
from training.examples import read_examples
from training.reward_metrics import Scored

SNAPSHOT = make_snapshot()
CONFIG = RewardConfig(bootstrap_samples=50)


def measure(snapshot, half="all"):
    held_out = read_examples(snapshot, "eval")
    scored = Scored(
        logits=held_out.labels,  # As if all were known.
        labels=held_out.labels,
        users=held_out.user_numbers(),
        prompts=held_out.prompt_numbers(),
        lengths=held_out.lengths,
    )
    return measure_baselines(read_examples(snapshot, "train", half), held_out, scored, CONFIG)


def test_the_bag_of_words_learns_which_words_are_loved_and_the_prompt_alone_does_not():
    found = measure(SNAPSHOT)
    # A reader who knows the world reaches 0.87; 400 rows have a standard error of 0.02.
    assert found["tfidf"].auroc > 0.8
    assert found["tfidf"].concordance_within_prompt > 0.8
    assert found["prompt_only"].auroc == pytest.approx(0.5, abs=0.08)
    assert found["prompt_only"].concordance_within_prompt == 0.5
    assert found["tfidf"].margin == pytest.approx(1 - found["tfidf"].auroc)


def test_a_word_counts_apart_in_prompt_and_in_reply():
    """ "how" in a reply is loved, in a prompt it is not: one bag of both would see neither."""
    rng = np.random.default_rng(0)
    num = len(SNAPSHOT.table)
    asks, answers = rng.random(num) < 0.5, rng.random(num) < 0.5
    labels = rng.random(num) < np.where(answers & ~asks, 0.8, np.where(answers, 0.4, 0.1))
    snapshot = SNAPSHOT.with_columns(
        messages=[f'[{{"role": "user", "content": "{"how" if ask else "why"}"}}]' for ask in asks],
        response=["how it is" if answer else "so it is" for answer in answers],
        label=labels.astype(int),
    )
    found = measure(snapshot)
    assert found["tfidf"].auroc > 0.75
    assert 0.5 < found["prompt_only"].auroc < found["tfidf"].auroc - 0.05


def test_they_train_on_the_half_that_is_asked_for():
    whole, half = (measure(SNAPSHOT, half=half)["tfidf"].auroc for half in "ab")
    assert whole != half


def test_without_any_word_to_learn_from_they_say_nothing():
    empty = SNAPSHOT.with_columns(
        messages=["[]"] * len(SNAPSHOT.table), response=[""] * len(SNAPSHOT.table)
    )
    found = measure(empty)
    assert found["tfidf"].auroc == found["prompt_only"].auroc == 0.5
