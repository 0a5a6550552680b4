"""What one turn made: its reward models, its candidates, and what the gates said of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.verdicts import Measure, Ruling, Verdict, ruling_together
from training.evidence.examples import Example

NONE = "–"
"""What is said of a number that was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One refreshed policy and what the gates said of it."""

    recipe: str
    name: str
    number: int
    verdicts: tuple[Verdict, ...]
    measures: tuple[Measure, ...]
    """All that were taken, those that no gate asks about among them."""
    examples: tuple[Example, ...] = ()
    """Replies that show what a sentinel found amiss."""

    @property
    def ref(self) -> str:
        """Such as chat@3."""
        return f"{self.name}@{self.number}"

    @property
    def ruling(self) -> Ruling:
        """What all gates together say."""
        return ruling_together(verdict.ruling for verdict in self.verdicts)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it did not pass; empty where it did."""
        return tuple(dict.fromkeys(r for verdict in self.verdicts for r in verdict.reasons))

    @property
    def passed(self) -> bool:
        """Whether every gate passed it."""
        return self.ruling == "passed"

    def to_json(self) -> dict[str, object]:
        """Plain values, with what all gates together say."""
        return {
            "recipe": self.recipe,
            "name": self.name,
            "number": self.number,
            "ruling": self.ruling,
            "passed": self.passed,
            "reasons": list(self.reasons),
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "measures": [measure.to_json() for measure in self.measures],
            "examples": [example.to_json() for example in self.examples],
        }

    def measure(self, name: str) -> Measure | None:
        """The measure of this name, if it was taken."""
        return next((measure for measure in self.measures if measure.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnReport:
    """What one turn made."""

    turn: str
    as_of: datetime
    why: str
    snapshot_hash: str
    production: str
    reward: Mapping[str, Any]
    """Metrics of P[Love] on later users."""
    reward_verdict: Verdict
    candidates: tuple[Candidate, ...]
    seconds: Mapping[str, float]
    """Time that each step took when it ran."""

    def summary(self) -> str:
        """Give the lines a person reads."""
        ruling = "" if self.reward_verdict.passed else f" ({self.reward_verdict.ruling})"
        lines = [
            f"turn {self.turn}: snapshot {self.snapshot_hash[:12]},"
            f" {self.reward['n_labels']:,} labels; P[love]{ruling}:",
            *(f"    {line}" for line in reward_lines(self.reward)),
        ]
        for candidate in self.candidates:
            lines.append(f"{candidate.ref} ({candidate.recipe}): {candidate.ruling}")
            lines.extend(f"    {reason}" for reason in candidate.reasons)
        return "\n".join(lines)


def reward_lines(report: Mapping[str, Any]) -> list[str]:
    """What a person asks first of a reward model, from the JSON of its report: how it ranks, what
    the prompt alone and a bag of words reach, and what it did not read."""

    def told(name: str, form: str = ".3f") -> str:
        value, *ends = (_number(x) for x in (report.get(name), *_ends(report, name)))
        between = f" [{ends[0]:{form}}, {ends[1]:{form}}]" if all(map(math.isfinite, ends)) else ""
        return f"{value:{form}}{between}" if math.isfinite(value) else NONE

    lines = [
        f"AUROC {told('auroc')}, predicted/observed {told('predicted_over_observed', '.2f')}",
        f"within one prompt {told('concordance_within_prompt')}"
        f" ({report.get('n_prompt_pairs') or 0:,} pairs of replies)",
        f"ahead of the prompt alone {told('margin_over_prompt_only', '+.3f')},"
        f" of TF-IDF {told('margin_over_tfidf', '+.3f')}",
    ]
    cut = report.get("truncation")
    if cut is not None:
        lines.append(
            f"read without its end: {cut['replies']:.1%} of replies;"
            f" without its start: {cut['prompts']:.1%} of prompts"
        )
    if report.get("n_probed") and report["n_probed"] < report["n_train"]:
        lines.append(
            f"fitted on {report['n_probed']:,} of {report['n_train']:,} rows, evenly"
            " spaced (training.reward.states_bytes_max)"
        )
    return lines


def _ends(report: Mapping[str, Any], name: str) -> Sequence[object]:
    return report.get(f"{name}_ci") or (None, None)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
