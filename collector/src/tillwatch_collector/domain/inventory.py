"""Merchants, stores and terminals as people describe them, and what makes a description valid.

Pure: values and rows in, values or errors out. Whether a named store exists is the repository's to say. An import's
empty cell says nothing: it never clears what is known; clearing is an explicit null in the API. A row that is wrong
is refused alone.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from tillwatch_collector.domain.hours import HOLIDAYS_MAX, parse_hours
from tillwatch_collector.errors import CallerError, HoursInvalid
from tillwatch_protocol.vocabulary import Identifier, TerminalId

IMPORT_ROWS_MAX = 50_000
"""Rows of one file: a transaction of some seconds; a larger estate comes in several files."""


class LifeCycle(StrEnum):
    """Where a terminal stands in its life."""

    LIVE = "live"
    IN_REPAIR = "in_repair"
    SPARE = "spare"
    SWAPPED = "swapped"
    RETIRED = "retired"


class WatchMode(StrEnum):
    """When a store's terminals are expected to be heard."""

    ALWAYS = "always"
    OPENING_HOURS = "opening_hours"


class Weekday(StrEnum):
    """Keys of opening hours, in the order of `date.weekday`."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _iso_date(value: Any) -> Any:
    """Take a date as ISO 8601 has it, and no number of seconds, which pydantic would take too."""
    if isinstance(value, str):
        with suppress(ValueError):
            return date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError("expected a date such as 2025-03-31")


_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=_PRINTABLE)]
Address = Annotated[str, Field(min_length=1, max_length=500, pattern=_PRINTABLE)]
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=_PRINTABLE)]
OpeningHours = dict[Weekday, tuple[tuple[str, str], ...]]
"""Weekday to spans [opens, closes], `HH:MM`; `domain.hours` says what makes sense."""
Day = Annotated[date, BeforeValidator(_iso_date), Field(ge=date(1970, 1, 1), lt=date(2200, 1, 1))]
Holidays = Annotated[dict[Day, tuple[tuple[str, str], ...]], Field(max_length=HOLIDAYS_MAX)]
"""Local date to the spans of that day, in the place of its weekday's; none: closed."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Merchant(_Value):
    """Who owns stores."""

    merchant_id: Identifier
    name: Name


class Store(_Value):
    """A place with an address, a region, a time zone, opening hours and an uplink."""

    store_id: Identifier
    merchant_id: Identifier
    name: Name
    address: Address | None = None
    region: Label | None = None
    time_zone: Label
    opening_hours: OpeningHours = Field(default_factory=dict)
    carrier: Label | None = None
    watch: WatchMode = WatchMode.ALWAYS
    holidays: Holidays = Field(default_factory=dict)
    contract: Label | None = None
    """Its name in the SLA file; None: the default one."""

    @model_validator(mode="after")
    def _watchable(self) -> Self:
        try:
            parse_hours(
                {str(day): spans for day, spans in self.opening_hours.items()},
                self.time_zone,
                {day.isoformat(): spans for day, spans in self.holidays.items()},
            )
        except HoursInvalid as error:
            raise ValueError(str(error)) from None
        if self.watch is WatchMode.OPENING_HOURS and not any(self.opening_hours.values()):
            raise ValueError("expected opening_hours where watch is opening_hours: else nobody would ever be watched")
        return self


class Terminal(_Value):
    """One point of sale; without a store it is unassigned."""

    terminal_id: TerminalId
    store_id: Identifier | None = None
    brand: Label | None = None
    model: Label | None = None
    serial_number: Label | None = None
    purchase_date: Day | None = None
    life_cycle: LifeCycle = LifeCycle.LIVE


class MerchantChange(_Value):
    """What is to be different; what is left out stays."""

    name: Name | None = None


class StoreChange(_Value):
    """What is to be different; what is left out stays, null clears."""

    merchant_id: Identifier | None = None
    name: Name | None = None
    address: Address | None = None
    region: Label | None = None
    time_zone: Label | None = None
    opening_hours: OpeningHours | None = None
    carrier: Label | None = None
    watch: WatchMode | None = None
    holidays: Holidays | None = None
    contract: Label | None = None


class TerminalChange(_Value):
    """What is to be different; what is left out stays, null clears."""

    store_id: Identifier | None = None
    brand: Label | None = None
    model: Label | None = None
    serial_number: Label | None = None
    purchase_date: Day | None = None
    life_cycle: LifeCycle | None = None


ValueT = TypeVar("ValueT", Merchant, Store, Terminal)


def changed(value: ValueT, change: MerchantChange | StoreChange | TerminalChange) -> ValueT:
    """Apply a change; raises `pydantic.ValidationError` where the result would not be valid (a name of null)."""
    return type(value).model_validate({**value.model_dump(), **change.model_dump(exclude_unset=True)})


def parse_hours_text(text: str) -> OpeningHours:
    """Read `mon-fri=08:00-12:00,13:00-20:00; sat=09:00-24:00`; raises `HoursInvalid`."""
    hours: OpeningHours = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        days, equals, spans = part.partition("=")
        if not equals:
            raise HoursInvalid(f"opening hours: expected days=spans such as mon-fri=08:00-20:00, got {part!r}")
        hours |= dict.fromkeys(_days(days.strip()), tuple(_span(span.strip()) for span in spans.split(",")))
    return hours


