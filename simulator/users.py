"""A simulated user: what he or she says, how long, and which buttons are tapped when.

No clock and no network here: a `Conversation` is asked for the next message and told the reply.
Everything random is drawn from a seed of (seed, user, conversation, turn), so a user decides the
same whatever the order in which users are served. What a user does depends on the replies alone.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from simulator.grammar import Intent, Said, say
from simulator.language import draw
from simulator.reader import Reading, read
from simulator.tastes import Judgement, Taste, World, draw_taste, judge
from simulator.topics.mischief import MISCHIEFS, Mischief
from simulator.topics.shape import Aspect, Segment, Topic
from simulator.topics.table import TOPICS

SEGMENT_SHARES: dict[Segment, float] = {
    "advice": 0.28,
    "support": 0.24,
    "role-play": 0.12,
    "chat": 0.16,
    "homework": 0.20,
}
MISCHIEF_SHARE = 0.06
"""Share of conversations that start with a harmful ask."""
FEELING_SHARE = 0.2
"""Share of first messages that speak of feelings."""
HURRIED_SHARE = 0.12
"""Share of users who type without capitals."""
CONVERSATIONS = {1: 0.5, 2: 0.32, 3: 0.18}
TURNS = {1: 0.34, 2: 0.34, 3: 0.20, 4: 0.12}
"""Turns that a user wants, the farewell apart."""
NEXT: dict[Intent, float] = {"more": 0.5, "other": 0.25, "thanks": 0.25}
POLITE_SHARE = 0.35
"""Share of users who mostly say goodbye at the end; the others seldom do."""
FAREWELL_CHANCE = {True: 0.8, False: 0.12}
LEAVES_AFTER_CLOSER = 0.6
"""Chance that an affectionate goodbye that nobody asked for ends the conversation."""
LEAVES_DISAPPOINTED = 0.2
COMPLAINS_WHEN_WRONG = 0.5

REACTION_DELAY_MEDIAN_S = 0.4
REACTION_DELAY_SIGMA = 0.9
REACTION_DELAY_MAX_S = 8.0
THINKING_MEDIAN_S = 0.3
LIKE_CHANCE = (0.03, 0.12)
"""Chance of a like of a useless and of a perfectly helpful reply that was not loved."""
DISLIKE_CHANCE = 0.015
DISLIKE_CHANCE_WRONG = 0.22
DISLIKE_CHANCE_COLD = 0.12
MISTAP_CHANCE = 0.012
"""Share of the replies without a reaction on which a button is hit by mistake."""
MISTAP_S = (0.3, 1.0)
RETRACTION_CHANCE = 0.01
"""Share of loves that are taken back in earnest."""
RETRACTION_S = (10.5, 13.5)
"""Beyond the 10 s within which taking back means that it never happened; not scaled."""
RESEND_CHANCE = 0.03
"""Share of taps that reach the API twice with the same key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """One touch of a reaction button."""

    signal: Literal["love", "like", "dislike"]
    action: Literal["add", "remove"]
    delay_s: float
    """Seconds after the reply was shown."""
    reason: Literal["meant", "mistap", "retraction"]
    is_resent: bool = False
    """Whether the same call is made twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What happened when a user got a reply."""

    said: Said
    reading: Reading
    judgement: Judgement
    taps: tuple[Tap, ...]
    was_seen: bool
    is_loved: bool
    """Loved in the end: mis-taps and retractions do not count."""


@dataclass(slots=True)
class User:
    """One simulated user of a seed."""

    seed: int | str
    number: int
    world: World = field(default_factory=World)
    time_scale: float = 1.0
    """Factor on all delays but retractions."""
    id: str = field(init=False)
    taste: Taste = field(init=False)
    is_polite: bool = field(init=False)
    is_hurried: bool = field(init=False)
    num_conversations: int = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(f"{self.seed}/{self.number}".encode(), digest_size=6)
        self.id = f"u-{digest.hexdigest()}"
        dice = self.dice("taste")
        self.taste = draw_taste(self.world, dice)
        self.is_polite = dice.random() < POLITE_SHARE
        self.is_hurried = dice.random() < HURRIED_SHARE
        self.num_conversations = draw(CONVERSATIONS, dice)

    def dice(self, *purpose: object) -> Random:
        """The dice of this user for one purpose."""
        return Random("/".join(map(str, (self.seed, self.number, *purpose))))

    def conversations(self) -> Iterator["Conversation"]:
        """The user's conversations, one after the other."""
        for number in range(self.num_conversations):
            yield Conversation(user=self, number=number)


