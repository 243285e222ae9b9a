"""Batteries and uninterruptible supplies, as Linux tells of them: text of sysfs in, a reading out.

Each supply has a file `uevent` of lines `POWER_SUPPLY_KEY=value` (kernel, ABI/testing/sysfs-class-power). Batteries and
UPSs together are one component, UnifiedPOS's POSPower: what matters is whether the till runs from them, for how long
yet, and whether they will hold the next time.

What is decided here:
- **On battery** is a battery that discharges; where none says so, a mains that is off while no other is on.
- **Low** has two thresholds, one to raise it and a better one to clear it; a level that the supply itself calls
  critical is low whatever its percentage.
- **Bad** is what the supply says of its health, or a capacity of less than half of what it was made for.
- **What a supply does not tell is undetermined.** A machine without battery and UPS has no such component.

A change violates this when a supply that tells nothing reads `ok`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode, Health, Kind, PowerState

COMPONENT: Final = f"{Kind.POS_POWER}:self"

SUPPLIES_MAX = 16
"""A machine has two or three."""

LOW_PCT, ENOUGH_PCT = 20.0, 30.0
"""Low is raised at the first and cleared above the second: a quarter of an hour of an ageing battery."""
WORN_PCT = 50.0
"""Of the capacity that it was made for."""

_BATTERIES: Final = frozenset({"Battery", "UPS"})
_MAINS: Final = frozenset({"Mains", "USB"})
_BAD_HEALTH: Final = frozenset({"Dead", "Over voltage", "Unspecified failure", "Overheat", "Watchdog timer expire"})
_LOW_LEVELS: Final = frozenset({"Critical", "Low"})
_DISCHARGING: Final = "Discharging"

CODES: Final = frozenset({ConditionCode.ON_BATTERY, ConditionCode.BATTERY_LOW, ConditionCode.BATTERY_BAD})


@dataclass(frozen=True, kw_only=True, slots=True)
class Supply:
    """What one supply tells; each field None where it does not."""

    kind: str
    is_online: bool | None = None
    status: str | None = None
    health: str | None = None
    level: str | None = None
    charge_pct: float | None = None
    capacity_pct: float | None = None
    """What it holds when full, of what it was made for."""
    celsius: float | None = None
    volts: float | None = None
    maker: str | None = None
    model: str | None = None

    @property
    def is_battery(self) -> bool:
        """Whether it can run the machine by itself; one that is taken out or is a peripheral's cannot."""
        return self.kind in _BATTERIES


def read_supply(uevent: bytes) -> Supply | None:
    """Read one supply's `uevent`; None where it is none of this machine's."""
    lines = (line.partition("=") for line in uevent.decode("utf-8", errors="replace").splitlines())
    told = {key.removeprefix("POWER_SUPPLY_"): value.strip() for key, found, value in lines if found and value.strip()}
    kind = told.get("TYPE")
    if kind is None or told.get("SCOPE") == "Device" or told.get("PRESENT") == "0":
        return None  # a mouse's battery, or an empty bay
    full, design = (
        _number(told, "ENERGY_FULL", "CHARGE_FULL"),
        _number(told, "ENERGY_FULL_DESIGN", "CHARGE_FULL_DESIGN"),
    )
    tenths, microvolts = _number(told, "TEMP"), _number(told, "VOLTAGE_NOW")
    return Supply(
        kind=kind,
        is_online={"0": False, "1": True, "2": True}.get(told.get("ONLINE", "")),
        status=told.get("STATUS"),
        health=told.get("HEALTH"),
        level=told.get("CAPACITY_LEVEL"),
        charge_pct=_number(told, "CAPACITY"),
        capacity_pct=round(100 * full / design, 1) if full is not None and design else None,
        celsius=None if tenths is None else tenths / 10,
        volts=None if microvolts is None else round(microvolts / 1e6, 2),
        maker=told.get("MANUFACTURER"),
        model=told.get("MODEL_NAME"),
    )


def observe(supplies: Iterable[Supply], raised: frozenset[str]) -> Observation | None:
    """Say how the machine's batteries are; None where it has none. `raised` are the codes of the last look."""
    supplies = tuple(supplies)
    batteries = tuple(supply for supply in supplies if supply.is_battery)
    if not batteries:
        return None
    verdicts: dict[str, bool | None] = {
        ConditionCode.ON_BATTERY: _on_battery(supplies),
        ConditionCode.BATTERY_LOW: _any(_is_low(b, was_low=ConditionCode.BATTERY_LOW in raised) for b in batteries),
        ConditionCode.BATTERY_BAD: _any(_is_bad(battery) for battery in batteries),
    }
    if all(held is None for held in verdicts.values()):
        return Observation(component=COMPONENT, health=Health.UNKNOWN, reason="not_told", undetermined=CODES)
    true = {code: _detail(code, batteries) for code, held in verdicts.items() if held}
    return Observation(
        component=COMPONENT,
        health=Health.FAULT if true else Health.OK,
        power_state=PowerState.ONLINE,
        true_codes=true,
        undetermined=frozenset(code for code, held in verdicts.items() if held is None),
        measures=_measures(batteries),
        facts=_facts(batteries),
    )


def _on_battery(supplies: Iterable[Supply]) -> bool | None:
    supplies = tuple(supplies)
    states = [supply.status for supply in supplies if supply.is_battery and supply.status not in {None, "Unknown"}]
    if states:
        return _DISCHARGING in states
    mains = [supply.is_online for supply in supplies if supply.kind in _MAINS and supply.is_online is not None]
    return not any(mains) if mains else None


def _is_low(battery: Supply, *, was_low: bool) -> bool | None:
    if battery.level in _LOW_LEVELS:
        return True
    if battery.charge_pct is None:
        return None if battery.level in {None, "Unknown"} else False
    return battery.charge_pct <= (ENOUGH_PCT if was_low else LOW_PCT)


def _is_bad(battery: Supply) -> bool | None:
    if battery.health in _BAD_HEALTH:
        return True
    if battery.capacity_pct is not None:
        return battery.capacity_pct < WORN_PCT
    return None if battery.health in {None, "Unknown"} else False


def _any(held: Iterable[bool | None]) -> bool | None:
    """One is enough; none, if all were told; else it is not known."""
    told = tuple(held)
    return True if True in told else None if None in told else False


def _detail(code: str, batteries: Iterable[Supply]) -> str | None:
    told = {
        ConditionCode.BATTERY_LOW: [f"{b.charge_pct:g} %" for b in batteries if b.charge_pct is not None],
        ConditionCode.BATTERY_BAD: [b.health for b in batteries if b.health in _BAD_HEALTH and b.health],
    }
    return ", ".join(told.get(code, [])) or None


def _measures(batteries: Iterable[Supply]) -> dict[str, float | int]:
    """Tell the worst of each."""
    batteries = tuple(batteries)
    worst = {
        "battery_pct": _least(b.charge_pct for b in batteries),
        "battery_capacity_pct": _least(b.capacity_pct for b in batteries),
        "battery_volts": _least(b.volts for b in batteries),
        "battery_celsius": max((b.celsius for b in batteries if b.celsius is not None), default=None),
    }
    return {name: value for name, value in worst.items() if value is not None}


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _facts(batteries: Iterable[Supply]) -> dict[str, str]:
    first = next(iter(batteries))
    return {name: value for name, value in {"maker": first.maker, "model": first.model}.items() if value}


def _number(told: Mapping[str, str], *keys: str) -> float | None:
    text = next((told[key] for key in keys if key in told), "")
    return float(text) if text.removeprefix("-").isdecimal() and text.isascii() else None
