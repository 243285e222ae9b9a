"""One's own account: the password, and where one is signed in.

A change violates this when somebody can see or end here what is another's.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Response

from tillwatch_collector import people
from tillwatch_collector.console import cookies
from tillwatch_collector.console.visit import SignInNeeded, Visit, visiting
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.people import Signed
from tillwatch_collector.store.people import People

router = APIRouter(include_in_schema=False, prefix="/account")

Seeing = Annotated[Visit, visiting(Permission.SEE)]
Secret = Annotated[str, Form(max_length=2_000)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unchanged:
    """Why the password stays as it is."""

    why: str = ""
    """A code of `administration_wrong`."""
    wait_s: float = 0.0


@router.get("")
def show_account(visit: Seeing) -> Response:
    """Show who one is here, and where one is signed in."""
    return _shown(visit, Unchanged())


@router.post("/password")
def change_password(visit: Seeing, old: Secret = "", new: Secret = "", again: Secret = "") -> Response:
    """Change one's password; one's other sessions end."""
    if new != again:
        return _shown(visit, Unchanged(why="password_differs"))
    refused = people.change_password(visit.context.store, _signed(visit), old=old, new=new, now=visit.now)
    if refused is not None:
        return _shown(visit, Unchanged(why=refused.reason, wait_s=refused.wait_s))
    return visit.back("/account", said="password_changed")


@router.post("/sessions/end")
def end_others(visit: Seeing) -> Response:
    """Sign out everywhere else."""
    people.end_sessions(visit.context.store, _signed(visit), now=visit.now)
    return visit.back("/account", said="sessions_ended")


@router.post("/sessions/{session_id}/end")
def end_one(visit: Seeing, session_id: str) -> Response:
    """Sign one other browser out."""
    if session_id.isascii() and session_id.isalnum():
        people.end_sessions(visit.context.store, _signed(visit), session_id=session_id, now=visit.now)
    return visit.back("/account", said="sessions_ended")


def _shown(visit: Visit, unchanged: Unchanged) -> Response:
    signed = _signed(visit)
    with visit.context.store.reading() as connection:
        sessions = People(connection).sessions(signed.person.person_id)
    values: dict[str, Any] = {
        "person": signed.person,
        "sessions": sessions,
        "here": signed.session_id,
    }
    show = visit.refuse if unchanged.why else visit.page
    return show("administration/account.html", **values, unchanged=unchanged)


def _signed(visit: Visit) -> Signed:
    secret = cookies.session(visit.request, visit.context.settings)
    signed = people.find(visit.context.store, secret, visit.now)
    if signed is None:
        raise SignInNeeded
    return signed
