"""The inventory: merchants, stores, terminals, and the import of terminals."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from tillwatch_collector.cli.options import ConfigOption, JsonOption, LimitOption, SearchOption, author, now, opened
from tillwatch_collector.cli.output import say, say_json, say_models, say_table, warn
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
    WatchMode,
    changed,
    parse_holidays_text,
    parse_hours_text,
    parse_terminals,
)
from tillwatch_collector.errors import CallerError
from tillwatch_collector.flows import inventory as describing
from tillwatch_collector.imports import import_terminals
from tillwatch_collector.store.inventory import Inventory, RowReport
from tillwatch_collector.store.queries import Paging, Queries, TerminalFilter

commands = typer.Typer(
    help="What is watched: merchants, their stores, the terminals in them.", no_args_is_help=True, rich_markup_mode=None
)
merchants = typer.Typer(help="Who owns stores.", no_args_is_help=True, rich_markup_mode=None)
stores = typer.Typer(help="Where terminals stand.", no_args_is_help=True, rich_markup_mode=None)
terminals = typer.Typer(help="Points of sale.", no_args_is_help=True, rich_markup_mode=None)
commands.add_typer(merchants, name="merchant")
commands.add_typer(stores, name="store")
commands.add_typer(terminals, name="terminal")

ModelT = TypeVar("ModelT", bound=BaseModel)


class ValueRefused(CallerError):  # noqa: N818 - it names what is so
    """What was given does not describe such a thing."""


class NotKnown(CallerError):  # noqa: N818
    """No such merchant, store or terminal."""


class KnownAlready(CallerError):  # noqa: N818
    """There is one by that name; `set` changes it."""


NameOption = Annotated[str | None, typer.Option("--name")]
AddressOption = Annotated[str | None, typer.Option("--address")]
RegionOption = Annotated[str | None, typer.Option("--region")]
ZoneOption = Annotated[str | None, typer.Option("--time-zone", help="An IANA name such as Asia/Shanghai.")]
HoursOption = Annotated[
    str | None, typer.Option("--hours", help="Such as 'mon-fri=08:00-12:00,13:00-20:00; sat=09:00-24:00'.")
]
HolidaysOption = Annotated[
    str | None,
    typer.Option("--holidays", help="All of them, such as '2026-12-25; 2026-12-31 10:00-14:00'; no hours: closed."),
]
ContractOption = Annotated[
    str | None, typer.Option("--contract", help="Its service contract, by its name in the SLA file.")
]
CarrierOption = Annotated[str | None, typer.Option("--carrier", help="Who carries its uplink.")]
WatchOption = Annotated[WatchMode | None, typer.Option("--watch", help="When its terminals are expected to be heard.")]
StoreOption = Annotated[str | None, typer.Option("--store", help="Where it stands; empty for nowhere.")]
BrandOption = Annotated[str | None, typer.Option("--brand")]
ModelOption = Annotated[str | None, typer.Option("--model")]
SerialOption = Annotated[str | None, typer.Option("--serial-number")]
PurchaseOption = Annotated[str | None, typer.Option("--purchase-date", help="Such as 2025-03-31.")]
LifeCycleOption = Annotated[LifeCycle | None, typer.Option("--life-cycle")]


# --- merchants


@merchants.command("add")
def add_merchant(
    merchant_id: str, *, name: Annotated[str, typer.Option("--name")], config: ConfigOption = None
) -> None:
    """Describe a new merchant."""
    merchant = _valid(Merchant, {"merchant_id": merchant_id, "name": name})
    with opened(config) as store, store.transaction() as repository:
        inventory = Inventory(repository.connection)
        _expect_new(inventory.merchant(merchant_id), "merchant", merchant_id)
        describing.put_merchant(repository, merchant, actor=_actor(), now=now())
    say(f"merchant {merchant_id} created")


@merchants.command("set")
def set_merchant(merchant_id: str, *, name: NameOption = None, config: ConfigOption = None) -> None:
    """Change a merchant."""
    change = _valid(MerchantChange, _given(name=name))
    with opened(config) as store, store.transaction() as repository:
        inventory = Inventory(repository.connection)
        before = _expect_known(inventory.merchant(merchant_id), "merchant", merchant_id)
        put = describing.put_merchant(repository, _after(before, change), actor=_actor(), now=now())
    say(f"merchant {merchant_id} {put}")


@merchants.command("list")
def list_merchants(
    *, q: SearchOption = None, limit: LimitOption = 50, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """List merchants."""
    with opened(config) as store, store.reading() as connection:
        page = Queries(connection).merchants(Paging(limit=limit), q=q)
    say_models(("merchant_id", "name"), page.items, as_json=as_json, total=page.total)


# --- stores


@stores.command("add")
def add_store(
    store_id: str,
    *,
    merchant: Annotated[str, typer.Option("--merchant", help="Whose it is.")],
    name: Annotated[str, typer.Option("--name")],
    time_zone: Annotated[str, typer.Option("--time-zone", help="An IANA name such as Asia/Shanghai.")],
    address: AddressOption = None,
    region: RegionOption = None,
    hours: HoursOption = None,
    carrier: CarrierOption = None,
    watch: WatchOption = None,
    holidays: HolidaysOption = None,
    contract: ContractOption = None,
    config: ConfigOption = None,
) -> None:
    """Describe a new store."""
    given = _store_values(
        merchant_id=merchant,
        name=name,
        address=address,
        region=region,
        time_zone=time_zone,
        hours=hours,
        carrier=carrier,
        watch=watch,
        holidays=holidays,
        contract=contract,
    )
    store = _valid(Store, {"store_id": store_id, **given})
    with opened(config) as database, database.transaction() as repository:
        inventory = Inventory(repository.connection)
        _expect_new(inventory.store(store_id), "store", store_id)
        describing.put_store(repository, store, actor=_actor(), now=now())
    say(f"store {store_id} created")


@stores.command("set")
def set_store(
    store_id: str,
    *,
    merchant: Annotated[str | None, typer.Option("--merchant", help="Whose it is.")] = None,
    name: NameOption = None,
    time_zone: ZoneOption = None,
    address: AddressOption = None,
    region: RegionOption = None,
    hours: HoursOption = None,
    carrier: CarrierOption = None,
    watch: WatchOption = None,
    holidays: HolidaysOption = None,
    contract: ContractOption = None,
    config: ConfigOption = None,
) -> None:
    """Change a store; an empty value clears."""
    given = _store_values(
        merchant_id=merchant,
        name=name,
        address=address,
        region=region,
        time_zone=time_zone,
        hours=hours,
        carrier=carrier,
        watch=watch,
        holidays=holidays,
        contract=contract,
    )
    change = _valid(StoreChange, given)
    with opened(config) as database, database.transaction() as repository:
        inventory = Inventory(repository.connection)
        before = _expect_known(inventory.store(store_id), "store", store_id)
        put = describing.put_store(repository, _after(before, change), actor=_actor(), now=now())
    say(f"store {store_id} {put}")


@stores.command("list")
def list_stores(
    *,
    merchant: Annotated[str | None, typer.Option("--merchant")] = None,
    region: RegionOption = None,
    q: SearchOption = None,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List stores."""
    with opened(config) as store, store.reading() as connection:
        page = Queries(connection).stores(Paging(limit=limit), merchant_id=merchant, region=region, q=q)
    columns = ("store_id", "merchant_id", "name", "region", "time_zone", "watch", "carrier")
    say_models(columns, page.items, as_json=as_json, total=page.total)


