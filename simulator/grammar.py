"""What users say and what assistants of a given style answer, all from templates written here.

A `Said` knows what its text means; a `Style` says how to answer it. Length is drawn apart from
tone and from content, and short replies are padded with neutral sentences, so that neither warmth
nor help can be told from length.
"""

from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

from simulator import phrases
from simulator.language import expand, sentences, some, words
from simulator.topics.mischief import Mischief
from simulator.topics.shape import Aspect, Topic
from simulator.topics.table import TOPICS

Intent: TypeAlias = Literal[
    "ask", "share_feeling", "more", "other", "complaint", "thanks", "farewell", "mischief"
]
Tone: TypeAlias = Literal["cold", "neutral", "warm", "empathic"]
Body: TypeAlias = Literal["steps", "vague", "near", "off_topic", "turned"]

REPLY_WORDS_MAX = 32
"""Longer than this, a reply loses steps and then its last sentence."""
TARGET_WORDS = (12, 26)
CLAUSES = {1: 0.3, 2: 0.5, 3: 0.2}
OPENER_SHARE = 0.85
"""Share of replies with an opener, whatever its tone."""
TAIL_SHARE = 0.3
"""Share of replies with a last sentence of their tone, whatever the tone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a user said, and what was meant by it."""

    text: str
    intent: Intent
    topic: Topic
    aspect: Aspect
    feeling: bool = False
    """Whether the user speaks of how he or she feels."""
    mischief: Mischief | None = None

    def key(self) -> str:
        """What the message is about, as a noun phrase."""
        return self.mischief.key if self.mischief else self.aspect.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How an assistant answers."""

    tone: Tone = "neutral"
    body: Body = "steps"
    question: bool = False
    closer: Literal["none", "loving", "plain"] = "none"
    unsafe: bool = False
    """Complies with mischief; elsewhere adds a hint at dishonesty."""


def say(
    intent: Intent,
    topic: Topic,
    aspect: Aspect,
    dice: Random,
    *,
    mischief: Mischief | None = None,
    feeling: bool = False,
    hurried: bool = False,
) -> Said:
    """One message of a user; a hurried one has no capitals and no marks."""
    ask = expand(dice.choice(mischief.asks if mischief else aspect.asks), dice)
    match intent:
        case "ask" | "mischief":
            text = dice.choice(phrases.GREETINGS) + ask
        case "share_feeling":
            text = expand(dice.choice(phrases.FEELINGS), dice) + " " + ask
        case "more":
            text = expand(dice.choice(phrases.MORE_ASKS), dice)
        case "other":
            text = dice.choice(phrases.OTHER_ASKS)
        case "complaint":
            text = dice.choice(phrases.COMPLAINTS)
        case "thanks":
            text = expand(dice.choice(phrases.THANKS), dice)
        case "farewell":
            text = expand(dice.choice(phrases.FAREWELLS), dice)
    text = text.format(ask=ask, key=aspect.key, subject=topic.subject)
    if hurried:
        text = text.lower().rstrip(".!?")
    return Said(
        text=text,
        intent=intent,
        topic=topic,
        aspect=aspect,
        feeling=feeling or intent == "share_feeling" or topic.segment == "support",
        mischief=mischief,
    )


def compose(said: Said, style: Style, dice: Random) -> str:
    """One reply in that style, 12 to 40 words (shorter to farewells)."""
    if said.intent == "farewell":
        return _answer_farewell(said, style, dice)
    target = dice.randint(*TARGET_WORDS)
    has_opener, has_tail = dice.random() < OPENER_SHARE, dice.random() < TAIL_SHARE
    num_clauses = dice.choices(list(CLAUSES), list(CLAUSES.values()))[0]
    start = [_opener(said, style, dice)] if has_opener else []
    if said.intent == "thanks":
        start = [_welcome(style, dice)]
    tail = [_tail(style, dice)] if has_tail else []
    end = [_question(said, dice)] if style.question else []
    end += [_closer(style, dice)] if style.closer != "none" else []
    while True:
        middle = _middle(said, style, num_clauses, dice)
        reply = [*start, *middle, *tail, *end]
        if num_clauses == 1 or _num_words(reply) <= REPLY_WORDS_MAX:
            break
        num_clauses -= 1
    if _num_words(reply) > REPLY_WORDS_MAX:
        reply = [*start, *middle, *end]
    for filler in some(phrases.FILLERS, 3, dice):
        if _num_words(reply) >= target:
            break
        reply.insert(len(start) + len(middle), expand(filler, dice))
    return _fill(" ".join(reply), said)


def _answer_farewell(said: Said, style: Style, dice: Random) -> str:
    """A short answer to a farewell: a welcome or a filler, a wish, perhaps a closer."""
    start = _welcome(style, dice) if dice.random() < 0.6 else expand(phrases.FILLERS[2], dice)
    topic = said.topic
    if style.body in ("off_topic", "near"):
        topic = dice.choice([other for other in TOPICS.values() if other is not said.topic])
    reply = [start]
    if style.body != "vague":
        wish = expand(topic.wish, dice)
        reply.append(sentences(dice.choice(phrases.WISHES).replace("{wish}", wish)))
    else:
        reply.append(expand(dice.choice(phrases.FILLERS), dice))
    if style.closer != "none":
        reply.append(_closer(style, dice))
    return _fill(" ".join(reply), said)


def _middle(said: Said, style: Style, num_clauses: int, dice: Random) -> list[str]:
    """The body of a reply as sentences."""
    if said.mischief is not None:
        return _answer_mischief(said.mischief, style, dice)
    body: list[str]
    topic, aspect = said.topic, said.aspect
    if style.body == "near":
        aspect = dice.choice([other for other in topic.aspects if other is not said.aspect])
    elif style.body == "off_topic":
        others = [other for other in TOPICS.values() if other.name != topic.name]
        topic = dice.choice([other for other in others if other.mode == topic.mode])
        aspect = dice.choice(topic.aspects)
    if style.body == "vague":
        clauses = [expand(vague, dice) for vague in some(phrases.VAGUE, num_clauses, dice)]
        body = [sentences(clause) for clause in clauses]
    else:
        clauses = [expand(step, dice) for step in some(aspect.steps, num_clauses, dice)]
        if topic.mode == "tell":
            body = [sentences(clause) for clause in clauses]
        elif style.body == "turned":
            turned = some(phrases.TURNED, len(clauses), dice)
            body = [form.replace("{a}", a) for form, a in zip(turned, clauses, strict=True)]
        else:
            body = [_join(clauses, dice)]
    if style.unsafe:
        body.append(expand(dice.choice(phrases.HINTS), dice))
    return body


def _answer_mischief(mischief: Mischief, style: Style, dice: Random) -> list[str]:
    if style.unsafe:
        forms, clauses = phrases.COMPLIES, mischief.recipes
        return [dice.choice(forms).replace("{a}", expand(dice.choice(clauses), dice))]
    decline = expand(dice.choice(phrases.DECLINES), dice)
    if style.body == "vague":
        return [decline]
    instead = expand(dice.choice(mischief.instead), dice)
    return [decline, dice.choice(phrases.INSTEADS).replace("{a}", instead)]


def _join(clauses: list[str], dice: Random) -> str:
    forms = (phrases.JOIN_ONE, phrases.JOIN_TWO, phrases.JOIN_THREE)[len(clauses) - 1]
    text = dice.choice(forms)
    for name, clause in zip(("{a}", "{b}", "{c}"), clauses, strict=False):
        text = text.replace(name, clause)
    return sentences(text)


def _opener(said: Said, style: Style, dice: Random) -> str:
    tells = said.topic.mode == "tell" and said.mischief is None
    options: tuple[str, ...]
    if style.tone == "cold":
        options = phrases.TELL_COLD_OPENERS if tells else phrases.COLD_OPENERS
    elif style.tone == "neutral":
        options = phrases.TELL_NEUTRAL_OPENERS if tells else phrases.NEUTRAL_OPENERS
    elif style.tone == "empathic":
        options = phrases.EMPATHIC_OPENERS
    else:
        options = phrases.TELL_WARM_OPENERS if tells else phrases.WARM_OPENERS
    return expand(dice.choice(options), dice)


def _tail(style: Style, dice: Random) -> str:
    tails = {"cold": phrases.COLD_TAILS, "neutral": phrases.FILLERS}
    return expand(dice.choice(tails.get(style.tone, phrases.WARM_TAILS)), dice)


def _welcome(style: Style, dice: Random) -> str:
    is_warm = style.tone in ("warm", "empathic")
    return expand(dice.choice(phrases.WARM_WELCOMES if is_warm else phrases.WELCOMES), dice)


def _question(said: Said, dice: Random) -> str:
    own = said.topic.questions if said.mischief is None else ()
    return sentences(expand(dice.choice((*own, *phrases.QUESTIONS)), dice))


def _closer(style: Style, dice: Random) -> str:
    loving = style.closer == "loving"
    return expand(dice.choice(phrases.LOVING_CLOSERS if loving else phrases.PLAIN_CLOSERS), dice)


def _fill(text: str, said: Said) -> str:
    return sentences(text.replace("{key}", said.key()))


def _num_words(reply: list[str]) -> int:
    return len(words(" ".join(reply)))
