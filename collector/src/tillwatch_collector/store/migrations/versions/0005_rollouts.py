"""Rollouts, their jobs, and their journal.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from tillwatch_collector.store.columns import BigId, Json, PlainJson, Utc

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _make_rollout()
    _make_rollout_job()
    _make_rollout_journal()


def downgrade() -> None:
    for table in ("rollout_journal", "rollout_job", "rollout"):
        op.drop_table(table)


def _make_rollout() -> None:
    op.create_table(
        "rollout",
        sa.Column("rollout_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("target", sa.String(length=150), nullable=False),
        sa.Column("product", sa.String(length=48), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("query", sa.String(length=4000), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("taken_at", Utc(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("left_out", PlainJson, nullable=False),
        sa.Column("author", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("waves", sa.Integer(), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("wave_opened_at", Utc(), nullable=True),
        sa.Column("looks_done", sa.Integer(), nullable=False),
        sa.Column("answered", Json, nullable=False),
        sa.Column("verdict", Json, nullable=True),
        sa.Column("restored_at", Utc(), nullable=True),
        sa.Column("cloned_from", sa.String(length=32), nullable=True),
        sa.Column("ticket_id", BigId, nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("updated_at", Utc(), nullable=False),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("rollout_id", name=op.f("pk_rollout")),
    )
    with op.batch_alter_table("rollout") as batch_op:
        batch_op.create_index(batch_op.f("ix_rollout_created_at"), ["created_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_rollout_ended_at"), ["ended_at"], unique=False)
        batch_op.create_index("ix_rollout_state", ["state"], unique=False)


def _make_rollout_job() -> None:
    op.create_table(
        "rollout_job",
        sa.Column("job_id", sa.String(length=48), nullable=False),
        sa.Column("rollout_id", sa.String(length=32), nullable=False),
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("store_id", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("region", sa.String(length=64), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("granted", sa.String(length=16), nullable=False),
        sa.Column("try_no", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("offered_at", Utc(), nullable=True),
        sa.Column("said_at", Utc(), nullable=True),
        sa.Column("go_at", Utc(), nullable=True),
        sa.Column("go_nonce", sa.String(length=64), nullable=True),
        sa.Column("not_before", Utc(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.String(length=48), nullable=True),
        sa.Column("nonce", sa.String(length=64), nullable=True),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.Column("withdrawn_for", sa.String(length=16), nullable=True),
        sa.Column("excused", sa.Boolean(), nullable=False),
        sa.Column("activation_before", sa.String(length=512), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("wait", sa.String(length=24), nullable=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.rollout_id"], name=op.f("fk_rollout_job_rollout_id_rollout")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_rollout_job")),
    )
    with op.batch_alter_table("rollout_job") as batch_op:
        batch_op.create_index(batch_op.f("ix_rollout_job_terminal_id"), ["terminal_id"], unique=False)
        batch_op.create_index("ix_rollout_job_wave", ["rollout_id", "wave"], unique=False)
        batch_op.create_index(
            "ix_rollout_job_unsettled",
            ["rollout_id", "job_id"],
            unique=False,
            sqlite_where=sa.text("NOT settled"),
            postgresql_where=sa.text("NOT settled"),
        )
        batch_op.create_index(
            "uq_rollout_job_active",
            ["terminal_id"],
            unique=True,
            sqlite_where=sa.text("active"),
            postgresql_where=sa.text("active"),
        )


def _make_rollout_journal() -> None:
    op.create_table(
        "rollout_journal",
        sa.Column("journal_id", BigId, nullable=False),
        sa.Column("rollout_id", sa.String(length=32), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("from_state", sa.String(length=32), nullable=True),
        sa.Column("to_state", sa.String(length=32), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("job_id", sa.String(length=48), nullable=True),
        sa.Column("terminal_id", sa.String(length=64), nullable=True),
        sa.Column("evidence", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollout.rollout_id"], name=op.f("fk_rollout_journal_rollout_id_rollout")
        ),
        sa.PrimaryKeyConstraint("journal_id", name=op.f("pk_rollout_journal")),
    )
    with op.batch_alter_table("rollout_journal") as batch_op:
        batch_op.create_index("ix_rollout_journal_rollout", ["rollout_id", "journal_id"], unique=False)
        batch_op.create_index("ix_rollout_journal_job", ["job_id", "journal_id"], unique=False)
