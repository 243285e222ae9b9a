"""The fault table in real namespaces: what fails is done by the kernel, and what the agent says of it is read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from tests.agent.authority import DAY, NOW, Authority
from tests.live.network_lab import (
    BANK,
    FAR,
    FAR_PORT,
    GATEWAY,
    HTTPS,
    NO_CONTENT,
    PAY,
    SIGN_IN,
    Lab,
    failing,
)

from tillwatch_agent import reach
from tillwatch_agent.pulse import BYTES_MAX
from tillwatch_protocol.vocabulary import ConditionCode as Code


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A lab, and who signs the acquirers' certificates."""

    lab: Lab
    authority: Authority
    settings: dict[str, Any] = field(default_factory=dict)

    def certificate(self, *, begins: int = -10, ends: int = 100, host: str = "pay.example") -> Path:
        return self.authority.server(f"{host}-{begins}-{ends}", begins=begins * DAY, ends=ends * DAY, host=host)

    def open(self) -> None:
        """Both acquirers serve."""
        self.lab.serve_tls(PAY, self.certificate())
        self.lab.serve_tls(BANK, self.certificate(host="bank.example"))

    def look(self, **network: Any) -> dict[str, dict[str, Any]]:
        acquirers = [
            {"name": name, "host": f"{name}.example", "port": HTTPS, "ca_file": str(self.authority.ca_file)}
            for name in ("pay", "bank")
        ]
        settings = {"wan_targets": [f"{FAR}:{FAR_PORT}"], "portal_url": "http://page.example/"} | network
        return self.lab.probe({"terminal_id": "till-1", "network": settings, "acquirer": acquirers})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    authority = Authority(tmp_path / "authority")
    with Lab(tmp_path) as lab:
        yield Shop(lab=lab, authority=authority)


def said(readings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """By component, its conditions, else why it is unknown; what is well is left out."""
    about = {name: list(seen["codes"]) or seen["reason"] for name, seen in readings.items() if name != "verdict"}
    return {name.partition(":")[2]: what for name, what in about.items() if what}


def test_a_way_out_that_is_well_is_well_and_costs_little(shop: Shop) -> None:
    shop.open()
    before = shop.lab.bytes_of_till()
    readings = shop.look()
    spent = shop.lab.bytes_of_till() - before
    assert said(readings) == {}
    assert readings["verdict"] == {"confidence": "proved", "untested": {}}
    uplink = readings["network:uplink"]["measures"]
    assert (uplink["gateway_samples"], uplink["gateway_loss_pct"], uplink["wan_loss_pct"]) == (5, 0.0, 0.0)
    assert {"dns_ms", "wan_jitter_ms", "portal_ms"} <= uplink.keys()
    assert spent < 2 * reach.TLS_COST + 2 * reach.SAMPLES_COST + reach.PAGE_COST < BYTES_MAX


BEHIND = {"pay": "uplink_down", "bank": "uplink_down"}

NEAR = [
    # set down
    ("till", "link set eth0 down", Code.LINK_DOWN),
    # the cable is out: the other end is down
    ("router", "link set lan0 down", Code.LINK_DOWN),
    # no lease
    ("till", "addr flush dev eth0", Code.NO_ADDRESS),
    # no default route
    ("till", "route del default", Code.NO_ROUTE),
    # the router is off, and a switch between keeps the link up
    ("router", f"addr del {GATEWAY}/24 dev lan0", Code.GATEWAY_UNREACHABLE),
    # the carrier swallows everything
    ("router", "route add blackhole 198.51.100.0/25", Code.WAN_UNREACHABLE),
    # the router says that there is no way
    ("router", "route add unreachable 198.51.100.0/25", Code.WAN_UNREACHABLE),
    # a firewall of the carrier says that it must not
    ("router", "route add prohibit 198.51.100.0/25", Code.WAN_UNREACHABLE),
    # the router's cable to the carrier is out
    ("router", "link set wan0 down", Code.WAN_UNREACHABLE),
]


@pytest.mark.parametrize(("place", "fault", "code"), NEAR, ids=[f"{place}: {fault}" for place, fault, _ in NEAR])
def test_what_fails_on_the_way_out_is_named_and_nothing_behind_it(
    shop: Shop, place: str, fault: str, code: str
) -> None:
    shop.open()
    shop.lab.run(place, fault)
    readings = shop.look()
    assert said(readings) == {"uplink": [code]} | BEHIND
    assert readings["verdict"]["confidence"] == ("likely" if code == Code.WAN_UNREACHABLE else "proved")


@pytest.mark.parametrize("answer", [failing, lambda _: None], ids=["server failure", "silence"])
def test_a_name_service_that_fails_is_told_from_a_way_that_does(
    shop: Shop, answer: Callable[[bytes], bytes | None]
) -> None:
    shop.open()
    shop.lab.name_answer = answer
    assert said(shop.look()) == {"uplink": [Code.DNS_FAILURE]} | BEHIND


def test_a_portal_is_told_from_acquirers_that_fail(shop: Shop) -> None:
    shop.lab.page = SIGN_IN
    for address in (PAY, BANK):  # it answers for them, too, by plain HTTP
        shop.lab.serve(address, HTTPS, lambda connection: connection.sendall(SIGN_IN))
    assert said(shop.look()) == {"uplink": [Code.CAPTIVE_PORTAL]} | BEHIND


def test_an_acquirer_that_refuses_or_is_cut_off_is_the_one_that_fails(shop: Shop) -> None:
    shop.lab.serve_tls(PAY, shop.certificate())
    assert said(shop.look()) == {"bank": [Code.TCP_REFUSED]}
    shop.lab.run("router", f"route add blackhole {BANK}/32")
    assert said(shop.look()) == {"bank": [Code.TCP_FAILURE]}


@pytest.mark.parametrize(
    ("begins", "ends", "host", "found"),
    [
        (-10, -3, "pay.example", [Code.CERTIFICATE_EXPIRED]),
        (5, 100, "pay.example", [Code.CERTIFICATE_UNTRUSTED]),  # not yet valid, by a clock that is right
        (-10, 100, "other.example", [Code.CERTIFICATE_UNTRUSTED]),
        (-10, 5, "pay.example", [Code.CERTIFICATE_EXPIRING]),
    ],
)
def test_why_a_certificate_is_refused_is_told(shop: Shop, begins: int, ends: int, host: str, found: list[str]) -> None:
    shop.lab.serve_tls(PAY, shop.certificate(begins=begins, ends=ends, host=host))
    shop.lab.serve_tls(BANK, shop.certificate(host="bank.example"))
    assert said(shop.look()) == {"pay": found}


def test_a_clock_that_is_behind_is_told_from_a_certificate_that_has_not_begun(shop: Shop) -> None:
    shop.lab.serve_tls(PAY, shop.certificate(begins=200, ends=390))
    shop.lab.serve_tls(BANK, shop.certificate(ends=390, host="bank.example"))
    date = format_datetime(NOW + 300 * DAY, usegmt=True)
    shop.lab.page = NO_CONTENT.replace(b"\r\n\r\n", f"\r\nDate: {date}\r\n\r\n".encode())
    assert said(shop.look()) == {"pay": Code.CLOCK_WRONG}


def test_an_echo_needs_the_right_to_it(shop: Shop) -> None:
    assert shop.lab.entering("till", lambda: reach.ping(GATEWAY)) is None
    shop.lab.inside("till", "sh", "-c", "echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range")
    assert shop.lab.entering("till", lambda: reach.ping(GATEWAY)) is not None
