"""Goal: labels are the fold of the reactions, whatever their order, repetition and files.

Method: histories that hypothesis makes up, folded by streams.reactions in Python and by the view
`labels` in SQL; and the corners of the fold one by one.
"""

import random
import tempfile
from datetime import datetime, timedelta
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.views import query
from streams.reactions import NEVER, ReactionState, fold
from streams.signals import SIGNALS
from tests.features.histories import AFTER, at, reaction, shown, store_all
from tests.properties import examples

REACTIONS = st.lists(
    st.builds(
        reaction,
        st.sampled_from(["r0", "r1", "nobody-saw-this"]),
        st.sampled_from(["add", "remove"]),
        st.integers(0, 25),
        user_id=st.sampled_from(["u", "v"]),
        signal=st.sampled_from(["love", "dislike", "continue"]),
    ),
    min_size=1,
    max_size=14,
)


def labels_of(root, as_of=None):
    rows = query(root, "SELECT * FROM labels", as_of).to_pylist()
    return {(r["response_id"], r["user_id"], r["signal"]): r for r in rows}


def fold_in_python(reactions):
    groups = {}
    for event in reactions:
        groups.setdefault((event.response_id, event.user_id, event.signal), []).append(event)
    return {key: reduce(fold, events, ReactionState()) for key, events in groups.items()}


@settings(max_examples=examples(25))
@given(reactions=REACTIONS, seed=st.integers(0, 999), chunk=st.integers(1, 5), merge=st.booleans())
def test_labels_equal_the_fold_in_python_in_any_order_and_files(reactions, seed, chunk, merge):
    again = [*reactions, *reactions[: len(reactions) // 2]]
    random.Random(seed).shuffle(again)
    with tempfile.TemporaryDirectory() as folder:
        store_all(Path(folder), [shown("r0"), *again, shown("r1")], chunk=chunk, compact=merge)
        labels = labels_of(Path(folder))
    expected = fold_in_python(reactions)
    assert labels.keys() == expected.keys()
    for (response_id, user_id, signal), state in expected.items():
        label = labels[response_id, user_id, signal]
        assert label["value"] == state.is_on()
        assert (label["added_at"] or NEVER) == state.added_at
        assert (label["removed_at"] or NEVER) == state.removed_at
        assert label["mistap"] == state.was_mistap(SIGNALS[signal])
        assert label["dangling"] == (response_id == "nobody-saw-this")


def test_on_a_tie_the_removal_wins(tmp_path):
    store_all(tmp_path, [shown("r"), reaction("r", "add", 60), reaction("r", "remove", 60)])
    assert labels_of(tmp_path)["r", "u", "love"]["value"] is False


@pytest.mark.parametrize(("seconds", "is_mistap"), [(9, True), (10, False), (3600, False)])
def test_love_taken_back_within_ten_seconds_is_a_mistap(tmp_path, seconds, is_mistap):
    store_all(tmp_path, [shown("r"), reaction("r", "add", 5), reaction("r", "remove", 5 + seconds)])
    label = labels_of(tmp_path)["r", "u", "love"]
    assert (label["value"], label["mistap"]) == (False, is_mistap)


def test_a_signal_without_mistap_time_has_no_mistaps(tmp_path):
    history = [
        reaction("r", action, 1 + i, signal="continue")
        for i, action in enumerate(["add", "remove"])
    ]
    store_all(tmp_path, history)
    assert labels_of(tmp_path)["r", "u", "continue"]["mistap"] is False


def test_a_removal_alone_is_no_mistap_and_no_praise(tmp_path):
    store_all(tmp_path, [shown("r"), reaction("r", "remove", 5)])
    label = labels_of(tmp_path)["r", "u", "love"]
    assert (label["value"], label["mistap"], label["added_at"]) == (False, False, None)


def test_a_late_removal_rewrites_the_label_from_when_it_is_known(tmp_path):
    heard_at = at(86_400)
    store_all(
        tmp_path,
        [shown("r"), reaction("r", "add", 5), reaction("r", "remove", 900, known_at=heard_at)],
    )
    key = ("r", "u", "love")
    assert labels_of(tmp_path, heard_at - timedelta(microseconds=1))[key]["value"] is True
    assert labels_of(tmp_path, heard_at)[key]["value"] is False
    assert labels_of(tmp_path, heard_at)[key]["known_at"] == heard_at


def test_a_reaction_stops_dangling_when_its_response_becomes_known(tmp_path):
    store_all(tmp_path, [reaction("r", "add", 5), shown("r", known_at=at(50))])
    assert labels_of(tmp_path, at(49))["r", "u", "love"]["dangling"] is True
    assert labels_of(tmp_path, at(50))["r", "u", "love"]["dangling"] is False


def test_columns_are_those_promised_even_when_nothing_is_stored(tmp_path):
    table = query(tmp_path, "SELECT * FROM labels", AFTER)
    assert table.num_rows == 0
    assert table.column_names == [
        *("response_id", "user_id", "signal", "value", "added_at", "removed_at"),
        *("mistap", "quarantined", "dangling", "known_at"),
    ]


def test_as_of_needs_a_timezone(tmp_path):
    with pytest.raises(ValueError, match="timezone"):
        query(tmp_path, "SELECT 1", datetime(2026, 1, 1))
