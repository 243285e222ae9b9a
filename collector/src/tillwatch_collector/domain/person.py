"""Who uses the console, and what is said of them that can stand.

A person's id is what they sign in with and what journals call them (`person:ann`): lower case, so that two spellings
are not two people. It is never given to another one.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from tillwatch_collector.domain.permission import EVERYWHERE, Permission, Role, Within, may
from tillwatch_collector.errors import CallerError

IDLE = timedelta(hours=1)
"""After which a session that nobody used is over."""
SESSION = timedelta(hours=12)
"""After which any session is over: a working day; then the person shows who they are again."""

NAME_CHARS_MAX = 100
PLACES_MAX = 200
"""Merchants and stores that somebody is narrowed to; each stands in every query's condition."""

_PERSON_ID = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class PersonRefused(CallerError):  # noqa: N818 - it names an outcome
    """What is said of a person cannot stand."""

    def __init__(self, field: str, expected: str, got: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {got!r}")
        self.field = field
        self.expected = expected
        self.got = got


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """Somebody who signs in."""

    person_id: str
    name: str
    role: Role
    within: Within = EVERYWHERE
    language: str | None = None
    """As they chose it; None: as their browser does."""
    created_at: datetime | None = None
    disabled_at: datetime | None = None
    signed_in_at: datetime | None = None

    def may(self, permission: Permission) -> bool:
        """Whether they are allowed something."""
        return may(self.role, self.within, permission)

    @property
    def actor(self) -> str:
        """How journals and the audit log name them."""
        return f"person:{self.person_id}"


def as_login(typed: str) -> str:
    """Read what somebody typed as their id."""
    return typed.strip().lower()


def can_be_id(person_id: str) -> bool:
    """Whether somebody may have this id."""
    return _PERSON_ID.fullmatch(person_id) is not None


def check_person_id(person_id: str) -> None:
    """Raise `PersonRefused` for what cannot be an id."""
    if not can_be_id(person_id):
        expected = "1 to 64 of a-z 0-9 . _ @ -, the first a letter or a digit"
        raise PersonRefused("person_id", expected, person_id[:80])


def check_name(name: str) -> None:
    """Raise `PersonRefused` for what cannot be a name."""
    if not (name.isprintable() and name.strip() and len(name) <= NAME_CHARS_MAX):
        raise PersonRefused("name", f"1 to {NAME_CHARS_MAX} printable characters", name[:80])


def check_within(role: Role, within: Within) -> None:
    """Raise `PersonRefused` where a role and a part of the fleet do not go together."""
    count = len(within.merchant_ids) + len(within.store_ids)
    if count > PLACES_MAX:
        raise PersonRefused("within", f"at most {PLACES_MAX} merchants and stores", str(count))
    if role is Role.ADMIN and not within.everywhere:
        raise PersonRefused("within", "an admin to be narrowed to nothing", f"{count} merchants and stores")
