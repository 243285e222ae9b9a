"""Network evidence, from a kernel laid out in files and from real sockets on the loopback."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.agent import stand

from tillwatch_agent import network, resolver
from tillwatch_agent.config import AcquirerConfig, NetworkConfig
from tillwatch_agent.diagnosis import UPLINK_DOWN, AcquirerEvidence, Connect, Gateway, Names, Tls
from tillwatch_agent.network import AcquirerTarget, Kernel, NetworkProbe, Route, TlsContexts, ask_gateway
from tillwatch_agent.resolver import Found, Lookup
from tillwatch_protocol.vocabulary import ConditionCode, Health

CA = stand.DATA / "ca.pem"

ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0
wwan0 00000000 00000000 0001 0 0 700 00000000 0 0 0
eth0 0001A8C0 00000000 0001 0 0 100 00FFFFFF 0 0 0
"""
LEASE = SimpleNamespace(family=socket.AF_INET, address="192.168.1.20")
SELF_GIVEN = SimpleNamespace(family=socket.AF_INET, address="169.254.7.7")
LINK_LOCAL = SimpleNamespace(family=socket.AF_INET6, address="fe80::1%eth0")
PACKET = SimpleNamespace(family=socket.AF_PACKET, address="00:00:5e:00:53:01")


class Host:
    """A machine's network as the kernel tells it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.addresses: dict[str, list[Any]] = {}
        (root / "proc/net").mkdir(parents=True)
        (root / "sys/class/net").mkdir(parents=True)
        self.link("lo", flags="0x9", operstate="unknown", carrier="1")

    @property
    def kernel(self) -> Kernel:
        return Kernel(proc=self.root / "proc", sysfs=self.root / "sys", addresses=lambda: self.addresses)

    def link(self, name: str, **attributes: str) -> None:
        directory = self.root / "sys/class/net" / name
        directory.mkdir(exist_ok=True)
        for attribute, value in attributes.items():
            (directory / attribute).write_text(value + "\n")

    def routes(self, table: str = ROUTES, ipv6: str = "") -> None:
        (self.root / "proc/net/route").write_text(table)
        (self.root / "proc/net/ipv6_route").write_text(ipv6)

    def well(self) -> "Host":
        self.link("eth0", flags="0x1003", operstate="up", carrier="1", carrier_changes="3")
        self.addresses["eth0"] = [PACKET, LEASE]
        self.routes()
        return self


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def probe(host: Host, *acquirers: AcquirerConfig, **settings: str) -> NetworkProbe:
    return NetworkProbe(network=NetworkConfig(**settings), acquirers=acquirers, kernel=host.kernel)  # type: ignore[arg-type]  # each setting has its own type


def acquirer(port: int, host: str = "127.0.0.1", *, tls: bool = False, ca_file: Path | None = None) -> AcquirerConfig:
    return AcquirerConfig(name="a", host=host, port=port, tls=tls, ca_file=ca_file)


def ask(acquirer: AcquirerConfig) -> AcquirerEvidence:
    return AcquirerTarget(acquirer, TlsContexts()).ask()


@pytest.fixture
def no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "temporary failure")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


UP = {"flags": "0x1003", "operstate": "up", "carrier": "1"}


@pytest.mark.parametrize(
    ("attributes", "addresses", "routes", "code", "detail"),
    [
        # set down: reading the carrier is EINVAL, so there is none to read
        ({"flags": "0x1002", "operstate": "down"}, [LEASE], ROUTES, ConditionCode.LINK_DOWN, "eth0 is set down"),
        # up, no carrier
        (UP | {"carrier": "0"}, [LEASE], ROUTES, ConditionCode.LINK_DOWN, "eth0 has no carrier"),
        # a carrier and no lease; what the machine gives itself is none
        (UP, [PACKET], ROUTES, ConditionCode.NO_ADDRESS, "eth0"),
        (UP, [SELF_GIVEN, LINK_LOCAL], ROUTES, ConditionCode.NO_ADDRESS, "eth0"),
        # no default route
        (UP, [LEASE], "", ConditionCode.NO_ROUTE, None),
    ],
)
def test_what_fails_on_the_machine_itself_is_read_from_the_kernel(  # noqa: PLR0917 - a table's columns
    tmp_path: Path, attributes: dict[str, str], addresses: list[Any], routes: str, code: str, detail: str | None
) -> None:
    host = Host(tmp_path)
    host.link("eth0", **attributes)
    host.addresses["eth0"] = addresses
    host.routes(routes)
    uplink, asked = probe(host, acquirer(1)).poll()
    assert uplink.true_codes == {code: detail}
    assert (asked.health, asked.reason) == (Health.UNKNOWN, UPLINK_DOWN)


def test_a_machine_without_an_interface_has_no_link(host: Host) -> None:
    (uplink,) = probe(host).poll()
    assert uplink.true_codes == {ConditionCode.LINK_DOWN: "no network interface"}


def test_a_modem_that_tells_no_carrier_is_up_when_its_state_is_unknown(host: Host) -> None:
    host.link("wwan0", flags="0x10d1", operstate="unknown")
    assert [(link.name, link.has_carrier) for link in host.kernel.links()] == [("wwan0", True)]


def test_the_interface_of_the_default_route_stands_for_the_machine(host: Host) -> None:
    host.well().link("eth1", flags="0x1003", operstate="down", carrier="0")
    evidence = probe(host, gateway="127.0.0.1").gather()
    assert evidence.facts == {"interface": "eth0", "gateway": "127.0.0.1"}
    assert evidence.measures["carrier_changes"] == 3


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "route"),
    [
        # the lowest metric of two
        (ROUTES, "", Route(interface="eth0", gateway="192.168.1.1", metric=100)),
        # point to point: no gateway
        (
            "h\nppp0 00000000 00000000 0001 0 0 0 00000000 0 0 0",
            "",
            Route(interface="ppp0", gateway=None, metric=0),
        ),
        # a route that is not up
        ("h\neth0 00000000 0101A8C0 0002 0 0 0 00000000 0 0 0", "", None),
        # IPv6 only; the gateway is local to its link
        (
            "h",
            f"{'0' * 32} 00 {'0' * 32} 00 fe80{'0' * 24}0001 00000064 00000001 00000000 00000003 eth0",
            Route(interface="eth0", gateway="fe80::1%eth0", metric=100),
        ),
        # the kernel's own unreachable default, on lo
        ("h", f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200 lo", None),
        ("", "", None),
    ],
)
def test_the_default_route_is_read_from_the_routing_tables(
    host: Host, ipv4: str, ipv6: str, route: Route | None
) -> None:
    host.routes(ipv4, ipv6)
    assert host.kernel.default_route() == route


def test_a_gateway_that_refuses_is_alive() -> None:
    state, gateway_ms = ask_gateway("127.0.0.1")
    assert state is Gateway.ALIVE
    assert gateway_ms is not None


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (OSError(113, "No route to host"), Gateway.DEAD),  # EHOSTUNREACH: nobody has the address on the link
        (TimeoutError("timed out"), Gateway.SILENT),
        (OSError(101, "Network is unreachable"), Gateway.SILENT),  # may come from far away: proves nothing
    ],
)
def test_what_a_gateway_does_is_told_by_the_error(
    monkeypatch: pytest.MonkeyPatch, error: OSError, state: Gateway
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    assert ask_gateway("192.0.2.1") == (state, None)


def test_without_a_gateway_none_is_asked() -> None:
    assert ask_gateway(None) == (Gateway.NOT_ASKED, None)


def test_an_acquirer_is_reached_by_name_tcp_and_tls_with_its_phases() -> None:
    with stand.tls_server() as port:
        seen = ask(acquirer(port, "localhost", tls=True, ca_file=CA))
    assert (seen.connect, seen.tls) == (Connect.CONNECTED, Tls.TRUSTED)
    assert set(seen.measures) == {"dns_ms", "tcp_ms", "tls_ms"}
    assert seen.certificate_days_left is not None
    assert seen.certificate_days_left > 365


def test_an_acquirer_without_tls_is_reached_by_tcp() -> None:
    with stand.tcp_printer() as port:
        seen = ask(acquirer(port))
    assert (seen.connect, seen.tls, set(seen.measures)) == (Connect.CONNECTED, Tls.NOT_ASKED, {"tcp_ms"})


def test_a_refusal_is_told_from_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "TCP_TIMEOUT_S", 0.05)
    assert ask(acquirer(stand.closed_port())).connect is Connect.REFUSED
    with stand.black_hole() as port:
        silent = ask(acquirer(port))
    assert (silent.connect, silent.detail) == (Connect.SILENT, "127.0.0.1: timed out")


@pytest.mark.parametrize(
    ("certificate", "host", "ca_file", "tls", "verify_code"),
    [
        ("expired.pem", "127.0.0.1", CA, Tls.UNVERIFIED, 10),
        ("server.pem", "127.0.0.1", None, Tls.UNVERIFIED, 20),  # an authority that the system does not know
        ("server.pem", "other.example", CA, Tls.UNVERIFIED, 62),  # another host's certificate
        ("server.pem", "127.0.0.1", Path("/nowhere/ca.pem"), Tls.NO_CA, None),
        ("server.pem", "127.0.0.1", stand.DATA / "server.key", Tls.NO_CA, None),  # no certificate in it
    ],
)
def test_a_certificate_is_judged_by_what_openssl_says_of_it(
    certificate: str, host: str, ca_file: Path | None, tls: Tls, verify_code: int | None
) -> None:
    with stand.tls_server(certificate) as port:
        target = AcquirerTarget(acquirer(port, host, tls=True, ca_file=ca_file), TlsContexts())
        seen = target._connect(AcquirerEvidence(name="a"), ("127.0.0.1",))
    assert (seen.tls, seen.verify_code) == (tls, verify_code)


def test_plain_text_on_the_port_is_no_tls() -> None:
    with stand.tcp_server(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        seen = ask(acquirer(port, tls=True, ca_file=CA))
    assert (seen.connect, seen.tls) == (Connect.CONNECTED, Tls.FAILED)
    assert seen.detail


def test_a_server_that_says_nothing_is_no_tls_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def listen_only(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    monkeypatch.setattr(network, "TLS_TIMEOUT_S", 0.05)
    with stand.tcp_server(listen_only) as port:
        seen = ask(acquirer(port, tls=True, ca_file=CA))
    assert seen.tls is Tls.FAILED


def test_one_context_serves_all_acquirers_of_a_ca_file() -> None:
    contexts = TlsContexts()
    first = contexts.of(CA)
    assert contexts.of(CA) is first
    contexts.forget()
    assert contexts.of(CA) is not first


@pytest.mark.usefixtures("no_name_service")
def test_a_name_that_nobody_answers_for_is_not_the_acquirers_failure(host: Host) -> None:
    uplink, asked = probe(host.well(), acquirer(443, "payments.example"), gateway="127.0.0.1").poll()
    assert uplink.true_codes == {ConditionCode.DNS_FAILURE: "payments.example"}
    assert (asked.health, asked.reason) == (Health.UNKNOWN, UPLINK_DOWN)


def test_a_name_that_does_not_exist_is_the_acquirers_failure(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    uplink, asked = probe(host.well(), acquirer(443, "payments.example"), gateway="127.0.0.1").poll()
    assert uplink.health is Health.OK
    assert asked.true_codes == {ConditionCode.DNS_FAILURE: "no such name: payments.example"}


def test_a_remembered_address_tells_a_dead_name_service_from_a_dead_wan(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stand.tcp_printer() as port:
        watching = probe(host.well(), acquirer(port, "localhost"), gateway="127.0.0.1")
        assert watching.gather().names is Names.ANSWERED
        monkeypatch.setattr(resolver, "resolve", lambda *_: Found(lookup=Lookup.NO_ANSWER))
        evidence = watching.gather()
        assert evidence.acquirers[0].by_remembered_address
        assert [seen.true_codes or seen.reason for seen in watching.poll()] == [
            {ConditionCode.DNS_FAILURE: "localhost"},
            UPLINK_DOWN,
        ]
        watching.forget()
        assert watching.gather().acquirers[0].connect is Connect.NO_NAME_SERVICE
    watching.close()


def test_the_whole_way_out_is_ok_when_all_answer(host: Host) -> None:
    with stand.tls_server() as port:
        uplink, asked = probe(
            host.well(), acquirer(port, "localhost", tls=True, ca_file=CA), gateway="127.0.0.1"
        ).poll()
    assert (uplink.health, uplink.undetermined) == (Health.OK, frozenset())
    assert set(uplink.measures) == {"carrier_changes", "gateway_ms", "dns_ms"}
    assert (asked.component, asked.health) == ("acquirer:a", Health.OK)


def test_an_address_is_its_own_answer() -> None:
    assert resolver.resolve("192.0.2.1", 0.0) == Found(lookup=Lookup.FOUND, addresses=("192.0.2.1",))
    assert resolver.resolve("::1", 0.0).addresses == ("::1",)


@pytest.fixture
def stuck_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A resolver that answers when the test is over; gives what it was asked."""
    asked: list[str] = []
    over = threading.Event()

    def stick(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        over.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", stick)
    monkeypatch.setattr(resolver, "_slots", threading.BoundedSemaphore(resolver.LOOKUPS_MAX))
    yield asked
    over.set()


def test_a_lookup_that_hangs_is_left_behind_in_time(stuck_resolver: list[str]) -> None:
    assert resolver.resolve("a.example", 0.05).lookup is Lookup.NO_ANSWER
    assert stuck_resolver == ["a.example"]


def test_no_more_than_so_many_lookups_hang_at_once(stuck_resolver: list[str]) -> None:
    for _ in range(resolver.LOOKUPS_MAX + 3):
        assert resolver.resolve("a.example", 0.02).lookup is Lookup.NO_ANSWER
    assert len(stuck_resolver) == resolver.LOOKUPS_MAX


@pytest.mark.parametrize(
    ("error", "lookup"),
    [
        (socket.gaierror(socket.EAI_NONAME, ""), Lookup.NO_SUCH_NAME),
        (socket.gaierror(socket.EAI_AGAIN, ""), Lookup.NO_ANSWER),
        (UnicodeError("label too long"), Lookup.NO_SUCH_NAME),
    ],
)
def test_how_a_lookup_ends_is_told_by_its_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception, lookup: Lookup
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert resolver.resolve("a.example", 5.0).lookup is lookup


def test_a_name_with_many_addresses_is_tried_at_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{n % 9}", 0)) for n in range(30)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)
    assert resolver.resolve("a.example", 5.0).addresses == ("192.0.2.0", "192.0.2.1", "192.0.2.2")


def test_the_next_address_is_tried_when_the_first_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "TCP_TIMEOUT_S", 0.05)
    with stand.black_hole() as port, stand.tcp_printer(address=("127.0.0.2", port)):
        target = AcquirerTarget(acquirer(port), TlsContexts())
        seen = target._connect(AcquirerEvidence(name="a"), ("127.0.0.1", "127.0.0.2"))
    assert (seen.connect, seen.address, seen.detail) == (Connect.CONNECTED, "127.0.0.2", None)
