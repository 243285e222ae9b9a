"""The line that tests cut is one: it carries, counts, ends what is open, and stays dead until it is mended."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.live.line import Cut, Exchange, Line
from tests.live.mosquitto import LOOPBACK
from tests.live.stack import WAIT_S, until


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says again what it hears; its port."""
    with socket.create_server((LOOPBACK, 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line() -> Iterator[Line]:
    with Exchange() as exchange:
        yield exchange.line()


def test_what_is_sent_comes_and_is_counted(line: Line, echo: int) -> None:
    with socket.create_connection((LOOPBACK, line.to(echo)), timeout=WAIT_S) as end:
        end.sendall(b"a sale")
        assert end.recv(100) == b"a sale"
    until(lambda: line.carried_bytes == len(b"a sale") or None, "it to be counted")


def test_a_cut_ends_what_is_open_and_all_that_is_opened_until_it_is_mended(line: Line, echo: int) -> None:
    port = line.to(echo)
    with socket.create_connection((LOOPBACK, port), timeout=WAIT_S) as end:
        end.sendall(b"x")
        assert end.recv(100) == b"x"
        line.cut(Cut.ENDED)
        assert _ended(end)
    with socket.create_connection((LOOPBACK, port), timeout=WAIT_S) as end:
        assert _ended(end)
    line.mend()
    with socket.create_connection((LOOPBACK, port), timeout=WAIT_S) as end:
        end.sendall(b"y")
        assert end.recv(100) == b"y"


def test_a_dead_line_says_nothing_at_all_and_what_was_open_is_gone_when_it_is_mended(line: Line, echo: int) -> None:
    port = line.to(echo)
    line.cut(Cut.DEAD)
    with socket.create_connection((LOOPBACK, port), timeout=WAIT_S) as end:
        end.sendall(b"x")
        end.settimeout(0.2)
        with pytest.raises(TimeoutError):
            end.recv(100)
        line.mend()
        end.settimeout(WAIT_S)
        assert _ended(end)


def _serve(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            end, _ = server.accept()
            threading.Thread(target=_say_again, args=(end,), daemon=True).start()


def _say_again(end: socket.socket) -> None:
    with end, contextlib.suppress(OSError):
        while heard := end.recv(100):
            end.sendall(heard)


def _ended(end: socket.socket) -> bool:
    try:
        return end.recv(100) == b""
    except ConnectionError:
        return True
