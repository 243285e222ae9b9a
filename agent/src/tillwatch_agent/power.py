"""The machine's own power, read from sysfs: batteries and uninterruptible supplies, where there are any.

A machine that has none has no component of it. One that was seen and is gone is not attached.
"""

from pathlib import Path
from typing import Final

from tillwatch_agent.drivers import power_supply
from tillwatch_agent.drivers.power_supply import COMPONENT, SUPPLIES_MAX, Supply
from tillwatch_agent.health import Observation
from tillwatch_agent.plugging import not_attached
from tillwatch_agent.usb import SYSFS

UEVENT_BYTES_MAX: Final = 4096
"""A page: sysfs has no more in one file."""


class PowerProbe:
    """Looks at every supply of the machine."""

    hangs_on_plug = False

    def __init__(self, *, poll_s: float, sysfs: Path = SYSFS) -> None:
        self.name = COMPONENT
        self.poll_s = poll_s
        self._sysfs = sysfs
        self._raised: frozenset[str] = frozenset()
        self._was_seen = False

    def poll(self) -> tuple[Observation, ...]:
        """Look once; nothing, where there never was a battery."""
        seen = power_supply.observe(supplies(self._sysfs), self._raised)
        if seen is None:
            return (not_attached(COMPONENT, "no battery and no UPS"),) if self._was_seen else ()
        self._was_seen = True
        self._raised = frozenset(seen.true_codes)
        return (seen,)

    def forget(self) -> None:
        """Begin anew: no condition was raised."""
        self._raised = frozenset()

    def close(self) -> None:
        """Nothing is held."""


def supplies(sysfs: Path = SYSFS) -> tuple[Supply, ...]:
    """Read every supply that can be read; what goes while it is read is not there."""
    try:
        names = sorted((sysfs / "class/power_supply").iterdir())[:SUPPLIES_MAX]
    except OSError:
        return ()
    told = (power_supply.read_supply(uevent) for name in names if (uevent := _read(name / "uevent")))
    return tuple(supply for supply in told if supply is not None)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(UEVENT_BYTES_MAX)
    except OSError:
        return b""
