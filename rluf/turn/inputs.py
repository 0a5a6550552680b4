"""The jobs of a turn as their inputs: each is a dataclass whose fields are all that its result
depends on, so that the key of the result follows from them and nothing is named twice.

What the jobs do stands in rluf/turn/jobs.py, which is large to import: only worker processes do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from models.chat import Chat
from rluf.settings import plain
from training.config import (
    GatesConfig,
    PolicyConfig,
    PreferenceConfig,
    PretrainConfig,
    RewardConfig,
)

if TYPE_CHECKING:  # It is large to import, and `rluf --help` would wait for it.
    from training.evidence.harmful import Harmful

OnStage = Callable[[str, int, int], None]
"""Called with stage, done and total."""
NOT_KEYED: Mapping[str, bool] = {"not_keyed": True}
"""Metadata of a field that says what is written beside the result and changes nothing in it."""


JUDGES = {
    "love": "love-judge",
    "love_training": "love",
    "helpfulness": "helpfulness-judge",
    "safety": "safety-judge",
}
"""Role in the evidence to reward model: only love_training has had a say in the training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file or folder that a job reads: where it lies, and the hash of what is in it."""

    path: Path
    hash: str

    def to_json(self) -> dict[str, object]:
        """The content alone: where it lies is no matter."""
        return {"hash": self.hash}


class TurnJob(Protocol):
    """What a step computes. Meet it with a frozen dataclass."""

    version: ClassVar[int]
    """Of the code: it goes up when the same inputs give another result."""

    def run(self, out: Path, on_progress: OnStage) -> dict[str, Any]:
        """Write into `out` what is made, and give plain JSON values. In a worker process."""


def key_of(job: TurnJob) -> dict[str, object]:
    """What the job's result depends on, as plain values: its kind, its code, and its inputs."""
    inputs = {
        each.name: plain(getattr(job, each.name))
        for each in fields(job)  # type: ignore[arg-type]  # A Protocol cannot ask for a dataclass.
        if not each.metadata.get("not_keyed")
    }
    return {"job": type(job).__name__, "version": job.version, "inputs": inputs}


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """Proves that the machinery works: tests run it in real worker processes."""

    version: ClassVar[int] = 1
    value: int = 0
    fail: bool = False

    def run(self, out: Path, on_progress: OnStage) -> dict[str, Any]:
        """Give the value back."""
        on_progress("echoing", 1, 1)
        if self.fail:
            raise ValueError("told to fail")
        return {"value": self.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainPolicy:
    """Train a small policy from nothing on a corpus of chats."""

    version: ClassVar[int] = 1
    corpus: Content
    config: PretrainConfig

    def run(self, out: Path, on_progress: OnStage) -> dict[str, Any]:
        """Write the model."""
        from rluf.turn.jobs import pretrain_policy

        return pretrain_policy(self, out, on_progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReward:
    """Fit P[signal] and hold it against its gate."""

    version: ClassVar[int] = 1
    snapshot: Content
    config: RewardConfig
    gates: GatesConfig
    incumbent: Content | None
    """The model in use: the new one may not rank much worse on the same rows."""

    def run(self, out: Path, on_progress: OnStage) -> dict[str, Any]:
        """Write the model."""
        from rluf.turn.jobs import fit_reward

        return fit_reward(self, out, on_progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitPreference:
    """Fit a reward model on one half of annotators' pairs, and hold it against its gate."""

    version: ClassVar[int] = 1
    pairs: Content
    half: Literal["a", "b"]
    config: PreferenceConfig
    gates: GatesConfig

    def run(self, out: Path, on_progress: OnStage) -> dict[str, Any]:
        """Write the model."""
        from rluf.turn.jobs import fit_preference

        return fit_preference(self, out, on_progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImprovePolicy:
    """Refresh a policy by its rewards and judges; every checkpoint is a candidate."""

    version: ClassVar[int] = 1
    policy: Content
    prompts: Sequence[Chat]
    held_back: Sequence[Chat]
    rewards: Mapping[str, Content]
    config: PolicyConfig
    parent: str = field(default="", metadata=NOT_KEYED)
    """The version that is refreshed, for the model card."""

    def run(self, out: Path, on_progress: OnStage) -> dict[str, Any]:
        """Write the checkpoints."""
        from rluf.turn.jobs import improve_policy

        return improve_policy(self, out, on_progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePolicy:
    """Hold checkpoints against production, the most promising first, until one passes."""

    version: ClassVar[int] = 1
    production: Content
    checkpoints: Sequence[Content]
    win_rates: Sequence[float | None]
    """What training measured of each checkpoint on prompts held back."""
    checkpoints_max: int
    prompts: Sequence[Chat]
    users: Sequence[str]
    """Who asked each prompt."""
    harmful: Harmful
    rewards: Mapping[str, Content]
    doubts: Mapping[str, str]
    """Which judges their own gates refused, and why, by role."""
    gates: GatesConfig
    max_new_tokens: int
    replies_per_prompt: int
    seed: int

    def run(self, out: Path, on_progress: OnStage) -> dict[str, Any]:
        """Write nothing: the verdicts are all."""
        from rluf.turn.jobs import judge_policy

        return judge_policy(self, on_progress)
