"""All SQL for people, their sessions, their one-time links, and their tries to sign in.

No commit here. Secrets come and lie here as hashes only. Rows are locked in the order person, session, attempt (and
last the audit log), everywhere alike.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, bindparam, delete, insert, select, update

from tillwatch_collector.domain.permission import EVERYWHERE, Role, Within
from tillwatch_collector.domain.person import Person, can_be_id
from tillwatch_collector.domain.throttle import Counted
from tillwatch_collector.store import tables
from tillwatch_collector.store.statements import insert as insert_unless
from tillwatch_collector.store.statements import insert_missing
from tillwatch_collector.store.tables import table_of

PERSON = table_of(tables.PersonRow)
SESSION = table_of(tables.SessionRow)
INVITATION = table_of(tables.InvitationRow)
ATTEMPT = table_of(tables.AttemptRow)

USER_AGENT_CHARS_MAX = 200
ADDRESS_CHARS_MAX = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A person with what opens their door."""

    person: Person
    password_hash: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A browser that is signed in, as it may be shown."""

    session_id: str
    person_id: str
    started_at: datetime
    seen_at: datetime
    address: str
    user_agent: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Invitation:
    """A one-time link, without its key."""

    invitation_id: str
    person_id: str | None
    """Whose it is; None: whoever comes chooses."""
    role: Role
    within: Within = EVERYWHERE
    made_by: str
    made_at: datetime
    expires_at: datetime


class People:
    """People in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # --- people

    def account(self, person_id: str, *, held: bool = False) -> Account | None:
        """Find somebody by their id; `held` locks them until the commit."""
        if not can_be_id(person_id):
            return None
        query = select(PERSON).where(PERSON.c.person_id == person_id)
        row = self._connection.execute(query.with_for_update() if held else query).mappings().one_or_none()
        return Account(person=_person(row), password_hash=row["password_hash"]) if row else None

    def all(self) -> tuple[Person, ...]:
        """List everybody, by id."""
        rows = self._connection.execute(select(PERSON).order_by(PERSON.c.person_id)).mappings()
        return tuple(_person(row) for row in rows)

    def add(self, person: Person, password_hash: str | None, now: datetime) -> bool:
        """Add somebody; False where the id is taken."""
        row = {
            "person_id": person.person_id,
            "name": person.name,
            "role": str(person.role),
            **_columns(person.within),
            "language": person.language,
            "password_hash": password_hash,
            "created_at": now,
        }
        statement = insert_unless(self._connection, PERSON).values(**row).on_conflict_do_nothing()
        return self._connection.execute(statement.returning(PERSON.c.person_id)).first() is not None

    def set_password(self, person_id: str, password_hash: str) -> None:
        """Keep another hash."""
        self._change(person_id, password_hash=password_hash)

    def set_part(self, person_id: str, role: Role, within: Within) -> None:
        """Give somebody another role, or another part of the fleet."""
        self._change(person_id, role=str(role), **_columns(within))

    def set_disabled(self, person_id: str, at: datetime | None) -> None:
        """Disable somebody, or let them in again (None)."""
        self._change(person_id, disabled_at=at)

    def set_language(self, person_id: str, language: str | None) -> None:
        """Keep the language that somebody chose."""
        self._change(person_id, language=language)

    def hold_admins(self) -> tuple[str, ...]:
        """Name the admins who are not disabled, locked until the commit: of two, not both step down at once."""
        able = (PERSON.c.role == Role.ADMIN, PERSON.c.disabled_at.is_(None))
        query = select(PERSON.c.person_id).where(*able).order_by(PERSON.c.person_id).with_for_update()
        return tuple(self._connection.scalars(query))

    def has_admin(self) -> bool:
        """Whether there is an admin who can sign in."""
        able = (PERSON.c.role == Role.ADMIN, PERSON.c.disabled_at.is_(None))
        return self._connection.execute(select(PERSON.c.person_id).where(*able).limit(1)).first() is not None

    def _change(self, person_id: str, **values: Any) -> None:
        self._connection.execute(update(PERSON).where(PERSON.c.person_id == person_id).values(**values))

    # --- sessions

    def signed_in(self, secret_sha256: str) -> tuple[Session, Person] | None:
        """Find a session by its secret's hash, with whose it is."""
        row = self._connection.execute(_SIGNED_IN, {"secret_sha256": secret_sha256}).first()
        if row is None:
            return None
        session, person = row[: len(_SESSION_COLUMNS)], row[len(_SESSION_COLUMNS) :]
        return (
            Session(**dict(zip(Session.__slots__, session, strict=True))),
            _person(dict(zip(PERSON.c.keys(), person, strict=True))),
        )

    def sessions(self, person_id: str) -> tuple[Session, ...]:
        """List where somebody is signed in, the latest first."""
        query = select(*_SESSION_COLUMNS).where(SESSION.c.person_id == person_id)
        rows = self._connection.execute(query.order_by(SESSION.c.started_at.desc(), SESSION.c.session_id)).mappings()
        return tuple(Session(**row) for row in rows)

    def begin(self, session: Session, secret_sha256: str) -> None:
        """Keep a new session, and when its person signed in."""
        values = {name: getattr(session, name) for name in Session.__slots__}
        self._connection.execute(insert(SESSION).values(**values, secret_sha256=secret_sha256))
        self._change(session.person_id, signed_in_at=session.started_at)

    def saw(self, session_id: str, now: datetime) -> None:
        """Keep when a session was last used."""
        self._connection.execute(update(SESSION).where(SESSION.c.session_id == session_id).values(seen_at=now))

    def end(self, *which: ColumnElement[bool]) -> int:
        """End sessions; how many."""
        return self._connection.execute(delete(SESSION).where(*which)).rowcount

    def end_all_of(self, person_id: str, *, but: str | None = None) -> int:
        """End somebody's sessions, all or all but one."""
        mine = SESSION.c.person_id == person_id
        return self.end(mine) if but is None else self.end(mine, SESSION.c.session_id != but)

    def end_one(self, person_id: str, session_id: str) -> int:
        """End one session of somebody."""
        return self.end(SESSION.c.person_id == person_id, SESSION.c.session_id == session_id)

    def end_oldest_beyond(self, person_id: str, count: int) -> None:
        """End the sessions of somebody that began before their latest few."""
        kept = [session.session_id for session in self.sessions(person_id)[:count]]
        self.end(SESSION.c.person_id == person_id, SESSION.c.session_id.not_in(kept))

    # --- one-time links

    def invite(self, invitation: Invitation, key_sha256: str) -> None:
        """Keep a link by its key's hash."""
        self._connection.execute(
            insert(INVITATION).values(
                invitation_id=invitation.invitation_id,
                key_sha256=key_sha256,
                person_id=invitation.person_id,
                role=str(invitation.role),
                **_columns(invitation.within),
                made_by=invitation.made_by,
                made_at=invitation.made_at,
                expires_at=invitation.expires_at,
            )
        )

    def invitation(self, key_sha256: str, now: datetime) -> Invitation | None:
        """Find a link that is not over."""
        query = select(INVITATION).where(INVITATION.c.key_sha256 == key_sha256, INVITATION.c.expires_at > now)
        row = self._connection.execute(query).mappings().one_or_none()
        return _invitation(row) if row else None

    def invitations(self, now: datetime) -> tuple[Invitation, ...]:
        """List the links that nobody has used and that are not over, the newest first."""
        query = select(INVITATION).where(INVITATION.c.expires_at > now).order_by(INVITATION.c.made_at.desc())
        return tuple(_invitation(row) for row in self._connection.execute(query).mappings())

    def use(self, key_sha256: str, now: datetime) -> Invitation | None:
        """Take a link that is not over: of two who use it at once, one gets it."""
        mine = (INVITATION.c.key_sha256 == key_sha256, INVITATION.c.expires_at > now)
        taken = delete(INVITATION).where(*mine).returning(*INVITATION.c)
        row = self._connection.execute(taken).mappings().one_or_none()
        return _invitation(row) if row else None

    def withdraw(self, invitation_id: str) -> bool:
        """Make a link worthless; whether there was one."""
        gone = delete(INVITATION).where(INVITATION.c.invitation_id == invitation_id)
        return self._connection.execute(gone).rowcount == 1

    def withdraw_all_of(self, *, made_by: str | None = None, person_id: str | None = None) -> None:
        """Make links worthless: those that somebody made, or those that are somebody's."""
        column, whose = (INVITATION.c.made_by, made_by) if made_by is not None else (INVITATION.c.person_id, person_id)
        self._connection.execute(delete(INVITATION).where(column == whose))

    # --- tries to sign in

    def hold_tries(self, counted: Counted, subject_sha256: str, now: datetime) -> tuple[datetime, bool]:
        """Return what was kept of tries, and whether the last was refused; the row is locked until the commit."""
        fresh = {"counted": str(counted), "subject_sha256": subject_sha256, "back_at": now, "refusing": False}
        insert_missing(self._connection, ATTEMPT, [fresh])
        query = select(ATTEMPT.c.back_at, ATTEMPT.c.refusing).where(*_tries(counted, subject_sha256))
        row = self._connection.execute(query.with_for_update()).one()
        return row[0], row[1]

    def keep_tries(self, counted: Counted, subject_sha256: str, back_at: datetime, *, refusing: bool) -> None:
        """Keep what the next try is judged by."""
        mine = update(ATTEMPT).where(*_tries(counted, subject_sha256))
        self._connection.execute(mine.values(back_at=back_at, refusing=refusing))

    def forget_tries(self, counted: Counted, subject_sha256: str) -> None:
        """Give all tries back."""
        self._connection.execute(delete(ATTEMPT).where(*_tries(counted, subject_sha256)))

    # --- upkeep

    def forget_over(self, *, started_before: datetime, seen_before: datetime, now: datetime, rows_max: int) -> int:
        """Delete sessions, links and tries that are over; a restart of the count costs nobody anything."""
        over = (
            (SESSION, (SESSION.c.seen_at < seen_before) | (SESSION.c.started_at < started_before)),
            (INVITATION, INVITATION.c.expires_at <= now),
            (ATTEMPT, ATTEMPT.c.back_at <= now),
        )
        return sum(self._delete(table, which, rows_max) for table, which in over)

    def _delete(self, table: Any, which: ColumnElement[bool], rows_max: int) -> int:
        keys = list(table.primary_key)
        some = select(*keys).where(which).limit(rows_max).subquery()
        there = select(1).where(*(some.c[key.name] == key for key in keys)).exists()
        return self._connection.execute(delete(table).where(which, there)).rowcount


