"""Goal: the same reactions give the same state, whatever their order, repetition and grouping.

Method: every order of a short history, doubled; then generated histories, split and merged.
"""

from datetime import timedelta
from functools import reduce
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events import Reaction
from streams.reactions import ReactionState, fold, merge
from streams.signals import SIGNALS
from tests.streams.samples import OCCURRED_AT, reaction

LOVE = SIGNALS["love"]


def love(action: str, at_s: float) -> Reaction:
    return reaction(action=action, occurred_at=OCCURRED_AT + timedelta(seconds=at_s))


def state_of(*events: Reaction) -> ReactionState:
    return reduce(fold, events, ReactionState())


HISTORY = [love("add", 0), love("remove", 4), love("add", 60), love("remove", 60)]


@pytest.mark.parametrize("order", list(permutations(HISTORY)))
def test_any_order_and_any_repetition_give_one_state(order):
    assert state_of(*order, *order) == state_of(*HISTORY)


def test_nothing_that_happened_is_off_and_no_mistap():
    assert not state_of().is_on()
    assert not state_of().was_mistap(LOVE)


def test_a_love_that_was_added_is_on():
    assert state_of(love("add", 0)).is_on()


def test_a_removal_that_came_first_waits_for_no_one():
    assert not state_of(love("remove", 5), love("add", 0)).is_on()
    assert state_of(love("remove", 5), love("add", 6)).is_on()


def test_on_a_tie_the_removal_wins():
    assert not state_of(love("add", 3), love("remove", 3)).is_on()


def test_a_removal_of_what_was_never_added_is_no_mistap():
    assert not state_of(love("remove", 0)).was_mistap(LOVE)


@pytest.mark.parametrize(("after_s", "was_mistap"), [(0, True), (9.999, True), (10, False)])
def test_love_taken_back_within_ten_seconds_is_a_mistap(after_s, was_mistap):
    assert state_of(love("add", 0), love("remove", after_s)).was_mistap(LOVE) is was_mistap


def test_love_given_again_after_a_mistap_is_love():
    state = state_of(love("add", 0), love("remove", 2), love("add", 30))
    assert state.is_on()
    assert not state.was_mistap(LOVE)


HISTORIES = st.lists(
    st.builds(love, st.sampled_from(["add", "remove"]), st.integers(0, 20)), max_size=12
)


@given(HISTORIES, st.randoms(use_true_random=False))
def test_shuffled_and_repeated_histories_give_one_state(history, random):
    shuffled = history * 2
    random.shuffle(shuffled)
    assert state_of(*shuffled) == state_of(*history)


@given(HISTORIES, st.integers(0, 12))
def test_folding_in_parts_and_merging_equals_folding_at_once(history, cut):
    parts = merge(state_of(*history[:cut]), state_of(*history[cut:]))
    assert parts == state_of(*history)
    assert merge(parts, state_of(*history[cut:])) == parts
