"""Ask the facts: SQL views over the store, as known at a time.

    shown, reactions    facts, each event once, without those of erased users
    erasures, verdicts  the same for requests to be forgotten and for what the guard decided
    quarantine          verdicts that stand (features/quarantine.py)
    labels              the fold of the reactions that are not quarantined (features/labels.py)
    outcomes, arrivals  what came of each exposure, and how soon (features/outcomes.py)
    dead_letters        records that are no events of ours

An event that came several times is shown as it was first known (features/once.py). What a user did
up to their latest erasure is hidden at every `as_of`, also one before they asked; of the copies of
an event, each by its own time, as the files that a later look finds hold no others.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from features.aliases import forgotten_sql, make_resolved
from features.config import FeaturesConfig
from features.labels import labels_sql
from features.offline import OFFLINE_STORES
from features.offline.base import OfflineStore
from features.once import folded_once_sql, once_sql
from features.outcomes import (
    answers_sql,
    arrivals_sql,
    exposed_sql,
    exposures_sql,
    folded_outcomes_sql,
    outcomes_sql,
)
from features.quarantine import counted_sql, judged_sql, standing_sql, trusted_sql
from features.tables import SCHEMAS, FactKind

_RAW: dict[FactKind, str] = {
    "shown": "raw_shown",
    "reactions": "raw_reactions",
    "verdicts": "raw_verdicts",
}
VIEWS = (
    *("shown", "reactions", "labels", "outcomes", "arrivals"),
    *("dead_letters", "erasures", "verdicts", "quarantine"),
)


def connect(
    root: Path, as_of: datetime | None = None, *, offline_store: str = "parquet"
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the views, over what the store under `root` holds at this moment.

    With `as_of` (aware), only facts with known_at <= as_of. Use it for a question and close it: the
    files that it reads are deleted FeaturesConfig.compact_grace_s after they were merged.
    """
    store = OFFLINE_STORES[offline_store](FeaturesConfig(root=root))
    return connect_store(store, root=root, as_of=as_of)


