"""Routes of merchants, stores and terminals, and the import of terminals from CSV."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from tillwatch_collector.api.actor import By, Seen
from tillwatch_collector.api.context import Context, Reading, WebContext
from tillwatch_collector.api.paging import PageQuery, QueryText, SortText, paging
from tillwatch_collector.api.problems import FieldError, Problem, missing
from tillwatch_collector.domain.inventory import (
    ImportOutcome,
    ImportRefused,
    LifeCycle,
    Merchant,
    MerchantChange,
    Store,
    StoreChange,
    Terminal,
    TerminalChange,
    changed,
    parse_terminals,
)
from tillwatch_collector.flows import inventory as describing
from tillwatch_collector.imports import import_terminals
from tillwatch_collector.store.inventory import Inventory, Put, RowReport
from tillwatch_collector.store.queries import Queries, TerminalFilter
from tillwatch_collector.store.views import EventView, MerchantView, Page, StoreView, TerminalDetail, TerminalView

router = APIRouter(prefix="/api/v1", tags=["inventory"])

_CREATED: dict[int | str, dict[str, Any]] = {HTTPStatus.CREATED.value: {"description": "it was not known"}}


# --- merchants


class _MerchantsQuery(PageQuery):
    q: QueryText | None = None


@router.get("/merchants")
def list_merchants(reading: Reading, asked: Annotated[_MerchantsQuery, Query()]) -> Page[MerchantView]:
    """List merchants; `q` searches id and name."""
    return reading.merchants(paging(asked), q=asked.q)


@router.get("/merchants/{merchant_id}")
def get_merchant(context: Context, seen: Seen, merchant_id: str) -> Merchant:
    """Show one merchant."""
    with context.store.reading() as connection:
        sees = Queries(connection, seen).sees_merchant(merchant_id)
        found = Inventory(connection).merchant(merchant_id) if sees else None
    if found is None:
        raise missing("merchant", merchant_id)
    return found


@router.post("/merchants", status_code=HTTPStatus.CREATED)
def create_merchant(context: Context, merchant: Merchant, by: By, seen: Seen) -> Merchant:
    """Describe a new merchant."""
    with context.store.transaction() as repository:
        inventory = Inventory(repository.connection)
        _expect_new(inventory.merchant(merchant.merchant_id), "merchant", merchant.merchant_id)
        describing.put_merchant(repository, merchant, actor=by.actor, now=by.now, within=seen)
    return merchant


@router.put("/merchants/{merchant_id}", responses=_CREATED)
def put_merchant(
    context: Context, merchant_id: str, merchant: Merchant, response: Response, *, by: By, seen: Seen
) -> Merchant:
    """Describe a merchant whole, new or known."""
    _expect_same("merchant_id", merchant_id, merchant.merchant_id)
    with context.store.transaction() as repository:
        put = describing.put_merchant(repository, merchant, actor=by.actor, now=by.now, within=seen)
    _say_created(response, put)
    return merchant


@router.patch("/merchants/{merchant_id}")
def change_merchant(context: Context, merchant_id: str, change: MerchantChange, by: By, seen: Seen) -> Merchant:
    """Change some of a merchant."""
    with context.store.transaction() as repository:
        inventory = Inventory(repository.connection)
        before = inventory.merchant(merchant_id)
        if before is None:
            raise missing("merchant", merchant_id)
        after = changed(before, change)
        describing.put_merchant(repository, after, actor=by.actor, now=by.now, within=seen)
    return after


# --- stores


class _StoresQuery(PageQuery):
    merchant_id: QueryText | None = None
    region: QueryText | None = None
    q: QueryText | None = None


@router.get("/stores")
def list_stores(reading: Reading, asked: Annotated[_StoresQuery, Query()]) -> Page[StoreView]:
    """List stores; `q` searches id, name and address."""
    return reading.stores(paging(asked), merchant_id=asked.merchant_id, region=asked.region, q=asked.q)


@router.get("/stores/{store_id}")
def get_store(context: Context, seen: Seen, store_id: str) -> Store:
    """Show one store."""
    with context.store.reading() as connection:
        sees = Queries(connection, seen).sees_store(store_id)
        found = Inventory(connection).store(store_id) if sees else None
    if found is None:
        raise missing("store", store_id)
    return found


@router.post("/stores", status_code=HTTPStatus.CREATED)
def create_store(context: Context, store: Store, by: By, seen: Seen) -> Store:
    """Describe a new store."""
    with context.store.transaction() as repository:
        inventory = Inventory(repository.connection)
        _expect_new(inventory.store(store.store_id), "store", store.store_id)
        describing.put_store(repository, store, actor=by.actor, now=by.now, within=seen)
    return store


@router.put("/stores/{store_id}", responses=_CREATED)
def put_store(context: Context, store_id: str, store: Store, response: Response, *, by: By, seen: Seen) -> Store:
    """Describe a store whole, new or known."""
    _expect_same("store_id", store_id, store.store_id)
    with context.store.transaction() as repository:
        put = describing.put_store(repository, store, actor=by.actor, now=by.now, within=seen)
    _say_created(response, put)
    return store


@router.patch("/stores/{store_id}")
def change_store(context: Context, store_id: str, change: StoreChange, by: By, seen: Seen) -> Store:
    """Change some of a store."""
    with context.store.transaction() as repository:
        inventory = Inventory(repository.connection)
        before = inventory.store(store_id)
        if before is None:
            raise missing("store", store_id)
        after = changed(before, change)
        describing.put_store(repository, after, actor=by.actor, now=by.now, within=seen)
    return after


# --- terminals


class _TerminalsQuery(PageQuery):
    store_id: QueryText | None = None
    merchant_id: QueryText | None = None
    region: QueryText | None = None
    presence: Literal["unknown", "online", "late", "silent", "off"] | None = None
    life_cycle: LifeCycle | None = None
    assigned: bool | None = None
    q: QueryText | None = None


@router.get("/terminals")
def list_terminals(reading: Reading, asked: Annotated[_TerminalsQuery, Query()]) -> Page[TerminalView]:
    """List terminals with where they stand; `q` searches id, serial number, brand, model and store."""
    chosen = TerminalFilter(**asked.model_dump(exclude={"limit", "offset", "sort"}))
    return reading.terminals(chosen, paging(asked))


@router.get("/terminals/{terminal_id}")
def get_terminal(reading: Reading, terminal_id: str) -> TerminalDetail:
    """Show all that is known of one terminal: level, conditions, streams, open tickets."""
    found = reading.terminal(terminal_id)
    if found is None:
        raise missing("terminal", terminal_id)
    return found


class _EventsQuery(PageQuery):
    sort: SortText | None = "-received_at"
    code: QueryText | None = None


@router.get("/terminals/{terminal_id}/events")
def list_events(reading: Reading, terminal_id: str, asked: Annotated[_EventsQuery, Query()]) -> Page[EventView]:
    """List a terminal's events, the latest first: its own account of what happened, with its own times."""
    if reading.terminal(terminal_id) is None:
        raise missing("terminal", terminal_id)
    return reading.events(terminal_id, paging(asked), code=asked.code)


