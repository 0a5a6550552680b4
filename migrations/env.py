"""Runs the migrations, for `rluf migrate` and for Alembic alone, on the same road.

`rluf` hands over its connection, and so do test tools (theirs may be an engine). Alembic alone
finds the database by the first of: `-x url=URL`, RLUF_MODELS__REGISTRY_URL, `sqlalchemy.url` of
the configuration, registry.db in RLUF_HOME, or in `runs`.
"""

import logging
import os
from pathlib import Path

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from models.config import ModelsConfig
from models.database import checked_url, sqlite_url
from models.errors import CorruptRegistry, Unavailable
from models.migrate import exclusively
from models.tables import Base


def is_ours(name: str | None, kind: str, parents: object) -> bool:
    """Whether autogenerate may look at it: other tables of a shared database are not our affair."""
    return kind != "table" or name in Base.metadata.tables


def find_url() -> str:
    named = (
        context.get_x_argument(as_dictionary=True).get("url"),
        os.environ.get("RLUF_MODELS__REGISTRY_URL"),
        context.config.get_main_option("sqlalchemy.url"),
    )
    home = Path(os.environ.get("RLUF_HOME") or ModelsConfig().root)
    return next((str(url) for url in named if url), sqlite_url(home / "registry.db"))


def run_on(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=is_ours,
        compare_type=True,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def write_sql(url: str) -> None:
    """The statements instead of their execution (`--sql`); no database is asked."""
    context.configure(
        url=url,
        target_metadata=Base.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run() -> None:
    given = context.config.attributes.get("connection")
    if isinstance(given, Connection):
        run_on(given)
        return
    if isinstance(given, Engine):
        with given.connect() as connection, connection.begin():
            run_on(connection)
        return
    logging.basicConfig(format="%(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.INFO)
    try:
        url = find_url()
        if context.is_offline_mode():
            write_sql(checked_url(url).render_as_string(hide_password=True))
            return
        with exclusively(url) as connection:
            run_on(connection)
    except (ValueError, Unavailable, CorruptRegistry) as fault:
        raise CommandError(str(fault)) from fault


run()
