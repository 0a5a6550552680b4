"""What users and policies look like now, and looked like at a past time, through Feast.

Online rows are derived: a push computes the rows of everybody touched anew from the facts, so that
late, repeated and reordered events, several workers and crashes all end in the same rows. Pushes
take turns by a lock and look at the facts while they hold it; a later push has therefore seen at
least what an earlier one saw, and never replaces newer values by older ones.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import Gauge

from features.config import FeaturesConfig
from features.definitions import (
    LABELS,
    POLICY_STATS,
    PROJECT,
    STATISTICS,
    USER_HISTORY,
    feast_folder,
    open_feast,
    push_source,
    source_path,
    source_schema,
)
from features.history import EntityKey, current_sql, history_sql, label_changes_sql, tallies_sql
from features.lean import lean_imports
from features.offline import OFFLINE_STORES
from features.offline.base import OfflineStore
from features.tallies import BUSY_WAIT_S, Tallies, tallies_path
from features.views import connect_store
from files.durable import PARTIAL_AGE_S, lock, remove_partial, written_durably
from streams.errors import Unavailable

with lean_imports():
    from feast.infra.key_encoding_utils import deserialize_entity_key, serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
    from feast.protos.feast.types.Value_pb2 import Value

logger = logging.getLogger(__name__)

PUSH_USERS_MAX = 50_000
"""Users whose rows are computed at a time: each time, all facts are looked through."""
PUSH_MEMORY_MB = 256
"""What DuckDB may use to compute them; the rest goes to its temporary files."""
WRITE_ROWS_MAX = 5_000
"""Rows that are given to Feast at a time: it makes some kilobytes of each."""
PUSH_SHARE_MAX = 0.1
"""Share of its time that a worker spends on pushing: after slow pushes it rests nine times as long.
Online rows of a large store are then older, and the stream is not held up."""
PUSH_QUICK_S, PUSH_SLOW_S = 0.4, 0.8
"""After a push that took less than the first, or a single slow one, the worker does not rest. From
the first to the second the rest grows to its full length."""

Row = Mapping[str, object]


class OnlineStore:
    """The latest rows of users and policies. Keep it: opening takes half a second, a read 1 ms.

    May be read by several threads.
    """

    def __init__(self, root: Path) -> None:
        self._store = open_feast(root)
        self._path = feast_folder(root) / "online.db"
        self._lock = threading.Lock()

    def read(
        self, *, users: Sequence[str] = (), policies: Sequence[str] = ()
    ) -> dict[str, dict[str, Row]]:
        """Rows by id under "users" and "policies": STATISTICS by name.

        All values of an id that nothing is known of are None. Raises Unavailable when the
        database stays locked or cannot be read.
        """
        return {
            "users": self._read(USER_HISTORY, "user_id", users),
            "policies": self._read(POLICY_STATS, "policy", policies),
        }

    def write(self, view: str, rows: pa.Table) -> None:
        """Push rows, with the columns of source_schema(view), through Feast."""
        with self._lock:
            try:
                self._store.push(push_source(view), rows.to_pandas())
            except sqlite3.OperationalError as fault:
                raise Unavailable(f"cannot write online features: {fault}") from fault

    def remove_users(self, ids: Sequence[str]) -> None:
        """Delete the rows of these users, so that not even their bytes are left in the file."""
        with self._removing() as database:
            _delete(database, USER_HISTORY, [_entity_key("user_id", user_id) for user_id in ids])

    def remove_others(self, view: str, supported: Collection[str]) -> int:
        """Delete the rows of all but these ids, in the same way; gives how many ids."""
        with self._removing() as database:
            stored = database.execute(f"SELECT DISTINCT entity_key FROM {_table(view)}").fetchall()
            gone = [key for (key,) in stored if _id_of(key) not in supported]
            _delete(database, view, gone)
        return len(gone)

    @contextmanager
    def _removing(self) -> Iterator[sqlite3.Connection]:
        """The database below Feast, for one transaction that leaves nothing of what it deletes."""
        try:
            with self._lock, closing(sqlite3.connect(self._path, timeout=BUSY_WAIT_S)) as database:
                database.execute("PRAGMA secure_delete = ON")
                with database:
                    yield database
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as fault:
            raise Unavailable(f"cannot remove online features: {fault}") from fault

    def _read(self, view: str, key: str, ids: Sequence[str]) -> dict[str, Row]:
        if not ids:
            return {}
        unique = list(dict.fromkeys(ids))
        with self._lock:
            try:
                answer = self._store.get_online_features(
                    features=[f"{view}:{name}" for name in STATISTICS],
                    entity_rows=[{key: entity} for entity in unique],
                ).to_dict()
            except sqlite3.OperationalError as fault:
                raise Unavailable(f"cannot read online features: {fault}") from fault
        return {
            entity: {name: answer[name][index] for name in STATISTICS}
            for index, entity in enumerate(unique)
        }


@functools.lru_cache(maxsize=8)
def open_online(root: Path) -> OnlineStore:
    """The online store of a home, opened once in a process."""
    return OnlineStore(root)


def online_features(
    root: Path, *, users: Sequence[str] = (), policies: Sequence[str] = ()
) -> dict[str, dict[str, Row]]:
    """The latest features; see OnlineStore.read."""
    return open_online(root.absolute()).read(users=users, policies=policies)


def features_as_of(
    config: FeaturesConfig,
    *,
    users: Sequence[str] = (),
    policies: Sequence[str] = (),
    at: datetime,
    as_of: datetime | None = None,
) -> list[dict[str, object]]:
    """Features as they stood at a past time `at`, joined by Feast; one row for each id.

    Counts what occurred until `at`. What was known by then is another question: `as_of` says by
    when it had to be known, None is now. Values of an id that had no history yet are None.
    """
    if at.tzinfo is None:
        raise ValueError(f"at is {at.isoformat()}, must have a timezone")
    store = OFFLINE_STORES[config.offline_store](config)
    rows: list[dict[str, object]] = []
    wanted = ((USER_HISTORY, "user_id", users), (POLICY_STATS, "policy", policies))
    with connect_store(store, root=config.root, as_of=as_of) as connection:
        for view, key, ids in wanted:
            if not ids:
                continue
            unique = list(dict.fromkeys(ids))
            entities = pa.table({key: unique, "event_timestamp": _times(at, len(unique))})
            found = join_history(
                config, connection, entities, [f"{view}:{name}" for name in STATISTICS]
            )
            rows += [
                {key: row[key], "at": at, **{name: row[name] for name in STATISTICS}}
                for row in found.to_pylist()
            ]
    return rows


def join_history(
    config: FeaturesConfig,
    connection: duckdb.DuckDBPyConnection,
    entities: pa.Table,
    features: str | Sequence[str],
) -> pa.Table:
    """Join to each row of `entities` (keys and event_timestamp) its features at that time.

    `features` is a feature service's name or references such as "user_history:num_shown". The last
    row of the history at or before the time counts. Order is kept. The history is that of the
    connection's facts.
    """
    store = open_feast(config.root)
    if isinstance(features, str):
        wanted = store.get_feature_service(features)
        views = {projection.name for projection in wanted.feature_view_projections}
    else:
        wanted = list(features)
        views = {reference.split(":")[0] for reference in features}
    row = pa.array(range(entities.num_rows), pa.int64())
    frame = entities.append_column("row", row).to_pandas()
    with lock(feast_folder(config.root) / ".sources.lock"):
        for view in views:
            write_source(config, connection, view)
        joined = store.get_historical_features(entity_df=frame, features=wanted).to_arrow()
    return joined.sort_by("row").drop_columns(["row"])


class OnlinePusher:
    """Keeps the online store up with the facts; any number of processes may have one."""

    def __init__(
        self,
        config: FeaturesConfig,
        store: OfflineStore,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds; tests set it."""
        self._config = config
        self._store = store
        self._clock = clock
        self._folder = feast_folder(config.root)
        self._tallies = Tallies(tallies_path(config.root))
        self._resume_at = 0.0
        self._last_took_s = 0.0
        self._fresh_at = clock()
        _freshness().set_function(lambda: self._clock() - self._fresh_at)

    def push(self) -> int:
        """Push the rows of users concerned by new facts, and of all policies; gives rows pushed.

        What is new is remembered beside the tallies: a worker that died between storing and
        pushing leaves the rest to whoever pushes next. Raises Unavailable.
        """
        if self._clock() < self._resume_at:
            return 0
        try:
            online = open_online(self._config.root.absolute())
            started_at = self._clock()
            num_rows = self._push(online)
            self._fresh_at = started_at
        except OSError as fault:
            raise Unavailable(f"cannot push online features: {fault.strerror}") from fault
        took_s = self._clock() - started_at
        usual_s, self._last_took_s = min(took_s, self._last_took_s), took_s
        slowness = (usual_s - PUSH_QUICK_S) / (PUSH_SLOW_S - PUSH_QUICK_S)
        if slowness > 0:
            rest_s = usual_s * (1 / PUSH_SHARE_MAX - 1)
            self._resume_at = self._clock() + min(1.0, slowness) * rest_s
        return num_rows

    def _push(self, online: OnlineStore) -> int:
        with lock(self._folder / ".push.lock"):
            dials = (self._config.prior_strength, self._config.prior_rate)
            if self._tallies.dials() not in (None, dials):
                self._tallies.keep_mark("", dials)  # Each row's rates are of these dials.
            news, mark = self._store.news(self._tallies.mark())
            if not news:
                return 0
            named = [chunk for table in news.values() for chunk in table["user_id"].chunks]
            erased = set(news["erasures"]["user_id"].to_pylist()) if "erasures" in news else set()
            num_rows = 0
            with connect_store(
                self._store,
                root=self._config.root,
                as_of=None,
                memory_mb=PUSH_MEMORY_MB,
                only_touched=True,
            ) as connection:
                chunks = [*named, *_owners(connection, news.get("reactions"))]
                users = pc.unique(pa.chunked_array(chunks, pa.string()))  # Nobody: emptied files.
                num_removed = 0
                for first in range(0, len(users), PUSH_USERS_MAX):
                    touched = users.slice(first, PUSH_USERS_MAX)
                    tallies = self._tallies_of(connection, touched)
                    left = set(tallies["user_id"].to_pylist())
                    without = [user for user in touched.to_pylist() if user not in left]
                    # An erasure takes rows away, and an exposure that may not be learned from.
                    gone = self._tallies.known(without) | erased.intersection(without)
                    if gone:
                        online.remove_users(sorted(gone))
                    num_removed += len(gone)
                    self._tallies.replace(touched.to_pylist(), tallies)
                    rows = self._rows(connection, "user_id", tallies)
                    for start in range(0, rows.num_rows, WRITE_ROWS_MAX):
                        online.write(USER_HISTORY, rows.slice(start, WRITE_ROWS_MAX))
                    num_rows += rows.num_rows
                policies = self._rows(connection, "policy", self._tallies.by_policy())
                if policies.num_rows:
                    online.write(POLICY_STATS, policies)
                if erased or num_removed:  # A policy may have been shown to nobody else.
                    online.remove_others(POLICY_STATS, policies["policy"].to_pylist())
            self._tallies.keep_mark(mark, dials)
        return num_rows + int(policies.num_rows)

    def _tallies_of(self, connection: duckdb.DuckDBPyConnection, users: pa.Array) -> pa.Table:
        """The tallies of these users, from the facts."""
        with _registered(connection, "concerned", pa.table({"user_id": users})):
            connection.execute("DELETE FROM touched")
            connection.execute("INSERT INTO touched SELECT user_id FROM concerned")
        return connection.sql(tallies_sql()).to_arrow_table()

    def _rows(
        self, connection: duckdb.DuckDBPyConnection, key: EntityKey, tallies: pa.Table
    ) -> pa.Table:
        strength, rate = self._config.prior_strength, self._config.prior_rate
        with _registered(connection, "tallies", tallies):
            found = connection.sql(
                current_sql(key, strength=strength, rate=rate, tallies="tallies")
            ).to_arrow_table()
        return found.cast(source_schema(USER_HISTORY if key == "user_id" else POLICY_STATS))


