"""Network evidence, from a kernel laid out in files and from real sockets on the loopback."""

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.agent import stand

from tillwatch_agent import reach, resolver
from tillwatch_agent.config import AcquirerConfig, NetworkConfig
from tillwatch_agent.diagnosis import UPLINK_DOWN
from tillwatch_agent.evidence import Connect, Names, ServerSaid
from tillwatch_agent.health import Observation
from tillwatch_agent.interfaces import Kernel, Route
from tillwatch_agent.network import NetworkProbe
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
        return Kernel(
            proc=self.root / "proc",
            sysfs=self.root / "sys",
            resolv_conf=self.root / "resolv.conf",
            addresses=lambda: self.addresses,
        )

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


def probe(host: Host, *acquirers: AcquirerConfig, **settings: Any) -> NetworkProbe:
    return NetworkProbe(network=NetworkConfig(**settings), acquirers=acquirers, kernel=host.kernel)


def acquirer(
    port: int, host: str = "127.0.0.1", *, tls: bool = False, ca_file: Path | None = None, reply_path: str | None = None
) -> AcquirerConfig:
    return AcquirerConfig(name="a", host=host, port=port, tls=tls, ca_file=ca_file, reply_path=reply_path)


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


@pytest.mark.parametrize(
    ("look", "codes"),
    [
        # the modem says why there is no link
        (
            Observation(component="modem:0", health=Health.FAULT, true_codes={ConditionCode.SIM_ABSENT: None}),
            {ConditionCode.NOT_REGISTERED: "modem:0: sim_absent"},
        ),
        # it is well: the failure lies behind it
        (Observation(component="modem:0", health=Health.OK), {ConditionCode.LINK_DOWN: "wwan0 has no carrier"}),
        # nobody knows how it is
        (None, {ConditionCode.LINK_DOWN: "wwan0 has no carrier"}),
    ],
)
def test_a_modem_that_is_the_way_out_stands_in_the_evidence(
    host: Host, look: Observation | None, codes: dict[str, str]
) -> None:
    host.link("wwan0", flags="0x1003", operstate="down", carrier="0")
    watching = NetworkProbe(network=NetworkConfig(), acquirers=(), kernel=host.kernel, modem=lambda: look)
    (uplink,) = watching.poll()
    assert uplink.true_codes == codes


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


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 192.0.2.1\nsearch example\nnameserver 192.0.2.1\n", ("192.0.2.1",)),
        ("# nameserver 192.0.2.9\nnameserver fe80::1%eth0\nnameserver\nnameserver here\n", ("fe80::1%eth0",)),
        ("".join(f"nameserver 192.0.2.{n}\n" for n in range(9)), ("192.0.2.0", "192.0.2.1", "192.0.2.2")),
    ],
)
def test_the_name_servers_are_those_of_the_systems_resolver(host: Host, text: str, servers: tuple[str, ...]) -> None:
    (host.root / "resolv.conf").write_text(text)
    assert host.kernel.name_servers() == servers


@pytest.mark.parametrize(
    ("address", "is_beyond"),
    [
        ("192.168.1.1", False),  # on the link
        ("127.0.0.53", False),  # this machine's own stub
        ("fe80::1%eth0", False),
        ("2001:db8:1::53", False),
        ("198.51.100.53", True),
        ("2001:db8:2::53", True),
    ],
)
def test_what_lies_beyond_is_on_no_link(host: Host, address: str, *, is_beyond: bool) -> None:
    host.addresses["eth0"] = [
        PACKET,
        SimpleNamespace(family=socket.AF_INET, address="192.168.1.20", netmask="255.255.255.0"),
        SimpleNamespace(family=socket.AF_INET6, address="2001:db8:1::7%eth0", netmask="ffff:ffff:ffff:ffff::"),
    ]
    assert host.kernel.is_beyond(address) is is_beyond


def test_the_right_to_icmp_is_the_kernels_word(host: Host) -> None:
    assert not host.kernel.may_ping()
    said = host.root / "proc/sys/net/ipv4/ping_group_range"
    said.parent.mkdir(parents=True)
    said.write_text("0 2147483647\n")
    assert host.kernel.may_ping()


