"""Reward: a reply that users would love, by P[Love], relative to what production says.

Source: RLUF (arXiv 2505.14946) for the signal; form and reasons in `relative.py`.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from training.objectives.base import Completions, Ingredients, Kind
from training.objectives.relative import Relative, build_relative


@dataclass(frozen=True, slots=True, kw_only=True)
class Love:
    """Calibrated P[Love] of a reply against production's replies to the same prompt."""

    name: ClassVar[str] = "love"
    kind: ClassVar[Kind] = "reward"

    relative: Relative

    @classmethod
    def build(cls, ingredients: Ingredients) -> "Love":
        """Needs the reward model "love"."""
        return cls(relative=build_relative(cls.name, ingredients))

    def score(self, batch: Completions) -> Tensor:
        """Returns R_N in [0, 1]; about 0.5 is production's level."""
        return self.relative.score(batch)
