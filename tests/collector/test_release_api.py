"""The releases over HTTP: the list for operators, and the repository for terminals, caches and whoever else asks."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.collector.release_office import Desk
from tests.collector.shell_fixtures import ORIGIN, Web

from tillwatch_collector.config import ReleasesConfig
from tillwatch_collector.releases import Shelf
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "releases").opened()
    desk.bring("2.1.0", content=CONTENT, models=["A920"])
    desk.bring("1.0", product="driver_tables", target="driver_tables/tables.json")
    return desk


@pytest.fixture
def web(desk: Desk, module_store: Store) -> Web:
    return Web(database=module_store, releases=Shelf(desk.folder))


@pytest.fixture
def client(web: Web) -> TestClient:
    return web.client()


def till(desk: Desk) -> str:
    (file,) = (desk.folder / "targets" / "till").iterdir()
    return f"/tuf/targets/till/{file.name}"


def test_the_list_is_for_operators(web: Web, client: TestClient, desk: Desk) -> None:
    assert client.get("/api/v1/releases").status_code == 401
    reader = web.client(Scope.READ)
    page = reader.get("/api/v1/releases").json()
    assert [item["target"] for item in page["items"]] == ["driver_tables/tables.json", "till/till-2.1.0.tar.gz"]
    assert page["items"][1]["models"] == ["A920"]
    desk.releases.revoke("till/till-2.1.0.tar.gz", "no receipts", desk.now)
    desk.sign("alice")
    desk.publish()
    assert reader.get("/api/v1/releases?product=till").json()["items"][0]["revoked_reason"] == "no receipts"
    assert reader.get("/api/v1/releases?revoked=false").json()["total"] == 1
    assert reader.get("/api/v1/releases?limit=1&offset=1").json()["items"][0]["product"] == "till"
    assert reader.get("/api/v1/releases?sort=product").status_code == 422


def test_releases_that_are_not_whole_are_not_listed(web: Web, desk: Desk) -> None:
    reader = web.client(Scope.READ)
    (desk.folder / "metadata" / "timestamp.json").write_bytes(b"{}")
    answer = reader.get("/api/v1/releases")
    assert answer.status_code == 503
    assert "release verify" in answer.json()["detail"]


def test_a_collector_without_releases_has_none(module_store: Store) -> None:
    web = Web(database=module_store)
    assert web.client(Scope.READ).get("/api/v1/releases").json()["total"] == 0
    assert web.client().get("/tuf/metadata/1.root.json").status_code == 404


def test_a_folder_in_which_nothing_was_published_has_none(module_store: Store, tmp_path: Path) -> None:
    web = Web(database=module_store, releases=Shelf(tmp_path))
    assert web.client(Scope.READ).get("/api/v1/releases").json()["total"] == 0


@pytest.mark.parametrize("name", ["1.root.json", "3.targets.json", "3.snapshot.json", "timestamp.json"])
def test_metadata_needs_no_token_and_says_how_long_it_may_be_kept(client: TestClient, desk: Desk, name: str) -> None:
    answer = client.get(f"/tuf/metadata/{name}")
    assert answer.content == (desk.folder / "metadata" / name).read_bytes()
    lasts = name != "timestamp.json"
    assert answer.headers["cache-control"] == ("public, max-age=31536000, immutable" if lasts else "no-cache")
    assert answer.headers["content-type"] == "application/json"
    same = client.get(f"/tuf/metadata/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")


def test_a_releases_file_comes_whole_or_in_the_range_that_is_asked_for(client: TestClient, desk: Desk) -> None:
    path = till(desk)
    whole = client.get(path)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    tag = whole.headers["etag"]
    assert tag.strip('"') in path  # the digest: the same on every machine
    ranges = [
        ({"Range": "bytes=1000-"}, 206, CONTENT[1000:]),
        ({"Range": "bytes=1000-1999"}, 206, CONTENT[1000:2000]),
        ({"Range": "bytes=-10"}, 206, CONTENT[-10:]),
        ({"Range": "bytes=1000-", "If-Range": tag}, 206, CONTENT[1000:]),
        ({"Range": "bytes=1000-", "If-Range": '"another"'}, 200, CONTENT),
        ({"Range": "bytes=0-1,5-6,9-10"}, 200, CONTENT),  # who resumes wants one
        ({"Range": f"bytes={len(CONTENT)}-"}, 416, b""),
        ({"If-None-Match": f'"x", W/{tag}'}, 304, b""),
        ({"If-None-Match": "*"}, 304, b""),
    ]
    for headers, status, content in ranges:
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.content) == (status, content), headers
    assert client.get(path, headers={"Range": "bytes=1000-"}).headers["content-range"] == f"bytes 1000-{255999}/256000"


def test_a_head_tells_without_handing_out(client: TestClient, desk: Desk) -> None:
    for path in (till(desk), "/tuf/metadata/timestamp.json"):
        answer = client.head(path)
        assert answer.status_code == 200
        assert answer.content == b""
        assert int(answer.headers["content-length"]) == len(client.get(path).content)


@pytest.mark.parametrize(
    "path",
    [
        "/tuf/metadata/",
        "/tuf/metadata/root.json",
        "/tuf/metadata/9.root.json",
        "/tuf/metadata/01.root.json",
        "/tuf/metadata/..%2fpending%2ftargets.json",
        "/tuf/metadata/%2e%2e/pending/targets.json",
        "/tuf/targets/",
        "/tuf/targets/till",
        "/tuf/targets/till/",
        "/tuf/targets/till/till-2.1.0.tar.gz",  # without its digest
        "/tuf/targets/till/../../../../etc/passwd",
        "/tuf/targets/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/tuf/targets/..%2f..%2fmetadata%2f1.root.json",
        "/tuf/targets/%2fetc%2fpasswd",
        f"/tuf/targets/till/{'0' * 64}.till-2.1.0.tar.gz",
        f"/tuf/targets/till/{'0' * 64}.x%00.gz",
        f"/tuf/targets/{'0' * 64}.secret",
    ],
)
def test_nothing_but_the_repositorys_own_files_is_handed_out(client: TestClient, desk: Desk, path: str) -> None:
    desk.add("9.0")  # a draft, with its file named by its digest
    (desk.folder / "targets" / f"{'0' * 64}.secret").write_bytes(b"secret")
    answer = client.get(path)
    assert answer.status_code in {401, 404}, answer.content
    assert b"root:" not in answer.content


def test_a_link_leads_to_nothing(client: TestClient, desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (desk.folder / "targets" / "till" / f"{'0' * 64}.link").symlink_to(tmp_path / "secret")
    (desk.folder / "metadata" / "9.root.json").symlink_to(tmp_path / "secret")
    assert client.get(f"/tuf/targets/till/{'0' * 64}.link").status_code == 404
    assert client.get("/tuf/metadata/9.root.json").status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nobody_writes_by_this_door(client: TestClient, method: str) -> None:
    answer = client.request(method, "/tuf/metadata/timestamp.json", headers={"Origin": ORIGIN}, json={})
    assert answer.status_code == 405


def test_the_settings_name_a_folder_where_they_name_a_key(tmp_path: Path) -> None:
    ReleasesConfig(folder=tmp_path, online_key_file=tmp_path / "online.pem")
    with pytest.raises(ValueError, match="expected a folder beside online_key_file"):
        ReleasesConfig(online_key_file=tmp_path / "online.pem")
