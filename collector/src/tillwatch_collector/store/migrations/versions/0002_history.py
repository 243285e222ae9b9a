"""History: series and rollups; and events are found by when they came, since that is when they go.

Revision ID: 0002
Revises: 0001
"""

from datetime import date, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "series",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("component", sa.String(length=97), nullable=False),
        sa.Column("measure", sa.String(length=48), nullable=False),
        sa.Column("last_day", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("series_id", name=op.f("pk_series")),
        sa.UniqueConstraint("terminal_id", "component", "measure", name=op.f("uq_series_terminal_id")),
    )
    with op.batch_alter_table("series") as batch_op:
        batch_op.create_index(batch_op.f("ix_series_last_day"), ["last_day"], unique=False)

    op.create_table(
        "sample_day",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_sample_day")),
    )
    _create_rollup("rollup_hour", "hour")
    _create_rollup("rollup_day", "day")
    op.create_table(
        "rollup_due",
        sa.Column("span", sa.String(length=4), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("after_series_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("span", "number", name=op.f("pk_rollup_due")),
    )
    with op.batch_alter_table("event") as batch_op:
        batch_op.drop_index(batch_op.f("ix_event_happened_at"))
        batch_op.create_index(batch_op.f("ix_event_received_at"), ["received_at"], unique=False)

    with op.batch_alter_table("stream") as batch_op:
        batch_op.create_index(batch_op.f("ix_stream_stream_no"), ["stream_no"], unique=False)


def downgrade() -> None:
    days = op.get_bind().execute(sa.text("SELECT day FROM sample_day")).scalars().all()
    for day in days:
        op.drop_table(f"sample_{date(1970, 1, 1) + timedelta(days=day):%Y%m%d}")
    with op.batch_alter_table("stream") as batch_op:
        batch_op.drop_index(batch_op.f("ix_stream_stream_no"))

    with op.batch_alter_table("event") as batch_op:
        batch_op.drop_index(batch_op.f("ix_event_received_at"))
        batch_op.create_index(batch_op.f("ix_event_happened_at"), ["happened_at"], unique=False)

    for table in ("rollup_due", "rollup_day", "rollup_hour", "sample_day", "series"):
        op.drop_table(table)


def _create_rollup(table: str, span: str) -> None:
    op.create_table(
        table,
        sa.Column(span, sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("held_s", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("min", sa.Float(), nullable=False),
        sa.Column("max", sa.Float(), nullable=False),
        sa.Column("mean", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint(span, "series_id", name=op.f(f"pk_{table}")),
        sqlite_with_rowid=False,
    )
