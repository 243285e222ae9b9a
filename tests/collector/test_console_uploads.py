"""Files that people add to tickets: too big, not what they say, with a bad name; and how they come back."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.collector.databases import rows
from tests.collector.shell_fixtures import Web, describe

from tillwatch_collector.domain.attachment import FILE_BYTES_MAX, FILES_MAX
from tillwatch_collector.domain.permission import Role
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20
SCRIPT = b"<html><script>alert(1)</script></html>"
ATTACHMENTS = "/tickets/1/attachments"


@pytest.fixture
def web(store: Store) -> Web:
    describe(store)
    web = Web(database=store)
    told = {"origin": "phone", "terminal_id": "t-1", "title": "The cover does not close"}
    assert web.client(Scope.ADMIN).post("/api/v1/tickets", json=told).json()["ticket_id"] == 1
    return web


@pytest.fixture
def client(web: Web) -> TestClient:
    return web.visitor(Role.OPERATOR)


def attach(client: TestClient, name: str, content: bytes, kind: str) -> int:
    return client.post(ATTACHMENTS, files={"file": (name, content, kind)}).status_code


def kept(web: Web) -> list[tuple[str, str]]:
    return [(name, kind) for name, kind in rows(web.database, "SELECT name, media_type FROM attachment")]


@pytest.mark.parametrize(
    ("name", "content", "kind", "status"),
    [
        ("photo.png", PNG, "image/png", 303),
        ("note.txt", "缺纸".encode(), "text/plain; charset=utf-8", 303),
        ("page.txt", SCRIPT, "text/plain", 303),  # kept as what it says it is, and never shown by a browser
        ("page.html", SCRIPT, "text/html", 422),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "image/svg+xml", 422),
        ("photo.png", SCRIPT, "image/png", 422),  # not what it says
        ("note.txt", PNG, "text/plain", 422),
        ("till.exe", b"MZ\x90\x00", "application/octet-stream", 422),
        ("note.txt", b"\xff\xfe", "text/plain", 422),
        ("empty.txt", b"", "text/plain", 422),
        ("photo.png", PNG + b"\x00" * (FILE_BYTES_MAX - len(PNG)), "image/png", 303),
        ("photo.png", PNG + b"\x00" * (FILE_BYTES_MAX - len(PNG) + 1), "image/png", 413),
        ("photo.png", PNG + b"\x00" * (9 * 1024 * 1024), "image/png", 413),  # more than any request may bring
    ],
)
def test_a_file_is_what_it_says_and_no_bigger_than_it_may_be(
    web: Web, client: TestClient, *, name: str, content: bytes, kind: str, status: int
) -> None:
    assert attach(client, name, content, kind) == status
    assert len(kept(web)) == (status == 303)


@pytest.mark.parametrize(
    ("name", "as_kept"),
    [
        ("../../../etc/passwd", "passwd"),
        ("C:\\temp\\x.txt", "x.txt"),
        ("<script>alert(1)</script>.txt", "script>.txt"),  # the slash ends a folder
        ("<b>'\".txt", None),
        ("..", None),
        ("gpj.\u202etxt.exe", None),  # turns the direction of writing
        ("x" * 300, None),
        ("x\r\nSet-Cookie: a=b.txt", None),
    ],
)
def test_a_name_leads_nowhere(web: Web, client: TestClient, name: str, as_kept: str | None) -> None:
    status = attach(client, name, b"a note", "text/plain")
    assert status in {303, 422}
    found = [kept_name for kept_name, _ in kept(web)]
    assert all(not set("/\\\r\n\u202e") & set(one) and one not in {".", ".."} for one in found)
    if as_kept is not None:
        assert found == [as_kept]
    assert not Path("/etc/passwd.txt").exists()


@pytest.fixture
def handed_out(web: Web, client: TestClient) -> str:
    assert attach(client, "<img src=x> 缺纸.txt", SCRIPT, "text/plain") == 303
    ((attachment_id,),) = rows(web.database, "SELECT attachment_id FROM attachment")
    return f"{ATTACHMENTS}/{attachment_id}"


def test_a_file_comes_back_to_be_saved_and_nothing_of_it_runs(client: TestClient, handed_out: str) -> None:
    answer = client.get(handed_out)
    assert answer.content == SCRIPT
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-disposition"].isascii()
    assert not set('<>"\r\n') & set(answer.headers["content-disposition"].partition("''")[2])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("number", ["0", "99", "-1", "1/../../2", "..%2f..%2fweb.py", "%2e%2e", "x", "9" * 30])
def test_no_number_leads_to_another_file(client: TestClient, handed_out: str, number: str) -> None:
    assert handed_out
    answer = client.get(f"{ATTACHMENTS}/{number}")
    assert answer.status_code in {401, 404, 422}
    assert SCRIPT not in answer.content


def test_a_ticket_takes_so_many_files_and_no_more(client: TestClient) -> None:
    statuses = [attach(client, f"{number}.txt", b"a note", "text/plain") for number in range(FILES_MAX + 1)]
    assert statuses == [303] * FILES_MAX + [422]


def test_a_form_without_its_file_says_so(client: TestClient) -> None:
    assert client.post(ATTACHMENTS, data={"file": "text"}).status_code == 415
    assert client.post(ATTACHMENTS, data={}).status_code == 422
