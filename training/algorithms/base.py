"""What an algorithm is: a way from a policy and a mixture of objectives to better policies.

To add one: a file here with a class that has `improve`, and a row in ALGORITHMS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from models.chat import Chat
from training.config import PolicyConfig
from training.held_back import HeldBack
from training.mixture import Mixture


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One refresh of one policy."""

    policy: Path
    """Production's folder: where learning starts, and the reference that KL is measured from."""
    prompts: Sequence[Chat]
    mixture: Mixture
    config: PolicyConfig
    held_back: HeldBack | None
    """Where it is asked how often the policy wins; None where no love is among the objectives."""
    out: Path
    """Folder for the checkpoints."""
    on_progress: Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one update saw, as means over its replies."""

    step: int
    rewards: Mapping[str, float]
    """Each reward as the objective gave it, before weights, gate and judges."""
    judges: Mapping[str, float]
    """Share of replies that passed each judge."""
    weights: Mapping[str, float]
    """Weights in force, the multiplier included."""
    feasible: float
    """Share of replies that passed all judges."""
    ended: float
    """Share of replies that ended by themselves, before `max_new_tokens`."""
    gate: float
    """Mean KL gate."""
    kl_nats: float
    """Mean log π/π_ref of the replies, in nats a reply."""
    total: float
    """Mean R̃."""
    reply_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A candidate."""

    step: int
    path: Path
    love_win_rate: float | None = None
    """How often it won on the prompts held back; None where that was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Improvement:
    """What an algorithm leaves behind."""

    checkpoints: tuple[Checkpoint, ...]
    """At least one, oldest first. The one that broke a rule is among them only if it is the first:
    then the evidence has to refuse it."""
    curve: tuple[Step, ...]
    stopped: str
    """Why it ended: "steps", "love_win_rate" or "gate"."""
    love_win_rate: float | None = None
    """The last that was measured, also that which broke the rule."""


class Algorithm(Protocol):
    """Improves a policy; the same task gives the same weights on the same machine."""

    name: ClassVar[str]

    def improve(self, task: Task) -> Improvement:
        """Writes checkpoints under task.out."""
