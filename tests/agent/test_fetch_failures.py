"""Failures of the way and of the disk, each injected where it hurts most; the next try has the file."""

import errno
import io
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.agent.release_site import CONTENT, TILL, Asked, Repository, Site, Terminal, cut_after

from tillwatch_agent.installer.order import EXIT_CODES, Cause

NAME = "till%2Ftill-2.1.0.tar.gz"


@pytest.mark.parametrize("byte", [0, 1, len(CONTENT) // 2, len(CONTENT) - 1])
def test_a_cut_at_any_byte_is_mended_from_there(
    terminal: Terminal, repository: Repository, site: Site, byte: int
) -> None:
    path = repository.file_of(TILL)
    site.tricks[path] = [cut_after(byte)]
    assert terminal.download() == 0
    assert terminal.files() == {NAME: CONTENT}
    assert site.ranges_of(path) == [None, f"bytes={byte}-" if byte else None]


def test_a_line_that_flaps_costs_as_many_requests_and_no_byte_twice(
    terminal: Terminal, repository: Repository, site: Site
) -> None:
    path = repository.file_of(TILL)
    site.tricks[path] = [cut_after(1000)] * 5
    assert terminal.download() == 0
    assert terminal.files() == {NAME: CONTENT}
    assert site.ranges_of(path) == [None, *(f"bytes={1000 * times}-" for times in range(1, 6))]


def test_a_name_that_does_not_resolve_is_a_matter_of_the_network(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", gone)
        assert terminal.download() == EXIT_CODES[Cause.NETWORK]
        assert terminal.failure == ("network", "unreachable")
    assert terminal.download() == 0


def portal(asked: Asked) -> None:
    page = b"<html>Please accept the terms of this hotspot</html>"
    asked.head(200, len(page), Content_Type="text/html")
    asked.wfile.write(page)


def test_a_portals_page_is_no_release_and_leaves_nothing(
    terminal: Terminal, repository: Repository, site: Site
) -> None:
    site.tricks[repository.file_of(TILL)] = [portal]
    assert terminal.download() == EXIT_CODES[Cause.TRUST]
    assert terminal.files() == {}
    assert terminal.download() == 0


class Failing(io.FileIO):
    """A file whose disk takes one part and then fails."""

    error = errno.EIO

    def write(self, part: Any, /) -> int:
        if self.tell() > 0:
            raise OSError(self.error, os.strerror(self.error))
        return super().write(bytes(part)[:1000])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),  # a quota, or no inode left
        (errno.EIO, "disk_failed"),
        (errno.EROFS, "disk_failed"),  # remounted read-only by a kernel that found errors
    ],
)
def test_a_disk_that_fails_in_the_midst_is_said_and_gone_on_with(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, error: int, reason: str
) -> None:
    really = Path.open

    def opened(self: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        return Failing(self, mode) if (self.suffix, mode) == (".part", "ab") else really(self, mode, *more, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Failing, "error", error)
        patched.setattr(Path, "open", opened)
        assert terminal.download() == EXIT_CODES[Cause.STORAGE]
        assert terminal.failure == ("storage", reason)
    assert NAME not in terminal.files()
    assert terminal.download() == 0
    assert terminal.files() == {NAME: CONTENT}


@pytest.mark.parametrize("year", [1970, 2036])
def test_a_clock_that_jumps_in_the_midst_ends_no_download(
    terminal: Terminal, repository: Repository, site: Site, year: int
) -> None:
    def jump(asked: Asked) -> None:
        terminal.now = datetime(year, 1, 1, tzinfo=UTC)
        asked.honestly(until=5000)

    site.tricks[repository.file_of(TILL)] = [jump]
    assert terminal.download() == 0
    assert terminal.files() == {NAME: CONTENT}
