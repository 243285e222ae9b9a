"""The ZVT driver: vectors of others, frames cut and worn, and the simulated terminal on a line and over TCP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.talks import Talk, talk

from tillwatch_agent.drivers import Attachment, Device, SettingsInvalid, zvt
from tillwatch_agent.drivers.zvt import BUSY, CODES, NOT_TOLD, POSITIVE, Completion, Heard
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health, PowerState
from tillwatch_simulator.devices import zvt as simulated
from tillwatch_simulator.devices.zvt import Fault, Terminal

ENQUIRY = bytes.fromhex("10 02 05 01 03 12 34 56 10 03 E0 43")
COMPLETION = bytes.fromhex("10 02 06 0F 0B F0 F0 F7 32 2E 31 34 2E 31 35 00 10 03 B1 11")
SERIAL, TCP = Attachment.SERIAL, Attachment.TCP


def driver(**settings: str) -> zvt.Zvt:
    return zvt.driver(Device(kind="pin_pad", name="counter", settings=settings))


def with_faults(*faults: str, attachment: Attachment = SERIAL, bytewise: bool = True) -> Talk:
    terminal = Terminal(over_tcp=attachment is TCP)
    for fault in faults:
        terminal.set(fault)
    return talk(driver(), terminal.receive, attachment=attachment, bytewise=bytewise)


@pytest.mark.parametrize(
    ("apdu", "frame"),
    [
        (bytes.fromhex("05 01 03 12 34 56"), ENQUIRY),
        (bytes.fromhex("06 0F 0B F0 F0 F7 32 2E 31 34 2E 31 35 00"), COMPLETION),
        (bytes.fromhex("05 01 00"), bytes.fromhex("10 02 05 01 00 10 03 10 06")),  # a 10 in the CRC is not doubled
        (bytes.fromhex("80 00 00"), bytes.fromhex("10 02 80 00 00 10 03 F5 1F")),
    ],
)
def test_frames_are_those_of_others(apdu: bytes, frame: bytes) -> None:
    assert zvt.framed(apdu) == frame
    assert simulated.frame(apdu) == frame
    assert zvt.hear_serial(frame) == Heard(apdus=(apdu,))


def test_only_the_enquiry_and_acknowledgements_can_be_written() -> None:
    assert driver(password="123456").allowed == {
        ENQUIRY,
        bytes.fromhex("05 01 03 12 34 56"),
        b"\x06",
        b"\x15",
        b"\x80\x00\x00",
        bytes.fromhex("06 10 02 80 00 00 10 03 F5 1F"),
    }


@given(st.binary(max_size=254))
def test_every_frame_comes_back_as_it_went_in_and_not_a_byte_before(data: bytes) -> None:
    apdu = bytes([0x04, 0x0F, len(data)]) + data
    frame = zvt.framed(apdu)
    assert zvt.hear_serial(frame).apdus == (apdu,)
    assert all(zvt.hear_serial(frame[:end]) == Heard() for end in range(len(frame)))
    assert zvt.hear_tcp(apdu).apdus == (apdu,)
    assert all(zvt.hear_tcp(apdu[:end]) == Heard() for end in range(len(apdu)))


def test_a_long_apdu_has_two_bytes_of_length_the_lower_first() -> None:
    apdu = bytes([0x04, 0x0F, 0xFF, 0x01, 0x01]) + bytes(0x0101)
    assert zvt.hear_tcp(apdu + b"\x80\x00\x00").apdus == (apdu, b"\x80\x00\x00")
    assert zvt.hear_serial(zvt.framed(apdu)).apdus == (apdu,)


@given(at=st.integers(2, len(COMPLETION) - 1), bit=st.integers(0, 7))
def test_a_turned_bit_is_never_believed(at: int, bit: int) -> None:
    worn = COMPLETION[:at] + bytes([COMPLETION[at] ^ 1 << bit]) + COMPLETION[at + 1 :]
    assert zvt.hear_serial(worn).apdus == ()


@pytest.mark.parametrize(
    ("received", "heard"),
    [
        (b"\x06", Heard()),
        (b"\x15", Heard(is_refused=True)),
        (b"\x06" + COMPLETION[:5], Heard()),
        (b"\x10", Heard()),
        (b"\x10\x02\x05\x10\x04", Heard(is_corrupt=True)),  # neither doubled nor an end
        (b"\xff", Heard(is_corrupt=True)),
        (zvt.framed(b"\x06\x0f\x05\x00"), Heard(is_corrupt=True)),  # its length is another
        (zvt.framed(b"\x06"), Heard(is_corrupt=True)),
    ],
)
def test_what_is_heard_on_a_line_is_told_apart(received: bytes, heard: Heard) -> None:
    assert zvt.hear_serial(received) == heard


@pytest.mark.parametrize(
    ("apdu", "completion"),
    [
        ("06 0F 0B F0 F0 F7 32 2E 31 34 2E 31 35 00", Completion(state=0, software="2.14.15")),
        ("06 0F 01 DF", Completion(state=0xDF)),
        ("06 0F 00", Completion(state=None)),
        ("06 0F 04 F0 F0 F0 51", Completion(state=0x51)),  # a version of no length
        ("06 0F 05 F0 F0 F1 FF 51", Completion(state=0x51)),  # one that is no text
        ("06 0F 04 F0 F0 FA 51", Completion(state=0x51)),  # a digit that is none
        ("06 0F FF 0B 00 F0 F0 F7 32 2E 31 34 2E 31 35 00", Completion(state=0, software="2.14.15")),
        ("06 0F 06 00 06 03 1F 55 00", Completion(state=0)),  # a TLV container after it
    ],
)
def test_a_completion_is_read(apdu: str, completion: Completion) -> None:
    assert zvt.read_completion(bytes.fromhex(apdu)) == completion


@pytest.mark.parametrize("attachment", [SERIAL, TCP])
@pytest.mark.parametrize("bytewise", [True, False])
def test_a_ready_terminal_is_ok_and_says_its_software(attachment: Attachment, bytewise: bool) -> None:
    told = with_faults(attachment=attachment, bytewise=bytewise)
    assert (told.seen.health, told.seen.power_state, told.seen.undetermined) == (
        Health.OK,
        PowerState.ONLINE,
        frozenset(),
    )
    assert told.seen.facts == {"firmware": "2.14.15"}
    assert told.requests[-1].endswith(POSITIVE) or told.requests[-1] == b"\x06" + zvt.framed(POSITIVE)


TOLD = {
    Fault.INITIALISATION_REQUIRED: Code.SETUP_REQUIRED,
    Fault.DATE_WRONG: Code.CLOCK_WRONG,
    Fault.MEMORY_FULL: Code.MEMORY_FULL,
    Fault.SUPPLY_LOW: Code.SUPPLY_LOW,
    Fault.DIAGNOSIS_REQUIRED: Code.SETUP_REQUIRED,
    Fault.PRINTER_NOT_READY: Code.DEVICE_ERROR,
    Fault.OUT_OF_ORDER: Code.OUT_OF_ORDER,
    Fault.REMOTE_MAINTENANCE: Code.IN_MAINTENANCE,
    Fault.CARD_NOT_REMOVED: Code.CARD_LEFT,
    Fault.READER_DEFECTIVE: Code.READER_FAILURE,
    Fault.PIN_PAD_DEFECTIVE: Code.PIN_PAD_FAILURE,
    Fault.NO_HOST: Code.HOST_UNREACHABLE,
    Fault.ABORTS: Code.OUT_OF_ORDER,
}


@pytest.mark.parametrize("attachment", [SERIAL, TCP])
@pytest.mark.parametrize(("fault", "code"), TOLD.items())
def test_each_state_of_the_simulated_terminal_is_told(attachment: Attachment, fault: Fault, code: str) -> None:
    seen = with_faults(fault, attachment=attachment).seen
    assert set(seen.true_codes) == {code}
    assert seen.undetermined == CODES - {code}
    assert seen.health is (Health.OK if code in {Code.CARD_LEFT, Code.IN_MAINTENANCE} else Health.FAULT)


@pytest.mark.parametrize("attachment", [SERIAL, TCP])
@pytest.mark.parametrize("fault", [Fault.CARD_INSERTED, Fault.INTERMEDIATE, Fault.MUTE_VERSION])
def test_what_is_no_fault_is_ok(attachment: Attachment, fault: Fault) -> None:
    assert with_faults(fault, attachment=attachment).seen.health is Health.OK


@pytest.mark.parametrize("attachment", [SERIAL, TCP])
@pytest.mark.parametrize(
    ("fault", "reason", "said"),
    [(Fault.BUSY, BUSY, "it is at something"), (Fault.REFUSES, NOT_TOLD, "it refuses the enquiry by 83")],
)
def test_busy_and_refusing_are_unknown_and_judge_nothing(
    attachment: Attachment, fault: Fault, reason: str, said: str
) -> None:
    seen = with_faults(fault, attachment=attachment).seen
    assert (seen.health, seen.reason, seen.true_codes, seen.undetermined) == (Health.UNKNOWN, reason, {}, CODES)
    assert seen.facts == {"last_answer": said}


@pytest.mark.parametrize(
    ("apdu", "reason", "said"),
    [
        ("84 9C 00", BUSY, "it refuses the enquiry by 9C"),
        ("06 1E 01 6C", NOT_TOLD, "it aborted the enquiry that is known: 6C"),
        ("06 1E 00", NOT_TOLD, "it aborted the enquiry"),
        ("06 0F 00", NOT_TOLD, "it tells no state"),
        ("06 0F 01 77", NOT_TOLD, "it tells no state that is known: 77"),
    ],
)
def test_what_cannot_be_judged_says_why(apdu: str, reason: str, said: str) -> None:
    seen = talk(driver(), lambda _: bytes.fromhex(apdu), attachment=TCP).seen
    assert (seen.health, seen.reason, seen.facts) == (Health.UNKNOWN, reason, {"last_answer": said})


def test_a_frame_with_a_wrong_crc_is_asked_for_again() -> None:
    told = with_faults(Fault.NOISE_ONCE)
    assert told.seen.health is Health.OK
    assert b"\x15" in told.requests


def test_a_line_that_stays_worn_is_garbled_after_two_repeats() -> None:
    worn = COMPLETION[:-1] + b"\x00"
    told = talk(driver(), lambda _: worn)
    assert told.requests == [zvt.framed(b"\x05\x01\x00"), b"\x15", b"\x15"]
    assert told.seen.true_codes == {
        Code.GARBLED_RESPONSE: "expected a ZVT terminal's answer, got 20 bytes: 10 02 06 0f"
    }


def test_what_the_terminal_wants_again_is_sent_again() -> None:
    terminal, came = Terminal(), iter([b"\x15"])
    told = talk(driver(), lambda request: next(came, None) or terminal.receive(request))
    assert told.seen.health is Health.OK
    assert told.requests[0] == told.requests[1]


@pytest.mark.parametrize(
    ("received", "detail"),
    [(b"", None), (b"\x06", "it acknowledges, and says no more")],
)
def test_silence_is_unknown(received: bytes, detail: str | None) -> None:
    seen = talk(driver(), lambda _: received).seen
    assert (seen.health, seen.power_state, seen.true_codes) == (
        Health.UNKNOWN,
        PowerState.OFF_OFFLINE,
        {Code.NO_RESPONSE: detail},
    )


def test_a_terminal_that_never_comes_to_an_end_is_left() -> None:
    told = talk(driver(), lambda _: bytes.fromhex("04 FF 01 0E"), attachment=TCP)
    assert len(told.requests) == zvt.MESSAGES_MAX
    assert told.seen.reason == Code.GARBLED_RESPONSE


def test_an_echo_is_named_and_shows_no_password() -> None:
    secret = driver(password="987654")
    for attachment in (SERIAL, TCP):
        seen = talk(secret, lambda request: request, attachment=attachment).seen
        assert "98" not in str(seen.true_codes)
        assert seen.reason == Code.GARBLED_RESPONSE


def test_the_password_is_sent_and_another_is_refused() -> None:
    terminal = Terminal(password="123456")
    assert talk(driver(password="123456"), terminal.receive).seen.health is Health.OK
    assert talk(driver(password="654321"), terminal.receive).seen.reason == NOT_TOLD


def test_a_password_that_is_none_is_refused_and_not_shown() -> None:
    with pytest.raises(SettingsInvalid, match="pin_pad:counter: password: expected six digits, got 5 characters"):
        driver(password="12345")


@given(st.binary(max_size=100), st.sampled_from([SERIAL, TCP]))
def test_whatever_comes_the_talk_ends(received: bytes, attachment: Attachment) -> None:
    assert talk(driver(), lambda _: received, attachment=attachment, bytewise=False).seen.component == "pin_pad:counter"