# --- terminals


@terminals.command("add")
def add_terminal(
    terminal_id: str,
    *,
    store_id: StoreOption = None,
    brand: BrandOption = None,
    model: ModelOption = None,
    serial_number: SerialOption = None,
    purchase_date: PurchaseOption = None,
    life_cycle: LifeCycleOption = None,
    config: ConfigOption = None,
) -> None:
    """Describe a new terminal; one that was heard already is known, and `set` changes it."""
    given = _given(
        store_id=store_id,
        brand=brand,
        model=model,
        serial_number=serial_number,
        purchase_date=purchase_date,
        life_cycle=life_cycle,
    )
    terminal = _valid(Terminal, {"terminal_id": terminal_id, **given})
    with opened(config) as store, store.transaction() as repository:
        inventory = Inventory(repository.connection)
        _expect_new(inventory.terminal(terminal_id), "terminal", terminal_id)
        describing.put_terminal(repository, terminal, actor=_actor(), now=now())
    say(f"terminal {terminal_id} created")


@terminals.command("set")
def set_terminal(
    terminal_id: str,
    *,
    store_id: StoreOption = None,
    brand: BrandOption = None,
    model: ModelOption = None,
    serial_number: SerialOption = None,
    purchase_date: PurchaseOption = None,
    life_cycle: LifeCycleOption = None,
    config: ConfigOption = None,
) -> None:
    """Change a terminal: its store, its life cycle; an empty value clears."""
    given = _given(
        store_id=store_id,
        brand=brand,
        model=model,
        serial_number=serial_number,
        purchase_date=purchase_date,
        life_cycle=life_cycle,
    )
    change = _valid(TerminalChange, given)
    with opened(config) as store, store.transaction() as repository:
        inventory = Inventory(repository.connection)
        before = _expect_known(inventory.terminal(terminal_id), "terminal", terminal_id)
        put = describing.put_terminal(repository, _after(before, change), actor=_actor(), now=now())
    say(f"terminal {terminal_id} {put}")


