"""What evidence says: numbers with intervals, and the verdict that a gate drew from them."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number, its interval, and the limit that it was held against, if any."""

    name: str
    value: float
    low: float = math.nan
    """Lower end of the 95 % interval; NaN where none was computed."""
    high: float = math.nan
    """Upper end of the 95 % interval; NaN where none was computed."""
    unit: str = ""
    """What the value counts: "nats", "tokens", "percentage points"; "" for pure numbers."""
    limit: str = ""
    """The rule as a reader can check it, such as ">= 0.80"; "" where nothing was asked."""
    passed: bool | None = None
    """Whether the limit was kept; None where the measure only informs."""

    def to_json(self) -> dict[str, object]:
        """Plain values for a JSON document: NaN and infinities become None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate decided, and why. A refusal is a value: it is stored like any other verdict."""

    gate: str
    passed: bool
    measures: tuple[Measure, ...] = ()
    reasons: tuple[str, ...] = ()
    """One sentence per broken limit; empty where the gate passed."""

    def to_json(self) -> dict[str, object]:
        """Plain values for a JSON document."""
        return {
            "gate": self.gate,
            "passed": self.passed,
            "measures": [measure.to_json() for measure in self.measures],
            "reasons": list(self.reasons),
        }


def verdict_of(gate: str, measures: Sequence[Measure]) -> Verdict:
    """The verdict that follows from the measures: passed unless a measure broke its limit."""
    broken = [measure for measure in measures if measure.passed is False]
    return Verdict(
        gate=gate,
        passed=not broken,
        measures=tuple(measures),
        reasons=tuple(_reason(measure) for measure in broken),
    )


def _reason(measure: Measure) -> str:
    interval = "" if math.isnan(measure.low) else f" [{measure.low:.4g}, {measure.high:.4g}]"
    unit = f" {measure.unit}" if measure.unit else ""
    return f"{measure.name} is {measure.value:.4g}{unit}{interval}, asked for {measure.limit}"


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
