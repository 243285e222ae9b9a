"""Network evidence: what the kernel says of the link, and what the gateway, the name service and the acquirers answer.

Gathers and measures; what it means is `diagnosis`'s. Nothing needs a privilege: the gateway is proved by TCP, where a
refusal is an answer, since ICMP is off for the unprivileged by default on Linux (`ping_group_range` 1 0). Every wait
has a limit, and all are asked at once, so that a look takes as long as its slowest part: at worst an acquirer's, which
is `2 * NAMES_TIMEOUT_S + TCP_TIMEOUT_S * ADDRESSES_MAX + TLS_TIMEOUT_S`, below the poll's 30 s.
"""

import errno
import ipaddress
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil

from tillwatch_agent import resolver
from tillwatch_agent.config import AcquirerConfig, NetworkConfig
from tillwatch_agent.diagnosis import AcquirerEvidence, Connect, Domain, Evidence, Gateway, Names, Tls, diagnose
from tillwatch_agent.health import Observation
from tillwatch_agent.resolver import Found, Lookup
from tillwatch_protocol.vocabulary import NETWORK_UPLINK

GATEWAY_TIMEOUT_S = 4.0
"""The kernel gives up asking for a dead neighbour's address after 3 s; that answer is worth waiting for."""
NAMES_TIMEOUT_S = 4.0
"""Below the system resolver's own 5 s a server; a till that waits longer at a payment has lost the customer."""
TCP_TIMEOUT_S = 4.0
TLS_TIMEOUT_S = 4.0

GATEWAY_TCP_PORTS: Final = (80, 53)
"""Asked in turn until one is an answer; most shop routers have a page or a name service, the others refuse."""

_RTF_UP, _RTF_GATEWAY = 0x1, 0x2  # linux/route.h
_IFF_UP = 0x1  # linux/if.h


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """Where the kernel tells of the network; the roots are a test's to move."""

    proc: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    addresses: Callable[[], Mapping[str, list[Any]]] = psutil.net_if_addrs

    def default_route(self) -> "Route | None":
        """Find the default route with the lowest metric (/proc/net/route, then ipv6_route); None: there is none."""
        return _ipv4_default(self.proc / "net/route") or _ipv6_default(self.proc / "net/ipv6_route")

    def links(self) -> "tuple[Link, ...]":
        """List the interfaces but the loopback."""
        root = self.sysfs / "class/net"
        names = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
        return tuple(self._link(name) for name in names if name != "lo")

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


class NetworkProbe:
    """Looks at the way out and at every acquirer, and says how they are."""

    def __init__(
        self, *, network: NetworkConfig, acquirers: tuple[AcquirerConfig, ...], kernel: Kernel | None = None
    ) -> None:
        self.name = NETWORK_UPLINK
        self.poll_s = network.poll_s
        self._network = network
        self._kernel = kernel or Kernel()
        self._contexts = TlsContexts()
        self._targets = tuple(AcquirerTarget(acquirer, self._contexts) for acquirer in acquirers)

    def poll(self) -> tuple[Observation, ...]:
        """Look once; never raises for what a network does."""
        return diagnose(self.gather())

    def forget(self) -> None:
        """Drop remembered addresses and read the CA files anew."""
        self._contexts.forget()
        for target in self._targets:
            target.forget()

    def close(self) -> None:
        """Nothing is held between looks."""

    def gather(self) -> Evidence:
        """Collect the evidence, from the link outwards; what cannot work is not asked."""
        evidence, gateway = self._local()
        if not (evidence.has_link and evidence.has_address and evidence.has_route):
            return replace(evidence, acquirers=tuple(target.unasked() for target in self._targets))
        with ThreadPoolExecutor(max_workers=len(self._targets) + 2, thread_name_prefix="network") as pool:
            asked_gateway = pool.submit(ask_gateway, gateway)
            asked_names = pool.submit(self._ask_names)
            asked = [pool.submit(target.ask) for target in self._targets]
        state, gateway_ms = asked_gateway.result()
        names, dns_ms = asked_names.result()
        measured = {"gateway_ms": gateway_ms, "dns_ms": dns_ms}
        acquirers = tuple(future.result() for future in asked)
        return replace(
            evidence,
            gateway=state,
            names=names,
            acquirers=acquirers,
            measures={**evidence.measures, **{name: ms for name, ms in measured.items() if ms is not None}},
        )

    def _local(self) -> tuple[Evidence, str | None]:
        """Read what the kernel says, and which gateway to ask."""
        links = self._kernel.links()
        route = self._kernel.default_route()
        by_route = [link for link in links if route and link.name == route.interface]
        link = by_route[0] if by_route else max(links, key=lambda each: each.rank, default=None)
        gateway = self._network.gateway or (route.gateway if route else None)
        if link is None:
            return Evidence(has_link=False, details={Domain.LINK: "no network interface"}), None
        facts = {"interface": link.name} | ({"gateway": gateway} if gateway else {})
        details = {
            Domain.LINK: f"{link.name} has no carrier" if link.is_up else f"{link.name} is set down",
            Domain.ADDRESS: link.name,
            Domain.GATEWAY: gateway or "",
            Domain.NAMES: self._name_asked() or "",
        }
        return Evidence(
            has_link=link.has_carrier,
            has_address=link.has_address,
            has_route=route is not None,
            details=details,
            measures={"carrier_changes": link.carrier_changes},
            facts=facts,
        ), gateway

    def _name_asked(self) -> str | None:
        """Take the configured name, else the first acquirer's."""
        names = (target.host for target in self._targets if not resolver.is_address(target.host))
        return self._network.dns_name or next(names, None)

    def _ask_names(self) -> tuple[Names, float | None]:
        name = self._name_asked()
        if name is None:
            return Names.NOT_ASKED, None
        found, spent_ms = _timed(lambda: resolver.resolve(name, NAMES_TIMEOUT_S))
        return (Names.FAILED, None) if found.lookup is Lookup.NO_ANSWER else (Names.ANSWERED, spent_ms)


