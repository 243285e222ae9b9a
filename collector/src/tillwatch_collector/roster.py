"""What an admin does with people: invite, add, give another role, disable; and the link for the first admin.

Each is one transaction together with its line in the audit log. Whoever is given another role or another part of the
fleet, is disabled, or has their password set for them is signed out everywhere; the links that they made open nothing,
since they may not make them any more. Nobody is removed, since journals name
them, and somebody is always left to administer.

A change violates this when the last admin who can sign in is disabled, or becomes something else.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tillwatch_collector import keys, passwords
from tillwatch_collector.domain.permission import EVERYWHERE, Role, Within
from tillwatch_collector.domain.person import Person, check_name, check_person_id, check_within
from tillwatch_collector.people import FIRST_START, LINK, Refusal, Refused, part, unusable, weak
from tillwatch_collector.store.people import Invitation, People
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Invited:
    """A link that was made: the only moment at which its key is known in clear."""

    key: str
    invitation: Invitation


# --- one-time links


def invite(
    store: Store, *, by: str, role: Role, within: Within = EVERYWHERE, person_id: str | None = None, now: datetime
) -> Invited | Refused:
    """Make a link by which somebody becomes a person here, under an id of their choice or under this one."""
    refused = unusable(lambda: check_within(role, within))
    if person_id is not None:
        refused = refused or unusable(lambda: check_person_id(person_id))
    if refused is not None:
        return refused
    with store.transaction() as repository:
        if person_id is not None and repository.people.account(person_id) is not None:
            return Refused(reason=Refusal.ID_TAKEN)
        invited = _invited(repository, by=by, role=role, within=within, person_id=person_id, now=now)
        repository.audit.record(
            now,
            actor=by,
            action="person_invited",
            subject=f"person:{person_id}" if person_id else f"invitation:{invited.invitation.invitation_id}",
            detail=part(role, within) | {"expires_at": invited.invitation.expires_at},
        )
        return invited


def invite_back(store: Store, *, by: str, person_id: str, now: datetime) -> Invited | Refused:
    """Make a link by which somebody who forgot their password sets another one; earlier links of theirs are over."""
    with store.transaction() as repository:
        account = repository.people.account(person_id, held=True)
        if account is None or account.person.disabled_at is not None:
            return Refused(reason=Refusal.UNKNOWN)
        person = account.person
        repository.people.withdraw_all_of(person_id=person_id)
        invited = _invited(
            repository, by=by, role=person.role, within=person.within, person_id=person.person_id, now=now
        )
        detail = {"expires_at": invited.invitation.expires_at}
        repository.audit.record(now, actor=by, action="password_link_made", subject=person.actor, detail=detail)
        return invited


def first_link(store: Store, now: datetime) -> Invited | None:
    """Make the link by which the first admin comes in; None where there is one."""
    with store.transaction() as repository:
        if repository.people.has_admin():
            return None
        repository.people.withdraw_all_of(made_by=FIRST_START)
        invited = _invited(repository, by=FIRST_START, role=Role.ADMIN, within=EVERYWHERE, person_id=None, now=now)
        repository.audit.record(
            now,
            actor=FIRST_START,
            action="person_invited",
            subject=f"invitation:{invited.invitation.invitation_id}",
            detail=part(Role.ADMIN, EVERYWHERE) | {"expires_at": invited.invitation.expires_at},
        )
        return invited


# --- what an admin does with people


def add(
    store: Store, *, by: str, person_id: str, name: str, password: str, role: Role, within: Within, now: datetime
) -> Refused | None:
    """Make a person with a password, as whoever has the machine may."""
    refused = (
        unusable(lambda: check_person_id(person_id))
        or unusable(lambda: check_name(name))
        or unusable(lambda: check_within(role, within))
        or weak(password, person_id, name)
    )
    if refused is not None:
        return refused
    password_hash = passwords.hashed(password)
    person = Person(person_id=person_id, name=name, role=role, within=within)
    with store.transaction() as repository:
        if not repository.people.add(person, password_hash, now):
            return Refused(reason=Refusal.ID_TAKEN)
        repository.people.withdraw_all_of(person_id=person_id)
        if role is Role.ADMIN:
            repository.people.withdraw_all_of(made_by=FIRST_START)
        repository.audit.record(
            now, actor=by, action="person_added", subject=person.actor, detail=part(role, within) | {"name": name}
        )
        return None


def change_part(store: Store, *, by: str, person_id: str, role: Role, within: Within, now: datetime) -> Refused | None:
    """Give somebody another role, or another part of the fleet; their sessions end."""
    refused = unusable(lambda: check_within(role, within))
    if refused is not None:
        return refused
    with store.transaction() as repository:
        admins = repository.people.hold_admins()
        account = repository.people.account(person_id, held=True)
        if account is None:
            return Refused(reason=Refusal.UNKNOWN)
        person = account.person
        if role is not Role.ADMIN and admins == (person_id,):
            return Refused(reason=Refusal.LAST_ADMIN)
        if (person.role, person.within) == (role, within):
            return None
        repository.people.set_part(person_id, role, within)
        repository.people.withdraw_all_of(made_by=person.actor)
        detail = {"before": part(person.role, person.within), "after": part(role, within)}
        _end_all(repository, person, now, by=by, action="part_changed", detail=detail)
        return None


def disable(store: Store, *, by: str, person_id: str, now: datetime) -> Refused | None:
    """Let somebody in no more; their sessions and links end at once."""
    with store.transaction() as repository:
        admins = repository.people.hold_admins()
        account = repository.people.account(person_id, held=True)
        if account is None:
            return Refused(reason=Refusal.UNKNOWN)
        if admins == (person_id,):
            return Refused(reason=Refusal.LAST_ADMIN)
        if account.person.disabled_at is None:
            repository.people.set_disabled(person_id, now)
            repository.people.withdraw_all_of(person_id=person_id)
            repository.people.withdraw_all_of(made_by=account.person.actor)
            _end_all(repository, account.person, now, by=by, action="person_disabled", detail={})
        return None


def enable(store: Store, *, by: str, person_id: str, now: datetime) -> Refused | None:
    """Let somebody in again, by the password that they had."""
    with store.transaction() as repository:
        account = repository.people.account(person_id, held=True)
        if account is None:
            return Refused(reason=Refusal.UNKNOWN)
        if account.person.disabled_at is not None:
            repository.people.set_disabled(person_id, None)
            repository.audit.record(now, actor=by, action="person_enabled", subject=account.person.actor)
        return None


def withdraw(store: Store, *, by: str, invitation_id: str, now: datetime) -> Refused | None:
    """Make a link worthless before it is used."""
    with store.transaction() as repository:
        if not repository.people.withdraw(invitation_id):
            return Refused(reason=Refusal.LINK_OVER)
        repository.audit.record(now, actor=by, action="link_withdrawn", subject=f"invitation:{invitation_id}")
        return None


def set_password(store: Store, *, by: str, person_id: str, password: str, now: datetime) -> Refused | None:
    """Set somebody's password for them, as whoever has the machine may; all their sessions end."""
    with store.reading() as connection:
        account = People(connection).account(person_id)
    if account is None:
        return Refused(reason=Refusal.UNKNOWN)
    refused = weak(password, person_id, account.person.name)
    if refused is not None:
        return refused
    password_hash = passwords.hashed(password)
    with store.transaction() as repository:
        repository.people.account(person_id, held=True)
        repository.people.set_password(person_id, password_hash)
        _end_all(repository, account.person, now, by=by, action="password_set", detail={})
        return None


# --- pieces


def _invited(
    repository: Repository, *, by: str, role: Role, within: Within, person_id: str | None, now: datetime
) -> Invited:
    key = keys.new_key()
    invitation = Invitation(
        invitation_id=secrets.token_hex(4),
        person_id=person_id,
        role=role,
        within=within,
        made_by=by,
        made_at=now,
        expires_at=now + LINK,
    )
    repository.people.invite(invitation, keys.digest(key))
    return Invited(key=key, invitation=invitation)


def _end_all(
    repository: Repository, person: Person, now: datetime, *, by: str, action: str, detail: Mapping[str, object]
) -> None:
    ended = repository.people.end_all_of(person.person_id)
    repository.audit.record(
        now, actor=by, action=action, subject=person.actor, detail={**detail, "sessions_ended": ended}
    )
