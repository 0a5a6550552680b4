"""Goal: what clients send for a reaction is taken for the signal that it plainly means, and nothing
else is.

Method: spellings of Slack, GitHub, Discord and of people, then every spelling that the table knows,
dressed up in each way that must not matter.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.codec import decode
from streams.config import StreamsConfig
from streams.errors import BadEvent
from streams.signals import KNOWN, SIGNALS, signal_of
from tests.streams.samples import KNOWN_AT, envelope_bytes

SPELLINGS = [(text, s.name) for s in SIGNALS.values() for text in (s.name, *s.words)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (":heart:", "love"),
        ("+1::skin-tone-3", "like"),
        (":+1::skin-tone-6:", "like"),
        (":thumbsup_tone3:", "like"),
        ("thumbs_up_medium-dark_skin_tone", "like"),
        ("thumbsup", "like"),
        ("THUMBS_UP", "like"),
        ("thumb-up", "like"),
        ("thumb_down", "dislike"),
        ("Thumbs up", "like"),
        ("thumbs-up", "like"),
        ("-1", "dislike"),
        (":thumbsdown:", "dislike"),
        (":heart_eyes:", "love"),
        ("smiling face with heart-eyes", "love"),
        ("white heart", "love"),
        ("🤍", "love"),
        ("🫶🏿", "love"),
        ("👍🏽", "like"),
        ("liked", "like"),
        ("upvote", "like"),
        ("downvoted", "dislike"),
    ],
)
def test_a_spelling_of_chats_stands_for_its_signal(text, name):
    assert signal_of(text) == name


@given(
    spelling=st.sampled_from(SPELLINGS),
    tone=st.sampled_from(["", "::skin-tone-2", "_tone5", "_light_skin_tone"]),
    colons=st.booleans(),
    join=st.sampled_from("_- "),
    is_loud=st.booleans(),
    around=st.sampled_from(["", " ", "\n\u3000"]),
)
def test_colons_tones_case_and_space_do_not_matter(spelling, tone, colons, join, is_loud, around):
    text, name = spelling
    text = text.replace("_", join) + tone
    text = f":{text}:" if colons else text
    assert signal_of(around + (text.upper() if is_loud else text) + around) == name


@pytest.mark.parametrize(
    "text", ["", " ", ":", "::", "💔", ":broken_heart:", "🫀", "😀", "rocket", "1", "+", "+1 ok"]
)
def test_what_does_not_plainly_mean_a_signal_is_none(text):
    assert signal_of(text) is None


def test_a_text_of_any_length_is_read_at_once():
    assert signal_of("x" + ":" * 1_000_000 + "x") is None


def test_settings_add_spellings_in_every_dress_and_a_refusal_lists_what_is_known():
    config = StreamsConfig(signal_aliases={":party_parrot:": "love", "🫀": "love"})
    for text in ("party parrot", ":Party-Parrot:", "🫀"):
        event = decode(envelope_bytes(data__signal=text), known_at=KNOWN_AT, config=config)
        assert event.signal == "love"
        with pytest.raises(BadEvent, match="unknown_signal") as caught:
            decode(envelope_bytes(data__signal=text), known_at=KNOWN_AT)
        assert KNOWN in caught.value.detail


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        ({"x": "adore"}, "love, like"),
        ({" ": "love"}, "blank"),
        ({":+1:": "love"}, "it is like"),
    ],
)
def test_a_spelling_that_says_something_else_already_is_refused_as_a_setting(aliases, words):
    with pytest.raises(ValueError, match=words):
        StreamsConfig(signal_aliases=aliases)
