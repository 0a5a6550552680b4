"""`rluf refresh`: one turn of the loop, from facts to judged candidates.

A turn is a run in the registry with the time that it looks at the world as of. Every step's result
is named by the hash of what it depends on, so a turn that was killed anywhere and is run again goes
on from the last finished step and ends in the same versions.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from features.snapshot import Snapshot, take_snapshot
from models.artifacts import Artifact, store_artifact
from models.live import CHAMPION, promote
from models.registry import Registry
from models.runs import Run
from models.verdicts import Verdict, measure_from_json, verdict_from_json
from models.versions import Version
from rluf.settings import BadSettings, Settings, load_recipe_over, plain, settings_hash
from rluf.turn.begin import begin_turn, incumbent_of, only_turn
from rluf.turn.inputs import (
    JUDGES,
    Content,
    FitPreference,
    FitReward,
    ImprovePolicy,
    JudgePolicy,
)
from rluf.turn.prompts import Asked, Practice, evidence_prompts, harmful_prompts, practice_prompts
from rluf.turn.report import Candidate, TurnReport
from rluf.turn.steps import OnProgress, Result, Say, Step, Steps
from training.config import GatesConfig, RewardConfig
from training.evidence.examples import example_from_json
from training.evidence.gates import doubt_of
from training.pairs import read_pairs

logger = logging.getLogger(__name__)

STEPS = Path("turns") / "steps"
"""Where finished steps lie, under the home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A reward model of this turn: where it lies and what it is registered as."""

    version: Version
    result: Result

    @property
    def content(self) -> Content:
        """The model's folder."""
        return Content(path=Path(self.result["folder"]) / "model", hash=self.version.artifact_hash)

    @property
    def verdict(self) -> Verdict:
        """What its own gate said of it."""
        return verdict_from_json(self.result["verdict"])


def refresh(
    settings: Settings, registry: Registry, *, why: str, say: Say, on_progress: OnProgress
) -> TurnReport:
    """Run one turn, or go on with the one that was cut short.

    Raises ValueError where the data cannot carry a turn (no reactions, no pairs, no policy), and
    models.errors.Conflict where another turn is running.
    """
    _check(settings, say)
    with only_turn(registry):
        run, as_of = begin_turn(settings, registry, why, say)
        turn = _Turn(settings, registry, run, as_of, say)
        with Steps(
            settings.home / STEPS,
            workers=settings.refresh.workers,
            on_progress=on_progress,
            say=say,
        ) as steps:
            report = turn.take(steps, why)
        registry.finish_run(run.id, "done", plain(report))
    return report


