"""Those who receive messages: a web server and a mail server on loopback that do as they are told."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Got:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(kw_only=True)
class Web:
    """A web server: what it answers next, and what came."""

    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    """Says nothing until it is let go."""
    drips: bool = False
    """Sends one byte of a header after the other, for ever."""
    got: list[Got] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


class _Answering(ThreadingHTTPServer):
    """A server that holds what it is told."""

    def __init__(self, told: Web) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told = told


class _Handler(BaseHTTPRequestHandler):
    server: _Answering

    def do_POST(self) -> None:
        told = self.server.told
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        told.got.append(Got(path=self.path, headers=dict(self.headers), body=body))
        if told.hangs:
            told.let_go.wait(30)
        elif told.drips:
            self._drip(told)
        else:
            self._answer(told)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library names it so
        """Say nothing."""

    def handle(self) -> None:
        with suppress(OSError):  # they went away
            super().handle()

    def _answer(self, told: Web) -> None:
        self.send_response(told.status)
        for name, value in told.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"x" * 100_000)

    def _drip(self, told: Web) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not told.let_go.wait(0.05):
            self.wfile.write(b"x")


@contextmanager
def web() -> Iterator[Web]:
    told = Web()
    with _Answering(told) as server:
        told.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield told
        told.let_go.set()
        server.shutdown()
        thread.join()


@dataclass(kw_only=True)
class Mail:
    """A mail server, and the letters that came."""

    port: int = 0
    letters: list[str] = field(default_factory=list)


@contextmanager
def mail() -> Iterator[Mail]:
    told = Mail()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 ready")
            while line := self.rfile.readline().strip().upper():
                if line == b"DATA":
                    self._say("354 go on")
                    told.letters.append(self._letter())
                    self._say("250 taken")
                elif line == b"QUIT":
                    self._say("221 bye")
                    return
                else:
                    self._say("250 ok")

        def _letter(self) -> str:
            lines = []
            while (line := self.rfile.readline().rstrip(b"\r\n")) != b".":
                lines.append(line)
            return b"\n".join(lines).decode()

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        told.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()
