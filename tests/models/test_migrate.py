"""Goal: any database comes to the registry's schema, or says clearly why not.

Method: up, down and up again on SQLite and PostgreSQL; Alembic's own comparison of the tables in
code with the tables in the database; databases that are empty, older, newer and missing.
"""

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from models.database import checked_url, make_engine, sqlite_url
from models.errors import SchemaMismatch, Unavailable
from models.migrate import configuration, current, head, migrate
from models.tables import APPEND_ONLY, SCHEMA, Base
from tests.models.conftest import Opened
from tests.models.crowd import SIZE, Crowd
from tests.models.hammer import migrate_at_once


def test_the_tables_in_code_are_the_tables_after_migration(url: str) -> None:
    engine = make_engine(checked_url(url))
    with engine.connect() as connection, connection.begin():
        command.check(configuration(connection))  # Raises where autogenerate finds a difference.
    engine.dispose()


def test_there_is_one_head_and_the_code_knows_it() -> None:
    assert ScriptDirectory.from_config(configuration()).get_heads() == [SCHEMA] == [head()]


def test_down_and_up_again_leaves_the_same_schema(own_url: str) -> None:
    def schema() -> dict[str, object]:
        engine = make_engine(checked_url(own_url))
        with engine.connect() as connection:
            found = inspect(connection)
            tables = {
                table: (
                    [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)],
                    sorted(str(u["name"]) for u in found.get_unique_constraints(table)),
                    sorted(str(i["name"]) for i in found.get_indexes(table)),
                )
                for table in sorted(found.get_table_names())
            }
        engine.dispose()
        return tables

    before = schema()
    assert migrate(own_url, "base") == "base"
    assert set(schema()) == {"alembic_version"}
    assert migrate(own_url) == SCHEMA
    assert schema() == before
    assert set(before) == {"alembic_version", *Base.metadata.tables}


def test_migrating_twice_is_migrating_once(url: str) -> None:
    assert migrate(url) == migrate(url) == current(url) == SCHEMA


def test_a_database_of_a_newer_program_is_refused_with_advice(own_url: str, opened: Opened) -> None:
    _set_schema(own_url, "9999")
    with pytest.raises(SchemaMismatch, match=r"9999.* or a later one"):
        opened(own_url).versions()
    with pytest.raises(SchemaMismatch, match="9999"):
        migrate(own_url)


def test_a_database_of_an_older_program_says_what_to_run(own_url: str, opened: Opened) -> None:
    _set_schema(own_url, "0000")
    with pytest.raises(SchemaMismatch, match="run `rluf migrate`"):
        opened(own_url).versions()


def test_a_missing_file_says_what_to_run_and_is_not_made(home: Path, opened: Opened) -> None:
    file = home / "registry.db"
    with pytest.raises(SchemaMismatch, match="run `rluf migrate`"):
        opened(sqlite_url(file)).versions()
    assert not file.exists()
    assert current(sqlite_url(file)) is None
    assert not file.exists()


def test_an_empty_database_says_what_to_run(home: Path, opened: Opened) -> None:
    (home / "registry.db").touch()
    with pytest.raises(SchemaMismatch, match="run `rluf migrate`"):
        opened(sqlite_url(home / "registry.db")).versions()


def test_a_registry_that_was_refused_works_once_migrated(home: Path, opened: Opened) -> None:
    registry = opened(sqlite_url(home / "registry.db"))
    with pytest.raises(SchemaMismatch):
        registry.versions()
    migrate(sqlite_url(home / "registry.db"))
    assert registry.versions() == []


def test_it_works_from_any_folder_and_with_odd_names(tmp_path: Path, opened: Opened) -> None:
    file = tmp_path / "50% of it?" / "my registry #1.db"
    root = Path(__file__).parents[2]
    code = "import sys; from models.migrate import migrate; print(migrate(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, sqlite_url(file)],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == SCHEMA
    assert file.is_file()
    assert opened(sqlite_url(file)).versions() == []


def test_processes_that_migrate_at_once_wait_for_each_other(home: Path, crowd: Crowd) -> None:
    url = sqlite_url(home / "registry.db")
    assert crowd.run(migrate_at_once, lambda _: (url,)) == [SCHEMA] * SIZE


def test_it_waits_for_whoever_writes_a_file_that_keeps_no_log_yet(home: Path) -> None:
    """SQLite itself does not: it says at once that the database is locked."""
    file = home / "registry.db"
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("CREATE TABLE passing (x)")
        end = threading.Timer(0.5, writer.execute, ["ROLLBACK"])
        end.start()
        assert migrate(sqlite_url(file)) == SCHEMA
        end.join()
    with closing(sqlite3.connect(file)) as reader:
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_readers_do_not_wait_for_a_writer_on_sqlite(sqlite: str, opened: Opened) -> None:
    writer, reader = opened(sqlite), opened(sqlite)
    writer.start_run("turn", "1", {})
    with writer.atomic():
        writer.start_run("turn", "2", {})
        assert [run.key for run in reader.runs()] == ["1"]
    assert [run.key for run in reader.runs()] == ["1", "2"]


def test_other_tables_of_a_shared_database_are_left_alone(own_url: str) -> None:
    engine = make_engine(checked_url(own_url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    with engine.connect() as connection, connection.begin():
        command.check(configuration(connection))
    migrate(own_url, "base")
    migrate(own_url)
    with engine.connect() as connection:
        assert inspect(connection).has_table("orders")
    engine.dispose()


@pytest.mark.parametrize("change", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}"])
def test_history_refuses_to_be_changed_whoever_asks(url: str, change: str) -> None:
    engine = make_engine(checked_url(url))
    for table in APPEND_ONLY:
        columns = [column.name for column in Base.metadata.tables[table].columns]
        with engine.connect() as connection, connection.begin() as transaction:
            if connection.dialect.name == "sqlite":  # Whose triggers need a row to speak of.
                connection.execute(text("PRAGMA defer_foreign_keys = ON"))
                ones = ", ".join("1" for _ in columns)
                connection.execute(text(f"INSERT INTO {table} VALUES ({ones})"))
            with pytest.raises(DBAPIError, match=f"{table} is append-only"):
                connection.execute(text(change.format(table, columns[0])))
            transaction.rollback()
    engine.dispose()


def test_history_cannot_be_truncated_or_replaced(url: str) -> None:
    engine = make_engine(checked_url(url))
    with engine.connect() as connection, connection.begin() as transaction:
        models = "INTO models VALUES (1, 'chat', 'policy', '2026-11-24 00:00:00+00:00')"
        connection.execute(text(f"INSERT {models}"))
        is_sqlite = connection.dialect.name == "sqlite"
        attack = f"INSERT OR REPLACE {models}" if is_sqlite else "TRUNCATE models CASCADE"
        with pytest.raises(DBAPIError, match="is append-only"):
            connection.execute(text(attack))
        transaction.rollback()
    engine.dispose()


@pytest.mark.parametrize(
    "bad", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "postgresql+psycopg2://x/y"]
)
def test_other_databases_are_refused_by_name(bad: str) -> None:
    with pytest.raises(ValueError, match="registry"):
        migrate(bad)


def test_a_server_that_is_not_there_is_unavailable(home: Path, opened: Opened) -> None:
    url = f"postgresql+psycopg://rluf@/x?host={home.parent}/nowhere"
    with pytest.raises(Unavailable, match="does not answer"):
        opened(url).versions()


def _set_schema(url: str, revision: str) -> None:
    engine = make_engine(checked_url(url))
    with engine.connect() as connection, connection.begin():
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    engine.dispose()