class AcquirerTarget:
    """One acquirer: where it is, and the addresses it had last."""

    def __init__(self, acquirer: AcquirerConfig, contexts: "TlsContexts") -> None:
        self.host = acquirer.host
        self._acquirer = acquirer
        self._contexts = contexts
        self._remembered: Found | None = None

    def forget(self) -> None:
        """Drop the remembered addresses."""
        self._remembered = None

    def unasked(self) -> AcquirerEvidence:
        """Say that it was not asked."""
        return AcquirerEvidence(name=self._acquirer.name)

    def ask(self) -> AcquirerEvidence:
        """Look up, connect, and shake hands, each phase in its time."""
        found, dns_ms = _timed(lambda: resolver.resolve(self.host, NAMES_TIMEOUT_S))
        measures = {} if resolver.is_address(self.host) or found.lookup is Lookup.NO_ANSWER else {"dns_ms": dns_ms}
        seen = AcquirerEvidence(name=self._acquirer.name, measures=measures)
        if found.lookup is Lookup.NO_SUCH_NAME:
            return replace(seen, connect=Connect.NO_SUCH_NAME, detail=f"no such name: {self.host}")
        is_remembered = found.lookup is Lookup.NO_ANSWER
        if is_remembered and self._remembered is None:
            return replace(seen, connect=Connect.NO_NAME_SERVICE)
        known = self._remembered if is_remembered and self._remembered else found
        self._remembered = known
        return self._connect(replace(seen, by_remembered_address=is_remembered), known.addresses)

    def _connect(self, seen: AcquirerEvidence, addresses: tuple[str, ...]) -> AcquirerEvidence:
        """Try the addresses in turn until one answers, if only by a refusal."""
        for address in addresses:
            seen = replace(seen, address=address)
            started_s = time.monotonic()
            try:
                connection = socket.create_connection((address, self._acquirer.port), TCP_TIMEOUT_S)
            except ConnectionRefusedError:
                return replace(seen, connect=Connect.REFUSED, detail=f"{address} refused")
            except OSError as error:
                seen = replace(seen, connect=Connect.SILENT, detail=f"{address}: {error.strerror or 'timed out'}")
                continue
            with connection:
                seen = replace(seen, connect=Connect.CONNECTED, detail=None)
                seen = _measured(seen, tcp_ms=_ms_since(started_s))
                return self._shake_hands(seen, connection) if self._acquirer.tls else seen
        return seen

    def _shake_hands(self, seen: AcquirerEvidence, connection: socket.socket) -> AcquirerEvidence:
        try:
            context = self._contexts.of(self._acquirer.ca_file)
        except OSError as error:
            return replace(seen, tls=Tls.NO_CA, detail=f"{self._acquirer.ca_file}: {error}")
        started_s = time.monotonic()
        connection.settimeout(TLS_TIMEOUT_S)
        try:
            with context.wrap_socket(connection, server_hostname=self.host) as secured:
                seen = _measured(seen, tls_ms=_ms_since(started_s))
                return replace(seen, tls=Tls.TRUSTED, certificate_days_left=_days_left(secured))
        except ssl.SSLCertVerificationError as error:
            return replace(seen, tls=Tls.UNVERIFIED, verify_code=error.verify_code, detail=error.verify_message)
        except OSError as error:
            return replace(seen, tls=Tls.FAILED, detail=getattr(error, "reason", None) or error.strerror or "timed out")


class TlsContexts:
    """One TLS context for each CA file, made at its first use: a context with the system's authorities costs 2 MiB."""

    def __init__(self) -> None:
        self._made: dict[Path | None, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def of(self, ca_file: Path | None) -> ssl.SSLContext:
        """Find or make one; raises `OSError` (`ssl.SSLError` among them) when the file is no CA file."""
        with self._lock:
            if ca_file not in self._made:
                self._made[ca_file] = ssl.create_default_context(cafile=ca_file)
            return self._made[ca_file]

    def forget(self) -> None:
        """Read the files anew at the next use."""
        with self._lock:
            self._made.clear()


def ask_gateway(address: str | None) -> tuple[Gateway, float | None]:
    """Ask the gateway for a sign of life; the time in ms is that of the sign."""
    for port in GATEWAY_TCP_PORTS if address else ():
        started_s = time.monotonic()
        try:
            socket.create_connection((address, port), GATEWAY_TIMEOUT_S).close()
        except ConnectionRefusedError:
            return Gateway.ALIVE, _ms_since(started_s)
        except OSError as error:
            if error.errno == errno.EHOSTUNREACH:
                return Gateway.DEAD, None
        else:
            return Gateway.ALIVE, _ms_since(started_s)
    return (Gateway.SILENT if address else Gateway.NOT_ASKED), None


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
    if address.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    parsed = ipaddress.ip_address(address.address.partition("%")[0])
    return not (parsed.is_link_local or parsed.is_loopback)


def _days_left(secured: ssl.SSLSocket) -> float | None:
    certificate = secured.getpeercert() or {}
    until = certificate.get("notAfter")
    return (ssl.cert_time_to_seconds(until) - time.time()) / 86_400 if isinstance(until, str) else None


def _measured(seen: AcquirerEvidence, **measures: float) -> AcquirerEvidence:
    return replace(seen, measures={**seen.measures, **measures})


def _timed(call: Callable[[], Found]) -> tuple[Found, float]:
    started_s = time.monotonic()
    return call(), _ms_since(started_s)


def _ms_since(started_s: float) -> float:
    return round((time.monotonic() - started_s) * 1000, 1)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
