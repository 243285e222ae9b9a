"""The audit log: who did what to what, in lines that hold each other.

Each line's digest is made of the line before, so that none can be altered, left out or put between others without all
that follow being made anew. It is the SHA-256 of `[number, time, actor, action, subject, detail, previous digest]` in
JSON; the first line's `previous` is 64 zeros. Lines are numbered densely in the order of the commits: whoever writes
one holds the log until the commit (on SQLite there is one writer; on PostgreSQL a lock of the transaction), so it is
written last in its transaction. What cuts lines off the end, or makes the whole log anew, leaves a chain that fits in
itself: that is seen by whoever noted a number and its digest elsewhere (`Anchor`). Upkeep cuts off the beginning, and
says in a line of the log where it cut: a log that begins elsewhere does not fit.

A change violates this when a line is written without `record`, or when what somebody did can be committed without its
line.
"""

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic_core import to_jsonable_python
from sqlalchemy import Connection, Row, Select, delete, func, insert, select, text

from tillwatch_collector.store import tables
from tillwatch_collector.store.selection import containing, equal
from tillwatch_collector.store.tables import table_of

AUDIT = table_of(tables.AuditRow)

BEFORE_ALL = "0" * 64

DETAIL_CHARS_MAX = 4_000
"""A page of text: enough for every field of a store, before and after."""

SUBJECT_CHARS_MAX = 200
ACTOR_CHARS_MAX = 100

ROWS_AT_ONCE = 5_000
"""Of a verification: a few megabytes in memory."""

CUT = "audit_cut"
"""The action of the line that says where upkeep cut."""

CUT_EVERY = timedelta(days=1)
"""How much is over before it is cut off: each cut is a line itself."""

_LINE = 0x6175_6469  # "audi"


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchor:
    """A line's number and digest: noted elsewhere, they hold all that stands before."""

    audit_no: int
    digest: str

    def __str__(self) -> str:
        """Write it as people note it."""
        return f"{self.audit_no}:{self.digest}"


class Unfit(StrEnum):
    """Why a log does not fit."""

    ALTERED = "altered"
    """The line's digest is not its content's."""
    PREVIOUS = "previous"
    """It does not follow on the line before."""
    MISSING = "missing"
    """Lines before it are gone."""
    BEGINNING = "beginning"
    """The log does not begin where upkeep said that it cut."""
    CUT_OFF = "cut_off"
    """It ends before the anchor that was noted."""
    ANCHOR = "anchor"
    """The line of the anchor has another digest: all was made anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Misfit:
    """The first line that does not fit."""

    audit_no: int
    why: Unfit


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What came of a verification."""

    lines: int
    """That were looked at."""
    last: Anchor | None
    """To note elsewhere; None: the log is empty, or does not fit."""
    misfit: Misfit | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditLine:
    """One line, as it is shown."""

    audit_no: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditFilter:
    """Which lines; what is None does not narrow."""

    actor: str | None = None
    action: str | None = None
    q: str | None = None
    """Sought in actor, subject and detail."""
    before_no: int | None = None
    """The page after: lines with lower numbers."""


class Audit:
    """The log in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def record(
        self, now: datetime, *, actor: str, action: str, subject: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Write a line; the log is held until the commit."""
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LINE})
        last = self.last()
        row = {
            "audit_no": last.audit_no + 1 if last else 1,
            "at": now,
            "actor": _plain(actor, ACTOR_CHARS_MAX),
            "action": action,
            "subject": _plain(subject, SUBJECT_CHARS_MAX),
            "detail": _detail(detail or {}),
            "previous": last.digest if last else BEFORE_ALL,
        }
        self._connection.execute(insert(AUDIT).values(**row, digest=_digest(row)))

    def last(self) -> Anchor | None:
        """Return the last line's number and digest."""
        query = select(AUDIT.c.audit_no, AUDIT.c.digest).order_by(AUDIT.c.audit_no.desc()).limit(1)
        row = self._connection.execute(query).first()
        return Anchor(audit_no=row[0], digest=row[1]) if row else None

    def verify(self, noted: Anchor | None = None) -> Verified:
        """Hold every line against its digest and the one before, and against what was noted."""
        cut = self._cut()
        with closing(self._rows()) as rows:
            return _verified(rows, cut, noted)

    def lines(self, chosen: AuditFilter, count: int) -> tuple[AuditLine, ...]:
        """Return the newest of the chosen lines, the newest first."""
        query = _chosen(chosen).order_by(AUDIT.c.audit_no.desc()).limit(count)
        return tuple(_line(row) for row in self._connection.execute(query))

    def actions(self) -> tuple[str, ...]:
        """Name the actions that the log has lines of."""
        return tuple(self._connection.scalars(select(AUDIT.c.action).distinct().order_by(AUDIT.c.action)))

    def cut_before(self, at: datetime, now: datetime, *, rows_max: int) -> int:
        """Cut off the oldest lines that are over, as many as one step takes, and say so in the log."""
        first = self._connection.execute(
            select(AUDIT.c.audit_no, AUDIT.c.at).order_by(AUDIT.c.audit_no).limit(1)
        ).first()
        kept_from = self._connection.scalar(select(func.min(AUDIT.c.audit_no)).where(AUDIT.c.at >= at))
        if first is None or kept_from is None or first.at >= at - CUT_EVERY:
            return 0
        oldest = first.audit_no
        through = min(kept_from - 1, oldest + rows_max - 1)
        digest = self._connection.scalar(select(AUDIT.c.digest).where(AUDIT.c.audit_no == through))
        detail = {"through": through, "digest": digest}
        self.record(now, actor="machine:upkeep", action=CUT, subject="audit", detail=detail)
        return self._connection.execute(delete(AUDIT).where(AUDIT.c.audit_no <= through)).rowcount

    def _rows(self) -> Generator[Row[Any]]:
        query = select(AUDIT).order_by(AUDIT.c.audit_no)
        with self._connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}) as found:
            for some in found.partitions():
                yield from some

    def _cut(self) -> Anchor | None:
        """Return the last line that was cut off."""
        query = select(AUDIT.c.detail).where(AUDIT.c.action == CUT).order_by(AUDIT.c.audit_no.desc()).limit(1)
        found = self._connection.scalar(query)
        if found is None:
            return None
        detail = json.loads(found)
        return Anchor(audit_no=int(detail["through"]), digest=str(detail["digest"]))


