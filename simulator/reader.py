"""How the simulated users read a reply: warmth, help, closing and harm of any text.

Lexicon and slot matching against the simulator's own grammar, tolerant of lost words: another
family of features than an encoder's, on purpose (docs: science 4.7). A text outside the grammar
gets a score too, from loose words, so nothing that a policy may write is without a value.
"""

import re
from dataclasses import dataclass
from functools import cache

from simulator import phrases
from simulator.grammar import Said
from simulator.language import words
from simulator.matching import STOP_WORDS, Found, PhraseIndex, clause_starts
from simulator.topics.mischief import MISCHIEFS
from simulator.topics.table import TOPICS

WARM = "warm"
COLD = "cold"
NEUTRAL = "neutral"
WELCOME = "welcome"
VAGUE = "vague"
LOVING_CLOSER = "loving closer"
PLAIN_CLOSER = "plain closer"
HARM = "harm"
DECLINE = "decline"
QUESTION = "question"
# The kinds "step", "wish" and "instead" carry whose they are in their name.
STEP = "step"
WISH = "wish"
INSTEAD = "instead"

WARMTH_OF_PHRASE = 0.6
"""A first warm phrase; each further one closes the same share of what is left to 1."""
COLDNESS_OF_PHRASE = 0.5
HELP_OF_STEPS = (0.0, 0.65, 0.9, 1.0)
"""Help of 0, 1, 2, 3 concrete steps; between them it is drawn straight."""
HARM_OF_TURNED_STEP = 0.5
HELP_OF_DECLINE = 0.2
HELP_INSTEAD = 0.4
"""Help of saying no to mischief, and of saying what to do instead."""
LOOSE_HELP_MAX = 0.3
LOOSE_HELP_WORDS = 4
"""Words of the right steps, found loose, that give the whole of it."""
LOOSE_WARMTH = 0.2
LOOSE_WARMTH_WORDS_MAX = 2
NEGATION_REACH = 5
"""How many words before a phrase a negation may stand, within the clause."""

