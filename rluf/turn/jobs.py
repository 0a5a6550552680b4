"""The steps' work, run in worker processes: each job is a name, plain arguments and one folder.

A job writes what it makes into `out` and returns plain JSON values; it reads nothing but its
arguments, so that its result depends on nothing else. What one job alone needs and is large (TRL,
scikit-learn) is imported by that job: the other worker processes stay smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from features.snapshot import load_snapshot
from models.chat import Chat
from models.policy import Policy
from models.reward import RewardModel
from training.config import (
    GatesConfig,
    PolicyConfig,
    PreferenceConfig,
    PretrainConfig,
    RewardConfig,
)
from training.evidence.clustered import Users
from training.evidence.gates import decide_reward
from training.evidence.offline import Samples, draw_samples
from training.evidence.trial import Trial, run_trial
from training.fit_reward import auroc_rise
from training.fit_reward import fit_reward as fit_love
from training.pretrain_policy import pretrain_policy as pretrain
from training.shared_trunk import share_trunk

OnStage = Callable[[str, int, int], None]


def echo(*, out: Path, on_progress: OnStage, value: int = 0, fail: bool = False) -> dict[str, Any]:
    """Prove that the machinery works: tests run it in real worker processes."""
    on_progress("echoing", 1, 1)
    if fail:
        raise ValueError("told to fail")
    return {"value": value}


def pretrain_policy(
    *, out: Path, on_progress: OnStage, corpus: Path, config: PretrainConfig
) -> dict[str, Any]:
    """Train a small policy from nothing on a corpus of chats."""
    report = pretrain(corpus, config, out / "model", on_progress=on_progress)
    return {"report": report.to_json()}


def fit_reward(
    *,
    out: Path,
    on_progress: OnStage,
    snapshot: Path,
    config: RewardConfig,
    gates: GatesConfig,
    incumbent: Path | None = None,
) -> dict[str, Any]:
    """Fit P[signal] and hold it against the gates, the model in use on the same rows among them."""
    source = load_snapshot(snapshot)
    report = fit_love(source, config, out / "model", on_progress=on_progress)
    facts = report.to_json()
    rise = None
    if incumbent is not None:
        rise = auroc_rise(report, RewardModel.from_pretrained(incumbent), source, config)
    return {"report": facts, "verdict": decide_reward(facts, gates, rise=rise).to_json()}


def fit_preference(
    *,
    out: Path,
    on_progress: OnStage,
    pairs: Path,
    half: Literal["a", "b"],
    config: PreferenceConfig,
) -> dict[str, Any]:
    """Fit a reward model on one half of the pairs; all pairs of a prompt lie in one half."""
    from training.fit_preference import fit_preference as fit_pairs

    report = fit_pairs(pairs, config, out / "model", on_progress=on_progress, half=half)
    return {"report": report.to_json()}


def improve_policy(
    *,
    out: Path,
    on_progress: OnStage,
    policy: Path,
    prompts: Sequence[Chat],
    held_back: Sequence[Chat],
    rewards: Mapping[str, Path],
    config: PolicyConfig,
    parent: str = "",
) -> dict[str, Any]:
    """Refresh a policy by its rewards and judges; every checkpoint is a candidate."""
    from training.improve_policy import improve_policy as improve

    scorers = share_trunk(
        {name: RewardModel.from_pretrained(path) for name, path in rewards.items()}
    )
    report = improve(
        policy,
        prompts,
        scorers,
        config,
        out,
        held_back=held_back,
        on_progress=on_progress,
        parent=parent,
    )
    return {
        "report": report.to_json(),
        "checkpoints": [str(c.path.relative_to(out)) for c in report.checkpoints],
    }


def judge_policy(
    *,
    out: Path,
    on_progress: OnStage,
    production: Path,
    checkpoints: Sequence[Path],
    prompts: Sequence[Chat],
    users: Sequence[str],
    rewards: Mapping[str, Path],
    gates: GatesConfig,
    sampling: PolicyConfig,
    replies_per_prompt: int,
    seed: int,
) -> dict[str, Any]:
    """Hold every checkpoint against production and choose one: guardrails first, then love.

    `users` says who asked each prompt. Where no checkpoint passes all gates, an undecided one is
    chosen before a refused one, and the last before those before it.
    """
    judges = share_trunk(
        {role: RewardModel.from_pretrained(rewards[name]) for role, name in JUDGES.items()}
    )
    today = Policy.from_pretrained(production)
    numbers: dict[str, int] = {}
    users_P: Users = np.array([numbers.setdefault(user, len(numbers)) for user in users])
    trials = []
    for number, checkpoint in enumerate(checkpoints, 1):
        stage = f"judging {number} of {len(checkpoints)}: "
        candidate = Policy.from_pretrained(checkpoint)

        def draw(
            places: Sequence[int], candidate: Policy = candidate, stage: str = stage
        ) -> Samples:
            return draw_samples(
                candidate,
                today,
                [prompts[place] for place in places],
                users_P[list(places)],
                replies_per_prompt=replies_per_prompt,
                max_new_tokens=sampling.max_new_tokens,
                seed=seed,
                on_progress=lambda what, done, total: on_progress(stage + what, done, total),
            )

        trials.append(run_trial(draw, users_P, judges, gates, seed=seed))
    chosen = max(range(len(trials)), key=lambda number: _preference(trials[number], number))
    return {
        "checkpoint": chosen,
        "verdicts": [verdict.to_json() for verdict in trials[chosen].verdicts],
        "measures": [measure.to_json() for measure in trials[chosen].measures],
        "num_looks": trials[chosen].num_looks,
        "num_checkpoints": len(trials),
        "num_passing": sum(trial.passed for trial in trials),
    }


JUDGES = {
    "love": "love-judge",
    "love_training": "love",
    "helpfulness": "helpfulness-judge",
    "safety": "safety-judge",
}
"""Role in the evidence to reward model: only love_training has had a say in the training."""


def _preference(trial: Trial, number: int) -> tuple[int, float]:
    """Those that passed by how much they would be loved, then undecided ones, then later ones."""
    if trial.passed:
        rise = trial.measure("love_rise")
        return (2, rise.value if rise is not None else 0.0)
    is_refused = any(verdict.ruling == "refused" for verdict in trial.verdicts)
    return (0 if is_refused else 1, float(number))


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job
    for job in (
        echo,
        pretrain_policy,
        fit_reward,
        fit_preference,
        improve_policy,
        judge_policy,
    )
}
