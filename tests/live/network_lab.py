"""A network laboratory: a till, a router and the world beyond, each in a namespace of Linux, joined by veth pairs.

    till eth0 192.168.77.2 ---- .1 lan0 router wan0 203.0.113.1 ---- .2 eth0 world

The world has the addresses 198.51.100.0/24: two acquirers, a far target, a name server, a page. The router forwards,
and itself serves nothing, so that it refuses. What fails is done by the kernel's own means (addresses, routes, links);
what answers falsely is served falsely. Sockets of the world are opened by a thread that has entered its namespace and
are then served like any other. It needs root and iproute2.
"""

import contextlib
import ctypes
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.bench.figures import PartMissing

GATEWAY, TILL = "192.168.77.1", "192.168.77.2"
PAY, BANK, FAR, NAMES, PAGE = (f"198.51.100.{host}" for host in (10, 20, 30, 53, 80))
HOSTS = {"pay.example": PAY, "bank.example": BANK, "page.example": PAGE}
HTTPS, FAR_PORT = 443, 53

CLONE_NEWNET = 0x40000000  # linux/sched.h

T = TypeVar("T")

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
SIGN_IN = b"HTTP/1.1 302 Found\r\nLocation: http://hotel.example/\r\n\r\n"


def ip() -> Path:
    """Return the program; raises `PartMissing`."""
    found = shutil.which("ip", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    if found is None:
        raise PartMissing("this needs iproute2, which is not on this machine; try: apt install iproute2")
    if os.geteuid() != 0:
        raise PartMissing("this makes network namespaces, for which it must be run by root")
    return Path(found)


class Lab:
    """The three namespaces, named for this process; they and all in them end with the block."""

    def __init__(self, folder: Path) -> None:
        self._ip = ip()
        self._folder = folder
        self._names = {place: f"tw{os.getpid()}-{place}" for place in ("till", "router", "world")}
        self._served = contextlib.ExitStack()
        self.name_answer: Callable[[bytes], bytes | None] = resolved
        """What the name server makes of a question; None for silence."""
        self.page = NO_CONTENT

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.callback(self._end)
            self._build()
            self._serve_udp(NAMES, 53, self._answer_name)
            self.serve(PAGE, 80, lambda connection: answer_page(connection, self.page))
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, place: str, command: str) -> None:
        """Run `ip` with these words in one namespace."""
        self._run("-n", self._names[place], *command.split())

    def inside(self, place: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program in a namespace, with its own /sys and name servers."""
        words = [str(self._ip), "netns", "exec", self._names[place], *map(str, command)]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)

    def entering(self, place: str, do: Callable[[], T]) -> T:
        """Do something in a namespace: a thread enters it, and ends there; sockets that it opened stay."""
        gave: list[T] = []

        def enter() -> None:
            with Path(f"/run/netns/{self._names[place]}").open("rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            gave.append(do())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return gave[0]

    def serve(self, address: str, port: int, serve: Callable[[socket.socket], None]) -> None:
        """Serve TCP at an address of the world until the lab ends, or somebody serves otherwise there."""
        listener = self.entering("world", lambda: socket.create_server((address, port)))
        self._serve_by_threads(listener, lambda: _accept(listener, serve))

    def serve_tls(self, address: str, pem: Path, page: bytes = NO_CONTENT) -> None:
        """Serve TLS with this certificate and key, and a page above it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)

        def shake_hands(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secured:
                answer_page(secured, page)

        self.serve(address, HTTPS, shake_hands)

    def probe(self, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Let an agent beside the till look once; its readings by component."""
        config = self._folder / "agent.json"
        config.write_text(json.dumps(settings))
        done = self.inside("till", sys.executable, "-c", LOOK, config)
        assert done.returncode == 0, done.stderr
        said: dict[str, dict[str, Any]] = json.loads(done.stdout)
        return said

    def bytes_of_till(self) -> int:
        """Count what crossed the till's link so far, both ways."""
        done = self.inside("till", "cat", *(f"/sys/class/net/eth0/statistics/{way}_bytes" for way in ("rx", "tx")))
        return sum(map(int, done.stdout.split()))

    def _answer_name(self, asked: bytes) -> bytes | None:
        return self.name_answer(asked)

    def _build(self) -> None:
        till, router, world = self._names.values()
        for name in self._names.values():
            self._run("netns", "add", name)
            self._run("-n", name, "link", "set", "lo", "up")
        self._run(*f"link add eth0 netns {till} type veth peer name lan0 netns {router}".split())
        self._run(*f"link add wan0 netns {router} type veth peer name eth0 netns {world}".split())
        for place, words in (
            ("till", f"addr add {TILL}/24 dev eth0"),
            ("router", f"addr add {GATEWAY}/24 dev lan0"),
            ("router", "addr add 203.0.113.1/24 dev wan0"),
            ("world", "addr add 203.0.113.2/24 dev eth0"),
            *(("world", f"addr add {address}/32 dev lo") for address in (PAY, BANK, FAR, NAMES, PAGE)),
            ("till", "link set eth0 up"),
            ("router", "link set lan0 up"),
            ("router", "link set wan0 up"),
            ("world", "link set eth0 up"),
            ("till", f"route add default via {GATEWAY}"),
            ("router", "route add 198.51.100.0/24 via 203.0.113.2"),
            ("world", "route add default via 203.0.113.1"),
        ):
            self.run(place, words)
        self.inside("router", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        resolv_conf = Path("/etc/netns") / till / "resolv.conf"
        resolv_conf.parent.mkdir(parents=True)
        resolv_conf.write_text(f"nameserver {NAMES}\noptions timeout:1 attempts:1\n")

    def _end(self) -> None:
        self._served.close()
        for name in self._names.values():
            subprocess.run([self._ip, "netns", "del", name], capture_output=True, check=False)
        shutil.rmtree(Path("/etc/netns") / self._names["till"], ignore_errors=True)

    def _run(self, *words: str) -> None:
        done = subprocess.run([self._ip, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"

    def _serve_udp(self, address: str, port: int, answer: Callable[[bytes], bytes | None]) -> None:
        def opened() -> socket.socket:
            service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            service.bind((address, port))
            return service

        service = self.entering("world", opened)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    asked, who = service.recvfrom(2048)
                    if not asked:
                        return
                    if said := answer(asked):
                        service.sendto(said, who)

        self._serve_by_threads(service, serve)

    def _serve_by_threads(self, service: socket.socket, serve: Callable[[], None]) -> None:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def end() -> None:
            with contextlib.suppress(OSError):
                service.shutdown(socket.SHUT_RDWR)  # wakes who waits in it, on UDP too
            thread.join(5)
            service.close()

        self._served.callback(end)


LOOK = """
import json, sys
from pathlib import Path
from tillwatch_agent import config, diagnosis
from tillwatch_agent.network import NetworkProbe

settings = config.parse(json.loads(Path(sys.argv[1]).read_text()))
probe = NetworkProbe(network=settings.network, acquirers=settings.acquirer)
seen = {
    look.component: {"health": look.health, "reason": look.reason, "codes": look.true_codes, "measures": look.measures}
    for look in probe.poll()
}
verdict = diagnosis.judge(probe.seen)
seen["verdict"] = {"confidence": verdict.confidence, "untested": {s.domain.value: s.why for s in verdict.untested}}
print(json.dumps(seen))
"""
"""One look, as `run` makes it."""


def resolved(asked: bytes) -> bytes | None:
    """Answer a question of the lab's hosts by their addresses (RFC 1035): A, and no other record."""
    name, at = [], 12
    while length := asked[at]:
        name.append(asked[at + 1 : at + 1 + length].decode())
        at += 1 + length
    question, kind = asked[12 : at + 5], int.from_bytes(asked[at + 1 : at + 3])
    address = HOSTS.get(".".join(name).lower())
    if address is None:
        return asked[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + question
    if kind != 1:
        return asked[:2] + b"\x81\x80\0\1\0\0\0\0\0\0" + question
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\x04" + socket.inet_aton(address)
    return asked[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + record


def failing(asked: bytes) -> bytes:
    """Answer any question with server failure."""
    return asked[:2] + b"\x81\x82\0\1\0\0\0\0\0\0" + resolved_question(asked)


def resolved_question(asked: bytes) -> bytes:
    """Give the question of a message back as it was asked, without what follows it (EDNS)."""
    at = 12
    while length := asked[at]:
        at += 1 + length
    return asked[12 : at + 5]


def answer_page(connection: socket.socket, page: bytes) -> None:
    """Read a request to its end, and answer it."""
    asked = b""
    while b"\r\n\r\n" not in asked:
        more = connection.recv(4096)
        if not more:
            return
        asked += more
    connection.sendall(page)


def _accept(listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            serve(connection)

    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
