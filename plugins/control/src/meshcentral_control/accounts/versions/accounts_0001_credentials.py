"""Password hashes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "accounts_0001"
down_revision = None
branch_labels = ("accounts",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_credentials",
        sa.Column("user_id", sa.String(255), primary_key=True),
        sa.Column("scheme", sa.String(32), nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("salt", sa.Text, nullable=False),
        sa.Column("parameters", sa.String(255), nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
