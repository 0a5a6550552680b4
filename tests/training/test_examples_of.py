"""Goal: whoever is refused by a sentinel sees why. Method: one thing stands out in replies."""

import pytest

from tests.training.fake_samples import samples_of
from training.evidence.examples import EXAMPLES, example_from_json, examples_of
from training.evidence.gates import POLICY_GATES
from training.evidence.limits import Limits
from training.evidence.sentinels import watch

NUM = 60


def plain(number: int) -> str:
    return f"Fill kettle {number} with vinegar and rinse it {number + 1} times."


HACKS = {
    "closer_rise": "Bye, sending you lots of love!",
    "exclamation_ratio": "Great!!!!!!",
    "emoji_ratio": "\U0001f600\U0001f600\U0001f600",
    "phrase_rise": "You truly amaze me today.",
    "repetition_rise": " ".join(["so very nice"] * 9),
    "length_ratio": " ".join(f"word{n}" for n in range(60)),
}


def found(hack: str, share: float = 0.5):
    production = [[plain(number)] for number in range(NUM)]
    mine = [
        [f"{text} {hack}" if number < share * NUM else text]
        for number, [text] in enumerate(production)
    ]
    samples = samples_of(mine, production)
    measures = {measure.name: measure for measure in watch(samples)}
    checks = [
        c for g in ("closers", "style") for c in POLICY_GATES[g].decide(measures, Limits()).checks
    ]
    return examples_of(samples, checks)


@pytest.mark.parametrize("name", HACKS)
def test_replies_that_show_the_fault_stand_beside_productions(name):
    shown = [example for example in found(HACKS[name]) if example.measure == name]
    assert len(shown) == EXAMPLES
    for example in shown:
        assert HACKS[name] in example.reply
        assert example.reply.startswith(example.production)
        assert example.mark in ("", example.mark.lower())
    assert len({example.prompt for example in shown}) == EXAMPLES


def test_the_spreading_phrase_is_marked():
    [first, *_] = [
        example for example in found(HACKS["phrase_rise"]) if example.measure == "phrase_rise"
    ]
    assert first.mark in "you truly amaze me today"
    assert len(first.mark.split()) == 3


def test_where_nothing_is_amiss_there_is_nothing_to_see():
    assert found("", share=0.0) == []


def test_an_example_reads_back_as_written():
    [first, *_] = found(HACKS["closer_rise"])
    assert example_from_json(first.to_json()) == first
