"""Pages of the inventory: merchants, stores, terminals, and the import of terminals from CSV.

Who sees a part of the fleet only finds that part, and changes nothing out of it. A file is shown row by row, with what
each would do, before anything is done; the text travels in the page between the two, so that nobody has to choose it
twice. A change violates this when a page writes what `flows.inventory` was not asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from itertools import groupby
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Response, UploadFile
from pydantic import BaseModel, Field, ValidationError

from tillwatch_collector.api.problems import missing
from tillwatch_collector.console.visit import Forbidden, Visit, visiting
from tillwatch_collector.domain.inventory import (
    CellError,
    ImportOutcome,
    ImportRefused,
    LifeCycle,
    Merchant,
    Store,
    Terminal,
    WatchMode,
    Weekday,
    parse_holidays_text,
    parse_hours_text,
    parse_terminals,
)
from tillwatch_collector.domain.permission import Permission, Within
from tillwatch_collector.errors import HoursInvalid
from tillwatch_collector.flows import inventory as describing
from tillwatch_collector.imports import import_terminals
from tillwatch_collector.store.inventory import Inventory, RowReport, UnknownReference
from tillwatch_collector.store.queries import Paging, Queries, TerminalFilter
from tillwatch_protocol.vocabulary import INTEGER_MAX

router = APIRouter(include_in_schema=False, prefix="/admin/inventory")

Arranging = Annotated[Visit, visiting(Permission.ARRANGE)]
Text = Annotated[str, Field(max_length=20_000)]
"""The holidays of years are the longest of them."""

ROWS = 50
IMPORT_BYTES_MAX = 1024 * 1024
"""Some ten thousand terminals: the file travels in the page once more. Larger ones go by the API or by the command."""
REFUSED_MAX = 200
"""Rows of a file that are told one by one: who has more mends the file's pattern, not each of them."""

Known = Merchant | Store | Terminal


class What(StrEnum):
    """What there is, as addresses name it."""

    MERCHANTS = "merchants"
    STORES = "stores"
    TERMINALS = "terminals"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of a form."""

    name: str
    value: str = ""
    wrong: bool = False
    needed: bool = False
    fixed: bool = False
    """It says what this is, and stays."""
    choices: tuple[str, ...] = ()
    kind: str = "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A form that was sent: what was typed, and which of it cannot stand."""

    typed: Mapping[str, str] = field(default_factory=dict)
    wrong: frozenset[str] = frozenset()
    why: str = ""
    """A code of `inventory_wrong`, of the whole form."""
    detail: str = ""


class Told(BaseModel):
    """What a form of any of them may hold."""

    merchant_id: Text = ""
    store_id: Text = ""
    terminal_id: Text = ""
    name: Text = ""
    address: Text = ""
    region: Text = ""
    time_zone: Text = ""
    opening_hours: Text = ""
    holidays: Text = ""
    watch: Text = ""
    carrier: Text = ""
    contract: Text = ""
    brand: Text = ""
    model: Text = ""
    serial_number: Text = ""
    purchase_date: Text = ""
    life_cycle: Text = ""


_CHOICES = {"watch": tuple(WatchMode), "life_cycle": tuple(LifeCycle)}
_NEEDED = frozenset({"merchant_id", "store_id", "terminal_id", "name", "time_zone"})
_FIELDS = {
    What.MERCHANTS: ("merchant_id", "name"),
    What.STORES: (
        "store_id",
        "merchant_id",
        "name",
        "address",
        "region",
        "time_zone",
        "opening_hours",
        "holidays",
        "watch",
        "carrier",
        "contract",
    ),
    What.TERMINALS: ("terminal_id", "store_id", "brand", "model", "serial_number", "purchase_date", "life_cycle"),
}


# --- lists


@router.get("")
def show_start(visit: Arranging) -> Response:
    """Show the stores: what most come for."""
    return show_list(visit, What.STORES)


@router.get("/import")
def ask_import(visit: Arranging) -> Response:
    """Ask for a file of terminals."""
    _expect_everywhere(visit)
    return visit.page("administration/import.html", text="", wrong="", preview=None)


@router.get("/{what}")
def show_list(
    visit: Arranging,
    what: What,
    q: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0, le=INTEGER_MAX)] = 0,
) -> Response:
    """Show what there is of one kind."""
    sought = q.strip() if q.isprintable() else ""
    paging = Paging(limit=ROWS, offset=offset, sort=_FIELDS[what][0])
    with visit.reading() as queries:
        page = _found(queries, what, paging, sought or None)
    return visit.page(
        "administration/inventory.html",
        what=what,
        whats=tuple(What),
        key=_FIELDS[what][0],
        may_add=_may_add(visit.person.within, what),
        q=q,
        page=page,
        href=lambda start: f"/admin/inventory/{what}?{urlencode({'q': q, 'offset': start})}",
    )


