"""All SQL for what people write: merchants, stores, terminals, tokens.

No commit here: the caller's transaction decides. What is read in a transaction that writes is held until its commit, so
that of two people's changes to one thing the second is made to what the first left. A name that is referred to and not
known is the caller's fault (`UnknownReference`), never a foreign-key error of the database. A terminal that was heard
before anyone described it has a row without a store; describing it fills that row.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, insert, select, update

from tillwatch_collector.domain.inventory import (
    CellError,
    ImportOutcome,
    ImportRow,
    Merchant,
    Store,
    Terminal,
    decide,
)
from tillwatch_collector.domain.permission import EVERYWHERE, Within
from tillwatch_collector.errors import CallerError
from tillwatch_collector.store import tables
from tillwatch_collector.store.sla import SlaRows
from tillwatch_collector.store.statements import chunked, insert_missing, update_each
from tillwatch_collector.store.statements import insert as insert_unless
from tillwatch_collector.store.tables import table_of
from tillwatch_collector.tokens import Principal, Scope

_merchant = table_of(tables.MerchantRow)
_store = table_of(tables.StoreRow)
_terminal = table_of(tables.TerminalRow)
_token = table_of(tables.TokenRow)


class UnknownReference(CallerError):  # noqa: N818 - it names what is so
    """A value names something that does not exist."""

    def __init__(self, field: str, got: str) -> None:
        super().__init__(f"{field}: expected a known one, got {got!r}")
        self.field = field
        self.got = got


class Put(StrEnum):
    """What putting a value did."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, kw_only=True, slots=True)
