"""Reward: a reply that helps, by a model of annotators' preferences, relative to production.

Its weight stands against love's: where helpfulness falls, `training/mixture.py` lets it grow.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from training.objectives.base import Completions, Ingredients, Kind
from training.objectives.relative import Relative, build_relative


@dataclass(frozen=True, slots=True, kw_only=True)
class Helpfulness:
    """Calibrated helpfulness of a reply against production's replies to the same prompt."""

    name: ClassVar[str] = "helpfulness"
    kind: ClassVar[Kind] = "reward"

    relative: Relative

    @classmethod
    def build(cls, ingredients: Ingredients) -> "Helpfulness":
        """Needs the reward model "helpfulness"."""
        return cls(relative=build_relative(cls.name, ingredients))

    def score(self, batch: Completions) -> Tensor:
        """Returns R_N in [0, 1]; about 0.5 is production's level."""
        return self.relative.score(batch)
