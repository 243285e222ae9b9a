"""What is plugged in: whose an attached device is, what sits in a lost one's place, and when it is looked at."""

import math
from dataclasses import replace

import pytest

from tillwatch_agent import plugging
from tillwatch_agent.plugging import (
    GAP_S,
    LISTED_S,
    SETTLE_S,
    SETTLE_S_MAX,
    Attention,
    Memory,
    ToldBy,
    UsbDevice,
    UsbIds,
    Wanted,
)
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState

IDS = UsbIds(vendor_id="05e0", product_id="1701")
SCANNER = Wanted(component="scanner:1", ids=IDS)
LEFT = Wanted(component="scanner:left", ids=IDS, socket="1-1.1")
RIGHT = Wanted(component="scanner:right", ids=IDS, socket="1-1.2")
PIN_PAD = Wanted(component="pin_pad:1", ids=UsbIds(vendor_id="11ca", product_id="0220"))


def device(
    location: str, ids: str = "05e0:1701", *, serial: str | None = None, device_no: int = 7, is_hub: bool = False
) -> UsbDevice:
    vendor_id, product_id = ids.split(":")
    known = UsbIds(vendor_id=vendor_id, product_id=product_id, serial_number=serial)
    return UsbDevice(ids=known, location=location, product="Model", device_no=device_no, is_hub=is_hub)


def said(wanted: Wanted, *listing: UsbDevice, memory: Memory | None = None, others: tuple[Wanted, ...] = ()) -> str:
    """A look in short: health, and the first condition with its detail."""
    seen, _ = plugging.look(wanted, listing, memory, (wanted, *others))
    return " ".join([seen.health, *(f"{code} ({detail})" for code, detail in seen.true_codes.items())])


def counts(wanted: Wanted, *listings: tuple[UsbDevice, ...]) -> list[int | float | None]:
    """How often it came again, look by look; None while it is not attached."""
    memory, told = None, []
    for listing in listings:
        seen, memory = plugging.look(wanted, listing, memory)
        told.append(seen.measures.get("reattached_count"))
    return told


def test_attached_is_ok_and_says_who_and_where() -> None:
    seen, memory = plugging.look(SCANNER, [device("1-1.4", serial="S1")], None)
    assert (seen.health, seen.power_state) == (Health.OK, PowerState.ONLINE)
    assert seen.facts == {"usb_ids": "05e0:1701", "location": "1-1.4", "model": "Model", "serial_number": "S1"}
    assert memory == Memory(socket="1-1.4", device_no=7)


def test_not_attached_is_absent_and_off_and_says_where_it_was() -> None:
    _, memory = plugging.look(SCANNER, [device("1-1.4")], None)
    seen, memory = plugging.look(SCANNER, [], memory)
    assert (seen.health, seen.reason, seen.power_state) == (Health.ABSENT, "not_attached", PowerState.OFF)
    assert seen.facts == {"location": "1-1.4"}
    assert memory == Memory(socket="1-1.4", device_no=7, is_attached=False)


@pytest.mark.parametrize(
    ("wanted", "listing", "expected"),
    [
        # of two alike without serial numbers the socket tells
        (LEFT, ("1-1.1",), "ok"),
        (
            RIGHT,
            ("1-1.1",),
            "absent not_attached (no USB device 05e0:1701 in socket 1-1.2; such a one sits in 1-1.1)",
        ),
        (RIGHT, ("1-1.1", "1-1.2"), "ok"),
        (RIGHT, (), "absent not_attached (no USB device 05e0:1701 in socket 1-1.2)"),
    ],
)
def test_two_alike_are_told_apart_by_their_sockets(wanted: Wanted, listing: tuple[str, ...], expected: str) -> None:
    assert said(wanted, *map(device, listing)) == expected


def test_of_several_alike_the_serial_number_tells() -> None:
    second = replace(SCANNER, ids=replace(IDS, serial_number="S2"))
    assert said(second, device("1-1", serial="S1"), device("1-2", serial="S2")) == "ok"
    assert said(second, device("1-1", serial="S1")) == "absent not_attached (no USB device 05e0:1701 number S2)"


@pytest.mark.parametrize(
    ("one", "other", "are_apart"),
    [
        (SCANNER, PIN_PAD, True),
        (SCANNER, SCANNER, False),
        (LEFT, RIGHT, True),
        (LEFT, replace(RIGHT, socket=LEFT.socket), False),
        (LEFT, SCANNER, False),  # the one in the left socket could be both
        (replace(SCANNER, ids=replace(IDS, serial_number="S1")), SCANNER, False),
        (SCANNER, replace(SCANNER, ids=replace(IDS, serial_number="S1")), False),
        (
            replace(LEFT, ids=replace(IDS, serial_number="S1")),
            replace(LEFT, ids=replace(IDS, serial_number="S2")),
            True,
        ),
    ],
)
def test_two_components_are_told_apart_or_not(one: Wanted, other: Wanted, are_apart: bool) -> None:
    assert plugging.are_told_apart(one, other) is are_apart


