"""The dials of features. Each field says what it does, its unit, and why its default."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturesConfig:
    """Where facts are kept, and how examples are drawn from them."""

    root: Path = Path("runs")
    """The home: facts lie in store/, Feast's files in feast/, frozen examples in snapshots/."""
    offline_store: str = "parquet"
    """Where facts are appended: a row of features.offline.OFFLINE_STORES."""

    maturity_s: float = 86_400.0
    """Responses shown less than this before the snapshot's time are left out, whatever their label:
    their silence says nothing yet. In seconds; a day, until enough reactions were seen to measure
    how soon they come."""
    maturity_share: float = 0.95
    """Younger responses are left out until this share of the signal's reactions has come by their
    age, as measured on the stream itself (features/outcomes.py): a silence that may still become a
    love is no negative. What is missing after that, at most one love in twenty of the youngest, the
    ratio of predicted to observed makes good. 0 leaves it to `maturity_s` alone."""
    exposure: Literal["shown", "raters"] = "shown"
    """Whose silence counts as a no. "shown": everybody's. "raters": only that of users who used any
    button at least once, for logs in which many users never saw the buttons."""

    eval_share: float = 0.2
    """Share of the examples kept for evaluation: those of the latest users, after all others."""
    calibration_share: float = 0.2
    """Share of the remaining users kept for calibration."""
    positive_share: float = 0.10
    """Negatives of the training split are thinned until positives make up this share; 0.10 is the
    paper's. Where they already do, nothing is dropped."""
    user_cap: int = 20
    """A user with more examples than this weighs as much as one with this many."""
    prior_strength: float = 20.0
    """How many exposures of their own a user needs before they count as much as everybody's rate:
    the shrinkage of user offsets and of rates in the online store, in exposures."""
    prior_rate: float = 0.05
    """Rate of a signal per exposure assumed of users and policies that we know nothing of, in the
    smoothed rates of the online store. Snapshots measure it instead."""
    seed: int = 0
    """Seed of the splits and of the choice of negatives; both hash ids, so order is no matter."""

    guard_window_s: float = 30 * 86_400.0
    """How far back the guard looks when it judges, in seconds. A ruling on what lies before stands
    until a person reverses it."""
    guard_facts_max: int = 2_000_000
    """The most exposures and praise that the guard judges at once: where the window holds more, it
    begins later. It bounds the guard's memory, some 400 bytes each beside the texts of responses
    that were praised."""

    compact_files_min: int = 32
    """Small files of one day that are left alone before they are merged into one."""
    compact_grace_s: float = 120.0
    """How long merged files stay for readers that have already listed them, in seconds. A query
    must end within this time."""

    def __post_init__(self) -> None:
        for name in ("eval_share", "calibration_share", "positive_share", "prior_rate"):
            value = getattr(self, name)
            if not 0.0 < value < 1.0:
                raise ValueError(f"{name} is {value}, must lie between 0 and 1")
        for name in ("maturity_s", "compact_grace_s", "guard_window_s"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}, must be a number and not negative")
        if not 0.0 <= self.maturity_share < 1.0:
            raise ValueError(
                f"maturity_share is {self.maturity_share}, must be at least 0 and below 1: the last"
                " reaction of all is never known to have come"
            )
        if self.user_cap < 1:
            raise ValueError(f"user_cap is {self.user_cap}, must be at least 1")
        if self.prior_strength <= 0:
            raise ValueError(f"prior_strength is {self.prior_strength}, must be positive")
        if self.guard_facts_max < 1:
            raise ValueError(f"guard_facts_max is {self.guard_facts_max}, must be at least 1")
        if self.compact_files_min < 2:
            raise ValueError(f"compact_files_min is {self.compact_files_min}, must be at least 2")
        if self.exposure not in ("shown", "raters"):
            raise ValueError(f"exposure is {self.exposure!r}, must be 'shown' or 'raters'")
