"""What the stored facts say, in the few numbers that the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb

from features.views import time_sql
from serving.intervals import Rate, UserSums, love_rate
from serving.pseudonyms import ANONYMOUS

SIGNAL = "love"
ACTIVITY_MINUTES = 60
COUNTED = "learnable AND NOT quarantined"
NAMING_WINDOW = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLove:
    """How one version is loved."""

    policy: str
    num_shown: int
    """Replies that count (features/outcomes.py): a mis-tap is no answer."""
    num_loved: int
    num_users: int
    rate: Rate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalCount:
    """How one signal stands."""

    signal: str
    num_on: int
    num_taken_back: int
    num_mistaps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """Records that were refused for one reason."""

    reason: str
    num: int
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """From replies shown to hearts, and what fell out on the way."""

    num_shown: int
    """Replies that may teach: learnable and not quarantined."""
    num_users: int
    num_reacted: int
    """Replies on which their user's reaction of any kind stands."""
    num_loved: int
    num_reactions: int
    """Reaction events stored, each once."""
    num_duplicates: int
    """Rows stored more than once, and shown once. The worker drops most before they get here."""
    num_dangling: int
    """Labels on responses that were never shown."""
    num_elsewhere: int
    """Labels by somebody else than the user who was shown the response."""
    num_not_learnable: int
    num_quarantined: int
    """Replies that a ruling of the guard leaves out, answered or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Events that became known in one minute."""

    minutes_ago: int
    num_shown: int
    num_reactions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """Whether the answers of the last NAMING_WINDOW name their users."""

    num_shown: int
    num_unnamed: int
    """Answers to nobody in particular, or to whoever holds an API key."""
    num_keys: int
    """API keys that stand for all who use them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """Everything that the page takes from the store."""

    love: Sequence[PolicyLove]
    funnel: Funnel
    signals: Sequence[SignalCount]
    dead_letters: Sequence[ReasonCount]
    activity: Sequence[Activity]
    naming: Naming
    last_shown_at: datetime | None
    last_reaction_at: datetime | None


def read_facts(connection: duckdb.DuckDBPyConnection, now: datetime) -> StoreFacts:
    """Ask a connection of features.views.connect."""
    connection.execute("CREATE TEMP TABLE seen AS SELECT * FROM exposed")
    connection.execute("CREATE TEMP TABLE held AS SELECT * FROM labels")
    connection.execute(
        "CREATE TEMP TABLE came AS"
        " SELECT response_id, user_id, signal, policy, added_at, stands, mistap, taken_back, counts"
        f" FROM folded_outcomes WHERE {COUNTED} AND (signal = '{SIGNAL}' OR added_at IS NOT NULL)"
    )
    last_shown_at, last_reaction_at = connection.sql(
        "SELECT (SELECT max(known_at) FROM raw_shown), (SELECT max(known_at) FROM raw_reactions)"
    ).fetchall()[0]
    return StoreFacts(
        love=_love(connection),
        funnel=_funnel(connection),
        signals=[
            SignalCount(signal=s, num_on=on, num_taken_back=off, num_mistaps=mistaps)
            for s, on, off, mistaps in connection.sql(
                "SELECT signal, count(*) FILTER (stands),"
                " count(*) FILTER (taken_back AND NOT mistap), count(*) FILTER (mistap)"
                " FROM came WHERE added_at IS NOT NULL GROUP BY signal ORDER BY 2 DESC, signal"
            ).fetchall()
        ],
        dead_letters=[
            ReasonCount(reason=reason, num=num, last_at=last_at)
            for reason, num, last_at in connection.sql(
                "SELECT reason, count(*), max(known_at) FROM dead_letters"
                " GROUP BY reason ORDER BY 2 DESC, reason"
            ).fetchall()
        ],
        activity=_activity(connection, now),
        naming=_naming(connection, now),
        last_shown_at=last_shown_at,
        last_reaction_at=last_reaction_at,
    )


def _love(connection: duckdb.DuckDBPyConnection) -> list[PolicyLove]:
    rows = connection.sql(
        f"""
        WITH users AS (
            SELECT policy, user_id, count(*) AS n, count(*) FILTER (stands) AS y
            FROM came WHERE signal = '{SIGNAL}' AND counts
            GROUP BY policy, user_id)
        SELECT
            policy, count(*), sum(n)::BIGINT, sum(y)::BIGINT,
            sum(y * y)::BIGINT, sum(y * n)::BIGINT, sum(n * n)::BIGINT
        FROM users GROUP BY policy ORDER BY policy"""
    ).fetchall()
    return [
        PolicyLove(
            policy=policy,
            num_shown=n,
            num_loved=y,
            num_users=num_users,
            rate=love_rate(UserSums(num_users=num_users, n=n, y=y, yy=yy, yn=yn, nn=nn)),
        )
        for policy, num_users, n, y, yy, yn, nn in rows
    ]


def _funnel(connection: duckdb.DuckDBPyConnection) -> Funnel:
    num_shown, num_users, num_quarantined = _one(
        connection,
        f"""
        SELECT
            count(*) FILTER ({COUNTED}), count(DISTINCT user_id) FILTER ({COUNTED}),
            count(*) FILTER (learnable AND quarantined)
        FROM seen""",
    )
    num_reacted, num_loved = _one(
        connection,
        f"""
        SELECT
            count(DISTINCT (response_id, user_id)),
            count(DISTINCT (response_id, user_id)) FILTER (signal = '{SIGNAL}')
        FROM came WHERE stands""",
    )
    num_dangling, num_elsewhere = _one(
        connection,
        "SELECT count(*) FILTER (dangling), count(*) FILTER (NOT dangling)"
        " FROM held ANTI JOIN folded_shown USING (response_id, user_id)",
    )
    (num_reactions,) = _one(connection, "SELECT count(*) FROM reactions")
    (num_raw,) = _one(
        connection,
        "SELECT (SELECT count(*) FROM raw_reactions) + (SELECT count(*) FROM raw_shown)",
    )
    num_events, num_not_learnable = _one(
        connection, "SELECT count(*), count(*) FILTER (NOT learnable) FROM shown"
    )
    return Funnel(
        num_shown=num_shown,
        num_users=num_users,
        num_reacted=num_reacted,
        num_loved=num_loved,
        num_reactions=num_reactions,
        num_duplicates=num_raw - num_reactions - num_events,
        num_dangling=num_dangling,
        num_elsewhere=num_elsewhere,
        num_not_learnable=num_not_learnable,
        num_quarantined=num_quarantined,
    )


def _naming(connection: duckdb.DuckDBPyConnection, now: datetime) -> Naming:
    num_shown, num_unnamed, num_keys = _one(
        connection,
        f"""
        SELECT
            count(*),
            count(*) FILTER (user_id = '{ANONYMOUS}' OR user_id = client_id),
            count(DISTINCT client_id) FILTER (user_id = client_id)
        FROM raw_shown WHERE known_at > {time_sql(now - NAMING_WINDOW)} AND learnable""",
    )
    return Naming(num_shown=num_shown, num_unnamed=num_unnamed, num_keys=num_keys)


def _activity(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[Activity]:
    since = now - timedelta(minutes=ACTIVITY_MINUTES)
    counts: dict[str, Mapping[int, int]] = {}
    for kind in ("shown", "reactions"):
        rows = connection.sql(
            f"SELECT date_diff('minute', known_at, {time_sql(now)}), count(*) FROM {kind}"
            f" WHERE known_at > {time_sql(since)} GROUP BY 1"
        ).fetchall()
        counts[kind] = dict(rows)
    return [
        Activity(
            minutes_ago=minutes,
            num_shown=counts["shown"].get(minutes, 0),
            num_reactions=counts["reactions"].get(minutes, 0),
        )
        for minutes in range(ACTIVITY_MINUTES, -1, -1)
    ]


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    row: tuple[int, ...] = connection.sql(sql).fetchall()[0]
    return row
