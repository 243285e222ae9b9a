"""A port that is shared with a till, on real pseudo-terminals and sockets."""

import contextlib
import fcntl
import grp
import os
import socket
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from escpos.printer import Dummy, Serial
from PIL import Image, ImageDraw
from tests.agent.conftest import until
from tests.agent.shop import Failing, Line, Till, configured, served, sharing

from tillwatch_agent import config, share
from tillwatch_agent.config import ConfigError
from tillwatch_agent.drivers import Attachment
from tillwatch_agent.drivers.escpos import ALLOWED
from tillwatch_agent.ports import LineSettings, Port, PortBusy, PortLost, TurnMissed
from tillwatch_agent.tee import HELD_BYTES_MAX
from tillwatch_protocol.vocabulary import ConditionCode, Health
from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.ports import PtyPort, TcpPort

ASK = b"\x10\x04\x01"


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with contextlib.closing(Line(tmp_path / "printer")) as line:
        yield line


def receipt(client: Dummy | Serial) -> None:
    """Print what receipts are made of, by a client of others."""
    picture = Image.new("1", (128, 64), 1)
    ImageDraw.Draw(picture).ellipse((8, 8, 120, 56), fill=0)
    client.set(align="center", bold=True)
    client.text("Café Tillwatch\n")
    client.set(align="left", bold=False)
    client.textln("1 espresso            2.10")
    client.image(picture, impl="bitImageRaster")
    client.image(picture, impl="graphics")
    client.image(picture, impl="bitImageColumn")
    client.barcode("4006381333931", "EAN13", 64, 2, "", "")
    client.barcode("{B012ABC", "CODE128", function_type="B")
    client.qr("https://example.com/r/1", native=True)
    client.cut()


def test_a_receipt_is_printed_the_same_while_the_status_is_asked_for(tmp_path: Path) -> None:
    alone, shared_printer, paper = Printer(), Printer(), Dummy()
    receipt(paper)
    alone.receive(paper.output * 5)
    ended = threading.Event()
    seen: list[Health] = []

    def watch() -> None:
        while not ended.is_set():
            seen.append(probe.poll()[0].health)

    with PtyPort(shared_printer, tmp_path / "printer"), sharing(configured(tmp_path)) as (shared, probe):
        served(shared)
        watching = threading.Thread(target=watch)
        watching.start()
        try:
            for _ in range(5):
                looks = len(seen)
                until(lambda looks=looks: len(seen) > looks, "a look between two receipts")  # type: ignore[misc]
                client = Serial(str(tmp_path / "receipt"), timeout=1)
                receipt(client)
                assert client.is_online()
                client.close()
            until(lambda: shared_printer.printed == alone.printed, "the same to be printed")
        finally:
            ended.set()
            watching.join()
    assert alone.printed.count(b"espresso") == 5
    assert Health.OK in seen
    assert Health.FAULT not in seen


def test_a_till_and_a_look_are_answered_side_by_side(tmp_path: Path) -> None:
    with PtyPort(Printer(), tmp_path / "printer") as printer, sharing(configured(tmp_path)) as (_, probe):
        till = Till(tmp_path / "receipt")
        till.write(b"\x1da\xff")
        assert till.read(4) == b"\x10\x00\x00\x00"
        printer.set("cover_open")
        assert till.read(4) == b"\x38\x00\x00\x00", "what it has switched on comes to it"
        till.write(ASK)
        assert till.read(1) == b"\x1a"
        assert set(probe.poll()[0].true_codes) == {"cover_open"}
        printer.clear("cover_open")
        assert till.read(4) == b"\x10\x00\x00\x00"
        assert probe.poll()[0].health is Health.OK
        with pytest.raises(BlockingIOError):
            os.read(till.fd, 1)
        till.close()


def test_automatic_status_that_comes_beside_our_answer_is_told_to_both(line: Line, tmp_path: Path) -> None:
    with sharing(configured(tmp_path)) as (shared, probe):
        till = Till(tmp_path / "receipt")
        looked = threading.Thread(target=probe.poll)
        looked.start()
        line.hears(ASK)
        line.say(b"\x10\x00\x00\x00\x12")
        assert till.read(4) == b"\x10\x00\x00\x00"
        line.hears(ASK + b"\x10\x04\x02")
        shared.stop()
        looked.join()
        till.close()


