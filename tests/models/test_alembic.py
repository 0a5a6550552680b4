"""Goal: Alembic by itself works on our migrations, and leaves what `rluf migrate` leaves.

Method: its command line, over alembic.ini, on both databases; the schemas of databases made on the
three roads (rluf, Alembic, Alembic's SQL run by hand) are compared statement by statement.
"""

import io
import itertools
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TypeAlias

import psycopg
import pytest
from alembic import command
from alembic.config import CommandLine, Config
from sqlalchemy import create_engine, inspect, text

from models.database import checked_url, sqlite_file, sqlite_url
from models.migrate import configuration, current, migrate
from models.tables import SCHEMA, Base
from tests.models.conftest import Opened

ROOT = Path(__file__).parents[2]
VARIABLES = ("RLUF_MODELS__REGISTRY_URL", "RLUF_HOME")
_numbers = itertools.count()

Run: TypeAlias = Callable[..., str]


@pytest.fixture
def alembic(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run Alembic's command line; give what it printed, of `--sql` the SQL without any log.

    `code` 1 says that it must refuse.
    """

    def run(*arguments: str, code: int = 0, cwd: Path = ROOT, **environment: str) -> str:
        line, out = CommandLine(prog="alembic"), io.StringIO()
        options = line.parser.parse_args(arguments)
        config = Config((options.config or ["alembic.ini"])[0], cmd_opts=options, stdout=out)
        config.output_buffer = out
        refusals = pytest.raises(SystemExit) if code else nullcontext()
        capsys.readouterr()
        with monkeypatch.context() as patched, refusals:
            patched.chdir(cwd)
            for name in VARIABLES:
                patched.delenv(name, raising=False)
            for name, value in environment.items():
                patched.setenv(name, value)
            line.run_cmd(config, options)
        said = capsys.readouterr()
        log = "" if "--sql" in arguments else said.out + said.err
        return out.getvalue() + log

    return run


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, home: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(home / "not yet" / "registry.db")
    url = request.getfixturevalue("postgres").create(f"alembic_{next(_numbers)}")
    assert isinstance(url, str)
    return url


def schema(url: str) -> object:
    """Everything that a database says of its tables, triggers and functions."""
    file = sqlite_file(checked_url(url))
    if file is not None:
        with closing(sqlite3.connect(file)) as connection:
            journal = connection.execute("PRAGMA journal_mode").fetchone()
            rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
            return journal, sorted((*row[:3], " ".join((row[3] or "").split())) for row in rows)
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT table_name || column_name || data_type || is_nullable ||"
                " coalesce(column_default, '') FROM information_schema.columns"
                " WHERE table_schema = 'public' UNION ALL"
                " SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE connamespace = 'public'::regnamespace UNION ALL"
                " SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL"
                " SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal UNION ALL"
                " SELECT pg_get_functiondef(oid) FROM pg_proc"
                " WHERE pronamespace = 'public'::regnamespace"
            )
        )
        found = sorted(row[0] for row in rows)
    engine.dispose()
    return found


def test_it_upgrades_checks_and_downgrades_a_database(
    empty_url: str, opened: Opened, alembic: Run
) -> None:
    x = ("-x", f"url={empty_url}")
    alembic(*x, "upgrade", "head")
    assert f"{SCHEMA} (head)" in alembic(*x, "current")
    assert "No new upgrade operations detected" in alembic(*x, "check")
    assert "<base> -> 0001" in alembic(*x, "history")
    assert opened(empty_url).versions() == []
    alembic(*x, "downgrade", "base")
    assert current(empty_url) is None
    alembic(*x, "upgrade", "+1")
    alembic(*x, "stamp", "base")
    assert current(empty_url) is None
    alembic(*x, "stamp", "head")
    assert migrate(empty_url) == SCHEMA


def test_what_alembic_makes_is_what_rluf_makes(empty_url: str, own_url: str, alembic: Run) -> None:
    if checked_url(empty_url).drivername != checked_url(own_url).drivername:
        pytest.skip("compared within one kind of database")
    alembic("-x", f"url={empty_url}", "upgrade", "head")
    assert schema(empty_url) == schema(own_url)
    assert "No new upgrade" in alembic("-x", f"url={own_url}", "check")


def test_its_sql_run_by_hand_makes_the_same(home: Path, sqlite: str, alembic: Run) -> None:
    sql = alembic("-x", f"url={sqlite_url(home / 'none.db')}", "upgrade", "head", "--sql")
    assert not (home / "none.db").exists()
    by_hand = home / "by hand.db"
    with closing(sqlite3.connect(by_hand)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(sql)
    assert schema(sqlite_url(by_hand)) == schema(sqlite)
    assert current(sqlite_url(by_hand)) == SCHEMA


def test_its_sql_for_postgresql_run_by_hand_makes_the_same(
    own_url: str, request: pytest.FixtureRequest, alembic: Run
) -> None:
    if checked_url(own_url).drivername == "sqlite":
        pytest.skip("the one above")
    url = request.getfixturevalue("postgres").create(f"alembic_{next(_numbers)}")
    sql = alembic("-x", f"url={url}", "upgrade", "head", "--sql")
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(sql.replace("BEGIN;", "", 1).replace("COMMIT;", ""))
    assert schema(url) == schema(own_url)
    down = alembic("-x", f"url={url}", "downgrade", f"{SCHEMA}:base", "--sql")
    assert "DROP TABLE versions" in down


def test_the_database_is_found_in_the_order_that_the_docs_say(tmp_path: Path, alembic: Run) -> None:
    urls = {name: sqlite_url(tmp_path / f"{name}.db") for name in ("x", "variable", "ini")}
    configured = tmp_path / "alembic.ini"
    ini = (ROOT / "alembic.ini").read_text("utf-8").replace("%(here)s", str(ROOT))
    configured.write_text(f"{ini}sqlalchemy.url = {urls['ini']}\n")
    variable = {"RLUF_MODELS__REGISTRY_URL": urls["variable"], "RLUF_HOME": str(tmp_path / "home")}
    file = ("-c", str(configured))
    alembic(*file, "-x", f"url={urls['x']}", "upgrade", "head", **variable)
    assert [current(url) for url in urls.values()] == [SCHEMA, None, None]
    alembic(*file, "upgrade", "head", **variable)
    assert [current(url) for url in urls.values()] == [SCHEMA, SCHEMA, None]
    alembic(*file, "upgrade", "head", RLUF_HOME=variable["RLUF_HOME"])
    assert [current(url) for url in urls.values()] == [SCHEMA, SCHEMA, SCHEMA]
    alembic("upgrade", "head", RLUF_HOME=variable["RLUF_HOME"], RLUF_MODELS__REGISTRY_URL="")
    assert current(sqlite_url(tmp_path / "home" / "registry.db")) == SCHEMA
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    alembic("-c", str(ROOT / "alembic.ini"), "upgrade", "head", cwd=elsewhere)
    assert current(sqlite_url(elsewhere / "runs" / "registry.db")) == SCHEMA


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://rluf:hunter2@db/x", "not mysql"),
        ("sqlite://", "must be a file"),
        ("postgresql://rluf:hunter2@db/x", "not postgresql"),
        ("rluf:hunter2@db", "is no database URL"),
        ("x//rluf:hunter2@db", "is no database URL"),
        ("postgresql+psycopg://rluf:hunter2@/x?host=/nowhere", "does not answer"),
    ],
)
def test_a_url_that_is_no_registry_is_refused_without_its_password(
    url: str, why: str, alembic: Run
) -> None:
    said = alembic("-x", f"url={url}", "upgrade", "head", code=1)
    assert why in said
    assert "hunter2" not in said


def test_a_database_of_a_newer_program_is_told(sqlite: str, alembic: Run) -> None:
    engine = create_engine(sqlite)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    for verb in ("upgrade", "downgrade"):
        said = alembic("-x", f"url={sqlite}", verb, "0001", code=1)
        assert "9999" in said


def test_an_engine_of_other_tools_is_taken(empty_url: str, home: Path) -> None:
    if empty_url.startswith("sqlite"):
        (home / "not yet").mkdir()
    engine = create_engine(empty_url)
    config = configuration()
    config.attributes["connection"] = engine
    command.upgrade(config, "head")
    command.check(config)
    assert set(inspect(engine).get_table_names()) == {"alembic_version", *Base.metadata.tables}
    engine.dispose()


def test_two_alembics_at_once_wait_for_each_other(empty_url: str) -> None:
    arguments = [sys.executable, "-m", "alembic", "-x", f"url={empty_url}", "upgrade", "head"]
    both = [
        subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    # One of them runs every revision, the other finds them run.
    assert sorted(text.count("Running upgrade") for text in said) == [0, int(SCHEMA)]
    assert current(empty_url) == SCHEMA
