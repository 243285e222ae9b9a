"""A way out as a world, of which an agent sees what it can: faults go in, evidence comes out.

Written from the fault table that was executed in network namespaces (the rows of `tests/live/test_network_lab.py`), and
knows nothing of the diagnosis. What shops differ in is drawn: how the router behaves toward strangers, whose name
service it is, whether acquirers are named or numbered and were reached before, what far targets do. What the evidence
needs is configured: two far targets, a page that is known, a time server.
"""

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tillwatch_agent.asks.validity import Validity
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
    Reply,
    ServerSaid,
    Tls,
    WanEvidence,
)

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
ROUTER, FAR_NAMES = "192.168.1.1", ("198.51.100.53", "198.51.100.54")
FAR = ("203.0.113.1:53", "203.0.113.2:443")


class Fault(StrEnum):
    """What befalls a way out, or an acquirer at its end."""

    SET_DOWN = "link set down"
    CABLE_OUT = "cable out"
    NO_LEASE = "no lease"
    SELF_GIVEN = "address given to itself"
    NO_ROUTE = "no default route"
    ROUTER_OFF = "router off"
    ROUTER_MOVED = "router has another address"
    NAMES_FAIL = "name service fails"
    NAMES_REFUSE = "name service refuses"
    NAMES_CLOSED = "name service not running"
    NAMES_SILENT = "name service silent"
    BLACK_HOLE = "carrier swallows everything"
    UNREACHABLE = "router says unreachable"
    PROHIBITED = "carrier prohibits"
    PORTAL_LEADS = "portal leads to its page"
    PORTAL_PAGE = "portal shows its page"
    PORTAL_STATUS = "portal says 511"
    REFUSES = "acquirer refuses"
    SILENT = "acquirer silent"
    NAME_GONE = "acquirer's name is gone"
    PLAIN_TEXT = "plain text on the port"
    RESET = "acquirer resets the handshake"
    EXPIRED = "certificate expired"
    NOT_BEGUN = "certificate not begun"
    OTHER_HOST = "another host's certificate"
    UNKNOWN_ISSUER = "unknown issuer"
    SELF_SIGNED = "self-signed certificate"
    EXPIRING = "certificate ends soon"
    CANNOT_SERVE = "acquirer says 503"
    NO_REPLY = "acquirer does not reply"
    PAPERS_REFUSED = "acquirer refuses our papers"
    CLOCK_BEHIND = "clock in 1970"
    CLOCK_AHEAD = "clock years ahead"


