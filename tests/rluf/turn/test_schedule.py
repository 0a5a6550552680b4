"""Goal: a turn is due when, and only when, the clock, new labels or drift say so.

Method: a table of moments for the pure rule; known shifts for the population stability index.
"""

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from models.verdicts import Measure
from rluf.turn.schedule import (
    Drift,
    Due,
    ScheduleConfig,
    ScheduleState,
    due,
    population_shift,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY_S = 86_400.0

QUIET = ScheduleState(
    last_started_at=NOW - timedelta(hours=2), cron_at=None, num_new_labels=10, drift=Drift()
)
CONFIG = ScheduleConfig()
CRON = replace(CONFIG, cron="0 3 * * *")
NIGHT = NOW.replace(hour=3)


def started(hours_ago: float) -> ScheduleState:
    return replace(QUIET, last_started_at=NOW - timedelta(hours=hours_ago))


def drifted(
    low: float | None = None,
    high: float = math.nan,
    *,
    psi: float | None = None,
    hours_ago: float = 2,
) -> ScheduleState:
    ratio = None
    if low is not None:
        ratio = Measure(
            name="observed_over_predicted",
            value=(low + high) / 2,
            low=low,
            high=high,
            unit="ratio",
            num_users=50,
        )
    return replace(started(hours_ago), drift=Drift(psi=psi, ratio=ratio))


@pytest.mark.parametrize(
    ("state", "config", "reason"),
    [
        pytest.param(QUIET, CONFIG, None, id="nothing happened"),
        pytest.param(started(23.99), CONFIG, None, id="not a day yet"),
        pytest.param(started(24), CONFIG, "clock", id="a day"),
        pytest.param(started(24), replace(CONFIG, every_s=0), None, id="clock off"),
        pytest.param(replace(started(24), num_new_labels=0), CONFIG, None, id="nothing new"),
        pytest.param(
            replace(started(24), num_new_labels=0),
            replace(CONFIG, labels_min=0),
            "clock",
            id="nothing new but asked for",
        ),
        pytest.param(replace(QUIET, last_started_at=None), CONFIG, "clock", id="never before"),
        pytest.param(
            replace(QUIET, last_started_at=None, num_new_labels=0), CONFIG, None, id="empty store"
        ),
        pytest.param(replace(QUIET, cron_at=NOW), CRON, "clock", id="cron falls now"),
        pytest.param(replace(QUIET, cron_at=NIGHT), CRON, "clock", id="cron fell and was missed"),
        pytest.param(
            replace(QUIET, cron_at=NOW + timedelta(seconds=1)), CRON, None, id="cron falls later"
        ),
        pytest.param(
            replace(started(48), cron_at=NOW + timedelta(hours=1)), CRON, None, id="cron not clock"
        ),
        pytest.param(replace(QUIET, num_new_labels=4_999), CONFIG, None, id="one label too few"),
        pytest.param(replace(QUIET, num_new_labels=5_000), CONFIG, "labels", id="enough labels"),
        pytest.param(
            replace(started(0.5), num_new_labels=9_000), CONFIG, None, id="labels have to rest"
        ),
        pytest.param(
            replace(QUIET, num_new_labels=9_000), replace(CONFIG, new_labels=0), None, id="off"
        ),
        pytest.param(drifted(psi=0.25), CONFIG, None, id="shift at the limit"),
        pytest.param(drifted(psi=0.26), CONFIG, "drift", id="shift above it"),
        pytest.param(drifted(psi=9.0), replace(CONFIG, psi_max=0), None, id="shift off"),
        pytest.param(drifted(psi=9.0, hours_ago=0.5), CONFIG, None, id="drift has to rest"),
        pytest.param(drifted(0.8, 1.6), CONFIG, None, id="ratio not known well enough"),
        pytest.param(drifted(1.0, 1.4), CONFIG, None, id="may still be tolerated"),
        pytest.param(drifted(1.1, 1.4), CONFIG, None, id="ratio at the limit"),
        pytest.param(drifted(1.11, 1.4), CONFIG, "drift", id="loved more than predicted"),
        pytest.param(drifted(0.5, 0.89), CONFIG, "drift", id="loved less than predicted"),
        pytest.param(drifted(math.nan, math.nan), CONFIG, None, id="too few to say"),
        pytest.param(drifted(1.2, 1.4), replace(CONFIG, drift_alpha=0), None, id="ratio off"),
    ],
)
def test_a_turn_is_due_by_the_table(
    state: ScheduleState, config: ScheduleConfig, reason: str | None
) -> None:
    found = due(NOW, state, config)
    assert (found.reason if found else None) == reason


def test_the_reason_reads_as_a_sentence() -> None:
    assert str(Due(reason="labels", detail="7 new ones")) == "labels: 7 new ones"
    found = due(NOW, drifted(1.2, 1.4), CONFIG)
    assert str(found) == "drift: observed/predicted 1.30 [1.20, 1.40] lies outside 0.9-1.1"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"every_s": -1.0}, "every_s is 0"),
        ({"new_labels": -5}, "new_labels is 0"),
        ({"poll_s": 0.0}, "poll_s is more than 0"),
        ({"ratio_low": 1.2}, "ratio_low lies between"),
        ({"drift_alpha": 1.0}, "drift_alpha lies from 0"),
        ({"cron": "61 3 * * *"}, "schedule.cron: .*'61' is no minute; allowed are 0 to 59"),
        ({"cron": "@daily", "cron_zone": "Mars/Olympus"}, "no time zone is named 'Mars/Olympus'"),
    ],
)
def test_a_dial_that_makes_no_sense_is_refused_by_name(
    changed: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ScheduleConfig(**changed)  # type: ignore[arg-type]


def test_samples_of_one_population_show_no_shift() -> None:
    """Tolerance: (bins - 1)(1/n + 1/m) = 0.0045 is expected of 4,000 each; 0.02 is four times."""
    draw = random.Random(0)
    one, two = ([draw.gauss(0, 1) for _ in range(4_000)] for _ in range(2))
    assert population_shift(one, one) == pytest.approx(0.0)
    assert population_shift(one, two) < 0.02


def test_a_moved_population_shows_a_shift_both_ways_and_by_more_when_moved_further() -> None:
    draw = random.Random(0)
    here = [draw.gauss(0, 1) for _ in range(4_000)]
    near, far = [x + 0.3 for x in here], [x + 1.0 for x in here]
    assert 0.02 < population_shift(here, near) < 0.25 < population_shift(here, far)
    assert population_shift(far, here) > 0.25


def test_the_shift_of_two_known_shares_is_the_formula() -> None:
    """Half and half against nine to one: 0.4·ln(0.9/0.5) + (-0.4)·ln(0.1/0.5) = 0.879.

    Tolerance 0.01: the pseudo count of 0.5 in each of two bins moves shares of 1,000 by 0.0005.
    """
    reference = [0.0] * 500 + [1.0] * 500
    current = [0.0] * 900 + [1.0] * 100
    assert population_shift(reference, current) == pytest.approx(0.879, abs=0.01)


def test_scores_that_never_vary_or_lie_outside_give_a_finite_shift() -> None:
    # Tolerance: the pseudo count weighs 0.5/51 in the smaller sample and 0.5/101 in the larger.
    assert population_shift([0.5] * 100, [0.5] * 50) == pytest.approx(0.0, abs=0.01)
    assert 0.25 < population_shift([0.1, 0.2, 0.3] * 100, [0.9] * 100) < 20


def test_a_shift_needs_scores() -> None:
    with pytest.raises(ValueError, match="3 and 0"):
        population_shift([0.1, 0.2, 0.3], [])
