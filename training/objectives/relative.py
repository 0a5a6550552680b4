"""A reward relative to production: how likely the reply is the better one, by a reward model.

R(a) = σ((ℓ(a) − mean_m ℓ(ā_m)) / T) with ℓ a logit and ā_m production's replies to the same prompt
(CGPO, arXiv 2409.20370, eq. 5, with the mean of PAR, arXiv 2502.18770, in the place of one
reference). We divide by a T at which production's own replies spread by a given standard deviation:
else differences between good replies would vanish in σ, or noise would fill it.
"""

# N replies, P prompts, M reference replies of a prompt

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.objectives.base import Completions, Ingredients, Scorer, prompt_key, worth_scoring

TEMPERATURE_MIN = 0.02
"""Least T, in logits: below it the spread of production's replies is noise, not taste."""
TEMPERATURE_MAX = 100.0
BISECTIONS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """Calibrated scores of one reward model. The parts that love and helpfulness share."""

    scorer: Scorer
    baselines: Mapping[str, float]
    """Mean logit of production's replies, by prompt_key."""
    temperature: float

    def score(self, batch: Completions) -> Tensor:
        """Returns R_N, float32 in [0, 1]; raises KeyError for a prompt without a reference."""
        baseline_N = torch.tensor([self.baselines[prompt_key(prompt)] for prompt in batch.prompts])
        logits_N = self.scorer(batch.chats()).float().cpu()
        return calibrated(logits_N, baseline_N, self.temperature) * worth_scoring(batch)


def build_relative(name: str, ingredients: Ingredients) -> Relative:
    """Scores the reference once and chooses T by its spread."""
    scorer, reference = ingredients.scorer(name), ingredients.reference
    logits_PM = scorer(reference.chats()).float().cpu().view(len(reference.prompts), -1)
    return Relative(
        scorer=scorer,
        baselines={
            prompt_key(prompt): baseline
            for prompt, baseline in zip(reference.prompts, logits_PM.mean(-1).tolist(), strict=True)
        },
        temperature=choose_temperature(logits_PM, ingredients.spread),
    )


def calibrated(logits_N: Tensor, baseline_N: Tensor, temperature: float) -> Tensor:
    """Returns R_N = σ((ℓ − ℓ̄)/T)."""
    return torch.sigmoid((logits_N - baseline_N) / temperature)


def choose_temperature(logits_PM: Tensor, spread: float) -> float:
    """The T at which production's replies, each against its siblings, have that std of R.

    Each is left out of its own baseline, for a fresh reply is not in its baseline either. Needs at
    least two replies of a prompt; `spread` in (0, 0.5).
    """
    num_replies = logits_PM.shape[1]
    if num_replies < 2:
        raise ValueError(f"choosing T needs at least 2 reference replies, got {num_replies}")
    if not 0 < spread < 0.5:
        raise ValueError(f"spread must be in (0, 0.5), got {spread}")
    others_PM = (logits_PM.sum(-1, keepdim=True) - logits_PM) / (num_replies - 1)
    distance_PM = logits_PM - others_PM
    low, high = TEMPERATURE_MIN, TEMPERATURE_MAX
    for _ in range(BISECTIONS):  # The std falls as T grows; halve on a logarithmic scale.
        middle = (low * high) ** 0.5
        if torch.sigmoid(distance_PM / middle).std(correction=0) > spread:
            low = middle
        else:
            high = middle
    return high
