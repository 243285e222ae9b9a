"""The first tables.

Revision ID: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

from tillwatch_collector.store.columns import BigId, Json, Utc

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "condition",
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("component", sa.String(length=97), nullable=False),
        sa.Column("code", sa.String(length=48), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("phase_since", Utc(), nullable=False),
        sa.Column("happened_at", Utc(), nullable=False),
        sa.Column("detail", sa.String(length=512), nullable=True),
        sa.PrimaryKeyConstraint("terminal_id", "component", "code", name=op.f("pk_condition")),
    )
    op.create_table(
        "epoch",
        sa.Column("epoch_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("collector_epoch", sa.BigInteger(), nullable=False),
        sa.Column("raised_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("epoch_id", name=op.f("pk_epoch")),
    )
    op.create_table(
        "event",
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("stream_id", sa.String(length=32), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("boot_epoch", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=48), nullable=False),
        sa.Column("component", sa.String(length=97), nullable=True),
        sa.Column("code", sa.String(length=48), nullable=True),
        sa.Column("detail", sa.String(length=512), nullable=True),
        sa.Column("job", Json, nullable=True),
        sa.Column("happened_at", Utc(), nullable=False),
        sa.Column("received_at", Utc(), nullable=False),
        sa.Column("digest", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", "stream_id", "event_seq", name=op.f("pk_event")),
    )
    with op.batch_alter_table("event") as batch_op:
        batch_op.create_index(batch_op.f("ix_event_happened_at"), ["happened_at"], unique=False)

    op.create_table(
        "event_gap",
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("stream_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", "stream_id", "kind", "first_seq", name=op.f("pk_event_gap")),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("fencing_no", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "level",
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("stream_id", sa.String(length=32), nullable=False),
        sa.Column("boot_epoch", sa.BigInteger(), nullable=False),
        sa.Column("beat_no", sa.BigInteger(), nullable=False),
        sa.Column("connection_no", sa.BigInteger(), nullable=False),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("event_seq_last", sa.BigInteger(), nullable=False),
        sa.Column("host_boot_id", sa.String(length=64), nullable=False),
        sa.Column("agent_version", sa.String(length=512), nullable=False),
        sa.Column("collector_epoch_seen", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", Utc(), nullable=False),
        sa.Column("received_at", Utc(), nullable=False),
        sa.Column("components", Json, nullable=False),
        sa.Column("job", Json, nullable=True),
        sa.Column("digest", sa.String(length=16), nullable=False),
        sa.Column("judged_digest", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", "stream_id", name=op.f("pk_level")),
    )
    op.create_table(
        "merchant",
        sa.Column("merchant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_merchant")),
    )
    op.create_table(
        "presence",
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("stream_id", sa.String(length=32), nullable=False),
        sa.Column("boot_epoch", sa.BigInteger(), nullable=False),
        sa.Column("connection_no", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=48), nullable=True),
        sa.Column("received_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", "stream_id", name=op.f("pk_presence")),
    )
    op.create_table(
        "quarantine",
        sa.Column("quarantine_id", BigId, nullable=False),
        sa.Column("received_at", Utc(), nullable=False),
        sa.Column("topic", sa.String(length=256), nullable=False),
        sa.Column("terminal_id", sa.String(length=64), nullable=True),
        sa.Column("error", sa.String(length=48), nullable=False),
        sa.Column("said", sa.String(length=1000), nullable=False),
        sa.Column("payload_sha256", sa.String(length=64), nullable=False),
        sa.Column("payload_bytes", sa.Integer(), nullable=False),
        sa.Column("excerpt", sa.String(length=4096), nullable=False),
        sa.PrimaryKeyConstraint("quarantine_id", name=op.f("pk_quarantine")),
    )
    with op.batch_alter_table("quarantine") as batch_op:
        batch_op.create_index(batch_op.f("ix_quarantine_received_at"), ["received_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_quarantine_terminal_id"), ["terminal_id"], unique=False)

    op.create_table(
        "sighting",
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("heard_at", Utc(), nullable=False),
        sa.Column("stream_id", sa.String(length=32), nullable=True),
        sa.Column("stream_switches", sa.Integer(), nullable=False),
        sa.Column("switched_at", Utc(), nullable=True),
        sa.Column("marked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", name=op.f("pk_sighting")),
    )
    with op.batch_alter_table("sighting") as batch_op:
        batch_op.create_index(
            "ix_sighting_marked",
            ["terminal_id"],
            unique=False,
            sqlite_where=sa.text("marked"),
            postgresql_where=sa.text("marked"),
        )

    op.create_table(
        "standing",
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("presence", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=48), nullable=False),
        sa.Column("since", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", name=op.f("pk_standing")),
    )
    with op.batch_alter_table("standing") as batch_op:
        batch_op.create_index(batch_op.f("ix_standing_presence"), ["presence"], unique=False)

    op.create_table(
        "stream",
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("stream_id", sa.String(length=32), nullable=False),
        sa.Column("stream_no", sa.Integer(), nullable=False),
        sa.Column("prefix_seq", sa.BigInteger(), nullable=False),
        sa.Column("accounted", Json, nullable=False),
        sa.Column("oldest_seq", sa.BigInteger(), nullable=False),
        sa.Column("event_seq_last", sa.BigInteger(), nullable=False),
        sa.Column("first_heard_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("terminal_id", "stream_id", name=op.f("pk_stream")),
    )
    op.create_table(
        "ticket",
        sa.Column("ticket_id", BigId, nullable=False),
        sa.Column("subject_kind", sa.String(length=16), nullable=False),
        sa.Column("subject_id", sa.String(length=64), nullable=False),
        sa.Column("component", sa.String(length=97), nullable=False),
        sa.Column("code", sa.String(length=48), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("category", sa.String(length=32), nullable=False),
        sa.Column("opened_at", Utc(), nullable=False),
        sa.Column("updated_at", Utc(), nullable=False),
        sa.Column("resolved_at", Utc(), nullable=True),
        sa.Column("closed_at", Utc(), nullable=True),
        sa.Column("recurrences", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_ticket")),
    )
    with op.batch_alter_table("ticket") as batch_op:
        batch_op.create_index(batch_op.f("ix_ticket_opened_at"), ["opened_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_ticket_severity"), ["severity"], unique=False)
        batch_op.create_index(batch_op.f("ix_ticket_status"), ["status"], unique=False)
        batch_op.create_index("ix_ticket_subject", ["subject_kind", "subject_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ticket_updated_at"), ["updated_at"], unique=False)
        batch_op.create_index(
            "uq_ticket_open",
            ["subject_kind", "subject_id", "component", "code"],
            unique=True,
            sqlite_where=sa.text("status NOT IN ('closed', 'cancelled', 'merged')"),
            postgresql_where=sa.text("status NOT IN ('closed', 'cancelled', 'merged')"),
        )

    op.create_table(
        "token",
        sa.Column("token_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", Json, nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=True),
        sa.Column("revoked_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_token")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_token_secret_sha256")),
    )
    op.create_table(
        "fault",
        sa.Column("fault_id", BigId, nullable=False),
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("component", sa.String(length=97), nullable=False),
        sa.Column("code", sa.String(length=48), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("happened_at", Utc(), nullable=False),
        sa.Column("raised_at", Utc(), nullable=False),
        sa.Column("cleared_at", Utc(), nullable=True),
        sa.Column("ticket_id", BigId, nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.ticket_id"], name=op.f("fk_fault_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("fault_id", name=op.f("pk_fault")),
    )
    with op.batch_alter_table("fault") as batch_op:
        batch_op.create_index(batch_op.f("ix_fault_raised_at"), ["raised_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_fault_terminal_id"), ["terminal_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_fault_ticket_id"), ["ticket_id"], unique=False)

    op.create_table(
        "journal",
        sa.Column("journal_id", BigId, nullable=False),
        sa.Column("ticket_id", BigId, nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("from_status", sa.String(length=16), nullable=True),
        sa.Column("to_status", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("evidence", Json, nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.ticket_id"], name=op.f("fk_journal_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("journal_id", name=op.f("pk_journal")),
    )
    with op.batch_alter_table("journal") as batch_op:
        batch_op.create_index(batch_op.f("ix_journal_ticket_id"), ["ticket_id"], unique=False)

    op.create_table(
        "store",
        sa.Column("store_id", sa.String(length=64), nullable=False),
        sa.Column("merchant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("address", sa.String(length=500), nullable=True),
        sa.Column("region", sa.String(length=64), nullable=True),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("opening_hours", Json, nullable=False),
        sa.Column("carrier", sa.String(length=64), nullable=True),
        sa.Column("watch", sa.String(length=16), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.merchant_id"], name=op.f("fk_store_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("store_id", name=op.f("pk_store")),
    )
    with op.batch_alter_table("store") as batch_op:
        batch_op.create_index(batch_op.f("ix_store_carrier"), ["carrier"], unique=False)
        batch_op.create_index(batch_op.f("ix_store_merchant_id"), ["merchant_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_store_region"), ["region"], unique=False)

    op.create_table(
        "terminal",
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("store_id", sa.String(length=64), nullable=True),
        sa.Column("brand", sa.String(length=64), nullable=True),
        sa.Column("model", sa.String(length=64), nullable=True),
        sa.Column("serial_number", sa.String(length=64), nullable=True),
        sa.Column("purchase_date", sa.Date(), nullable=True),
        sa.Column("life_cycle", sa.String(length=16), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(["store_id"], ["store.store_id"], name=op.f("fk_terminal_store_id_store")),
        sa.PrimaryKeyConstraint("terminal_id", name=op.f("pk_terminal")),
    )
    with op.batch_alter_table("terminal") as batch_op:
        batch_op.create_index(batch_op.f("ix_terminal_life_cycle"), ["life_cycle"], unique=False)
        batch_op.create_index(batch_op.f("ix_terminal_model"), ["model"], unique=False)
        batch_op.create_index(batch_op.f("ix_terminal_serial_number"), ["serial_number"], unique=False)
        batch_op.create_index(batch_op.f("ix_terminal_store_id"), ["store_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("terminal") as batch_op:
        batch_op.drop_index(batch_op.f("ix_terminal_store_id"))
        batch_op.drop_index(batch_op.f("ix_terminal_serial_number"))
        batch_op.drop_index(batch_op.f("ix_terminal_model"))
        batch_op.drop_index(batch_op.f("ix_terminal_life_cycle"))

    op.drop_table("terminal")
    with op.batch_alter_table("store") as batch_op:
        batch_op.drop_index(batch_op.f("ix_store_region"))
        batch_op.drop_index(batch_op.f("ix_store_merchant_id"))
        batch_op.drop_index(batch_op.f("ix_store_carrier"))

    op.drop_table("store")
    with op.batch_alter_table("journal") as batch_op:
        batch_op.drop_index(batch_op.f("ix_journal_ticket_id"))

    op.drop_table("journal")
    with op.batch_alter_table("fault") as batch_op:
        batch_op.drop_index(batch_op.f("ix_fault_ticket_id"))
        batch_op.drop_index(batch_op.f("ix_fault_terminal_id"))
        batch_op.drop_index(batch_op.f("ix_fault_raised_at"))

    op.drop_table("fault")
    op.drop_table("token")
    with op.batch_alter_table("ticket") as batch_op:
        batch_op.drop_index(
            "uq_ticket_open",
            sqlite_where=sa.text("status NOT IN ('closed', 'cancelled', 'merged')"),
            postgresql_where=sa.text("status NOT IN ('closed', 'cancelled', 'merged')"),
        )
        batch_op.drop_index(batch_op.f("ix_ticket_updated_at"))
        batch_op.drop_index("ix_ticket_subject")
        batch_op.drop_index(batch_op.f("ix_ticket_status"))
        batch_op.drop_index(batch_op.f("ix_ticket_severity"))
        batch_op.drop_index(batch_op.f("ix_ticket_opened_at"))

    op.drop_table("ticket")
    op.drop_table("stream")
    with op.batch_alter_table("standing") as batch_op:
        batch_op.drop_index(batch_op.f("ix_standing_presence"))

    op.drop_table("standing")
    with op.batch_alter_table("sighting") as batch_op:
        batch_op.drop_index("ix_sighting_marked", sqlite_where=sa.text("marked"), postgresql_where=sa.text("marked"))

    op.drop_table("sighting")
    with op.batch_alter_table("quarantine") as batch_op:
        batch_op.drop_index(batch_op.f("ix_quarantine_terminal_id"))
        batch_op.drop_index(batch_op.f("ix_quarantine_received_at"))

    op.drop_table("quarantine")
    op.drop_table("presence")
    op.drop_table("merchant")
    op.drop_table("level")
    op.drop_table("lease")
    op.drop_table("event_gap")
    with op.batch_alter_table("event") as batch_op:
        batch_op.drop_index(batch_op.f("ix_event_happened_at"))

    op.drop_table("event")
    op.drop_table("epoch")
    op.drop_table("condition")
