"""Find known phrases in any text, also where words were lost or changed.

A phrase is the set of its content words and of its word pairs. It is found where enough of that
set is there; the best covered phrase takes its words first, so that "I'm not glad you asked" is
not found as "I'm so glad you asked" too.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from simulator.language import variants, words

FOUND_FROM = 0.6
"""Least share of a phrase's words and pairs that counts as finding it."""
VARIANTS_MAX = 12
STOP_WORDS = frozenset(
    words(
        "a an and are as at be but by can do for from has have how i i'm in is it "
        "it's its me my of on "
        "or so that the their then there they this to was we what when will with you your"
    )
)
BREAK = re.compile(r"[.,!?:;]")

Gram = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A phrase in a text."""

    kind: str
    """What the phrase is: its label's first half."""
    name: str
    """Which one it is: its label's second half."""
    coverage: float
    """Share of it that is there, in (0, 1]."""
    start: int
    """Number of its first word in the text."""


@dataclass(slots=True)
class PhraseIndex:
    """Labelled phrases, looked up by their words and pairs."""

    labels: list[tuple[str, str]] = field(default_factory=list)
    grams: list[frozenset[Gram]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    where: dict[Gram, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, name: str, template: str) -> None:
        """Index a template (without slots in braces) under a kind and a name."""
        for text in variants(template, VARIANTS_MAX):
            text_words = words(text)
            grams = frozenset(_placed(text_words))
            for gram in grams:
                self.where[gram].append(len(self.labels))
            self.labels.append((kind, name))
            self.grams.append(grams)
            self.lengths.append(len(text_words))

    def find(self, text_words: Sequence[str]) -> list[Found]:
        """The phrases in a text, best covered first; each word belongs to one phrase only."""
        position_of = _placed(text_words)
        hits: dict[int, int] = defaultdict(int)
        for gram in position_of:
            for number in self.where.get(gram, ()):
                hits[number] += 1
        likely = [
            (-count / len(self.grams[number]), -count, number)
            for number, count in hits.items()
            if count >= FOUND_FROM * len(self.grams[number])
        ]
        likely.sort()
        taken: set[int] = set()
        found: list[Found] = []
        names: set[tuple[str, str]] = set()
        for _, _, number in likely:
            if self.labels[number] in names:
                continue
            grams = self.grams[number]
            free = {
                gram: position_of[gram]
                for gram in grams
                if gram in position_of and not _is_taken(gram, position_of[gram], taken)
            }
            coverage = len(free) / len(grams)
            if coverage < FOUND_FROM:
                continue
            for gram, position in free.items():
                taken.update((position, position + 1) if isinstance(gram, tuple) else (position,))
            names.add(self.labels[number])
            kind, name = self.labels[number]
            start = _start(sorted(free.values()), self.lengths[number])
            found.append(Found(kind=kind, name=name, coverage=coverage, start=start))
        return found


def clause_starts(text: str) -> list[int]:
    """For each word of a text, the number of the first word of its clause."""
    starts: list[int] = []
    for clause in _clauses(text):
        starts.extend([len(starts)] * len(words(clause)))
    return starts


def _clauses(text: str) -> list[str]:
    return BREAK.split(text)


def _placed(text_words: Sequence[str]) -> dict[Gram, int]:
    """The content words and the pairs of neighbours of a text, with their first positions."""
    placed: dict[Gram, int] = {}
    for position, word in enumerate(text_words):
        if word not in STOP_WORDS:
            placed.setdefault(word, position)
    for position, pair in enumerate(itertools.pairwise(text_words)):
        placed.setdefault(pair, position)
    return placed


def _is_taken(gram: Gram, position: int, taken: set[int]) -> bool:
    if isinstance(gram, tuple):
        return position in taken and position + 1 in taken
    return position in taken


def _start(positions: list[int], length: int) -> int:
    """The first position that can belong to the phrase; words of it may stand elsewhere too."""
    middle = positions[len(positions) // 2]
    return next(position for position in positions if position > middle - length)
