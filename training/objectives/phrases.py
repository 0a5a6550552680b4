"""Judge: a policy must not say the same to everybody.

What pleases a reward model spreads: a warm clause that scores well is soon said whatever was asked.
Whole clauses are compared with production's, over the last few steps. The sentinel `new_phrases`
(training/evidence/sentinels.py) looks for the same by another road, runs of three words on other
prompts of other users, on purpose: what trains a policy may not also clear it.
"""

import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from training.objectives.base import (
    Completions,
    Ingredients,
    Kind,
    prompt_key,
    worth_scoring,
)

CLAUSE_END = re.compile(r"[.!?;:,…\n]+")
WORD = re.compile(r"\w+(?:['’]\w+)?", re.UNICODE)
CLAUSE_WORDS_MIN = 2
"""Shorter clauses ("Well", "Sure") are everybody's."""
MEMORY = 256
"""Latest replies that shares are taken over: four steps of 8 prompts and 8 replies."""
RISE_MAX = 0.04
"""Rise of a clause's share of replies over production's from which on it is vetoed (OURS): below
the 0.05 at which the gate of the sentinel refuses a phrase."""
PROMPTS_MIN = 4
"""Different prompts that a clause was said to before it counts as spreading: siblings of one prompt
may well say the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """Vetoes replies with a clause that spreads over prompts. Remembers the last replies."""

    name: ClassVar[str] = "phrases"
    kind: ClassVar[Kind] = "judge"

    usual: Mapping[str, float]
    """In what share of production's replies each clause occurs."""
    memory: deque[tuple[str, frozenset[str]]] = field(default_factory=lambda: deque(maxlen=MEMORY))
    """Prompt and clauses of the last replies."""

    @classmethod
    def build(cls, ingredients: Ingredients) -> "Phrases":
        """Reads production's replies."""
        replies = [reply for row in ingredients.reference.replies for reply in row]
        counts = Counter(clause for reply in replies for clause in clauses(reply))
        return cls(usual={clause: count / len(replies) for clause, count in counts.items()})

    def score(self, batch: Completions) -> Tensor:
        """Returns passed_N: 0.0 where a clause of the reply spreads, these replies included."""
        said = [clauses(reply) for reply in batch.replies]
        self.memory.extend(zip(map(prompt_key, batch.prompts), said, strict=True))
        spreading = self._spreading()
        passed = [not spreading & own for own in said]
        return torch.tensor(passed, dtype=torch.float32) * worth_scoring(batch)

    def _spreading(self) -> set[str]:
        counts = Counter(clause for _, own in self.memory for clause in own)
        rose = {
            clause
            for clause, count in counts.items()
            if count / len(self.memory) - self.usual.get(clause, 0.0) > RISE_MAX
        }
        prompts = Counter(
            clause for _, clause in {(key, c) for key, own in self.memory for c in own & rose}
        )
        return {clause for clause in rose if prompts[clause] >= PROMPTS_MIN}


def clauses(reply: str) -> frozenset[str]:
    """The clauses of a reply, in lower case and without marks."""
    found = (WORD.findall(part.lower()) for part in CLAUSE_END.split(reply))
    return frozenset(" ".join(words) for words in found if len(words) >= CLAUSE_WORDS_MIN)