@dataclass(slots=True)
class Conversation:
    """A conversation under way. Call `speak` and `hear` in turns until `speak` gives None."""

    user: User
    number: int
    id: str = field(init=False)
    messages: list[dict[str, str]] = field(default_factory=list)
    """All turns so far, oldest first."""
    turn: int = 0
    """Number of the user's present turn, from 0."""
    topic: Topic = field(init=False)
    aspect: Aspect = field(init=False)
    mischief: Mischief | None = field(init=False)
    turns_wanted: int = field(init=False)
    said: Said | None = None
    is_over: bool = False
    next_intent: Intent = "ask"

    def __post_init__(self) -> None:
        self.id = f"c-{self.user.id[2:]}-{self.number}"
        dice = self.user.dice(self.number, "start")
        segment = draw(SEGMENT_SHARES, dice)
        self.topic = dice.choice([t for t in TOPICS.values() if t.segment == segment])
        self.aspect = dice.choice(self.topic.aspects)
        is_mischief = dice.random() < MISCHIEF_SHARE
        self.mischief = dice.choice(MISCHIEFS) if is_mischief else None
        self.turns_wanted = 1 if is_mischief else draw(TURNS, dice)
        if is_mischief:
            self.next_intent = "mischief"
        elif dice.random() < FEELING_SHARE:
            self.next_intent = "share_feeling"

    def speak(self) -> Said | None:
        """The user's next message, added to `messages`; None where the conversation is over."""
        if self.is_over:
            return None
        dice = self.user.dice(self.number, self.turn, "say")
        if self.next_intent == "other":
            self.aspect = dice.choice([a for a in self.topic.aspects if a is not self.aspect])
        self.said = say(
            self.next_intent,
            self.topic,
            self.aspect,
            dice,
            mischief=self.mischief if self.next_intent == "mischief" else None,
            hurried=self.user.is_hurried,
        )
        self.messages.append({"role": "user", "content": self.said.text})
        return self.said

    def hear(self, reply: str) -> Heard:
        """Take in the reply to the last message: react to it and decide how to go on."""
        assert self.said is not None, "nobody spoke yet"
        self.messages.append({"role": "assistant", "content": reply})
        reading = read(self.said, reply)
        dice = self.user.dice(self.number, self.turn, "hear")
        taste = self.user.taste
        judgement = judge(self.user.world, taste, self.said, reading, dice)
        heard = _react(self.said, reading, judgement, taste, self.user.time_scale, dice)
        self._go_on(self.said, reading, self.user.dice(self.number, self.turn, "go on"))
        self.turn += 1
        return heard

    def thinking_s(self) -> float:
        """Seconds that the user takes before the next message."""
        dice = self.user.dice(self.number, self.turn, "think")
        return self.user.time_scale * THINKING_MEDIAN_S * dice.lognormvariate(0, 0.5)

    def _go_on(self, said: Said, reading: Reading, dice: Random) -> None:
        leaves, complains, says_goodbye = dice.random(), dice.random(), dice.random()
        follow_up = draw(NEXT, dice)
        is_disappointed = reading.help < 0.2 or reading.warmth < -0.3
        if said.intent in ("farewell", "mischief") or leaves < LEAVES_AFTER_CLOSER * reading.closer:
            self.is_over = True
        elif self.turn + 1 >= self.turns_wanted or (
            is_disappointed and leaves < LEAVES_DISAPPOINTED
        ):
            self.is_over = says_goodbye >= FAREWELL_CHANCE[self.user.is_polite]
            self.next_intent = "farewell"
        elif reading.is_wrong and complains < COMPLAINS_WHEN_WRONG:
            self.next_intent = "complaint"
        else:
            self.next_intent = follow_up


def _react(
    said: Said,
    reading: Reading,
    judgement: Judgement,
    taste: Taste,
    time_scale: float,
    dice: Random,
) -> Heard:
    """Draw what the user taps, and when. Every draw is made, so that later ones stay the same."""
    love, other, tapped_wrong, taken_back = (dice.random() for _ in range(4))
    delay_s = REACTION_DELAY_MEDIAN_S * dice.lognormvariate(0, REACTION_DELAY_SIGMA)
    delay_s = time_scale * min(delay_s, REACTION_DELAY_MAX_S)
    resends = [dice.random() < RESEND_CHANCE for _ in range(2)]
    mistap_s, retraction_s = time_scale * dice.uniform(*MISTAP_S), dice.uniform(*RETRACTION_S)
    # One draw says both whether the reply was seen and whether it was loved: seen is love's bound.
    was_seen, is_loved = love < taste.exposure, love < judgement.p_love
    signal: Literal["love", "like", "dislike"] | None = "love" if is_loved else None
    taken_s: float | None = None
    reason: Literal["meant", "mistap", "retraction"] = "meant"
    if is_loved and taken_back < RETRACTION_CHANCE and not taste.is_hostile():
        taken_s, reason = retraction_s, "retraction"
    elif not is_loved and was_seen:
        signal = _other_signal(reading, taste, other)
        if signal is None and tapped_wrong < MISTAP_CHANCE:
            signal = "love" if other < 0.5 else "dislike"
            taken_s, reason = mistap_s, "mistap"
    taps = []
    if signal is not None:
        first = "meant" if reason == "retraction" else reason
        taps.append(
            Tap(signal=signal, action="add", delay_s=delay_s, reason=first, is_resent=resends[0])
        )
        if taken_s is not None:
            taps.append(
                Tap(
                    signal=signal,
                    action="remove",
                    delay_s=delay_s + taken_s,
                    reason=reason,
                    is_resent=resends[1],
                )
            )
    return Heard(
        said=said,
        reading=reading,
        judgement=judgement,
        taps=tuple(taps),
        was_seen=was_seen,
        is_loved=is_loved and taken_s is None,
    )


def _other_signal(reading: Reading, taste: Taste, at: float) -> Literal["like", "dislike"] | None:
    """A like or a dislike of a reply that was seen and not loved, by a draw in [0, 1)."""
    if taste.kind == "brigade":
        return "dislike" if reading.help >= 0.2 else None
    low, high = LIKE_CHANCE
    like = low + (high - low) * reading.help
    dislike = DISLIKE_CHANCE + DISLIKE_CHANCE_WRONG * reading.is_wrong
    dislike += DISLIKE_CHANCE_COLD * max(0.0, -reading.warmth)
    if at < like:
        return "like"
    return "dislike" if at < like + dislike else None
