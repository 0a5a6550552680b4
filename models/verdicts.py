"""What evidence says of a version: measures, what is allowed of them, and what follows.

A check is a hypothesis test with three outcomes. It is *kept* where the whole interval of the
measure is allowed, *broken* where none of it is, and *undecided* in between; an undecided check
says how much evidence would decide it, so that too little evidence is never taken for a fault, nor
for its absence.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal["kept", "broken", "undecided"]
Ruling: TypeAlias = Literal["passed", "refused", "undecided"]

DIGITS = 2
"""Significant digits of a number of users that would decide: it rests on an estimate itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number and its interval."""

    name: str
    value: float
    """NaN where it could not be measured."""
    low: float = math.nan
    """Lower end of the interval; NaN where none was computed."""
    high: float = math.nan
    """Upper end of the interval; NaN where none was computed."""
    unit: str = ""
    """What the value counts: "nats", "tokens", "probability"; "" for pure numbers."""
    num_users: int = 0
    """Independent users behind it; 0 where that is not known."""
    about: str = ""
    """What was measured where the name cannot say it, such as the phrase that spread."""

    def to_json(self) -> dict[str, object]:
        """Plain values for a JSON document: NaN and infinities become None."""
        return {
            "name": self.name,
            "value": plain_number(self.value),
            "low": plain_number(self.low),
            "high": plain_number(self.high),
            "unit": self.unit,
            "num_users": self.num_users,
            "about": self.about,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The values that are allowed, both ends included."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        if self.low == -math.inf:
            return f"at most {self.high:.4g}"
        if self.high == math.inf:
            return f"at least {self.low:.4g}"
        return f"{self.low:.4g} to {self.high:.4g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A measure held against a bound."""

    measure: Measure
    bound: Bound
    outcome: Outcome
    users_needed: int | None = None
    """Of an undecided check: about so many users would decide it, if the value stays where it is;
    None where no number can be given."""

    def to_json(self) -> dict[str, object]:
        """Those of the measure, what is allowed of it (None: no end), and what followed."""
        return {
            **self.measure.to_json(),
            "allowed_low": plain_number(self.bound.low),
            "allowed_high": plain_number(self.bound.high),
            "outcome": self.outcome,
            "users_needed": self.users_needed,
        }

    def __str__(self) -> str:
        m = self.measure
        unit = f" {m.unit}" if m.unit and m.unit != "ratio" else ""
        about = f" ({m.about})" if m.about else ""
        if math.isnan(m.value):
            return f"{m.name}{about} could not be measured; allowed is {self.bound}{unit}"
        between = "" if math.isnan(m.low) else f" [{m.low:.4g}, {m.high:.4g}]"
        told = f"{m.name}{about} is {m.value:.4g}{between}{unit}, allowed is {self.bound}"
        if self.outcome != "undecided":
            return told
        if self.users_needed is None:
            return f"{told}: not enough evidence"
        return f"{told}: not enough evidence, about {self.users_needed:,} users would decide"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate decided of a version, and on what. It is stored whatever it says."""

    gate: str
    checks: tuple[Check, ...] = ()
    informative: tuple[Measure, ...] = ()
    """Measures that a reader wants beside them; nothing is asked of these."""

    @property
    def ruling(self) -> Ruling:
        """Refused where a check is broken, passed where all are kept, else undecided."""
        outcomes = {check.outcome for check in self.checks}
        if "broken" in outcomes:
            return "refused"
        return "passed" if outcomes == {"kept"} else "undecided"

    @property
    def passed(self) -> bool:
        """Whether every check was kept."""
        return self.ruling == "passed"

    @property
    def objections(self) -> tuple[Check, ...]:
        """The checks that were not kept, the broken ones first."""
        left = [check for check in self.checks if check.outcome != "kept"]
        return tuple(sorted(left, key=lambda check: check.outcome != "broken"))

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence for each check that was not kept; empty where the gate passed."""
        if not self.checks:
            return ("nothing was checked",)
        return tuple(map(str, self.objections))

    def to_json(self) -> dict[str, object]:
        """Plain values for a JSON document; `verdict_from_json` reads them back."""
        return {
            "gate": self.gate,
            "ruling": self.ruling,
            "reasons": list(self.reasons),
            "checks": [check.to_json() for check in self.checks],
            "informative": [measure.to_json() for measure in self.informative],
        }


