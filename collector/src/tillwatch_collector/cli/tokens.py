"""Tokens: make, list, revoke."""

import re
from datetime import timedelta
from typing import Annotated

import typer

from tillwatch_collector import keyring
from tillwatch_collector.cli.options import ByOption, ConfigOption, JsonOption, author, now, opened
from tillwatch_collector.cli.output import say, say_json, say_table, warn
from tillwatch_collector.cli.people import MerchantsOption, StoresOption, shown, within
from tillwatch_collector.store.inventory import Tokens
from tillwatch_collector.tokens import Scope

commands = typer.Typer(help="Keys to the API, for programs.", no_args_is_help=True, rich_markup_mode=None)

_LIFETIME = re.compile(r"([1-9][0-9]{0,5})(m|h|d)")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@commands.command()
def create(
    *,
    name: Annotated[str, typer.Option("--name", help="Who will hold it.")],
    scope: Annotated[list[Scope], typer.Option("--scope", help="What it may do; give it again for more.")],
    merchant: MerchantsOption = None,
    store_id: StoresOption = None,
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", metavar="SPAN", help="After which it opens nothing: 90d, 12h, 30m.")
    ] = None,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token. It is shown once: only its hash is kept."""
    lifetime = None if expires_in is None else _lifetime(expires_in)
    with opened(config) as store:
        made = keyring.make(
            store,
            by=author(by).actor,
            name=name,
            scopes=scope,
            within=within(merchant, store_id),
            lifetime=lifetime,
            now=now(),
        )
    token = made.token
    if as_json:
        told = {"token_id": token.token_id, "token": made.secret, "scopes": token.scopes}
        say_json(told | {"expires_at": token.expires_at})
        return
    say(made.secret)
    warn(f"token {token.token_id} for {token.name} ({', '.join(token.scopes)}): keep it now, it is not shown again")


@commands.command("list")
def list_tokens(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List tokens, without their secrets."""
    with opened(config) as store, store.reading() as connection:
        found = Tokens(connection).all()
    if as_json:
        say_json(found)
        return
    columns = ("token_id", "name", "scopes", "sees", "created_at", "expires_at", "revoked_at")
    rows = (
        (t.token_id, t.name, ",".join(t.scopes), shown(t.within), t.created_at, t.expires_at, t.revoked_at)
        for t in found
    )
    say_table(columns, rows)


@commands.command()
def revoke(token_id: str, *, by: ByOption = None, config: ConfigOption = None) -> None:
    """End a token now."""
    with opened(config) as store:
        keyring.revoke(store, by=author(by).actor, token_id=token_id, now=now())
    say(f"token {token_id} is revoked")


def _lifetime(text: str) -> timedelta:
    found = _LIFETIME.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"expected a span such as 90d, 12h or 30m, got {text!r}", param_hint="--expires-in")
    return int(found[1]) * _UNITS[found[2]]