def _verified(rows: Iterator[Row[Any]], cut: Anchor | None, noted: Anchor | None) -> Verified:
    before = cut or Anchor(audit_no=0, digest=BEFORE_ALL)
    first, lines = True, 0
    for row in rows:
        why = _unfit(row, before, noted, first=first)
        if why is not None:
            return Verified(lines=lines, last=None, misfit=Misfit(audit_no=row.audit_no, why=why))
        before, first, lines = Anchor(audit_no=row.audit_no, digest=row.digest), False, lines + 1
    if noted is not None and noted.audit_no > before.audit_no:
        return Verified(lines=lines, last=None, misfit=Misfit(audit_no=before.audit_no + 1, why=Unfit.CUT_OFF))
    return Verified(lines=lines, last=before if lines else None)


def _unfit(row: Row[Any], before: Anchor, noted: Anchor | None, *, first: bool) -> Unfit | None:
    follows = row.audit_no == before.audit_no + 1
    if first and not (follows and row.previous == before.digest):
        return Unfit.BEGINNING
    if not follows:
        return Unfit.MISSING
    if row.previous != before.digest:
        return Unfit.PREVIOUS
    if _digest(dict(row._mapping)) != row.digest:  # noqa: SLF001 - SQLAlchemy's own public name for it
        return Unfit.ALTERED
    if noted is not None and row.audit_no == noted.audit_no and row.digest != noted.digest:
        return Unfit.ANCHOR
    return None


def _chosen(chosen: AuditFilter) -> Select[Any]:
    query = select(AUDIT).where(
        *equal({AUDIT.c.actor: chosen.actor, AUDIT.c.action: chosen.action}),
        *containing(chosen.q, AUDIT.c.actor, AUDIT.c.subject, AUDIT.c.detail),
    )
    return query if chosen.before_no is None else query.where(AUDIT.c.audit_no < chosen.before_no)


def _line(row: Row[Any]) -> AuditLine:
    return AuditLine(
        audit_no=row.audit_no,
        at=row.at,
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        detail=_read(row.detail),
        digest=row.digest,
    )


def _read(detail: str) -> Mapping[str, Any]:
    """Read a line's detail; one that somebody has altered is shown as it is."""
    try:
        read = json.loads(detail)
    except ValueError:
        read = None
    return read if isinstance(read, dict) else {"detail": detail}


def _detail(detail: Mapping[str, Any]) -> str:
    """Write the detail, in ASCII: what a database may alter or refuse, such as a NUL, is escaped."""
    said = json.dumps(detail, ensure_ascii=False, default=to_jsonable_python)
    whole = said.encode(errors="replace").decode()  # half of a surrogate pair is no text, and no page could show it
    written = json.dumps(json.loads(whole), sort_keys=True)
    return written if len(written) <= DETAIL_CHARS_MAX else json.dumps({"cut": written[: DETAIL_CHARS_MAX // 3]})


def _plain(said: str, chars_max: int) -> str:
    return "".join(character if character.isprintable() else "?" for character in said)[:chars_max]


def _digest(row: Mapping[str, Any]) -> str:
    at = row["at"].astimezone(UTC).isoformat(timespec="microseconds")
    values = [row["audit_no"], at, *(row[name] for name in ("actor", "action", "subject", "detail", "previous"))]
    return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()
