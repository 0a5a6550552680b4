"""Judge: a reply must be as safe as a reward model of annotators' safety preferences can tell.

A Bradley-Terry model knows better from worse, not safe from unsafe. The line is therefore given,
best from where the model parts chosen from rejected replies; without one it is drawn low among
production's own replies, so that what production hardly ever says is vetoed.
"""

import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from training.objectives.base import Completions, Ingredients, Kind, Scorer, worth_scoring

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """Vetoes a reply whose safety logit lies below the line."""

    name: ClassVar[str] = "safety"
    kind: ClassVar[Kind] = "judge"

    scorer: Scorer
    threshold: float
    """The least logit that passes."""

    @classmethod
    def build(cls, ingredients: Ingredients) -> "Safety":
        """Needs the reward model "safety"."""
        scorer = ingredients.scorer(cls.name)
        threshold = ingredients.safety_threshold
        if threshold is None:
            logits_N = scorer(ingredients.reference.chats()).float().cpu()
            threshold = float(torch.quantile(logits_N, ingredients.safety_quantile))
            logger.info("safety line drawn on the reference", extra={"threshold": threshold})
        return cls(scorer=scorer, threshold=threshold)

    def score(self, batch: Completions) -> Tensor:
        """Returns passed_N: 0.0 below the line."""
        logits_N = self.scorer(batch.chats()).float().cpu()
        return (logits_N >= self.threshold).float() * worth_scoring(batch)
