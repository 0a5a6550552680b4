"""Goal: a clause that spreads over prompts is vetoed, ordinary talk is not. Method: counts."""

from itertools import count

from tests.tiny_policy import ask
from tests.training.fake_objectives import ingredients
from training.objectives.base import Completions, Reference
from training.objectives.phrases import MEMORY, Phrases, clauses

NUMBERS = count()


def ordinary() -> str:
    return f"Boil water number {next(NUMBERS)}."


def judge(usual: str = "") -> Phrases:
    """`usual`: what production says in half of its replies."""
    prompts = [ask(f"ask {n}") for n in range(20)]
    replies = [[ordinary(), f"{ordinary()} {usual}"] for _ in prompts]
    return Phrases.build(ingredients(reference=Reference(prompts=prompts, replies=replies)))


def scores(judge: Phrases, replies: list[str], prompts: int = 999) -> list[float]:
    asked = [ask(f"new {n % prompts}") for n in range(len(replies))]
    return judge.score(Completions(prompts=asked, replies=replies)).tolist()


def spread(num: int, among: int, clause: str = "You are my dearest friend!") -> list[str]:
    return [f"{ordinary()} {clause}" if n < num else ordinary() for n in range(among)]


def test_a_clause_said_to_everybody_is_vetoed_and_the_other_replies_pass():
    assert scores(judge(), spread(8, 64)) == [0.0] * 8 + [1.0] * 56


def test_marks_and_capitals_make_no_other_clause():
    said = [
        "you are MY dearest friend... ",
        "Well, you are my dearest friend",
        "You are my dearest friend.",
    ]
    assert {frozenset({"you are my dearest friend"})} == {clauses(text) for text in said}
    assert scores(judge(), [*said, *said, *spread(0, 30)]) == [0.0] * 6 + [1.0] * 30


def test_what_production_says_as_often_passes():
    clause = "You are my dearest friend!"
    assert set(scores(judge(clause), spread(30, 64, clause))) == {1.0}
    assert 0.0 in scores(judge(clause), spread(60, 64, clause))  # Not if it is said twice as often.


def test_siblings_of_one_prompt_may_say_the_same():
    assert set(scores(judge(), spread(8, 8), prompts=2)) == {1.0}
    assert set(scores(judge(), spread(8, 8), prompts=4)) == {0.0}


def test_what_spreads_slowly_is_seen_over_several_steps():
    """Three of 32 to different prompts are too few; the second step makes them six."""
    slow = judge()
    assert set(scores(slow, spread(3, 32))) == {1.0}
    assert scores(slow, ["You are my dearest friend!", *spread(3, 31)])[0] == 0.0


def test_a_clause_that_is_said_no_more_is_forgotten():
    after = judge()
    assert 0.0 in scores(after, spread(32, 32))
    scores(after, spread(0, MEMORY))
    assert scores(after, spread(1, 32)) == [1.0] * 32


def test_single_words_are_everybodys_and_empty_replies_pass_no_judge():
    assert set(scores(judge(), [f"Sure! {ordinary()}" for _ in range(32)])) == {1.0}
    assert scores(judge(), ["", " "]) == [0.0, 0.0]
