"""Keys to the API: what each is called, how one is known by its looks, what it may do. How they are kept is `keys`'."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from tillwatch_collector import keys
from tillwatch_collector.domain.permission import EVERYWHERE, Within

PREFIX = "tw_"
"""Lets a scanner of repositories and logs know one when it sees one."""


class Scope(StrEnum):
    """What a token may do; each does only what it says, `admin` all."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Who is asking."""

    token_id: str
    name: str
    scopes: tuple[Scope, ...]
    within: Within = EVERYWHERE
    """The part of the fleet that it sees."""

    def may(self, needed: Scope) -> bool:
        """Whether the token has this scope."""
        return holds(self.scopes, needed)


def holds(scopes: Collection[Scope], needed: Scope) -> bool:
    """Whether one of `scopes` allows what `needed` names."""
    return needed in scopes or Scope.ADMIN in scopes


def new_secret() -> str:
    """Make a token: the only moment at which it is known in clear."""
    return PREFIX + keys.new_key()


def new_token_id() -> str:
    """Make the name under which a token is listed and revoked."""
    return secrets.token_hex(4)


def fingerprint(secret: str) -> str | None:
    """Hash a secret as it is stored; None for what cannot be one of ours."""
    return keys.digest(secret) if secret.startswith(PREFIX) and keys.could_be(secret) else None
