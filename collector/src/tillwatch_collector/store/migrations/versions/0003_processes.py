"""Processes: who runs, and what each proves to have heard.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from tillwatch_collector.store.columns import Utc

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "process",
        sa.Column("process", sa.String(length=64), nullable=False),
        sa.Column("start_id", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("started_at", Utc(), nullable=False),
        sa.Column("heartbeats", sa.BigInteger(), nullable=False),
        sa.Column("epoch_seen", sa.BigInteger(), nullable=False),
        sa.Column("connected_at", Utc(), nullable=True),
        sa.Column("proven_from", Utc(), nullable=True),
        sa.Column("proven_at", Utc(), nullable=True),
        sa.Column("expires_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("process", name=op.f("pk_process")),
    )


def downgrade() -> None:
    op.drop_table("process")
