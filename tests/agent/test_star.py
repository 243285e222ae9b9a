"""The Star driver against statuses as the manuals give them, and against the simulated printer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.talks import talk

from tillwatch_agent.drivers import Attachment, Device, SettingsInvalid, star
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health, PowerState
from tillwatch_simulator.devices.escpos import Printer as EscPosPrinter
from tillwatch_simulator.devices.star import Fault, Printer

WELL = bytes.fromhex("23 06 00 00 00 00 00 00 00")
PAPER = {Code.PAPER_END, Code.PAPER_NEAR_END}


def driver(**settings: str) -> star.Star:
    return star.driver(Device(kind="pos_printer", name="bar", settings=settings))


def test_only_the_request_for_status_can_be_written() -> None:
    assert {b"\x1b\x06\x01"} == star.ALLOWED


@pytest.mark.parametrize(
    ("status", "true", "undetermined", "power"),
    [
        ("23 06 00 00 00 00 00 00 00", set(), set(), PowerState.ONLINE),
        ("0F 02 00 00 00 00 00", set(), set(), PowerState.ONLINE),  # seven bytes, version 1 (TSP800)
        ("23 86 00 00 00 00 00 00 00", set(), set(), PowerState.ONLINE),  # an expanded status
        ("23 06 28 00 00 00 00 00 00", {Code.COVER_OPEN}, {Code.OFFLINE, *PAPER}, PowerState.OFFLINE),
        ("23 06 28 00 00 08 00 00 00", {Code.COVER_OPEN}, {Code.OFFLINE, *PAPER}, PowerState.OFFLINE),
        ("23 06 08 00 00 08 00 00 00", {Code.PAPER_END}, {Code.OFFLINE, Code.PAPER_NEAR_END}, PowerState.OFFLINE),
        ("23 06 00 00 00 04 00 00 00", {Code.PAPER_NEAR_END}, set(), PowerState.ONLINE),
        ("23 06 00 00 00 02 00 00 00", {Code.PAPER_NEAR_END}, set(), PowerState.ONLINE),  # the inner sensor
        ("23 06 08 04 00 00 00 00 00", {Code.MECHANICAL_ERROR}, {Code.OFFLINE}, PowerState.OFFLINE),
        ("23 06 08 08 00 00 00 00 00", {Code.CUTTER_ERROR}, {Code.OFFLINE}, PowerState.OFFLINE),
        ("23 06 08 20 00 00 00 00 00", {Code.UNRECOVERABLE_ERROR}, {Code.OFFLINE}, PowerState.OFFLINE),
        ("23 06 08 40 00 00 00 00 00", {Code.HEAD_HOT}, {Code.OFFLINE}, PowerState.OFFLINE),
        ("23 06 08 00 00 00 00 00 00", {Code.OFFLINE}, set(), PowerState.OFFLINE),
        ("23 06 08 00 00 04 00 00 00", {Code.OFFLINE, Code.PAPER_NEAR_END}, set(), PowerState.OFFLINE),
        ("23 06 04 00 00 00 00 00 00", set(), set(), PowerState.ONLINE),  # the drawer's switch, and no drawer
    ],
)
def test_a_status_is_read_as_the_manual_has_it(
    status: str, true: set[str], undetermined: set[str], power: PowerState
) -> None:
    seen = talk(driver(), lambda _: bytes.fromhex(status)).seen
    assert set(seen.true_codes) == true
    assert seen.undetermined == undetermined
    assert seen.power_state is power
    assert seen.health is (Health.FAULT if true - {Code.PAPER_NEAR_END} else Health.OK)


def test_a_full_buffer_is_told_beside_offline() -> None:
    seen = talk(driver(), lambda _: bytes.fromhex("23 06 08 00 40 00 00 00 00")).seen
    assert seen.true_codes == {Code.OFFLINE: "its buffer has overflowed"}


@pytest.mark.parametrize(
    ("header", "length"),
    [(0x0F, 7), (0x21, 8), (0x23, 9), (0x25, 10), (0x27, 11), (0x29, 12), (0x2B, 13), (0x2D, 14), (0x2F, 15)],
)  # TSP700, p. 45
def test_the_header_counts_the_bytes(header: int, length: int) -> None:
    status = bytes([header, *bytes(length - 1)])
    assert [star.read_status(status[:end]) for end in range(1, length)] == [None] * (length - 1)
    assert star.read_status(status) == status


@pytest.mark.parametrize(
    "received",
    [
        b"",
        b"\x11\x13",
        b"\x12",  # ESC/POS
        b"\x10",  # an answer to EOT
        b"\x01" + WELL[1:],  # a header that counts nothing
        b"\x0d\x02\x00\x00\x00\x00",  # six bytes: no model sends so few
        WELL[:8],  # cut short
        WELL[:2] + b"\x10" + WELL[3:],  # a fixed bit that is set
        b"\x23\x16" + WELL[2:],  # in the second byte
        b"\xff" + WELL,  # noise before
        WELL + b"\xff",  # noise after
    ],
)
def test_what_is_not_a_whole_status_is_none(received: bytes) -> None:
    assert star.read_status(received) is None


def test_of_two_statuses_the_later_one_is_the_newest() -> None:
    later = bytes.fromhex("23 06 28 00 00 00 00 00 00")
    assert star.read_status(WELL + later) == later
    assert star.read_status(WELL[:4] + b"\x13" + WELL[4:] + b"\x11" + later) == later


@given(st.binary(max_size=64))
def test_whatever_comes_the_talk_ends_and_only_a_status_is_believed(received: bytes) -> None:
    told = talk(driver(), lambda _: received, bytewise=False)
    assert told.requests in ([star.REQUEST], [star.REQUEST] * 2)
    assert (told.seen.health in {Health.OK, Health.FAULT}) is (star.read_status(received) is not None)


@pytest.mark.parametrize(
    ("attachment", "power"),
    [
        (Attachment.USB, PowerState.OFFLINE),
        (Attachment.SERIAL, PowerState.OFF_OFFLINE),
        (Attachment.TCP, PowerState.OFFLINE),
    ],
)
def test_a_silent_printer_is_unknown_and_asked_twice(attachment: Attachment, power: PowerState) -> None:
    told = talk(driver(drawer_open_level="high"), lambda _: b"", attachment=attachment)
    assert (told.seen.health, told.seen.reason, told.seen.power_state) == (Health.UNKNOWN, Code.NO_RESPONSE, power)
    drawer = told.looked.observations[1]
    assert (drawer.component, drawer.health, drawer.reason) == ("cash_drawer:bar", Health.UNKNOWN, Code.NO_RESPONSE)
    assert told.owed == [False, True]


def test_garbage_is_unknown_even_where_silence_follows() -> None:
    came = iter([b"\xff\xfe", b""])
    seen = talk(driver(), lambda _: next(came)).seen
    assert seen.true_codes == {Code.GARBLED_RESPONSE: "expected a Star's automatic status, got 2 bytes: ff fe"}


def test_a_lost_answer_is_asked_for_again() -> None:
    came = iter([b"", WELL])
    assert talk(driver(), lambda _: next(came)).seen.health is Health.OK


@pytest.mark.parametrize(
    ("level", "closed", "is_open"),
    [("high", True, True), ("high", False, False), ("low", True, False), ("low", False, True)],
)
def test_a_drawer_is_open_by_its_configured_level(level: str, closed: bool, is_open: bool) -> None:
    printer = Printer()
    if closed:
        printer.set(Fault.DRAWER_OPEN)
    _, drawer = talk(driver(drawer_open_level=level), printer.receive).looked.observations
    assert set(drawer.true_codes) == ({Code.DRAWER_OPEN} if is_open else set())


TOLD = {
    Fault.COVER_OPEN: Code.COVER_OPEN,
    Fault.PAPER_END: Code.PAPER_END,
    Fault.PAPER_NEAR_END: Code.PAPER_NEAR_END,
    Fault.CUTTER_ERROR: Code.CUTTER_ERROR,
    Fault.MECHANICAL_ERROR: Code.MECHANICAL_ERROR,
    Fault.UNRECOVERABLE_ERROR: Code.UNRECOVERABLE_ERROR,
    Fault.HEAD_HOT: Code.HEAD_HOT,
    Fault.OFFLINE: Code.OFFLINE,
    Fault.OVERFLOW: Code.OFFLINE,
    Fault.SILENT: Code.NO_RESPONSE,
    Fault.UNPLUGGED: Code.NO_RESPONSE,
    Fault.GARBLED: Code.GARBLED_RESPONSE,
}


@pytest.mark.parametrize(("fault", "code"), TOLD.items())
def test_each_fault_of_the_simulated_printer_is_told_and_seen_to_end(fault: Fault, code: str) -> None:
    printer = Printer()
    printer.set(fault)
    assert set(talk(driver(), printer.receive).seen.true_codes) == {code}
    printer.clear(fault)
    assert talk(driver(), printer.receive).seen.true_codes == {}


def test_automatic_status_that_a_till_switched_on_harms_nothing() -> None:
    printer = Printer()
    printer.receive(b"\x1b\x1e\x61\x01")
    unasked = printer.set(Fault.COVER_OPEN)
    seen = talk(driver(), lambda request: unasked + printer.receive(request), bytewise=False).seen
    assert set(seen.true_codes) == {Code.COVER_OPEN}


def test_an_esc_pos_printer_is_not_taken_for_a_star() -> None:
    seen = talk(driver(), EscPosPrinter().receive).seen
    assert (seen.health, seen.reason) == (Health.UNKNOWN, Code.NO_RESPONSE)


def test_settings_that_it_does_not_know_are_refused() -> None:
    with pytest.raises(SettingsInvalid, match="expected high or low, got 'up'"):
        driver(drawer_open_level="up")
    with pytest.raises(SettingsInvalid, match="unknown key"):
        driver(mood="good")
