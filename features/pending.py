"""Let verdicts count in one connection before they are facts.

A verdict is decided, travels through the log and is then a fact. Who freezes what the facts say, in
between, would freeze praise that the guard has found out already.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from features.quarantine import counted_sql, judged_sql, standing_sql
from features.tables import to_table
from streams.events import GuardRuling


def apply_verdicts(connection: duckdb.DuckDBPyConnection, verdicts: Sequence[GuardRuling]) -> None:
    """Have `quarantine`, and what follows from it, say what they will once these are facts.

    `connection` is one of features.views.connect_store. The view `verdicts` stays as it is.
    """
    if not verdicts:
        return
    connection.register("decided", to_table("verdicts", verdicts))
    connection.execute("CREATE TEMP TABLE pending AS SELECT * FROM decided")
    connection.unregister("decided")
    every = "(SELECT * FROM verdicts UNION ALL BY NAME SELECT * FROM pending)"
    connection.execute(f"CREATE TEMP TABLE standing AS {standing_sql(every)}")
    connection.execute("DELETE FROM quarantine")
    connection.execute("INSERT INTO quarantine BY NAME SELECT * FROM standing")
    # Where nothing stood before, these views never asked; the views upon them find them by name.
    connection.execute("ALTER VIEW reactions RENAME TO reactions_before")
    once = "SELECT * EXCLUDE (quarantined) FROM reactions_before"
    connection.execute(f"CREATE VIEW reactions AS {judged_sql(once)}")
    connection.execute(f"CREATE OR REPLACE VIEW counted AS {counted_sql(judged_sql)}")
