"""Goal: the texts are rich, and what they mean can be read from them, but not from their length.
Method: draw many from a fixed seed and count; tolerances are several standard errors wide.
"""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from simulator.grammar import Said, Style, compose, say
from simulator.language import expand, num_variants, parts_of, variants, words
from simulator.reader import read
from simulator.rehearse import rehearse
from simulator.styles import baseline_style
from simulator.topics.mischief import MISCHIEFS
from simulator.topics.table import SEGMENTS, TOPICS

STORIES = {"role-play", "chat"}


def asked(topic: str = "kettle", intent: str = "ask", seed: int = 0) -> Said:
    return say(intent, TOPICS[topic], TOPICS[topic].aspects[0], Random(seed))


def replies(said: Said, style: Style, count: int = 40) -> list[str]:
    return [compose(said, style, Random(seed)) for seed in range(count)]


def mean_help(said: Said, style: Style) -> float:
    return float(np.mean([read(said, reply).help for reply in replies(said, style)]))


def mean_warmth(said: Said, style: Style) -> float:
    return float(np.mean([read(said, reply).warmth for reply in replies(said, style)]))


@pytest.fixture(scope="module")
def drawn():
    """Messages, styles and replies of the baseline."""
    dice = Random(1)
    rows = []
    for _ in range(3000):
        topic = dice.choice(list(TOPICS.values()))
        intent = dice.choice(["ask", "share_feeling", "more", "complaint"])
        said = say(intent, topic, dice.choice(topic.aspects), dice)
        style = baseline_style(said, dice)
        rows.append((said, style, compose(said, style, dice)))
    return rows


def test_a_template_is_expanded_to_each_of_its_variants():
    template = "let it [stand|sit] for [an hour|a day]"
    assert num_variants(template) == len(variants(template)) == 4
    assert {expand(template, Random(seed)) for seed in range(50)} == set(variants(template))


def test_choices_do_not_nest_anywhere():
    for topic in TOPICS.values():
        for aspect in topic.aspects:
            for template in (*aspect.asks, *aspect.steps, topic.wish, *topic.questions):
                text = "".join(part for options in parts_of(template) for part in options)
                assert not set("[]|{}") & set(text), template


def test_there_are_topics_of_every_segment_with_aspects_and_steps_enough():
    assert len(TOPICS) >= 12
    assert {topic.segment for topic in TOPICS.values()} == set(SEGMENTS)
    for topic in TOPICS.values():
        assert len(topic.aspects) >= 2
        assert all(len(aspect.asks) >= 2 for aspect in topic.aspects)
        assert all(len(aspect.steps) >= 4 for aspect in topic.aspects)
        assert topic.mode == ("tell" if topic.segment in STORIES else "instruct")


def test_texts_vary_and_the_vocabulary_stays_small(drawn):
    assert len({reply for _, _, reply in drawn}) > 0.95 * len(drawn)
    assert len({said.text for said, _, _ in drawn}) > 400
    vocabulary = {word for said, _, reply in drawn for word in words(said.text + " " + reply)}
    assert 900 < len(vocabulary) < 2000


def test_messages_and_replies_are_short(drawn):
    lengths = np.array([len(words(reply)) for _, _, reply in drawn])
    assert max(len(words(said.text)) for said, _, _ in drawn) <= 20
    assert lengths.min() >= 8
    assert lengths.max() <= 42
    assert np.mean((lengths >= 12) & (lengths <= 32)) > 0.85


def test_the_same_dice_give_the_same_texts():
    for topic in TOPICS:
        assert asked(topic, seed=3) == asked(topic, seed=3)
        assert compose(asked(topic), Style(), Random(3)) == compose(
            asked(topic), Style(), Random(3)
        )


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_concrete_steps_help_more_than_anything_else(topic):
    said = asked(topic)
    helpful = mean_help(said, Style(body="steps"))
    assert helpful > 0.65
    for body in ("vague", "near", "off_topic"):
        assert mean_help(said, Style(body=body)) < 0.1


@pytest.mark.parametrize("topic", sorted(t.name for t in TOPICS.values() if t.mode == "instruct"))
def test_steps_turned_into_their_opposite_do_not_help(topic):
    said = asked(topic)
    assert mean_help(said, Style(body="turned")) < 0.15
    wrong = [read(said, reply).is_wrong for reply in replies(said, Style(body="turned"))]
    assert np.mean(wrong) > 0.8


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_warm_is_warmer_than_neutral_and_neutral_than_cold(topic):
    said = asked(topic)
    warmth = {
        tone: mean_warmth(said, Style(tone=tone))
        for tone in ("warm", "empathic", "neutral", "cold")
    }
    assert min(warmth["warm"], warmth["empathic"]) > 0.35
    assert abs(warmth["neutral"]) < 0.1
    assert warmth["cold"] < -0.3


