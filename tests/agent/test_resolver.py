"""Names to addresses within a limit, from a resolver that knows none."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tillwatch_agent import resolver
from tillwatch_agent.resolver import Found, Lookup


def test_an_address_is_its_own_answer() -> None:
    assert resolver.resolve("192.0.2.1", 0.0) == Found(lookup=Lookup.FOUND, addresses=("192.0.2.1",))
    assert resolver.resolve("::1", 0.0).addresses == ("::1",)


@pytest.fixture
def stuck_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A resolver that answers when the test is over; gives what it was asked."""
    asked: list[str] = []
    over = threading.Event()

    def stick(host: str, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        over.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", stick)
    monkeypatch.setattr(resolver, "_slots", threading.BoundedSemaphore(resolver.LOOKUPS_MAX))
    yield asked
    over.set()


def test_a_lookup_that_hangs_is_left_behind_in_time(stuck_resolver: list[str]) -> None:
    assert resolver.resolve("a.example", 0.05).lookup is Lookup.NO_ANSWER
    assert stuck_resolver == ["a.example"]


def test_no_more_than_so_many_lookups_hang_at_once(stuck_resolver: list[str]) -> None:
    for _ in range(resolver.LOOKUPS_MAX + 3):
        assert resolver.resolve("a.example", 0.02).lookup is Lookup.NO_ANSWER
    assert len(stuck_resolver) == resolver.LOOKUPS_MAX


@pytest.mark.parametrize(
    ("error", "lookup"),
    [
        (socket.gaierror(socket.EAI_NONAME, ""), Lookup.NO_SUCH_NAME),
        (socket.gaierror(socket.EAI_AGAIN, ""), Lookup.NO_ANSWER),
        (UnicodeError("label too long"), Lookup.NO_SUCH_NAME),
    ],
)
def test_how_a_lookup_ends_is_told_by_its_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception, lookup: Lookup
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert resolver.resolve("a.example", 5.0).lookup is lookup


def test_a_name_with_many_addresses_is_tried_at_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{n % 9}", 0)) for n in range(30)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)
    assert resolver.resolve("a.example", 5.0).addresses == ("192.0.2.0", "192.0.2.1", "192.0.2.2")
