"""Users against the grammar's own baseline, in one process and without a clock.

This is how the sealed numbers are set and checked: the rates that it gives are those of a policy
that has the baseline's style exactly. A learned policy only comes near to it.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import TypeAlias

from simulator.grammar import Said, compose
from simulator.styles import baseline_style
from simulator.tastes import World
from simulator.users import Conversation, Heard, User

Answer: TypeAlias = Callable[[Said, Random], str]


def baseline_answer(said: Said, dice: Random) -> str:
    """What the baseline answers."""
    return compose(said, baseline_style(said, dice), dice)


def rehearse(
    num_users: int, seed: int | str, answer: Answer = baseline_answer, world: World | None = None
) -> Iterator[tuple[Conversation, Heard]]:
    """All that the users of a seed hear and do, one reply after the other."""
    for number in range(num_users):
        user = User(seed=seed, number=number, world=world or World())
        for conversation in user.conversations():
            while (said := conversation.speak()) is not None:
                dice = user.dice(conversation.number, conversation.turn, "answer")
                yield conversation, conversation.hear(answer(said, dice))
