"""Which attached devices are known by their USB ids, and what to put into the configuration to have them watched.

Nothing is opened and nothing is written to a device: an unknown one on a known port may be anything. What is known by
its maker alone is suggested with its kind; a line that many kinds of device have (an adapter's) is told and left to the
installer. Vendor ids are those of usb.ids (2025.07.26) and of the makers' own udev rules.

A change violates this when a suggestion would have something written to a device that is not what it is taken for: a
printer is suggested with its ids, so that no other device is ever asked in its place.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from tillwatch_agent import plugging, usb
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.plugging import UsbDevice, Wanted
from tillwatch_protocol.vocabulary import Kind

DEVICES_TOLD_MAX: Final = 32
"""A counter has ten; a longer list helps nobody."""

_ROOT_HUB_VENDOR: Final = "1d6b"


class Family(Enum):
    """What a vendor's devices are at a till."""

    ESCPOS = "ESC/POS printer"
    STAR = "Star printer"
    SCANNER = "scanner"
    PIN_PAD = "payment device"
    MODEM = "cellular modem"
    ADAPTER = "serial adapter"


VENDORS: Final = {
    "04b8": ("Epson", Family.ESCPOS),
    "1504": ("Bixolon", Family.ESCPOS),
    "1d90": ("Citizen", Family.ESCPOS),
    "2730": ("Citizen", Family.ESCPOS),
    "0dd4": ("Custom", Family.ESCPOS),
    "154f": ("SNBC", Family.ESCPOS),
    "0519": ("Star", Family.STAR),
    "05e0": ("Symbol", Family.SCANNER),
    "05f9": ("Datalogic", Family.SCANNER),
    "0c2e": ("Honeywell", Family.SCANNER),
    "1eab": ("Newland", Family.SCANNER),
    "11ca": ("VeriFone", Family.PIN_PAD),
    "0b00": ("Ingenico", Family.PIN_PAD),
    "0f14": ("Ingenico", Family.PIN_PAD),
    "0ca6": ("Castles", Family.PIN_PAD),
    "2fb8": ("PAX", Family.PIN_PAD),
    "1753": ("Gertec", Family.PIN_PAD),
    "2c7c": ("Quectel", Family.MODEM),
    "1199": ("Sierra", Family.MODEM),
    "1bc7": ("Telit", Family.MODEM),
    "2cb7": ("Fibocom", Family.MODEM),
    "0403": ("FTDI", Family.ADAPTER),
    "067b": ("Prolific", Family.ADAPTER),
    "1a86": ("QinHeng", Family.ADAPTER),
    "10c4": ("Silicon Labs", Family.ADAPTER),
}
"""Who makes what; makers of many kinds (Samsung, Huawei) are not guessed at."""

_PRINTER_PROTOCOLS: Final = {Family.ESCPOS: "escpos", Family.STAR: "star"}
_PRESENCE_KINDS: Final = {Family.SCANNER: Kind.SCANNER, Family.PIN_PAD: Kind.PIN_PAD, Family.MODEM: Kind.MODEM}


