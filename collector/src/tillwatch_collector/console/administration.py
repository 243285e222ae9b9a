"""Pages of people and tokens: who may come in, and which programs.

A link or a token is shown on the page that answers its making, once; no address leads to it again.
A change violates this when a secret stands in an address that we make, or can be shown twice.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Form, Response

from tillwatch_collector import keyring, people, roster
from tillwatch_collector.api.problems import missing
from tillwatch_collector.console import narrowing
from tillwatch_collector.console.visit import Visit, visiting
from tillwatch_collector.domain.permission import Permission, Role
from tillwatch_collector.keyring import TokenRefused, TokenUnknown
from tillwatch_collector.people import Refusal, Refused
from tillwatch_collector.roster import Invited
from tillwatch_collector.store.audit import Audit, AuditFilter
from tillwatch_collector.store.inventory import Tokens
from tillwatch_collector.store.people import People
from tillwatch_collector.tokens import Scope

router = APIRouter(include_in_schema=False, prefix="/admin")

Administering = Annotated[Visit, visiting(Permission.ADMINISTER)]
Typed = Annotated[str, Form(max_length=200)]
Places = Annotated[str, Form(max_length=narrowing.TYPED_CHARS_MAX)]

ChosenRole = Annotated[Role, Form()]

LINES = 20
"""Of a person's page: what they did lately."""

DAYS = (30, 90, 365)
"""After which a token may end; PCI DSS has keys changed within a year, and nobody remembers one without an end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A form that comes back: what was typed, and what was wrong with it."""

    form: str = ""
    wrong: str = ""
    """A code of `administration_wrong`."""
    got: str = ""
    typed: dict[str, Any] = field(default_factory=dict)


_NOTHING = Draft()


# --- people


@router.get("/people")
def list_people(visit: Administering) -> Response:
    """Show who may come in, and the links that wait for somebody."""
    return visit.page("administration/people.html", **_people(visit), draft=_NOTHING)


@router.post("/people/invite")
def invite(
    visit: Administering, role: ChosenRole, person_id: Typed = "", merchants: Places = "", stores: Places = ""
) -> Response:
    """Make a link by which somebody comes in."""
    typed = {"role": role, "person_id": person_id, "merchants": merchants, "stores": stores}
    narrowed = narrowing.read(visit.context.store, merchants, stores)
    if narrowed.unknown:
        return _people_again(visit, Draft(form="invite", wrong="place_unknown", got=narrowed.unknown[0], typed=typed))
    invited = roster.invite(
        visit.context.store,
        by=visit.person.actor,
        role=role,
        within=narrowed.within,
        person_id=person_id.strip() or None,
        now=visit.now,
    )
    if isinstance(invited, Refused):
        return _people_again(visit, Draft(form="invite", wrong=invited.reason, got=person_id, typed=typed))
    return _link(visit, invited)


@router.post("/people/links/{invitation_id}/withdraw")
def withdraw(visit: Administering, invitation_id: str) -> Response:
    """Make a link worthless."""
    known = _is_id(invitation_id)
    refused = roster.withdraw(
        visit.context.store, by=visit.person.actor, invitation_id=invitation_id if known else "", now=visit.now
    )
    if refused is not None:
        raise missing("link", invitation_id[:80])
    return visit.back("/admin/people", said="link_withdrawn")


@router.get("/people/{person_id}")
def show_person(visit: Administering, person_id: str) -> Response:
    """Show one person: what they may, where they are signed in, what they did lately."""
    return visit.page("administration/person.html", **_person(visit, person_id), draft=_NOTHING)


@router.post("/people/{person_id}/part")
def change_part(
    visit: Administering, person_id: str, role: ChosenRole, merchants: Places = "", stores: Places = ""
) -> Response:
    """Give somebody another role, or another part of the fleet."""
    typed = {"role": role, "merchants": merchants, "stores": stores}
    narrowed = narrowing.read(visit.context.store, merchants, stores)
    if narrowed.unknown:
        draft = Draft(form="part", wrong="place_unknown", got=narrowed.unknown[0], typed=typed)
        return visit.refuse("administration/person.html", **_person(visit, person_id), draft=draft)
    refused = roster.change_part(
        visit.context.store,
        by=visit.person.actor,
        person_id=person_id,
        role=role,
        within=narrowed.within,
        now=visit.now,
    )
    return _done(visit, person_id, refused, Draft(form="part", typed=typed), said="person_changed")


@router.post("/people/{person_id}/disable")
def disable(visit: Administering, person_id: str) -> Response:
    """Let somebody in no more."""
    refused = roster.disable(visit.context.store, by=visit.person.actor, person_id=person_id, now=visit.now)
    return _done(visit, person_id, refused, Draft(form="door"), said="person_disabled")


