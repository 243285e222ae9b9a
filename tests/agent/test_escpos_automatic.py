"""ESC/POS beside polling: automatic status, numbers of identity, what a model does not tell, and the Star hint."""

import pytest
from tests.agent.talks import talk

from tillwatch_agent.drivers import Attachment, Device, SettingsInvalid, escpos
from tillwatch_agent.drivers.escpos import STATUSES, Request
from tillwatch_agent.drivers.escpos_limits import LIMITS, NONE, limit_of
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health
from tillwatch_simulator.devices.escpos import Fault, Printer

OPEN = "high"


def driver(**settings: str) -> escpos.EscPos:
    return escpos.driver(Device(kind="pos_printer", name="bar", settings=settings))


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in {"silent", "garbled", "slow", "unplugged"}])
def test_automatic_status_says_what_the_four_answers_say(fault: Fault) -> None:
    printer = Printer()
    printer.receive(b"\x1d\x61\xff")
    block = printer.set(fault)
    answers = {request: printer.receive(request.value)[0] for request in STATUSES}
    told = escpos.read_automatic(block[:4])
    button = 0x40 if fault is Fault.FEED_BUTTON else 0  # n = 1, bit 6: nothing is judged by it
    assert told == answers | {Request.PRINTER: answers[Request.PRINTER] & ~button}


@pytest.mark.parametrize(
    ("block", "true"),
    [
        ("10 00 00 00", set()),
        ("38 00 00 00", {Code.COVER_OPEN}),
        ("18 00 0F 00", {Code.PAPER_END}),
        ("10 00 03 00", {Code.PAPER_NEAR_END}),
        ("18 08 00 00", {Code.CUTTER_ERROR}),
        ("18 20 00 00", {Code.UNRECOVERABLE_ERROR}),
        ("18 40 00 00", {Code.HEAD_HOT}),
        ("18 00 00 00", {Code.OFFLINE}),
        ("18 00 13 0F 00", {Code.PAPER_END}),  # XOFF inside
    ],
)
def test_a_printer_that_answers_nothing_is_known_by_what_it_sends_unasked(block: str, true: set[str]) -> None:
    sent = iter([bytes.fromhex(block)])
    seen = talk(driver(), lambda _: next(sent, b"")).seen
    assert set(seen.true_codes) == true


def test_an_answer_outranks_what_came_unasked() -> None:
    answers = {Request.PRINTER.value: bytes.fromhex("38 00 00 00 12")}  # a cover that was open when it was queued
    seen = talk(driver(), lambda request: answers.get(request, b"\x12"), bytewise=False).seen
    assert seen.health is Health.OK


@pytest.mark.parametrize("model", ["ZJ-58", "PMU2300III", "SRP-350II"])
def test_automatic_status_of_another_meaning_is_not_believed(model: str) -> None:
    sent = iter([bytes.fromhex("38 00 00 00")])
    seen = talk(driver(model=model), lambda _: next(sent, b"")).seen
    assert (seen.health, seen.reason) == (Health.UNKNOWN, Code.NO_RESPONSE)


def test_a_printer_that_says_no_text_is_asked_for_its_numbers() -> None:
    numbers = {Request.MODEL_ID.value: b"\x2c", Request.TYPE_ID.value: b"\x02"}  # RP-U420, manualshive 2419232, p. 70
    told = talk(driver(), lambda request: numbers.get(request, b"\x12" if request[0] == 0x10 else b""))
    assert told.seen.facts == {"model_id": "0x2c", "cutter": "yes"}
    assert told.owed[-2:] == [True, False], "a late text must not be taken for a number"
    assert not told.looked.memory.is_owed


@pytest.mark.parametrize(
    ("received", "number"),
    [
        (b"\x20", 0x20),  # TM-T81, p. 110
        (b"\x13\x2c", 0x2C),  # XOFF before it
        (b"\x12", None),  # a status
        (b"\x20\x20", None),  # two bytes
        (b"", None),
    ],
)
def test_a_number_is_one_byte_with_its_fixed_bits(received: bytes, number: int | None) -> None:
    assert escpos.read_number(received) == number


def test_the_rp_u420_says_its_firmware() -> None:
    assert escpos.read_identity(bytes.fromhex("5F 31 2E 32 38 00")) == "1.28"


def test_what_a_model_does_not_tell_is_never_judged() -> None:
    def undefined(request: bytes) -> bytes:
        return b"\x16" if request == Request.ERROR_CAUSE.value else b"\x12"

    seen = talk(driver(model="tm-t88iii"), undefined).seen
    assert seen.health is Health.OK
    assert Code.RECOVERABLE_ERROR in seen.undetermined
    assert Code.RECOVERABLE_ERROR in talk(driver(), undefined).seen.true_codes


def test_what_a_printer_says_it_is_counts_more_than_the_label() -> None:
    assert limit_of({"model": "TM-T88V"}, "TM-T88III") is NONE
    assert limit_of({}, "tm-t88iii") is LIMITS[0]
    assert limit_of({}, None) is NONE


def test_a_drawer_at_a_printer_without_a_connector_is_unknown() -> None:
    drawn = driver(model="PPU-231II", drawer_open_level=OPEN)
    _, drawer = talk(drawn, lambda _: b"\x12").looked.observations
    assert (drawer.component, drawer.health) == ("cash_drawer:bar", Health.UNKNOWN)


@pytest.mark.parametrize("eot", [0x18, 0x54, 0xD8])
def test_a_star_is_recognised_by_its_answers(eot: int) -> None:
    seen = talk(driver(), lambda request: bytes([eot]) * request.count(4)).seen
    assert seen.true_codes == {Code.GARBLED_RESPONSE: 'it answers as a Star in line mode does: protocol = "star"'}


def test_noise_is_not_called_a_star() -> None:
    seen = talk(driver(), lambda _: b"\xff\x00").seen
    assert "Star" not in str(seen.true_codes)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"drawer_open_level": "up"}, "pos_printer:bar: drawer_open_level: expected high or low, got 'up'"),
        ({"model": 88}, "pos_printer:bar: model: expected text, got 88"),
        ({"modell": "x"}, "pos_printer:bar: modell: unknown key; expected one of drawer_open_level, model"),
    ],
)
def test_settings_that_it_does_not_know_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        escpos.driver(Device(kind="pos_printer", name="bar", settings=settings))


def test_a_usb_printer_that_is_silent_has_power() -> None:
    assert talk(driver(), lambda _: b"", attachment=Attachment.USB).seen.power_state == "offline"
