"""The registry's first tables, and the triggers that keep its history append-only."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = (
    "models",
    "versions",
    "version_parents",
    "alias_moves",
    "arm_sets",
    "arms",
    "verdicts",
    "measures",
    "snapshots",
)


def upgrade() -> None:
    make_models_and_runs()
    make_versions()
    make_aliases()
    make_arms()
    make_verdicts()
    make_snapshots_and_leases()
    for table in APPEND_ONLY:
        guard(table)


def downgrade() -> None:
    for table in (
        "measures",
        "verdicts",
        "arms",
        "arm_sets",
        "aliases",
        "alias_moves",
        "version_parents",
        "versions",
        "run_steps",
        "runs",
        "models",
        "snapshots",
        "leases",
    ):
        op.drop_table(table)  # Its triggers and indexes go with it.
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION rluf_refuse_change()")


def make_models_and_runs() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        text("name"),
        text("kind"),
        time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("name", name="uq_models_name"),
    )
    op.create_table(
        "runs",
        text("id"),
        text("kind"),
        text("key"),
        sa.Column("settings", sa.JSON(), nullable=False),
        text("status"),
        sa.Column("result", sa.JSON(), nullable=False),
        time("started_at"),
        time("finished_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("kind", "key", name="uq_runs_kind_key"),
    )
    op.create_index("ix_runs_started_at", "runs", ["started_at"])
    op.create_table(
        "run_steps",
        text("run_id"),
        text("step"),
        number("position"),
        text("status"),
        sa.Column("result", sa.JSON(), nullable=False),
        time("started_at"),
        time("recorded_at"),
        sa.PrimaryKeyConstraint("run_id", "step", name="pk_run_steps"),
        link("run_steps", ["run_id"], "runs", ["id"]),
    )


def make_versions() -> None:
    identity = ("model_id", "artifact_hash", "config_hash", "snapshot_hash")
    op.create_table(
        "versions",
        number("id"),
        number("model_id"),
        number("number"),
        text("artifact_hash"),
        text("artifact_path"),
        text("config_hash"),
        text("snapshot_hash"),
        text("recipe"),
        text("run_id", nullable=True),
        sa.Column("measures", sa.JSON(), nullable=False),
        time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_versions"),
        link("versions", ["model_id"], "models", ["id"]),
        link("versions", ["run_id"], "runs", ["id"]),
        sa.UniqueConstraint("model_id", "number", name="uq_versions_model_id_number"),
        sa.UniqueConstraint(*identity, name=f"uq_versions_{'_'.join(identity)}"),
    )
    op.create_table(
        "version_parents",
        number("version_id"),
        number("position"),
        number("parent_id"),
        sa.PrimaryKeyConstraint("version_id", "position", name="pk_version_parents"),
        link("version_parents", ["version_id"], "versions", ["id"]),
        link("version_parents", ["parent_id"], "versions", ["id"]),
    )
    op.create_index("ix_version_parents_parent_id", "version_parents", ["parent_id"])


def make_aliases() -> None:
    op.create_table(
        "aliases",
        number("model_id"),
        text("alias"),
        number("number", nullable=True),
        number("revision"),
        time("moved_at"),
        sa.PrimaryKeyConstraint("model_id", "alias", name="pk_aliases"),
        link("aliases", ["model_id"], "models", ["id"]),
        link("aliases", ["model_id", "number"], "versions", ["model_id", "number"]),
    )
    op.create_table(
        "alias_moves",
        number("id"),
        number("model_id"),
        text("alias"),
        number("revision"),
        number("from_number", nullable=True),
        number("to_number", nullable=True),
        text("why"),
        text("who"),
        time("moved_at"),
        sa.PrimaryKeyConstraint("id", name="pk_alias_moves"),
        link("alias_moves", ["model_id"], "models", ["id"]),
        link("alias_moves", ["model_id", "to_number"], "versions", ["model_id", "number"]),
        sa.UniqueConstraint(
            "model_id", "alias", "revision", name="uq_alias_moves_model_id_alias_revision"
        ),
    )
    op.create_index("ix_alias_moves_moved_at", "alias_moves", ["moved_at"])


def make_arms() -> None:
    op.create_table(
        "arm_sets",
        number("id"),
        number("model_id"),
        number("revision"),
        text("experiment"),
        text("why"),
        text("who"),
        time("set_at"),
        sa.PrimaryKeyConstraint("id", name="pk_arm_sets"),
        link("arm_sets", ["model_id"], "models", ["id"]),
        sa.UniqueConstraint("model_id", "revision", name="uq_arm_sets_model_id_revision"),
    )
    op.create_table(
        "arms",
        number("arm_set_id"),
        number("position"),
        text("name"),
        number("version_id"),
        sa.Column("share", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("arm_set_id", "position", name="pk_arms"),
        link("arms", ["arm_set_id"], "arm_sets", ["id"]),
        link("arms", ["version_id"], "versions", ["id"]),
        sa.UniqueConstraint("arm_set_id", "name", name="uq_arms_arm_set_id_name"),
        sa.CheckConstraint("share >= 0 AND share <= 1", name="ck_arms_share_is_a_share"),
    )


def make_verdicts() -> None:
    op.create_table(
        "verdicts",
        number("id"),
        number("version_id"),
        text("run_id", nullable=True),
        text("gate"),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        time("decided_at"),
        sa.PrimaryKeyConstraint("id", name="pk_verdicts"),
        link("verdicts", ["version_id"], "versions", ["id"]),
        link("verdicts", ["run_id"], "runs", ["id"]),
    )
    op.create_index("ix_verdicts_version_id", "verdicts", ["version_id"])
    op.create_table(
        "measures",
        number("verdict_id"),
        number("position"),
        text("name"),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        text("unit"),
        text("limit"),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("verdict_id", "position", name="pk_measures"),
        link("measures", ["verdict_id"], "verdicts", ["id"]),
    )


def make_snapshots_and_leases() -> None:
    op.create_table(
        "snapshots",
        text("hash"),
        text("signal"),
        time("as_of"),
        number("num_rows"),
        number("num_positives"),
        text("path"),
        time("recorded_at"),
        sa.PrimaryKeyConstraint("hash", name="pk_snapshots"),
    )
    op.create_table(
        "leases",
        text("name"),
        text("holder"),
        number("token"),
        time("acquired_at"),
        time("renewed_at"),
        time("expires_at"),
        sa.Column("is_released", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )


def guard(table: str) -> None:
    """Refuse UPDATE and DELETE on the table, and TRUNCATE where the database has it."""
    if op.get_context().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: {change} refused'); END"
            )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION rluf_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP "
        "USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION rluf_refuse_change()"
    )


def text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def number(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def link(table: str, here: list[str], other: str, there: list[str]) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        here, [f"{other}.{column}" for column in there], name=f"fk_{table}_{'_'.join(here)}_{other}"
    )