@router.post("/people/{person_id}/enable")
def enable(visit: Administering, person_id: str) -> Response:
    """Let somebody in again."""
    refused = roster.enable(visit.context.store, by=visit.person.actor, person_id=person_id, now=visit.now)
    return _done(visit, person_id, refused, Draft(form="door"), said="person_enabled")


@router.post("/people/{person_id}/link")
def make_link(visit: Administering, person_id: str) -> Response:
    """Make a link by which somebody sets another password."""
    invited = roster.invite_back(visit.context.store, by=visit.person.actor, person_id=person_id, now=visit.now)
    if isinstance(invited, Refused):
        return _not_done(visit, person_id, invited, Draft(form="door"))
    return _link(visit, invited)


def _people(visit: Visit) -> dict[str, Any]:
    with visit.context.store.reading() as connection:
        rows = People(connection)
        return {"people": rows.all(), "invitations": rows.invitations(visit.now), "roles": tuple(Role)}


def _people_again(visit: Visit, draft: Draft) -> Response:
    return visit.refuse("administration/people.html", **_people(visit), draft=draft)


def _person(visit: Visit, person_id: str) -> dict[str, Any]:
    with visit.context.store.reading() as connection:
        rows = People(connection)
        account = rows.account(person_id)
        if account is None:
            raise missing("person", person_id[:80])
        person = account.person
        return {
            "person": person,
            "roles": tuple(Role),
            "merchants": narrowing.written(person.within.merchant_ids),
            "stores": narrowing.written(person.within.store_ids),
            "sessions": rows.sessions(person_id),
            "lines": Audit(connection).lines(AuditFilter(actor=person.actor), LINES),
        }


def _done(visit: Visit, person_id: str, refused: Refused | None, draft: Draft, *, said: str) -> Response:
    if refused is not None:
        return _not_done(visit, person_id, refused, draft)
    return visit.back(f"/admin/people/{person_id}", said=said)


def _not_done(visit: Visit, person_id: str, refused: Refused, draft: Draft) -> Response:
    if refused.reason is Refusal.UNKNOWN:
        raise missing("person", person_id[:80])
    again = Draft(form=draft.form, wrong=refused.reason, typed=draft.typed)
    return visit.refuse("administration/person.html", **_person(visit, person_id), draft=again)


def _link(visit: Visit, invited: Invited) -> Response:
    base_url = f"{visit.request.url.scheme}://{visit.request.url.netloc}"
    link = people.welcome_link(base_url, invited.key)
    return visit.page("administration/link.html", link=link, invitation=invited.invitation)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isalnum()


# --- tokens


@router.get("/tokens")
def list_tokens(visit: Administering) -> Response:
    """Show the keys to the API, without their secrets."""
    return visit.page("administration/tokens.html", **_tokens(visit), draft=_NOTHING)


@router.post("/tokens")
def make_token(
    visit: Administering,
    *,
    name: Typed = "",
    scopes: Annotated[list[Scope], Form()] = [],  # noqa: B006 - FastAPI copies it
    days: Annotated[int | None, Form(ge=1, le=keyring.LIFETIME_MAX.days)] = None,
    merchants: Places = "",
    stores: Places = "",
) -> Response:
    """Make a token, and show it once."""
    typed = {"name": name, "scopes": scopes, "days": days, "merchants": merchants, "stores": stores}
    narrowed = narrowing.read(visit.context.store, merchants, stores)
    if narrowed.unknown:
        return _tokens_again(visit, Draft(form="token", wrong="place_unknown", got=narrowed.unknown[0], typed=typed))
    try:
        made = keyring.make(
            visit.context.store,
            by=visit.person.actor,
            name=name.strip(),
            scopes=scopes,
            within=narrowed.within,
            lifetime=None if days is None else timedelta(days=days),
            now=visit.now,
        )
    except TokenRefused as error:
        return _tokens_again(visit, Draft(form="token", wrong=f"token_{error.field}", typed=typed))
    return visit.page("administration/token.html", secret=made.secret, token=made.token)


@router.post("/tokens/{token_id}/revoke")
def revoke_token(visit: Administering, token_id: str) -> Response:
    """End a token now."""
    try:
        keyring.revoke(visit.context.store, by=visit.person.actor, token_id=token_id, now=visit.now)
    except TokenUnknown:
        raise missing("token", token_id[:80]) from None
    return visit.back("/admin/tokens", said="token_revoked")


def _tokens(visit: Visit) -> dict[str, Any]:
    with visit.context.store.reading() as connection:
        found = Tokens(connection).all()
    return {"tokens": tuple(reversed(found)), "scopes": tuple(Scope), "days": DAYS}


def _tokens_again(visit: Visit, draft: Draft) -> Response:
    return visit.refuse("administration/tokens.html", HTTPStatus.UNPROCESSABLE_ENTITY, **_tokens(visit), draft=draft)
