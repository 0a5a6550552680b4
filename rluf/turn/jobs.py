"""What the jobs of rluf/turn/inputs.py do, in worker processes: each is a function of its inputs.

A job writes what it makes into `out` and returns plain JSON values; it reads nothing but its
inputs, so that its result depends on nothing else. What one job alone needs and is large (TRL) is
imported by that job: the other worker processes stay smaller.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from features.snapshot import load_snapshot
from models.chat import Chat
from models.policy import Policy
from models.replies import Reply
from models.reward import RewardModel
from rluf.turn.inputs import (
    JUDGES,
    FitPreference,
    FitReward,
    ImprovePolicy,
    JudgePolicy,
    OnStage,
    PretrainPolicy,
)
from training.evidence.clustered import Users
from training.evidence.examples import examples_of
from training.evidence.gates import decide_preference, decide_reward
from training.evidence.offline import Samples, draw_replies, draw_samples
from training.evidence.trial import Draw, Harm, Trial, run_trial
from training.examples import numbered
from training.fit_reward import auroc_rise
from training.fit_reward import fit_reward as fit_love
from training.pretrain_policy import pretrain_policy as pretrain
from training.shared_trunk import share_trunk


def pretrain_policy(job: PretrainPolicy, out: Path, on_progress: OnStage) -> dict[str, Any]:
    """Train a small policy from nothing on a corpus of chats."""
    report = pretrain(job.corpus.path, job.config, out / "model", on_progress=on_progress)
    return {"report": report.to_json()}


def fit_reward(job: FitReward, out: Path, on_progress: OnStage) -> dict[str, Any]:
    """Fit P[signal] and hold it against the gates, the model in use on the same rows among them."""
    source = load_snapshot(job.snapshot.path)
    report = fit_love(source, job.config, out / "model", on_progress=on_progress)
    facts = report.to_json()
    rise = None
    if job.incumbent is not None:
        incumbent = RewardModel.from_pretrained(job.incumbent.path)
        rise = auroc_rise(report, incumbent, source, job.config)
    return {"report": facts, "verdict": decide_reward(facts, job.gates, rise=rise).to_json()}


def fit_preference(job: FitPreference, out: Path, on_progress: OnStage) -> dict[str, Any]:
    """Fit a reward model on one half of the pairs, and hold it against its gate.

    All pairs of a prompt lie in one half.
    """
    from training.fit_preference import fit_preference as fit_pairs

    report = fit_pairs(
        job.pairs.path, job.config, out / "model", on_progress=on_progress, half=job.half
    ).to_json()
    return {"report": report, "verdict": decide_preference(report, job.gates).to_json()}


def improve_policy(job: ImprovePolicy, out: Path, on_progress: OnStage) -> dict[str, Any]:
    """Refresh a policy by its rewards and judges; every checkpoint is a candidate."""
    from training.improve_policy import improve_policy as improve

    scorers = share_trunk(
        {name: RewardModel.from_pretrained(each.path) for name, each in job.rewards.items()}
    )
    report = improve(
        job.policy.path,
        job.prompts,
        scorers,
        job.config,
        out,
        held_back=job.held_back,
        on_progress=on_progress,
        parent=job.parent,
    )
    return {
        "report": report.to_json(),
        "checkpoints": [str(c.path.relative_to(out)) for c in report.checkpoints],
        "win_rates": [c.love_win_rate for c in report.checkpoints],
    }


def judge_policy(job: JudgePolicy, on_progress: OnStage) -> dict[str, Any]:
    """Hold checkpoints against production, the most promising first, until one passes.

    Where none passes, an undecided one is chosen before a refused one, and the more promising
    before the others.
    """
    judges = share_trunk(
        {role: RewardModel.from_pretrained(job.rewards[name].path) for role, name in JUDGES.items()}
    )
    judging = _Judging(job)
    trials: dict[int, Trial] = {}
    for number in most_promising(job.win_rates)[: job.checkpoints_max]:
        stage = f"judging checkpoint {number + 1} of {len(job.checkpoints)}: "
        candidate = Policy.from_pretrained(job.checkpoints[number].path)
        trials[number] = run_trial(
            judging.draw(
                candidate, lambda *told, stage=stage: on_progress(stage + told[0], *told[1:])
            ),
            judging.users_P,
            judges,
            job.gates,
            seed=job.seed,
            harm=Harm(harmful=job.harmful, draw=judging.draw_harmful(candidate)),
            doubts=job.doubts,
        )
        if trials[number].passed:
            break
    chosen = max(
        trials, key=lambda number: (_standing(trials[number]), -list(trials).index(number))
    )
    trial = trials[chosen]
    return {
        "checkpoint": chosen,
        "verdicts": [verdict.to_json() for verdict in trial.verdicts],
        "measures": [measure.to_json() for measure in trial.measures],
        "examples": [
            example.to_json()
            for example in examples_of(
                trial.samples, [check for verdict in trial.verdicts for check in verdict.checks]
            )
        ],
        "num_looks": trial.num_looks,
        "num_checkpoints": len(job.checkpoints),
        "num_judged": len(trials),
        "num_passing": sum(each.passed for each in trials.values()),
    }


def most_promising(win_rates: Sequence[float | None]) -> list[int]:
    """Places of checkpoints: those that won most in training first, later ones before earlier."""
    return sorted(
        range(len(win_rates)),
        key=lambda place: (-1.0 if (rate := win_rates[place]) is None else rate, place),
        reverse=True,
    )


class _Judging:
    """The replies of a trial; production's are drawn once for all checkpoints."""

    def __init__(self, job: JudgePolicy) -> None:
        self.users_P: Users = numbered(job.users)
        self._job = job
        self._production = Policy.from_pretrained(job.production.path)
        self._theirs: dict[str, list[list[Reply]]] = {}

    def draw(self, candidate: Policy, on_progress: OnStage) -> Draw:
        """How replies to the evidence's prompts are drawn."""
        return lambda places: self._samples(
            candidate,
            [self._job.prompts[place] for place in places],
            self.users_P[list(places)],
            on_progress,
        )

    def draw_harmful(self, candidate: Policy) -> Draw:
        """How replies to harmful prompts are drawn: nobody asked them, each stands for itself."""
        return lambda places: self._samples(
            candidate,
            [self._job.harmful.prompts[place] for place in places],
            np.array(places),
            lambda *_: None,
        )

    def _samples(
        self, candidate: Policy, prompts: Sequence[Chat], users_P: Users, on_progress: OnStage
    ) -> Samples:
        job, key = self._job, json.dumps(prompts)
        if key not in self._theirs:
            self._theirs[key] = draw_replies(
                self._production,
                prompts,
                job.replies_per_prompt,
                max_new_tokens=job.max_new_tokens,
                seed=job.seed,
            )
        return draw_samples(
            candidate,
            self._production,
            prompts,
            users_P,
            replies_per_prompt=job.replies_per_prompt,
            max_new_tokens=job.max_new_tokens,
            seed=job.seed,
            on_progress=on_progress,
            theirs=self._theirs[key],
        )


def _standing(trial: Trial) -> int:
    """Passed, else undecided, else refused."""
    if trial.passed:
        return 2
    return 0 if any(verdict.ruling == "refused" for verdict in trial.verdicts) else 1