@terminals.command("list")
def list_terminals(
    *,
    store_id: Annotated[str | None, typer.Option("--store")] = None,
    presence: Annotated[str | None, typer.Option("--presence")] = None,
    assigned: Annotated[bool | None, typer.Option("--assigned/--unassigned", help="With a store, or without.")] = None,
    q: SearchOption = None,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List terminals and where they stand."""
    chosen = TerminalFilter(store_id=store_id, presence=presence, assigned=assigned, q=q)
    with opened(config) as store, store.reading() as connection:
        page = Queries(connection).terminals(chosen, Paging(limit=limit))
    columns = ("terminal_id", "store_id", "presence", "heard_at", "open_tickets", "life_cycle", "brand", "model")
    say_models(columns, page.items, as_json=as_json, total=page.total)


# --- the import


@commands.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV in UTF-8; the first line names the columns. - is standard input.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import terminals from CSV, with a report on each row that is refused; exit code 1 if there is one.

    Columns: terminal_id, and any of store_id, brand, model, serial_number, purchase_date, life_cycle. An empty cell
    says nothing: what is known stays. Terminals that were heard before anyone described them are assigned by it, too.
    """
    rows = parse_terminals(_text(file))
    with (
        opened(config) as store,
        typer.progressbar(length=len(rows), label="importing", file=sys.stderr) as progress,
    ):
        reports = import_terminals(store, rows, now(), by=_actor(), dry_run=dry_run, advanced=progress.update)
    refused = [report for report in reports if report.outcome is ImportOutcome.REFUSED]
    counts = {outcome: sum(report.outcome is outcome for report in reports) for outcome in ImportOutcome}
    if as_json:
        say_json({"dry_run": dry_run, "counts": counts, "rows": reports})
    else:
        _say_refused(refused)
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        say(f"{'would be: ' if dry_run else ''}{said}")
    if refused:
        raise typer.Exit(1)


def _say_refused(refused: list[RowReport]) -> None:
    if refused:
        rows = [
            (report.number, report.terminal_id, error.column, error.expected, error.got)
            for report in refused
            for error in report.errors
        ]
        say_table(("row", "terminal_id", "column", "expected", "got"), rows)
        warn("")


def _text(file: Path) -> str:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return content.decode("utf-8")
    except OSError as error:
        raise ImportRefused(f"{file}: expected a readable file, got: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ImportRefused(f"{file}: expected CSV in UTF-8, got another encoding") from None


# --- values


def _store_values(
    *,
    merchant_id: str | None,
    name: str | None,
    address: str | None,
    region: str | None,
    time_zone: str | None,
    hours: str | None,
    carrier: str | None,
    watch: WatchMode | None,
    holidays: str | None,
    contract: str | None,
) -> dict[str, Any]:
    given: dict[str, Any] = _given(
        merchant_id=merchant_id,
        name=name,
        address=address,
        region=region,
        time_zone=time_zone,
        carrier=carrier,
        watch=watch,
        contract=contract,
    )
    if hours is not None:
        given["opening_hours"] = parse_hours_text(hours)
    if holidays is not None:
        given["holidays"] = parse_holidays_text(holidays)
    return given


def _given(**values: str | None) -> dict[str, Any]:
    """Keep what was given; an empty text clears."""
    return {name: value or None for name, value in values.items() if value is not None}


def _valid(model: type[ModelT], values: Mapping[str, Any]) -> ModelT:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ValueRefused(_said(error)) from None


def _after(before: Any, change: Any) -> Any:
    try:
        return changed(before, change)
    except ValidationError as error:
        raise ValueRefused(_said(error)) from None


def _said(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
    came = "nothing" if first["input"] is None else repr(first["input"])
    return f"{field}: {said}, got {came}" if field else said


def _expect_new(existing: object | None, what: str, name: str) -> None:
    if existing is not None:
        raise KnownAlready(f"expected a new {what}, got {name}, which is known: `{what} set` changes it")


def _expect_known(existing: ModelT | None, what: str, name: str) -> ModelT:
    if existing is None:
        raise NotKnown(f"there is no {what} {name}")
    return existing


def _actor() -> str:
    return author(None).actor