def parse_holidays_text(text: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Read `2026-12-25; 2026-12-31 10:00-14:00`, closed where no spans stand; raises `HoursInvalid`."""
    holidays: dict[str, tuple[tuple[str, str], ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        day, _, spans = part.partition(" ")
        if day in holidays:
            raise HoursInvalid(f"holidays: expected each day once, got {day!r} again")
        holidays[day] = tuple(_span(span.strip()) for span in spans.split(",")) if spans else ()
    return holidays


def _days(text: str) -> tuple[Weekday, ...]:
    first, _, last = text.partition("-")
    try:
        begin, end = Weekday(first), Weekday(last or first)
    except ValueError:
        raise HoursInvalid(f"opening hours: expected days {', '.join(Weekday)}, or a range, got {text!r}") from None
    week = tuple(Weekday)
    return week[week.index(begin) : week.index(end) + 1]


def _span(text: str) -> tuple[str, str]:
    opens, minus, closes = text.partition("-")
    if not minus:
        raise HoursInvalid(f"opening hours: expected opens-closes such as 08:00-20:00, got {text!r}")
    return opens.strip(), closes.strip()


# --- the import of terminals from CSV


class ImportOutcome(StrEnum):
    """What an import did with a row."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class CellError:
    """Why a row is refused."""

    column: str
    expected: str
    got: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRow:
    """One row of a file: what it says of a terminal, or what is wrong with it; `number` as a sheet counts."""

    number: int
    terminal_id: str
    change: TerminalChange | None = None
    errors: tuple[CellError, ...] = ()


class ImportRefused(CallerError):  # noqa: N818 - it names an outcome, as the rows' does
    """The whole file cannot be used; the message says what was expected and what came."""


_EXPECTED: Mapping[str, str] = {
    "terminal_id": "1 to 64 of A-Z a-z 0-9 _ -",
    "store_id": "1 to 64 of A-Z a-z 0-9 _ . -",
    "brand": "at most 64 printable characters",
    "model": "at most 64 printable characters",
    "serial_number": "at most 64 printable characters",
    "purchase_date": "a date such as 2025-03-31",
    "life_cycle": f"one of {', '.join(LifeCycle)}",
}
IMPORT_COLUMNS = tuple(_EXPECTED)

_GOT_CHARACTERS_MAX = 80
"""Of a wrong cell in a report: enough to find it."""


def parse_terminals(text: str) -> tuple[ImportRow, ...]:
    """Read a CSV of terminals; raises `ImportRefused` where no row of it can be understood.

    The first line names the columns, `terminal_id` among them, in any order. Comma, semicolon and tab separate.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=_delimiter(text), strict=True)
    columns = _columns(reader)
    rows: list[ImportRow] = []
    seen: dict[str, int] = {}
    for number, cells in _lines(reader):
        if len(rows) == IMPORT_ROWS_MAX:
            raise ImportRefused(f"expected at most {IMPORT_ROWS_MAX} rows, got more: split the file")
        rows.append(_row(number, columns, cells, seen))
    return tuple(rows)


def decide(existing: Terminal | None, row: ImportRow) -> tuple[Terminal, ImportOutcome]:
    """Say what a good row makes of a terminal."""
    assert row.change is not None, "a refused row decides nothing"  # noqa: S101 - our own mistake
    after = changed(existing or Terminal(terminal_id=row.terminal_id), row.change)
    if existing is None:
        return after, ImportOutcome.CREATED
    return after, ImportOutcome.UNCHANGED if after == existing else ImportOutcome.UPDATED


def _delimiter(text: str) -> str:
    header = text.split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _columns(reader: Iterator[list[str]]) -> tuple[str, ...]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise ImportRefused(f"expected a line that names the columns, got: {error}") from None
    columns = tuple(cell.strip().lower() for cell in header)
    unknown = [column for column in columns if column not in _EXPECTED]
    if unknown or "terminal_id" not in columns or len(set(columns)) != len(columns):
        raise ImportRefused(
            f"expected a first line with terminal_id and any of {', '.join(IMPORT_COLUMNS[1:])}, each once; "
            f"got {', '.join(columns)[:200] or 'nothing'}"
        )
    return columns


def _lines(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank with its line; after a broken quote nothing can be told apart."""
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ImportRefused(f"line {number}: expected CSV, got: {error}") from None
        if any(cell.strip() for cell in cells):
            yield number, cells


def _row(number: int, columns: tuple[str, ...], cells: list[str], seen: dict[str, int]) -> ImportRow:
    if len(cells) > len(columns):
        error = CellError(column="", expected=f"at most {len(columns)} cells", got=f"{len(cells)}")
        return ImportRow(number=number, terminal_id=cells[0].strip()[:64], errors=(error,))
    values = {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if cell.strip()}
    terminal_id = values.get("terminal_id", "")
    errors = _wrong(values)
    if not errors and terminal_id in seen:
        errors = (
            CellError(column="terminal_id", expected="each terminal once", got=f"it stands in row {seen[terminal_id]}"),
        )
    if errors:
        return ImportRow(number=number, terminal_id=terminal_id[:64], errors=errors)
    seen[terminal_id] = number
    del values["terminal_id"]
    return ImportRow(number=number, terminal_id=terminal_id, change=TerminalChange.model_validate(values))


def _wrong(values: Mapping[str, str]) -> tuple[CellError, ...]:
    try:
        Terminal.model_validate(values)
    except ValidationError as error:
        columns = dict.fromkeys(str(detail["loc"][0]) for detail in error.errors())
        return tuple(_cell_error(column, values.get(column, "")) for column in columns)
    return ()


def _cell_error(column: str, got: str) -> CellError:
    return CellError(column=column, expected=_EXPECTED[column], got=got[:_GOT_CHARACTERS_MAX] or "an empty cell")
