"""What the demo found: figures from the store and the registry and, last, the sealed truths."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from features.snapshot import load_snapshot
from features.views import query
from models.registry import Registry
from rluf.demo.reconcile import reconcile
from rluf.settings import Settings, plain
from rluf.turn.report import Candidate, TurnReport, reward_lines
from training.evidence.online import OnlineReport, compare_arms
from training.evidence.predicted import predict_love

CONTROL = "control"


class DemoFailed(RuntimeError):
    """A part of the loop did not do its work; the text says which and what was seen."""


@dataclass(slots=True)
class Rounds:
    """What the simulator wrote and said, round by round."""

    folder: Path
    summaries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ledgers(self) -> list[Path]:
        """One file per round."""
        return [self.folder / f"ledger-{i}.jsonl" for i in range(len(self.summaries))]

    @property
    def sealed(self) -> list[Path]:
        """The users' true tastes, opened only for the report."""
        return [self.folder / f"sealed-{i}.jsonl" for i in range(len(self.summaries))]


def run_simulator(*arguments: str) -> str:
    """Run the simulator as its own process and give what it printed. Raises DemoFailed."""
    done = subprocess.run(
        [sys.executable, "-m", "simulator", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DemoFailed(f"the simulator's {arguments[0]} ended with exit code {done.returncode}")
    return done.stdout


def find(
    settings: Settings,
    registry: Registry,
    turn: TurnReport,
    rounds: Rounds,
    comparison: OnlineReport | None,
    *,
    baseline: int,
) -> dict[str, Any]:
    """Give every figure of the report; the sealed files are opened after all else is settled.

    `comparison` is None where no candidate passed, and none went before users.
    """
    name = settings.refresh.policy
    facts: dict[str, Any] = {
        "synthetic": "The users, their tastes and the annotators' pairs are simulated.",
        "seed": settings.demo.seed,
        "events": {
            **asdict(reconcile(settings.home, rounds.ledgers)),
            "funnel": _funnel(settings.home),
        },
        "reward": {
            **turn.reward,
            "lines": reward_lines(turn.reward),
            "ruling": turn.reward_verdict.ruling,
            "checks": [check.to_json() for check in turn.reward_verdict.checks],
        },
        "policies": _policies(f"{name}@{baseline}", turn, comparison),
        "ab": None if comparison is None else comparison.to_json(),
        "snapshot_hash": turn.snapshot_hash,
        "lineage": {
            f"{name}@{c.number}": registry.lineage(name, c.number) for c in turn.candidates
        },
        "turn": plain(turn),
    }
    facts["simulator"] = {
        "rounds": rounds.summaries,
        "oracle": [
            json.loads(
                run_simulator("oracle", "--ledger", str(ledger), "--sealed", str(sealed), "--json")
            )
            for ledger, sealed in zip(rounds.ledgers, rounds.sealed, strict=True)
        ],
    }
    return facts


def compare_experiment(
    home: Path, *, experiment: str, signal: str, seed: int, snapshot: Path | None = None
) -> OnlineReport:
    """Compare the arms of one experiment by the love that their responses got.

    Of outcomes that count (features/outcomes.py), young ones too: the arms run side by side, so of
    each the same share has arrived. With the `snapshot` of before the experiment, what each user's
    first message lets expect is taken out of the lift (CUPED).
    """
    exposures = shown_in(home, experiment, signal)
    if snapshot is not None:
        exposures = _with_predictions(home, exposures, experiment, snapshot)
    return compare_arms(exposures, control=CONTROL, seed=seed)


def shown_in(home: Path, experiment: str, signal: str) -> pa.Table:
    """Give what the experiment showed that counts: arm, user, propensity, and whether loved."""
    return query(
        home,
        f"""
        SELECT arm, user_id, propensity, stands::INT AS loved
        FROM folded_outcomes
        WHERE experiment = {_quoted(experiment)} AND signal = {_quoted(signal)} AND counts
        ORDER BY response_id, user_id
        """,
    )


def _with_predictions(home: Path, exposures: pa.Table, experiment: str, snapshot: Path) -> pa.Table:
    """Add how much love each user's first message of the experiment lets expect: no arm had
    answered it yet."""
    firsts = query(
        home,
        f"""
        SELECT user_id, arg_min(messages, (occurred_at, response_id)) AS messages
        FROM shown WHERE experiment = {_quoted(experiment)} AND learnable
        GROUP BY user_id ORDER BY user_id
        """,
    ).to_pydict()
    prompts = [json.loads(text) for text in firsts["messages"]]
    told = predict_love(load_snapshot(snapshot), prompts)
    of_user = dict(zip(firsts["user_id"], told.tolist(), strict=True))
    users = exposures["user_id"].to_pylist()
    return exposures.append_column("predicted", pa.array([of_user[user] for user in users]))


def _policies(
    baseline: str, turn: TurnReport, comparison: OnlineReport | None
) -> list[dict[str, Any]]:
    """Give one row per version: what users did, where they met it, and what the evidence said."""
    arms = {} if comparison is None else {result.arm: result for result in comparison.arms}
    lifts = {} if comparison is None else {lift.arm: lift for lift in comparison.lifts}
    rows = []
    for arm, candidate in [(CONTROL, None), *((c.recipe, c) for c in turn.candidates)]:
        result, lift = arms.get(arm), lifts.get(arm)
        rows.append(
            {
                "version": candidate.ref if candidate else baseline,
                "recipe": candidate.recipe if candidate else "baseline",
                "num_shown": result.num_shown if result else 0,
                "num_users": result.num_users if result else 0,
                "love_rate": result.rate if result else None,
                "love_rate_ci": list(result.rate_ci) if result else None,
                "love_lift": lift.adjusted if lift else None,
                "love_lift_ci": list(lift.adjusted_ci) if lift else None,
                "love_lift_raw_ci": list(lift.lift_ci) if lift else None,
                "examples": [e.to_json() for e in candidate.examples] if candidate else [],
                "love_lift_ci_sequential": list(lift.lift_ci_sequential) if lift else None,
                **_evidence(candidate, turn),
            }
        )
    return rows


def _evidence(candidate: Candidate | None, turn: TurnReport) -> dict[str, Any]:
    if candidate is None:
        # Production's own figures stand in every candidate's evidence, beside the candidate's.
        beside = turn.candidates[0] if turn.candidates else None
        return {
            "helpfulness_win_rate": None,
            "safety_violation_rate": _before(beside),
            "closer_rate": _value(beside, "closer_rate_production"),
            "kl_nats": None,
            "ruling": "baseline",
            "reasons": [],
            "checks": [],
            "informative": [],
        }
    checks = [check for verdict in candidate.verdicts for check in verdict.checks]
    asked = {check.measure.name for check in checks}
    return {
        "helpfulness_win_rate": _value(candidate, "helpfulness_win_rate"),
        "safety_violation_rate": _value(candidate, "safety_violation_rate"),
        "closer_rate": _value(candidate, "closer_rate"),
        "kl_nats": _value(candidate, "kl_nats"),
        "ruling": candidate.ruling,
        "reasons": list(candidate.reasons),
        "checks": [
            check.to_json()
            for verdict in candidate.verdicts
            if verdict.gate != "taught_by"
            for check in verdict.checks
        ],
        "informative": [m.to_json() for m in candidate.measures if m.name not in asked],
    }


def _value(candidate: Candidate | None, name: str) -> float | None:
    measure = candidate.measure(name) if candidate is not None else None
    return measure.value if measure is not None else None


def _before(candidate: Candidate | None) -> float | None:
    """Give production's share of unsafe replies: the candidate's less its rise."""
    rate, rise = _value(candidate, "safety_violation_rate"), _value(candidate, "safety_rise")
    return None if rate is None or rise is None else rate - rise


def _funnel(home: Path) -> dict[str, int]:
    (row,) = query(
        home,
        """
        SELECT (SELECT count(*) FROM shown) AS shown,
               (SELECT count(*) FROM reactions) AS reactions,
               (SELECT count(*) FROM labels WHERE value) AS labels_on,
               (SELECT count(*) FROM folded_outcomes
                WHERE signal = 'love' AND counts AND stands) AS loved,
               (SELECT count(*) FROM labels WHERE mistap) AS mistaps,
               (SELECT count(*) FROM labels WHERE dangling) AS dangling,
               (SELECT count(*) FROM dead_letters) AS dead_letters
        """,
    ).to_pylist()
    found: dict[str, int] = row
    return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
