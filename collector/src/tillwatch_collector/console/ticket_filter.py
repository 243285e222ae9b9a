"""What the address of the queue asks for, and the addresses that ask for something else.

An address is a link that people send each other: what it holds and nobody understands (any more) narrows nothing, and
the form beside the list shows so. A change violates this when what the form shows is not what the list is narrowed by.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode

from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import FINAL, Status
from tillwatch_collector.store.ticket_queries import TICKET_SORTS, SlaState, TicketFilter
from tillwatch_protocol.vocabulary import INTEGER_MAX

TEXT_CHARS_MAX = 200
PAGES_MAX = 100_000
AGES_H = (1, 4, 24, 72, 168)
"""An hour, a shift's half, a day, three, a week."""

OPEN, ALL = "open", "all"
GROUPS = (OPEN, ALL)
"""What is to be worked on, and everything; between them each status by itself."""
STATUSES = (OPEN, *Status, ALL)
MINE, NOBODYS, WATCHED = "mine", "nobodys", "watched"
WHOSE = (MINE, NOBODYS, WATCHED)

WORST_FIRST, LATEST_FIRST = "-severity", "-opened_at"
"""What is to be done, and what is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which tickets, in which order, which page of them, and which larger one is unfolded."""

    q: str | None = None
    whose: str | None = None
    status: str = OPEN
    severity: str | None = None
    sla: str | None = None
    age_h: int | None = None
    merchant_id: str | None = None
    store_id: str | None = None
    region: str | None = None
    terminal_id: str | None = None
    parent_id: int | None = None
    sort: str | None = None
    page: int = 1
    unfold: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Read the parameters of an address."""
        sort = given.get("sort", "")
        return cls(
            q=_text(given.get("q")),
            whose=_one_of(WHOSE, given.get("whose")),
            status=_one_of(STATUSES, given.get("status")) or OPEN,
            severity=_one_of(tuple(Severity), given.get("severity")),
            sla=_one_of(tuple(SlaState), given.get("sla")),
            age_h=_number(given.get("age_h"), AGES_H[-1]),
            merchant_id=_text(given.get("merchant_id")),
            store_id=_text(given.get("store_id")),
            region=_text(given.get("region")),
            terminal_id=_text(given.get("terminal_id")),
            parent_id=_number(given.get("parent_id"), INTEGER_MAX),
            sort=sort if sort.removeprefix("-") in TICKET_SORTS else None,
            page=_number(given.get("page"), PAGES_MAX) or 1,
            unfold=_number(given.get("unfold"), INTEGER_MAX),
        )

    @classmethod
    def of_query(cls, query: str) -> Self:
        """Read an address's own text, as a form brings it back."""
        return cls.of(dict(parse_qsl(query, max_num_fields=50)))

    @property
    def query(self) -> str:
        """The address that asks for this."""
        default = type(self)()
        said = {name: value for name, value in asdict(self).items() if value != getattr(default, name)}
        return urlencode(said)

    def but(self, **changes: Any) -> str:
        """Return the address that asks for something else, from its first page on."""
        return replace(self, **({"page": 1} | changes)).query

    @property
    def order(self) -> str:
        """By what the list is sorted."""
        return self.sort or (LATEST_FIRST if self.status in {ALL, *FINAL} else WORST_FIRST)

    @property
    def narrows(self) -> bool:
        """Whether it leaves out anything but by status; then parts are shown one by one."""
        return any(getattr(self, name) is not None for name in _NARROWING)

    @property
    def unseen(self) -> tuple[tuple[str, object], ...]:
        """What the form has no field for and keeps: it came with a link."""
        return tuple((name, getattr(self, name)) for name in _UNSEEN if getattr(self, name) is not None)

    def chosen(self, now: datetime, me: str) -> TicketFilter:
        """Return what the list is narrowed by; `me` is who asks, as `kind:id`."""
        is_group = self.status in GROUPS
        return TicketFilter(
            now=now,
            q=self.q,
            status=None if is_group else self.status,
            open=True if self.status == OPEN else None,
            resolved=False if self.status == OPEN else None,
            severity=self.severity,
            sla=self.sla,
            age_h_min=self.age_h,
            merchant_id=self.merchant_id,
            store_id=self.store_id,
            region=self.region,
            terminal_id=self.terminal_id,
            parent_id=self.parent_id,
            assignee=me if self.whose == MINE else None,
            unassigned=True if self.whose == NOBODYS else None,
            watcher=me if self.whose == WATCHED else None,
        )


_UNSEEN = ("region", "terminal_id", "parent_id", "sort")
_NARROWING = (
    "q",
    "whose",
    "severity",
    "sla",
    "age_h",
    "merchant_id",
    "store_id",
    "region",
    "terminal_id",
    "parent_id",
)


def _text(given: str | None) -> str | None:
    """Keep no control characters: nothing that is sought has any, and PostgreSQL takes no NUL."""
    said = "".join(character for character in given or "" if character.isprintable()).strip()
    return said[:TEXT_CHARS_MAX] or None


def _one_of(known: tuple[str, ...], given: str | None) -> str | None:
    return given if given in known else None


def _number(given: str | None, most: int) -> int | None:
    if given is None or not (given.isascii() and given.isdigit() and len(given) <= len(str(most))):
        return None
    return int(given) if 1 <= int(given) <= most else None
