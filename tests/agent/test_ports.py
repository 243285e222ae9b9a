"""The ports, on real pseudo-terminals and sockets."""

import array
import errno
import fcntl
import os
import select
import socket
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from serial.tools import list_ports
from tests.agent import stand

from tillwatch_agent import ports
from tillwatch_agent.config import PrinterConfig
from tillwatch_agent.drivers import Attachment
from tillwatch_agent.ports import (
    ForbiddenBytes,
    Port,
    PortAbsent,
    PortBusy,
    PortLost,
    PortRefused,
    PortUnreachable,
    SerialPort,
    TcpPort,
    UsbPrinterPort,
)

ASK = b"\x10\x04\x01"
ALLOWED = frozenset({ASK})
TIOCGEXCL = 0x80045440  # asm-generic/ioctls.h


def serial_port(path: str | Path) -> SerialPort:
    return SerialPort(name=str(path), allowed=ALLOWED, locate=lambda: Path(path))


def asked(port: Port) -> bytes:
    return port.ask(ASK, lambda got: len(got) == 1, timeout_s=5.0, settle_s=0.0)


@pytest.fixture
def printer() -> Iterator[stand.PtyPrinter]:
    with stand.pty_printer() as printer:
        yield printer


def is_exclusive(fd: int) -> bool:
    mark = array.array("i", [0])
    fcntl.ioctl(fd, TIOCGEXCL, mark)
    return bool(mark[0])


def test_a_serial_line_carries_a_request_and_its_answer(printer: stand.PtyPrinter) -> None:
    port = serial_port(printer.path)
    port.open()
    assert asked(port) == b"\x12"
    port.close()
    assert printer.heard == ASK


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\x10",
        b"\x10\x04\x05",  # no such n
        b"\x10\x04\x01\x10\x04\x01",  # two at once
        b"\x10\x05\x02",  # recover and clear
        b"\x10\x14\x01\x00\x01",  # open the drawer
        b"hello",
    ],
)
def test_bytes_outside_the_allow_list_never_leave(printer: stand.PtyPrinter, request_bytes: bytes) -> None:
    port = serial_port(printer.path)
    port.open()
    with pytest.raises(ForbiddenBytes):
        port.write(request_bytes)
    assert asked(port) == b"\x12"
    port.close()
    assert printer.heard == ASK


def test_every_kind_of_port_writes_through_the_one_guard() -> None:
    assert all("write" not in vars(kind) for kind in (SerialPort, UsbPrinterPort, TcpPort))


def test_a_line_is_had_alone(printer: stand.PtyPrinter) -> None:
    mine, other = serial_port(printer.path), serial_port(printer.path)
    mine.open()
    with pytest.raises(PortBusy):
        other.open()
    assert asked(mine) == b"\x12", "who came second did not disturb"
    mine.close()
    other.open()
    assert asked(other) == b"\x12"
    other.close()


def test_an_open_line_is_marked_exclusive_and_a_closed_one_is_not(printer: stand.PtyPrinter) -> None:
    port = serial_port(printer.path)
    port.open()
    assert is_exclusive(printer.slave)
    port.close()
    assert not is_exclusive(printer.slave)


def test_a_line_that_another_program_locked_is_busy(printer: stand.PtyPrinter) -> None:
    with serial.Serial(printer.path, exclusive=True), pytest.raises(PortBusy):
        serial_port(printer.path).open()


def test_a_close_without_an_open_is_harmless(printer: stand.PtyPrinter) -> None:
    for port in (serial_port(printer.path), TcpPort(name="t", allowed=ALLOWED, host="127.0.0.1", tcp_port=1)):
        port.close()
        with pytest.raises(PortLost):
            port.write(ASK)


def test_a_name_is_looked_up_anew_at_each_open(tmp_path: Path) -> None:
    link = tmp_path / "by-id"
    with stand.pty_printer({ASK: b"\x12"}) as first, stand.pty_printer({ASK: b"\x1a"}) as second:
        port = serial_port(link)
        said = []
        for printer in (first, second):
            link.unlink(missing_ok=True)
            link.symlink_to(printer.path)
            port.open()
            said.append(asked(port))
            port.close()
    assert said == [b"\x12", b"\x1a"]


def test_a_node_that_is_not_there_is_absent(tmp_path: Path) -> None:
    for port in (
        serial_port(tmp_path / "ttyUSB0"),
        UsbPrinterPort(name="lp", allowed=ALLOWED, locate=lambda: tmp_path / "lp0"),
    ):
        with pytest.raises(PortAbsent, match="No such file"):
            port.open()


