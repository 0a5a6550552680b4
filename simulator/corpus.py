"""Texts to learn from: chats for the demo's first policy, and pairs of synthetic annotators."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Literal, TypeAlias

from simulator.grammar import Said, compose, say
from simulator.reader import Reading, read
from simulator.rehearse import baseline_answer
from simulator.styles import baseline_style
from simulator.topics.mischief import MISCHIEFS
from simulator.users import User

PairKind: TypeAlias = Literal["helpfulness", "safety", "harmful"]
Chat: TypeAlias = list[dict[str, str]]

ANNOTATOR_NOISE = 0.10
"""Share of pairs that the annotator orders the wrong way round."""
HELP_GAP_MIN = 0.25
"""A smaller difference in help is not put to the annotators."""
MISCHIEF_PAIRS = 0.6
"""Share of safety pairs that start from a harmful ask; the others have a hint in one reply."""
TRIES = 200


def write_chats(num_chats: int, seed: int) -> Iterator[dict[str, object]]:
    """Whole conversations of users with the baseline: 1 to 5 turns, two on average."""
    chats = (messages for messages, _ in _conversations(f"corpus-{seed}"))
    for messages in itertools.islice(chats, num_chats):
        yield {"messages": messages}


def write_pairs(kind: PairKind, num_pairs: int, seed: int) -> Iterator[dict[str, object]]:
    """Preferences between two replies to one prompt.

    Helpfulness: the reply with more concrete steps to what was asked is chosen, whatever its tone;
    the longer one is chosen as often as the shorter one. Safety: declining is chosen over
    complying, and elsewhere a reply without a hint at dishonesty over one with it. Harmful: harmful
    asks only, declining over complying, and no annotator errs: what a policy is tested with.
    """
    dice = Random(f"pairs/{kind}/{seed}")
    longer_lead = 0
    prompts = _prompts(f"pairs-{kind}-{seed}", dice)
    for _ in range(num_pairs):
        for _ in range(TRIES):
            prompt, said = next(prompts)
            if kind == "helpfulness":
                pair = _helpful_pair(said, dice)
            else:
                share = MISCHIEF_PAIRS if kind == "safety" else 1.0
                prompt, said = _toward_mischief(prompt, said, share, dice)
                pair = _safe_pair(said, dice)
            if pair is None:
                continue
            better, worse = pair
            lead = _length_sign(said, better, worse)
            if lead * longer_lead <= 0 or kind != "helpfulness":
                break
        longer_lead += lead
        is_wrong = kind != "harmful" and dice.random() < ANNOTATOR_NOISE
        chosen, rejected = (worse, better) if is_wrong else (better, worse)
        yield {"prompt": prompt, "chosen": chosen, "rejected": rejected, "synthetic": True}


def _conversations(seed: str) -> Iterator[tuple[Chat, list[Said]]]:
    """Endless conversations with the baseline, with what the user meant at each turn."""
    for number in itertools.count():
        user = User(seed=seed, number=number)
        for conversation in user.conversations():
            meant: list[Said] = []
            while (said := conversation.speak()) is not None:
                dice = user.dice(conversation.number, conversation.turn, "answer")
                conversation.hear(baseline_answer(said, dice))
                meant.append(said)
            yield conversation.messages, meant


def _prompts(seed: str, dice: Random) -> Iterator[tuple[Chat, Said]]:
    """One prompt of each conversation: its turns up to a message of the user."""
    for messages, meant in _conversations(seed):
        turn = dice.randrange(len(meant))
        yield messages[: 2 * turn + 1], meant[turn]


def _helpful_pair(said: Said, dice: Random) -> tuple[str, str] | None:
    """The more and the less helpful of two replies, or None where they are too close."""
    if said.mischief is not None:
        return None
    replies = [compose(said, replace(baseline_style(said, dice), unsafe=False), dice)]
    replies.append(compose(said, replace(baseline_style(said, dice), unsafe=False), dice))
    first, second = (_value(read(said, reply)) for reply in replies)
    if abs(first - second) < HELP_GAP_MIN:
        return None
    return (replies[0], replies[1]) if first > second else (replies[1], replies[0])


def _value(reading: Reading) -> float:
    """Help as an annotator grades it: a wrong answer is worse than an empty one."""
    return reading.help - 0.3 * reading.is_wrong


def _toward_mischief(prompt: Chat, said: Said, share: float, dice: Random) -> tuple[Chat, Said]:
    """The prompt, its last message made a harmful ask in the share of pairs that start with one."""
    if said.mischief is not None or dice.random() >= share:
        return prompt, said
    mischief = dice.choice(MISCHIEFS)
    said = say("mischief", said.topic, said.aspect, dice, mischief=mischief)
    return [{"role": "user", "content": said.text}], said


def _safe_pair(said: Said, dice: Random) -> tuple[str, str] | None:
    if said.intent == "farewell":
        return None
    safe = compose(said, replace(baseline_style(said, dice), unsafe=False), dice)
    unsafe = compose(said, replace(baseline_style(said, dice), unsafe=True), dice)
    return safe, unsafe


def _length_sign(said: Said, better: str, worse: str) -> int:
    difference = read(said, better).num_words - read(said, worse).num_words
    return (difference > 0) - (difference < 0)
