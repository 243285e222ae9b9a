"""A machine's battery and mains, as Linux's sysfs shows them: the text of their `uevent` files.

Source: kernel, ABI/testing/sysfs-class-power.
"""

from dataclasses import dataclass

FULL_PCT = 96
"""Where this one stops charging."""


@dataclass(kw_only=True)
class Machine:
    """What hangs at a machine; `uevents` gives the text of each file by its supply's name."""

    is_plugged: bool = True
    charge_pct: int = 96
    full_uwh: int = 45_000_000
    health: str = "Good"
    tenths_celsius: int = 287

    def uevents(self) -> dict[str, str]:
        """Write the files as they are now."""
        plugged = "Full" if self.charge_pct >= FULL_PCT else "Charging"
        battery: dict[str, str | int] = {
            "NAME": "BAT0",
            "TYPE": "Battery",
            "STATUS": plugged if self.is_plugged else "Discharging",
            "PRESENT": 1,
            "TECHNOLOGY": "Li-ion",
            "VOLTAGE_NOW": 11_850_000,
            "ENERGY_FULL_DESIGN": 50_000_000,
            "ENERGY_FULL": self.full_uwh,
            "CAPACITY": self.charge_pct,
            "HEALTH": self.health,
            "TEMP": self.tenths_celsius,
            "MODEL_NAME": "TWB-50",
            "MANUFACTURER": "TILLWATCH",
        }
        mains: dict[str, str | int] = {"NAME": "AC", "TYPE": "Mains", "ONLINE": int(self.is_plugged)}
        return {"BAT0": _text(battery), "AC": _text(mains)}


def _text(told: dict[str, str | int]) -> str:
    return "".join(f"POWER_SUPPLY_{key}={value}\n" for key, value in told.items())