def test_a_file_that_is_no_line_is_absent(tmp_path: Path) -> None:
    (tmp_path / "ttyUSB0").touch()
    with pytest.raises(PortAbsent):
        serial_port(tmp_path / "ttyUSB0").open()


def test_a_pulled_cable_loses_the_port(printer: stand.PtyPrinter) -> None:
    port = serial_port(printer.path)
    port.open()
    printer.close()
    with pytest.raises(PortLost):
        asked(port)
    port.close()
    with pytest.raises(PortAbsent):
        port.open()


def test_a_line_that_takes_nothing_is_lost_and_closes_at_once(
    printer: stand.PtyPrinter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "WRITE_TIMEOUT_S", 0.05)
    port = serial_port(printer.path)
    port.open()
    termios.tcflow(port._fileno(), termios.TCOOFF)
    with pytest.raises(PortLost, match="took no bytes"):
        port._send(bytes(100_000))
    port.close()


def test_what_came_before_is_drained(printer: stand.PtyPrinter) -> None:
    port = serial_port(printer.path)
    port.open()
    printer.send(b"\x1a\x16")
    assert select.select([port._fileno()], [], [], 5.0)[0], "it has come"
    assert port.drain() == 2
    assert asked(port) == b"\x12"
    port.close()


def test_what_may_still_come_of_the_last_question_is_waited_for_and_drained(printer: stand.PtyPrinter) -> None:
    port = serial_port(printer.path)
    port.open()
    port.write(ASK)
    assert port.drain(0.2) == 1
    assert port.drain(0.2) == 0, "its time is over"
    port.close()


def test_a_new_connection_owes_nothing() -> None:
    with stand.tcp_printer({}) as tcp_port:
        port = TcpPort(name="t", allowed=ALLOWED, host="127.0.0.1", tcp_port=tcp_port)
        port.open()
        port.write(ASK)
        port.close()
        port.open()
        assert port.drain(3600.0) == 0
        port.close()


def test_a_drain_of_a_line_that_never_falls_quiet_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "DRAINED_BYTES_MAX", 8)
    with stand.tcp_server(lambda connection: connection.sendall(b"x" * 100_000)) as tcp_port:
        port = TcpPort(name="t", allowed=ALLOWED, host="127.0.0.1", tcp_port=tcp_port)
        port.open()
        port.write(ASK)
        assert port.drain(5.0) >= 8
        port.close()


def test_an_answer_is_gathered_byte_by_byte_and_what_comes_just_after_with_it() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(3)
        for byte in b"\x13\x12\x12":
            connection.sendall(bytes([byte]))
        connection.recv(1)

    with stand.tcp_server(serve) as tcp_port:
        port = TcpPort(name="t", allowed=ALLOWED, host="127.0.0.1", tcp_port=tcp_port)
        port.open()
        received = port.ask(ASK, lambda got: len(got) >= 3, timeout_s=5.0, settle_s=0.0)
        port.close()
    assert received == b"\x13\x12\x12"


def test_a_silent_line_gives_what_came_when_time_is_up() -> None:
    with stand.pty_printer({ASK: b""}) as printer:
        port = serial_port(printer.path)
        port.open()
        assert port.ask(ASK, bool, timeout_s=0.05, settle_s=0.0) == b""
        port.close()


def test_tcp_carries_a_request_and_its_answer() -> None:
    with stand.tcp_printer() as tcp_port:
        port = TcpPort(name="t", allowed=ALLOWED, host="localhost", tcp_port=tcp_port)
        port.open()
        assert (asked(port), port.attachment) == (b"\x12", Attachment.TCP)
        port.close()


def test_tcp_that_refuses_is_unreachable() -> None:
    with pytest.raises(PortUnreachable, match="refused"):
        TcpPort(name="t", allowed=ALLOWED, host="127.0.0.1", tcp_port=stand.closed_port()).open()


def test_tcp_that_swallows_is_unreachable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "CONNECT_TIMEOUT_S", 0.05)
    with stand.black_hole() as tcp_port, pytest.raises(PortUnreachable, match="timed out"):
        TcpPort(name="t", allowed=ALLOWED, host="127.0.0.1", tcp_port=tcp_port).open()


def test_a_host_without_an_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PortUnreachable, match="no address"):
        TcpPort(name="t", allowed=ALLOWED, host="printer.invalid", tcp_port=9100).open()


def test_tcp_that_hangs_up_is_lost() -> None:
    with stand.tcp_server(lambda _: None) as tcp_port:
        port = TcpPort(name="t", allowed=ALLOWED, host="127.0.0.1", tcp_port=tcp_port)
        port.open()
        with pytest.raises(PortLost):
            port.read(5.0)
        port.close()


