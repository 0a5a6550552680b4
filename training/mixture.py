"""Many objectives to one number: R̃ = gate_KL · Π judges · Σ_r w_r · R_r (science: CGPO eq. 8-12).

Rewards are calibrated, so they add up; judges and the KL gate multiply, so that no amount of love
buys a veto back. The columns of R̃ are kept apart to the end, for they show what drives a policy.
"""

# N replies, R rewards, J judges

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.objectives import OBJECTIVES
from training.objectives.base import Completions, Ingredients, Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What each objective said of each reply, before anything is mixed."""

    rewards_NR: Tensor
    judges_NJ: Tensor

    def feasible(self) -> Tensor:
        """Returns feasible_N, float32: 1.0 where every judge passed (all, not any: CGPO's text
        says so, its Algorithm 1 prints the opposite)."""
        return (self.judges_NJ > 0.5).all(dim=-1).float()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """The objectives of one recipe."""

    rewards: tuple[Objective, ...]
    judges: tuple[Objective, ...]
    weights: tuple[float, ...]
    """One for each of `rewards`."""

    @property
    def reward_names(self) -> tuple[str, ...]:
        return tuple(objective.name for objective in self.rewards)

    @property
    def judge_names(self) -> tuple[str, ...]:
        return tuple(objective.name for objective in self.judges)

    def score(self, batch: Completions) -> Scores:
        """Asks every objective about every reply."""
        none = torch.zeros(len(batch.replies), 0)
        return Scores(
            rewards_NR=torch.stack([r.score(batch) for r in self.rewards], dim=1),
            judges_NJ=torch.stack([j.score(batch) for j in self.judges], dim=1)
            if self.judges
            else none,
        )


def build_mixture(
    weights: Mapping[str, float], judges: Sequence[str], ingredients: Ingredients
) -> Mixture:
    """The mixture that a recipe names. Raises ValueError for an unknown objective, for one of the
    wrong kind, and where no reward has a weight above 0."""
    for name, kind in [*((name, "reward") for name in weights), *((j, "judge") for j in judges)]:
        if name not in OBJECTIVES:
            raise ValueError(f"unknown objective {name!r}; there are {', '.join(OBJECTIVES)}")
        if OBJECTIVES[name].kind != kind:
            raise ValueError(f"{name!r} is a {OBJECTIVES[name].kind}, not a {kind}")
    if any(weight < 0 for weight in weights.values()) or not any(weights.values()):
        raise ValueError(f"weights must not be negative, nor all 0, got {dict(weights)}")
    return Mixture(
        rewards=tuple(OBJECTIVES[name].build(ingredients) for name in weights),
        judges=tuple(OBJECTIVES[name].build(ingredients) for name in judges),
        weights=tuple(weights.values()),
    )


def kl_gate(log_ratio_N: Tensor, kl_max_nats: float) -> Tensor:
    """Returns gate_N = max(1 − log(π/π_ref)/KL_max, 0) (CGPO eq. 11); above 1 where the policy has
    become less likely to say so than production."""
    return (1 - log_ratio_N / kl_max_nats).clamp(min=0)


def mix(scores: Scores, gate_N: Tensor, weights_R: Tensor) -> Tensor:
    """Returns columns_NR whose sum over R is R̃: each reward's part in it."""
    kept_N = gate_N * scores.feasible()
    return scores.rewards_NR.nan_to_num(0.0) * weights_R * kept_N[:, None]


def next_multiplier(multiplier: float, mean_reward: float, *, floor: float, rate: float) -> float:
    """μ ← max(0, μ + rate·(floor − E R)): what is added to a reward's weight while it is too low.

    The primal-dual step of constrained RLHF (arXiv 2310.04373), on calibrated rewards.
    """
    return max(0.0, multiplier + rate * (floor - mean_reward))
