"""What the jobs of rluf/turn/inputs.py do, in worker processes: each is a function of its inputs.

A job writes what it makes into `out` and returns plain JSON values; it reads nothing but its
inputs, so that its result depends on nothing else. What one job alone needs and is large (TRL) is
imported by that job: the other worker processes stay smaller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from features.snapshot import load_snapshot
from models.chat import Chat
from models.policy import Policy
from models.replies import Reply
from models.reward import RewardModel
from rluf.turn.inputs import JUDGES, OnStage
from training.config import (
    GatesConfig,
    PolicyConfig,
    PreferenceConfig,
    PretrainConfig,
    RewardConfig,
)
from training.evidence.clustered import Users
from training.evidence.examples import examples_of
from training.evidence.gates import decide_preference, decide_reward
from training.evidence.harmful import Harmful
from training.evidence.offline import Samples, draw_replies, draw_samples
from training.evidence.trial import Draw, Harm, Trial, run_trial
from training.fit_reward import auroc_rise
from training.fit_reward import fit_reward as fit_love
from training.pretrain_policy import pretrain_policy as pretrain
from training.shared_trunk import share_trunk


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
    gates: GatesConfig,
) -> dict[str, Any]:
    """Fit a reward model on one half of the pairs, and hold it against its gate.

    All pairs of a prompt lie in one half.
    """
    from training.fit_preference import fit_preference as fit_pairs

    report = fit_pairs(pairs, config, out / "model", on_progress=on_progress, half=half).to_json()
    return {"report": report, "verdict": decide_preference(report, gates).to_json()}


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
        "win_rates": [c.love_win_rate for c in report.checkpoints],
    }


def judge_policy(
    *,
    on_progress: OnStage,
    production: Path,
    checkpoints: Sequence[Path],
    win_rates: Sequence[float | None],
    checkpoints_max: int,
    prompts: Sequence[Chat],
    users: Sequence[str],
    harmful: Harmful,
    rewards: Mapping[str, Path],
    doubts: Mapping[str, str],
    gates: GatesConfig,
    max_new_tokens: int,
    replies_per_prompt: int,
    seed: int,
) -> dict[str, Any]:
    """Hold checkpoints against production, the most promising first, until one passes.

    `win_rates` are what training measured of each on prompts held back, `users` says who asked each
    prompt, `doubts` which judges their own gates refused. Where none passes, an undecided one is
    chosen before a refused one, and the more promising before the others.
    """
    judges = share_trunk(
        {role: RewardModel.from_pretrained(rewards[name]) for role, name in JUDGES.items()}
    )
    judging = _Judging(
        Policy.from_pretrained(production),
        prompts,
        users,
        max_new_tokens=max_new_tokens,
        replies_per_prompt=replies_per_prompt,
        seed=seed,
    )
    trials: dict[int, Trial] = {}
    for number in most_promising(win_rates)[:checkpoints_max]:
        stage = f"judging checkpoint {number + 1} of {len(checkpoints)}: "
        candidate = Policy.from_pretrained(checkpoints[number])
        trials[number] = run_trial(
            judging.draw(
                candidate, lambda *told, stage=stage: on_progress(stage + told[0], *told[1:])
            ),
            judging.users_P,
            judges,
            gates,
            seed=seed,
            harm=Harm(harmful=harmful, draw=judging.draw_harmful(candidate, harmful)),
            doubts=doubts,
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
        "num_checkpoints": len(checkpoints),
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

    def __init__(
        self,
        production: Policy,
        prompts: Sequence[Chat],
        users: Sequence[str],
        *,
        max_new_tokens: int,
        replies_per_prompt: int,
        seed: int,
    ) -> None:
        self.production = production
        self.prompts = prompts
        numbers: dict[str, int] = {}
        self.users_P: Users = np.array([numbers.setdefault(user, len(numbers)) for user in users])
        self._max_new_tokens = max_new_tokens
        self._replies_per_prompt = replies_per_prompt
        self._seed = seed
        self._theirs: dict[str, list[list[Reply]]] = {}

    def draw(self, candidate: Policy, on_progress: OnStage) -> Draw:
        """How replies to the evidence's prompts are drawn."""
        return lambda places: self._samples(
            candidate,
            [self.prompts[place] for place in places],
            self.users_P[list(places)],
            on_progress,
        )

    def draw_harmful(self, candidate: Policy, harmful: Harmful) -> Draw:
        """How replies to harmful prompts are drawn: nobody asked them, each stands for itself."""
        return lambda places: self._samples(
            candidate,
            [harmful.prompts[place] for place in places],
            np.array(places),
            lambda *_: None,
        )

    def _samples(
        self, candidate: Policy, prompts: Sequence[Chat], users_P: Users, on_progress: OnStage
    ) -> Samples:
        key = json.dumps(prompts)
        if key not in self._theirs:
            self._theirs[key] = draw_replies(
                self.production,
                prompts,
                self._replies_per_prompt,
                max_new_tokens=self._max_new_tokens,
                seed=self._seed,
            )
        return draw_samples(
            candidate,
            self.production,
            prompts,
            users_P,
            replies_per_prompt=self._replies_per_prompt,
            max_new_tokens=self._max_new_tokens,
            seed=self._seed,
            on_progress=on_progress,
            theirs=self._theirs[key],
        )


def _standing(trial: Trial) -> int:
    """Passed, else undecided, else refused."""
    if trial.passed:
        return 2
    return 0 if any(verdict.ruling == "refused" for verdict in trial.verdicts) else 1
