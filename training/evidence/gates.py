"""The gates: what evidence must show before a model may be promoted, and what is said when not.

A gate answers with a Verdict whatever happens. Where a measure is missing or rests on too little,
the verdict is "not enough evidence" and does not pass: silence clears nobody. To add one: a
function here and a row in GATES.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from training.evidence.limits import Limits
from training.evidence.report import Measure, Verdict, verdict_of

Measures: TypeAlias = Mapping[str, Measure]
Gate: TypeAlias = Callable[[Measures, Limits], Verdict]


def offline_love(measures: Measures, limits: Limits) -> Verdict:
    """Users would love the candidate's replies more, says a model that did not train it."""
    floor = limits.love_rise_low_min
    return _judge(
        "offline_love",
        measures,
        limits,
        [_Check("love_rise", f"interval above {floor:g}", lambda m: m.low > floor)],
        informative=("love_lift", "love_win_rate"),
    )


def helpfulness(measures: Measures, limits: Limits) -> Verdict:
    """Replies help as much as production's."""
    least, low = limits.helpfulness_win_min, limits.helpfulness_win_low_min
    return _judge(
        "helpfulness",
        measures,
        limits,
        [
            _Check(
                "helpfulness_win_rate",
                f">= {least:g}, interval from {low:g} up",
                lambda m: m.value >= least and m.low >= low,
            )
        ],
    )


def safety(measures: Measures, limits: Limits) -> Verdict:
    """Unsafe replies are not more frequent, as far as that many replies can tell."""
    most = limits.safety_rise_max
    return _judge(
        "safety",
        measures,
        limits,
        [_Check("safety_rise", f"interval up to {most:g}", lambda m: m.high <= most)],
        informative=("safety_violation_rate",),
    )


def closers(measures: Measures, limits: Limits) -> Verdict:
    """Nobody is sent away with love that was not asked for."""
    ratio, rise = limits.closer_ratio_max, limits.closer_rise_max
    return _judge(
        "closers",
        measures,
        limits,
        [
            _Check("closer_rise", f"<= {rise:g}", lambda m: m.value <= rise),
            _Check(
                "closer_ratio",
                f"< {ratio:g}, or not significantly above 1",
                lambda m: m.value < ratio or m.low <= 1,
            ),
        ],
        informative=("closer_rate", "closer_rate_production"),
    )


def reward_hacking(measures: Measures, limits: Limits) -> Verdict:
    """The candidate has not run away from what the reward models know."""
    most, gap, kl = limits.love_win_rate_max, limits.win_rate_gap_max, limits.kl_max_nats
    checks = [
        _Check("love_training_win_rate", f"<= {most:g}", lambda m: m.value <= most),
        _Check("win_rate_gap", f"<= {gap:g}", lambda m: m.value <= gap),
        _Check("kl_nats", f"interval up to {kl:g}", lambda m: m.high <= kl),
    ]
    return _judge("reward_hacking", measures, limits, checks)


def style(measures: Measures, limits: Limits) -> Verdict:
    """Length, exclamation marks, emoji, repetition and phrases are near production's."""
    length, ratio = limits.length_change_max, limits.style_ratio_max
    repeats, share = limits.repetition_rise_max, limits.new_phrase_share_max
    return _judge(
        "style",
        measures,
        limits,
        [
            _Check(
                "length_ratio",
                f"within {1 - length:g} and {1 + length:g}",
                lambda m: abs(m.value - 1) <= length,
            ),
            *(
                _Check(
                    name,
                    f"< {ratio:g}, or not significantly above 1",
                    lambda m: m.value < ratio or m.low <= 1,
                )
                for name in ("exclamation_ratio", "emoji_ratio")
            ),
            *(
                _Check(name, f"<= {repeats:g}", lambda m: m.value <= repeats)
                for name in ("repetition_rise", "echo_rise")
            ),
            _Check("new_phrase_share", f"<= {share:g}", lambda m: m.value <= share),
        ],
    )


GATES: dict[str, Gate] = {
    "offline_love": offline_love,
    "helpfulness": helpfulness,
    "safety": safety,
    "closers": closers,
    "reward_hacking": reward_hacking,
    "style": style,
}


def judge_policy(measures: Iterable[Measure], limits: Limits) -> list[Verdict]:
    """The verdicts of all gates; a candidate may go on where every one passed."""
    by_name = {measure.name: measure for measure in measures}
    return [gate(by_name, limits) for gate in GATES.values()]


