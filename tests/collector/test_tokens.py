from datetime import timedelta

import pytest
from sqlalchemy import text
from tests.collector.shell_fixtures import NOW

from tillwatch_collector import tokens
from tillwatch_collector.store.inventory import Token, Tokens
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Principal, Scope

DAY = timedelta(days=1)


def keep(store: Store, **changes: object) -> str:
    """Keep a token; its secret."""
    secret = tokens.new_secret()
    fields = {"token_id": "a1", "name": "ann", "scopes": (Scope.READ,), "created_at": NOW, "expires_at": None}
    token = Token(**(fields | {"revoked_at": None} | changes))  # type: ignore[arg-type]  # the table below is right
    with store.transaction() as repository:
        Tokens(repository.connection).add(token, tokens.fingerprint(secret) or "")
    return secret


def holder(store: Store, secret: str, at: object = NOW) -> Principal | None:
    fingerprint = tokens.fingerprint(secret)
    assert fingerprint is not None
    with store.reading() as connection:
        return Tokens(connection).holder(fingerprint, at)  # type: ignore[arg-type]  # a time


def test_a_secret_has_256_random_bits_and_is_known_by_its_prefix() -> None:
    secrets = {tokens.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith("tw_") and len(secret) == 3 + 43 for secret in secrets)


@pytest.mark.parametrize("wrong", ["", "tw", "xx_" + "a" * 43, "tw_" + "a" * 200])
def test_what_cannot_be_one_of_ours_is_not_even_looked_up(wrong: str) -> None:
    assert tokens.fingerprint(wrong) is None


def test_the_holder_of_a_token_is_found(store: Store) -> None:
    secret = keep(store, scopes=(Scope.READ, Scope.WRITE))
    assert holder(store, secret) == Principal(token_id="a1", name="ann", scopes=(Scope.READ, Scope.WRITE))
    assert holder(store, tokens.new_secret()) is None


def test_only_the_hash_is_kept(store: Store) -> None:
    secret = keep(store)
    with store.reading() as connection:
        row = connection.execute(text("SELECT * FROM token")).one()
    assert secret not in str(row)
    assert secret.removeprefix("tw_") not in str(row)


@pytest.mark.parametrize(("expires_at", "found"), [(NOW + DAY, True), (NOW, False), (NOW - DAY, False)])
def test_a_token_expires(store: Store, expires_at: object, found: bool) -> None:
    secret = keep(store, expires_at=expires_at)
    assert (holder(store, secret) is not None) is found


def test_a_revoked_token_opens_nothing_and_is_revoked_once(store: Store) -> None:
    secret = keep(store)
    with store.transaction() as repository:
        assert Tokens(repository.connection).revoke("a1", NOW)
    with store.transaction() as repository:
        assert not Tokens(repository.connection).revoke("a1", NOW + DAY)
        assert not Tokens(repository.connection).revoke("nobody", NOW)
    assert holder(store, secret) is None
    with store.reading() as connection:
        (listed,) = Tokens(connection).all()
    assert listed.revoked_at == NOW


@pytest.mark.parametrize(
    ("scopes", "needed", "may"),
    [
        ((Scope.READ,), Scope.READ, True),
        ((Scope.READ,), Scope.WRITE, False),
        ((Scope.WRITE,), Scope.READ, False),  # each does what it says
        ((Scope.ADMIN,), Scope.READ, True),
        ((Scope.ADMIN,), Scope.WRITE, True),
        ((), Scope.READ, False),
    ],
)
def test_a_scope_allows_what_it_says(scopes: tuple[Scope, ...], needed: Scope, may: bool) -> None:
    assert Principal(token_id="a1", name="ann", scopes=scopes).may(needed) is may
