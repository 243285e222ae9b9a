"""The network's probe: gathers evidence of the way out and of every acquirer, from the link outwards.

Where a modem may be the way out, what its own probe saw last stands in the evidence as its registration.

Gathers and measures; what it means is `diagnosis`'s. Every wait has a limit, and all are asked at once, so that a look
takes as long as its slowest part: at worst an acquirer's, which is below the poll's 30 s. What cannot work is left
unasked.

A shop's line carries payments and may be metered: at most `pulse.BYTES_PER_S_MAX` on average. A look that the allowance
does not hold is not made, and what is costly in it, handshakes and replies, goes to the acquirers by turns. A broker is
not asked here: the agent's own connection to it is the proof, and thousands of terminals would ask at once.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from tillwatch_agent import reach, resolver
from tillwatch_agent.asks import http
from tillwatch_agent.checks import with_modem
from tillwatch_agent.config import AcquirerConfig, NetworkConfig
from tillwatch_agent.diagnosis import diagnose
from tillwatch_agent.evidence import (
    AcquirerEvidence,
    ClockEvidence,
    Connect,
    Domain,
    Evidence,
    Gateway,
    Names,
    NameServerEvidence,
    Portal,
    ServerSaid,
    WanEvidence,
)
from tillwatch_agent.floor import BUILT_AT
from tillwatch_agent.health import Observation
from tillwatch_agent.interfaces import Kernel, Link
from tillwatch_agent.pulse import measured
from tillwatch_agent.reach import AcquirerTarget, Purse, TlsContexts
from tillwatch_agent.resolver import Lookup
from tillwatch_protocol.vocabulary import NETWORK_UPLINK

THREADS_MAX: Final = 24
"""Sixteen acquirers, four far targets, the gateway, the names, a page: all at once, for the seconds of one look."""


class NetworkProbe:
    """Looks at the way out and at every acquirer, and says how they are."""

    hangs_on_plug = False

    def __init__(
        self,
        *,
        network: NetworkConfig,
        acquirers: tuple[AcquirerConfig, ...],
        kernel: Kernel | None = None,
        modem: Callable[[], Observation | None] | None = None,
    ) -> None:
        self.name = NETWORK_UPLINK
        self.poll_s = network.poll_s
        self.seen: Evidence | None = None
        """The evidence of the last look."""
        self._network = network
        self._kernel = kernel or Kernel()
        self._modem = modem
        self._contexts = TlsContexts()
        self._purse = Purse()
        self._targets = tuple(AcquirerTarget(acquirer, self._contexts, self._purse) for acquirer in acquirers)
        self._turn = 0

    def poll(self) -> tuple[Observation, ...]:
        """Look once, if the allowance holds a look; never raises for what a network does."""
        if not self._purse.pay(self._cost_bytes):
            return ()
        look = self._modem() if self._modem else None
        self.seen = with_modem(self.gather(), [look], look.component) if look else self.gather()
        return diagnose(self.seen)

    def forget(self) -> None:
        """Drop remembered addresses and read the CA files anew."""
        self._contexts.forget()
        for target in self._targets:
            target.forget()

    def close(self) -> None:
        """Nothing is held between looks."""

    def gather(self) -> Evidence:
        """Collect the evidence."""
        local, gateway = self._local()
        if not (local.has_link and local.has_address and local.has_route):
            return replace(local, acquirers=tuple(target.unasked() for target in self._targets))
        with ThreadPoolExecutor(max_workers=THREADS_MAX, thread_name_prefix="network") as pool:
            asked = self._asked(pool, gateway, may_ping=local.may_ping)
        return self._joined(local, asked)

    @property
    def _cost_bytes(self) -> int:
        """What a look costs at most, but for handshakes and replies."""
        names = sum(not resolver.is_address(target.host) for target in self._targets) + 1
        far = len(self._network.wan_targets)
        return (
            reach.LOOKUP_COST * names
            + reach.UDP_COST * len(self._kernel.name_servers())
            + reach.CONNECT_COST * (len(self._targets) + far + len(reach.GATEWAY_TCP_PORTS))
            + reach.SAMPLES_COST * (1 + bool(far))
            + (reach.PAGE_COST if self._network.portal_url else 0)
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
        return Evidence(
            has_link=link.has_carrier,
            has_address=link.has_address,
            has_route=route is not None,
            may_ping=self._kernel.may_ping(),
            clock=clock_seen(datetime.now(UTC)),
            details={
                Domain.LINK: _link_said(link),
                Domain.ADDRESS: link.name,
                Domain.GATEWAY: gateway or "",
                Domain.NAMES: self._name_asked() or "",
            },
            measures={"carrier_changes": link.carrier_changes},
            facts={"interface": link.name} | ({"gateway": gateway} if gateway else {}),
        ), gateway

    def _asked(self, pool: Executor, gateway: str | None, *, may_ping: bool) -> "_Asked":
        """Ask all at once; where handshakes are too many for the allowance, others have theirs each time."""
        network, name = self._network, self._name_asked()
        first = self._turn % max(len(self._targets), 1)
        self._turn += 1
        by_turns = sorted(range(len(self._targets)), key=lambda at: (at - first) % len(self._targets))
        acquirers = {at: pool.submit(self._targets[at].ask) for at in by_turns}
        return _Asked(
            gateway=pool.submit(reach.ask_gateway, gateway, may_ping=may_ping),
            names=pool.submit(_ask_names, name) if name else None,
            name_servers=tuple(
                pool.submit(reach.ask_name_server, server, name or "", is_beyond=self._kernel.is_beyond(server))
                for server in (self._kernel.name_servers() if name else ())
            ),
            far=tuple(pool.submit(reach.ask_far, target) for target in network.wan_targets),
            pulse=pool.submit(reach.sample_far, network.wan_targets),
            portal=pool.submit(reach.ask_portal, network.portal_url, network.portal_says)
            if network.portal_url
            else None,
            acquirers=tuple(acquirers[at] for at in range(len(self._targets))),
        )

    def _joined(self, local: Evidence, asked: "_Asked") -> Evidence:
        """Put the answers beside what the kernel said."""
        gateway, samples = asked.gateway.result()
        names, dns_ms = asked.names.result() if asked.names else (Names.NOT_ASKED, None)
        portal, page, portal_ms = asked.portal.result() if asked.portal else (Portal.NOT_ASKED, None, None)
        servers = tuple(future.result() for future in asked.name_servers)
        far = tuple(future.result() for future in asked.far)
        acquirers = tuple(future.result() for future in asked.acquirers)
        timed = {"dns_ms": dns_ms, "portal_ms": portal_ms}
        return replace(
            local,
            gateway=gateway,
            names=names,
            name_servers=servers,
            wan=far,
            portal=portal,
            acquirers=acquirers,
            clock=self._clock(page if portal is Portal.OPEN else None, acquirers),
            details={
                **local.details,
                Domain.NAMES: "; ".join(filter(None, (local.details[Domain.NAMES], *map(_server_said, servers)))),
                Domain.WAN: ", ".join(_silent(far, acquirers)),
                Domain.PORTAL: _page_said(self._network.portal_url, page),
            },
            measures={
                **local.measures,
                **measured("gateway", samples),
                **measured("wan", asked.pulse.result()),
                **{name: ms for name, ms in timed.items() if ms is not None},
            },
        )

    def _clock(self, page: http.Page | None, acquirers: tuple[AcquirerEvidence, ...]) -> ClockEvidence:
        """Hold the clock against a time server where a certificate was refused for its times, else against a page."""
        server = self._network.time_server
        if server and any(seen.verify_code in reach.TIME_CODES for seen in acquirers):
            offset_s = reach.ask_time(server)
            if offset_s is not None:
                return clock_seen(datetime.now(UTC), offset_s=offset_s, source=server)
        if page and page.date:
            now = datetime.now(UTC)
            offset_s = (page.date - now).total_seconds()
            return clock_seen(now, offset_s=offset_s, source=self._network.portal_url)
        return clock_seen(datetime.now(UTC))

    def _name_asked(self) -> str | None:
        """Take the configured name, else the first acquirer's."""
        names = (target.host for target in self._targets if not resolver.is_address(target.host))
        return self._network.dns_name or next(names, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """The questions of one look, under way."""

    gateway: "Future[tuple[Gateway, tuple[float | None, ...]]]"
    names: "Future[tuple[Names, float | None]] | None"
    name_servers: "tuple[Future[NameServerEvidence], ...]"
    far: "tuple[Future[WanEvidence], ...]"
    pulse: "Future[tuple[float | None, ...]]"
    portal: "Future[tuple[Portal, http.Page | None, float | None]] | None"
    acquirers: "tuple[Future[AcquirerEvidence], ...]"


def clock_seen(at: datetime, *, offset_s: float | None = None, source: str | None = None) -> ClockEvidence:
    """Say how a clock stands against the floor, and against what was told."""
    return ClockEvidence(at=at, offset_s=offset_s, source=source, is_below_floor=at < BUILT_AT)


def _ask_names(name: str) -> tuple[Names, float | None]:
    found, spent_ms = reach.timed(lambda: resolver.resolve(name, reach.NAMES_TIMEOUT_S))
    return (Names.FAILED, None) if found.lookup is Lookup.NO_ANSWER else (Names.ANSWERED, spent_ms)


def _link_said(link: Link) -> str:
    if link.has_carrier:
        return link.name
    return f"{link.name} has no carrier" if link.is_up else f"{link.name} is set down"


def _server_said(server: NameServerEvidence) -> str | None:
    """Tell what a server said that did not do its work."""
    if server.said is ServerSaid.ANSWERED:
        return None
    code = f" with code {server.rcode}" if server.rcode is not None else ""
    return f"{server.address} {server.said}{code}"


def _silent(far: Iterable[WanEvidence], acquirers: Iterable[AcquirerEvidence]) -> tuple[str, ...]:
    targets = [seen.target for seen in far if seen.connect is Connect.SILENT]
    return (*targets, *(seen.address or seen.name for seen in acquirers if seen.connect is Connect.SILENT))


def _page_said(url: str | None, page: http.Page | None) -> str:
    if page is None:
        return url or ""
    return f"{url}: status {page.status}" + (f", to {page.location}" if page.location else "")
