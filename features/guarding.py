"""Have the guard look at the facts: what it decides anew, compared with what it holds.

The rules (streams/guard/rules.py) are functions of the set of facts, so their findings depend on
no order and no repetition. Here the facts of a window are given to them, and what changed becomes
rulings, which the worker sends through the log like any other event.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from features import joins
from features.config import FeaturesConfig
from features.offline.base import OfflineStore
from features.once import folded_once_sql, once_sql
from features.quarantine import standing_sql
from features.views import connect_store, time_sql
from files.durable import lock
from streams.events import PERSON, GuardRuling
from streams.guard.rules import LONG_PROMPT, PRAISE, GuardConfig
from streams.guard.rulings import changes, find_violations

logger = logging.getLogger(__name__)

PROMPT_SQL = """
    list_filter(
        from_json(messages, '[{"role": "VARCHAR", "content": "VARCHAR"}]'),
        lambda message: message.role = 'user')[-1].content"""
"""What the user said last before the response."""


def decide(
    store: OfflineStore, config: FeaturesConfig, guard: GuardConfig, *, now: datetime
) -> Sequence[GuardRuling]:
    """The rulings that the guard gives now: quarantines, and releases of what it finds no more.

    How reactions met their exposures is measured on the way, over the same look at the store.
    Nothing where another process is deciding. The same facts decide the same; rulings of before
    that are facts already are not given again.
    """
    with (
        lock(config.root.absolute() / "store" / ".guard.lock", wait=False) as is_ours,
        connect_store(store, root=config.root, as_of=None) as connection,
    ):
        if not is_ours:
            return []
        joins.METERS.look(connection, now)
        rulings = look(connection, config, guard, now=now)
    if rulings:
        logger.info("guard decided", extra={"verdicts": len(rulings)})
    return rulings


def look(
    connection: duckdb.DuckDBPyConnection,
    config: FeaturesConfig,
    guard: GuardConfig,
    *,
    now: datetime,
) -> Sequence[GuardRuling]:
    """The rulings by which the rules, asked now, would change what stands in this connection.

    A function of the set of facts that the connection knows, of the dials and of `now`.
    """
    since = window_start(
        connection,
        now - timedelta(seconds=config.guard_window_s),
        facts_max=config.guard_facts_max,
    )
    reactions, shown = facts_for_guard(connection, since, guard)
    standing = {
        (str(rule), str(user_id), str(response_id)): at
        for rule, user_id, response_id, at in connection.sql(
            "SELECT rule, user_id, response_id, since FROM"
            f" ({standing_sql('verdicts', are_pardons_heard=False)}) WHERE rule <> '{PERSON}'"
        ).fetchall()
    }
    findings = find_violations(reactions, shown, guard)
    return changes(findings, standing, decided_at=now, window_start=since)


def window_start(
    connection: duckdb.DuckDBPyConnection, since: datetime, *, facts_max: int
) -> datetime:
    """The first full minute from `since` on from which at most `facts_max` facts are looked at.

    The newest minute is looked at whatever it holds. A function of the facts and of these numbers.
    """
    exposed = folded_once_sql("shown", _since("raw_shown", since))
    minutes = connection.sql(
        "SELECT date_trunc('minute', occurred_at) AS minute, count(*) FROM ("
        f" SELECT occurred_at FROM ({_praise(since)})"
        f" UNION ALL SELECT occurred_at FROM ({exposed}))"
        " GROUP BY minute ORDER BY minute DESC"
    ).fetchall()
    total = 0
    for place, (_, num_facts) in enumerate(minutes):
        total += num_facts
        if total > facts_max:
            start: datetime = minutes[max(place - 1, 0)][0]
            logger.warning(
                "the guard's window is cut short: features.guard_facts_max",
                extra={"since": start.isoformat(), "facts_max": facts_max},
            )
            return max(since, start)
    return since


def facts_for_guard(
    connection: duckdb.DuckDBPyConnection, since: datetime, guard: GuardConfig
) -> tuple[pa.Table, pa.Table]:
    """The praise (also quarantined) and exposures from `since` on, as find_violations takes them.

    Texts are those of exposures that were praised, or that a rule on texts may find, praised or
    not: no rule reads the others.
    """
    reactions = connection.sql(
        f"SELECT response_id, user_id, signal, action, network, occurred_at FROM ({_praise(since)})"
    ).to_arrow_table()
    praised = f"(SELECT DISTINCT response_id FROM ({_praise(since)}))"
    shown = connection.sql(
        f"""
        SELECT
            response_id, user_id, policy,
            CASE WHEN is_read THEN prompt ELSE '' END AS prompt,
            CASE WHEN is_read THEN response ELSE '' END AS response,
            occurred_at
        FROM (
            SELECT *, response_id IN {praised} OR {_may_be_found(guard)} AS is_read
            FROM (
                SELECT *, coalesce({PROMPT_SQL}, '') AS prompt
                FROM ({once_sql("shown", _since("raw_shown", since))})))"""
    ).to_arrow_table()
    return reactions, shown


def _may_be_found(guard: GuardConfig) -> str:
    """Whether a rule on texts may find a response: no fewer than those that it does."""
    found = ["false"]
    if guard.is_asked("dictated"):
        share = guard.dictated_share / LONG_PROMPT
        found.append(f"length(prompt) >= {share!r} * length(response)")
        found.append(_matches("prompt", guard.dictated_orders))
    if guard.is_asked("self_praise"):
        found.append(_matches("response", guard.begging))
    return f"({' OR '.join(found)})"


def _matches(text: str, pattern: str) -> str:
    """Whether a text matches: DuckDB's patterns are RE2's, as those of the rules are."""
    quoted = pattern.replace("'", "''")
    return f"regexp_matches({text}, '{quoted}')" if pattern else "false"


def _praise(since: datetime) -> str:
    """A SELECT of the praise from `since` on, also the quarantined, each event once."""
    signals = ", ".join(f"'{name}'" for name in PRAISE)
    return (
        f"SELECT * FROM ({folded_once_sql('reactions', _since('raw_reactions', since))})"
        f" WHERE action = 'add' AND signal IN ({signals})"
    )


def _since(raw: str, since: datetime) -> str:
    """Copies within the window only: to know of older ones, everything would be looked through."""
    return f"(SELECT * FROM {raw} WHERE occurred_at >= {time_sql(since)})"
