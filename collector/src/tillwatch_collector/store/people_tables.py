"""The shape of what is kept of people: who they are, where they are signed in, what they did, what they asked for."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Text, text
from sqlmodel import Field

from tillwatch_collector.store.columns import BigId, Json, Utc
from tillwatch_collector.store.table import Table


class PersonRow(Table, table=True):
    """Somebody who signs in. Never removed: journals name them."""

    __tablename__ = "person"
    person_id: str = Field(primary_key=True, max_length=64)
    name: str = Field(max_length=100)
    role: str = Field(max_length=16)
    """`viewer`, `operator`, `approver`, `admin`."""
    merchant_ids: list[str] = Field(default_factory=list, sa_type=Json)
    store_ids: list[str] = Field(default_factory=list, sa_type=Json)
    """What they are narrowed to; both empty: nothing."""
    language: str | None = Field(default=None, max_length=16)
    password_hash: str | None = Field(default=None, max_length=200)
    """Argon2id, with its parameters and salt; None: none was set, and nobody signs in by one."""
    created_at: datetime = Field(sa_type=Utc)
    disabled_at: datetime | None = Field(default=None, sa_type=Utc)
    signed_in_at: datetime | None = Field(default=None, sa_type=Utc)


class SessionRow(Table, table=True):
    """A browser that is signed in: its secret kept as a hash. Gone when it ends."""

    __tablename__ = "session"
    session_id: str = Field(primary_key=True, max_length=32)
    person_id: str = Field(foreign_key="person.person_id", index=True, max_length=64)
    secret_sha256: str = Field(max_length=64, unique=True)
    started_at: datetime = Field(sa_type=Utc)
    seen_at: datetime = Field(sa_type=Utc, index=True)
    """Not long before it was last used; see `people`."""
    address: str = Field(max_length=64)
    user_agent: str = Field(max_length=200)


class InvitationRow(Table, table=True):
    """A one-time link: whoever has it becomes a person, or sets their password. Gone when it was used."""

    __tablename__ = "invitation"
    invitation_id: str = Field(primary_key=True, max_length=32)
    key_sha256: str = Field(max_length=64, unique=True)
    person_id: str | None = Field(default=None, max_length=64)
    """Whose it is; None: whoever comes chooses."""
    role: str = Field(max_length=16)
    merchant_ids: list[str] = Field(default_factory=list, sa_type=Json)
    store_ids: list[str] = Field(default_factory=list, sa_type=Json)
    made_by: str = Field(max_length=100)
    made_at: datetime = Field(sa_type=Utc)
    expires_at: datetime = Field(sa_type=Utc, index=True)


class AttemptRow(Table, table=True):
    """How many tries to sign in a login or an address has left: `domain.throttle`. Gone when it has all."""

    __tablename__ = "attempt"
    counted: str = Field(primary_key=True, max_length=8)
    """`address` or `login`."""
    subject_sha256: str = Field(primary_key=True, max_length=64)
    """A hash: people type their password where the login belongs."""
    back_at: datetime = Field(sa_type=Utc, index=True)
    refusing: bool = False
    """Whether the last try was refused: one line in the audit log tells of a whole row of them."""


class AuditRow(Table, table=True):
    """Something that somebody did; each row's digest is made of the one before, `store.audit` says how."""

    __tablename__ = "audit"
    audit_no: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    """Dense, from 1, in the order of the commits."""
    at: datetime = Field(sa_type=Utc, index=True)
    actor: str = Field(max_length=100)
    action: str = Field(max_length=48)
    subject: str = Field(max_length=200)
    detail: str = Field(sa_type=Text)
    """JSON, letter for letter as it went into the digest."""
    previous: str = Field(max_length=64)
    digest: str = Field(max_length=64)
    __table_args__ = (
        Index("ix_audit_actor", "actor", "audit_no"),
        Index("ix_audit_action", "action", "audit_no"),
        Index("ix_audit_subject", "subject", "at"),
    )


class CommandRow(Table, table=True):
    """A command that somebody gave a terminal, and what came of it."""

    __tablename__ = "command"
    command_id: str = Field(primary_key=True, max_length=48)
    terminal_id: str = Field(max_length=64)
    kind: str = Field(max_length=48)
    lifetime_s: int
    asked_by: str = Field(max_length=100)
    asked_at: datetime = Field(sa_type=Utc, index=True)
    sent_at: datetime | None = Field(default=None, sa_type=Utc)
    answered_at: datetime | None = Field(default=None, sa_type=Utc)
    outcome: str | None = Field(default=None, max_length=16)
    """`done`, `refused`, `lapsed`; None: it waits for its answer."""
    detail: str | None = Field(default=None, max_length=512)
    """Why it was refused."""
    stream_id: str | None = Field(default=None, max_length=32)
    event_seq: int | None = Field(default=None, sa_type=BigInteger)
    """The event that answered it."""
    __table_args__ = (
        Index("ix_command_terminal", "terminal_id", "asked_at"),
        Index(
            "ix_command_open",
            "terminal_id",
            sqlite_where=text("outcome IS NULL"),
            postgresql_where=text("outcome IS NULL"),
        ),
    )