def test_the_path_is_used_by_one_till_after_the_other(line: Line, tmp_path: Path) -> None:
    with sharing(configured(tmp_path)) as (shared, _):
        for text in (b"first\n", b"second\n", b"third\n"):
            till = Till(tmp_path / "receipt")
            till.write(text)
            till.close()
        line.hears(b"first\nsecond\nthird\n")
        line.say(b"\x12")  # nobody has it open: it is lost, as on a line
        until(lambda: shared._tee._heard_at_s > 0, "the share to hear it")
        next_till = Till(tmp_path / "receipt")
        next_till.write(ASK)
        line.hears(b"first\nsecond\nthird\n" + ASK)
        line.say(b"\x16")
        assert next_till.read(1) == b"\x16"
        next_till.close()


def test_what_a_till_did_not_read_is_not_the_next_ones(line: Line, tmp_path: Path) -> None:
    with sharing(configured(tmp_path)) as (shared, _):
        till = Till(tmp_path / "receipt")
        till.write(ASK)
        line.hears(ASK)
        line.say(b"\x12")
        until(lambda: not shared._tee._till_asked, "the answer")
        till.close()
        until(lambda: not shared._has_till, "the till to be missed")
        till = Till(tmp_path / "receipt")
        with pytest.raises(BlockingIOError):
            os.read(till.fd, 1)
        till.close()


@pytest.mark.parametrize("text", [b"Total\n", b""])
def test_the_mark_of_a_till_that_went_away_keeps_nobody_out(line: Line, tmp_path: Path, text: bytes) -> None:
    with sharing(configured(tmp_path)) as (shared, _):
        served(shared)
        until(lambda: not shared._hangs_up_ourselves, "the share's own hang-up")
        till = Till(tmp_path / "receipt")
        before = (tmp_path / "receipt").readlink()
        fcntl.ioctl(till.fd, termios.TIOCEXCL)
        till.write(text)
        till.close()
        until(lambda: (tmp_path / "receipt").readlink() != before, "another pseudo-terminal")
        till = Till(tmp_path / "receipt")
        till.write(b"more\n")
        line.hears(text + b"more\n")
        till.close()


# --- what stands in the way


@pytest.mark.parametrize(
    ("left", "said"),
    [(b"Total", "line unfinished"), (b"\x1dv0\x00", "command unfinished"), (b"\x1b\x07", "unknown length")],
)
def test_a_till_that_stops_within_something_is_waited_for_and_then_told(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bytes, said: str
) -> None:
    monkeypatch.setattr(share, "TURN_S_MAX", 0.1)
    monkeypatch.setattr("tillwatch_agent.tee.QUIET_S", 0.0)
    monkeypatch.setattr("tillwatch_agent.tee.LATE_S", 0.0)
    with sharing(configured(tmp_path)) as (_, probe):
        till = Till(tmp_path / "receipt")
        till.write(left)
        line.hears(left)
        for _ in range(2):  # it takes its turn at each look
            told = probe.poll()[0]
            assert told.reason == ConditionCode.PORT_BUSY
            assert said in str(told.true_codes)
        assert line.hear() == left
        till.close()


@pytest.mark.usefixtures("line")
def test_a_question_that_the_line_takes_no_byte_of_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sharing(configured(tmp_path)) as (shared, _):
        served(shared)
        monkeypatch.setattr(shared.port, "pass_on", lambda _: 0)
        with pytest.raises(PortLost, match="took no bytes"):
            shared.ask(ASK)


def test_a_line_that_still_sends_is_not_asked(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "TURN_S_MAX", 0.1)
    with sharing(configured(tmp_path)) as (shared, _):
        served(shared)
        monkeypatch.setattr(shared.port, "unsent", lambda: 3)
        with pytest.raises(TurnMissed, match="printing"):
            shared.ask(ASK)
        assert line.hear() == b""


def test_a_share_that_does_not_turn_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "TURN_S_MAX", 0.01)
    shared = share.share_of(configured(tmp_path).printer[0])
    shared.trouble = None
    with pytest.raises(PortLost, match="does not turn"):
        shared.ask(ASK)
    shared.stop()


def test_what_nobody_reads_stops_the_till_and_is_lost_by_nobody(line: Line, tmp_path: Path) -> None:
    with sharing(configured(tmp_path)) as (shared, _):
        till = Till(tmp_path / "receipt")
        served(shared)
        roll = b"".join(b"line %06d\n" % number for number in range(10_000))
        sent = 0

        def is_full() -> bool:
            nonlocal sent
            count = till.write(roll[sent : sent + 1000])
            sent += count
            return count == 0 and len(shared._tee._held) >= HELD_BYTES_MAX

        until(is_full, "the till to be stopped")
        assert len(shared._tee._held) <= HELD_BYTES_MAX
        writing = threading.Thread(target=till.write_all, args=(roll[sent:],))
        writing.start()
        line.hears(roll)
        writing.join()
        till.close()


# --- the line