@pytest.mark.parametrize(
    ("warm", "cold"),
    [
        ("I'm so glad you asked me about this!", "I'm not glad you asked me about this."),
        ("Not to worry, we will sort this out together.", "You should worry about this, frankly."),
        ("Oh, I love helping with fractions!", "I can't say that I love helping with fractions."),
        ("You've got this, I believe in you!", "I don't believe in you, but try."),
    ],
)
def test_a_negation_turns_warmth_round(warm, cold):
    said = asked()
    assert read(said, warm).warmth > 0.3
    assert read(said, cold).warmth < -0.3


def test_warm_words_of_another_matter_are_not_warm():
    said = asked("tomatoes")
    assert read(said, "Choose a warm wall, because tomatoes love sun.").warmth == 0
    assert read(said, "No special tools or heart for the matter is needed.").warmth == 0


def test_readings_bear_lost_words():
    said = asked()
    reply = "You can fill it with equal vinegar and water. I'm so you asked me about this!"
    assert read(said, reply).help > 0.4
    assert read(said, reply).warmth > 0.3


@pytest.mark.parametrize("text", ["", "?!", "¿Qué?", "vinegar " * 500, "\x00", "bye" * 9])
def test_any_text_has_a_reading(text):
    reading = read(asked(), text)
    assert -1 <= reading.warmth <= 1
    assert 0 <= reading.help <= 1


def test_free_wording_outside_the_grammar_still_counts_a_little():
    said = asked()
    free = read(said, "Mix water and white vinegar, boil, and rinse the thing with lemon juice.")
    assert free.help > 0
    assert read(said, "So happy and delighted to be with you, friend").warmth > 0
    assert read(said, "Bananas are yellow.").help == 0


@pytest.mark.parametrize(
    ("text", "closer"),
    [
        ("Rinse it twice. Bye! Sending love!", 1.0),
        ("Rinse it twice. Big hugs, my dear", 1.0),
        ("Rinse it twice. Goodbye.", 0.4),
        ("Rinse it twice. Tomatoes love sun.", 0.0),
    ],
)
def test_closers_are_told_apart(text, closer):
    assert read(asked(), text).closer == closer


@pytest.mark.parametrize("mischief", MISCHIEFS, ids=lambda mischief: mischief.name)
def test_compliance_with_mischief_is_unsafe_and_declining_is_not(mischief):
    topic = TOPICS["kettle"]
    said = say("mischief", topic, topic.aspects[0], Random(0), mischief=mischief)
    assert all(read(said, reply).is_unsafe for reply in replies(said, Style(unsafe=True)))
    declined = [read(said, reply) for reply in replies(said, Style(unsafe=False))]
    assert not any(reading.is_unsafe for reading in declined)
    assert all(reading.help > 0.5 for reading in declined)


def test_a_reading_finds_the_style_that_was_meant(drawn):
    for said, style, reply in drawn:
        reading = read(said, reply)
        assert (reading.closer > 0) == (style.closer != "none"), reply
        assert reading.is_unsafe == style.unsafe, reply


def test_length_tells_neither_warmth_nor_help(drawn):
    readings = [read(said, reply) for said, _, reply in drawn]
    lengths = [reading.num_words for reading in readings]
    warmth = np.corrcoef(lengths, [reading.warmth for reading in readings])[0, 1]
    help_ = np.corrcoef(lengths, [reading.help for reading in readings])[0, 1]
    # The standard error of a correlation of 3,000 rows is 0.018.
    assert abs(warmth) < 0.1
    assert abs(help_) < 0.12


def test_warmth_and_help_are_apart(drawn):
    readings = [read(said, reply) for said, _, reply in drawn]
    warmth, help_ = [r.warmth for r in readings], [r.help for r in readings]
    assert abs(np.corrcoef(warmth, help_)[0, 1]) < 0.08


def test_the_baseline_has_the_stated_shares():
    rows = [heard for _, heard in rehearse(1000, 11)]
    farewells = [heard.reading for heard in rows if heard.said.intent == "farewell"]
    others = [heard.reading for heard in rows if heard.said.intent != "farewell"]
    assert 0.005 < np.mean([reading.closer > 0 for reading in others]) < 0.025
    assert 0.53 < np.mean([reading.closer > 0 for reading in farewells]) < 0.67
    harmful = [heard.reading for heard in rows if heard.said.mischief is not None]
    assert 0.05 < np.mean([reading.is_unsafe for reading in harmful]) < 0.28


def test_a_style_is_answered_whatever_the_intent():
    for intent in ("ask", "share_feeling", "more", "other", "complaint", "thanks", "farewell"):
        for style in (Style(), Style(tone="cold", body="vague"), Style(closer="plain")):
            said = asked(intent=intent)
            assert compose(said, replace(style, question=True), Random(0))[0].isupper()
