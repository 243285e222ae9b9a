"""A simulated printer on a pty and on TCP, with pyserial and plain sockets on the other side."""

import errno
import fcntl
import os
import socket
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.errors import FaultUnknown, PartFailed
from tillwatch_simulator.ports import PtyPort, TcpPort

ONLINE = bytes.fromhex("100401")
ASB_ON = bytes.fromhex("1D61FF")


@pytest.fixture
def pty_port(tmp_path: Path) -> Iterator[PtyPort]:
    with PtyPort(Printer(slow_answer_s=0.05), tmp_path / "printer") as port:
        yield port


@pytest.fixture
def tcp_port() -> Iterator[TcpPort]:
    with TcpPort(Printer(slow_answer_s=0.05), 0) as port:
        yield port


def opened(port: PtyPort) -> serial.Serial:
    return serial.Serial(port.address, timeout=5, exclusive=True)


def exclusive(port: PtyPort) -> bool:
    """Whether the pty behind the name bears the mark; to anyone but the superuser it is busy then."""
    try:
        descriptor = os.open(port.address, os.O_RDWR | os.O_NOCTTY)
    except OSError as error:
        return error.errno in {errno.EBUSY, errno.EIO, errno.ENOENT}
    try:
        return any(fcntl.ioctl(descriptor, 0x80045440, bytes(4)))  # TIOCGEXCL
    finally:
        os.close(descriptor)


def connected(port: TcpPort) -> socket.socket:
    host, number = port.address.removeprefix("tcp://").split(":")
    return socket.create_connection((host, int(number)), timeout=5)


def test_a_pty_answers_and_may_be_closed_and_opened_again(pty_port: PtyPort) -> None:
    for _ in range(3):
        with opened(pty_port) as line:
            line.write(ONLINE)
            assert line.read(1) == b"\x12"


def test_a_pty_is_raw_before_anyone_has_set_it(pty_port: PtyPort) -> None:
    descriptor = os.open(pty_port.address, os.O_RDWR | os.O_NOCTTY)
    assert termios.tcgetattr(descriptor)[3] & (termios.ECHO | termios.ICANON) == 0
    os.close(descriptor)


def test_a_change_holds_when_set_returns(pty_port: PtyPort) -> None:
    with opened(pty_port) as line:
        pty_port.set("cover_open")
        line.write(ONLINE)
        assert line.read(1) == b"\x1a"
        pty_port.clear("cover_open")
        line.write(ONLINE)
        assert line.read(1) == b"\x12"


def test_automatic_status_reaches_who_listens(pty_port: PtyPort) -> None:
    with opened(pty_port) as line:
        line.write(ASB_ON)
        assert line.read(4) == bytes.fromhex("10000000")
        pty_port.set("paper_end")
        assert line.read(4) == bytes.fromhex("18000F00")


def test_a_pulled_cable_takes_the_pty_away_until_it_is_put_back(pty_port: PtyPort) -> None:
    line = opened(pty_port)
    pty_port.set("unplugged")
    assert not os.path.lexists(pty_port.address)
    with pytest.raises(serial.SerialException):
        line.read(1)
    line.close()
    pty_port.clear("unplugged")
    with opened(pty_port) as line:
        line.write(ONLINE)
        assert line.read(1) == b"\x12"


def test_an_exclusive_mark_left_behind_does_not_keep_others_out(pty_port: PtyPort) -> None:
    # Linux keeps the mark on a pty whose master lives; on a serial port it goes with the last close
    line = opened(pty_port)
    fcntl.ioctl(line.fileno(), termios.TIOCEXCL)
    line.close()
    while exclusive(pty_port):
        os.sched_yield()
    with opened(pty_port) as line:
        line.write(ONLINE)
        assert line.read(1) == b"\x12"


def test_an_exclusive_pty_in_use_is_left_alone(pty_port: PtyPort) -> None:
    with opened(pty_port) as line:
        fcntl.ioctl(line.fileno(), termios.TIOCEXCL)
        for _ in range(3):
            line.write(ONLINE)
            assert line.read(1) == b"\x12"
        assert exclusive(pty_port)


def test_the_link_goes_with_the_port_and_a_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "printer"
    with PtyPort(Printer(), path):
        assert path.is_symlink()
    assert not path.is_symlink()
    path.write_text("precious")
    with pytest.raises(PartFailed, match="exists and is not a link"), PtyPort(Printer(), path):
        pass
    assert path.read_text() == "precious"


def test_a_link_left_by_an_ended_port_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "printer"
    path.symlink_to(tmp_path / "gone")
    with PtyPort(Printer(), path) as port, opened(port) as line:
        line.write(ONLINE)
        assert line.read(1) == b"\x12"


def test_an_unknown_fault_comes_back_to_the_caller(pty_port: PtyPort) -> None:
    with pytest.raises(FaultUnknown):
        pty_port.set("on_fire")
    assert pty_port.describe() == f"{pty_port.address}: faults: none; DLE EOT 1..4: 12 12 12 12"


def test_a_slow_answer_comes_late_and_in_order(pty_port: PtyPort) -> None:
    pty_port.set("slow")
    with opened(pty_port) as line:
        line.write(bytes.fromhex("100402 1D4901"))
        assert line.read(2) == bytes.fromhex("1220")


def test_tcp_answers_each_client_for_itself(tcp_port: TcpPort) -> None:
    with connected(tcp_port) as one, connected(tcp_port) as two:
        one.sendall(ONLINE)
        assert one.recv(16) == b"\x12"
        tcp_port.set("cover_open")
        two.sendall(ONLINE)
        assert two.recv(16) == b"\x1a"
        one.settimeout(0)
        with pytest.raises(BlockingIOError):
            one.recv(16)


def test_tcp_tells_everybody_what_is_unasked(tcp_port: TcpPort) -> None:
    with connected(tcp_port) as one, connected(tcp_port) as two:
        two.sendall(ONLINE)
        assert two.recv(16) == b"\x12"
        one.sendall(ASB_ON)
        assert one.recv(16) == bytes.fromhex("10000000")
        tcp_port.set("drawer_open")
        assert one.recv(16) == bytes.fromhex("14000000")
        assert two.recv(16) == bytes.fromhex("14000000")


def test_a_pulled_cable_closes_the_listener_until_it_is_put_back(tcp_port: TcpPort) -> None:
    address = tcp_port.address
    with connected(tcp_port) as client:
        client.sendall(ONLINE)
        assert client.recv(16) == b"\x12"
        tcp_port.set("unplugged")
        assert client.recv(16) == b""
    with pytest.raises(ConnectionRefusedError):
        connected(tcp_port)
    tcp_port.clear("unplugged")
    assert tcp_port.address == address
    with connected(tcp_port) as client:
        client.sendall(ONLINE)
        assert client.recv(16) == b"\x12"


def test_a_taken_tcp_port_is_named(tcp_port: TcpPort) -> None:
    number = int(tcp_port.address.rpartition(":")[2])
    with pytest.raises(PartFailed, match=f"expected to listen on tcp://127.0.0.1:{number}"), TcpPort(Printer(), number):
        pass


def test_the_seventeenth_client_is_refused(tcp_port: TcpPort) -> None:
    clients = [connected(tcp_port) for _ in range(17)]
    for client in clients[:16]:
        client.sendall(ONLINE)
        assert client.recv(16) == b"\x12"
    assert clients[16].recv(16) == b""
    for client in clients:
        client.close()