def query(root: Path, sql: str, as_of: datetime | None = None) -> pa.Table:
    """The answer to one SELECT over the views; it can read nothing else and change nothing.

    Raises ValueError for other statements, for several, and for SQL that DuckDB refuses.
    """
    store = OFFLINE_STORES["parquet"](FeaturesConfig(root=root))
    with connect_store(store, root=root, as_of=as_of) as connection:
        folders = ", ".join(_quote(str(folder)) for folder in store.folders())
        connection.execute(f"SET allowed_directories = [{folders}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            statements = connection.extract_statements(sql)
            kinds = [statement.type.name for statement in statements]
            if kinds != ["SELECT"]:
                raise ValueError(f"saw {' and '.join(kinds) or 'no statement'}; need one SELECT")
            return connection.sql(sql).to_arrow_table()
        except duckdb.Error as fault:
            raise ValueError(f"{fault}; the views are {', '.join(VIEWS)}") from fault


def connect_store(
    store: OfflineStore,
    *,
    root: Path,
    as_of: datetime | None,
    memory_mb: int | None = None,
    only_touched: bool = False,
) -> duckdb.DuckDBPyConnection:
    """The same as `connect` over a given store; `memory_mb` is what DuckDB may use before it turns
    to temporary files (None: 80 % of the machine's).

    Beside the views there are those of features/outcomes.py and what they are made from, and
    raw_shown and raw_reactions, which hold every copy of every fact. With `only_touched` there are
    these only, without `outcomes` and `arrivals`, and they hold what is known of the users in the
    table `touched`, which is empty at first: a view that is made looks into every file.
    """
    if as_of is not None and as_of.tzinfo is None:
        raise ValueError(f"as_of is {as_of.isoformat()}, must have a timezone")
    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": str(root.absolute() / "store" / ".duckdb"),
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET parquet_metadata_cache = true")  # No file changes under its name.
    if memory_mb is not None:
        connection.execute(f"SET memory_limit = '{memory_mb}MiB'")
        connection.execute("SET preserve_insertion_order = false")
    until = "" if as_of is None else f"WHERE known_at <= {time_sql(as_of)}"
    for kind in SCHEMAS:
        store.scan(connection, kind, as_of=as_of).create_view(f"stored_{kind}")
    num_erased = _make_erased(store, connection)
    kept = {kind: f"ANTI JOIN erased ON {_was_erased(kind)}" if num_erased else "" for kind in _RAW}
    known = {kind: f"(SELECT * FROM stored_{kind} {until})" for kind in _RAW}
    # First those that name an erased user, then those that turn out to be an erased user's.
    taps = f"(SELECT * FROM {known['reactions']} AS reactions {kept['reactions']})"
    make_resolved(connection, known["shown"], taps)
    known["reactions"] = "named_reactions"
    connection.execute("CREATE TABLE touched (user_id VARCHAR)")
    for kind, raw in _RAW.items():
        few = "SEMI JOIN touched USING (user_id)" if only_touched and kind != "verdicts" else ""
        connection.execute(
            f"CREATE VIEW {raw} AS SELECT * FROM {known[kind]} AS {kind} {few} {kept[kind]}"
        )
    connection.execute(f"CREATE VIEW verdicts AS {once_sql('verdicts', _RAW['verdicts'])}")
    connection.execute(f"CREATE TABLE quarantine AS {standing_sql('verdicts')}")
    (num_quarantined,) = connection.sql("SELECT count(*) FROM quarantine").fetchall()[0]
    judged = judged_sql if num_quarantined else trusted_sql
    folded = folded_once_sql("reactions", _RAW["reactions"], is_small=only_touched)
    connection.execute(f"CREATE VIEW folded_reactions AS {folded}")
    connection.execute(f"CREATE VIEW counted AS {counted_sql(judged)}")
    folded = folded_once_sql("shown", _RAW["shown"], is_small=only_touched)
    connection.execute(f"CREATE VIEW folded_shown AS {folded}")
    connection.execute(f"CREATE VIEW exposed AS {exposed_sql('folded_shown')}")
    connection.execute(f"CREATE VIEW exposures AS {exposures_sql()}")
    connection.execute(f"CREATE VIEW answers AS {answers_sql()}")
    now = time_sql(datetime.now(UTC) if as_of is None else as_of)
    connection.execute(f"CREATE VIEW folded_outcomes AS {folded_outcomes_sql(now)}")
    if only_touched:
        return connection
    for kind in ("shown", "erasures", "dead_letters"):
        raw = _RAW.get(kind, f"(SELECT * FROM stored_{kind} {until})")
        connection.execute(f"CREATE VIEW {kind} AS {once_sql(kind, raw)}")
    once = once_sql("reactions", _RAW["reactions"])
    connection.execute(f"CREATE VIEW reactions AS {judged(once)}")
    connection.execute(f"CREATE VIEW labels AS {labels_sql('reactions', 'folded_shown')}")
    connection.execute(f"CREATE VIEW arrivals AS {arrivals_sql()}")
    connection.execute(f"CREATE VIEW outcomes AS {outcomes_sql()}")
    return connection


def time_sql(at: datetime) -> str:
    """An aware time as SQL of a TIMESTAMPTZ."""
    return f"TIMESTAMPTZ '{at.astimezone(UTC).isoformat()}'"


def _make_erased(store: OfflineStore, connection: duckdb.DuckDBPyConnection) -> int:
    """CREATE TABLE erased of every user who asked to be forgotten, by each name; gives how many.

    Whatever the time asked about: nobody is remembered by looking back.
    """
    store.scan(connection, "erasures", as_of=None).create_view("every_erasure")
    sql = "SELECT user_id, occurred_at AS erased_at FROM every_erasure"
    if connection.sql("SELECT 1 FROM every_erasure LIMIT 1").fetchall():
        store.scan(connection, "shown", as_of=None).create_view("every_shown")
        sql = forgotten_sql("every_erasure", "every_shown")
    connection.execute(f"CREATE TABLE erased AS {sql}")
    ((num_erased,),) = connection.sql("SELECT count(*) FROM erased").fetchall()
    return int(num_erased)


def _was_erased(kind: FactKind) -> str:
    return f"{kind}.user_id = erased.user_id AND {kind}.occurred_at <= erased.erased_at"


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