def gate_reward(
    report: Mapping[str, object], limits: Limits, *, incumbent: Mapping[str, object] | None = None
) -> Verdict:
    """The gate of a reward model, from the JSON of its report (and of the one in use, if any)."""
    found = {name: _measure_of(report, name) for name in _REWARD_MEASURES}
    auroc_min = limits.auroc_min
    if incumbent is not None and isinstance(before := incumbent.get("auroc"), int | float):
        auroc_min = max(auroc_min, float(before) - limits.auroc_fall_max)
    within = limits
    checks = [
        _Check("auroc", f">= {auroc_min:.4g}", lambda m: m.value >= auroc_min),
        _Check(
            "predicted_over_observed",
            f"within {within.ratio_min:g} and {within.ratio_max:g}",
            lambda m: within.ratio_min <= m.value <= within.ratio_max,
        ),
        _Check(
            "slope",
            f"within {within.slope_min:g} and {within.slope_max:g}",
            lambda m: within.slope_min <= m.value <= within.slope_max,
        ),
        _Check("ne", f"< {within.entropy_max:g}", lambda m: m.value < within.entropy_max),
        _Check(
            "length_correlation",
            f"within +-{within.length_correlation_max:g}",
            lambda m: abs(m.value) <= within.length_correlation_max,
        ),
        _Check(
            "probe_shift",
            f"<= {within.probe_shift_max:g}",
            lambda m: m.value <= within.probe_shift_max,
        ),
    ]
    segments = _segment_measures(report, limits)
    enough = _enough("n_eval", found, limits.evaluated_min)
    held = [_held(check, found) for check in checks]
    return verdict_of("reward", [enough, *held, *segments])


_REWARD_MEASURES = (
    "n_eval",
    "auroc",
    "predicted_over_observed",
    "slope",
    "ne",
    "length_correlation",
    "probe_shift",
)


class _Check:
    """A limit in words and as a test of a measure that is there and a number."""

    __slots__ = ("limit", "name", "passes")

    def __init__(self, name: str, limit: str, passes: Callable[[Measure], bool]) -> None:
        self.name = name
        self.limit = limit
        self.passes = passes


def _judge(
    gate: str,
    measures: Measures,
    limits: Limits,
    checks: Sequence[_Check],
    *,
    informative: Sequence[str] = (),
) -> Verdict:
    """Enough prompts and replies, every check kept, and what else a reader wants to see."""
    return verdict_of(
        gate,
        [
            *(_held(check, measures) for check in checks),
            *(measures[name] for name in informative if name in measures),
            _enough("num_prompts", measures, limits.prompts_min),
            _enough("num_replies", measures, limits.replies_min),
        ],
    )


def _held(check: _Check, measures: Measures) -> Measure:
    """The measure with its limit and whether it kept it; missing and NaN do not."""
    measure = measures.get(check.name, Measure(name=check.name, value=math.nan))
    if math.isnan(measure.value):
        return replace(measure, limit=f"{check.limit}: not enough evidence", passed=False)
    return replace(measure, limit=check.limit, passed=check.passes(measure))


def _enough(name: str, measures: Measures, least: int) -> Measure:
    measure = measures.get(name, Measure(name=name, value=0.0))
    passed = measure.value >= least
    limit = f">= {least}" if passed else f">= {least}: not enough evidence"
    return replace(measure, limit=limit, passed=passed)


def _measure_of(report: Mapping[str, object], name: str) -> Measure:
    """A number of a report with its `<name>_ci`; NaN where the report has none."""
    value, ends = report.get(name), report.get(f"{name}_ci")
    low, high = ends if isinstance(ends, list | tuple) else (None, None)
    return Measure(name=name, value=_number(value), low=_number(low), high=_number(high))


def _segment_measures(report: Mapping[str, object], limits: Limits) -> list[Measure]:
    """The ratio of each segment that has enough positives to speak of."""
    rows = report.get("segments")
    measures = []
    for row in rows if isinstance(rows, list | tuple) else ():
        if (
            not isinstance(row, dict)
            or _number(row["num_positives"]) < limits.segment_positives_min
        ):
            continue
        ratio = _number(row["predicted_over_observed"])
        measures.append(
            Measure(
                name=f"predicted_over_observed of {row['segment']} {row['value']}",
                value=ratio,
                limit=f"within {limits.segment_ratio_min:g} and {limits.segment_ratio_max:g}",
                passed=limits.segment_ratio_min <= ratio <= limits.segment_ratio_max,
            )
        )
    return measures


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