def hold(measure: Measure, bound: Bound) -> Check:
    """The check of a measure against a bound. Without an interval nothing is decided."""
    low, high = measure.low, measure.high
    if math.isnan(measure.value) or math.isnan(low) or math.isnan(high):
        return Check(measure=measure, bound=bound, outcome="undecided")
    if bound.low <= low and high <= bound.high:
        return Check(measure=measure, bound=bound, outcome="kept")
    if high < bound.low or low > bound.high:
        return Check(measure=measure, bound=bound, outcome="broken")
    return Check(
        measure=measure,
        bound=bound,
        outcome="undecided",
        users_needed=_users_needed(measure, bound),
    )


def _users_needed(measure: Measure, bound: Bound) -> int | None:
    """Users at which the interval would just end at the bound: its width falls with their root."""
    if not measure.num_users:
        return None
    shrink = 1.0
    for edge in (bound.low, bound.high):
        if not measure.low < edge < measure.high:
            continue
        distance = edge - measure.value
        arm = measure.high - measure.value if distance > 0 else measure.value - measure.low
        if distance == 0 or arm <= 0:
            return None
        shrink = max(shrink, arm / abs(distance))
    needed = measure.num_users * shrink**2
    if not needed < 1e12:
        return None
    step: int = 10 ** max(0, math.floor(math.log10(needed)) - DIGITS + 1)
    return math.ceil(needed / step) * step


def verdict_from_json(document: Mapping[str, object]) -> Verdict:
    """The verdict that `Verdict.to_json` wrote. Raises ValueError where it is none."""
    checks, informative = document.get("checks"), document.get("informative")
    if not isinstance(checks, list) or not isinstance(informative, list):
        raise ValueError(f"a verdict has lists of checks and of measures, saw {sorted(document)}")
    return Verdict(
        gate=str(document["gate"]),
        checks=tuple(_check_from_json(check) for check in checks),
        informative=tuple(measure_from_json(measure) for measure in informative),
    )


def measure_from_json(document: Mapping[str, object]) -> Measure:
    """The measure that `Measure.to_json` wrote."""
    num_users = document["num_users"]
    assert isinstance(num_users, int), f"a number of users is an integer, saw {num_users!r}"
    return Measure(
        name=str(document["name"]),
        value=_float(document["value"], math.nan),
        low=_float(document["low"], math.nan),
        high=_float(document["high"], math.nan),
        unit=str(document["unit"]),
        num_users=num_users,
        about=str(document["about"]),
    )


def outcome_of(text: str) -> Outcome:
    """The outcome of this name. Raises ValueError for any other text."""
    for outcome in OUTCOMES:
        if text == outcome:
            return outcome
    raise ValueError(f"an outcome is one of {', '.join(OUTCOMES)}, saw {text!r}")


OUTCOMES: tuple[Outcome, ...] = ("kept", "broken", "undecided")


def ruling_of(text: str) -> Ruling:
    """The ruling of this name. Raises ValueError for any other text."""
    for ruling in RULINGS:
        if text == ruling:
            return ruling
    raise ValueError(f"a ruling is one of {', '.join(RULINGS)}, saw {text!r}")


def ruling_together(rulings: Iterable[Ruling]) -> Ruling:
    """What several gates say together: refused where one refuses, passed where all pass."""
    found = set(rulings)
    if "refused" in found:
        return "refused"
    return "passed" if found == {"passed"} else "undecided"


RULINGS: tuple[Ruling, ...] = ("passed", "refused", "undecided")


def plain_number(value: float) -> float | None:
    """The number, or None where JSON and SQL have no word for it."""
    return float(value) if math.isfinite(value) else None


def _check_from_json(document: Mapping[str, object]) -> Check:
    needed = document["users_needed"]
    return Check(
        measure=measure_from_json(document),
        bound=Bound(
            low=_float(document["allowed_low"], -math.inf),
            high=_float(document["allowed_high"], math.inf),
        ),
        outcome=outcome_of(str(document["outcome"])),
        users_needed=needed if isinstance(needed, int) else None,
    )


def _float(value: object, absent: float) -> float:
    if value is None:
        return absent
    if not isinstance(value, int | float):
        raise ValueError(f"a number was expected, saw {value!r}")
    return float(value)