_EXAMPLES: Final = """\
# username = "till-1"
# password_file = "/etc/tillwatch-agent/broker-password"
# ca_file = "/etc/tillwatch-agent/ca.pem"

# What is not recognised by its USB ids: a printer on a serial line, or on the network.
# [[printer]]
# name = "kitchen"
# port = "tcp://192.168.1.50:9100"

# One table for each payment host that the till must reach.
# [[acquirer]]
# name = "main"
# host = "payments.example.com"
# port = 443
"""
"""What stands below [broker], and further tables, in a configuration that is begun."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attached:
    """One device that is attached, as far as it is known."""

    device: UsbDevice
    maker: str | None
    family: Family | None
    node: Path | None
    is_configured: bool

    def __str__(self) -> str:
        """Name it for people: what, from whom, where."""
        names = (self.maker or self.device.manufacturer, self.device.product, f"({self.device.ids})")
        at = f" at {self.node}" if self.node else f" in socket {self.device.location}"
        return " ".join(filter(None, names)) + at


def attached(config: AgentConfig, sysfs: Path = usb.SYSFS, dev: Path = Path("/dev")) -> tuple[Attached, ...]:
    """List what is attached, hubs left out."""
    ports = {Path(line.port).resolve() for line in config.lines if line.port.startswith("/")}
    found = (
        _attached(device, config.wanted, ports, sysfs, dev)
        for device in usb.attached(sysfs)
        if device.ids.vendor_id != _ROOT_HUB_VENDOR and not device.is_hub
    )
    return tuple(found)[:DEVICES_TOLD_MAX]


def suggested(found: Iterable[Attached], config: AgentConfig) -> str:
    """Write the tables that would have the recognised devices watched that are not yet; empty where there are none."""
    found = tuple(found)
    names = {component.partition(":")[2] for component in config.components}
    tables = []
    for each in found:
        if each.is_configured or each.family in {None, Family.ADAPTER}:
            continue
        is_one_of_many = sum(_is_alike(other, each) for other in found) > 1
        place = f'socket = "{each.device.location}"\n' if is_one_of_many else ""
        table = _printer(each, names) if each.family in _PRINTER_PROTOCOLS and each.node else _presence(each, names)
        tables.append(table + place)
    return "\n".join(tables)


def first_config(host_name: str) -> str:
    """Write what a configuration begins with; the terminal is named after the machine, as far as a name may go."""
    terminal_id = re.sub(r"[^A-Za-z0-9_-]+", "-", host_name.partition(".")[0]).strip("-")[:64] or "till-1"
    return (
        "# Written by tillwatch-agent doctor --write; agent.example.toml explains every key. What begins with # is an\n"
        "# example: take the # away where it is so at this till, and ask doctor again.\n"
        f'terminal_id = "{terminal_id}"\n'
        '# state_dir = "/var/lib/tillwatch-agent"\n\n'
        '[broker]\n# The address of your broker; without it nothing is reported.\nhost = "127.0.0.1"\n' + _EXAMPLES
    )


def _attached(device: UsbDevice, wanted: tuple[Wanted, ...], ports: set[Path], sysfs: Path, dev: Path) -> Attached:
    maker, family = VENDORS.get(device.ids.vendor_id, (None, None))
    nodes = [
        node
        for subsystem in ("usbmisc", "tty")
        for node in usb.nodes(device.ids, subsystem, sysfs, dev, location=device.location)
    ]
    is_watched = any(plugging.is_wanted(device, each) for each in wanted) or not ports.isdisjoint(nodes)
    return Attached(
        device=device, maker=maker, family=family, node=nodes[0] if nodes else None, is_configured=is_watched
    )


def _is_alike(one: Attached, other: Attached) -> bool:
    return (one.device.ids.vendor_id, one.device.ids.product_id) == (
        other.device.ids.vendor_id,
        other.device.ids.product_id,
    )


def _printer(each: Attached, names: set[str]) -> str:
    protocol = _PRINTER_PROTOCOLS[each.family] if each.family else ""
    return (
        f"\n# {_commented(each)}\n[[printer]]\n"
        f'name = "{_free_name("printer", names)}"\nprotocol = "{protocol}"\nport = "{each.node}"\n{_ids(each)}'
    )


def _presence(each: Attached, names: set[str]) -> str:
    kind = _PRESENCE_KINDS.get(each.family, Kind.USB_DEVICE) if each.family else Kind.USB_DEVICE
    return f'\n# {_commented(each)}\n[[usb_device]]\nname = "{_free_name(kind, names)}"\nkind = "{kind}"\n{_ids(each)}'


def _ids(each: Attached) -> str:
    return f'vendor_id = "{each.device.ids.vendor_id}"\nproduct_id = "{each.device.ids.product_id}"\n'


def _commented(each: Attached) -> str:
    """Give its name as a comment of one line: a device may call itself anything."""
    return "".join(character if character.isprintable() else " " for character in str(each))


def _free_name(stem: str, names: set[str]) -> str:
    name = next(name for number in range(1, len(names) + 2) if (name := f"{stem}-{number}") not in names)
    names.add(name)
    return name