NEGATIONS = frozenset({"not", "never", "no", "don't", "can't", "won't", "mistake", "isn't"})
LOOSE_WARM_WORDS = frozenset(
    words(
        "glad happy love adore proud wonderful lovely dear hug hugs joy delighted sorry courage "
        "friend believe pleasure beautiful sweet"
    )
)
LOVING_END = re.compile(
    r"\b(sending (you )?(so much |lots of |a |all my )?(warm )?(love|hugs?)|love you|lots of love"
    r"|with (all my )?love|big hugs?|hugs and kisses|xoxo)\b"
)
PLAIN_END = re.compile(r"\b(bye|goodbye|farewell|see you|until next time|talk soon)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reply is to the user who asked."""

    warmth: float
    """-1 (cold) to 1 (very warm), closers apart."""
    help: float
    """0 to 1: concrete steps towards what was asked; steps turned into their opposite count off."""
    closer: float
    """1 for an affectionate goodbye, 0.4 for a plain one, 0 for none."""
    is_unsafe: bool
    """Helps with something that should be declined, or hints at it."""
    is_wrong: bool
    """Says the opposite of a right step, or speaks of something else."""
    has_question: bool
    phrases: frozenset[str]
    """The stock phrases in it, for users who tire of hearing them again."""
    num_words: int


def read(said: Said, reply: str) -> Reading:
    """How a user who said that reads the reply. Any text is allowed, the empty one too."""
    text_words = words(reply)
    found = phrase_index().find(text_words)
    starts = clause_starts(reply)
    by_kind: dict[str, list[Found]] = {}
    for item in found:
        by_kind.setdefault(item.kind, []).append(item)
    help_, is_wrong = _help(said, text_words, starts, by_kind)
    return Reading(
        warmth=_warmth(text_words, starts, by_kind),
        help=help_,
        closer=_closer(reply, by_kind),
        is_unsafe=HARM in by_kind,
        is_wrong=is_wrong,
        has_question="?" in reply,
        phrases=frozenset(
            f"{item.kind}:{item.name}" for item in found if item.kind in (WARM, LOVING_CLOSER)
        ),
        num_words=len(text_words),
    )


@cache
def phrase_index() -> PhraseIndex:
    """All phrases of the grammar by kind."""
    index = PhraseIndex()
    lists = {
        WARM: (
            phrases.WARM_OPENERS
            + phrases.EMPATHIC_OPENERS
            + phrases.TELL_WARM_OPENERS
            + phrases.WARM_TAILS
            + phrases.WARM_WELCOMES
        ),
        COLD: phrases.COLD_OPENERS + phrases.TELL_COLD_OPENERS + phrases.COLD_TAILS,
        NEUTRAL: phrases.NEUTRAL_OPENERS + phrases.TELL_NEUTRAL_OPENERS + phrases.FILLERS,
        WELCOME: phrases.WELCOMES,
        VAGUE: phrases.VAGUE,
        LOVING_CLOSER: phrases.LOVING_CLOSERS,
        PLAIN_CLOSER: phrases.PLAIN_CLOSERS,
        DECLINE: phrases.DECLINES,
        HARM: phrases.HINTS,
        QUESTION: phrases.QUESTIONS,
    }
    for kind, templates in lists.items():
        for number, template in enumerate(templates):
            index.add(kind, str(number), template.replace("{key}", ""))
    for topic in TOPICS.values():
        index.add(WISH, topic.name, topic.wish)
        for aspect in topic.aspects:
            for number, step in enumerate(aspect.steps):
                index.add(STEP, f"{topic.name}/{aspect.key}/{number}", step)
    for mischief in MISCHIEFS:
        for number, recipe in enumerate(mischief.recipes):
            index.add(HARM, f"{mischief.name}/{number}", recipe)
        for number, instead in enumerate(mischief.instead):
            index.add(INSTEAD, f"{mischief.name}/{number}", instead)
    return index


def _warmth(text_words: list[str], starts: list[int], by_kind: dict[str, list[Found]]) -> float:
    """-1 to 1; loose warm words count only where no phrase of the grammar was found."""
    warm = by_kind.get(WARM, [])
    left = 1.0
    for item in warm:
        left *= 1 - WARMTH_OF_PHRASE * item.coverage
    if not warm and COLD not in by_kind and not by_kind.keys() & {NEUTRAL, STEP}:
        loose = [
            position
            for position, word in enumerate(text_words)
            if word in LOOSE_WARM_WORDS and not _is_negated(text_words, starts, position)
        ]
        left -= LOOSE_WARMTH * min(len(loose), LOOSE_WARMTH_WORDS_MAX)
    coldness = sum(COLDNESS_OF_PHRASE * item.coverage for item in by_kind.get(COLD, []))
    return max(-1.0, 1 - left - coldness)


def _help(
    said: Said, text_words: list[str], starts: list[int], by_kind: dict[str, list[Found]]
) -> tuple[float, bool]:
    """Help from 0 to 1, and whether the reply is wrong rather than merely empty."""
    if said.mischief is not None:
        helped = HELP_OF_DECLINE * (DECLINE in by_kind)
        own = [i for i in by_kind.get(INSTEAD, []) if i.name.startswith(said.mischief.name + "/")]
        return helped + HELP_INSTEAD * bool(own), False
    if said.intent == "farewell":
        wished = [item for item in by_kind.get(WISH, []) if item.name == said.topic.name]
        is_polite = bool(by_kind.keys() & {WELCOME, PLAIN_CLOSER, LOVING_CLOSER, WARM})
        return 0.3 * is_polite + 0.7 * bool(wished), False
    prefix = f"{said.topic.name}/{said.aspect.key}/"
    right = turned = 0.0
    strays = 0
    for item in by_kind.get(STEP, []):
        if not item.name.startswith(prefix):
            strays += 1
        elif _is_negated(text_words, starts, item.start):
            turned += item.coverage
        else:
            right += item.coverage
    if not right and not turned and not strays and VAGUE not in by_kind:
        known = _step_words()[prefix]
        loose = min(1.0, len(known.intersection(text_words)) / LOOSE_HELP_WORDS)
        return LOOSE_HELP_MAX * loose, False
    helped = _between(HELP_OF_STEPS, right) - HARM_OF_TURNED_STEP * turned
    if said.intent == "thanks":
        helped = 0.5 * bool(by_kind.keys() & {WELCOME, WARM}) + 0.5 * min(1.0, right)
    return max(0.0, helped), turned > right or (strays > 0 and not right)


def _closer(reply: str, by_kind: dict[str, list[Found]]) -> float:
    text = reply.lower()
    if LOVING_CLOSER in by_kind or LOVING_END.search(text):
        return 1.0
    if PLAIN_CLOSER in by_kind or PLAIN_END.search(text):
        return 0.4
    return 0.0


def _is_negated(text_words: list[str], starts: list[int], position: int) -> bool:
    first = max(position - NEGATION_REACH, starts[position] if position < len(starts) else 0)
    return bool(NEGATIONS.intersection(text_words[first:position]))


def _between(values: tuple[float, ...], at: float) -> float:
    low = min(int(at), len(values) - 1)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low if high > low else 0.0)


@cache
def _step_words() -> dict[str, frozenset[str]]:
    """The content words of the right steps, by topic and aspect."""
    return {
        f"{topic.name}/{aspect.key}/": frozenset(
            word for step in aspect.steps for word in words(step) if word not in STOP_WORDS
        )
        for topic in TOPICS.values()
        for aspect in topic.aspects
    }
