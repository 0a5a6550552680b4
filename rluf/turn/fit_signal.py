"""`rluf fit-reward`: one reward model from a fresh snapshot, beside plain baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.artifacts import store_artifact
from models.live import in_use, promote
from models.registry import Registry
from models.verdicts import Verdict, verdict_from_json
from rluf.settings import Settings, settings_hash
from rluf.turn.refresh import STEPS, recorded_snapshot, reward_step
from rluf.turn.report import reward_lines
from rluf.turn.steps import OnProgress, Say, Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A registered reward model and its metrics on later users, the baselines' among them."""

    version: str
    signal: str
    snapshot_hash: str
    num_rows: int
    num_positives: int
    report: Mapping[str, Any]
    verdict: Verdict
    seconds: float

    def summary(self) -> str:
        """Give the lines a person reads."""
        lines = [
            f"snapshot {self.snapshot_hash[:12]}: {self.num_rows:,} examples,"
            f" {self.num_positives:,} with {self.signal};"
            f" evaluated on {self.report['n_eval']:,} rows of later users",
            f"{self.version} ({self.seconds:.0f} s):",
            *(f"    {line}" for line in reward_lines(self.report)),
        ]
        if not self.verdict.passed:
            lines.append(f"{self.verdict.ruling} by its gate:")
            lines.extend(f"    {reason}" for reason in self.verdict.reasons)
        return "\n".join(lines)


def fit_signal(
    settings: Settings,
    registry: Registry,
    *,
    signal: str,
    say: Say,
    on_progress: OnProgress,
) -> Fitted:
    """Take a snapshot, fit, judge and register.

    Raises ValueError where the store holds too little to learn from, saying what it holds.
    """
    snapshot = recorded_snapshot(settings, registry, signal, datetime.now(UTC))
    say(
        f"snapshot {snapshot.hash[:12]}: {snapshot.num_rows:,} examples;"
        f" {snapshot.num_pending:,} verdicts of the guard counted before they were facts"
    )
    config, gates = settings.training.reward, settings.training.gates
    plan = reward_step(
        registry,
        snapshot,
        config,
        gates,
        name=f"reward-{signal}",
        incumbent=in_use(registry, signal),
    )
    with Steps(settings.home / STEPS, workers=1, on_progress=on_progress, say=say) as steps:
        (fitted,) = steps.run_all([plan])
    artifact = store_artifact(settings.home, signal, Path(fitted["folder"]) / "model")
    version = registry.register(
        signal,
        artifact=artifact,
        kind="reward",
        config_hash=settings_hash(plan.key),
        snapshot_hash=snapshot.hash,
        measures=fitted["report"],
    )
    verdict = verdict_from_json(fitted["verdict"])
    registry.record_verdict(signal, version.number, verdict)
    promote(
        registry,
        version.name,
        version.number,
        why=f"fitted on snapshot {snapshot.hash[:12]}",
        who="rluf fit-reward",
    )
    return Fitted(
        version=version.ref,
        signal=signal,
        snapshot_hash=snapshot.hash,
        num_rows=snapshot.num_rows,
        num_positives=snapshot.num_positives,
        report=fitted["report"],
        verdict=verdict,
        seconds=fitted["seconds"],
    )
