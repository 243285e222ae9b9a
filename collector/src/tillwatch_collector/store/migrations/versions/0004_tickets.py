"""Tickets as the trade has them, outages, maintenance, notification, holidays and contracts.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

from tillwatch_collector.store.columns import BigId, Json, Utc

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_FILLED = {
    "store": ("holidays",),
    "ticket": ("origin", "title", "description", "watchers", "repair", "escalation_step"),
}
"""Columns that rows of before are filled in for; after that the program says what a new row holds."""

# What a ticket gains.
_INDEXED = (
    "store_id",
    "merchant_id",
    "parent_id",
    "merged_into_id",
    "respond_due_at",
    "resolve_due_at",
    "clocks_due_at",
)
_PLAIN = (
    "origin",
    "title",
    "description",
    "contact",
    "assignee",
    "watchers",
    "repair",
    "repair_mode",
    "pending_on",
    "responded_at",
    "escalation_step",
)

_OVERWRITTEN = ("level", "sighting")
FILLFACTOR = 45
"""Room in each page for the next version of its rows: a row that is written at every heartbeat stays in its page, and
its indexes stay as they are (a third of the server's CPU)."""


def upgrade() -> None:
    _make_tables()
    _add_columns()
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE level ALTER COLUMN components TYPE json USING components::json")
        for table in _OVERWRITTEN:
            op.execute(f"ALTER TABLE {table} SET (fillfactor = {FILLFACTOR})")
        for table, columns in _FILLED.items():
            for column in columns:
                op.alter_column(table, column, server_default=None)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in _OVERWRITTEN:
            op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
        op.execute("ALTER TABLE level ALTER COLUMN components TYPE jsonb USING components::jsonb")
    with op.batch_alter_table("ticket") as batch_op:
        for column in _INDEXED:
            batch_op.drop_index(f"ix_ticket_{column}")
        for column in (*_INDEXED, *_PLAIN):
            batch_op.drop_column(column)
    with op.batch_alter_table("store") as batch_op:
        batch_op.drop_column("contract")
        batch_op.drop_column("holidays")
    with op.batch_alter_table("standing") as batch_op:
        batch_op.drop_column("clock_offset_s")
    for table in ("outage", "comment", "attachment", "said", "notification", "maintenance"):
        op.drop_table(table)


def _make_tables() -> None:
    op.create_table(
        "maintenance",
        sa.Column("maintenance_id", BigId, nullable=False),
        sa.Column("scope_kind", sa.String(length=16), nullable=False),
        sa.Column("scope_id", sa.String(length=64), nullable=False),
        sa.Column("starts_at", Utc(), nullable=False),
        sa.Column("ends_at", Utc(), nullable=True),
        sa.Column("weekly", Json, nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("cancelled_at", Utc(), nullable=True),
        sa.Column("cancelled_by", sa.String(length=100), nullable=True),
        sa.Column("cancel_reason", sa.String(length=500), nullable=True),
        sa.PrimaryKeyConstraint("maintenance_id", name=op.f("pk_maintenance")),
    )
    with op.batch_alter_table("maintenance") as batch_op:
        batch_op.create_index(batch_op.f("ix_maintenance_ends_at"), ["ends_at"], unique=False)

    op.create_table(
        "notification",
        sa.Column("notification_id", BigId, nullable=False),
        sa.Column("route", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("due_at", Utc(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("sent_at", Utc(), nullable=True),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("body", sa.String(length=8000), nullable=False),
        sa.Column("items", Json, nullable=False),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_notification")),
    )
    with op.batch_alter_table("notification") as batch_op:
        batch_op.create_index(batch_op.f("ix_notification_created_at"), ["created_at"], unique=False)
        batch_op.create_index(
            "ix_notification_due",
            ["due_at"],
            unique=False,
            sqlite_where=sa.text("state = 'due'"),
            postgresql_where=sa.text("state = 'due'"),
        )

    op.create_table(
        "said",
        sa.Column("route", sa.String(length=64), nullable=False),
        sa.Column("ticket_id", BigId, autoincrement=False, nullable=False),
        sa.Column("said", sa.String(length=64), nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("route", "ticket_id", name=op.f("pk_said")),
    )
    op.create_table(
        "attachment",
        sa.Column("attachment_id", BigId, nullable=False),
        sa.Column("ticket_id", BigId, nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.ticket_id"], name=op.f("fk_attachment_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("attachment_id", name=op.f("pk_attachment")),
    )
    with op.batch_alter_table("attachment") as batch_op:
        batch_op.create_index(batch_op.f("ix_attachment_ticket_id"), ["ticket_id"], unique=False)

    op.create_table(
        "comment",
        sa.Column("comment_id", BigId, nullable=False),
        sa.Column("ticket_id", BigId, nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("text", sa.String(length=4000), nullable=False),
        sa.Column("internal", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.ticket_id"], name=op.f("fk_comment_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("comment_id", name=op.f("pk_comment")),
    )
    with op.batch_alter_table("comment") as batch_op:
        batch_op.create_index(batch_op.f("ix_comment_ticket_id"), ["ticket_id"], unique=False)

    op.create_table(
        "outage",
        sa.Column("outage_id", BigId, nullable=False),
        sa.Column("node_kind", sa.String(length=16), nullable=False),
        sa.Column("node_id", sa.String(length=64), nullable=False),
        sa.Column("component", sa.String(length=97), nullable=False),
        sa.Column("code", sa.String(length=48), nullable=False),
        sa.Column("ticket_id", BigId, nullable=False),
        sa.Column("began_at", Utc(), nullable=False),
        sa.Column("detected_at", Utc(), nullable=False),
        sa.Column("ended_at", Utc(), nullable=True),
        sa.Column("terminals_hit", sa.Integer(), nullable=False),
        sa.Column("terminals_total", sa.Integer(), nullable=False),
        sa.Column("evidence", Json, nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.ticket_id"], name=op.f("fk_outage_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("outage_id", name=op.f("pk_outage")),
    )
    with op.batch_alter_table("outage") as batch_op:
        batch_op.create_index(batch_op.f("ix_outage_detected_at"), ["detected_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_outage_ended_at"), ["ended_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_outage_ticket_id"), ["ticket_id"], unique=False)


def _add_columns() -> None:
    with op.batch_alter_table("standing") as batch_op:
        batch_op.add_column(sa.Column("clock_offset_s", sa.Float(), nullable=True))

    with op.batch_alter_table("store") as batch_op:
        batch_op.add_column(sa.Column("holidays", Json, nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("contract", sa.String(length=64), nullable=True))

    with op.batch_alter_table("ticket") as batch_op:
        batch_op.add_column(sa.Column("origin", sa.String(length=16), nullable=False, server_default="machine"))
        batch_op.add_column(sa.Column("title", sa.String(length=200), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("description", sa.String(length=4000), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("contact", sa.String(length=200), nullable=True))
        batch_op.add_column(sa.Column("assignee", sa.String(length=100), nullable=True))
        batch_op.add_column(sa.Column("watchers", Json, nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("store_id", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("merchant_id", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("parent_id", BigId, nullable=True))
        batch_op.add_column(sa.Column("merged_into_id", BigId, nullable=True))
        batch_op.add_column(sa.Column("repair", sa.String(length=16), nullable=False, server_default="complex"))
        batch_op.add_column(sa.Column("repair_mode", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("pending_on", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("responded_at", Utc(), nullable=True))
        batch_op.add_column(sa.Column("respond_due_at", Utc(), nullable=True))
        batch_op.add_column(sa.Column("resolve_due_at", Utc(), nullable=True))
        batch_op.add_column(sa.Column("escalation_step", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("clocks_due_at", Utc(), nullable=True))
        batch_op.create_index(batch_op.f("ix_ticket_clocks_due_at"), ["clocks_due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_ticket_merchant_id"), ["merchant_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ticket_merged_into_id"), ["merged_into_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ticket_parent_id"), ["parent_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ticket_resolve_due_at"), ["resolve_due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_ticket_respond_due_at"), ["respond_due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_ticket_store_id"), ["store_id"], unique=False)
