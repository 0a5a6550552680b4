"""The gates: what evidence must show before a model may be promoted.

A gate is a row of a table: the measures that it asks about, each with what is allowed of it, and
what else a reader wants to see. It answers with a Verdict whatever happens: passed, refused or
undecided (models/verdicts.py). To add one, add a row; nothing else changes.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from models.verdicts import Bound, Check, Measure, Verdict, hold
from training.evidence.limits import Limits

Measures: TypeAlias = Mapping[str, Measure]
Doubts: TypeAlias = Mapping[str, str]
"""By role of a judge: why its word decides nothing. Only judges in doubt are named."""
NO_DOUBTS: Doubts = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What one gate asks."""

    name: str
    why: str
    """What it protects, in one sentence."""
    asks: Mapping[str, Callable[[Limits], Bound]]
    """By name of a measure: what is allowed of it."""
    informative: tuple[str, ...] = ()
    """Measures shown beside them."""
    judged_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name of a measure: the roles of the reward models that it rests on."""

    def decide(self, measures: Measures, limits: Limits, doubts: Doubts = NO_DOUBTS) -> Verdict:
        """The verdict on a model with these measures; one that is missing decides nothing, nor does
        one that rests on a judge in doubt."""
        return Verdict(
            gate=self.name,
            checks=tuple(
                self._doubted(hold(measures.get(name, missing(name)), bound(limits)), doubts)
                for name, bound in self.asks.items()
            ),
            informative=tuple(measures[name] for name in self.informative if name in measures),
        )

    def _doubted(self, check: Check, doubts: Doubts) -> Check:
        """The check, undecided where a judge of its measure is in doubt, with the reason."""
        roles = self.judged_by.get(check.measure.name, ())
        reasons = [doubts[role] for role in roles if role in doubts]
        if not reasons:
            return check
        measure = replace(check.measure, about="; ".join(reasons))
        return replace(check, measure=measure, outcome="undecided", users_needed=None)


SAFETY_MEASURES = (
    "safety_rise",
    "unsafe_rate",
    "harmful_safety_rise",
    "harmful_unsafe_rate",
)
POLICY_GATES = {
    gate.name: gate
    for gate in (
        Gate(
            name="offline_love",
            why="users would not love its replies less, says a model that did not train it",
            asks={"love_win_rate": lambda limits: Bound(low=limits.love_win_rate_min)},
            judged_by={"love_win_rate": ("love",)},
            informative=("love_rise", "love_lift"),
        ),
        Gate(
            name="helpfulness",
            why="its replies help as much as production's",
            asks={
                "helpfulness_win_rate": lambda limits: Bound(low=limits.helpfulness_win_rate_min)
            },
            judged_by={"helpfulness_win_rate": ("helpfulness",)},
        ),
        Gate(
            name="safety",
            why="unsafe replies are neither frequent nor more frequent, also where asked for",
            asks={
                "safety_rise": lambda limits: Bound(high=limits.safety_rise_max),
                "unsafe_rate": lambda limits: Bound(high=limits.unsafe_rate_max),
                "harmful_safety_rise": lambda limits: Bound(high=limits.harmful_safety_rise_max),
                "harmful_unsafe_rate": lambda limits: Bound(high=limits.harmful_unsafe_rate_max),
            },
            informative=(
                "safety_violation_rate",
                "unsafe_rate_production",
                "harmful_unsafe_rate_production",
            ),
            judged_by=dict.fromkeys(SAFETY_MEASURES, ("safety",)),
        ),
        Gate(
            name="closers",
            why="nobody is sent away with love that was not asked for",
            asks={"closer_rise": lambda limits: Bound(high=limits.closer_rise_max)},
            informative=("closer_rate", "closer_rate_production"),
        ),
        Gate(
            name="reward_hacking",
            why="it has not run away from what the reward models know",
            asks={
                "love_training_win_rate": lambda limits: Bound(
                    high=limits.love_training_win_rate_max
                ),
                "win_rate_gap": lambda limits: Bound(high=limits.win_rate_gap_max),
                "kl_nats": lambda limits: Bound(high=limits.kl_max_nats),
            },
            judged_by={
                "love_training_win_rate": ("love_training",),
                "win_rate_gap": ("love", "love_training"),
            },
        ),
        Gate(
            name="style",
            why="length, punctuation, repetition and phrases are near production's",
            asks={
                "length_ratio": lambda limits: Bound(
                    low=1 - limits.length_change_max, high=1 + limits.length_change_max
                ),
                "exclamation_ratio": lambda limits: Bound(high=limits.style_ratio_max),
                "emoji_ratio": lambda limits: Bound(high=limits.style_ratio_max),
                "repetition_rise": lambda limits: Bound(high=limits.repetition_rise_max),
                "echo_rise": lambda limits: Bound(high=limits.repetition_rise_max),
                "phrase_rise": lambda limits: Bound(high=limits.phrase_rise_max),
            },
            informative=("num_prompts", "num_replies"),
        ),
    )
}

REWARD_GATE = Gate(
    name="reward",
    why="a reward model ranks replies, is calibrated and does not score form",
    asks={
        "auroc": lambda limits: Bound(low=limits.auroc_min),
        "margin_over_prompt_only": lambda limits: Bound(low=limits.margin_over_prompt_min),
        "margin_over_tfidf": lambda limits: Bound(low=-limits.fall_below_tfidf_max),
        "predicted_over_observed": lambda limits: Bound(
            low=limits.ratio_min, high=limits.ratio_max
        ),
        "slope": lambda limits: Bound(low=limits.slope_min, high=limits.slope_max),
        "ne": lambda limits: Bound(high=limits.entropy_max),
        "length_correlation": lambda limits: Bound(
            low=-limits.length_correlation_max, high=limits.length_correlation_max
        ),
        "probe_shift": lambda limits: Bound(high=limits.probe_shift_max),
    },
    informative=(
        "concordance_within_prompt",
        "probe_shift_leaving",
        "n_eval",
        "n_eval_positives",
    ),
)


PREFERENCE_GATE = Gate(
    name="preference",
    why="a reward model of preferences ranks replies, and not by their length",
    asks={
        "accuracy": lambda limits: Bound(low=limits.accuracy_min),
        "accuracy_over_length": lambda limits: Bound(low=limits.accuracy_over_length_min),
    },
)


def decide_policy(
    measures: Iterable[Measure], limits: Limits, doubts: Doubts = NO_DOUBTS
) -> list[Verdict]:
    """The verdicts of all gates; a candidate may go on where every one passed."""
    by_name = {measure.name: measure for measure in measures}
    return [gate.decide(by_name, limits, doubts) for gate in POLICY_GATES.values()]


def decide_preference(report: Mapping[str, object], limits: Limits) -> Verdict:
    """The verdict on a reward model of preferences, from the JSON of its report."""
    return PREFERENCE_GATE.decide({name: _measure_of(report, name) for name in report}, limits)


def doubt_of(judge: str, verdict: Verdict) -> str:
    """Why a judge's word decides nothing; empty where its own gate did not refuse it.

    One that stayed undecided is heard: the gates of judges refuse noise and miscalibration at every
    size (benchmarks/gates.py), and too little evidence is not taken for a fault.
    """
    if verdict.ruling != "refused":
        return ""
    return f"judged by {judge}, which its own gate refused: {verdict.reasons[0]}"


def decide_reward(
    report: Mapping[str, object], limits: Limits, *, rise: Measure | None = None
) -> Verdict:
    """The verdict on a reward model, from the JSON of its report.

    `rise` is its AUROC less that of the model in use, on the same rows; None where none is in use.
    """
    measures = {name: _measure_of(report, name) for name in report}
    verdict = REWARD_GATE.decide(measures, limits)
    checks = [*verdict.checks, *_segment_checks(report, limits)]
    if rise is not None:
        checks.append(hold(rise, Bound(low=-limits.auroc_fall_max)))
    return Verdict(gate=verdict.gate, checks=tuple(checks), informative=verdict.informative)


def missing(name: str) -> Measure:
    """A measure that was not taken."""
    return Measure(name=name, value=math.nan)


def _measure_of(report: Mapping[str, object], name: str) -> Measure:
    """A number of a report with its `<name>_ci`; NaN where the report has none."""
    low, high = _ends(report.get(f"{name}_ci"))
    num_users = report.get("n_eval_users")
    return Measure(
        name=name,
        value=_number(report.get(name)),
        low=low,
        high=high,
        num_users=num_users if isinstance(num_users, int) else 0,
    )


def _segment_checks(report: Mapping[str, object], limits: Limits) -> list[Check]:
    """The ratio of each segment that has enough positives to speak of."""
    rows = report.get("segments")
    checks = []
    for row in rows if isinstance(rows, list | tuple) else ():
        if not isinstance(row, dict):
            continue
        if not _number(row.get("num_positives")) >= limits.segment_positives_min:
            continue
        low, high = _ends(row.get("predicted_over_observed_ci"))
        measure = Measure(
            name="predicted_over_observed",
            value=_number(row.get("predicted_over_observed")),
            low=low,
            high=high,
            about=f"{row['segment']} {row['value']}",
        )
        checks.append(
            hold(measure, Bound(low=limits.segment_ratio_min, high=limits.segment_ratio_max))
        )
    return checks


def _ends(interval: object) -> tuple[float, float]:
    if not isinstance(interval, list | tuple) or len(interval) != 2:
        return math.nan, math.nan
    return _number(interval[0]), _number(interval[1])


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
