"""People: add, invite, list, give another role, disable. Whoever may run this has the machine, and may do all of it."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tillwatch_collector import app, passwords, people, roster
from tillwatch_collector.cli.options import ByOption, ConfigOption, JsonOption, author, now, opened, settings
from tillwatch_collector.cli.output import say, say_json, say_table, warn
from tillwatch_collector.config import CollectorConfig
from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.domain.person import Person
from tillwatch_collector.errors import CallerError
from tillwatch_collector.people import Refusal, Refused
from tillwatch_collector.roster import Invited
from tillwatch_collector.store.people import Invitation, People

commands = typer.Typer(help="Who may use the console.", no_args_is_help=True, rich_markup_mode=None)

RoleOption = Annotated[Role, typer.Option("--role", help="What they may do.")]
MerchantsOption = Annotated[
    list[str] | None, typer.Option("--merchant", help="See only this merchant's; give it again for more.")
]
StoresOption = Annotated[
    list[str] | None, typer.Option("--store", help="See only this store's; give it again for more.")
]

_SAID = {
    Refusal.LINK_OVER: "expected a link that is not used and not over",
    Refusal.ID_TAKEN: "expected an id that nobody has",
    Refusal.ID_UNUSABLE: "expected an id of 1 to 64 of a-z 0-9 . _ @ -, the first a letter or a digit",
    Refusal.NAME_UNUSABLE: "expected a name of 1 to 100 printable characters",
    Refusal.WITHIN_UNUSABLE: "expected an admin to be narrowed to nothing, others to at most 200 merchants and stores",
    Refusal.PASSWORD_SHORT: f"expected a password of at least {passwords.CHARS_MIN} characters",
    Refusal.PASSWORD_LONG: f"expected a password of at most {passwords.CHARS_MAX} characters",
    Refusal.PASSWORD_COMMON: "expected a password that is not among those that everybody tries first",
    Refusal.PASSWORD_OWN_NAME: "expected a password that is more than its owner's name",
    Refusal.UNKNOWN: "expected somebody whom `person list` shows as not disabled",
    Refusal.LAST_ADMIN: "expected another admin to be there: nobody would be left to administer",
}


class PersonNotChanged(CallerError):  # noqa: N818 - it names what is so
    """What was asked of a person cannot be done."""


@commands.command()
def add(
    person_id: str,
    *,
    name: Annotated[str, typer.Option("--name", help="What they are called.")],
    role: RoleOption,
    merchant: MerchantsOption = None,
    store_id: StoresOption = None,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a person with a password, asked for here or read from standard input; `invite` lets them choose it."""
    password = _password()
    with opened(config) as store:
        refused = roster.add(
            store,
            by=author(by).actor,
            person_id=person_id,
            name=name,
            password=password,
            role=role,
            within=within(merchant, store_id),
            now=now(),
        )
    _expect_done(refused)
    say(f"person {person_id} added")


@commands.command()
def invite(
    *,
    role: Annotated[Role | None, typer.Option("--role", help="What they may do; by default viewer.")] = None,
    merchant: MerchantsOption = None,
    store_id: StoresOption = None,
    person_id: Annotated[
        str | None, typer.Option("--id", help="The id they will have; by default they choose.")
    ] = None,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a link by which somebody comes in, once, within 24 hours."""
    with opened(config) as store:
        invited = roster.invite(
            store,
            by=author(by).actor,
            role=role or Role.VIEWER,
            within=within(merchant, store_id),
            person_id=person_id,
            now=now(),
        )
    _say_link(_expect_invited(invited), config, as_json=as_json)


@commands.command("password")
def password_of(
    person_id: str,
    *,
    link: Annotated[bool, typer.Option("--link", help="Make a link by which they set it themselves.")] = False,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set somebody's password, asked for here or read from standard input; they are signed out everywhere."""
    actor = author(by).actor
    if link:
        with opened(config) as store:
            invited = roster.invite_back(store, by=actor, person_id=person_id, now=now())
        _say_link(_expect_invited(invited), config, as_json=as_json)
        return
    password = _password()
    with opened(config) as store:
        refused = roster.set_password(store, by=actor, person_id=person_id, password=password, now=now())
    _expect_done(refused)
    say(f"person {person_id}: another password")


@commands.command("role")
def give_role(
    person_id: str,
    role: Role,
    *,
    merchant: MerchantsOption = None,
    store_id: StoresOption = None,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Give somebody a role, and the part of the fleet that they see: all of it, unless some is named."""
    part = within(merchant, store_id)
    with opened(config) as store:
        refused = roster.change_part(store, by=author(by).actor, person_id=person_id, role=role, within=part, now=now())
    _expect_done(refused)
    say(f"person {person_id}: {role}, {shown(part)}")


@commands.command()
def disable(person_id: str, *, by: ByOption = None, config: ConfigOption = None) -> None:
    """Let somebody in no more; they are signed out at once."""
    with opened(config) as store:
        refused = roster.disable(store, by=author(by).actor, person_id=person_id, now=now())
    _expect_done(refused)
    say(f"person {person_id} is disabled")


@commands.command()
def enable(person_id: str, *, by: ByOption = None, config: ConfigOption = None) -> None:
    """Let somebody in again."""
    with opened(config) as store:
        refused = roster.enable(store, by=author(by).actor, person_id=person_id, now=now())
    _expect_done(refused)
    say(f"person {person_id} may come in")


@commands.command("list")
def list_people(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List people."""
    with opened(config) as store, store.reading() as connection:
        found = People(connection).all()
    if as_json:
        say_json(found)
        return
    say_table(("id", "name", "role", "sees", "signed_in_at", "disabled_at"), map(_row, found))


def within(merchant: list[str] | None, store_id: list[str] | None) -> Within:
    """Read the options that narrow."""
    return Within(merchant_ids=frozenset(merchant or ()), store_ids=frozenset(store_id or ()))


def _row(person: Person) -> tuple[str | Role | datetime | None, ...]:
    return (
        person.person_id,
        person.name,
        person.role,
        shown(person.within),
        person.signed_in_at,
        person.disabled_at,
    )


def shown(part: Within) -> str:
    """Say which part of the fleet somebody sees."""
    return "everywhere" if part.everywhere else ", ".join(sorted(part.merchant_ids) + sorted(part.store_ids))


def _password() -> str:
    """Ask for a password, twice where somebody types it."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    typed: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    return typed


def _expect_done(refused: Refused | None) -> None:
    if refused is not None:
        raise PersonNotChanged(_SAID[refused.reason])


def _expect_invited(invited: Invited | Refused) -> Invited:
    if isinstance(invited, Refused):
        raise PersonNotChanged(_SAID[invited.reason])
    return invited


def _say_link(invited: Invited, config: Path | None, *, as_json: bool) -> None:
    link = people.welcome_link(_base_url(settings(config)), invited.key)
    invitation: Invitation = invited.invitation
    if as_json:
        say_json({"link": link, "invitation_id": invitation.invitation_id, "expires_at": invitation.expires_at})
        return
    say(link)
    warn(f"for one {invitation.role}, once, until {invitation.expires_at:%Y-%m-%d %H:%M} UTC: it is not shown again")


def _base_url(used: CollectorConfig) -> str:
    """Say where browsers find the collector: as the settings name it, as the one that runs says, or as it would."""
    if used.notify.base_url is not None:
        return used.notify.base_url
    try:
        told: str = json.loads((used.data_dir / app.SERVE_FILE).read_text(encoding="utf-8"))["web_url"]
    except (OSError, ValueError, KeyError):
        return f"{'https' if used.web.tls else 'http'}://{used.web.host}:{used.web.port}"
    return told