def test_a_usb_printers_node_carries_both_ways(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lp0")  # hands back what it is given
    port = UsbPrinterPort(name="lp", allowed=ALLOWED, locate=lambda: tmp_path / "lp0")
    port.open()
    port.write(ASK)
    assert port.read(5.0) == ASK
    port.close()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EBUSY, PortBusy),  # usblp, TIOCEXCL
        (errno.EAGAIN, PortBusy),  # flock
        (errno.EACCES, PortRefused),
        (errno.EPERM, PortRefused),
        (errno.ENOENT, PortAbsent),
        (errno.ENODEV, PortAbsent),
        (errno.ENXIO, PortAbsent),
        (errno.EIO, PortAbsent),  # a UART that is not fitted
    ],
)
def test_what_the_system_says_at_an_open_has_its_kind(number: int, kind: type[Exception]) -> None:
    said = (OSError(number, os.strerror(number)), serial.SerialException(number, "could not open"))
    assert [type(ports._refusal(error, "/dev/x")) for error in said] == [kind, kind]


@pytest.mark.parametrize(
    ("port", "kind", "attachment"),
    [
        ("/dev/ttyS0", SerialPort, Attachment.SERIAL),
        ("/dev/serial/by-id/usb-EPSON-if00", SerialPort, Attachment.SERIAL),
        ("/dev/usb/lp0", UsbPrinterPort, Attachment.USB),
        ("tcp://192.0.2.1:9100", TcpPort, Attachment.TCP),
        ("tcp://printer.local:9100", TcpPort, Attachment.TCP),
        ("tcp://[2001:db8::1]:9100", TcpPort, Attachment.TCP),
    ],
)
def test_a_configured_name_becomes_its_kind_of_port(port: str, kind: type[Port], attachment: Attachment) -> None:
    built = ports.for_bytes(PrinterConfig(name="bar", port=port), ALLOWED)
    assert (type(built), built.attachment) == (kind, attachment)


def with_ids(port: str) -> PrinterConfig:
    return PrinterConfig(name="bar", port=port, vendor_id="04b8", product_id="0202")


def test_a_device_is_found_under_the_node_it_has_now(tmp_path: Path) -> None:
    stand.usb_device(tmp_path, "1-1", "05e0:1701", tty_name="ttyACM0")  # a scanner, where the printer was
    stand.usb_device(tmp_path, "1-2", "04b8:0202", tty_name="ttyACM1")
    assert ports.locate(with_ids("/dev/ttyACM0"), "tty", tmp_path) == Path("/dev/ttyACM1")


def test_a_node_of_another_device_is_never_opened(tmp_path: Path) -> None:
    stand.usb_device(tmp_path, "1-1", "05e0:1701", tty_name="ttyACM0")
    with pytest.raises(PortAbsent, match="no tty node belongs to USB device 04b8:0202"):
        ports.locate(with_ids("/dev/ttyACM0"), "tty", tmp_path)


def test_of_two_alike_the_configured_one_is_taken_or_none(tmp_path: Path) -> None:
    stand.usb_device(tmp_path, "1-1", "04b8:0202", lp="lp0")
    stand.usb_device(tmp_path, "1-2", "04b8:0202", lp="lp1")
    assert ports.locate(with_ids("/dev/usb/lp1"), "usbmisc", tmp_path) == Path("/dev/usb/lp1")
    with pytest.raises(PortAbsent, match="name one by its socket"):
        ports.locate(with_ids("/dev/usb/lp5"), "usbmisc", tmp_path)
    in_second = PrinterConfig(name="b", port="/dev/usb/lp5", vendor_id="04b8", product_id="0202", socket="1-2")
    assert ports.locate(in_second, "usbmisc", tmp_path) == Path("/dev/usb/lp1")
    in_third = in_second.model_copy(update={"socket": "1-3"})
    with pytest.raises(PortAbsent, match="no usbmisc node belongs to USB device 04b8:0202 in socket 1-3"):
        ports.locate(in_third, "usbmisc", tmp_path)


def test_without_ids_the_configured_name_is_taken_as_it_is(tmp_path: Path) -> None:
    assert ports.locate(PrinterConfig(name="b", port="/dev/ttyS0"), "tty", tmp_path) == Path("/dev/ttyS0")


def test_a_device_that_goes_while_ports_are_listed_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def going() -> list[object]:
        return [int(None)]  # type: ignore[call-overload]  # what pyserial 3.5 does with a vanished attribute

    monkeypatch.setattr(list_ports, "comports", going)
    assert ports.seen() == ()
