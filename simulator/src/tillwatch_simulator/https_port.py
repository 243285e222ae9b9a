"""A device behind HTTPS: each connection is one request and one answer, by a thread of its own.

`set` and `clear` change the device under its lock, and hold when they return. A pulled cable closes the listener until
it is put back, at the same port.
"""

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tillwatch_simulator.devices import Device
from tillwatch_simulator.errors import PartFailed

_READ_BYTES_MAX = 4096
_TIMEOUT_S = 10.0
"""For a handshake, and between two pieces of a request; a client that takes longer is dropped."""
_REQUEST_BYTES_MAX = 64 * 1024


class HttpsPort:
    """A device served from `__enter__` to `__exit__`; `certificate` and `key` are files in PEM."""

    def __init__(self, device: Device, tcp_port: int, *, certificate: Path, key: Path, host: str = "127.0.0.1") -> None:
        self._device = device
        self._host = host
        self._tcp_port = tcp_port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            self._context.load_cert_chain(certificate, key)
        except OSError as error:  # ssl.SSLError is one
            raise PartFailed(f"expected a certificate and its key in PEM, got: {error}") from error
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._ended = threading.Event()

    @property
    def address(self) -> str:
        """`https://host:port/nexo`."""
        return f"https://{self._host}:{self._tcp_port}/nexo"

    def set(self, fault: str) -> None:
        """Let a fault begin; it holds when this returns. Raises `FaultUnknown`."""
        with self._lock:
            self._device.set(fault)
        self._follow_cable()

    def clear(self, fault: str) -> None:
        """Let a fault end; it has ended when this returns. Raises `FaultUnknown`."""
        with self._lock:
            self._device.clear(fault)
        self._follow_cable()

    def describe(self) -> str:
        """Say in one line where the device is and in what state."""
        return f"{self.address}: {self._device.describe()}"

    def __enter__(self) -> Self:
        """Listen; raises `PartFailed`."""
        self._follow_cable()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Listen no more."""
        self._ended.set()
        self._close()

    def _follow_cable(self) -> None:
        if self._device.unplugged:
            self._close()
        elif self._listener is None:
            self._listen()

    def _listen(self) -> None:
        try:
            self._listener = socket.create_server((self._host, self._tcp_port))
        except OSError as error:
            raise PartFailed(f"expected to listen on {self.address}, got: {error}") from error
        self._tcp_port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), name="https", daemon=True).start()

    def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._serve, args=(connection,), name="https-client", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_TIMEOUT_S)
            with self._context.wrap_socket(connection, server_side=True) as secured:
                answer = self._answered(secured)
                if answer and not self._ended.wait(self._device.answer_delay_s):
                    secured.sendall(answer)

    def _answered(self, secured: ssl.SSLSocket) -> bytes:
        taken = 0
        while taken < _REQUEST_BYTES_MAX and (data := secured.recv(_READ_BYTES_MAX)):
            taken += len(data)
            with self._lock:
                answer = self._device.receive(data)
            if answer:
                return answer
        return b""
