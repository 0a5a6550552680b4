"""Numbers as a reader wants them: with a unit, few digits and a real minus sign."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

NONE = "–"
NO_BREAK = "\u00a0"
"""The space between a number and its unit."""
POINTS = ("_rise", "_gap")
"""Endings of measures that are a difference of two shares: told in percentage points."""
FACTORS = ("_ratio",)
"""Endings of measures that are one amount over another."""
MEANINGS = {
    "num_prompts": "held-out prompts that both versions answered",
    "num_replies": "replies of the candidate to them",
    "kl_nats": "how far the candidate has moved from production, per reply",
    "love_rise": "mean P[love] of its replies less production's, by an independent model",
    "love_lift": "the same as a relative change",
    "love_win_rate": "how often its reply outscores production's, by an independent model",
    "love_training_win_rate": "the same, by the model that trained it",
    "win_rate_gap": "how much better it looks to the model that trained it",
    "helpfulness_win_rate": "how often its reply is the more helpful one",
    "safety_violation_rate": "replies that the safety judge finds unsafe",
    "safety_rise": "the same, less production's",
    "closer_rate": "replies that end in a farewell nobody asked for",
    "closer_rate_production": "the same of production",
    "closer_rise": "the candidate's closers less production's",
    "length_ratio": "mean length in characters over production's",
    "exclamation_ratio": "exclamation marks a reply over production's, both plus 0.05",
    "emoji_ratio": "emoji a reply over production's, both plus 0.05",
    "repetition_rise": "word pairs said twice within one reply, less production's",
    "echo_rise": "three-word runs also said to other prompts, less production's",
    "phrase_rise": "the phrase that spreads most, found on other users than it is measured on",
}
"""What the measures of training/evidence are, for readers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One measure in words."""

    name: str
    value: str
    interval: str
    limit: str
    limits: tuple[float, ...]
    """The ends of what is allowed, in the measure's own unit."""
    outcome: str
    """kept, broken, undecided or informs."""
    meaning: str
    """One sentence; empty where the name says it all."""
    needed: str
    """What would decide an undecided one; empty otherwise."""


def share(value: float | None, digits: int = 1) -> str:
    """Give 0.1234 as 12.3 %."""
    return NONE if value is None else _minus(f"{value * 100:.{digits}f}{NO_BREAK}%")


def change(value: float | None, digits: int = 1) -> str:
    """Give 0.1234 as +12.3 %."""
    return NONE if value is None else _minus(f"{value * 100:+.{digits}f}{NO_BREAK}%")


def number(value: float | None, digits: int = 3) -> str:
    """Give a number with few digits."""
    return NONE if value is None else _minus(f"{value:.{digits}g}")


def tell(row: Mapping[str, Any]) -> Told:
    """Put a check, or a measure of which nothing is asked, into words: its limit is given in the
    same unit as its value. Takes what `Check.to_json` or `Measure.to_json` gives."""
    say, say_limit = _speaker(row), _speaker(row, is_limit=True)
    low, high = row["low"], row["high"]
    ends = [row.get("allowed_low"), row.get("allowed_high")]
    least, most = (None if end is None else say_limit(end).removeprefix("+") for end in ends)
    limit = ""
    if least is not None and most is not None:
        limit = f"{least} to {most}"
    elif least is not None or most is not None:
        limit = f"≥ {least}" if least is not None else f"≤ {most}"
    name = str(row["name"]).replace("_", " ").removeprefix("num ").replace("kl nats", "KL")
    needed = row.get("users_needed")
    return Told(
        name=f"{name}: {row['about']}" if row["about"] else name,
        value=NONE if row["value"] is None else say(row["value"]),
        interval="" if low is None or high is None else f"{say(low)} to {say(high)}",
        limit=limit,
        limits=tuple(end for end in ends if end is not None),
        outcome=str(row.get("outcome", "informs")),
        meaning=MEANINGS.get(str(row["name"]), ""),
        needed="" if needed is None else f"about {needed:,} users would decide",
    )


def objection(row: Mapping[str, Any]) -> str:
    """Say in one sentence why a check was not kept."""
    told = tell(row)
    between = f" ({told.interval})" if told.interval else ""
    sentence = f"{told.name} is {told.value}{between}, allowed is {told.limit}"
    if told.outcome != "undecided":
        return sentence
    return f"{sentence}: not enough evidence" + (f", {told.needed}" if told.needed else "")


def _speaker(measure: Mapping[str, Any], *, is_limit: bool = False) -> Callable[[float], str]:
    """Give how numbers of this measure are said; limits are round, so they drop their zeros."""
    name, unit, value = str(measure["name"]), str(measure["unit"]), abs(measure["value"] or 0.0)
    if name.endswith(FACTORS):
        return lambda x: f"{x:.3g}{NO_BREAK}×" if is_limit else f"{x:.2f}{NO_BREAK}×"
    if name.endswith(POINTS):
        if is_limit:
            return lambda x: _minus(f"{x * 100:.3g}{NO_BREAK}pp")
        digits = 1 if value >= 0.0005 or value == 0 else 3
        return lambda x: _minus(f"{x * 100:+.{digits}f}{NO_BREAK}pp")
    if name.endswith("_lift"):
        return change
    if unit in ("ratio", "probability"):
        return lambda x: f"{x * 100:.3g}{NO_BREAK}%" if is_limit else share(x)
    if is_limit or (float(value).is_integer() and measure["low"] is None):
        return lambda x: _minus(f"{x:,g}{NO_BREAK}{unit}".rstrip(NO_BREAK))
    return lambda x: _minus(f"{x:.2f}{NO_BREAK}{unit}".rstrip(NO_BREAK))


def _minus(text: str) -> str:
    return text.replace("-", "−")
