"""One database, SQLite or PostgreSQL, and its two kinds of transactions: reading and writing.

On SQLite a writer takes the write lock at BEGIN (BEGIN IMMEDIATE): with the default, two
transactions that read first and write later can both get half way, and one of them fails without
having waited. Nothing here is done at import.
"""

import json
import math
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from models.errors import CorruptRegistry, SchemaMismatch, Unavailable
from models.tables import SCHEMA, UtcDateTime

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another one on SQLite. Ours last milliseconds."""

BEGIN_ADVICE = "run `rluf migrate`, or, where there was one, put it back from a backup"

CREDENTIALS = re.compile(r".*@", re.DOTALL)
"""What may be a user and a password in a text that is no URL."""

BEGIN = "rluf_begin"
"""Execution option holding the statement that opens a transaction on SQLite."""


class Database:
    """Connections to the registry's database. Safe to share between threads, not across a fork."""

    def __init__(self, url: str) -> None:
        """Raises ValueError where the URL is neither a SQLite file nor PostgreSQL."""
        self.url = checked_url(url)
        self.engine = make_engine(self.url)
        self._writing_engine = self.engine.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})
        self._open = threading.local()
        self._is_checked = False

    @property
    def file(self) -> Path | None:
        """The SQLite file, absolute; None on PostgreSQL."""
        return sqlite_file(self.url)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session to read with; inside `write`, the same one, so that it sees what was written.

        Raises SchemaMismatch where the database is not at this program's schema, Unavailable where
        it does not answer.
        """
        with self._session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are kept all together at the end, or not at all.

        Inside another `write` of the same thread it is that one, so that several changes can be
        made one. Raises like `read`.
        """
        with self._session(self._writing_engine) as session:
            yield session
            session.flush()

    def now(self, session: Session) -> datetime:
        """The time all writers agree on: the server's on PostgreSQL, else this machine's."""
        if self.url.get_backend_name() == "postgresql":
            clock = func.clock_timestamp(type_=UtcDateTime())
            return session.execute(select(clock)).scalar_one()
        return datetime.now(UTC)

    def check_schema(self) -> None:
        """Raises SchemaMismatch, saying what to run, unless the database stands at SCHEMA."""
        if self.file is not None and not self.file.exists():
            raise SchemaMismatch(f"there is no registry at {self.file}: {BEGIN_ADVICE}")
        with translated_faults(self.url), self.engine.connect() as connection:
            seen = schema_of(connection)
        place = self.url.render_as_string(hide_password=True)
        if seen is None:
            raise SchemaMismatch(f"the database {place} holds no registry: {BEGIN_ADVICE}")
        if seen < SCHEMA:
            raise SchemaMismatch(
                f"the registry {place} is at schema {seen}, this program needs {SCHEMA}: "
                "run `rluf migrate`"
            )
        if seen > SCHEMA:
            raise SchemaMismatch(
                f"the registry {place} is at schema {seen}, newer than this program's {SCHEMA}: "
                "use the rluf that migrated it, or a later one"
            )
        self._is_checked = True

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        outer: Session | None = getattr(self._open, "session", None)
        if outer is not None:
            yield outer
            return
        if not self._is_checked:
            self.check_schema()
        with translated_faults(self.url), Session(engine, expire_on_commit=False) as session:
            if engine is self._writing_engine:
                self._open.session = session
            try:
                with session.begin():
                    yield session
            finally:
                self._open.session = None


def sqlite_url(file: Path) -> str:
    """The URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(file)).render_as_string()


def sqlite_file(url: URL) -> Path | None:
    """The absolute path of the file that a SQLite URL names; None for other databases."""
    if url.get_backend_name() != "sqlite" or url.database is None:
        return None
    return Path(url.database).absolute()


def checked_url(url: str) -> URL:
    """Parse the URL. Raises ValueError unless it is a SQLite file or PostgreSQL by psycopg."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError(
            f"{CREDENTIALS.sub('***@', url)!r} is no database URL; the registry is"
            " sqlite:///FILE or postgresql+psycopg://…"
        ) from None
    if parsed.drivername == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ValueError("the registry must be a file that processes share, not in memory")
        return parsed
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    raise ValueError(
        f"the registry is sqlite:///FILE or postgresql+psycopg://…, not {parsed.drivername}://…"
    )


def make_engine(url: URL) -> Engine:
    """Give an engine with our manner of transactions, foreign keys and JSON."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(
            url, connect_args={"timeout": BUSY_TIMEOUT_S}, json_serializer=json_text
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(url, pool_pre_ping=True, json_serializer=json_text)


def schema_of(connection: Connection) -> str | None:
    """The revision that Alembic left in the database; None where it never ran."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def json_text(value: object) -> str:
    """JSON of plain values; NaN and infinities, which JSON does not have, become null."""
    return json.dumps(_finite(value), allow_nan=False)


@contextmanager
def translated_faults(url: URL) -> Iterator[None]:
    """Turn the driver's ways of saying "not now" into Unavailable, and "not ever" into
    CorruptRegistry; both name the database.

    Also those of SQLite itself, which says them where SQLAlchemy is not asked.
    """
    place = url.render_as_string(hide_password=True)
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError) as fault:
        why = fault.orig if isinstance(fault, DatabaseError | InterfaceError) else fault
        raise Unavailable(f"the registry {place} does not answer: {why}") from fault
    except (DatabaseError, sqlite3.DatabaseError) as fault:
        found = fault.orig if isinstance(fault, DatabaseError) else fault
        if type(found) is not sqlite3.DatabaseError:  # Its subclasses are faults of ours.
            raise
        raise CorruptRegistry(
            f"the registry {place} is no sound database: {found}. Put it back from a backup; what"
            " can still be read of it, `sqlite3 FILE .recover` shows. Artifacts and facts do not"
            " depend on it"
        ) from fault


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _prepare_sqlite(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None  # The driver must not open transactions behind our back.
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA recursive_triggers = ON")  # INSERT OR REPLACE deletes: guard it.


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN"))