def test_the_till_sets_the_line(line: Line, tmp_path: Path) -> None:
    with sharing(configured(tmp_path, baud_rate=19_200)) as (shared, _):
        served(shared)
        assert line.settings()[4:6] == [termios.B19200] * 2
        till = Till(tmp_path / "receipt")
        assert termios.tcgetattr(till.fd)[4:6] == [termios.B19200] * 2, "it finds the line as it is"

        def change(attributes: list[int]) -> None:
            attributes[4] = attributes[5] = termios.B38400
            attributes[2] |= termios.CSTOPB | termios.CRTSCTS

        till.set(change)
        till.write(b"Total\n")
        line.hears(b"Total\n")
        assert line.settings()[4:6] == [termios.B38400] * 2
        assert line.settings()[2] & termios.CSTOPB
        assert line.settings()[2] & termios.CRTSCTS
        till.close()


def test_a_question_passes_a_line_that_is_held_off_by_its_wires(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sharing(configured(tmp_path)) as (shared, _):
        till = Till(tmp_path / "receipt")
        till.set(lambda attributes: attributes.__setitem__(2, attributes[2] | termios.CRTSCTS))
        till.write(b"Total\n")
        line.hears(b"Total\n")
        flows: list[bool] = []
        set_line = shared.port.set_line

        def noted(to: LineSettings) -> None:
            flows.append(to.has_hardware_flow)
            set_line(to)

        monkeypatch.setattr(shared.port, "set_line", noted)
        shared.ask(ASK)
        line.hears(b"Total\n" + ASK)
        line.say(b"\x12")
        till.write(b"more\n")
        line.hears(b"Total\n" + ASK + b"more\n")
        assert flows == [False, True], "lifted for the question, and back before the till's next byte"
        till.close()


def test_a_line_is_not_changed_before_what_was_written_has_left(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsent = [3]
    with sharing(configured(tmp_path)) as (shared, _):
        till = Till(tmp_path / "receipt")
        served(shared)
        monkeypatch.setattr(shared.port, "unsent", lambda: unsent[0])
        till.set(lambda attributes: attributes.__setitem__(2, attributes[2] | termios.CSTOPB))
        till.write(b"Total\n")
        until(lambda: bool(shared._tee._held), "the share to have it")
        assert not line.settings()[2] & termios.CSTOPB
        assert line.hear() == b""
        unsent[0] = 0
        line.hears(b"Total\n")
        assert line.settings()[2] & termios.CSTOPB
        till.close()


def test_flow_control_by_bytes_stops_the_till_and_not_the_question(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "UNSENT_BYTES_MAX", 4)
    with sharing(configured(tmp_path)) as (shared, _):
        till = Till(tmp_path / "receipt")
        till.set(lambda attributes: attributes.__setitem__(0, attributes[0] | termios.IXON))
        till.write(b"Total\n")
        line.hears(b"Total\n")
        line.say(b"\x13")
        until(lambda: shared._tee._is_held_off, "the printer to be heard")
        till.write(b"more\n")
        until(lambda: bool(shared._tee._held), "the share to have it")
        shared.ask(ASK)
        line.hears(b"Total\n" + ASK)
        line.say(b"\x11")
        line.hears(b"Total\n" + ASK + b"more\n")
        till.close()


# --- what is set up


def test_what_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    rows: dict[str, dict[str, str | None]] = {
        "expected share beside share_group": {"share": None, "share_group": "lp"},
        "beside share: no other": {"protocol": "star"},
        "a network port has no group": {"port": "tcp://192.0.2.1:9100"},
        "not the port itself": {"port": str(tmp_path / "receipt")},
    }
    for said, keys in rows.items():
        line = {"name": "r", "port": "/dev/ttyS0", "share": str(tmp_path / "receipt"), **keys}
        document = {"terminal_id": "t", "printer": [{key: value for key, value in line.items() if value}]}
        with pytest.raises(ConfigError, match=said):
            config.parse(document)
    twice = [{"name": name, "port": f"/dev/{name}", "share": "/run/r"} for name in ("a", "b")]
    with pytest.raises(ConfigError, match="share once"):
        config.parse({"terminal_id": "t", "printer": twice})
    with pytest.raises(ConfigError, match="expected a group"):
        share.share_of(configured(tmp_path, share_group="no-such-group").printer[0])


@pytest.mark.usefixtures("line")
def test_the_path_has_the_group_that_is_configured_or_the_ports_own(tmp_path: Path) -> None:
    own = grp.getgrgid(os.getegid()).gr_name
    with sharing(configured(tmp_path, share_group=own)) as (shared, _):
        served(shared)
        status = (tmp_path / "receipt").stat()
        assert (status.st_gid, status.st_mode & 0o777) == (os.getegid(), 0o660)
    (tmp_path / "receipt").unlink()
    with sharing(configured(tmp_path)) as (shared, _):
        served(shared)
        assert (tmp_path / "receipt").stat().st_gid == (tmp_path / "printer").stat().st_gid


@pytest.mark.usefixtures("line")
def test_a_path_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "receipt").write_text("mine")
    with sharing(configured(tmp_path)) as (shared, probe):
        until(lambda: "not a link" in str(shared.trouble), "it to be refused")
        assert probe.poll()[0].reason == ConditionCode.PORT_REFUSED
    assert (tmp_path / "receipt").read_text() == "mine"


def test_a_file_in_place_of_a_node_is_no_port(tmp_path: Path) -> None:
    class Node(Failing):
        def open(self) -> None:
            self._fd = os.open(tmp_path / "printer", os.O_RDWR | os.O_CREAT)

        def _fileno(self) -> int:
            return self._fd

        def close(self) -> None:
            with contextlib.suppress(OSError, AttributeError):
                os.close(self._fd)

    node = Node(name="n", allowed=ALLOWED, locate=lambda: tmp_path / "printer")
    with sharing(configured(tmp_path), node) as (shared, _):
        until(lambda: "not a serial line" in str(shared.trouble), "it to be refused")


def test_a_mistake_of_ours_is_told_and_does_not_end_the_share(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "RETRY_S", 0.01)
    with sharing(configured(tmp_path)) as (shared, _):
        till = Till(tmp_path / "receipt")
        served(shared)
        with monkeypatch.context() as patch:
            patch.setattr(shared._tee, "till_wrote", lambda *_: 1 / 0)
            till.write(b"Total\n")
            until(till.is_hung_up, "the till to be told")
        till.close()
        till = Till(tmp_path / "receipt")
        till.write(b"Total\n")
        line.hears(b"Total\n")
        till.close()


# --- the network


def test_a_connection_that_ended_for_idleness_is_made_again_without_a_word(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with sharing(configured(tmp_path, port=address, share_group="root")):
            first, _ = listener.accept()
            till = Till(tmp_path / "receipt")
            till.write(b"first\n")
            assert first.recv(100) == b"first\n"
            first.close()
            second, _ = listener.accept()
            till.write(b"second\n")
            assert second.recv(100) == b"second\n"
            till.write(b"\x1dv0\x00")
            assert second.recv(100) == b"\x1dv0\x00"
            second.close()
            until(till.is_hung_up, "what was under way to be told as lost")
            listener.accept()[0].close()
            till.close()
        assert not (tmp_path / "receipt").is_symlink(), "a network port has no path"


def test_a_printer_over_tcp_is_shared_alike(tmp_path: Path) -> None:
    printer = Printer()
    with TcpPort(printer, 0) as port:
        with sharing(configured(tmp_path, port=port.address, share_group="root")) as (_, probe):
            till = Till(tmp_path / "receipt")
            till.write(b"Total\n")
            assert probe.poll()[0].health is Health.OK
            till.close()
        until(lambda: printer.printed == b"Total\n", "the receipt")


def test_a_node_that_is_readable_and_empty_does_not_keep_us_busy(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    there.shutdown(socket.SHUT_WR)

    class Hollow(Port):
        attachment = Attachment.USB
        _ends_when_empty = False
        takes = 0

        def open(self) -> None:
            """Stay as it is."""

        def close(self) -> None:
            """Stay as it is."""

        def take(self) -> bytes:
            self.takes += 1
            return super().take()

        def _fileno(self) -> int:
            return here.fileno()

    hollow = Hollow(name="lp", allowed=ALLOWED)
    with sharing(configured(tmp_path), hollow) as (shared, _):
        till = Till(tmp_path / "receipt")
        till.write(b"Total\n")
        assert there.recv(100) == b"Total\n"
        before, ended = hollow.takes, threading.Event()
        ended.wait(0.2)
        assert hollow.takes - before < 50
        till.close()
        assert shared.trouble is None
    here.close()
    there.close()


@pytest.mark.usefixtures("line")
def test_a_busy_port_is_told_as_busy(tmp_path: Path) -> None:
    with serial.Serial(str(tmp_path / "printer"), exclusive=True), sharing(configured(tmp_path)) as (shared, probe):
        until(lambda: isinstance(shared.trouble, PortBusy), "the port to be busy")
        assert probe.poll()[0].reason == ConditionCode.PORT_BUSY
        assert (tmp_path / "receipt").resolve() == (tmp_path / "printer").resolve(), "it leads to what is there"
