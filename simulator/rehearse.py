"""Users against the grammar's own baseline, in one process and without a clock.

This is how the sealed numbers are set and checked: the rates that it gives are those of a policy
that has the baseline's style exactly. A learned policy only comes near to it.

    python -m simulator.rehearse --users 300 --seed 11 --out rows.jsonl

writes what users heard and loved, one reply a line, and for some prompts rivals: other replies,
each with the true chance that an average honest user loves it.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import TypeAlias

from simulator.grammar import Said, compose
from simulator.ledger import Lines
from simulator.reader import read
from simulator.styles import baseline_style
from simulator.tastes import LEANINGS, Taste, World, judge
from simulator.users import Conversation, Heard, User

Answer: TypeAlias = Callable[[Said, Random], str]

NUM_RIVALS = 5


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


def rows_of(num_users: int, seed: int, rivals_every: int) -> Iterator[dict[str, object]]:
    """What the users heard and loved; every `rivals_every`-th reply has rivals."""
    for number, (conversation, heard) in enumerate(rehearse(num_users, seed)):
        rivals = []
        if number % rivals_every == 0:
            for k in range(NUM_RIVALS):
                reply = baseline_answer(heard.said, Random(f"{seed}/{number}/{k}"))
                rivals.append({"response": reply, "p_text": _p_text(heard.said, reply)})
        *before, last = conversation.messages
        yield {
            "group": conversation.user.id,
            "messages": before,
            "response": last["content"],
            "love": heard.is_loved,
            "rivals": rivals,
        }


def _p_text(said: Said, reply: str) -> float:
    """The true chance that an average honest user loves it, heard for the first time."""
    mean = LEANINGS["balanced"]
    taste = Taste(kind="balanced", offset=0.0, warmth=mean.warmth, help=mean.help, exposure=1.0)
    return judge(World(), taste, said, read(said, reply), Random(0)).p_text


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rivals-every", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines")
    options = parser.parse_args()
    with Lines(options.out) as file:
        for row in rows_of(options.users, options.seed, options.rivals_every):
            file.write(row)


if __name__ == "__main__":
    main()
