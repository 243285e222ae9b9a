"""The shape of what is kept of rollouts: written by people and by judge's tick (`store.rollouts`)."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Text, text
from sqlmodel import Field

from tillwatch_collector.store.columns import BigId, Json, PlainJson, Utc
from tillwatch_collector.store.table import Table


class RolloutRow(Table, table=True):
    """A release to a selection by plan; `domain.rollout` says what its state takes."""

    __tablename__ = "rollout"
    rollout_id: str = Field(primary_key=True, max_length=32)
    name: str = Field(max_length=200)
    target: str = Field(max_length=150)
    """The release's path; its first part is the product."""
    product: str = Field(max_length=48)
    version: str = Field(max_length=40)
    digest: str = Field(max_length=64)
    """SHA-256 of the release's file, in lower-case hexadecimal: what must run in the end."""
    query: str = Field(max_length=4000)
    """Whom it is for, as a person wrote it."""
    reason: str = Field(max_length=500)
    """Why they."""
    taken_at: datetime = Field(sa_type=Utc)
    """When the selection was frozen."""
    settings: str = Field(sa_type=Text)
    """The plan, in JSON, as its author stated it: read, and checked, at every look."""
    left_out: list[Any] = Field(default_factory=list, sa_type=PlainJson)
    """[terminal, reason] of who was selected and is in no wave."""
    author: str = Field(max_length=100)
    """`kind:id`: another must approve where the plan says so."""
    state: str = Field(max_length=32)
    waves: int
    """How many are planned."""
    wave: int = 0
    """The one that is open, from 1; 0: none yet."""
    wave_opened_at: datetime | None = Field(default=None, sa_type=Utc)
    looks_done: int = 0
    """Of the gate at harm, in the open wave."""
    answered: list[int] = Field(default_factory=list, sa_type=Json)
    """Waves for whose missing evidence a person answered."""
    verdict: dict[str, Any] | None = Field(default=None, sa_type=Json)
    """The gate's last word: `{"wave", "kind", "reasons", "numbers", "looks_done", "at"}`."""
    restored_at: datetime | None = Field(default=None, sa_type=Utc)
    """When it was found in a database restored from a backup: terminals may be further than it knows."""
    cloned_from: str | None = Field(default=None, max_length=32)
    ticket_id: int | None = Field(default=None, sa_type=BigId)
    """Of its halt."""
    created_at: datetime = Field(sa_type=Utc, index=True)
    updated_at: datetime = Field(sa_type=Utc)
    ended_at: datetime | None = Field(default=None, sa_type=Utc, index=True)
    __table_args__ = (Index("ix_rollout_state", "state"),)


class RolloutJobRow(Table, table=True):
    """One terminal's part of a rollout, as last known: `domain.rollout.Job`, and the facts that it was planned by."""

    __tablename__ = "rollout_job"
    job_id: str = Field(primary_key=True, max_length=48)
    """`<rollout>-<number>`, in the order of the waves; with its try behind a dot it is the id on the wire."""
    rollout_id: str = Field(foreign_key="rollout.rollout_id", max_length=32)
    terminal_id: str = Field(max_length=64, index=True)
    store_id: str = Field(max_length=64)
    model: str = Field(max_length=64)
    region: str = Field(max_length=64)
    """These three when it was planned."""
    wave: int
    granted: str = Field(max_length=16)
    """`planned`, `offered`, `go`, `withdrawn`."""
    try_no: int = 1
    attempts: int = 1
    offered_at: datetime | None = Field(default=None, sa_type=Utc)
    said_at: datetime | None = Field(default=None, sa_type=Utc)
    go_at: datetime | None = Field(default=None, sa_type=Utc)
    go_nonce: str | None = Field(default=None, max_length=64)
    not_before: datetime | None = Field(default=None, sa_type=Utc)
    state: str | None = Field(default=None, max_length=16)
    """Of the agent, as far as it was proved."""
    reason: str | None = Field(default=None, max_length=48)
    nonce: str | None = Field(default=None, max_length=64)
    ended_at: datetime | None = Field(default=None, sa_type=Utc)
    withdrawn_for: str | None = Field(default=None, max_length=16)
    excused: bool = False
    activation_before: str | None = Field(default=None, max_length=512)
    """What ran when it got its `go`, by the terminal's own word: what proves success differs."""
    outcome: str = Field(default="waiting", max_length=16)
    """What came of it, as judged at the last look."""
    wait: str | None = Field(default=None, max_length=24)
    """Why nothing was done for it at the last look; None where something was, or nothing is left to do."""
    active: bool = False
    """It was offered, or has its `go`, and is neither over nor silent: no other rollout touches its terminal."""
    settled: bool = False
    """Nothing more is to be heard of it, or said to its terminal."""
    __table_args__ = (
        Index("ix_rollout_job_wave", "rollout_id", "wave"),
        Index(
            "ix_rollout_job_unsettled",
            "rollout_id",
            "job_id",
            sqlite_where=text("NOT settled"),
            postgresql_where=text("NOT settled"),
        ),
        Index(
            "uq_rollout_job_active",
            "terminal_id",
            unique=True,
            sqlite_where=text("active"),
            postgresql_where=text("active"),
        ),
    )


class RolloutJournalRow(Table, table=True):
    """One step of a rollout or of one of its jobs: never altered, never removed while the rollout is kept."""

    __tablename__ = "rollout_journal"
    journal_id: int | None = Field(default=None, primary_key=True, sa_type=BigId)
    rollout_id: str = Field(foreign_key="rollout.rollout_id", max_length=32)
    at: datetime = Field(sa_type=Utc)
    actor: str = Field(max_length=100)
    action: str = Field(max_length=32)
    """A rollout's event (`start`, `halt`, ...), `draft`, `open_wave`, `verdict`, or a job's: `offer`, `go`, `lapse`,
    `withdraw`, `retry`, `state`."""
    from_state: str | None = Field(default=None, max_length=32)
    to_state: str | None = Field(default=None, max_length=32)
    """Of the rollout; of a job what came of it, or its agent's state."""
    reason: str = Field(max_length=500)
    job_id: str | None = Field(default=None, max_length=48)
    terminal_id: str | None = Field(default=None, max_length=64)
    evidence: dict[str, Any] = Field(default_factory=dict, sa_type=Json)
    """The numbers that it rests on."""
    __table_args__ = (
        Index("ix_rollout_journal_rollout", "rollout_id", "journal_id"),
        Index("ix_rollout_journal_job", "job_id", "journal_id"),
    )
