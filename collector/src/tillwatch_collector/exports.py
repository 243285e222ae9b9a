"""Tickets and terminals as CSV: read in parts, so that neither memory nor the database is held for long.

One line for each ticket by its number, with the columns of the API's list, or for each terminal by its id; each is as
it was when its part was read. UTF-8 with a mark of it at the beginning, without which a spreadsheet takes Chinese for
something else; times are in UTC. A cell that a spreadsheet would take for a formula begins with an apostrophe (OWASP,
CSV Injection): what a caller tells the service desk must not run on its machine. A change violates this when a text
reaches a cell unguarded.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from tillwatch_collector.domain.permission import EVERYWHERE, Within
from tillwatch_collector.errors import CallerError
from tillwatch_collector.store.queries import Queries
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.terminal_list import ListedTerminal, ListFilter, TerminalList
from tillwatch_collector.store.ticket_queries import TicketFilter
from tillwatch_collector.store.views import TicketView

MEDIA_TYPE = "text/csv; charset=utf-8"
COLUMNS = tuple(TicketView.model_fields)
TERMINAL_COLUMNS = tuple(ListedTerminal.model_fields)
ROWS_MAX = 1_000_000
"""A spreadsheet has 1,048,576 lines."""
PART_ROWS = 500
BYTE_ORDER_MARK = "\ufeff"

_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")


class ExportTooLong(CallerError):  # noqa: N818 - it names what is so
    """More tickets than a spreadsheet has lines."""


def tickets_csv(store: Store, chosen: TicketFilter, within: Within = EVERYWHERE) -> Iterator[str]:
    """Write the chosen tickets of a part of the fleet, part by part; raises `ExportTooLong` before the first."""
    with store.reading() as connection:
        count = Queries(connection, within).count_tickets(chosen)
    if count > ROWS_MAX:
        raise ExportTooLong(f"expected a filter that leaves at most {ROWS_MAX} tickets, got {count}")
    return _parts(store, chosen, within)


def terminals_csv(store: Store, chosen: ListFilter, within: Within) -> Iterator[str]:
    """Write the chosen terminals that somebody sees, part by part, by their ids."""
    yield BYTE_ORDER_MARK + _lines([TERMINAL_COLUMNS])
    after = ""
    for _ in range(0, ROWS_MAX, PART_ROWS):
        with store.reading() as connection:
            part = TerminalList(connection, within).after(chosen, after, PART_ROWS)
        if not part:
            return
        yield _lines([_terminal_cells(terminal) for terminal in part])
        after = part[-1].terminal_id


def guarded(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_BEGINS) else text


def _parts(store: Store, chosen: TicketFilter, within: Within) -> Iterator[str]:
    yield BYTE_ORDER_MARK + _lines([COLUMNS])
    after = 0
    for _ in range(0, ROWS_MAX, PART_ROWS):
        with store.reading() as connection:
            part = Queries(connection, within).tickets_after(replace(chosen, after_ticket_id=after), PART_ROWS)
        if not part:
            return
        yield _lines([_cells(ticket) for ticket in part])
        after = part[-1].ticket_id


def _lines(rows: Sequence[Sequence[object]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()


def _cells(ticket: TicketView) -> list[object]:
    return [_cell(getattr(ticket, column)) for column in COLUMNS]


def _terminal_cells(terminal: ListedTerminal) -> list[object]:
    said = terminal.model_copy(update={"faults": tuple(f"{one.component} {one.code}" for one in terminal.faults)})
    return [_cell(getattr(said, column)) for column in TERMINAL_COLUMNS]


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, tuple):
        return guarded(" ".join(map(str, value)))
    return guarded(value) if isinstance(value, str) else value
