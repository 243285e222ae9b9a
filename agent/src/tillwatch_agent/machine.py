"""The computer beside the till: load, memory, disk, temperature, by psutil; and the serial number that it bears.

Each condition has two thresholds, one to raise it and a better one to clear it, so that a value that hovers at one of
them does not turn it again and again. What the machine does not tell (most have no temperature in a container) is not
judged.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil

from tillwatch_agent.config import MachineConfig
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import MACHINE_SELF, ConditionCode, Health, PowerState


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """When a measure becomes a condition, and when it stops being one; `raise_at` lies on the bad side."""

    code: str
    measure: str
    raise_at: float
    clear_at: float

    def judge(self, value: float, *, is_raised: bool) -> bool:
        """Say whether the condition is true now, given whether it was."""
        sign = 1 if self.raise_at > self.clear_at else -1
        return sign * value >= sign * self.raise_at or (is_raised and sign * value > sign * self.clear_at)


THRESHOLDS: Final = (
    # A till's journal and its updates want some room; 5 % of a small 16 GB disk is 800 MB.
    Threshold(code=ConditionCode.DISK_LOW, measure="disk_free_pct", raise_at=5.0, clear_at=8.0),
    # Below this Linux starts to throw out what programs need next.
    Threshold(code=ConditionCode.MEMORY_LOW, measure="memory_available_pct", raise_at=5.0, clear_at=10.0),
    # Processors of tills slow themselves down from some 95 °C.
    Threshold(code=ConditionCode.CPU_HOT, measure="cpu_celsius", raise_at=90.0, clear_at=80.0),
)

CPU_SPAN_S_MIN = 1.0
"""A share of a shorter span is mostly our own work; of none it is 0."""

SERIAL_FACT = "serial_number"

_SERIAL_FILES = (
    # Of the whole computer, then of its board, as its firmware has them (SMBIOS 3.7, 7.2 and 7.3); the kernel lets
    # only root read them. The last is for boards that are described by a device tree, and anyone may read it.
    "class/dmi/id/product_serial",
    "class/dmi/id/board_serial",
    "firmware/devicetree/base/serial-number",
)
_SERIAL_BYTES_MAX = 256
"""A longer one is none: labels bear at most a few dozen characters."""

_NO_SERIALS = frozenset(
    [
        "0123456789",
        "123456789",
        "1234567890",
        "default",
        "defaultstring",
        "empty",
        "na",
        "none",
        "notapplicable",
        "notavailable",
        "notspecified",
        "null",
        "oem",
        "serialnumber",
        "sernum",
        "systemserialnumber",
        "baseboardserialnumber",
        "tobefilledbyoem",
        "unknown",
    ]
)
"""What makers leave where a number belongs, in small letters without spaces and signs."""

_CPU_SENSORS = ("coretemp", "k10temp", "cpu_thermal", "soc_thermal", "zenpower", "acpitz")
"""Chips by which Linux drivers name a processor's temperature, the most direct first."""


class MachineProbe:
    """Looks at the machine it runs on."""

    hangs_on_plug = False

    def __init__(
        self, machine: MachineConfig, clock: Callable[[], float] = time.monotonic, sys: Path = Path("/sys")
    ) -> None:
        self.name = MACHINE_SELF
        self.poll_s = machine.poll_s
        self._disk_path = machine.disk_path
        self._raised: frozenset[str] = frozenset()
        self._clock = clock
        self._cpu_since_s: float | None = None
        serial = serial_number(sys)
        self._facts = {SERIAL_FACT: serial} if serial else {}

    def poll(self) -> tuple[Observation, ...]:
        """Look once; what cannot be measured is left out."""
        observation = judge(measure(self._disk_path) | self._cpu(), self._raised)
        self._raised = frozenset(observation.true_codes)
        return (replace(observation, facts=self._facts),)

    def forget(self) -> None:
        """Begin anew: no condition was raised."""
        self._raised = frozenset()

    def close(self) -> None:
        """Nothing is held."""

    def _cpu(self) -> dict[str, float]:
        """Measure the span since the last call; psutil counts spans by thread, so the first look only opens one."""
        now_s, since_s = self._clock(), self._cpu_since_s
        if since_s is not None and now_s - since_s < CPU_SPAN_S_MIN:
            return {}
        share, self._cpu_since_s = psutil.cpu_percent(), now_s
        return {} if since_s is None else {"cpu_pct": share}


def judge(measures: Mapping[str, float], raised: frozenset[str]) -> Observation:
    """Hold measures against the thresholds; `raised` are the codes that were true at the last look."""
    judged = {
        row.code: row.judge(measures[row.measure], is_raised=row.code in raised)
        for row in THRESHOLDS
        if row.measure in measures
    }
    true = {row.code: f"{row.measure} {measures[row.measure]:g}" for row in THRESHOLDS if judged.get(row.code)}
    return Observation(
        component=MACHINE_SELF,
        health=Health.FAULT if true else Health.OK,
        power_state=PowerState.ONLINE,
        true_codes=dict(true),
        undetermined=frozenset(row.code for row in THRESHOLDS if row.code not in judged),
        measures=dict(measures),
    )


def measure(disk_path: Path) -> dict[str, float]:
    """Measure what one look tells; a disk or a sensor that is not there has no measure."""
    memory = psutil.virtual_memory()
    measures = {
        "load_1m": round(psutil.getloadavg()[0], 2),
        "memory_available_pct": round(100 * memory.available / memory.total, 1),
        "uptime_s": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
    }
    optional = {"disk_free_pct": _disk_free_pct(disk_path), "cpu_celsius": _cpu_celsius()}
    return measures | {name: value for name, value in optional.items() if value is not None}


def wall_clock_s() -> int:
    """Read the wall clock: whole seconds since 1970."""
    return int(time.time())


def host_boot_id(proc: Path = Path("/proc")) -> str:
    """Read what the kernel calls this start of the machine; "unknown" where it does not say."""
    try:
        return (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or "unknown"
    except OSError:
        return "unknown"


def serial_number(sys: Path = Path("/sys")) -> str | None:
    """Read the number by which this computer can be told from another of its kind; None where it does not say.

    What cannot be read has none, nor has what a maker never filled in.
    """
    found = (_serial(sys / name) for name in _SERIAL_FILES)
    return next((serial for serial in found if serial is not None), None)


def _serial(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            told = file.read(_SERIAL_BYTES_MAX + 1)
    except OSError:
        return None
    serial = told.rstrip(b"\0").decode("ascii", errors="replace").strip()
    bare = "".join(character for character in serial.lower() if character.isalnum())
    filled_in = len(set(bare)) > 1 and bare not in _NO_SERIALS  # not all zeros, not all of any one sign
    return (
        serial if filled_in and serial.isprintable() and serial.isascii() and len(told) <= _SERIAL_BYTES_MAX else None
    )


def _disk_free_pct(path: Path) -> float | None:
    try:
        return round(100 - psutil.disk_usage(str(path)).percent, 1)
    except OSError:
        return None


def _cpu_celsius() -> float | None:
    sensors = psutil.sensors_temperatures()
    chip = next((sensors[name] for name in _CPU_SENSORS if sensors.get(name)), None)
    return round(max(sensor.current for sensor in chip), 1) if chip else None
