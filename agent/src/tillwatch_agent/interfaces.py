"""What the kernel and the system's files say of the network: links, addresses, the default route, name servers.

Read, never set; what cannot be read is not there. Where the files lie is a test's to move.
"""

import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from tillwatch_agent.asks import icmp

NAME_SERVERS_MAX: Final = 3
"""As many as the system's resolver asks (MAXNS, resolv.conf(5))."""

_RTF_UP, _RTF_GATEWAY = 0x1, 0x2  # linux/route.h
_IFF_UP = 0x1  # linux/if.h


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """Where the kernel tells of the network."""

    proc: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    resolv_conf: Path = Path("/etc/resolv.conf")
    addresses: Callable[[], Mapping[str, list[Any]]] = psutil.net_if_addrs

    def default_route(self) -> "Route | None":
        """Find the default route with the lowest metric (/proc/net/route, then ipv6_route); None: there is none."""
        return _ipv4_default(self.proc / "net/route") or _ipv6_default(self.proc / "net/ipv6_route")

    def links(self) -> "tuple[Link, ...]":
        """List the interfaces but the loopback."""
        root = self.sysfs / "class/net"
        names = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
        return tuple(self._link(name) for name in names if name != "lo")

    def name_servers(self) -> tuple[str, ...]:
        """List the servers that the system's resolver asks."""
        rows = (line.split() for line in (_read(self.resolv_conf) or "").splitlines())
        servers = [row[1] for row in rows if row[:1] == ["nameserver"] and len(row) > 1]
        return tuple(server for server in dict.fromkeys(servers) if _address(server))[:NAME_SERVERS_MAX]

    def is_beyond(self, address: str) -> bool:
        """Whether an address lies behind the gateway: on no link of this machine, and not this machine."""
        sought = _address(address)
        networks = (network for each in self.addresses().values() for address in each if (network := _network(address)))
        return not (sought is None or sought.is_loopback or sought.is_link_local or any(sought in n for n in networks))

    def may_ping(self) -> bool:
        """Whether this process may send ICMP without a privilege."""
        allowed = _read(self.proc / "sys/net/ipv4/ping_group_range") or ""
        return icmp.is_allowed(allowed, frozenset({os.getegid(), *os.getgroups()}))

    def _link(self, name: str) -> "Link":
        directory = self.sysfs / "class/net" / name
        is_up = bool(int(_read(directory / "flags") or "0", 16) & _IFF_UP)
        state = _read(directory / "operstate")
        carrier = _read(directory / "carrier")  # EINVAL while the interface is set down
        return Link(
            name=name,
            is_up=is_up,
            # Modems and tunnels know no more than "unknown" (Linux, Documentation/networking/operstates.rst).
            has_carrier=is_up and (carrier == "1" or (carrier is None and state in {"up", "unknown"})),
            has_address=any(_is_global(address) for address in self.addresses().get(name, [])),
            carrier_changes=int(_read(directory / "carrier_changes") or "0"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One interface."""

    name: str
    is_up: bool
    has_carrier: bool
    has_address: bool
    carrier_changes: int

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """How far out it leads; the greatest stands for the machine when there is no default route."""
        return self.has_carrier, self.has_address, self.is_up


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A default route; a point-to-point link has no gateway."""

    interface: str
    gateway: str | None
    metric: int


def _ipv4_default(table: Path) -> Route | None:
    rows = [line.split() for line in (_read(table) or "").splitlines()[1:]]
    routes = [_ipv4_route(row) for row in rows if len(row) >= _IPV4_COLUMNS and row[1] == row[7] == "00000000"]
    return min((route for route in routes if route), key=lambda route: route.metric, default=None)


_IPV4_COLUMNS, _IPV6_COLUMNS = 8, 10


def _ipv4_route(row: list[str]) -> Route | None:
    """Read a row: interface, destination, gateway, flags, two counts, metric, mask; addresses in machine order."""
    flags = int(row[3], 16)
    if not flags & _RTF_UP:
        return None
    gateway = socket.inet_ntoa(struct.pack("=L", int(row[2], 16))) if flags & _RTF_GATEWAY else None
    return Route(interface=row[0], gateway=gateway, metric=int(row[6]))


def _ipv6_default(table: Path) -> Route | None:
    rows = [line.split() for line in (_read(table) or "").splitlines()]
    routes = [_ipv6_route(row) for row in rows if len(row) >= _IPV6_COLUMNS and row[:2] == ["0" * 32, "00"]]
    return min((route for route in routes if route), key=lambda route: route.metric, default=None)


def _ipv6_route(row: list[str]) -> Route | None:
    """Read a row: destination, its length, source, its length, next hop, metric, ..., flags, interface."""
    flags, interface = int(row[8], 16), row[9]
    if not flags & _RTF_UP or interface == "lo":
        return None
    hop = ipaddress.IPv6Address(bytes.fromhex(row[4]))
    scoped = f"{hop}%{interface}" if hop.is_link_local else str(hop)
    return Route(interface=interface, gateway=scoped if flags & _RTF_GATEWAY else None, metric=int(row[5], 16))


def _is_global(address: Any) -> bool:
    """Whether an address leads anywhere: what a machine gives itself for want of a lease does not."""
    parsed = _address(address.address) if address.family in {socket.AF_INET, socket.AF_INET6} else None
    return parsed is not None and not (parsed.is_link_local or parsed.is_loopback)


def _network(address: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Give the network that an interface's address is in, as psutil tells it: a mask in the address's own form."""
    mask = _address(getattr(address, "netmask", None) or "")
    if address.family not in {socket.AF_INET, socket.AF_INET6} or mask is None:
        return None
    bare = address.address.partition("%")[0]
    return ipaddress.ip_network(f"{bare}/{int(mask).bit_count()}", strict=False)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
