"""What the address of the fleet's page asks for, and the addresses that ask for something else.

An address is a link that people send each other: what it holds and nobody understands narrows nothing, and the form
above the list shows so. Region and merchant narrow the picture and the list, all else the list alone. A change violates
this when what the form shows is not what the list is narrowed by.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self
from urllib.parse import urlencode

from tillwatch_collector.domain.census import WORST_FIRST
from tillwatch_collector.domain.inventory import LifeCycle
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.presence import State as Presence
from tillwatch_collector.store.queries import Paging
from tillwatch_collector.store.terminal_list import DEFAULT_SORT, SORTS, ListFilter

TEXT_CHARS_MAX = 200
OFFSET_MAX = 10_000_000
ROWS = 50
"""What a person looks through; the file has all."""

STATES = tuple(WORST_FIRST)
PRESENCES = (Presence.ONLINE, Presence.LATE, Presence.SILENT, Presence.OFF, Presence.UNKNOWN)
"""What is well first, what is not known last."""
SEVERITIES = (Severity.CRITICAL, Severity.MAJOR, Severity.MINOR, Severity.INFO)
LIFE_CYCLES = tuple(LifeCycle)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which terminals, in which order, which page of them."""

    q: str | None = None
    region: str | None = None
    merchant: str | None = None
    store: str | None = None
    state: str | None = None
    presence: str | None = None
    severity: str | None = None
    life_cycle: str | None = None
    brand: str | None = None
    version: str | None = None
    sort: str = DEFAULT_SORT
    offset: int = 0

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Read the parameters of an address."""
        texts = {name: _text(given.get(name)) for name in ("q", "region", "merchant", "store", "brand", "version")}
        sort = given.get("sort", "")
        return cls(
            **texts,
            state=_one_of(STATES, given.get("state")),
            presence=_one_of(PRESENCES, given.get("presence")),
            severity=_one_of(SEVERITIES, given.get("severity")),
            life_cycle=_one_of(LIFE_CYCLES, given.get("life_cycle")),
            sort=sort if sort.removeprefix("-") in SORTS else DEFAULT_SORT,
            offset=_number(given.get("offset")),
        )

    @property
    def query(self) -> str:
        """Its address, after the question mark; what is as always is not said."""
        return urlencode({name: value for name, value in asdict(self).items() if value != _ALWAYS[name]})

    def with_(self, **changes: Any) -> str:
        """Return the query of another one, from its first page on."""
        return replace(self, **({"offset": 0} | changes)).query

    @property
    def narrowed(self) -> bool:
        """Whether the list shows less than all."""
        return replace(self, sort=DEFAULT_SORT, offset=0) != Asked()

    @property
    def chosen(self) -> ListFilter:
        """The filter of the list."""
        return ListFilter(
            q=self.q,
            region=self.region,
            merchant_id=self.merchant,
            store_id=self.store,
            state=self.state,
            presence=self.presence,
            severity=self.severity,
            life_cycle=self.life_cycle,
            brand=self.brand,
            version=self.version,
        )

    @property
    def paging(self) -> Paging:
        """The part of the list."""
        return Paging(limit=ROWS, offset=self.offset, sort=self.sort)


_ALWAYS = asdict(Asked())


def _text(given: str | None) -> str | None:
    """Take a text that a column could hold: PostgreSQL takes no NUL."""
    kept = "".join(letter for letter in given or "" if letter.isprintable()).strip()[:TEXT_CHARS_MAX]
    return kept or None


def _one_of(known: tuple[str, ...], given: str | None) -> str | None:
    return next((str(one) for one in known if one == given), None)


def _number(given: str | None) -> int:
    if given is None or not (given.isascii() and given.isdigit()) or len(given) > len(str(OFFSET_MAX)):
        return 0
    return min(int(given), OFFSET_MAX)