@pytest.mark.parametrize(
    ("listings", "told"),
    [
        # another name and another number on the bus: the same device, which came again
        (((device("1-1.4", device_no=7),), (device("1-1.4", device_no=9),)), [0, 1]),
        # unplugged in between
        (((device("1-1.4"),), (), (device("1-1.4"),)), [0, None, 1]),
        # moved to another socket
        (((device("1-1.4"),), (device("1-1.3", device_no=8),)), [0, 1]),
        # a second one beside it is not the one that was there
        (((device("1-1.4"),), (device("1-1.3", device_no=8), device("1-1.4"))), [0, 0]),
        # nothing happened
        (((device("1-1.4"),), (device("1-1.4"),)), [0, 0]),
        # it was not there at first
        (((), (device("1-1.4"),)), [None, 0]),
    ],
)
def test_a_device_that_comes_again_is_the_same_and_is_counted(
    listings: tuple[tuple[UsbDevice, ...], ...], told: list[int | None]
) -> None:
    assert counts(SCANNER, *listings) == told


@pytest.mark.parametrize(
    ("sitting", "expected"),
    [
        (
            device("1-1.4", "1234:5678"),
            "absent unknown_device (expected 05e0:1701 in socket 1-1.4, got Model (1234:5678))",
        ),
        # another of the counter's devices was plugged in there
        (device("1-1.4", "11ca:0220"), "absent not_attached (no USB device 05e0:1701)"),
        # what is behind a hub is to come yet
        (device("1-1.4", "05e3:0608", is_hub=True), "absent not_attached (no USB device 05e0:1701)"),
        # something came somewhere else
        (device("1-1.3", "1234:5678"), "absent not_attached (no USB device 05e0:1701)"),
    ],
)
def test_what_is_nobodys_in_a_lost_devices_place_is_told(sitting: UsbDevice, expected: str) -> None:
    memory = Memory(socket="1-1.4", device_no=7)
    assert said(SCANNER, sitting, memory=memory, others=(PIN_PAD,)) == expected


def test_a_configured_socket_is_known_before_anything_was_seen_there() -> None:
    assert said(LEFT, device("1-1.1", "1234:5678")).startswith("absent unknown_device")


def test_who_came_in_its_place_and_left_again_is_cleared() -> None:
    seen, _ = plugging.look(LEFT, [], None)
    assert seen.judges(ConditionCode.UNKNOWN_DEVICE)


def begun(told_by: ToldBy = ToldBy.EVENTS) -> Attention:
    return plugging.begin(told_by, frozenset({("1-1", "7")}), 0.0)


def test_without_a_change_only_a_listing_is_due() -> None:
    assert begun().look_at_s == math.inf
    assert begun().due_s == LISTED_S[ToldBy.EVENTS]
    assert begun(ToldBy.LISTINGS).due_s == LISTED_S[ToldBy.LISTINGS]


def test_a_look_waits_until_events_settle() -> None:
    attention = plugging.heard(plugging.heard(begun(), 5.0), 5.1)
    assert attention.look_at_s == pytest.approx(5.1 + SETTLE_S)


def test_events_without_end_do_not_put_a_look_off() -> None:
    attention = begun()
    for tenth in range(100):
        attention = plugging.heard(attention, 5.0 + tenth / 10)
    assert attention.look_at_s == 5.0 + SETTLE_S_MAX


def test_between_two_looks_lies_a_gap() -> None:
    attention = plugging.looked(plugging.heard(begun(), 5.0), frozenset(), 5.2)
    assert attention.look_at_s == math.inf
    assert plugging.heard(attention, 5.3).look_at_s == 5.2 + GAP_S


def test_a_change_that_no_event_told_is_looked_at_and_listings_tell_from_then_on() -> None:
    attention = plugging.listed(begun(), frozenset(), 30.0)
    assert attention.told_by is ToldBy.LISTINGS
    assert attention.look_at_s == 30.0 + SETTLE_S
    assert attention.list_at_s == 30.0 + LISTED_S[ToldBy.LISTINGS]
    assert plugging.heard(attention, 31.0).told_by is ToldBy.EVENTS


def test_a_listing_that_an_event_told_of_changes_nothing() -> None:
    attention = plugging.heard(begun(), 29.9)
    assert plugging.listed(attention, frozenset(), 30.0).look_at_s == attention.look_at_s
    assert plugging.listed(attention, frozenset(), 30.0).told_by is ToldBy.EVENTS


def test_a_listing_without_a_change_asks_for_no_look() -> None:
    assert plugging.listed(begun(), begun().listing, 30.0).look_at_s == math.inf


def test_who_hears_no_more_lists_at_once() -> None:
    attention = plugging.deafened(begun(), 3.0)
    assert (attention.told_by, attention.due_s) == (ToldBy.LISTINGS, 3.0)