def _found(queries: Queries, what: What, paging: Paging, q: str | None) -> Any:
    match what:
        case What.MERCHANTS:
            return queries.merchants(paging, q=q)
        case What.STORES:
            return queries.stores(paging, q=q)
        case What.TERMINALS:
            return queries.terminals(TerminalFilter(q=q), paging)


# --- one of them


@router.get("/{what}/new")
def ask_new(visit: Arranging, what: What) -> Response:
    """Ask for what is to be described."""
    return _form(visit, what, None, Draft(typed={"life_cycle": LifeCycle.LIVE, "watch": WatchMode.ALWAYS}))


@router.get("/{what}/{name}")
def ask_change(visit: Arranging, what: What, name: str) -> Response:
    """Show one of them, to be changed."""
    return _form(visit, what, name, Draft(typed=_written(_known(visit, what, name))))


@router.post("/{what}/new")
def add(visit: Arranging, what: What, told: Annotated[Told, Form()]) -> Response:
    """Describe something new."""
    return _kept(visit, what, None, told)


@router.post("/{what}/{name}")
def change(visit: Arranging, what: What, name: str, told: Annotated[Told, Form()]) -> Response:
    """Describe something anew."""
    _known(visit, what, name)
    return _kept(visit, what, name, told)


def _kept(visit: Visit, what: What, name: str | None, told: Told) -> Response:
    key, typed = _FIELDS[what][0], _typed(what, told)
    typed |= {} if name is None else {key: name}
    try:
        value = _value(what, typed)
        with visit.context.store.transaction() as repository:
            _, find = _READ[what]
            if name is None and find(Inventory(repository.connection), typed[key]) is not None:
                return _form(visit, what, name, Draft(typed=typed, wrong=frozenset({key}), why="known_already"))
            _PUT[what](repository, value, actor=visit.person.actor, now=visit.now, within=visit.person.within)
    except HoursInvalid as error:
        return _form(visit, what, name, _refused(typed, "calendar", detail=str(error)))
    except ValidationError as error:
        return _form(visit, what, name, _refused_by_model(typed, error))
    except UnknownReference as error:
        return _form(visit, what, name, _refused(typed, "place_unknown", error.field))
    return visit.back(f"/admin/inventory/{what}/{typed[key]}", said="inventory_kept")


_PUT: Mapping[What, Callable[..., Any]] = {
    What.MERCHANTS: describing.put_merchant,
    What.STORES: describing.put_store,
    What.TERMINALS: describing.put_terminal,
}


def _typed(what: What, told: Told) -> dict[str, str]:
    said = told.model_dump()
    return {name: " ".join(said[name].split()) for name in _FIELDS[what]}


def _value(what: What, typed: Mapping[str, str]) -> Known:
    """Make of a form what it describes; raises `ValidationError` and `HoursInvalid`."""
    given: dict[str, Any] = {name: text for name, text in typed.items() if text}
    match what:
        case What.MERCHANTS:
            return Merchant.model_validate(given)
        case What.TERMINALS:
            return Terminal.model_validate(given)
        case What.STORES:
            given["opening_hours"] = parse_hours_text(typed["opening_hours"])
            given["holidays"] = parse_holidays_text(typed["holidays"])
            return Store.model_validate(given)


def _refused(typed: Mapping[str, str], why: str, *fields: str, detail: str = "") -> Draft:
    return Draft(typed=typed, wrong=frozenset(fields), why=why, detail=detail)


def _refused_by_model(typed: Mapping[str, str], error: ValidationError) -> Draft:
    """Name the fields that cannot stand; what fits only not together is a matter of the store's calendar."""
    details = error.errors(include_url=False, include_context=False)
    fields = [str(detail["loc"][0]) for detail in details if detail["loc"]]
    if fields:
        return _refused(typed, "fields", *fields)
    return _refused(typed, "calendar", detail=details[0]["msg"].removeprefix("Value error, "))


def _form(visit: Visit, what: What, name: str | None, draft: Draft) -> Response:
    entries = tuple(
        _entry(field, draft, fixed=name is not None and field == _FIELDS[what][0]) for field in _FIELDS[what]
    )
    values = {"what": what, "name": name, "entries": entries, "draft": draft, "whats": tuple(What)}
    if draft.why:
        return visit.refuse("administration/described.html", HTTPStatus.UNPROCESSABLE_ENTITY, **values)
    return visit.page("administration/described.html", **values)


def _entry(name: str, draft: Draft, *, fixed: bool) -> Entry:
    return Entry(
        name=name,
        value=draft.typed.get(name, ""),
        wrong=name in draft.wrong,
        needed=name in _NEEDED,
        fixed=fixed,
        choices=tuple(map(str, _CHOICES.get(name, ()))),
        kind="date" if name == "purchase_date" else "text",
    )


def _known(visit: Visit, what: What, name: str) -> Known:
    """Find what somebody sees; what they do not see is not there."""
    if name.isprintable():
        with visit.reading() as queries:
            sees, find = _READ[what]
            value = find(Inventory(queries.connection), name) if sees(queries, name) else None
        if value is not None:
            return value
    raise missing(what.removesuffix("s"), name[:80])