class RowReport:
    """What an import did with one row of the file."""

    number: int
    terminal_id: str
    outcome: ImportOutcome
    errors: tuple[CellError, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportPlan:
    """What an import would do: a report for each row, and the terminals to write."""

    reports: tuple[RowReport, ...]
    created: tuple[Terminal, ...]
    updated: tuple[Terminal, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token as it may be shown: without its secret."""

    token_id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    within: Within = EVERYWHERE


class Inventory:
    """Merchants, stores and terminals in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reading = bool(connection.get_execution_options().get("postgresql_readonly"))

    def merchant(self, merchant_id: str) -> Merchant | None:
        """Find one merchant."""
        row = self._one(_merchant, _merchant.c.merchant_id == merchant_id)
        return Merchant.model_validate(_without_times(row)) if row else None

    def store(self, store_id: str) -> Store | None:
        """Find one store."""
        row = self._one(_store, _store.c.store_id == store_id)
        return Store.model_validate(_without_times(row)) if row else None

    def terminal(self, terminal_id: str) -> Terminal | None:
        """Find one terminal, described or only heard of."""
        row = self._one(_terminal, _terminal.c.terminal_id == terminal_id)
        return Terminal.model_validate(_without_times(row)) if row else None

    def put_merchant(self, merchant: Merchant, now: datetime) -> Put:
        """Describe a merchant, new or known."""
        return self._put(_merchant, self.merchant(merchant.merchant_id), merchant, "merchant_id", now)

    def put_store(self, store: Store, now: datetime) -> Put:
        """Describe a store; raises `UnknownReference` for its merchant.

        Where its contract or its calendar is another one, the due times of its open tickets are to be worked out anew;
        terminals are marked before that, as whoever judges does.
        """
        if self.merchant(store.merchant_id) is None:
            raise UnknownReference("merchant_id", store.merchant_id)
        before = self.store(store.store_id)
        put = self._put(_store, before, store, "store_id", now)
        if before is not None and _counted(before) != _counted(store):
            SlaRows(self._connection).mark_store(store.store_id, now)
        return put

    def put_terminal(self, terminal: Terminal, now: datetime) -> Put:
        """Describe a terminal; raises `UnknownReference` for its store."""
        if terminal.store_id is not None and self.store(terminal.store_id) is None:
            raise UnknownReference("store_id", terminal.store_id)
        return self._put(_terminal, self.terminal(terminal.terminal_id), terminal, "terminal_id", now)

    def plan_import(self, rows: Sequence[ImportRow]) -> ImportPlan:
        """Say what a file would do, row by row, and write nothing."""
        known = self._terminals({row.terminal_id for row in rows if row.change})
        stores = self._known_stores({row.change.store_id for row in rows if row.change and row.change.store_id})
        decided = [_imported(row, known.get(row.terminal_id), stores) for row in rows]
        return ImportPlan(
            reports=tuple(report for report, _ in decided),
            created=tuple(after for report, after in decided if after and report.outcome is ImportOutcome.CREATED),
            updated=tuple(after for report, after in decided if after and report.outcome is ImportOutcome.UPDATED),
        )

    def carry_out(self, plan: ImportPlan, now: datetime) -> None:
        """Write what a plan of this same transaction says."""
        created = sorted(plan.created, key=lambda terminal: terminal.terminal_id)
        rows = [{**terminal.model_dump(), "created_at": now} for terminal in created]
        insert_missing(self._connection, _terminal, rows)
        # The created ones again: one that was heard for the first time just now has a row already.
        described = [terminal.model_dump() for terminal in (*created, *plan.updated)]
        update_each(self._connection, _terminal, ("terminal_id",), described)

    def terminals_of(self, store_id: str) -> tuple[str, ...]:
        """List the terminals of a store."""
        found = self._connection.execute(select(_terminal.c.terminal_id).where(_terminal.c.store_id == store_id))
        return tuple(found.scalars())

    def _one(self, table: Table, condition: ColumnElement[bool]) -> RowMapping | None:
        return self._connection.execute(self._held(select(table).where(condition))).mappings().one_or_none()

    def _held(self, query: Select[Any]) -> Select[Any]:
        return query if self._reading else query.with_for_update(key_share=True)

    def _put(self, table: Table, before: Any, after: Any, key: str, now: datetime) -> Put:
        if before == after:
            return Put.UNCHANGED
        values = _columns(after)
        if before is None and self._inserted(table, {**values, "created_at": now}):
            return Put.CREATED
        self._connection.execute(update(table).where(table.c[key] == values[key]).values(**values))
        return Put.UPDATED

    def _inserted(self, table: Table, row: dict[str, Any]) -> bool:
        """Insert a row unless another has just done so."""
        statement = insert_unless(self._connection, table).values(**row).on_conflict_do_nothing()
        return self._connection.execute(statement.returning(*table.primary_key)).first() is not None

    def _terminals(self, terminal_ids: Collection[str]) -> dict[str, Terminal]:
        found: dict[str, Terminal] = {}
        for names in chunked(terminal_ids):
            query = select(_terminal).where(_terminal.c.terminal_id.in_(names)).order_by(_terminal.c.terminal_id)
            for row in self._connection.execute(self._held(query)).mappings():
                found[row["terminal_id"]] = Terminal.model_validate(_without_times(row))
        return found

    def _known_stores(self, store_ids: Collection[str]) -> frozenset[str]:
        found: set[str] = set()
        for names in chunked(store_ids):
            found |= set(
                self._connection.execute(select(_store.c.store_id).where(_store.c.store_id.in_(names))).scalars()
            )
        return frozenset(found)


class Tokens:
    """The keys to the API in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, token: Token, fingerprint: str) -> None:
        """Keep a new token by its secret's hash."""
        self._connection.execute(
            insert(_token).values(
                token_id=token.token_id,
                name=token.name,
                secret_sha256=fingerprint,
                scopes=[str(scope) for scope in token.scopes],
                merchant_ids=sorted(token.within.merchant_ids),
                store_ids=sorted(token.within.store_ids),
                created_at=token.created_at,
                expires_at=token.expires_at,
                revoked_at=token.revoked_at,
            )
        )

    def holder(self, fingerprint: str, now: datetime) -> Principal | None:
        """Find who holds the secret, unless it is revoked or expired."""
        token = next(iter(self._found(_token.c.secret_sha256 == fingerprint)), None)
        if token is None or token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now):
            return None
        return Principal(token_id=token.token_id, name=token.name, scopes=token.scopes, within=token.within)

    def all(self) -> tuple[Token, ...]:
        """List all tokens, the newest last."""
        return self._found()

    def revoke(self, token_id: str, now: datetime) -> bool:
        """End a token; whether there was one to end."""
        known = self._found(_token.c.token_id == token_id, _token.c.revoked_at.is_(None))
        self._connection.execute(
            update(_token).where(_token.c.token_id == token_id, _token.c.revoked_at.is_(None)).values(revoked_at=now)
        )
        return bool(known)

    def _found(self, *conditions: ColumnElement[bool]) -> tuple[Token, ...]:
        query = select(_token).where(*conditions).order_by(_token.c.created_at)
        return tuple(_as_token(row) for row in self._connection.execute(query).mappings())


def _imported(row: ImportRow, existing: Terminal | None, stores: frozenset[str]) -> tuple[RowReport, Terminal | None]:
    errors = row.errors
    if row.change is not None and row.change.store_id is not None and row.change.store_id not in stores:
        errors = (CellError(column="store_id", expected="a known store", got=row.change.store_id),)
    if errors:
        refused = ImportOutcome.REFUSED
        return RowReport(number=row.number, terminal_id=row.terminal_id, outcome=refused, errors=errors), None
    terminal, outcome = decide(existing, row)
    return RowReport(number=row.number, terminal_id=row.terminal_id, outcome=outcome), terminal


def _without_times(row: RowMapping) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "created_at"}


def _columns(value: Merchant | Store | Terminal) -> dict[str, Any]:
    """Turn a value into its row, opening hours and holidays into what JSON holds."""
    columns = value.model_dump()
    if isinstance(value, Store):
        columns |= value.model_dump(mode="json", include={"opening_hours", "holidays"})
    return columns


def _counted(store: Store) -> tuple[Any, ...]:
    """Return what due times are worked out from."""
    return store.contract, store.time_zone, store.opening_hours, store.holidays


def _as_token(row: RowMapping) -> Token:
    return Token(
        token_id=row["token_id"],
        name=row["name"],
        scopes=tuple(Scope(scope) for scope in row["scopes"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        within=Within(merchant_ids=frozenset(row["merchant_ids"]), store_ids=frozenset(row["store_ids"])),
    )