class _Turn:
    """The steps of one turn, in order."""

    def __init__(
        self, settings: Settings, registry: Registry, run: Run, as_of: datetime, say: Say
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.run = run
        self.as_of = as_of
        self.say = say
        self.seconds: dict[str, float] = {}
        self.incumbent = incumbent_of(registry, run)
        """P[Love] in use when the turn began: a new one may not rank much worse than it."""

    def take(self, steps: Steps, why: str) -> TurnReport:
        refresh = self.settings.refresh
        production = self.registry.version(refresh.policy, CHAMPION)
        snapshot = self._snapshot()
        rewards = self._fit_rewards(steps, snapshot)
        for reward in rewards.values():
            self._record(reward.version, reward.verdict)
        love = rewards["love"]
        promote(
            self.registry,
            love.version.name,
            love.version.number,
            why=f"turn {self.run.id}: {why}",
            who="rluf refresh",
        )
        candidates = self._candidates(steps, snapshot, production, rewards)
        return TurnReport(
            turn=self.run.id,
            as_of=self.as_of,
            why=why,
            snapshot_hash=snapshot.hash,
            production=production.ref,
            reward=love.result["report"],
            reward_verdict=love.verdict,
            candidates=tuple(candidates),
            seconds=self.seconds,
        )

    def _snapshot(self) -> Snapshot:
        snapshot = recorded_snapshot(
            self.settings, self.registry, self.settings.refresh.signal, self.as_of
        )
        self.say(
            f"snapshot {snapshot.hash[:12]}: {snapshot.num_rows:,} examples,"
            f" {snapshot.num_positives:,} with {snapshot.signal};"
            f" {snapshot.num_pending:,} verdicts of the guard counted before they were facts"
        )
        return snapshot

    def _fit_rewards(self, steps: Steps, snapshot: Snapshot) -> dict[str, Learned]:
        """Fit what trains the policy and, on other users and other pairs, what judges it."""
        training = self.settings.training
        plans: dict[str, Step] = {
            name: reward_step(
                self.registry,
                snapshot,
                replace(training.reward, half=half),
                training.gates,
                name=name,
                incumbent=self.incumbent,
            )
            for name, half in HALVES
        }
        plans |= preference_steps(self.settings)
        results = dict(zip(plans, steps.run_all(list(plans.values())), strict=True))
        return {
            name: self._register(
                name, result, kind="reward", key=plans[name].key,
                snapshot=snapshot if name.startswith("love") else None,
            )
            for name, result in results.items()
        }  # fmt: skip

    def _candidates(
        self,
        steps: Steps,
        snapshot: Snapshot,
        production: Version,
        rewards: Mapping[str, Learned],
    ) -> list[Candidate]:
        refresh = self.settings.refresh
        practice = practice_prompts(self.settings, snapshot, self.as_of)
        asked = evidence_prompts(snapshot, refresh.evidence_prompts_max)
        over = {r: load_recipe_over(self.settings, r) for r in refresh.recipes}
        improving = {
            recipe: self._improving(recipe, dials, practice, production, rewards)
            for recipe, dials in over.items()
        }
        improved = dict(zip(improving, steps.run_all(list(improving.values())), strict=True))
        judging = {
            recipe: self._judging(
                recipe,
                dials,
                asked,
                production,
                rewards,
                improving[recipe],
                improved[recipe],
            )
            for recipe, dials in over.items()
        }
        judged = dict(zip(judging, steps.run_all(list(judging.values())), strict=True))
        parents = [production, *(rewards[name].version for name in TRAINING_REWARDS)]
        candidates = []
        for recipe, verdict in judged.items():
            learned = self._register(
                refresh.policy,
                {
                    **improved[recipe],
                    "model": improved[recipe]["checkpoints"][verdict["checkpoint"]],
                },
                kind="policy",
                key=improving[recipe].key,
                snapshot=snapshot,
                recipe=_label(recipe),
                parents=parents,
            )
            self.seconds[judging[recipe].name] = verdict["seconds"]
            candidates.append(self._conclude(_label(recipe), learned.version, verdict, rewards))
        return candidates

    def _improving(
        self,
        recipe: str,
        dials: Settings,
        practice: Practice,
        production: Version,
        rewards: Mapping[str, Learned],
    ) -> Step:
        config = dials.training.policy
        return Step(
            name=f"policy-{_label(recipe)}",
            job=ImprovePolicy(
                policy=self._content(production),
                prompts=practice.prompts,
                held_back=practice.held_back,
                rewards={name: rewards[name].content for name in TRAINING_REWARDS},
                config=config,
                parent=production.ref,
            ),
        )

    def _content(self, version: Version) -> Content:
        return Content(path=self.registry.open_artifact(version), hash=version.artifact_hash)

    def _judging(
        self,
        recipe: str,
        dials: Settings,
        asked: Asked,
        production: Version,
        rewards: Mapping[str, Learned],
        improving: Step,
        improved: Result,
    ) -> Step:
        folder = Path(improved["folder"])
        config, refresh = dials.training, self.settings.refresh
        harmful = harmful_prompts(refresh.harmful_prompts)
        doubts = {
            role: doubt
            for role, name in JUDGES.items()
            if (doubt := doubt_of(rewards[name].version.ref, rewards[name].verdict))
        }
        return Step(
            name=f"evidence-{_label(recipe)}",
            job=JudgePolicy(
                production=self._content(production),
                checkpoints=[
                    Content(path=folder / name, hash=f"{improving.folder}/{name}")
                    for name in improved["checkpoints"]
                ],
                win_rates=improved["win_rates"],
                checkpoints_max=refresh.evidence_checkpoints_max,
                prompts=asked.chats,
                users=asked.users,
                harmful=harmful,
                rewards={name: reward.content for name, reward in rewards.items()},
                doubts=doubts,
                gates=config.gates,
                max_new_tokens=config.policy.max_new_tokens,
                replies_per_prompt=refresh.evidence_replies,
                seed=refresh.seed,
            ),
        )

    def _conclude(
        self,
        recipe: str,
        version: Version,
        judged: Result,
        rewards: Mapping[str, Learned],
    ) -> Candidate:
        """Store every verdict, with that on the P[Love] which taught the candidate."""
        verdicts = (
            *map(verdict_from_json, judged["verdicts"]),
            replace(rewards["love"].verdict, gate="taught_by"),
        )
        for verdict in verdicts:
            self._record(version, verdict)
        return Candidate(
            recipe=recipe,
            name=version.name,
            number=version.number,
            verdicts=verdicts,
            measures=tuple(map(measure_from_json, judged["measures"])),
            examples=tuple(map(example_from_json, judged["examples"])),
        )

    def _register(
        self,
        name: str,
        result: Result,
        *,
        kind: str,
        key: Mapping[str, Any],
        snapshot: Snapshot | None,
        recipe: str = "",
        parents: Sequence[Version] = (),
    ) -> Learned:
        artifact: Artifact = store_artifact(
            self.settings.home, name, Path(result["folder"]) / result.get("model", "model")
        )
        version = self.registry.register(
            name,
            artifact=artifact,
            kind=kind,
            config_hash=settings_hash(key),
            snapshot_hash=snapshot.hash if snapshot is not None else None,
            parents=[(parent.name, parent.number) for parent in parents],
            recipe=recipe,
            run_id=self.run.id,
            measures=result["report"],
        )
        self.registry.record_step(
            self.run.id, f"{name} {recipe}".strip(), "done", {"version": version.ref}
        )
        self.seconds[f"{name} {recipe}".strip()] = result["seconds"]
        self.say(f"{version.ref} {f'({recipe}) ' if recipe else ''}registered")
        return Learned(version=version, result=result)

    def _record(self, version: Version, verdict: Verdict) -> None:
        """Store a verdict once, also where the turn is run again."""
        for known in self.registry.verdicts(version.name, version.number):
            if known.run_id == self.run.id and known.gate == verdict.gate:
                return
        self.registry.record_verdict(version.name, version.number, verdict, run_id=self.run.id)


HALVES: tuple[tuple[str, Literal["a", "b"]], ...] = (("love", "a"), ("love-judge", "b"))
"""Which half of the users teaches, and which judges."""
TRAINING_REWARDS = ("love", "helpfulness", "safety")
"""What the policy learns from; the same names with -judge only judge it."""


def recorded_snapshot(
    settings: Settings, registry: Registry, signal: str, as_of: datetime
) -> Snapshot:
    """Freeze the examples of a signal as known at a time, and note them in the registry.

    The guard looks first, so that what it finds in the last reactions counts already.
    """
    snapshot = take_snapshot(settings.features, signal=signal, as_of=as_of, guard=settings.guard)
    registry.record_snapshot(
        snapshot.hash,
        signal=snapshot.signal,
        as_of=snapshot.as_of,
        num_rows=snapshot.num_rows,
        num_positives=snapshot.num_positives,
        path=snapshot.path,
    )
    return snapshot


def preference_steps(settings: Settings) -> dict[str, Step]:
    """Plan what needs no users: reward models from annotators' pairs, each on one half of them."""
    refresh, plans = settings.refresh, {}
    files = {"helpfulness": refresh.helpfulness_pairs, "safety": refresh.safety_pairs}
    for kind, file in files.items():
        pairs = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        halves: tuple[tuple[str, Literal["a", "b"]], ...] = ((kind, "a"), (f"{kind}-judge", "b"))
        for name, half in halves:
            config = settings.training.preference
            plans[name] = Step(
                name=name,
                job=FitPreference(
                    pairs=Content(path=Path(file), hash=pairs),
                    half=half,
                    config=config,
                    gates=settings.training.gates,
                ),
            )
    return plans


def reward_step(
    registry: Registry,
    snapshot: Snapshot,
    config: RewardConfig,
    gates: GatesConfig,
    *,
    name: str,
    incumbent: Version | None,
) -> Step:
    """Plan the fit of a reward model, held against the one in use on the same later users."""
    before = None
    if incumbent is not None:
        before = Content(path=registry.open_artifact(incumbent), hash=incumbent.artifact_hash)
    source = Content(path=snapshot.path, hash=snapshot.hash)
    job = FitReward(snapshot=source, config=config, gates=gates, incumbent=before)
    return Step(name=name, job=job)


def _check(settings: Settings, say: Say) -> None:
    for name in ("helpfulness_pairs", "safety_pairs", "harmful_prompts"):
        file = getattr(settings.refresh, name)
        if name == "harmful_prompts" and not file:
            continue
        if not file or not Path(file).is_file():
            raise BadSettings(
                f"refresh.{name} names {file!r}, which is no file; it has to hold JSON lines with"
                " prompt, chosen and rejected (python -m simulator pairs makes synthetic ones)"
            )
        pairs = read_pairs(Path(file))
        if pairs.left_out:
            say(f"{Path(file).name}: {pairs.summary()}")


def _label(recipe: str) -> str:
    return Path(recipe).stem if recipe else "settings"
