"""Where a printer stands in a stream of ESC/POS: every command by its length, however the stream is cut."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_agent.drivers.escpos_stream import Place, Question, Reader

COMMANDS: list[Any] = [
    pytest.param("1B40", id="ESC @"),
    pytest.param("1B4501", id="ESC E n: bold"),
    pytest.param("1B64 03", id="ESC d n: feed"),
    pytest.param("1B2401 00", id="ESC $ nL nH"),
    pytest.param("1B70 00 32 FA", id="ESC p m t1 t2: the drawer"),
    pytest.param("1B57 0000 0000 0002 0002", id="ESC W: page mode's area"),
    pytest.param("1B69", id="ESC i: cut"),
    pytest.param("1B2A 00 0300 1B401B", id="ESC * m nL nH d: one byte a column"),
    pytest.param("1B2A 21 0100 100401", id="ESC * with 24 dots: three bytes a column"),
    pytest.param("1B44 08 10 18 00", id="ESC D: tabs, ended by NUL"),
    pytest.param("1B44 " + "01" * 33, id="ESC D: more tabs than there are"),
    pytest.param("1B26 01 4142 02 AAAA 01 BB", id="ESC & y c1 c2: two characters of two widths"),
    pytest.param("1B26 03 4241", id="ESC &: from B to A, which is none"),
    pytest.param("1B3D 01", id="ESC = 1: the printer"),
    pytest.param("1B2841 0200 3001", id="ESC ( A pL pH"),
    pytest.param("1C21 00", id="FS !"),
    pytest.param("1C71 01 0100 0100" + "00" * 8, id="FS q n: one stored image of eight bytes"),
    pytest.param("1C67 31 00 00000000 0200 AABB", id="FS g 1: stored bytes"),
    pytest.param("1C67 32 00 00000000 0200", id="FS g 2: stored bytes are asked for"),
    pytest.param("1D21 11", id="GS ! n"),
    pytest.param("1D2A 01 01" + "00" * 8, id="GS * x y: an image of eight bytes"),
    pytest.param("1D286B 0300 313051", id="GS ( k: a QR code"),
    pytest.param("1D384C 05000000 3070304141", id="GS 8 L: graphics, with a length of four bytes"),
    pytest.param("1D6B 04 2A31322A00", id="GS k m d NUL"),
    pytest.param("1D6B 00" + "31" * 256, id="GS k m: never ended"),
    pytest.param("1D6B 49 04 7B423132", id="GS k m n d"),
    pytest.param("1D7630 00 0200 0200 1D5600FF", id="GS v 0: a raster that holds a cut"),
    pytest.param("1D7630 00 0000 0500", id="GS v 0: a raster of no width"),
    pytest.param("1D5130 00 0100 0200 AAAA", id="GS Q 0: the older raster"),
    pytest.param("1D56 00", id="GS V m: cut"),
    pytest.param("1D56 42 10", id="GS V m n: feed and cut"),
    pytest.param("1D67 30 00 0000", id="GS g 0"),
    pytest.param("1D43 30 05 00", id="GS C 0"),
    pytest.param("1D43 31 0000 0900 01 01", id="GS C 1"),
    pytest.param("1D43 32 0100", id="GS C 2"),
    pytest.param("1D61 FF", id="GS a n"),
    pytest.param("1D72 01", id="GS r n"),
    pytest.param("1D49 43", id="GS I n"),
    pytest.param("100401", id="DLE EOT n"),
    pytest.param("100407 01", id="DLE EOT 7 a"),
    pytest.param("100501", id="DLE ENQ n"),
    pytest.param("1014 01 00 01", id="DLE DC4 1 m t"),
    pytest.param("1014 08 01031401060208", id="DLE DC4 8 d1..d7"),
]


def fed(*streams: bytes) -> Reader:
    reader = Reader()
    for stream in streams:
        reader.feed(stream)
    return reader


@pytest.mark.parametrize("command_hex", COMMANDS)
def test_a_command_is_a_command_until_its_last_byte(command_hex: str) -> None:
    command = bytes.fromhex(command_hex)
    reader = fed(b"text")
    for byte in command[:-1]:
        reader.feed(bytes([byte]))
        assert reader.place is Place.COMMAND
    reader.feed(command[-1:])
    assert reader.place is Place.BOUNDARY
    assert fed(command, command).place is Place.BOUNDARY, "and the next is read from its beginning"


@pytest.mark.parametrize(
    ("stream", "place"),
    [
        (b"", Place.BOUNDARY),
        (b"Total 5.00", Place.TEXT),
        (b"Total\t", Place.TEXT),
        (b"Total 5.00\n", Place.BOUNDARY),
        (b"Total 5.00\r", Place.BOUNDARY),
        (b"\x83", Place.TEXT),  # perhaps half a character
        (b"\x00", Place.BOUNDARY),  # ignored
        (b"Total\x00", Place.TEXT),
        (b"\x1bLin page mode\n\x1bE\x01", Place.PAGE),
        (b"\x1bLin page mode\x0c", Place.BOUNDARY),  # printed: back to standard mode
        (b"\x1bLin page mode\x1bS", Place.BOUNDARY),
        (b"\x1bLin page mode\x1b@", Place.BOUNDARY),
        (b"\x1bL\x1b", Place.COMMAND),
        (b"\x1d:line\n", Place.MACRO),
        (b"\x1d:line\n\x1bL", Place.MACRO),  # what is recorded is not done
        (b"\x1d:line\n\x1d:", Place.BOUNDARY),
        (b"\x1d:line\n\x1b@", Place.BOUNDARY),
        (b"\x1b=\x02to the display", Place.ELSEWHERE),
        (b"\x1b=\x02to the display\x1b=\x01", Place.BOUNDARY),
        (b"\x1b=\x02\x1b@", Place.BOUNDARY),
        (b"\x1b\x07", Place.LOST),  # no such command
        (b"\x1b\x07\n\x1b@", Place.LOST),  # which may be its data
        (b"\x10\x10", Place.LOST),
        (b"\x1b*\x05", Place.COMMAND),
        (b"\x1b*\x05\x01\x00", Place.LOST),  # no such mode: what follows is of no known length
        (b"\x1dk\x10", Place.LOST),
        (b"\x1dv1\x00\x01\x00\x01\x00", Place.LOST),
        (b"\x1d8K\x01\x00\x00\x00", Place.LOST),
        (b"\x1dV\x05", Place.LOST),
        (b"\x1dg\x01", Place.LOST),
        (b"\x1dC\x3b", Place.LOST),
        (b"\x1cg\x33\x00\x00\x00\x00\x00\x00\x00", Place.LOST),
        (b"\x10\x14\x04", Place.LOST),
        (b"\x1dv0\x00\xff\xff\xff\xff", Place.COMMAND),  # an image of 4 GB
    ],
)
def test_the_place_is_what_the_stream_has_made_of_it(stream: bytes, place: Place) -> None:
    assert fed(stream).place is place


@pytest.mark.parametrize(
    ("stream", "asked"),
    [
        (b"text\n", []),
        (b"\x10\x04\x01", [Question.STATUS]),
        (b"\x10\x04\x04\x10\x04\x01", [Question.STATUS, Question.STATUS]),
        (b"\x10\x04\x07\x01", [Question.OTHER]),  # ink: what comes is not known
        (b"\x10\x04\x10\x04\x02", [Question.STATUS]),  # the first was broken off
        (b"\x10\x10\x04\x02", [Question.STATUS, Question.OTHER]),
        (b"\x1dv0\x00\x04\x00\x01\x00\x00\x10\x04\x01", [Question.STATUS]),  # within an image it is answered as well
        (b"\x1dv0\x00\x04\x00\x01\x00\x00\x1d\x72\x01", []),  # and this is not
        (b"\x1dr\x01", [Question.NUMBER]),
        (b"\x1bv", [Question.NUMBER]),
        (b"\x1dI\x43", [Question.OTHER]),
        (b"\x1d(k\x03\x00\x31\x51\x30", [Question.OTHER]),
        (b"\x1b\x07", [Question.OTHER]),  # it may be anything
    ],
)
def test_what_a_till_asks_is_noted_however_it_is_cut(stream: bytes, asked: list[Question]) -> None:
    assert sorted(Reader().feed(stream)) == sorted(asked)
    reader = Reader()
    assert sorted(question for byte in stream for question in reader.feed(bytes([byte]))) == sorted(asked)


def test_a_job_that_begins_ends_what_is_not_known_and_nothing_else() -> None:
    lost, within = fed(b"\x1b\x07\x01"), fed(b"\x1dv0\x00\x04")
    for reader in (lost, within):
        reader.begin()
    assert lost.place is Place.BOUNDARY
    assert within.place is Place.COMMAND


PIECES = st.one_of(
    st.sampled_from([bytes.fromhex(row.values[0]) for row in COMMANDS]),
    st.binary(max_size=8),
    st.sampled_from([b"\x1bL", b"\x1bS", b"\x0c", b"\n", b"\x1d:", b"\x1b=\x00", b"\x1b=\x01"]),
)


@given(st.lists(PIECES, max_size=12).map(b"".join), st.lists(st.integers(0, 64), max_size=12))
def test_any_bytes_are_read_alike_however_they_are_cut(stream: bytes, cuts: list[int]) -> None:
    whole, cut = Reader(), Reader()
    at = 0
    asked: list[Question] = []
    for end in [*sorted(cuts), len(stream)]:
        asked += cut.feed(stream[at:end])
        at = max(end, at)
    assert sorted(asked) == sorted(whole.feed(stream))
    assert cut.place is whole.place
    assert len(cut._taken) <= 16, "what is counted is not kept"
