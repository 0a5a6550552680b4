"""Numbers as a reader wants them: with a unit, few digits and a real minus sign."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

NONE = "–"
NO_BREAK = "\u00a0"
"""The space between a number and its unit."""
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
SIGNS = (("<=", "≤"), (">=", "≥"))
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
    "closer_ratio": "the candidate's closers over production's",
    "closer_rise": "the candidate's closers less production's",
    "length_ratio": "mean length in characters over production's",
    "exclamation_ratio": "exclamation marks a reply over production's",
    "emoji_ratio": "emoji a reply over production's",
    "repetition_rise": "word pairs said twice within one reply, less production's",
    "echo_rise": "three-word runs also said to other prompts, less production's",
    "new_phrase_share": "replies with the commonest phrase that production hardly says",
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
    """The numbers in the limit, in the measure's own unit."""
    outcome: str
    """kept, broken or informs."""
    meaning: str
    """One sentence; empty where the name says it all."""


def share(value: float | None, digits: int = 1) -> str:
    """Give 0.1234 as 12.3 %."""
    return NONE if value is None else _minus(f"{value * 100:.{digits}f}{NO_BREAK}%")


def change(value: float | None, digits: int = 1) -> str:
    """Give 0.1234 as +12.3 %."""
    return NONE if value is None else _minus(f"{value * 100:+.{digits}f}{NO_BREAK}%")


def number(value: float | None, digits: int = 3) -> str:
    """Give a number with few digits."""
    return NONE if value is None else _minus(f"{value:.{digits}g}")


def tell(measure: Mapping[str, Any]) -> Told:
    """Put a measure into words; its limit is given in the same unit as its value."""
    say, say_limit = _speaker(measure), _speaker(measure, is_limit=True)
    low, high = measure["low"], measure["high"]
    limit = str(measure["limit"])
    limits = tuple(float(found) for found in NUMBER.findall(limit))
    for written, sign in SIGNS:
        limit = limit.replace(written, sign)
    return Told(
        name=str(measure["name"]).replace("_", " ").removeprefix("num ").replace("kl nats", "KL"),
        value=NONE if measure["value"] is None else say(measure["value"]),
        interval="" if low is None or high is None else f"{say(low)} to {say(high)}",
        limit=NUMBER.sub(lambda found: say_limit(float(found[0])).removeprefix("+"), limit),
        limits=limits,
        outcome={True: "kept", False: "broken"}.get(measure["passed"], "informs"),
        meaning=MEANINGS.get(str(measure["name"]), ""),
    )


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
