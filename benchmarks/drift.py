"""Operating characteristics of the drift rule: false alarms without drift, and how soon with it.

Days are made up: users with tendencies of their own come again and again, see a few replies a day
and love some; the rule's own code looks at all days since the last turn, once a day, as the
scheduler does. The rule it replaced (two days in a row outside 0.9 to 1.1) looks at the same days.

    python -m benchmarks.drift            # writes benchmarks/results/drift.json, prints the table
"""

import argparse
import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rluf.turn.drift import DAYS_MAX, SAMPLE
from rluf.turn.schedule import ScheduleConfig
from training.evidence.clustered import Floats, Users
from training.evidence.drift import observed_over_predicted

RESULTS = Path(__file__).parent / "results" / "drift.json"
RUNS = 100
POOL = 2_000
"""Users that there are; about one in twenty comes each day."""
ROWS_PER_USER = 3.7
"""Replies of one user a day; measured in the demo."""
USER_SPREAD = 0.8
"""Standard deviation of users' tendencies, in logits: nobody's P[Love] knows them."""
REPLY_SPREAD = 1.0
"""Of the logit that P[Love] does know."""
SHIFTS = (1.0, 1.1, 1.3, 1.5, 2.0, 0.7, 0.5)
"""True love over predicted love, from the first day on; 1 is no drift."""
BASE_RATES = (0.05, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One world: so many rows a day, at this base rate, with this shift."""

    base_rate: float
    rows_a_day: int
    shift: float
    alarms_per_100_days: float
    """Of the rule with a turn a day (the sequence begins anew each day)."""
    alarmed_by_day: dict[int, float]
    """Share of runs with an alarm by that day, where no turn comes between."""
    replaced_alarms_per_100_days: float
    """The same of the rule that it replaced, from the second day on."""
    runs: int


@functools.cache
def population(base_rate: float) -> tuple[float, Floats, Floats]:
    """Give the intercept at which the mean over users and replies is the base rate; and, by the
    logit that P[Love] knows, the mean over users, which is all that it can predict."""
    rng = np.random.default_rng(0)
    tendency_U = rng.normal(0, USER_SPREAD, POOL)
    grid = rng.normal(0, REPLY_SPREAD, 2_000)[:, None] + tendency_U[None, :500]
    low, high = -12.0, 6.0
    for _ in range(30):
        middle = (low + high) / 2
        is_low = float((1 / (1 + np.exp(-(middle + grid)))).mean()) < base_rate
        low, high = (middle, high) if is_low else (low, middle)
    known_R = np.linspace(-4, 4, 81)
    p_R = (1 / (1 + np.exp(-(low + known_R[:, None] + tendency_U[None, :])))).mean(axis=1)
    return low, known_R, p_R


def world(rng: np.random.Generator, base_rate: float, shift: float) -> Iterator[tuple[Floats, ...]]:
    """Give of each day: loved, predicted and users of SAMPLE rows."""
    intercept, known_R, p_R = population(base_rate)
    tendency_U = rng.normal(0, USER_SPREAD, POOL)
    for _ in range(DAYS_MAX):
        today = rng.choice(POOL, size=round(SAMPLE / ROWS_PER_USER), replace=False)
        user_N = rng.choice(today, size=SAMPLE)
        known_N = np.clip(rng.normal(0, REPLY_SPREAD, SAMPLE), -4, 4)
        predicted_N = np.interp(known_N, known_R, p_R)
        p_N = 1 / (1 + np.exp(-(intercept + known_N + tendency_U[user_N])))
        loved_N = (rng.random(SAMPLE) < np.minimum(1.0, shift * p_N)).astype(np.float64)
        yield loved_N, predicted_N, user_N.astype(np.float64)


def is_alarm(loved_N: Floats, expected_N: Floats, users_N: Users, config: ScheduleConfig) -> bool:
    """The rule, as rluf/turn/schedule.py asks it."""
    ratio = observed_over_predicted(loved_N, expected_N, users_N, alpha=config.drift_alpha)
    return ratio.low > config.ratio_high or ratio.high < config.ratio_low


def measure(base_rate: float, shift: float, runs: int) -> Row:
    """Look at so many worlds for DAYS_MAX days each."""
    config = ScheduleConfig()
    alone = replaced = 0
    first: list[int] = []
    for run in range(runs):
        days = list(world(np.random.default_rng([run, round(1000 * shift)]), base_rate, shift))
        outside = []
        alarmed_at = DAYS_MAX + 1
        for day in range(1, DAYS_MAX + 1):
            loved_N, expected_N, users_N = (
                np.concatenate([each[column] for each in days[:day]]) for column in range(3)
            )
            if alarmed_at > DAYS_MAX and is_alarm(
                loved_N, expected_N, users_N.astype(np.int64), config
            ):
                alarmed_at = day
            loved, expected, users = days[day - 1]
            alone += is_alarm(loved, expected, users.astype(np.int64), config)
            outside.append(not 0.9 <= loved.sum() / expected.sum() <= 1.1)
            replaced += len(outside) > 1 and all(outside[-2:])
        first.append(alarmed_at)
    return Row(
        base_rate=base_rate,
        rows_a_day=SAMPLE,
        shift=shift,
        alarms_per_100_days=100 * alone / (runs * DAYS_MAX),
        alarmed_by_day={day: float(np.mean(np.array(first) <= day)) for day in (7, 14, 28)},
        replaced_alarms_per_100_days=100 * replaced / (runs * (DAYS_MAX - 1)),
        runs=runs,
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| base rate | true shift | alarms in 100 days, a turn a day | alarm by day 7 | by day 14"
        " | by day 28 | the rule before: alarms in 100 days |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        by = " | ".join(f"{share:.1%}" for share in row.alarmed_by_day.values())
        lines.append(
            f"| {row.base_rate:.0%} | {row.shift:g} | {row.alarms_per_100_days:.2f} | {by}"
            f" | {row.replaced_alarms_per_100_days:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="worlds of each kind")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the rows are written")
    options = parser.parse_args()
    rows = [measure(rate, shift, options.runs) for rate in BASE_RATES for shift in SHIFTS]
    options.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
