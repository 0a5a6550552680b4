"""Goal: a streamed reply ends exactly where the whole one would. Method: every way to split it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.stops import StopCutter


def whole(text: str, stops: list[str]) -> str:
    """The text before the stop sequence that is found first when read from the left."""
    places = [text.find(stop) for stop in stops if stop in text]
    return text[: min(places)] if places else text


@given(
    st.lists(st.text("ab", max_size=4), max_size=8),
    st.lists(st.text("ab", min_size=1, max_size=3), max_size=3),
)
def test_pieces_give_what_the_whole_text_gives(pieces: list[str], stops: list[str]):
    cutter = StopCutter(stops)
    passed = "".join(cutter.feed(piece) for piece in pieces) + cutter.end()
    assert passed == cutter.text
    # A stop that ends earlier can cut before one that begins earlier has ended: both are right.
    text = "".join(pieces)
    if cutter.is_cut:
        assert any(text.startswith(passed + stop) for stop in stops)
    else:
        assert passed == text == whole(text, stops)


@pytest.mark.parametrize("pieces", [["hel", "lo END x"], ["hello E", "ND x"], list("hello END x")])
def test_nothing_of_a_stop_sequence_is_shown(pieces: list[str]):
    cutter = StopCutter(["END"])
    shown = [cutter.feed(piece) for piece in pieces]
    assert "".join(shown) + cutter.end() == "hello "
    assert cutter.is_cut


def test_what_only_looked_like_a_stop_sequence_is_shown_in_the_end():
    cutter = StopCutter(["END"])
    assert cutter.feed("the E") == "the "
    assert cutter.feed("N") == ""
    assert cutter.end() == "EN"
    assert not cutter.is_cut


def test_without_stop_sequences_everything_passes_at_once():
    cutter = StopCutter([])
    assert cutter.feed("all of it") == "all of it"