_SESSION_COLUMNS = tuple(SESSION.c[name] for name in Session.__slots__)
_SIGNED_IN = (
    select(*_SESSION_COLUMNS, *PERSON.c)
    .join(PERSON, PERSON.c.person_id == SESSION.c.person_id)
    .where(SESSION.c.secret_sha256 == bindparam("secret_sha256"))
)
"""Asked for with every request of a page: made once."""


def _tries(counted: Counted, subject_sha256: str) -> Iterable[ColumnElement[bool]]:
    return ATTEMPT.c.counted == str(counted), ATTEMPT.c.subject_sha256 == subject_sha256


def _columns(within: Within) -> dict[str, list[str]]:
    return {"merchant_ids": sorted(within.merchant_ids), "store_ids": sorted(within.store_ids)}


def _within(row: Any) -> Within:
    return Within(merchant_ids=frozenset(row["merchant_ids"]), store_ids=frozenset(row["store_ids"]))


def _person(row: Any) -> Person:
    return Person(
        person_id=row["person_id"],
        name=row["name"],
        role=Role(row["role"]),
        within=_within(row),
        language=row["language"],
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
        signed_in_at=row["signed_in_at"],
    )


def _invitation(row: RowMapping) -> Invitation:
    return Invitation(
        invitation_id=row["invitation_id"],
        person_id=row["person_id"],
        role=Role(row["role"]),
        within=_within(row),
        made_by=row["made_by"],
        made_at=row["made_at"],
        expires_at=row["expires_at"],
    )
