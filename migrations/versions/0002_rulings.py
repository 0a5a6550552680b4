"""Verdicts may be undecided; measures keep their bounds as numbers, and what would decide them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ADDED = {
    "verdicts": (("ruling", sa.Text()),),
    "measures": (
        ("outcome", sa.Text()),
        ("bound_low", sa.Float()),
        ("bound_high", sa.Float()),
        ("num_users", sa.Integer()),
        ("users_needed", sa.BigInteger()),
        ("about", sa.Text()),
    ),
}
"""Table to its new columns. Rows of before keep NULL: history is append-only."""


def upgrade() -> None:
    for table, columns in ADDED.items():
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for table, columns in ADDED.items():
        for name, _ in reversed(columns):
            op.drop_column(table, name)