@router.post("/terminals", status_code=HTTPStatus.CREATED)
def create_terminal(context: Context, terminal: Terminal, by: By, seen: Seen) -> Terminal:
    """Describe a new terminal; one that was heard already is known, and is changed by PUT or PATCH."""
    with context.store.transaction() as repository:
        inventory = Inventory(repository.connection)
        _expect_new(inventory.terminal(terminal.terminal_id), "terminal", terminal.terminal_id)
        describing.put_terminal(repository, terminal, actor=by.actor, now=by.now, within=seen)
    return terminal


@router.put("/terminals/{terminal_id}", responses=_CREATED)
def put_terminal(
    context: Context, terminal_id: str, terminal: Terminal, response: Response, *, by: By, seen: Seen
) -> Terminal:
    """Describe a terminal whole, new or known."""
    _expect_same("terminal_id", terminal_id, terminal.terminal_id)
    with context.store.transaction() as repository:
        put = describing.put_terminal(repository, terminal, actor=by.actor, now=by.now, within=seen)
    _say_created(response, put)
    return terminal


@router.patch("/terminals/{terminal_id}")
def change_terminal(context: Context, terminal_id: str, change: TerminalChange, by: By, seen: Seen) -> Terminal:
    """Change some of a terminal: its store, its life cycle."""
    with context.store.transaction() as repository:
        inventory = Inventory(repository.connection)
        before = inventory.terminal(terminal_id)
        if before is None:
            raise missing("terminal", terminal_id)
        after = changed(before, change)
        describing.put_terminal(repository, after, actor=by.actor, now=by.now, within=seen)
    return after


class ImportReport(BaseModel):
    """What an import did, row by row; rows are numbered as a sheet shows them."""

    model_config = ConfigDict(frozen=True)

    dry_run: bool
    counts: dict[ImportOutcome, int]
    rows: tuple[RowReport, ...]


class _ImportQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dry_run: bool = False


_CSV_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}},
}


@router.post("/terminals/import", openapi_extra=_CSV_BODY)
async def post_import(
    context: Context, request: Request, asked: Annotated[_ImportQuery, Query()], by: By, seen: Seen
) -> ImportReport:
    """Import terminals from CSV. Good rows land though others are refused; `dry_run` only says what would happen.

    Columns, in any order, named by the first line: terminal_id, store_id, brand, model, serial_number, purchase_date,
    life_cycle. An empty cell says nothing: what is known stays.
    """
    if not seen.everywhere:
        raise Problem(HTTPStatus.FORBIDDEN, "expected a token that is narrowed to nothing")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/csv":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected a body of text/csv, got {kind[:80]!r}")
    body = await request.body()
    return await run_in_threadpool(_import_csv, context, body, by.actor, dry_run=asked.dry_run)


def _import_csv(context: WebContext, body: bytes, by: str, *, dry_run: bool) -> ImportReport:
    try:
        rows = parse_terminals(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "expected CSV in UTF-8, got another encoding") from None
    except ImportRefused as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    reports = import_terminals(context.store, rows, context.now(), by=by, dry_run=dry_run)
    outcomes = [report.outcome for report in reports]
    counts = {outcome: outcomes.count(outcome) for outcome in ImportOutcome}
    return ImportReport(dry_run=dry_run, counts=counts, rows=reports)


def _expect_new(existing: object | None, what: str, name: str) -> None:
    if existing is not None:
        raise Problem(
            HTTPStatus.CONFLICT, f"expected a new {what}, got {name}, which is known: PUT or PATCH changes it"
        )


def _expect_same(field: str, in_path: str, in_body: str) -> None:
    if in_path != in_body:
        wrong = FieldError(field=field, expected=in_path, got=in_body)
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"expected {field} of the body to be that of the path", (wrong,))


def _say_created(response: Response, put: Put) -> None:
    if put is Put.CREATED:
        response.status_code = HTTPStatus.CREATED
