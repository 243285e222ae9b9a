"""Tokens: make, list, revoke."""

from datetime import timedelta
from typing import Annotated

import typer

from tillwatch_collector import tokens
from tillwatch_collector.cli.options import ConfigOption, JsonOption, now, opened
from tillwatch_collector.cli.output import say, say_json, say_table, warn
from tillwatch_collector.errors import CallerError
from tillwatch_collector.store.inventory import Token, Tokens
from tillwatch_collector.tokens import Scope

commands = typer.Typer(help="Keys to the API and the page.", no_args_is_help=True, rich_markup_mode=None)

DAYS_MAX = 3650
NAME_CHARACTERS_MAX = 100


class TokenUnknown(CallerError):  # noqa: N818 - it names what is so
    """No such token, or it is revoked already."""


@commands.command()
def create(
    *,
    name: Annotated[str, typer.Option("--name", help="Who will hold it.")],
    scope: Annotated[list[Scope], typer.Option("--scope", help="What it may do; give it again for more.")],
    days: Annotated[int | None, typer.Option("--days", min=1, max=DAYS_MAX, help="After which it expires.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token. It is shown once: only its hash is kept."""
    if not (name.isprintable() and 1 <= len(name) <= NAME_CHARACTERS_MAX):
        raise typer.BadParameter(f"expected 1 to {NAME_CHARACTERS_MAX} printable characters", param_hint="--name")
    at, secret = now(), tokens.new_secret()
    token = Token(
        token_id=tokens.new_token_id(),
        name=name,
        scopes=tuple(dict.fromkeys(scope)),
        created_at=at,
        expires_at=None if days is None else at + timedelta(days=days),
        revoked_at=None,
    )
    with opened(config) as store, store.transaction() as repository:
        Tokens(repository.connection).add(token, tokens.fingerprint(secret) or "")
    if as_json:
        say_json({"token_id": token.token_id, "token": secret, "scopes": token.scopes, "expires_at": token.expires_at})
        return
    say(secret)
    warn(f"token {token.token_id} for {token.name} ({', '.join(token.scopes)}): keep it now, it is not shown again")


@commands.command("list")
def list_tokens(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List tokens, without their secrets."""
    with opened(config) as store, store.reading() as connection:
        found = Tokens(connection).all()
    if as_json:
        say_json(found)
        return
    columns = ("token_id", "name", "scopes", "created_at", "expires_at", "revoked_at")
    rows = ((t.token_id, t.name, ",".join(t.scopes), t.created_at, t.expires_at, t.revoked_at) for t in found)
    say_table(columns, rows)


@commands.command()
def revoke(token_id: str, *, config: ConfigOption = None) -> None:
    """End a token now."""
    with opened(config) as store, store.transaction() as repository:
        revoked = Tokens(repository.connection).revoke(token_id, now())
    if not revoked:
        raise TokenUnknown(f"token_id: expected one that `token list` shows as not revoked, got {token_id!r}")
    say(f"token {token_id} is revoked")
