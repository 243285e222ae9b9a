"""Tokens made and revoked, each in one transaction together with its line in the audit log: for console and commands.

A change violates this when a token opens the API and no line says who made it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tillwatch_collector import tokens
from tillwatch_collector.domain.permission import EVERYWHERE, Within
from tillwatch_collector.domain.person import PLACES_MAX
from tillwatch_collector.errors import CallerError
from tillwatch_collector.store.inventory import Token, Tokens
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope

LIFETIME_MAX = timedelta(days=3650)
NAME_CHARS_MAX = 100


class TokenRefused(CallerError):  # noqa: N818 - it names an outcome
    """What a token is asked to be cannot stand."""

    def __init__(self, field: str, expected: str, got: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {got!r}")
        self.field = field


class TokenUnknown(CallerError):  # noqa: N818
    """No such token, or it is revoked already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeToken:
    """A token that was made: the only moment at which its secret is known in clear."""

    secret: str
    token: Token


def make(
    store: Store,
    *,
    by: str,
    name: str,
    scopes: Sequence[Scope],
    within: Within = EVERYWHERE,
    lifetime: timedelta | None = None,
    now: datetime,
) -> MadeToken:
    """Make a token; raises `TokenRefused`. Without a lifetime it opens until it is revoked."""
    _check(name, scopes, within, lifetime)
    secret = tokens.new_secret()
    token = Token(
        token_id=tokens.new_token_id(),
        name=name,
        scopes=tuple(dict.fromkeys(scopes)),
        created_at=now,
        expires_at=None if lifetime is None else now + lifetime,
        revoked_at=None,
        within=within,
    )
    with store.transaction() as repository:
        Tokens(repository.connection).add(token, tokens.fingerprint(secret) or "")
        detail = {
            "name": name,
            "scopes": token.scopes,
            "merchant_ids": sorted(within.merchant_ids),
            "store_ids": sorted(within.store_ids),
            "expires_at": token.expires_at,
        }
        repository.audit.record(now, actor=by, action="token_made", subject=f"token:{token.token_id}", detail=detail)
    return MadeToken(secret=secret, token=token)


def revoke(store: Store, *, by: str, token_id: str, now: datetime) -> None:
    """End a token now; raises `TokenUnknown`."""
    with store.transaction() as repository:
        if not (token_id.isascii() and token_id.isalnum() and Tokens(repository.connection).revoke(token_id, now)):
            raise TokenUnknown(f"token_id: expected one that `token list` shows as not revoked, got {token_id[:80]!r}")
        repository.audit.record(now, actor=by, action="token_revoked", subject=f"token:{token_id}")


def _check(name: str, scopes: Sequence[Scope], within: Within, lifetime: timedelta | None) -> None:
    if not (name.isprintable() and name.strip() and len(name) <= NAME_CHARS_MAX):
        raise TokenRefused("name", f"1 to {NAME_CHARS_MAX} printable characters", name[:80])
    if not scopes:
        raise TokenRefused("scopes", f"at least one of {', '.join(Scope)}", "none")
    if Scope.ADMIN in scopes and not within.everywhere:
        raise TokenRefused("scopes", "a token with scope admin to be narrowed to nothing", Scope.ADMIN)
    count = len(within.merchant_ids) + len(within.store_ids)
    if count > PLACES_MAX:
        raise TokenRefused("within", f"at most {PLACES_MAX} merchants and stores", str(count))
    if lifetime is not None and not timedelta() < lifetime <= LIFETIME_MAX:
        raise TokenRefused("lifetime", f"more than nothing and at most {LIFETIME_MAX.days} days", str(lifetime))
