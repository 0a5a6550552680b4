"""Ask the facts: SQL views over the store, as known at a time.

    shown, reactions    facts, each event once, without those of erased users
    erasures, verdicts  the same for requests to be forgotten and for what the guard decided
    quarantine          verdicts that stand (features/quarantine.py)
    labels              the fold of the reactions that are not quarantined (features/labels.py)
    dead_letters        records that are no events of ours

An event that came several times is shown as it was first known; if a careless producer used one
(source, id) for different events, the earliest of them is kept, whatever order they came in. What a
user did up to their latest erasure is hidden at every `as_of`, also one before they asked.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from features.aliases import forgotten_sql, make_resolved
from features.config import FeaturesConfig
from features.labels import labels_sql
from features.offline import OFFLINE_STORES
from features.offline.base import OfflineStore
from features.quarantine import judged_sql, standing_sql, trusted_sql
from features.tables import SCHEMAS, Kind

_RAW: dict[Kind, str] = {
    "shown": "raw_shown",
    "reactions": "all_reactions",
    "verdicts": "raw_verdicts",
}
VIEWS = ("shown", "reactions", "labels", "dead_letters", "erasures", "verdicts", "quarantine")


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
    only_raw: bool = False,
) -> duckdb.DuckDBPyConnection:
    """The same as `connect` over a given store; `memory_mb` is what DuckDB may use before it turns
    to temporary files (None: 80 % of the machine's). With `only_raw` there are none but the raw
    views: each that is made looks into every file.

    Beside the views there are raw_shown and raw_reactions, which hold the same facts, some of them
    several times, and cost less where that does not matter; raw_reactions without those that are
    quarantined, all_reactions with them.
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
    for kind, raw in _RAW.items():
        connection.execute(
            f"CREATE VIEW {raw} AS SELECT * FROM {known[kind]} AS {kind} {kept[kind]}"
        )
    connection.execute(f"CREATE VIEW verdicts AS {_once('verdicts', _RAW['verdicts'])}")
    connection.execute(f"CREATE TABLE quarantine AS {standing_sql('verdicts')}")
    (num_quarantined,) = connection.sql("SELECT count(*) FROM quarantine").fetchall()[0]
    judged = judged_sql if num_quarantined else trusted_sql
    connection.execute(
        "CREATE VIEW raw_reactions AS SELECT * EXCLUDE (quarantined)"
        f" FROM ({judged('SELECT * FROM all_reactions')}) WHERE NOT quarantined"
    )
    if only_raw:
        return connection
    connection.execute(f"CREATE VIEW shown AS {_once('shown', _RAW['shown'])}")
    connection.execute(f"CREATE VIEW reactions AS {judged(_once('reactions', 'all_reactions'))}")
    for kind in ("erasures", "dead_letters"):
        stored = f"(SELECT * FROM stored_{kind} {until})"
        connection.execute(f"CREATE VIEW {kind} AS {_once(kind, stored)}")
    connection.execute(f"CREATE VIEW labels AS {labels_sql('reactions', 'raw_shown')}")
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


def _was_erased(kind: Kind) -> str:
    return f"{kind}.user_id = erased.user_id AND {kind}.occurred_at <= erased.erased_at"


def _once(kind: Kind, relation: str) -> str:
    """Each fact once, chosen by what it says before when it was known: no order matters."""
    if kind == "dead_letters":
        # The record's time too: a topic made again under its name counts its offsets from 0 again.
        key, rest = ["topic", "partition", "offset", "known_at"], ["reason", "detail", "value"]
        order = "known_at"
    else:
        key = ["source", "id"]
        rest = [c for c in SCHEMAS[kind].names if c not in (*key, "occurred_at", "known_at")]
        order = "occurred_at"
    content = f"hash({_columns(rest)})"
    return f"""
        SELECT {_columns(SCHEMAS[kind].names)} FROM {relation}
        QUALIFY row_number() OVER (
            PARTITION BY {_columns(key)} ORDER BY {order}, {content}, known_at) = 1"""


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
