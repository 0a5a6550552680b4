"""Goal: every row of SIGNALS is a signal that all rooms can rely on.

Method: the same demands on each row; a new row needs no new test.
"""

import re
from datetime import timedelta

import msgspec
import pytest

from streams.codec import decode, encode
from streams.signals import DRAWING_ONLY, SIGNALS, Signal, signal_of
from tests.streams.samples import KNOWN_AT, envelope_bytes, reaction

ROWS = pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
TEXTS = [(text, signal.name) for signal in SIGNALS.values() for text in signal.emoji]
SKIN_TONES = ["", *map(chr, range(0x1F3FB, 0x1F400))]


@ROWS
def test_a_name_fits_a_column_a_url_and_a_label(signal: Signal):
    assert re.fullmatch(r"[a-z][a-z_]{1,30}", signal.name)
    assert SIGNALS[signal.name] is signal


@ROWS
def test_it_says_something_and_for_a_while(signal: Signal):
    assert signal.polarity in (-1, +1)
    assert timedelta(0) <= signal.mistap < signal.window <= timedelta(days=30)


@ROWS
def test_it_travels_there_and_back(signal: Signal):
    event = reaction(signal=signal.name)
    assert decode(encode(event), known_at=KNOWN_AT) == event
    assert msgspec.json.decode(encode(event))["data"]["signal"] == signal.name


@ROWS
def test_its_name_is_known_in_any_case(signal: Signal):
    for text in (signal.name, signal.name.upper(), f" {signal.name.title()}\n"):
        assert signal_of(text) == signal.name


@pytest.mark.parametrize(("text", "name"), TEXTS)
def test_each_emoji_means_its_signal_however_it_is_drawn(text: str, name: str):
    assert text.translate(DRAWING_ONLY) == text, "rows hold emoji without drawing hints"
    for drawn in (text, f"{text}\ufe0f", f"{text}\ufe0e", f" {text} "):
        assert signal_of(drawn) == name
        assert decode(envelope_bytes(data__signal=drawn), known_at=KNOWN_AT).signal == name


def test_no_text_means_two_signals():
    texts = [text for text, _ in TEXTS] + list(SIGNALS)
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("tone", SKIN_TONES)
def test_thumbs_count_in_every_skin_tone(tone: str):
    assert signal_of(f"👍{tone}") == "like"
    assert signal_of(f"👎{tone}") == "dislike"


@pytest.mark.parametrize("heart", ["❤️", "❤", "♥️", "♥", "🧡", "🖤", "❤️\u200d🔥", "💞"])
def test_hearts_of_every_kind_are_love(heart: str):
    assert signal_of(heart) == "love"


@pytest.mark.parametrize(
    "text", ["", " ", "💔", "🤷", "lovely", "l ove", "👍👍", "\ufe0f", "0", "add"]
)
def test_what_is_no_signal_is_none(text: str):
    assert signal_of(text) is None
