"""Have the guard look at the facts: what it decides anew, compared with what it holds.

The rules (streams/guard.py) are functions of the set of facts, so their findings depend on no order
and no repetition. Here the facts of a window are given to them, and what changed becomes verdicts,
which the worker sends through the log like any other event.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa

from features.config import FeaturesConfig
from features.durable import lock
from features.offline.base import OfflineStore
from features.quarantine import standing_sql
from features.views import connect_store, time_sql
from streams.events import PERSON, GuardVerdict
from streams.guard import GuardConfig, changes, judge

logger = logging.getLogger(__name__)

PROMPT_SQL = """
    list_filter(
        from_json(messages, '[{"role": "VARCHAR", "content": "VARCHAR"}]'),
        lambda message: message.role = 'user')[-1].content"""
"""What the user said last before the response."""


def decide(
    store: OfflineStore, config: FeaturesConfig, guard: GuardConfig, *, now: datetime
) -> Sequence[GuardVerdict]:
    """The verdicts that the guard gives now: quarantines, and releases of what it finds no more.

    Nothing where another process is deciding. The same facts decide the same; verdicts of before
    that are facts already are not given again.
    """
    with (
        lock(config.root.absolute() / "store" / ".guard.lock", wait=False) as is_ours,
        connect_store(store, root=config.root, as_of=None) as connection,
    ):
        if not is_ours:
            return []
        since = now - timedelta(seconds=config.guard_window_s)
        reactions, shown = facts_for_guard(connection, since)
        standing = {
            (str(rule), str(user_id), str(response_id)): at
            for rule, user_id, response_id, at in connection.sql(
                "SELECT rule, user_id, response_id, since FROM"
                f" ({standing_sql('verdicts', are_pardons_heard=False)}) WHERE rule <> '{PERSON}'"
            ).fetchall()
        }
        findings = judge(reactions, shown, guard)
        verdicts = changes(findings, standing, decided_at=now, window_start=since)
    if verdicts:
        logger.info("guard decided", extra={"verdicts": len(verdicts), "findings": len(findings)})
    return verdicts


def facts_for_guard(
    connection: duckdb.DuckDBPyConnection, since: datetime
) -> tuple[pa.Table, pa.Table]:
    """The reactions (also quarantined ones) and exposures from `since` on, as judge takes them."""
    reactions = connection.sql(
        "SELECT response_id, user_id, signal, action, network, occurred_at FROM all_reactions"
        f" WHERE occurred_at >= {time_sql(since)}"
    ).to_arrow_table()
    shown = connection.sql(
        f"SELECT response_id, user_id, policy, coalesce({PROMPT_SQL}, '') AS prompt, response,"
        f" occurred_at FROM raw_shown WHERE occurred_at >= {time_sql(since)}"
    ).to_arrow_table()
    return reactions, shown
