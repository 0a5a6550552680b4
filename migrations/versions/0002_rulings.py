"""Verdicts may be undecided; measures keep their bounds as numbers, and what would decide them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ADDED = (
    ("verdicts", "ruling", sa.Text),
    ("measures", "outcome", sa.Text),
    ("measures", "bound_low", sa.Double),
    ("measures", "bound_high", sa.Double),
    ("measures", "num_users", sa.Integer),
    ("measures", "users_needed", sa.BigInteger),
    ("measures", "about", sa.Text),
)
"""Table, new column and its type. Rows of before keep NULL: history is append-only."""


def upgrade() -> None:
    for table, name, kind in ADDED:
        op.add_column(table, sa.Column(name, kind(), nullable=True))


def downgrade() -> None:
    for table, name, _ in reversed(ADDED):
        op.drop_column(table, name)
