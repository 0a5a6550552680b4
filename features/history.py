"""What users and policies have seen and answered, as SQL over the views of features/views.py.

Everything is counted in the world of `occurred_at`: a row at t holds what had happened until t,
exposures and changes of mind alike. When we *heard* of it is the business of the connection's
`as_of`. So a log of 2018 that is replayed today has the history it had in 2018; the price is that
an event which reached us late stands in the history from when it happened, a little before a live
lookup could have known it.

A reaction counts for the user and the policy of the exposure that it answers; dangling ones and
those to another user's exposure do not count. It never counts before its exposure, even where a
client's clock says so: otherwise a response's own label would leak into its history. What counts
is said in features/outcomes.py: here it is told as it came about.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from features.tables import SQL_TYPES, TIME
from streams.signals import SIGNALS

EntityKey: TypeAlias = Literal["user_id", "policy"]

COUNTS: Sequence[str] = ("num_shown", *(f"num_{name}" for name in SIGNALS))
"""Exposures, and signals that stand, by name."""
RATES: Sequence[str] = tuple(f"{name}_rate_smoothed" for name in SIGNALS)
"""(num_<signal> + strength * rate) / (num_shown + strength), of FeaturesConfig.prior_*."""
CLOCKS: Sequence[str] = ("last_shown_at", "event_timestamp", "created_timestamp")
"""Times of a tally: of the latest exposure, of the latest change, when that was known."""
TIME_TYPE = SQL_TYPES[TIME]


def history_sql(key: EntityKey, *, strength: float, rate: float) -> str:
    """One row per key and time at which something changed, cumulative.

    Columns: the key, COUNTS, RATES, last_shown_at, event_timestamp, created_timestamp (when the
    latest of what it counts was known).
    """
    window = f"PARTITION BY {key} ORDER BY event_timestamp"
    counts = ", ".join(f"sum({name}) OVER sofar AS {name}" for name in COUNTS)
    return f"""
        {_deltas_sql(key)},
        cumulative AS (
            SELECT
                {key}, {counts},
                max(shown_at) OVER sofar AS last_shown_at,
                event_timestamp,
                max(known_at) OVER sofar AS created_timestamp
            FROM deltas
            WINDOW sofar AS ({window}))
        {_select(key, "cumulative", strength, rate)}
        ORDER BY {key}, event_timestamp"""


def tallies_sql() -> str:
    """One row per user and policy that was shown to them: what of it stands, by the fold alone.

    Columns: user_id, policy, COUNTS, last_shown_at, event_timestamp (of the latest exposure or
    change of mind), created_timestamp (when the latest of these was known). Sums and maxima of
    these rows are those of a user or a policy.
    """
    counts = ", ".join(
        f"count(*) FILTER (signal = '{name}' AND stands) AS num_{name}" for name in SIGNALS
    )
    return f"""
        SELECT
            user_id, policy,
            count(*) FILTER (signal = '{next(iter(SIGNALS))}') AS num_shown, {counts},
            max(shown_at) AS last_shown_at,
            greatest(max(shown_at), max(added_at), max(removed_at)) AS event_timestamp,
            greatest(max(known_at), max(answer_known_at)) AS created_timestamp
        FROM folded_outcomes
        WHERE learnable AND NOT quarantined
        GROUP BY user_id, policy"""


def current_sql(key: EntityKey, *, strength: float, rate: float, tallies: str | None = None) -> str:
    """The last row of each key's history, by the fold alone: what an online store serves.

    `tallies` is a relation with the columns of `tallies_sql`; by default it is computed.
    """
    totals = ", ".join(f"sum({name}) AS {name}" for name in COUNTS)
    latest = ", ".join(f"max({name}) AS {name}" for name in CLOCKS)
    return f"""
        WITH current AS (
            SELECT {key}, {totals}, {latest}
            FROM {tallies or f"({tallies_sql()})"} GROUP BY {key})
        {_select(key, "current", strength, rate)}
        ORDER BY {key}"""


def label_changes_sql() -> str:
    """One row per (response, signal) and time at which the label changed, wide over the signals.

    Columns: response_id, user_id, one BOOLEAN a signal (NULL: never touched until then),
    event_timestamp, created_timestamp.
    """
    window = "PARTITION BY response_id, user_id ORDER BY occurred_at"
    values = ", ".join(
        f"last_value(CASE WHEN signal = '{name}' THEN value END IGNORE NULLS) OVER sofar AS {name}"
        for name in SIGNALS
    )
    return f"""
        WITH changes AS ({_changes_sql("counted")})
        SELECT
            response_id, user_id, {values},
            occurred_at AS event_timestamp,
            max(known_at) OVER sofar AS created_timestamp
        FROM changes
        WINDOW sofar AS ({window})
        QUALIFY row_number() OVER (
            PARTITION BY response_id, user_id, occurred_at ORDER BY signal DESC) = 1
        ORDER BY response_id, user_id, event_timestamp"""


def _changes_sql(reactions: str) -> str:
    """The states that the fold goes through: SELECT response_id, user_id, signal, occurred_at,
    value, known_at. At one instant a removal wins, so a state is on when nothing but adds fell
    there: whatever was removed before is then older than the add."""
    return f"""
        SELECT
            response_id, user_id, signal, occurred_at,
            NOT bool_or(action = 'remove') AS value,
            max(known_at) AS known_at
        FROM {reactions}
        GROUP BY response_id, user_id, signal, occurred_at"""


def _deltas_sql(key: EntityKey) -> str:
    """WITH ... deltas: by key and time, what was added to each count then (-1: taken back)."""
    signals = ", ".join(f"sum(delta) FILTER (signal = '{name}') AS num_{name}" for name in SIGNALS)
    totals = ", ".join(f"coalesce(sum({name}), 0)::BIGINT AS {name}" for name in COUNTS)
    return f"""
        WITH changes AS ({_changes_sql("answers")}),
        steps AS (
            SELECT
                *,
                value::INTEGER - coalesce(lag(value::INTEGER) OVER (
                    PARTITION BY response_id, user_id, signal ORDER BY occurred_at), 0) AS delta
            FROM changes),
        answers AS (
            SELECT
                exposures.{key},
                greatest(occurred_at, shown_at) AS event_timestamp,
                signal, delta,
                greatest(steps.known_at, exposures.known_at) AS known_at
            FROM steps JOIN exposures USING (response_id, user_id)),
        deltas AS (
            SELECT
                {key}, event_timestamp, {totals},
                max(shown_at) AS shown_at, max(known_at) AS known_at
            FROM (
                SELECT {key}, shown_at AS event_timestamp, 1 AS num_shown, shown_at, known_at
                FROM exposures
                UNION ALL BY NAME
                SELECT {key}, event_timestamp, {signals}, max(known_at) AS known_at
                FROM answers GROUP BY {key}, event_timestamp)
            GROUP BY {key}, event_timestamp)"""


def _select(key: EntityKey, relation: str, strength: float, rate: float) -> str:
    counts = ", ".join(f"{name}::BIGINT AS {name}" for name in COUNTS)
    rates = ", ".join(
        f"(num_{name} + {strength * rate!r}) / (num_shown + {strength!r}) AS {name}_rate_smoothed"
        for name in SIGNALS
    )
    return f"""
        SELECT
            {key}, {counts}, {rates},
            last_shown_at::{TIME_TYPE} AS last_shown_at,
            event_timestamp::{TIME_TYPE} AS event_timestamp,
            created_timestamp::{TIME_TYPE} AS created_timestamp
        FROM {relation}"""
