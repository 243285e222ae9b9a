"""People, their sessions and invitations, the audit log, commands; whom a token is narrowed to.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

from tillwatch_collector.store.columns import BigId, Json, Utc

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _make_person()
    _make_session()
    _make_invitation()
    _make_attempt()
    _make_audit()
    _make_command()
    _keep_answers()
    _narrow_tokens()
    standing = sa.text("cleared_at IS NULL")
    op.create_index(
        "ix_fault_stands", "fault", ["terminal_id", "severity"], sqlite_where=standing, postgresql_where=standing
    )


def downgrade() -> None:
    op.drop_index("ix_fault_stands", table_name="fault")
    with op.batch_alter_table("token") as batch_op:
        batch_op.drop_column("store_ids")
        batch_op.drop_column("merchant_ids")
    with op.batch_alter_table("event") as batch_op:
        batch_op.drop_column("command")
    for table in ("command", "audit", "attempt", "invitation", "session", "person"):
        op.drop_table(table)


def _make_person() -> None:
    op.create_table(
        "person",
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("merchant_ids", Json, nullable=False),
        sa.Column("store_ids", Json, nullable=False),
        sa.Column("language", sa.String(length=16), nullable=True),
        sa.Column("password_hash", sa.String(length=200), nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("disabled_at", Utc(), nullable=True),
        sa.Column("signed_in_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_person")),
    )


def _make_session() -> None:
    op.create_table(
        "session",
        sa.Column("session_id", sa.String(length=32), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("started_at", Utc(), nullable=False),
        sa.Column("seen_at", Utc(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("user_agent", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.person_id"], name=op.f("fk_session_person_id_person")),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_session")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_session_secret_sha256")),
    )
    with op.batch_alter_table("session") as batch_op:
        batch_op.create_index(batch_op.f("ix_session_person_id"), ["person_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_session_seen_at"), ["seen_at"], unique=False)


def _make_invitation() -> None:
    op.create_table(
        "invitation",
        sa.Column("invitation_id", sa.String(length=32), nullable=False),
        sa.Column("key_sha256", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("merchant_ids", Json, nullable=False),
        sa.Column("store_ids", Json, nullable=False),
        sa.Column("made_by", sa.String(length=100), nullable=False),
        sa.Column("made_at", Utc(), nullable=False),
        sa.Column("expires_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("invitation_id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("key_sha256", name=op.f("uq_invitation_key_sha256")),
    )
    with op.batch_alter_table("invitation") as batch_op:
        batch_op.create_index(batch_op.f("ix_invitation_expires_at"), ["expires_at"], unique=False)


def _make_attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column("counted", sa.String(length=8), nullable=False),
        sa.Column("subject_sha256", sa.String(length=64), nullable=False),
        sa.Column("back_at", Utc(), nullable=False),
        sa.Column("refusing", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("counted", "subject_sha256", name=op.f("pk_attempt")),
    )
    with op.batch_alter_table("attempt") as batch_op:
        batch_op.create_index(batch_op.f("ix_attempt_back_at"), ["back_at"], unique=False)


def _make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("audit_no", BigId, nullable=False),
        sa.Column("at", Utc(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=48), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("audit_no", name=op.f("pk_audit")),
    )
    with op.batch_alter_table("audit") as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_at"), ["at"], unique=False)
        batch_op.create_index("ix_audit_actor", ["actor", "audit_no"], unique=False)
        batch_op.create_index("ix_audit_action", ["action", "audit_no"], unique=False)
        batch_op.create_index("ix_audit_subject", ["subject", "at"], unique=False)


def _make_command() -> None:
    op.create_table(
        "command",
        sa.Column("command_id", sa.String(length=48), nullable=False),
        sa.Column("terminal_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=48), nullable=False),
        sa.Column("lifetime_s", sa.Integer(), nullable=False),
        sa.Column("asked_by", sa.String(length=100), nullable=False),
        sa.Column("asked_at", Utc(), nullable=False),
        sa.Column("sent_at", Utc(), nullable=True),
        sa.Column("answered_at", Utc(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("detail", sa.String(length=512), nullable=True),
        sa.Column("stream_id", sa.String(length=32), nullable=True),
        sa.Column("event_seq", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_command")),
    )
    is_open = sa.text("outcome IS NULL")
    with op.batch_alter_table("command") as batch_op:
        batch_op.create_index(batch_op.f("ix_command_asked_at"), ["asked_at"], unique=False)
        batch_op.create_index("ix_command_terminal", ["terminal_id", "asked_at"], unique=False)
        batch_op.create_index(
            "ix_command_open", ["terminal_id"], unique=False, sqlite_where=is_open, postgresql_where=is_open
        )


def _keep_answers() -> None:
    with op.batch_alter_table("event") as batch_op:
        batch_op.add_column(sa.Column("command", Json, nullable=True))


def _narrow_tokens() -> None:
    """Tokens that were made before reach everywhere."""
    with op.batch_alter_table("token") as batch_op:
        for name in ("merchant_ids", "store_ids"):
            batch_op.add_column(sa.Column(name, Json, nullable=False, server_default="[]"))
    with op.batch_alter_table("token") as batch_op:
        for name in ("merchant_ids", "store_ids"):
            batch_op.alter_column(name, server_default=None)
