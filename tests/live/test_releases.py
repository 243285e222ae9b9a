"""The whole way of a release: people's keys, the collector's web server, the program beside a till, over loopback."""

import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from tests.collector.release_office import Desk, named
from tests.collector.shell_fixtures import Web

from tillwatch_agent.installer.order import EXIT_CODES, Cause, Failed, Fetched, News, Order, Progress, command, heard
from tillwatch_collector.release_rules import Office
from tillwatch_collector.releases import Shelf
from tillwatch_collector.store.session import Store

CONTENT = bytes(range(251)) * 8000
"""Two megabytes: more than all buffers of a connection hold."""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "releases", now=datetime.now(UTC)).opened()


@pytest.fixture
def url(desk: Desk) -> Iterator[str]:
    """The collector's own web application, in its own server."""
    store = Store.in_memory()
    application = Web(database=store, releases=Shelf(desk.folder)).application
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    listener = server.config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        store.close()


def order(desk: Desk, url: str, **more: object) -> Order:
    root = desk.folder / "metadata" / "1.root.json"
    till = desk.folder.parent / "till"
    said = {
        "metadata_dir": till / "trust",
        "metadata_url": f"{url}/tuf/metadata",
        "target": "till/till-2.1.0.tar.gz",
        "target_url": f"{url}/tuf/targets",
        "target_dir": till / "downloads",
        "product": "till",
        "agent_version": "1.0",
        "trusted_root": root,
        "reserve_bytes": 0,
        **more,
    }
    return Order(**said)  # type: ignore[arg-type]


def fetched(asked: Order) -> tuple[int, list[News]]:
    done = subprocess.run(command(asked), capture_output=True, check=False, timeout=120)
    assert done.stderr == b""
    return done.returncode, [news for line in done.stdout.splitlines() if (news := heard(line)) is not None]


def test_a_release_goes_from_people_to_a_till(desk: Desk, url: str) -> None:
    desk.bring("2.1.0", content=CONTENT)
    code, news = fetched(order(desk, url))
    assert code == 0, news
    last = news[-1]
    assert isinstance(last, Fetched)
    assert last.path.read_bytes() == CONTENT
    assert not last.was_there

    # Keys change twice while the till is off, and a release is taken back.
    for _ in range(2):
        fresh = named("fresh" if "fresh" not in desk.keys else "fresher")
        out = "alice" if "fresh" not in desk.keys else "fresh"
        desk.releases.rotate(Office.ROOT, out=out, key=fresh.public_key, threshold=None, now=desk.now)
        desk.keys["fresh"] = fresh
        desk.releases.sign(fresh)
        desk.sign("bob", "carol")
        desk.publish()
    desk.releases.revoke("till/till-2.1.0.tar.gz", "prints no receipts", desk.now)
    desk.sign("alice")
    desk.publish()
    code, news = fetched(order(desk, url))
    assert code == EXIT_CODES[Cause.TRUST]
    failed = news[-1]
    assert isinstance(failed, Failed)
    assert failed.reason == "revoked"


def test_a_download_that_was_killed_goes_on(desk: Desk, url: str) -> None:
    desk.bring("2.1.0", content=CONTENT)
    slowly = order(desk, url, bytes_per_s_max=400_000)
    child = subprocess.Popen(command(slowly), stdout=subprocess.PIPE)
    assert child.stdout is not None
    first = heard(child.stdout.readline())
    assert isinstance(first, Progress)
    child.kill()
    child.wait()
    child.stdout.close()
    (part,) = (desk.folder.parent / "till" / "downloads").glob("*.part")
    there = part.stat().st_size
    assert 0 < there < len(CONTENT)
    code, news = fetched(order(desk, url))
    assert code == 0
    progress = [one for one in news if isinstance(one, Progress)]
    assert progress[0].received_bytes > there
    last = news[-1]
    assert isinstance(last, Fetched)
    assert last.path.read_bytes() == CONTENT


@pytest.mark.parametrize("year", [1970, 2040])
def test_a_time_that_was_told_is_enough_for_a_machine_without_one(desk: Desk, url: str, year: int) -> None:
    """The true clock stands for a right one; what was told says another year, and is believed."""
    desk.bring("2.1.0", content=b"x")
    told = datetime(year, 1, 1, tzinfo=UTC)
    code, news = fetched(order(desk, url, reference_at=told))
    assert code == (0 if year == 1970 else EXIT_CODES[Cause.TRUST])
    code, news = fetched(order(desk, url, reference_at=desk.now + timedelta(minutes=1)))
    assert code == 0, news
