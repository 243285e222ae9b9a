"""The page on which a running agent says how it stands with its broker."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tillwatch_agent import connection_note
from tillwatch_agent.connection_note import FAILURE_CHARS_MAX, FILE, Note

SINCE = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(("is_online", "failure"), [(True, None), (False, "Connection refused"), (False, None)])
def test_what_is_written_is_read(tmp_path: Path, is_online: bool, failure: str | None) -> None:
    connection_note.write(tmp_path, is_online=is_online, since=SINCE, failure=failure)
    assert connection_note.read(tmp_path) == Note(is_online=is_online, since=SINCE, failure=failure)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_long_failure_is_cut(tmp_path: Path) -> None:
    connection_note.write(tmp_path, is_online=False, since=SINCE, failure="x" * 10_000)
    note = connection_note.read(tmp_path)
    assert note is not None
    assert note.failure == "x" * FAILURE_CHARS_MAX


@pytest.mark.parametrize("page", [b"", b"{", b'{"is_online": 1}', b"\xff", b" " * 5000 + b"{}"])
def test_a_page_that_cannot_be_read_says_nothing(tmp_path: Path, page: bytes) -> None:
    (tmp_path / FILE).write_bytes(page)
    assert connection_note.read(tmp_path) is None


def test_where_there_is_no_folder_nothing_is_written_and_nothing_fails(tmp_path: Path) -> None:
    connection_note.write(tmp_path / "none", is_online=True, since=SINCE, failure=None)
    assert connection_note.read(tmp_path / "none") is None