_READ: Mapping[What, tuple[Callable[[Queries, str], bool], Callable[[Inventory, str], Known | None]]] = {
    What.MERCHANTS: (Queries.sees_merchant, Inventory.merchant),
    What.STORES: (Queries.sees_store, Inventory.store),
    What.TERMINALS: (Queries.sees_terminal, Inventory.terminal),
}
"""Whether somebody sees one, and what is known of it."""


def _written(value: Known) -> dict[str, str]:
    """Write a value as its form has it."""
    said = {name: str(text) for name, text in value.model_dump(mode="json").items() if text not in (None, {})}
    if isinstance(value, Store):
        said["opening_hours"] = _hours_text(value)
        said["holidays"] = "; ".join(
            f"{day.isoformat()} {_spans_text(spans)}".strip() for day, spans in sorted(value.holidays.items())
        )
    return said


def _hours_text(store: Store) -> str:
    """Write opening hours as `parse_hours_text` reads them: days that are alike as one range."""
    spans = [(day, _spans_text(store.opening_hours.get(day, ()))) for day in Weekday]
    parts: list[str] = []
    for text, days in groupby(spans, key=lambda pair: pair[1]):
        alike = [day for day, _ in days]
        if text:
            parts.append(f"{alike[0]}{f'-{alike[-1]}' if len(alike) > 1 else ''}={text}")
    return "; ".join(parts)


def _spans_text(spans: tuple[tuple[str, str], ...]) -> str:
    return ",".join(f"{opens}-{closes}" for opens, closes in spans)


# --- the import


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A cell of a file that cannot stand."""

    number: int
    terminal_id: str
    column: str
    why: str
    """A code of `import_wrong`."""
    got: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """What a file would do, or has done."""

    done: bool
    counts: Mapping[ImportOutcome, int]
    refused: tuple[Refused, ...]
    more: int
    """Refused rows that are not listed."""

    @property
    def changes(self) -> int:
        """Terminals that become others."""
        return self.counts[ImportOutcome.CREATED] + self.counts[ImportOutcome.UPDATED]


@router.post("/import")
def import_file(
    visit: Arranging,
    file: UploadFile | None = None,
    text: Annotated[str, Form(max_length=IMPORT_BYTES_MAX)] = "",
    carry_out: Annotated[str, Form(max_length=8)] = "",
) -> Response:
    """Show what a file would do, row by row; with `carry_out` do it."""
    _expect_everywhere(visit)
    content = file.file.read(IMPORT_BYTES_MAX + 1) if file is not None and file.size else text.encode()
    if len(content) > IMPORT_BYTES_MAX:
        return _import_refused(visit, "file_long")
    try:
        said = content.decode("utf-8")
        rows = parse_terminals(said)
    except UnicodeDecodeError:
        return _import_refused(visit, "file_encoding")
    except ImportRefused as error:
        return _import_refused(visit, "file_unreadable", detail=str(error), text=text)
    reports = import_terminals(visit.context.store, rows, visit.now, by=visit.person.actor, dry_run=not carry_out)
    return visit.page(
        "administration/import.html",
        text="" if carry_out else said,
        wrong="",
        preview=_preview(reports, bool(carry_out)),
    )


def _preview(reports: tuple[RowReport, ...], done: bool) -> Preview:  # noqa: FBT001 - it is what the preview says
    refused = [report for report in reports if report.outcome is ImportOutcome.REFUSED]
    outcomes = [report.outcome for report in reports]
    return Preview(
        done=done,
        counts={outcome: outcomes.count(outcome) for outcome in ImportOutcome},
        refused=tuple(
            Refused(
                number=report.number,
                terminal_id=report.terminal_id,
                column=error.column,
                why=_why(error),
                got=error.got,
            )
            for report in refused[:REFUSED_MAX]
            for error in report.errors
        ),
        more=max(0, len(refused) - REFUSED_MAX),
    )


def _why(error: CellError) -> str:
    """Name what is wrong with a cell: by its column, unless it is not the cell itself."""
    others = {"each terminal once": "twice", "a known store": "store_unknown"}
    return others.get(error.expected, error.column or "cells")


def _import_refused(visit: Visit, wrong: str, *, detail: str = "", text: str = "") -> Response:
    return visit.refuse("administration/import.html", text=text, wrong=wrong, detail=detail, preview=None)


def _may_add(within: Within, what: What) -> bool:
    """Whether something new can be in somebody's part: a store of their merchant, a terminal in their store."""
    return within.everywhere or what is What.TERMINALS or (what is What.STORES and bool(within.merchant_ids))


def _expect_everywhere(visit: Visit) -> None:
    """Keep a file, which may name any store, to those who see all of them."""
    if not visit.person.within.everywhere:
        raise Forbidden(Permission.ARRANGE)
