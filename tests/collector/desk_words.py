"""The service desk's pages in a test's own words: what a page offers, what it says, and what it must never be."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from httpx2 import Response
from tests.collector.shell_fixtures import NOW

from tillwatch_collector.domain.ticket import Status, TicketIdentity
from tillwatch_collector.flows.changes import Why
from tillwatch_collector.flows.tickets import open_or_recur
from tillwatch_collector.policies import load as load_policy
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tickets import Entry

HOSTILE = "<img src=x onerror=alert(1)>\"'></script><b>"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
FRAME = frozenset({"/theme", "/language", "/signout"})
"""Forms of every page."""


@dataclass
class Form:
    """A form, with what it would send as it stands."""

    action: str
    method: str
    values: dict[str, str] = field(default_factory=dict)


class Seen(HTMLParser):
    """A page, as far as a test looks at it."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.scripted: list[str] = []
        self.tags: set[str] = set()
        self._area: str | None = None
        self.said = ""
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.scripted += [f"{tag} {name}" for name in given if name.startswith("on") or name == "style"]
        if tag == "form":
            self.forms.append(Form(action=given.get("action", ""), method=given.get("method", "get")))
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif self.forms and "name" in given and tag in {"input", "textarea"}:
            is_left_out = given.get("type") in {"radio", "checkbox"} and "checked" not in given
            if not is_left_out:
                self.forms[-1].values[given["name"]] = given.get("value", "")
            self._area = given["name"] if tag == "textarea" else None

    def handle_endtag(self, tag: str) -> None:
        self._area = None if tag == "textarea" else self._area

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self.forms[-1].values[self._area] += data
        self.said += f"{data} "

    @property
    def own_forms(self) -> list[Form]:
        """Without those of the frame."""
        return [form for form in self.forms if form.action not in FRAME and form.method != "dialog"]

    def form(self, action: str) -> Form:
        """The first form that changes something there."""
        return next(form for form in self.forms if form.action == action and form.method == "post")

    @property
    def rows(self) -> list[int]:
        """The numbers of the tickets that lead on by a link of their own, in their order."""
        found = [re.fullmatch(r"/tickets/(\d+)", link) for link in self.links]
        return list(dict.fromkeys(int(one[1]) for one in found if one))

    @property
    def text(self) -> str:
        """What a person reads."""
        return re.sub(r"\s+", " ", self.said)


def fault(
    store: Store,
    terminal_id: str = "t-1",
    code: str = "paper_end",
    component: str = "pos_printer:kitchen",
    *,
    parent_id: int | None = None,
    **evidence: Any,
) -> int:
    """The machine finds something; the ticket's number."""
    kind = "terminal" if terminal_id.startswith("t-") else "carrier"
    identity = TicketIdentity(subject_kind=kind, subject_id=terminal_id, component=component, code=code)
    with store.transaction() as repository:
        why = Why(actor="machine:judge", reason=f"{code} on {component} for 60 s", evidence=evidence)
        rule = load_policy(None).rule(code)
        return open_or_recur(repository, identity, rule, why, NOW, parent_id=parent_id).ticket_id


def put(store: Store, ticket_id: int, status: Status, **columns: Any) -> None:
    """A ticket stands somewhere, however it came there."""
    with store.transaction() as repository:
        repository.tickets.move(ticket_id, status, NOW, **columns)
        repository.tickets.write_journal(_line(ticket_id, status))


def change(store: Store, ticket_id: int, **columns: Any) -> None:
    with store.transaction() as repository:
        repository.tickets.change(ticket_id, NOW, **columns)
        ticket = repository.tickets.get(ticket_id)
        assert ticket is not None
        repository.tickets.write_journal(_line(ticket_id, ticket.status))


def _line(ticket_id: int, status: str) -> Entry:
    """What every change of a ticket writes beside it."""
    return Entry(
        ticket_id=ticket_id,
        at=NOW,
        actor="machine:judge",
        action="assign",
        from_status=status,
        to_status=status,
        reason="",
    )


def status_of(store: Store, ticket_id: int) -> str:
    with store.transaction() as repository:
        ticket = repository.tickets.get(ticket_id)
    assert ticket is not None
    return str(ticket.status)
