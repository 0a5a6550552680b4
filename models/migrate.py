"""Bring a database to the registry's schema with Alembic, without any configuration file.

The migrations are found as the package `migrations`, so it works from any folder. Alembic alone
(alembic.ini, migrations/env.py) takes the same road.
"""

import importlib.util
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from models.database import (
    BEGIN,
    BUSY_TIMEOUT_S,
    Database,
    checked_url,
    make_engine,
    schema_of,
    sqlite_file,
    translated_faults,
)
from models.errors import SchemaMismatch

MIGRATION_LOCK = 0x726C7566
"""Key of PostgreSQL's advisory lock: "rluf" in ASCII. Any number that no other program uses."""
BUSY_PAUSE_S = 0.02
"""Between two attempts where SQLite does not wait by itself."""


def migrate(url: str, revision: str = "head") -> str:
    """Bring the database to the revision, all of it or nothing; give the revision it is at.

    A SQLite file and its folder are made where missing. Processes that migrate at the same time
    wait for each other. Raises SchemaMismatch where the database is newer than this program,
    Unavailable where it does not answer, and as such CorruptRegistry.
    """
    with exclusively(url) as connection:
        _move(connection, revision)
        return schema_of(connection) or "base"


@contextmanager
def exclusively(url: str) -> Iterator[Connection]:
    """Give a connection in a transaction during which nobody else migrates; commit at the end.

    A SQLite file and its folder are made where missing. Raises ValueError where the URL names no
    registry, Unavailable, and as such CorruptRegistry.
    """
    parsed = checked_url(url)
    file = sqlite_file(parsed)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    engine = make_engine(parsed)
    try:
        with translated_faults(parsed), engine.connect() as connection:
            if file is not None:
                _keep_a_log(connection)
            connection = connection.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})
            with connection.begin():
                if file is None:
                    lock = text("SELECT pg_advisory_xact_lock(:key)")
                    connection.execute(lock, {"key": MIGRATION_LOCK})
                yield connection
    finally:
        engine.dispose()


def head() -> str:
    """The newest revision that this program has. There is one: two heads raise CommandError."""
    found = ScriptDirectory.from_config(configuration()).get_current_head()
    assert found is not None, "the package migrations has no revision"
    return found


def current(url: str) -> str | None:
    """The revision that the database is at; None where it holds no registry."""
    database = Database(url)
    if database.file is not None and not database.file.exists():
        return None
    try:
        with translated_faults(database.url), database.engine.connect() as connection:
            return schema_of(connection)
    finally:
        database.close()


def require_not_lost(url: str, root: Path) -> None:
    """For programs that migrate unasked: a registry that was lost is not begun anew in silence.

    Raises SchemaMismatch where there is none although models lie under the home `root`.
    """
    models = sorted(path.name for path in (root / "artifacts").glob("*") if any(path.glob("*")))
    if models and current(url) is None:
        place = checked_url(url).render_as_string(hide_password=True)
        raise SchemaMismatch(
            f"{place} holds no registry (it is gone, or empty), although {root / 'artifacts'} holds"
            f" models ({', '.join(models)}). Put it back from a backup; or run `rluf migrate`"
            " to begin a new one, in which none of them is a version"
        )


def draft(url: str, message: str) -> Path:
    """Write the next revision from what models/tables.py has and the database lacks.

    Triggers on new APPEND_ONLY tables are to be added by hand, as 0001 does.
    """
    engine = make_engine(checked_url(url))
    number = f"{int(head()) + 1:04d}"
    try:
        with engine.connect() as connection, connection.begin():
            made = command.revision(
                configuration(connection), message, autogenerate=True, rev_id=number
            )
    finally:
        engine.dispose()
    assert made is not None
    assert not isinstance(made, list)
    return Path(made.path)


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration, made here instead of in an .ini file."""
    spec = importlib.util.find_spec("migrations")
    assert spec is not None, "the package migrations lies beside the package models"
    assert spec.submodule_search_locations is not None
    config = Config()
    config.set_main_option(
        "script_location", next(iter(spec.submodule_search_locations)).replace("%", "%%")
    )
    config.attributes["connection"] = connection
    return config


def _keep_a_log(connection: Connection) -> None:
    """Have SQLite log what is written, so that readers go on meanwhile: the file remembers it.

    It cannot be set in BEGIN, and while another process writes, SQLite does not wait as it does
    elsewhere but says at once that the database is locked.
    """
    cursor = connection.connection.cursor()
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as fault:
            is_busy = fault.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() >= until:
                raise
            time.sleep(BUSY_PAUSE_S)
        else:
            return


def _move(connection: Connection, revision: str) -> None:
    config = configuration(connection)
    script = ScriptDirectory.from_config(config)
    known = {item.revision for item in script.walk_revisions()}
    at = schema_of(connection)
    if at is not None and at not in known:
        raise SchemaMismatch(
            f"the database is at schema {at}, which this program does not know (its newest is "
            f"{script.get_current_head()}): use the rluf that migrated it, or a later one"
        )
    target = script.get_current_head() if revision == "head" else revision
    goes_down = target == "base" or (at is not None and target is not None and target < at)
    (command.downgrade if goes_down else command.upgrade)(config, revision)