LINK = {Fault.SET_DOWN, Fault.CABLE_OUT}
ADDRESS = {Fault.NO_LEASE, Fault.SELF_GIVEN}
ROUTER_GONE = {Fault.ROUTER_OFF, Fault.ROUTER_MOVED}
NAMES = {
    Fault.NAMES_FAIL: ServerSaid.FAILED,
    Fault.NAMES_REFUSE: ServerSaid.FAILED,
    Fault.NAMES_CLOSED: ServerSaid.CLOSED,
    Fault.NAMES_SILENT: ServerSaid.SILENT,
}
WAN = {Fault.BLACK_HOLE, Fault.UNREACHABLE, Fault.PROHIBITED}
PORTAL = {Fault.PORTAL_LEADS, Fault.PORTAL_PAGE, Fault.PORTAL_STATUS}
CLOCK = {Fault.CLOCK_BEHIND: timedelta(days=20_000), Fault.CLOCK_AHEAD: -timedelta(days=1_200)}
"""The true time is so far ahead."""
CODES = {
    Fault.EXPIRED: 10,
    Fault.NOT_BEGUN: 9,
    Fault.OTHER_HOST: 62,
    Fault.UNKNOWN_ISSUER: 20,
    Fault.SELF_SIGNED: 18,
    Fault.CLOCK_BEHIND: 9,
    Fault.CLOCK_AHEAD: 10,
}
"""What OpenSSL says."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One shop's way out, under one fault or none."""

    fault: Fault | None
    rng: random.Random
    is_configured: bool = True
    """Whether far targets, a page and a time server are named."""

    def evidence(self) -> Evidence:
        """What one look gives."""
        link = self.fault not in LINK
        address = link and self.fault not in ADDRESS
        route = address and self.fault is not Fault.NO_ROUTE
        if not route:
            return Evidence(
                has_link=link, has_address=address, has_route=route, acquirers=(AcquirerEvidence(name="a0"),)
            )
        is_open = self.fault not in ROUTER_GONE | WAN
        servers = self._name_servers(is_open=is_open)
        names = Names.ANSWERED if any(s.said is ServerSaid.ANSWERED for s in servers) else Names.FAILED
        return Evidence(
            has_link=True,
            has_address=True,
            has_route=True,
            facts={"interface": "eth0"},
            may_ping=self._happens(0.3),
            gateway=self._gateway(),
            names=names,
            name_servers=servers,
            wan=tuple(self._far(target, is_open=is_open) for target in (FAR if self.is_configured else ())),
            portal=self._portal(names, is_open=is_open) if self.is_configured else Portal.NOT_ASKED,
            clock=self._clock(is_open=is_open),
            acquirers=tuple(self._acquirer(at, names, is_open=is_open) for at in range(self.rng.randint(1, 4))),
            details={Domain.LINK: "eth0"},
        )

    def _happens(self, share: float) -> bool:
        return self.rng.random() < share

    def _gateway(self) -> Gateway:
        if self.fault in ROUTER_GONE:
            return Gateway.DEAD
        return self.rng.choice([Gateway.ALIVE, Gateway.ALIVE, Gateway.SILENT])

    def _name_servers(self, *, is_open: bool) -> tuple[NameServerEvidence, ...]:
        if self._happens(0.5):
            return (NameServerEvidence(address=ROUTER, said=self._near_server(is_open=is_open), is_beyond=False),)
        listed = FAR_NAMES[: self.rng.randint(1, 2)]
        said = NAMES.get(self.fault, ServerSaid.ANSWERED) if self.fault else ServerSaid.ANSWERED
        if not is_open:
            said = ServerSaid.SILENT
        lazy = self.fault is None and len(listed) > 1 and self._happens(0.1)
        return tuple(
            NameServerEvidence(address=server, said=ServerSaid.SILENT if lazy and at == 0 else said, is_beyond=True)
            for at, server in enumerate(listed)
        )

    def _near_server(self, *, is_open: bool) -> ServerSaid:
        """Tell what a router's own name service does: without a carrier it fails, or waits for ever."""
        if self.fault in ROUTER_GONE:
            return ServerSaid.SILENT
        if not is_open:
            return self.rng.choice([ServerSaid.FAILED, ServerSaid.SILENT])
        return NAMES.get(self.fault, ServerSaid.ANSWERED) if self.fault else ServerSaid.ANSWERED

    def _far(self, target: str, *, is_open: bool) -> WanEvidence:
        if not is_open:
            return WanEvidence(target=target, connect=Connect.SILENT)
        if self.fault in PORTAL:
            return WanEvidence(target=target, connect=self.rng.choice([Connect.CONNECTED, Connect.SILENT]))
        is_away = target == FAR[0] and self._happens(0.05)
        return WanEvidence(target=target, connect=Connect.SILENT if is_away else Connect.CONNECTED)

    def _portal(self, names: Names, *, is_open: bool) -> Portal:
        if self.fault in PORTAL:
            return Portal.INTERCEPTED
        if not is_open or names is Names.FAILED:
            return Portal.SILENT
        return Portal.SILENT if self._happens(0.05) else Portal.OPEN

    def _clock(self, *, is_open: bool) -> ClockEvidence:
        ahead = CLOCK.get(self.fault, timedelta(seconds=self.rng.uniform(-60, 60))) if self.fault else timedelta()
        is_told = self.is_configured and is_open and (self.fault in CODES or self._happens(0.5))
        offset_s = ahead.total_seconds() if is_told else None
        return ClockEvidence(at=NOW - ahead, offset_s=offset_s, is_below_floor=self.fault is Fault.CLOCK_BEHIND)

    def _acquirer(self, at: int, names: Names, *, is_open: bool) -> AcquirerEvidence:
        name, is_named = f"a{at}", self._happens(0.7)
        is_remembered = is_named and names is Names.FAILED
        if is_remembered and self._happens(0.3):
            return AcquirerEvidence(name=name, connect=Connect.NO_NAME_SERVICE)
        seen = AcquirerEvidence(
            name=name,
            address=f"198.51.100.{at + 1}",
            connect=Connect.CONNECTED if is_open else Connect.SILENT,
            by_remembered_address=is_remembered,
        )
        if not is_open:
            return seen
        if self.fault in PORTAL:
            code = self.rng.choice([None, 62, 18])
            return _with(seen, tls=Tls.UNVERIFIED if code else Tls.FAILED, verify_code=code)
        if at > 0 and self.fault not in CLOCK:
            return _with(seen, tls=Tls.TRUSTED, certificate_days_left=self.rng.uniform(30, 300))
        return self._first(seen)

    def _first(self, seen: AcquirerEvidence) -> AcquirerEvidence:
        """Let the acquirer's own fault befall the first, and a wrong clock all."""
        match self.fault:
            case Fault.REFUSES:
                return _with(seen, connect=Connect.REFUSED)
            case Fault.SILENT:
                return _with(seen, connect=Connect.SILENT)
            case Fault.NAME_GONE:
                return AcquirerEvidence(name=seen.name, connect=Connect.NO_SUCH_NAME)
            case Fault.PLAIN_TEXT | Fault.RESET:
                return _with(seen, tls=Tls.FAILED)
            case Fault.EXPIRING:
                return _with(seen, tls=Tls.TRUSTED, certificate_days_left=self.rng.uniform(0, 13))
            case Fault.CANNOT_SERVE | Fault.PAPERS_REFUSED:
                return _with(seen, tls=Tls.TRUSTED, reply=Reply.FAILED)
            case Fault.NO_REPLY:
                return _with(seen, tls=Tls.TRUSTED, reply=Reply.SILENT)
            case _ if self.fault in CODES:
                return _with(seen, tls=Tls.UNVERIFIED, verify_code=CODES[self.fault], validity=self._validity())
            case _:
                left_out = self.rng.choice([Tls.TRUSTED, Tls.TRUSTED, Tls.LEFT_OUT])
                return _with(seen, tls=left_out, certificate_days_left=self.rng.uniform(30, 300))

    def _validity(self) -> Validity | None:
        """Give the times of the certificate, unless it could not be looked at a second time."""
        begins, ends = {
            Fault.EXPIRED: (-300, -self.rng.uniform(1, 60)),
            Fault.NOT_BEGUN: (self.rng.uniform(1, 60), 300),
        }.get(self.fault or Fault.EXPIRED, (-30, 300))
        if self._happens(0.1):
            return None
        return Validity(begins_at=NOW + timedelta(days=begins), ends_at=NOW + timedelta(days=ends))


def _with(seen: AcquirerEvidence, **what: object) -> AcquirerEvidence:
    return replace(seen, **what)  # type: ignore[arg-type]  # fields of several types
