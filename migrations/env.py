"""Runs the migrations on the connection that models/migrate.py opened, in its transaction."""

from alembic import context
from sqlalchemy import Connection

from models.tables import JOBS_TABLE, Base


def is_ours(name: str | None, kind: str, parents: object) -> bool:
    """Whether autogenerate may look at it: the job table belongs to APScheduler."""
    return not (kind == "table" and name == JOBS_TABLE)


def run() -> None:
    connection = context.config.attributes["connection"]
    assert isinstance(connection, Connection)
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


run()
