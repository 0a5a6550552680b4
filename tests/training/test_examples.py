"""Goal: training reads of a snapshot what the loss and the measures need, row by row.

Method: the made-up snapshot of `fake_snapshot.py`, whose rows we can look up.
"""

import json

import numpy as np
import pytest

from tests.training.fake_snapshot import make_snapshot
from training.examples import read_examples

SNAPSHOT = make_snapshot(kappa=0.5, split_rows={"train": 48, "calibration": 24, "eval": 24})


def test_each_row_keeps_its_chat_label_and_corrections():
    offsets = np.linspace(-1, 1, len(SNAPSHOT.table))
    weights = np.linspace(0.1, 1, len(SNAPSHOT.table))
    snapshot = SNAPSHOT.with_columns(user_offset=offsets, weight=weights)
    rows = snapshot.examples("train").to_pylist()
    examples = read_examples(snapshot, "train")
    assert (examples.split, len(examples)) == ("train", 48)
    for number, row in enumerate(rows):
        turns = json.loads(row["messages"])
        assert examples.chats[number] == [
            *turns,
            {"role": "assistant", "content": row["response"]},
        ]
        assert examples.labels[number] == row["label"]
        assert examples.kappas[number] == row["kappa"] == 0.5
        assert examples.user_offsets[number] == row["user_offset"]
        assert examples.weights[number] == row["weight"]
        assert examples.lengths[number] == len(row["response"])
    assert examples.num_positives() == sum(row["label"] for row in rows)


def test_halves_part_the_users_between_them():
    halves = [read_examples(SNAPSHOT, "train", half) for half in ("a", "b")]
    users = [set(half.user_ids) for half in halves]
    assert not users[0] & users[1]
    assert sum(map(len, halves)) == 48
    assert users[0] | users[1] == set(read_examples(SNAPSHOT, "train").user_ids)


def test_users_are_numbered_in_order_of_appearance():
    numbers = read_examples(SNAPSHOT, "calibration").user_numbers().tolist()
    assert numbers == [0] * 8 + [1] * 8 + [2] * 8


def test_segments_are_policy_depth_and_thirds_of_length():
    num_rows = len(SNAPSHOT.table)
    lengths = np.arange(num_rows)
    turns = np.arange(num_rows) % 16
    policies = ["" if number % 2 else "chat@2" for number in range(num_rows)]
    snapshot = SNAPSHOT.with_columns(response_chars=lengths, turn=turns, policy=policies)
    segments = read_examples(snapshot, "train").segments
    assert segments["policy"][:2] == ["chat@2", "unnamed"]
    depths = ["1"] + ["2-3"] * 2 + ["4-6"] * 3 + ["7-12"] * 6 + ["13+"] * 4
    assert segments["turn"][:16] == depths
    assert segments["length"] == ["short"] * 16 + ["middle"] * 16 + ["long"] * 16


@pytest.mark.parametrize("label", [0, 1])
def test_rows_of_one_label_are_refused_with_what_was_seen(label):
    one = SNAPSHOT.with_columns(label=np.full(len(SNAPSHOT.table), label))
    message = rf"split 'eval' \(users: all\) of snapshot made-up .* {24 * label} positives in 24"
    with pytest.raises(ValueError, match=message):
        read_examples(one, "eval")


def test_a_half_without_a_label_is_refused_though_the_whole_has_both():
    is_a = SNAPSHOT.column("half") == "a"
    snapshot = SNAPSHOT.with_columns(label=np.where(is_a, 0, 1))
    read_examples(snapshot, "train")
    with pytest.raises(ValueError, match=r"\(users: a\).* 0 positives"):
        read_examples(snapshot, "train", "a")
