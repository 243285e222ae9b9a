"""Who is watched in a world of years: merchants, stores with hours, zones and carriers of their own, and terminals.

The same fleet in every world; what happens to it is drawn (`story`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import insert
from tests.scenarios.clock import BEGINNING

from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.tables import MerchantRow, StoreRow, Table, TerminalRow, table_of

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALWAYS = "always"
OPENING_HOURS = "opening_hours"

Hours = tuple[tuple[str, str], ...]
"""Spans of one day, local time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """One store and its terminals."""

    store_id: str
    merchant_id: str
    region: str
    carrier: str
    time_zone: str
    terminals: int
    week: tuple[Hours, ...] = ()
    """From Monday; empty: open around the clock, and watched always."""
    holidays: dict[str, Hours] = field(default_factory=dict)
    """Local date to that day's hours."""

    @property
    def watch(self) -> str:
        """How it is watched."""
        return OPENING_HOURS if self.week else ALWAYS

    @property
    def terminal_ids(self) -> tuple[str, ...]:
        """Its terminals."""
        return tuple(f"{self.store_id}-{number}" for number in range(1, self.terminals + 1))

    def open_spans(self, days: int) -> Iterator[tuple[float, float]]:
        """When it is open, in seconds of the world, by its own clock: worked out here, since hours are under test."""
        if not self.week:
            yield 0.0, days * 86_400.0
            return
        zone = ZoneInfo(self.time_zone)
        first = BEGINNING.astimezone(zone).date() - timedelta(days=1)
        for number in range(days + 2):
            day = first + timedelta(days=number)
            for opens, closes in self.holidays.get(day.isoformat(), self.week[day.weekday()]):
                yield _seconds(zone, day, opens), _seconds(zone, day, closes)


def _seconds(zone: ZoneInfo, day: date, clock: str) -> float:
    hour, minute = divmod(int(clock[:2]) * 60 + int(clock[3:]), 60)
    day += timedelta(days=hour // 24)
    local = datetime(day.year, day.month, day.day, hour % 24, minute, tzinfo=zone)
    return (local.astimezone(UTC) - BEGINNING).total_seconds()


def _week(workday: Hours, saturday: Hours, sunday: Hours = ()) -> tuple[Hours, ...]:
    return (workday,) * 5 + (saturday, sunday)


_GERMAN: dict[str, Hours] = dict.fromkeys(
    ("2026-12-25", "2026-12-26", "2027-01-01", "2027-03-26", "2027-03-29", "2027-05-06", "2027-05-17"), ()
) | {"2026-12-24": (("09:00", "14:00"),), "2026-12-31": (("09:00", "14:00"),)}
_AMERICAN: dict[str, Hours] = dict.fromkeys(("2026-11-26", "2026-12-25", "2027-01-01", "2027-07-05"), ())
_CHINESE: dict[str, Hours] = dict.fromkeys(("2027-02-05", "2027-02-06", "2027-02-07", "2027-02-08", "2027-10-01"), ())

_SHOP = _week((("09:00", "20:00"),), (("09:00", "18:00"),))
_BISTRO = _week((("11:30", "14:30"), ("17:30", "23:00")), (("17:00", "24:00"),), (("11:30", "22:00"),))
_MARKET = _week((("07:00", "22:00"),), (("07:00", "22:00"),))
_MALL = _week((("10:00", "22:00"),), (("10:00", "22:00"),), (("10:00", "21:00"),))

SHOPS = (
    Shop(store_id="ber1", merchant_id="markt", region="berlin", carrier="ta", time_zone="Europe/Berlin",
         terminals=8, week=_MARKET, holidays=_GERMAN),
    Shop(store_id="ber2", merchant_id="markt", region="berlin", carrier="tb", time_zone="Europe/Berlin",
         terminals=6, week=_SHOP, holidays=_GERMAN),
    Shop(store_id="ber3", merchant_id="bistro", region="berlin", carrier="ta", time_zone="Europe/Berlin",
         terminals=5, week=_BISTRO, holidays=_GERMAN),
    Shop(store_id="ham1", merchant_id="bistro", region="hamburg", carrier="tb", time_zone="Europe/Berlin",
         terminals=5, week=_BISTRO, holidays=_GERMAN),
    Shop(store_id="ham2", merchant_id="fuel", region="hamburg", carrier="ta", time_zone="Europe/Berlin", terminals=4),
    Shop(store_id="lon1", merchant_id="markt", region="london", carrier="tb", time_zone="Europe/London",
         terminals=6, week=_SHOP, holidays={"2026-12-25": (), "2026-12-28": (), "2027-01-01": ()}),
    Shop(store_id="nyc1", merchant_id="markt", region="newyork", carrier="tc", time_zone="America/New_York",
         terminals=6, week=_MALL, holidays=_AMERICAN),
    Shop(store_id="sha1", merchant_id="bistro", region="shanghai", carrier="td", time_zone="Asia/Shanghai",
         terminals=6, week=_MALL, holidays=_CHINESE),
    Shop(store_id="sha2", merchant_id="fuel", region="shanghai", carrier="td", time_zone="Asia/Shanghai", terminals=3),
    Shop(store_id="bre1", merchant_id="kiosk", region="hamburg", carrier="tc", time_zone="Europe/Berlin",
         terminals=1, week=_SHOP, holidays=_GERMAN),
)  # fmt: skip
"""Fifty terminals: chains and a kiosk, a lunch break, hours to midnight, two stations that never close, zones that
change their clocks and one that does not."""


def enter(repository: Repository, shops: tuple[Shop, ...], now: datetime) -> None:
    """Write the inventory, as people have entered it."""
    merchants = sorted({shop.merchant_id for shop in shops})
    _insert(repository, MerchantRow, [{"merchant_id": name, "name": name, "created_at": now} for name in merchants])
    _insert(repository, StoreRow, [_store(shop, now) for shop in shops])
    terminals = [
        {"terminal_id": name, "store_id": shop.store_id, "life_cycle": "live", "created_at": now}
        for shop in shops
        for name in shop.terminal_ids
    ]
    _insert(repository, TerminalRow, terminals)


def _store(shop: Shop, now: datetime) -> dict[str, object]:
    return {
        "store_id": shop.store_id,
        "merchant_id": shop.merchant_id,
        "name": shop.store_id,
        "region": shop.region,
        "carrier": shop.carrier,
        "time_zone": shop.time_zone,
        "opening_hours": {day: [list(span) for span in hours] for day, hours in zip(DAYS, shop.week, strict=False)},
        "holidays": {day: [list(span) for span in hours] for day, hours in shop.holidays.items()},
        "watch": shop.watch,
        "created_at": now,
    }


def _insert(repository: Repository, row: type[Table], values: list[dict[str, object]]) -> None:
    table = table_of(row)
    known = [{name: value for name, value in line.items() if name in table.c} for line in values]
    repository.connection.execute(insert(table), known)
