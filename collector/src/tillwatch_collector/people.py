"""Who may come in: signing in and out, using a one-time link, changing one's own password.

Each is one transaction together with its line in the audit log; a password is hashed between transactions, never in
one. A try to sign in is counted before its password is looked at (`domain.throttle`). A wrong password, a login that
nobody has and one that is disabled are answered alike and after the same work.

A session is a secret of 256 random bits, kept as its hash. It is made anew at each sign-in, so that nobody can bring
their own, and ends after `IDLE` unused, after `SESSION` in any case, at sign-out, when its person's password, role or
part of the fleet becomes another one, and when its person is disabled. A page that is left open asks by itself, and so
is used: a screen on a wall lasts a working day.

There is no default account. While there is no admin, each start of the collector makes one link by which the first one
comes in, and makes the links of earlier starts worthless.

A change violates this when somebody can come in by what is kept in the database, or when a link opens twice.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from tillwatch_collector import keys, passwords, tries
from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.domain.person import (
    IDLE,
    SESSION,
    Person,
    PersonRefused,
    as_login,
    check_name,
    check_person_id,
)
from tillwatch_collector.passwords import Weakness
from tillwatch_collector.store.people import (
    ADDRESS_CHARS_MAX,
    USER_AGENT_CHARS_MAX,
    Account,
    Invitation,
    People,
    Session,
)
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store

SEEN_EVERY = timedelta(minutes=5)
"""How exact it is known when a session was last used: a page that asks every few seconds writes no row each time."""

SESSIONS_MAX = 10
"""Of one person: desk, phone, and a few that were forgotten; the oldest goes."""

LINK = timedelta(hours=24)

FIRST_START = "machine:first_start"
"""Who invites the first admin."""

LOGIN_CHARS_MAX = 200
"""Longer is nobody's, and is counted by its beginning."""


class Refusal(StrEnum):
    """Why somebody may not; the console has words for each."""

    WRONG = "wrong"
    """Login and password do not fit: which of them, nobody is told."""
    WAIT = "wait"
    """Too many tries; `wait_s` says for how long."""
    LINK_OVER = "link_over"
    """The link was used, is too old, or never was one."""
    ID_TAKEN = "id_taken"
    ID_UNUSABLE = "id_unusable"
    NAME_UNUSABLE = "name_unusable"
    WITHIN_UNUSABLE = "within_unusable"
    PASSWORD_SHORT = "password_short"  # noqa: S105 - these are no passwords
    PASSWORD_LONG = "password_long"  # noqa: S105
    PASSWORD_COMMON = "password_common"  # noqa: S105
    PASSWORD_OWN_NAME = "password_own_name"  # noqa: S105
    UNKNOWN = "unknown"
    """Nobody has this id."""
    LAST_ADMIN = "last_admin"
    """Nobody would be left to administer."""


