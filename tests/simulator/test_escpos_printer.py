"""The simulated printer against the manuals' bytes, however the request is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_simulator.devices.escpos import RECEIVE_BUFFER_BYTES_MAX, Fault, Identity, Printer
from tillwatch_simulator.devices.escpos_job import PRINTED_BYTES_MAX
from tillwatch_simulator.errors import FaultUnknown

ALL_FOUR = bytes.fromhex("1004 01 1004 02 1004 03 1004 04")

STATUSES = [
    ((), "12 12 12 12"),  # online, paper, closed
    (("drawer_open",), "16 12 12 12"),  # pin 3 is high; the printer stays online
    (("cover_open",), "1A 16 12 12"),
    (("paper_end",), "1A 32 12 7E"),  # a roll that has ended is near its end too
    (("paper_near_end",), "12 12 12 1E"),  # a warning: the printer stays online
    (("cutter_error",), "1A 52 1A 12"),
    (("head_hot",), "1A 52 52 12"),
    (("unrecoverable_error",), "1A 52 32 12"),
    (("recoverable_error",), "1A 52 16 12"),
    (("feed_button",), "5A 1A 12 12"),  # offline while somebody feeds paper
    (("cover_open", "paper_end"), "1A 36 12 7E"),
    (("cutter_error", "drawer_open"), "1E 52 1A 12"),
]


def printer(*faults: str, near_end_sensor: bool = True) -> Printer:
    made = Printer(near_end_sensor=near_end_sensor)
    for fault in faults:
        made.set(fault)
    return made


@pytest.mark.parametrize(("faults", "answers"), STATUSES)
def test_the_four_statuses_say_what_the_manual_says(faults: tuple[str, ...], answers: str) -> None:
    assert printer(*faults).receive(ALL_FOUR) == bytes.fromhex(answers)


@pytest.mark.parametrize(("faults", "answers"), STATUSES)
def test_a_request_may_come_byte_by_byte(faults: tuple[str, ...], answers: str) -> None:
    device = printer(*faults)
    assert b"".join(device.receive(bytes([byte])) for byte in ALL_FOUR) == bytes.fromhex(answers)


def test_without_a_near_end_sensor_paper_end_stands_alone() -> None:
    device = printer("paper_end", "paper_near_end", near_end_sensor=False)
    assert device.receive(bytes.fromhex("100404")) == bytes.fromhex("72")


@given(faults=st.sets(st.sampled_from([fault for fault in Fault if fault not in {"silent", "garbled", "unplugged"}])))
def test_fixed_bits_are_right_under_every_fault(faults: set[str]) -> None:
    device = printer(*faults)
    assert all(byte & 0x93 == 0x12 for byte in device.receive(ALL_FOUR))
    device = printer()
    device.receive(bytes.fromhex("1D61FF"))
    for fault in faults:
        status = device.set(fault)
        assert len(status) in {0, 4}
        assert not status or status[0] & 0x93 == 0x10
        assert all(byte & 0x90 == 0 for byte in status[1:])


def test_a_request_is_seen_inside_other_data() -> None:
    # text, a raster image of zeros that is cut by the request, and more text
    stream = b"Total 3.20\n" + bytes.fromhex("1D763000 0100 0800 0000 100401 000000") + b"thank you\n"
    assert printer().receive(stream) == bytes.fromhex("12")


@pytest.mark.parametrize(
    "request_hex",
    [
        "100400",  # n out of range is ignored (TM-U295)
        "100405",  # slip paper: this printer has none
        "1004",  # not yet complete
        "1005 01",  # DLE ENQ is not for a monitor, and not executed here
        "04 01",  # no DLE
        "10 00 04 01",  # cut by another byte
    ],
)
def test_what_is_no_request_gets_no_answer(request_hex: str) -> None:
    assert printer().receive(bytes.fromhex(request_hex)) == b""


@pytest.mark.parametrize("request_hex", ["10 100401", "1004 100401", "100400 100401", "FF100401FF"])
def test_a_broken_request_does_not_hide_the_next(request_hex: str) -> None:
    assert printer().receive(bytes.fromhex(request_hex)) == bytes.fromhex("12")


def test_a_request_inside_a_command_becomes_its_argument_too() -> None:
    # GS a takes 10 for its n: bit 4 enables nothing that can change here, and one status comes at once
    assert printer().receive(bytes.fromhex("1D61 100401")) == bytes.fromhex("10000000 12")


@pytest.mark.parametrize(
    ("faults", "request_hex", "answer"),
    [
        ((), "1D7201", "00"),  # paper present
        ((), "1D7231", "00"),  # n = 49 is n = 1
        (("paper_near_end",), "1D7201", "03"),
        ((), "1D7202", "00"),  # drawer pin low
        (("drawer_open",), "1D7232", "01"),
        ((), "1D7203", ""),  # ink: this printer has none
        ((), "1D4901", "20"),
        ((), "1D4932", "02"),  # n = 50: it has a cutter
        ((), "1D4903", "01"),
        ((), "1D4942", "5F54494C4C574154434800"),  # maker: 5F, text, 00
        ((), "1D4900", ""),
        ((), "1D4906", ""),
        ((), "1D1D4901", "20"),  # a GS that begins nothing does not hide the next
        ((), "1B1D4901", "20"),
    ],
)
def test_the_buffered_requests_are_answered_when_online(faults: tuple[str, ...], request_hex: str, answer: str) -> None:
    assert printer(*faults).receive(bytes.fromhex(request_hex)) == bytes.fromhex(answer)


def test_each_identity_text_is_sent() -> None:
    identity = Identity(firmware="1.2", maker="EPSON", model="TM-T81", serial_number="J3KF", language="PC437")
    device = Printer(identity=identity)
    texts = [device.receive(bytes([0x1D, 0x49, n])) for n in range(65, 70)]
    assert texts == [b"_1.2\0", b"_EPSON\0", b"_TM-T81\0", b"_J3KF\0", b"_PC437\0"]


@pytest.mark.parametrize("fault", ["paper_end", "cover_open", "cutter_error"])
def test_offline_a_buffered_request_waits_and_a_real_time_one_does_not(fault: str) -> None:
    device = printer(fault)
    assert device.receive(bytes.fromhex("1D7201 1D4901")) == b""
    assert device.receive(bytes.fromhex("100401")) == bytes.fromhex("1A")
    assert device.clear(fault) == bytes.fromhex("00 20")


def test_the_receive_buffer_is_bounded() -> None:
    device = printer("cover_open")
    device.receive(b"x" * (RECEIVE_BUFFER_BYTES_MAX - 3) + bytes.fromhex("1D4901") + bytes.fromhex("1D4903") * 10)
    assert device.clear("cover_open") == bytes.fromhex("20")


def test_automatic_status_comes_at_once_and_on_each_change() -> None:
    device = printer()
    assert device.receive(bytes.fromhex("1D61FF")) == bytes.fromhex("10000000")
    assert device.set("cover_open") == bytes.fromhex("38000000")
    assert device.set("cover_open") == b""  # nothing changed
    assert device.set("paper_end") == bytes.fromhex("38000F00")
    assert device.clear("cover_open") == bytes.fromhex("18000F00")
    assert device.clear("paper_end") == bytes.fromhex("10000000")
    assert device.set("head_hot") == bytes.fromhex("18400000")
    assert device.clear("head_hot") == bytes.fromhex("10000000")
    assert device.set("feed_button") == bytes.fromhex("58020000")


@pytest.mark.parametrize(
    ("n", "fault", "told"),
    [
        (0x01, "drawer_open", True),
        (0x01, "paper_near_end", False),
        (0x02, "cover_open", True),
        (0x02, "drawer_open", False),
        (0x04, "cutter_error", True),
        (0x04, "cover_open", False),
        (0x08, "paper_near_end", True),
        (0x08, "drawer_open", False),
        (0x40, "feed_button", True),
        (0x40, "cutter_error", False),
        (0x00, "cover_open", False),  # disabled
    ],
)
def test_only_what_was_enabled_is_told(n: int, fault: str, told: bool) -> None:
    device = printer()
    assert len(device.receive(bytes([0x1D, 0x61, n]))) == (4 if n else 0)
    assert len(device.set(fault)) == (4 if told else 0)


def test_initialising_ends_automatic_status() -> None:
    device = printer()
    device.receive(bytes.fromhex("1D61FF 1B40"))
    assert device.set("cover_open") == b""


def test_a_silent_printer_sends_nothing_at_all() -> None:
    device = printer()
    device.receive(bytes.fromhex("1D61FF"))
    assert device.set("silent") == b""
    assert device.receive(ALL_FOUR + bytes.fromhex("1D4901")) == b""
    assert device.set("cover_open") == b""
    device.clear("silent")
    assert device.receive(bytes.fromhex("100401")) == bytes.fromhex("1A")


def test_a_garbled_answer_has_wrong_fixed_bits() -> None:
    device = printer("garbled")
    assert all(byte & 0x93 != 0x12 for byte in device.receive(ALL_FOUR))
    assert all(byte & 0x90 != 0 for byte in device.receive(bytes.fromhex("1D7201 1D4901 1D4942")))


def test_a_slow_printer_answers_late_and_right() -> None:
    device = Printer(slow_answer_s=2.5)
    assert device.answer_delay_s == 0.0
    device.set("slow")
    assert device.answer_delay_s == 2.5
    assert device.receive(ALL_FOUR) == bytes.fromhex("12121212")


def test_an_unplugged_printer_keeps_its_state() -> None:
    device = printer("paper_end", "unplugged")
    assert device.unplugged
    assert device.receive(ALL_FOUR) == b""
    device.clear("unplugged")
    assert device.receive(ALL_FOUR) == bytes.fromhex("1A32127E")


def test_an_unknown_fault_is_refused_with_the_list() -> None:
    with pytest.raises(FaultUnknown, match=r"expected one of cover_open, .* got 'on_fire'"):
        Printer().set("on_fire")


def test_it_describes_itself_in_one_line() -> None:
    assert printer().describe() == "faults: none; DLE EOT 1..4: 12 12 12 12"
    assert printer("paper_end", "silent").describe() == "faults: paper_end silent; DLE EOT 1..4: 1A 32 12 7E"


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=10))
def test_no_cut_changes_the_answer(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(data)]
    device = printer("drawer_open")
    pieces = [device.receive(data[start:end]) for start, end in pairwise(edges)]
    assert b"".join(pieces) == printer("drawer_open").receive(data)


IMAGE = "1D7630 00 0400 0100 "


@pytest.mark.parametrize(
    ("stream_hex", "answer", "printed_hex"),
    [
        ("48690A", "", "48690A"),
        ("4869 100401 0A", "12", "48690A"),  # a question between two bytes of text leaves nothing
        ("1D4902 48 1D7201", "0200", "48"),
        (IMAGE + "1D720100", "", IMAGE + "1D720100"),  # an image that looks like a question
        (IMAGE + "10040100", "12", IMAGE + "10040100"),  # and like one in real time: answered, and printed
        (IMAGE + "00 100401 000000", "12", IMAGE + "00 100401"),  # a question within an image spoils it
        ("1B2A 21 0100 1D4902", "", "1B2A 21 0100 1D4902"),
        ("1D6B 04 31 00 1D4902", "02", "1D6B 04 31 00"),  # a barcode ends with NUL
        ("1D6B 04 00 1D4902", "02", "1D6B 04 00"),
        ("1D6B 49 02 1D49 1D4902", "02", "1D6B 49 02 1D49"),
        ("1D286B 0300 1D4902 1D4902", "02", "1D286B 0300 1D4902"),
        ("1D384C 02000000 1D49 1D4902", "02", "1D384C 02000000 1D49"),
        ("1D56 41 1D 1D4902", "02", "1D56 41 1D"),
        ("1B44 1D 00 1D4902", "02", "1B44 1D 00"),
        ("1C2841 0100 1D 1B2841 0100 1D", "", "1C2841 0100 1D 1B2841 0100 1D"),
    ],
)
def test_what_is_printed_is_the_job_without_the_questions(stream_hex: str, answer: str, printed_hex: str) -> None:
    device = printer()
    assert device.receive(bytes.fromhex(stream_hex)) == bytes.fromhex(answer)
    assert device.printed.startswith(bytes.fromhex(printed_hex))


def test_what_was_printed_is_bounded() -> None:
    device = printer()
    device.receive(b"a" * 10 + b"b" * PRINTED_BYTES_MAX)
    assert len(device.printed) == PRINTED_BYTES_MAX
    assert set(device.printed) == set(b"b")