def _owners(connection: duckdb.DuckDBPyConnection, taps: pa.Table | None) -> Sequence[pa.Array]:
    """The users whose exposures these reactions name otherwise, in chunks."""
    if taps is None:
        return ()
    with _registered(connection, "taps", taps):
        owners = connection.sql(
            "SELECT DISTINCT resolved.user_id FROM taps JOIN resolved"
            " ON taps.response_id = named_response AND taps.user_id = named_user"
        ).to_arrow_table()
    return list(owners["user_id"].chunks)


@functools.cache
def _freshness() -> Gauge:
    """Made by the first pusher: a process that pushes nothing has no freshness to show."""
    return Gauge(
        "rluf_feature_freshness_seconds",
        "Age of the moment up to which all durable facts are in the online features",
    )


@contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> Iterator[None]:
    """Let SQL read a table under a name for a while."""
    connection.register(name, rows)
    try:
        yield
    finally:
        connection.unregister(name)


def write_source(config: FeaturesConfig, connection: duckdb.DuckDBPyConnection, view: str) -> None:
    """Write the history that Feast joins; whoever reads meanwhile keeps the file that was there."""
    strength, rate = config.prior_strength, config.prior_rate
    sql = {
        USER_HISTORY: history_sql("user_id", strength=strength, rate=rate),
        POLICY_STATS: history_sql("policy", strength=strength, rate=rate),
        LABELS: label_changes_sql(),
    }[view]
    path = source_path(config.root, view)
    remove_partial(path.parent, before_s=time.time() - PARTIAL_AGE_S)
    with written_durably(path) as beside:
        quoted = str(beside).replace("'", "''")
        connection.execute(f"COPY ({sql}) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd)")


def _table(view: str) -> str:
    """Feast's table of a view in its SQLite store."""
    return f'"{PROJECT}_{view}"'


def _delete(database: sqlite3.Connection, view: str, keys: Sequence[bytes]) -> None:
    rows = [(key,) for key in keys]
    database.executemany(f"DELETE FROM {_table(view)} WHERE entity_key = ?", rows)


def _id_of(entity_key: bytes) -> str:
    (value,) = deserialize_entity_key(entity_key, entity_key_serialization_version=3).entity_values
    return str(value.string_val)


def _entity_key(join_key: str, value: str) -> bytes:
    """The key of a row in Feast's online store."""
    key = EntityKeyProto(join_keys=[join_key], entity_values=[Value(string_val=value)])
    serialized: bytes = serialize_entity_key(key, entity_key_serialization_version=3)
    return serialized


def _times(at: datetime, count: int) -> pa.Array:
    return pa.array([at] * count, pa.timestamp("us", "UTC"))