@pytest.mark.usefixtures("no_gaps")
def test_a_look_is_whole_with_far_targets_a_page_and_the_time(host: Host) -> None:
    date = datetime.now(UTC) + timedelta(days=2)
    page = f"HTTP/1.1 204 No Content\r\nDate: {date:%a, %d %b %Y %H:%M:%S} GMT\r\n\r\n".encode()
    (host.well().root / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    with stand.page_server(page) as port:
        watching = probe(
            host,
            acquirer(stand.closed_port(), "localhost"),
            gateway="127.0.0.1",
            portal_url=f"http://127.0.0.1:{port}/",
            wan_targets=(f"127.0.0.1:{port}",),
        )
        uplink, asked = watching.poll()
    assert (uplink.health, uplink.undetermined) == (Health.OK, frozenset())
    assert {"gateway_loss_pct", "wan_ms", "wan_jitter_ms", "wan_samples", "portal_ms"} <= uplink.measures.keys()
    assert set(asked.true_codes) == {ConditionCode.TCP_REFUSED}
    assert watching.seen is not None
    assert watching.seen.clock is not None
    assert watching.seen.clock.offset_s == pytest.approx(2 * 86_400, abs=30)
    assert watching.seen.name_servers[0].said in {ServerSaid.CLOSED, ServerSaid.SILENT, ServerSaid.ANSWERED}


def test_a_portal_is_told_with_where_it_leads(host: Host) -> None:
    with stand.page_server(b"HTTP/1.1 302 Found\r\nLocation: http://hotel.example/\r\n\r\n") as port:
        (uplink,) = probe(host.well(), gateway="127.0.0.1", portal_url=f"http://127.0.0.1:{port}/").poll()
    said = f"http://127.0.0.1:{port}/: status 302, to http://hotel.example/"
    assert uplink.true_codes == {ConditionCode.CAPTIVE_PORTAL: said}


@pytest.mark.usefixtures("no_gaps")
def test_the_true_time_is_asked_for_where_a_certificate_is_refused_for_its_times(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = datetime(2020, 6, 1, tzinfo=UTC)
    monkeypatch.setattr(reach, "ask_time", lambda _: (then - datetime.now(UTC)).total_seconds())
    with stand.tls_server("expired.pem") as port:
        settings = {"gateway": "127.0.0.1", "time_server": "127.0.0.1"}
        _, asked = probe(host.well(), acquirer(port, "localhost", tls=True, ca_file=CA), **settings).poll()
    assert (asked.health, asked.reason) == (Health.UNKNOWN, ConditionCode.CLOCK_WRONG)


@pytest.mark.usefixtures("no_gaps")
def test_where_nobody_tells_the_time_a_certificate_that_has_ended_has(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "ask_time", lambda _: None)
    (host.well().root / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    with stand.tls_server("expired.pem") as port, stand.page_server(b"HTTP/1.1 204 No Content\r\n\r\n") as page:
        settings = {
            "gateway": "127.0.0.1",
            "time_server": "127.0.0.1",
            "portal_url": f"http://127.0.0.1:{page}/",
            "dns_name": "a..b",  # no name: its server is not asked, and counts as silent
        }
        uplink, asked = probe(host, acquirer(port, "localhost", tls=True, ca_file=CA), **settings).poll()
    assert set(asked.true_codes) == {ConditionCode.CERTIFICATE_EXPIRED}
    assert uplink.facts == {"interface": "eth0", "gateway": "127.0.0.1"}


def test_two_silent_targets_are_a_dead_wan_and_are_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "TCP_TIMEOUT_S", 0.05)
    monkeypatch.setattr(reach, "SAMPLE_TIMEOUT_S", 0.05)
    with stand.black_hole() as one, stand.black_hole() as other:
        targets = (f"127.0.0.1:{one}", f"127.0.0.1:{other}")
        watching = probe(host.well(), gateway="127.0.0.1", wan_targets=targets)
        (uplink,) = watching.poll()
    assert uplink.true_codes == {ConditionCode.WAN_UNREACHABLE: ", ".join(targets)}


def test_no_look_is_made_that_the_allowance_does_not_hold(host: Host) -> None:
    watching = probe(host)
    looks = [watching.poll() for _ in range(200)]
    assert looks[0]
    assert looks[-1] == ()


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
    gateway = {"gateway_ms", "gateway_jitter_ms", "gateway_loss_pct", "gateway_samples"}
    assert set(uplink.measures) == {"carrier_changes", "dns_ms"} | gateway
    assert (asked.component, asked.health) == ("acquirer:a", Health.OK)
