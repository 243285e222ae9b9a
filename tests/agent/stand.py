"""What a test puts beside the agent: a scripted printer on a pty or a socket, a TLS server, a sysfs tree."""

import contextlib
import os
import pty
import select
import socket
import ssl
import threading
import tty
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

DATA = Path(__file__).parent / "data"

WELL = {bytes([0x10, 4, n]): b"\x12" for n in (1, 2, 3, 4)}
"""Answers of a printer that nothing is the matter with, and that does not say who it is."""

REQUEST_BYTES = 3
"""Every request that the agent can make is this long."""


class PtyPrinter:
    """A table of answers behind the master of a pty; its own slave stays open, so that the master reads no error."""

    def __init__(self, answers: Mapping[bytes, bytes]) -> None:
        self.answers = dict(answers)
        self.heard = b""
        self._master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.path = os.ttyname(self.slave)
        self._bell, self._rope = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Say something unasked."""
        os.write(self._master, data)

    def close(self) -> None:
        """Pull the cable."""
        os.write(self._rope, b".")
        self._thread.join()
        for fd in (self._master, self.slave, self._bell, self._rope):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._master, self._bell], [], [])
            if self._bell in ready:
                return
            self.heard += os.read(self._master, 4096)
            while len(self.heard) % REQUEST_BYTES:
                self.heard += os.read(self._master, 4096)
            os.write(self._master, self.answers.get(self.heard[-REQUEST_BYTES:], b""))


@contextlib.contextmanager
def pty_printer(answers: Mapping[bytes, bytes] = WELL) -> Iterator[PtyPrinter]:
    printer = PtyPrinter(answers)
    try:
        yield printer
    finally:
        with contextlib.suppress(OSError):
            printer.close()


@contextlib.contextmanager
def tcp_server(serve: Callable[[socket.socket], None], address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[int]:
    """Serve connections one after the other, each by `serve`; gives the port."""
    with socket.create_server(address) as listener:
        thread = threading.Thread(target=_accept, args=(listener, serve), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextlib.contextmanager
def tcp_printer(answers: Mapping[bytes, bytes] = WELL, address: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[int]:
    def serve(connection: socket.socket) -> None:
        while request := connection.recv(REQUEST_BYTES):
            connection.sendall(answers.get(request, b""))

    with tcp_server(serve, address) as port:
        yield port


@contextlib.contextmanager
def tls_server(certificate: str = "server.pem") -> Iterator[int]:
    """A server of TLS by the tests' own authority (data/ca.pem)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(DATA / certificate, DATA / "server.key")

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)

    with tcp_server(serve) as port:
        yield port


def page_server(answer: bytes) -> contextlib.AbstractContextManager[int]:
    """A page by HTTP: each connection is read until its request is whole, and answered."""

    def serve(connection: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked and (more := connection.recv(4096)):
            asked += more
        connection.sendall(answer)

    return tcp_server(serve)


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes no connection and refuses none: its queue is full, so that the kernel drops what comes."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        yield listener.getsockname()[1]


def closed_port() -> int:
    """A port that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def usb_device(
    sysfs: Path,
    location: str,
    ids: str,
    *,
    serial: str | None = None,
    tty_name: str | None = None,
    lp: str | None = None,
) -> Path:
    """Attach a device at `location`, with a tty or a printer's node below it, as Linux lays them out."""
    device = sysfs / "devices/pci0000:00/usb1" / location
    vendor_id, product_id = ids.split(":")
    known = {
        "idVendor": vendor_id,
        "idProduct": product_id,
        "manufacturer": "Maker",
        "product": "Model",
        "serial": serial,
    }
    interface = device / f"{location}:1.0"
    interface.mkdir(parents=True)
    for name, value in known.items():
        if value:
            (device / name).write_text(value + "\n")
    _link(sysfs / "bus/usb/devices" / location, device)
    for subsystem, node, devname in (("tty", tty_name, tty_name), ("usbmisc", lp, f"usb/{lp}")):
        if node:
            entry = sysfs / "class" / subsystem / node
            entry.mkdir(parents=True)
            (entry / "uevent").write_text(f"MAJOR=1\nMINOR=1\nDEVNAME={devname}\n")
            _link(entry / "device", interface)
    return device


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def _accept(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                serve(connection)
