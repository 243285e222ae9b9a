"""Whom a world rolls out to: stores that close while it runs, their tills, a plan, and releases with hidden harm."""

from dataclasses import dataclass
from datetime import datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.scenarios.model import PRINTER
from tests.scenarios.story import HOUR_S

from tillwatch_collector.domain.inventory import Merchant, Store, Terminal
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.repository import Repository
from tillwatch_protocol.vocabulary import ConditionCode
from tillwatch_simulator.releases import Harm, Release, Signed
from tillwatch_simulator.updating import Software

MODEL: Final = "A920"
OPENS = time(8, 0)
SETTLES = time(23, 30)
SETTLEMENT_MARGIN_S: Final = 300.0
AFTER_S: Final = 120.0
BEFORE_S: Final = 3_600.0

CONFIRM_S: Final = 1_500.0
"""Three heartbeats, five minutes apart, and some that a broken line loses."""

COMPONENT, CODE = PRINTER.component, ConditionCode.NO_RESPONSE
"""What a harmful release does, and what befalls tills by themselves, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """Stores that keep the same hours, in the same zone."""

    name: str
    time_zone: str
    closes: time

    def is_free(self, at: datetime) -> bool:
        """Whether its tills may be changed at a moment, by the words of the plan."""
        local = at.astimezone(ZoneInfo(self.time_zone))
        minute = 60 * local.hour + local.minute + local.second / 60
        closes, opens, settles = (60 * one.hour + one.minute for one in (self.closes, OPENS, SETTLES))
        is_closed = minute >= closes + AFTER_S / 60 or minute < opens - BEFORE_S / 60
        return is_closed and abs(minute - settles) >= SETTLEMENT_MARGIN_S / 60


REGIONS: Final = (
    Region(name="coast", time_zone="America/Los_Angeles", closes=time(22, 30)),
    Region(name="rocky", time_zone="America/Denver", closes=time(23, 15)),
)
"""A world begins at 06:00 UTC: it is 22:00 at the coast, 23:00 in the mountains."""

INSTALLED: Final = Signed(release=Release(product="till", version="2.0"), digest="0" * 64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estate:
    """How many stores there are, of how many tills, and how many of them the first wave takes."""

    stores: int = 60
    tills: int = 20
    first_wave: int = 200
    soak_s: float = HOUR_S
    controls_min: int = 1_000
    exposed_max: int = 80
    per_store_max: int = 2

    @property
    def terminals(self) -> int:
        """All of them."""
        return self.stores * self.tills

    def store_of(self, number: int) -> int:
        """Say in which store a terminal stands, both counted from 0."""
        return number // self.tills

    def region_of(self, store: int) -> Region:
        """Say where a store is."""
        return REGIONS[store % len(REGIONS)]

    def enter(self, repository: Repository, terminal_ids: tuple[str, ...], now: datetime) -> None:
        """Tell a collector."""
        inventory = Inventory(repository.connection)
        inventory.put_merchant(Merchant(merchant_id="markt", name="Markt"), now)
        for number in range(self.stores):
            inventory.put_store(_store(number, self.region_of(number)), now)
        for number, terminal_id in enumerate(terminal_ids):
            store_id = _store_id(self.store_of(number))
            inventory.put_terminal(Terminal(terminal_id=terminal_id, store_id=store_id, model=MODEL), now)

    def plan(self) -> dict[str, Any]:
        """Say how it goes out."""
        return {
            "approval": False,
            "waves": [{"count": self.first_wave}],
            "limits": {"exposed_max": self.exposed_max, "per_store_max": self.per_store_max},
            "window": {
                "mode": "closed",
                "after_s": AFTER_S,
                "before_s": BEFORE_S,
                "settlement_at": [f"{SETTLES:%H:%M}"],
                "settlement_margin_s": SETTLEMENT_MARGIN_S,
                "blackouts": [],
            },
            "gate": {
                "soak_s": self.soak_s,
                "failure_pct": 10,
                "executed_min": self.first_wave * 4 // 5,
                "infrastructure_pct": 30,
                "primary": "attributable_fault",
                "alpha": 0.01,
                "looks": 4,
                "controls_min": self.controls_min * 9 // 10,
                "covered_pct": 80,
            },
            "job": {
                "deadline_s": 2_400,
                "reach_s": 6 * HOUR_S,
                "attempts_max": 3,
                "back_off_s": 300,
                "offers_per_minute_max": 100,
            },
        }


def release(harm_pct: float, soak_s: float, *, fails_pct: float = 0.0) -> Signed:
    """Make a release that harms some of its terminals within their soak, once it has proved itself."""
    harm = Harm(share_pct=harm_pct, from_s=1_200.0, until_s=0.9 * soak_s, component=COMPONENT, code=CODE)
    made = Release(product="till", version="2.1", harm=harm if harm_pct else None, fails_pct=fails_pct)
    return Signed(release=made, digest="1" * 64)


def software(signed: Signed) -> Software:
    """Say what tills run, and what they can be offered."""
    return Software(installed=INSTALLED, offered={signed.release.target: signed}, confirm_s=CONFIRM_S)


def _store_id(number: int) -> str:
    return f"s{number:02}"


def _store(number: int, region: Region) -> Store:
    spans = ((f"{OPENS:%H:%M}", f"{region.closes:%H:%M}"),)
    week: Any = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), spans)
    return Store(
        store_id=_store_id(number),
        merchant_id="markt",
        name=f"Markt {number}",
        region=region.name,
        time_zone=region.time_zone,
        opening_hours=week,
    )
