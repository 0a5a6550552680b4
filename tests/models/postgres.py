"""A PostgreSQL server of our own for the tests: in a temporary folder, on a socket, without TCP."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from models.tables import Base
from tests.waiting import WAIT_S

UNPRIVILEGED = ("postgres", "nobody")
"""PostgreSQL refuses to run as root: whoever tests as root lends it one of these accounts."""


class NoPostgres(Exception):
    """There is none on this machine; the text says what to install."""


class Postgres:
    """A running server. Its databases vanish with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://rluf@/{database}?host={self._folder}"

    def empty(self, database: str) -> str:
        """Take every row out of the registry in it, against its own triggers; give its URL."""
        engine = create_engine(self.url(database))
        tables = ", ".join(Base.metadata.tables)
        with engine.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_S:g}s'"))
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY"))
        engine.dispose()
        return self.url(database)

    def create(self, database: str, *, template: str = "template1") -> str:
        """Make a database and give its URL."""
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{database}" TEMPLATE "{template}"'))
        engine.dispose()
        return self.url(database)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server, and stop it at the end. Raises NoPostgres."""
    binaries = find_binaries()
    account = None if os.geteuid() != 0 else _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="rluf-pg-"))
    try:
        if account is not None:
            shutil.chown(folder, account)
        cluster = str(folder / "cluster")
        options = {"user": account, "cwd": folder, "check": True, "capture_output": True}
        initdb = [binaries / "initdb", "-D", cluster, "-U", "rluf", "-A", "trust", "--no-sync"]
        subprocess.run([*initdb, "-E", "UTF8", "--locale=C"], **options)
        flags = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=200"
        control = [binaries / "pg_ctl", "-D", cluster, "-w"]
        subprocess.run([*control, "-l", folder / "log", "-o", flags, "start"], **options)
        try:
            yield Postgres(folder)
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_binaries() -> Path:
    """The folder of initdb and pg_ctl. Raises NoPostgres."""
    found = [Path(path).resolve().parent for path in [shutil.which("pg_ctl")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise NoPostgres("no PostgreSQL server here; install one (Debian: apt-get install postgresql)")


def _unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in UNPRIVILEGED:
        if name in names:
            return name
    raise NoPostgres(f"PostgreSQL does not run as root, and there is no account {UNPRIVILEGED}")
