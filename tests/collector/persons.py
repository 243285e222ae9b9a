"""People who are signed in, as a test's browser: a cookie, and the token that our pages put into their forms."""

from typing import Final

from fastapi.testclient import TestClient
from tests.collector.shell_fixtures import ORIGIN, Web

from tillwatch_collector import people, roster
from tillwatch_collector.console import cookies, csrf
from tillwatch_collector.domain.permission import EVERYWHERE, Role, Within
from tillwatch_collector.people import SignedIn

PASSWORD: Final = "two lamps on a green table"


def joined(web: Web, person_id: str, role: Role, within: Within = EVERYWHERE) -> SignedIn:
    """Bring somebody in by a one-time link."""
    invited = roster.invite(web.database, by="person:root", role=role, within=within, now=web.now)
    assert isinstance(invited, roster.Invited), invited
    came = people.welcome(
        web.database, key=invited.key, person_id=person_id, name=person_id.title(), password=PASSWORD, now=web.now
    )
    assert isinstance(came, SignedIn), came
    return came


def browser(web: Web, came: SignedIn | None = None, **headers: str) -> TestClient:
    """Return somebody's browser, or that of nobody; it sends what one of ours pages would have it send."""
    sends = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", **headers}
    client = TestClient(web.application, base_url=ORIGIN, headers=sends, follow_redirects=False, cookies={})
    if came is not None:
        client.cookies.set(cookies.session_name(web.settings), came.secret)
        client.headers[csrf.HEADER] = form_token(came)
    return client


def form_token(came: SignedIn) -> str:
    """Return what a form on one of this session's pages holds."""
    return csrf.issue(csrf.key_of(came.secret))
