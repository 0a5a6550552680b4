"""The small template language of the grammar, and how a text is cut into words.

A template is plain text with choices in square brackets: "let it [stand|sit] for an hour". Choices
do not nest. Every text of the simulator is made of such templates, written here.
"""

import itertools
import re
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import TypeVar

CHOICE = re.compile(r"\[([^\[\]]*)\]")
WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
SENTENCE_START = re.compile(r"(^|[.!?] )([a-z])")

Item = TypeVar("Item")


@cache
def parts_of(template: str) -> tuple[tuple[str, ...], ...]:
    """The template as a sequence of choices; fixed text is a choice of one."""
    pieces = CHOICE.split(template)
    return tuple(
        tuple(piece.split("|")) if index % 2 else (piece,)
        for index, piece in enumerate(pieces)
        if piece or index % 2
    )


def expand(template: str, dice: Random) -> str:
    """One text of the template, each choice drawn evenly."""
    return "".join(
        options[0] if len(options) == 1 else dice.choice(options) for options in parts_of(template)
    )


def variants(template: str, limit: int = 64) -> list[str]:
    """The texts of the template, at most `limit` of them."""
    texts = itertools.product(*parts_of(template))
    return ["".join(text) for text in itertools.islice(texts, limit)]


def num_variants(template: str) -> int:
    """How many texts the template has."""
    count = 1
    for options in parts_of(template):
        count *= len(options)
    return count


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; typographic quotes are plain."""
    return WORD.findall(text.lower().replace("’", "'"))


def sentences(text: str) -> str:
    """The text with a capital at the start of each sentence and a mark at the end."""
    text = SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text.strip())
    return text if text.endswith((".", "!", "?")) else text + "."


def draw(weights: dict[Item, float], dice: Random) -> Item:
    """One key, drawn by its weight."""
    return dice.choices(list(weights), list(weights.values()))[0]


def some(items: Sequence[Item], count: int, dice: Random) -> list[Item]:
    """`count` different items in random order, or all of them where there are fewer."""
    return dice.sample(list(items), min(count, len(items)))