_WEAK = {
    Weakness.SHORT: Refusal.PASSWORD_SHORT,
    Weakness.LONG: Refusal.PASSWORD_LONG,
    Weakness.COMMON: Refusal.PASSWORD_COMMON,
    Weakness.OWN_NAME: Refusal.PASSWORD_OWN_NAME,
}
_UNUSABLE = {
    "person_id": Refusal.ID_UNUSABLE,
    "name": Refusal.NAME_UNUSABLE,
    "within": Refusal.WITHIN_UNUSABLE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Nothing was done, but for the line in the audit log."""

    reason: Refusal
    wait_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """Whose session a secret is."""

    session_id: str
    person: Person
    started_at: datetime
    ends_at: datetime
    """At the latest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedIn:
    """A session that has begun: the only moment at which its secret is known in clear."""

    secret: str
    signed: Signed


@dataclass(frozen=True, kw_only=True, slots=True)
class Browser:
    """Where somebody signs in from, as it is shown to them in the list of their sessions."""

    address: str = ""
    user_agent: str = ""


# --- coming in and going


def find(store: Store, session_secret: str, now: datetime) -> Signed | None:
    """Find who is signed in by a secret, and keep that they were here."""
    if not keys.could_be(session_secret):
        return None
    with store.reading() as connection:
        found = People(connection).signed_in(keys.digest(session_secret))
    if found is None:
        return None
    session, person = found
    if person.disabled_at is not None or now >= session.seen_at + IDLE or now >= session.started_at + SESSION:
        return None
    if now >= session.seen_at + SEEN_EVERY:
        with store.transaction() as repository:
            repository.people.saw(session.session_id, now)
    return _signed(session, person)


def sign_in(
    store: Store, *, login: str, password: str, address: str, user_agent: str, now: datetime
) -> SignedIn | Refused:
    """Let somebody in who knows the password of a login."""
    person_id, browser = as_login(login[:LOGIN_CHARS_MAX]), Browser(address=address, user_agent=user_agent)
    wait_s = tries.count(store, person_id, address, now)
    if wait_s:
        return Refused(reason=Refusal.WAIT, wait_s=wait_s)
    with store.reading() as connection:
        before = People(connection).account(person_id)
    fits = passwords.verify(password[: passwords.CHARS_MAX + 1], before.password_hash if before else None)
    better = _better(password, before) if fits else None
    with store.transaction() as repository:
        account = repository.people.account(person_id, held=True)
        if not fits or account is None or not _same_door(account, before) or account.person.disabled_at is not None:
            _record_refused(repository, account, address, now)
            return Refused(reason=Refusal.WRONG)
        if better is not None:
            repository.people.set_password(person_id, better)
        begun = _begin(repository, account.person, browser, now)
        tries.give_back(repository, person_id, address, now)
        detail = {"address": address, "user_agent": user_agent[:USER_AGENT_CHARS_MAX]}
        repository.audit.record(
            now, actor=account.person.actor, action="sign_in", subject=account.person.actor, detail=detail
        )
        return begun


def sign_out(store: Store, session_secret: str, now: datetime) -> None:
    """End the session of a secret, if it is one."""
    with store.transaction() as repository:
        found = repository.people.signed_in(keys.digest(session_secret[: keys.CHARS_MAX]))
        if found is not None:
            session, person = found
            repository.people.end_one(person.person_id, session.session_id)
            repository.audit.record(now, actor=person.actor, action="sign_out", subject=person.actor)


def end_sessions(store: Store, signed: Signed, *, session_id: str | None = None, now: datetime) -> int:
    """End another one of somebody's own sessions, or all of them but this one; how many ended."""
    person = signed.person
    with store.transaction() as repository:
        if session_id is not None:
            ended = repository.people.end_one(person.person_id, session_id)
        else:
            ended = repository.people.end_all_of(person.person_id, but=signed.session_id)
        if ended:
            detail = {"sessions": ended}
            repository.audit.record(
                now, actor=person.actor, action="sessions_ended", subject=person.actor, detail=detail
            )
        return ended


# --- one-time links


def welcome_link(base_url: str, key: str) -> str:
    """Write a link as people open it."""
    return f"{base_url.rstrip('/')}/welcome/{key}"


def invitation_of(store: Store, key: str, now: datetime) -> Invitation | None:
    """Show what a link is for, without using it."""
    if not keys.could_be(key):
        return None
    with store.reading() as connection:
        return People(connection).invitation(keys.digest(key), now)


def welcome(
    store: Store,
    *,
    key: str,
    person_id: str,
    name: str,
    password: str,
    now: datetime,
    browser: Browser | None = None,
) -> SignedIn | Refused:
    """Use a link: make its person, or set their password, and sign them in. What is refused does not use it up.

    Of a link that is somebody's, `person_id` is not looked at; nor is `name`, where they are here already.
    """
    invitation = invitation_of(store, key, now)
    if invitation is None:
        return Refused(reason=Refusal.LINK_OVER)
    person_id = invitation.person_id or as_login(person_id)
    with store.reading() as connection:
        known = People(connection).account(person_id) if invitation.person_id is not None else None
    name = known.person.name if known is not None else " ".join(name.split())
    refused = (
        unusable(lambda: check_person_id(person_id))
        or unusable(lambda: check_name(name))
        or weak(password, person_id, name)
    )
    if refused is not None:
        return refused
    password_hash = passwords.hashed(password)
    comes = Person(person_id=person_id, name=name, role=invitation.role, within=invitation.within)
    with suppress(_IdTaken), store.transaction() as repository:
        return _welcomed(repository, keys.digest(key), comes, password_hash, now=now, browser=browser or Browser())
    return Refused(reason=Refusal.ID_TAKEN)


# --- passwords


def change_password(store: Store, signed: Signed, *, old: str, new: str, now: datetime) -> Refused | None:
    """Change somebody's own password; their other sessions end."""
    person = signed.person
    refused = weak(new, person.person_id, person.name)
    if refused is not None:
        return refused
    wait_s = tries.count(store, person.person_id, "", now)
    if wait_s:
        return Refused(reason=Refusal.WAIT, wait_s=wait_s)
    with store.reading() as connection:
        before = People(connection).account(person.person_id)
    fits = passwords.verify(old[: passwords.CHARS_MAX + 1], before.password_hash if before else None)
    password_hash = passwords.hashed(new) if fits else ""
    with store.transaction() as repository:
        if not fits or not _same_door(repository.people.account(person.person_id, held=True), before):
            repository.audit.record(now, actor=person.actor, action="password_refused", subject=person.actor)
            return Refused(reason=Refusal.WRONG)
        repository.people.set_password(person.person_id, password_hash)
        ended = repository.people.end_all_of(person.person_id, but=signed.session_id)
        repository.people.withdraw_all_of(person_id=person.person_id)
        tries.give_back(repository, person.person_id, "", now)
        detail = {"sessions_ended": ended}
        repository.audit.record(now, actor=person.actor, action="password_changed", subject=person.actor, detail=detail)
        return None


def choose_language(store: Store, person_id: str, language: str) -> None:
    """Keep the language that somebody chose."""
    with store.transaction() as repository:
        repository.people.set_language(person_id, language)


def _record_refused(repository: Repository, account: Account | None, address: str, now: datetime) -> None:
    """Write a refusal down; what was typed for a login that nobody has may be a password, and is not repeated."""
    subject = account.person.actor if account is not None else "person:?"
    detail = {"address": address, "disabled": account is not None and account.person.disabled_at is not None}
    repository.audit.record(now, actor="machine:sign_in", action="sign_in_refused", subject=subject, detail=detail)


def _same_door(account: Account | None, before: Account | None) -> bool:
    """Whether a password that was held against the one is the other's, too."""
    return account is not None and before is not None and account.password_hash == before.password_hash


def _better(password: str, account: Account | None) -> str | None:
    """Hash a password anew where its hash was made with other parameters."""
    kept = account.password_hash if account else None
    return passwords.hashed(password) if kept is not None and passwords.outdated(kept) else None


# --- pieces


class _IdTaken(Exception):  # noqa: N818 - it names an outcome, and never leaves this module
    """Another was quicker: the link is not used up."""


def _welcomed(
    repository: Repository, key_sha256: str, comes: Person, password_hash: str, *, browser: Browser, now: datetime
) -> SignedIn | Refused:
    held = repository.people.account(comes.person_id, held=True)
    invitation = repository.people.invitation(key_sha256, now)
    if invitation is None or (held is not None and held.person.disabled_at is not None):
        return Refused(reason=Refusal.LINK_OVER)
    if held is not None and invitation.person_id is None:
        raise _IdTaken
    if repository.people.use(key_sha256, now) is None:
        return Refused(reason=Refusal.LINK_OVER)
    if held is not None:
        person, action = held.person, "password_set_by_link"
        repository.people.set_password(person.person_id, password_hash)
        repository.people.end_all_of(person.person_id)
        tries.forget(repository, person.person_id)
    else:
        person, action = comes, "person_joined"
        if not repository.people.add(comes, password_hash, now):
            raise _IdTaken
        _no_first_link(repository, comes.role)
    begun = _begin(repository, person, browser, now)
    detail = {"invited_by": invitation.made_by, "address": browser.address} | part(person.role, person.within)
    repository.audit.record(now, actor=person.actor, action=action, subject=person.actor, detail=detail)
    return begun


def _no_first_link(repository: Repository, role: Role) -> None:
    """Let the link for the first admin open nothing once there is one."""
    if role is Role.ADMIN:
        repository.people.withdraw_all_of(made_by=FIRST_START)


def _begin(repository: Repository, person: Person, browser: Browser, now: datetime) -> SignedIn:
    secret = keys.new_key()
    session = Session(
        session_id=secrets.token_hex(8),
        person_id=person.person_id,
        started_at=now,
        seen_at=now,
        address=_plain(browser.address, ADDRESS_CHARS_MAX),
        user_agent=_plain(browser.user_agent, USER_AGENT_CHARS_MAX),
    )
    repository.people.begin(session, keys.digest(secret))
    repository.people.end_oldest_beyond(person.person_id, SESSIONS_MAX)
    return SignedIn(secret=secret, signed=_signed(session, person))


def _signed(session: Session, person: Person) -> Signed:
    return Signed(
        session_id=session.session_id,
        person=person,
        started_at=session.started_at,
        ends_at=session.started_at + SESSION,
    )


def unusable(check: Callable[[], None]) -> Refused | None:
    """Say what a check of `domain.person` has against it."""
    try:
        check()
    except PersonRefused as error:
        return Refused(reason=_UNUSABLE[error.field])
    return None


def weak(password: str, person_id: str, name: str) -> Refused | None:
    """Say why somebody may not have this password."""
    weakness = passwords.weakness(password, person_id, name)
    return None if weakness is None else Refused(reason=_WEAK[weakness])


def part(role: Role, within: Within) -> dict[str, object]:
    """Write down a role and a part of the fleet for the audit log."""
    return {"role": role, "merchant_ids": sorted(within.merchant_ids), "store_ids": sorted(within.store_ids)}


def _plain(said: str, chars_max: int) -> str:
    return "".join(character if character.isprintable() else "?" for character in said)[:chars_max]
