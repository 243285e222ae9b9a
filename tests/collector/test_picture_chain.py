"""The chain: each link whole, broken or not proved, and the one at which somebody should look."""

from typing import Any

import pytest

from tillwatch_collector.console.pictures import chain
from tillwatch_collector.console.pictures.chain import Chain, State
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import EARLIEST, Health

STRETCHES = ["interface", "carrier", "address", "route", "gateway", "names", "wan", "portal"]
W, B, U = State.WHOLE, State.BROKEN, State.UNPROVED


def reading(component: str, *codes: str, detail: str | None = None, **more: Any) -> Reading:
    conditions = tuple(Condition(code=code, since=EARLIEST, detail=detail) for code in codes)
    health = more.pop("health", Health.FAULT if codes else Health.OK)
    return Reading(component=component, health=health, conditions=conditions, **more)


def uplink(*codes: str, **more: Any) -> Reading:
    return reading("network:uplink", *codes, facts={"interface": "eth0", "gateway": "10.0.0.1"}, **more)


def states(drawn: Chain) -> str:
    return "".join(link.state[0] for link in drawn.links) + "|" + "".join(link.state[0] for link in drawn.ends)


BEHIND_ROUTE = ("gateway_unreachable", "dns_failure", "wan_unreachable", "captive_portal")


@pytest.mark.parametrize(
    ("readings", "presence", "drawn"),
    [
        # all is well
        ([uplink()], "online", "wwwwwwww|w"),
        # a break, and behind it nothing is proved
        ([uplink("no_route", undetermined=BEHIND_ROUTE)], "late", "wwwbuuuu|w"),
        # what nobody asked is not drawn as well
        ([uplink(undetermined=("captive_portal",))], "online", "wwwwwwwu|w"),
        # a reading that is old, or none at all, proves nothing
        ([reading("network:uplink", health=Health.UNKNOWN, reason="stale")], "online", "uuuuuuuu|w"),
        ([reading("pos_printer:1")], "off", "uuuuuuuu|u"),
        # a modem stands where the carrier's network is
        ([uplink(), reading("modem:0")], "online", "wwwwwwwww|w"),
        ([uplink(undetermined=BEHIND_ROUTE), reading("modem:0", "sim_absent")], "online", "wbwwwuuuu|w"),
        ([uplink("not_registered")], "online", "wbwwwwwww|w"),
        # acquirers hang at the end, beside the broker
        ([uplink(), reading("acquirer:a", "tcp_refused"), reading("acquirer:b")], "silent", "wwwwwwww|bwb"),
        ([uplink(), reading("acquirer:a", health=Health.UNKNOWN, reason="uplink_down")], "online", "wwwwwwww|uw"),
    ],
)
def test_each_link_is_drawn_as_it_was_judged(readings: list[Reading], presence: str, drawn: str) -> None:
    assert states(chain.chain(readings, presence)) == drawn


def test_the_links_stand_in_the_order_in_which_they_are_passed() -> None:
    with_modem = chain.chain([uplink(), reading("modem:0", facts={"operator": "CMCC"})], "online")
    assert [link.name for link in with_modem.links] == ["interface", "registration", *STRETCHES[1:]]
    assert [link.detail for link in with_modem.links[:2]] == ["eth0", "CMCC"]


def test_a_link_tells_how_long_it_took_and_what_was_seen() -> None:
    drawn = chain.chain(
        [
            uplink(measures={"gateway_ms": 1.5, "dns_ms": 12}),
            reading("acquirer:bank", measures={"tcp_ms": 20.0, "tls_ms": 40.0}),
            reading("acquirer:shut", "tcp_refused", detail="connection refused"),
        ],
        "online",
    )
    assert [link.took_ms for link in drawn.links] == [None, None, None, None, 1.5, 12, None, None]
    bank, shut, _ = drawn.ends
    assert (bank.subject, bank.took_ms, shut.code, shut.detail) == ("bank", 60.0, "tcp_refused", "connection refused")


@pytest.mark.parametrize(
    ("readings", "presence", "first"),
    [
        ([uplink()], "online", []),
        # the first that breaks, and no other
        ([uplink("link_down"), reading("acquirer:a", "tcp_failure")], "silent", ["carrier"]),
        # at the end each breaks by itself
        ([uplink(), reading("acquirer:a", "tcp_failure"), reading("acquirer:b")], "silent", ["acquirer", "broker"]),
    ],
)
def test_where_somebody_should_look(readings: list[Reading], presence: str, first: list[str]) -> None:
    drawn = chain.chain(readings, presence)
    assert [link.name for link in (*drawn.links, *drawn.ends) if link.is_first_break] == first
    found = drawn.first_break
    assert (found.name if found else None) == (first[0] if first else None)


def test_what_a_diagnosis_found_is_drawn_alike() -> None:
    drawn = chain.told(
        [
            {"name": "link", "outcome": "passed", "found": "eth0"},
            {"name": "gateway", "outcome": "failed", "codes": ["gateway_unreachable"], "took_ms": 3.0},
            {"name": "names", "outcome": "untested", "codes": ["behind_failure"]},
            {"name": "pos_printer:1", "outcome": "ok"},
        ]
    )
    assert drawn is not None
    assert [(link.name, link.state, link.code) for link in drawn.links] == [
        ("carrier", W, None),
        ("gateway", B, "gateway_unreachable"),
        ("names", U, "behind_failure"),
    ]
    assert drawn.first_break == drawn.links[1]
    assert chain.told([{"name": "pos_printer:1", "outcome": "ok"}]) is None
