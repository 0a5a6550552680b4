"""What each user was shown of each policy and thinks of it: what online rows are summed from.

A policy's row counts every user. Kept by user and policy, it needs only those users' facts anew who
are touched by new ones; the others' tallies are added up as they are. The file is derived: whoever
deletes it has every tally computed again at the next push.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc

from features.definitions import feast_folder
from features.history import CLOCKS, COUNTS
from features.offline.base import Mark
from features.tables import TIME
from streams.errors import Unavailable

COLUMNS: Sequence[str] = ("user_id", "policy", *COUNTS, *CLOCKS)
BUSY_WAIT_S = 30.0
"""How long to wait for the file when another process writes to it."""
NUM_BUCKETS = 512
"""Users fall into so many; sums of a policy are kept by bucket, so that new facts of some users
have their buckets added up again and not everybody."""
_NUMBERS = ", ".join(f"{name} INTEGER NOT NULL" for name in (*COUNTS, *CLOCKS))
_SUMS = ", ".join((*(f"sum({name})" for name in COUNTS), *(f"max({name})" for name in CLOCKS)))
_CREATE = (
    "CREATE TABLE tallies (bucket INTEGER, user_id TEXT, policy TEXT,"
    f" {_NUMBERS}, PRIMARY KEY (bucket, user_id, policy)) WITHOUT ROWID",
    f"CREATE TABLE sums (bucket INTEGER, policy TEXT, {_NUMBERS},"
    " PRIMARY KEY (bucket, policy)) WITHOUT ROWID",
    "CREATE TABLE progress (one INTEGER PRIMARY KEY, mark TEXT NOT NULL,"
    " prior_strength REAL NOT NULL, prior_rate REAL NOT NULL)",
)
FOLD = 3
"""Of what tallies are made: 2 takes each event once, 3 is of features/outcomes.py. It goes up when
the fold changes."""
_LAYOUT = crc32(f"{FOLD};{';'.join(_CREATE)}".encode()) & 0x7FFF_FFFF
"""Kept in the file: one of another layout, as after a change of the signals, is made anew."""
_INSERT = f"INSERT INTO tallies VALUES ({', '.join('?' * (1 + len(COLUMNS)))})"


def tallies_path(root: Path) -> Path:
    """Where they lie: beside the online store, whose lock they share."""
    return feast_folder(root) / "tallies.db"


class Tallies:
    """The rows of features.history.tallies_sql in an SQLite file; times are kept as microseconds.

    One process at a time may change it (features/online.py holds a lock).
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self) -> Mark:
        """Up to where facts are in the tallies and in what was pushed from them."""
        with self._open() as database:
            rows = database.execute("SELECT mark FROM progress").fetchall()
        return str(rows[0][0]) if rows else ""

    def dials(self) -> tuple[float, float] | None:
        """The prior_strength and prior_rate of what was pushed; None where nothing was."""
        with self._open() as database:
            rows = database.execute("SELECT prior_strength, prior_rate FROM progress").fetchall()
        return (float(rows[0][0]), float(rows[0][1])) if rows else None

    def keep_mark(self, mark: Mark, dials: tuple[float, float]) -> None:
        """Remember both; here and not beside, so that they never outlive the tallies."""
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO progress VALUES (1, ?, ?, ?)", (mark, *dials))

    def known(self, users: Sequence[str]) -> set[str]:
        """Those of these users who have rows. Raises Unavailable."""
        sql = "SELECT 1 FROM tallies WHERE bucket = ? AND user_id = ? LIMIT 1"
        with self._open() as database:
            return {
                user for user in users if database.execute(sql, (_bucket(user), user)).fetchone()
            }

    def remove(self, users: Sequence[str]) -> None:
        """Delete all rows of these users. Raises Unavailable."""
        self.replace(users, _NONE)

    def replace(self, users: Sequence[str], rows: pa.Table) -> None:
        """Put `rows`, which are all of these users, in place of theirs. Raises Unavailable."""
        with self._open() as database:
            places = [(_bucket(user), user) for user in users]
            database.executemany("DELETE FROM tallies WHERE bucket = ? AND user_id = ?", places)
            database.executemany(_INSERT, _values(rows))
            _add_up(database, {bucket for bucket, _ in places})

    def replace_all(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Put these rows in place of all others. Raises Unavailable."""
        with self._open() as database:
            database.execute("DELETE FROM tallies")
            for batch in batches:
                database.executemany(_INSERT, _values(pa.Table.from_batches([batch])))
            _add_up(database, range(NUM_BUCKETS))

    def by_policy(self) -> pa.Table:
        """Sums of the counts and latest times of each policy, with COLUMNS but user_id."""
        with self._open() as database:
            rows = database.execute(
                f"SELECT policy, {_SUMS} FROM sums GROUP BY policy ORDER BY policy"
            ).fetchall()
        schema = _NONE.schema.remove(0)
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        return pa.table(
            [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)],
            schema=schema,
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The database, for one transaction that leaves nothing of what it deletes."""
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_WAIT_S)) as database:
                database.execute("PRAGMA secure_delete = ON")
                with database:
                    _make_tables(database)
                    yield database
        except sqlite3.DatabaseError as fault:
            raise Unavailable(
                f"cannot use {self._path}: {fault}; if it is broken, delete it: it is made anew"
            ) from fault


def _make_tables(database: sqlite3.Connection) -> None:
    if database.execute("PRAGMA user_version").fetchone() == (_LAYOUT,):
        return
    database.execute("BEGIN IMMEDIATE")
    for name in ("tallies", "sums", "progress"):
        database.execute(f"DROP TABLE IF EXISTS {name}")
    for statement in _CREATE:
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {_LAYOUT}")


def _bucket(user_id: str) -> int:
    """The same in every process."""
    return crc32(user_id.encode()) % NUM_BUCKETS


def _add_up(database: sqlite3.Connection, buckets: Iterable[int]) -> None:
    wanted = [(bucket,) for bucket in sorted(buckets)]
    database.executemany("DELETE FROM sums WHERE bucket = ?", wanted)
    database.executemany(
        f"INSERT INTO sums SELECT bucket, policy, {_SUMS} FROM tallies"
        " WHERE bucket = ? GROUP BY bucket, policy",
        wanted,
    )


def _values(rows: pa.Table) -> Iterator[tuple[object, ...]]:
    """The rows as SQLite takes them."""
    users = rows["user_id"].to_pylist()
    columns = [
        pc.cast(rows[name], pa.int64()) if name in CLOCKS else rows[name] for name in COLUMNS
    ]
    return zip(map(_bucket, users), *(column.to_pylist() for column in columns), strict=True)


_NONE = pa.schema(
    [
        ("user_id", pa.string()),
        ("policy", pa.string()),
        *((name, pa.int64()) for name in COUNTS),
        *((name, TIME) for name in CLOCKS),
    ]
).empty_table()
