"""What we hold true of (response, user, signal): the fold of streams/reactions.py as SQL.

The fold keeps the latest add and the latest remove, so that any order and any repetition of the
reactions gives the same labels. It is stated here once. A label says what a user says now, also of
what was never shown, and whenever they said it; what counts of it is in features/outcomes.py.
"""

from datetime import timedelta

from streams.signals import SIGNALS


def latest_sql(*, adds: str = "true", removes: str = "true") -> str:
    """The columns added_at and removed_at of a GROUP BY: the latest of each that is taken in.

    `adds` and `removes` say which reactions are.
    """
    return (
        f"max(occurred_at) FILTER (action = 'add' AND {adds}) AS added_at,"
        f" max(occurred_at) FILTER (action = 'remove' AND {removes}) AS removed_at"
    )


def is_on_sql(added_at: str = "added_at", removed_at: str = "removed_at") -> str:
    """Whether the signal stands, never NULL. On a tie the removal wins."""
    return f"coalesce({added_at} > coalesce({removed_at}, '-infinity'::TIMESTAMPTZ), false)"


def was_mistap_sql(mistap: str, added_at: str = "added_at", removed_at: str = "removed_at") -> str:
    """Whether it was taken back within `mistap` (SQL of an INTERVAL), never NULL."""
    soon = f"{removed_at} < {added_at} + {mistap}"
    return f"coalesce({removed_at} >= {added_at} AND {soon}, false)"


def mistap_sql(signal: str = "signal") -> str:
    """The mistap time of a signal's name, as SQL of an INTERVAL; 0 for names not in SIGNALS."""
    cases = " ".join(f"WHEN '{s.name}' THEN {interval_sql(s.mistap)}" for s in SIGNALS.values())
    return f"(CASE {signal} {cases} ELSE INTERVAL 0 SECOND END)"


def interval_sql(delta: timedelta) -> str:
    """A time span as SQL of an INTERVAL, to the microsecond."""
    return f"to_microseconds({delta // timedelta(microseconds=1)})"


def labels_sql(reactions: str, shown: str) -> str:
    """The view `labels`, from relations of reactions (with `quarantined`) and of exposures.

    Columns: response_id, user_id, signal, value (does it stand), added_at and removed_at (the
    latest, or NULL), mistap, quarantined (some of its reactions were left out of the fold),
    dangling (no such response was shown), known_at (the latest).
    """
    return f"""
        SELECT
            response_id, user_id, signal,
            {is_on_sql()} AS value,
            added_at, removed_at,
            {was_mistap_sql(mistap_sql())} AS mistap,
            quarantined,
            response_id NOT IN (SELECT response_id FROM {shown}) AS dangling,
            known_at
        FROM (
            SELECT
                response_id, user_id, signal,
                {latest_sql(adds="NOT quarantined", removes="NOT quarantined")},
                bool_or(quarantined) AS quarantined,
                max(known_at) AS known_at
            FROM {reactions}
            GROUP BY response_id, user_id, signal)"""
