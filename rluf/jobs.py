"""The steps' work, run in worker processes: each job is a name, plain arguments and one folder.

A job writes what it makes into `out` and returns plain JSON values; it reads nothing but its
arguments, so that its result depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from features.snapshot import load_snapshot
from models.chat import Chat
from models.policy import Policy
from models.reward import RewardModel
from training.baseline import fit_tfidf
from training.config import (
    GatesConfig,
    PolicyConfig,
    PreferenceConfig,
    PretrainConfig,
    RewardConfig,
)
from training.evidence.gates import gate_reward
from training.evidence.gates import judge_policy as judge_measures
from training.evidence.offline import draw_samples, examine
from training.evidence.report import Measure, Verdict
from training.evidence.sentinels import watch
from training.fit_preference import fit_preference as fit_pairs
from training.fit_reward import fit_reward as fit_love
from training.fit_reward import rank_later_users
from training.improve_policy import improve_policy as improve
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
    before = None
    if incumbent is not None:
        before = {"auroc": rank_later_users(RewardModel.from_pretrained(incumbent), source)}
    return {"report": facts, "verdict": gate_reward(facts, gates, incumbent=before).to_json()}


def fit_baseline(
    *, out: Path, on_progress: OnStage, snapshot: Path, config: RewardConfig
) -> dict[str, Any]:
    """Fit TF-IDF + logistic regression on the same split."""
    on_progress("fitting TF-IDF", 0, 1)
    report = fit_tfidf(load_snapshot(snapshot), config)
    on_progress("fitting TF-IDF", 1, 1)
    return {"report": report.to_json()}


def fit_preference(
    *,
    out: Path,
    on_progress: OnStage,
    pairs: Path,
    half: Literal["a", "b"],
    config: PreferenceConfig,
) -> dict[str, Any]:
    """Fit a reward model on one half of the pairs; all pairs of a prompt lie in one half."""
    report = fit_pairs(pairs, config, out / "model", on_progress=on_progress, half=half)
    return {"report": report.to_json()}


def improve_policy(
    *,
    out: Path,
    on_progress: OnStage,
    policy: Path,
    prompts: Sequence[Chat],
    rewards: Mapping[str, Path],
    config: PolicyConfig,
    parent: str = "",
) -> dict[str, Any]:
    """Refresh a policy by its rewards and judges; every checkpoint is a candidate."""
    scorers = share_trunk(
        {name: RewardModel.from_pretrained(path) for name, path in rewards.items()}
    )
    report = improve(policy, prompts, scorers, config, out, on_progress=on_progress, parent=parent)
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
    rewards: Mapping[str, Path],
    gates: GatesConfig,
    sampling: PolicyConfig,
    replies_per_prompt: int,
    seed: int,
) -> dict[str, Any]:
    """Hold every checkpoint against production and choose one: guardrails first, then love.

    Where no checkpoint passes all gates, the last one is chosen, to be registered as refused.
    """
    judges = share_trunk(
        {role: RewardModel.from_pretrained(rewards[name]) for role, name in JUDGES.items()}
    )
    today = Policy.from_pretrained(production)
    judged = []
    for number, checkpoint in enumerate(checkpoints, 1):
        stage = f"judging {number} of {len(checkpoints)}: "
        samples = draw_samples(
            Policy.from_pretrained(checkpoint),
            today,
            prompts,
            replies_per_prompt=replies_per_prompt,
            max_new_tokens=sampling.max_new_tokens,
            seed=seed,
            on_progress=lambda what, done, total, stage=stage: on_progress(  # type: ignore[misc]
                stage + what, done, total
            ),
        )
        measures = [
            *examine(samples, judges, safety_threshold=None, seed=seed),
            *watch(samples, seed=seed),
        ]
        judged.append((checkpoint, measures, judge_measures(measures, gates)))
    passing = [row for row in judged if all(verdict.passed for verdict in row[2])]
    chosen, measures, verdicts = max(passing, key=_love_rise) if passing else judged[-1]
    return {
        "checkpoint": checkpoints.index(chosen),
        "measures": [measure.to_json() for measure in measures],
        "verdicts": [verdict.to_json() for verdict in verdicts],
        "num_checkpoints": len(judged),
        "num_passing": len(passing),
    }


JUDGES = {
    "love": "love-judge",
    "love_training": "love",
    "helpfulness": "helpfulness-judge",
    "safety": "safety-judge",
}
"""Role in the evidence to reward model: only love_training has had a say in the training."""


def _love_rise(row: tuple[Path, Sequence[Measure], Sequence[Verdict]]) -> float:
    return next(measure.value for measure in row[1] if measure.name == "love_rise")


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    job.__name__: job
    for job in (
        echo,
        pretrain_policy,
        fit_reward,
        fit_baseline,
        fit_preference,
        improve_policy,
        judge_policy,
    )
}
