"""Downloads as shops have them: cut, resumed, on a full disk, over a line that carries payments, with a wrong clock."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.agent.authority import DAY, Authority
from tests.agent.release_site import (
    CONTENT,
    LIFE,
    NOW,
    PRODUCT,
    TILL,
    Asked,
    Repository,
    Site,
    Terminal,
    cut_after,
    shown,
)

from tillwatch_agent.floor import BUILT_AT
from tillwatch_agent.installer.order import (
    EXIT_CODES,
    Cause,
    Failed,
    Fetched,
    Order,
    Progress,
    cause_of,
    command,
    heard,
)

NETWORK, STORAGE = EXIT_CODES[Cause.NETWORK], EXIT_CODES[Cause.STORAGE]
NAME = "till%2Ftill-2.1.0.tar.gz"


# --- cuts


def test_a_download_goes_on_where_it_was_cut(terminal: Terminal, repository: Repository, site: Site) -> None:
    path = repository.file_of(TILL)
    site.tricks[path] = [cut_after(1000), cut_after(0), cut_after(3000), cut_after(1)]
    assert terminal.download() == 0
    assert terminal.files() == {NAME: CONTENT}
    ranges = site.ranges_of(path)
    assert ranges == [None, "bytes=1000-", "bytes=1000-", "bytes=4000-", "bytes=4001-"]


def test_a_download_goes_on_in_the_next_start(terminal: Terminal, repository: Repository, site: Site) -> None:
    path = repository.file_of(TILL)
    site.tricks[path] = [cut_after(1000), *[cut_after(0)] * 5]
    assert terminal.download() == NETWORK
    assert terminal.failure == ("network", "cut")
    assert terminal.download() == 0
    assert site.ranges_of(path)[-1] == "bytes=1000-"
    assert terminal.files() == {NAME: CONTENT}


def test_a_file_that_changed_in_between_begins_anew(terminal: Terminal, repository: Repository, site: Site) -> None:
    path = repository.file_of(TILL)
    site.tricks[path] = [lambda asked: asked.honestly(etag='"another"', until=1000)]
    assert terminal.download() == 0
    assert site.requests[-1] == (path, "bytes=1000-")  # asked with If-Range, and answered from the beginning
    assert terminal.files() == {NAME: CONTENT}


def wrong_range(asked: Asked) -> None:
    asked.head(206, 10, Content_Range=f"bytes 0-9/{len(CONTENT)}")
    asked.wfile.write(CONTENT[:10])


def test_a_range_that_nobody_asked_for_begins_anew(terminal: Terminal, repository: Repository, site: Site) -> None:
    path = repository.file_of(TILL)
    site.tricks[path] = [cut_after(1000), wrong_range]
    assert terminal.download() == 0
    assert site.ranges_of(path) == [None, "bytes=1000-", None]


def not_satisfiable(asked: Asked) -> None:
    asked.head(416, 0)


def test_a_server_that_cannot_go_on_is_asked_for_the_whole(
    terminal: Terminal, repository: Repository, site: Site
) -> None:
    path = repository.file_of(TILL)
    site.tricks[path] = [cut_after(1000), not_satisfiable]
    assert terminal.download() == 0
    assert site.ranges_of(path) == [None, "bytes=1000-", None]


def weakly(asked: Asked) -> None:
    asked.honestly(etag='W/"weak"', until=1000)


def test_a_weak_tag_is_not_gone_by(terminal: Terminal, repository: Repository, site: Site) -> None:
    site.tricks[repository.file_of(TILL)] = [weakly]
    assert terminal.download() == 0
    assert [path.name for path in terminal.targets.glob("*.etag")] == []


def test_a_part_that_power_was_cut_under_is_thrown_away_once(
    terminal: Terminal, repository: Repository, site: Site
) -> None:
    path = repository.file_of(TILL)
    site.tricks[path] = [cut_after(1000), *[cut_after(0)] * 5]
    assert terminal.download() == NETWORK
    (part,) = terminal.targets.glob("*.part")
    part.write_bytes(b"\0" * 1000)
    assert terminal.download() == 0
    assert site.ranges_of(path)[-2:] == ["bytes=1000-", None]
    assert terminal.files() == {NAME: CONTENT}


def test_a_part_that_is_longer_than_the_whole_is_thrown_away(
    terminal: Terminal, repository: Repository, site: Site
) -> None:
    site.tricks[repository.file_of(TILL)] = [cut_after(1000), *[cut_after(0)] * 5]
    assert terminal.download() == NETWORK
    (part,) = terminal.targets.glob("*.part")
    part.write_bytes(CONTENT * 2)
    assert terminal.download() == 0
    assert terminal.files() == {NAME: CONTENT}


def test_parts_of_jobs_that_ended_are_swept_away(terminal: Terminal) -> None:
    terminal.targets.mkdir()
    (terminal.targets / "0000.part").write_bytes(b"of another")
    (terminal.targets / "0000.etag").write_bytes(b'"another"')
    assert terminal.download() == 0
    assert terminal.files() == {NAME: CONTENT}


def answering(status: int, **headers: str) -> Any:
    return lambda asked: asked.head(status, 0, **headers)


@pytest.mark.parametrize("status", [429, 500, 503, 302, 400])
def test_a_server_that_cannot_now_is_asked_again(
    terminal: Terminal, repository: Repository, site: Site, status: int
) -> None:
    site.tricks[repository.file_of(TILL)] = [answering(status), answering(status, Retry_After="0")]
    assert terminal.download() == 0
    site.tricks["/metadata/timestamp.json"] = [answering(status)]
    assert terminal.refresh() == NETWORK
    assert terminal.failure == ("network", "refused")


def test_a_server_may_ask_for_time_but_not_for_more_than_there_is(
    terminal: Terminal, repository: Repository, site: Site
) -> None:
    site.tricks[repository.file_of(TILL)] = [answering(503, Retry_After="86400")]
    assert terminal.download(TILL, "--total-s=20") == NETWORK
    assert terminal.failure == ("network", "refused")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_signed_file_that_is_gone_is_the_repositorys_fault(
    terminal: Terminal, repository: Repository, site: Site, status: int
) -> None:
    site.tricks[repository.file_of(TILL)] = [answering(status)]
    assert terminal.download() == EXIT_CODES[Cause.TRUST]
    assert terminal.failure == ("trust", "missing")


def test_a_server_that_is_not_there_is_a_matter_of_the_network(terminal: Terminal, site: Site) -> None:
    site.port = 1
    assert terminal.refresh() == NETWORK
    assert terminal.failure == ("network", "unreachable")
    assert terminal.run("--metadata-url=ftp://x/", "refresh") == NETWORK


def nonsense(asked: Asked) -> None:
    asked.wfile.write(b"SIP/2.0 200 OK\r\n\r\n")


def nothing(asked: Asked) -> None:
    asked.connection.close()


@pytest.mark.parametrize("trick", [nonsense, nothing])
def test_an_answer_that_is_no_http_is_a_cut(terminal: Terminal, site: Site, trick: Any) -> None:
    site.tricks["/metadata/timestamp.json"] = [trick]
    assert terminal.refresh() == NETWORK
    assert terminal.failure == ("network", "cut")


def test_metadata_that_is_cut_is_a_matter_of_the_network(terminal: Terminal, site: Site) -> None:
    site.tricks["/metadata/timestamp.json"] = [cut_after(100)]
    assert terminal.refresh() == NETWORK
    assert terminal.failure == ("network", "cut")


# --- the disk, the line, and others


def test_a_disk_that_is_too_full_is_not_begun_with(terminal: Terminal, repository: Repository, site: Site) -> None:
    free = shutil.disk_usage("/").free
    assert terminal.download(TILL, f"--reserve-bytes={free * 2}") == STORAGE
    assert terminal.failure == ("storage", "disk_full")
    assert site.ranges_of(repository.file_of(TILL)) == []


def test_what_a_release_takes_unpacked_is_held_free(terminal: Terminal, repository: Repository) -> None:
    repository.add(TILL, CONTENT, PRODUCT | {"installed_bytes": 2**60})
    repository.publish()
    assert terminal.download(TILL, "--product=till") == STORAGE


def test_a_folder_that_cannot_be_written_is_a_matter_of_the_disk(terminal: Terminal) -> None:
    terminal.targets.write_bytes(b"a file in the folder's place")
    assert terminal.download() == STORAGE
    assert terminal.failure == ("storage", "disk_failed")
    shutil.rmtree(terminal.state)
    terminal.state.write_bytes(b"a file in the folder's place")
    assert terminal.refresh() == STORAGE


def test_two_do_not_work_in_one_folder(terminal: Terminal, repository: Repository, site: Site) -> None:
    codes: list[object] = []

    def meanwhile(asked: Asked) -> None:
        other = Terminal(terminal.targets.parent, site)
        codes.append(other.refresh())
        codes.append(other.failure)
        asked.honestly()

    site.tricks[repository.file_of(TILL)] = [meanwhile]
    assert terminal.download() == 0
    assert codes == [STORAGE, ("storage", "busy")]


def test_progress_is_told_to_the_end(terminal: Terminal) -> None:
    assert terminal.download() == 0
    assert terminal.progress[-1] == Progress(received_bytes=len(CONTENT), total_bytes=len(CONTENT))


def test_a_download_keeps_below_its_share_of_the_line(terminal: Terminal) -> None:
    """10,240 bytes at 40,960 a second, of which one second may be caught up on after a pause: no pause, no catching."""
    waits: list[float] = []
    wait = threading.Event.wait

    def counted(self: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread() is threading.main_thread() and timeout is not None:
            waits.append(timeout)
            return False
        return wait(self, timeout)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading.Event, "wait", counted)
        assert terminal.download(TILL, "--bytes-per-s-max=100") == 0
    assert sum(waits) > len(CONTENT) / 100 - 2


# --- clocks


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAR = datetime(2040, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("clock", [EPOCH, FAR, NOW - LIFE, NOW + 2 * LIFE])
def test_with_a_time_that_was_told_the_own_clock_does_not_matter(terminal: Terminal, clock: datetime) -> None:
    terminal.now = clock
    assert terminal.download(TILL, f"--reference-time={NOW.isoformat()}") == 0


@pytest.mark.parametrize("clock", [EPOCH, FAR])
def test_metadata_that_truly_ended_is_refused_by_the_time_that_was_told(terminal: Terminal, clock: datetime) -> None:
    terminal.now = clock
    later = NOW + 2 * LIFE
    assert terminal.download(TILL, f"--reference-time={later.isoformat()}") == EXIT_CODES[Cause.TRUST]
    assert terminal.failure == ("trust", "expired")


def test_a_clock_that_is_behind_takes_what_holds_by_the_floor(terminal: Terminal) -> None:
    terminal.now = EPOCH
    assert terminal.download() == 0


def test_a_clock_that_is_behind_does_not_take_what_ended_before_this_agent_was_built(
    terminal: Terminal, repository: Repository
) -> None:
    terminal.now = EPOCH
    repository.timestamp.expires = BUILT_AT - timedelta(days=1)
    repository.publish()
    assert terminal.download() == EXIT_CODES[Cause.TRUST]
    assert terminal.failure == ("trust", "expired_by_own_clock")


def test_a_clock_that_is_ahead_is_told_apart_and_locks_nobody_out(terminal: Terminal) -> None:
    """In 2040 all has ended; once a collector has told the time the same metadata is taken."""
    terminal.now = FAR
    assert terminal.download() == EXIT_CODES[Cause.TRUST]
    assert terminal.failure == ("trust", "expired_by_own_clock")
    assert terminal.download(TILL, f"--reference-time={NOW.isoformat()}") == 0
    terminal.now = NOW
    assert terminal.refresh() == 0


@pytest.mark.parametrize(
    ("begins", "ends", "options", "failure"),
    [
        (-DAY, DAY, [], None),
        (-2 * DAY, -DAY, [], ("network", "tls")),  # ended by the true clock
        (-2 * DAY, -DAY, ["told 36 hours ago"], None),  # the machine's clock is ahead
        (-2 * DAY, -DAY, ["told now"], ("network", "tls")),  # ended by the time that was told, whatever ours says
        (DAY, 2 * DAY, [], ("network", "tls")),
        (DAY, 2 * DAY, ["told now"], None),  # the machine's clock may be behind
    ],
)
def test_tls_is_judged_by_the_time_that_was_told(
    tmp_path: Path, begins: timedelta, ends: timedelta, options: list[str], failure: tuple[str, str] | None
) -> None:
    authority = Authority(tmp_path)
    true_now = datetime.now(UTC)
    repository = Repository()
    for part in (repository.root, repository.targets, repository.snapshot, repository.timestamp):
        part.expires = (true_now + LIFE).replace(microsecond=0)
    repository.put_root()
    repository.publish()
    told = {"told now": true_now, "told 36 hours ago": true_now - timedelta(hours=36)}
    with tls_site(repository.files, authority.server("site", begins=begins, ends=ends)) as site:
        terminal = Terminal(tmp_path, site)
        terminal.now = true_now
        assert terminal.init(repository.first_root) == 0
        url = f"--metadata-url={site.url('metadata', 'https')}"
        reference = [f"--reference-time={told[option].isoformat()}" for option in options]
        code = terminal.run(url, f"--ca-file={authority.ca_file}", *reference, "refresh")
        assert code == (0 if failure is None else NETWORK)
        assert failure is None or terminal.failure == failure
        assert terminal.run(url, f"--ca-file={Authority(tmp_path / 'other').ca_file}", *reference, "refresh") == NETWORK
        assert terminal.failure == ("network", "tls")  # whose certificate it is, is judged at all times


class tls_site:  # noqa: N801 - it reads as the function that it wraps
    """Serve files over TLS."""

    def __init__(self, files: dict[str, bytes], certificate: Path) -> None:
        self._files = files
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)

    def __enter__(self) -> Site:
        self._shown = shown(self._files, self._context)
        return self._shown.__enter__()

    def __exit__(self, *raised: object) -> None:
        self._shown.__exit__(None, None, None)


# --- the program


def test_the_program_says_what_it_does_in_lines(tmp_path: Path, terminal: Terminal, site: Site) -> None:
    order = Order(
        metadata_dir=terminal.state,
        metadata_url=site.url("metadata"),
        target=TILL,
        target_url=site.url("targets"),
        target_dir=tmp_path / "there",
        product="till",
        agent_version="1.0",
        reference_at=NOW,
        machine="x86_64",
        reserve_bytes=0,
    )
    done = subprocess.run(command(order), capture_output=True, check=False, timeout=60)
    news = [heard(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert cause_of(done.returncode) is None
    assert isinstance(news[0], Progress)
    last = news[-1]
    assert isinstance(last, Fetched)
    assert last.path.read_bytes() == CONTENT
    assert last.release is not None
    assert last.release["version"] == "2.1.0"


def test_the_program_ends_when_it_is_told_to_and_goes_on_in_its_next_start(
    terminal: Terminal, repository: Repository, site: Site
) -> None:
    path = repository.file_of(TILL)
    started = threading.Event()

    def half(asked: Asked) -> None:
        asked.head(200, len(CONTENT), ETag='"x"')
        asked.wfile.write(CONTENT[:1000])
        started.set()
        asked.site.stopping.wait(60)

    site.tricks[path] = [half]
    arguments = ["--metadata-url", site.url("metadata"), "--target-name", TILL, "--target-dir", str(terminal.targets)]
    arguments += ["--target-base-url", site.url("targets"), "--reference-time", NOW.isoformat(), "--reserve-bytes=0"]
    module = [sys.executable, "-I", "-m", "tillwatch_agent.installer.fetch", "--metadata-dir", str(terminal.state)]
    child = subprocess.Popen([*module, *arguments, "download"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert started.wait(60)
    first = heard(child.stdout.readline())
    assert isinstance(first, Progress)
    os.kill(child.pid, signal.SIGTERM)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == EXIT_CODES[Cause.CANCELLED]
    assert heard(out.splitlines()[-1]) == Failed(cause=Cause.CANCELLED, reason="told", said="it was told to end")
    assert terminal.download(TILL, f"--reference-time={NOW.isoformat()}") == 0
    assert site.ranges_of(path)[-1] == "bytes=1000-"


@pytest.mark.parametrize(
    "arguments",
    [["refresh"], ["download"], ["--reference-time=2026-11-21", "refresh"], ["--agent-version=x", "refresh"], []],
)
def test_a_command_line_that_makes_no_sense_ends_in_2(
    terminal: Terminal, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        terminal.run(*arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_first_root_that_came_with_the_agent_mends_a_folder_that_was_lost(
    tmp_path: Path, terminal: Terminal, repository: Repository
) -> None:
    repository.next_root()
    assert terminal.refresh() == 0
    shutil.rmtree(terminal.state)
    assert terminal.refresh() == STORAGE
    assert terminal.refresh(f"--trusted-root={tmp_path / 'root.json'}") == 0
    assert terminal.version("root") == 2


def test_what_is_trusted_is_on_the_disk_before_it_counts(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert terminal.refresh() == 0
    assert len(synced) >= 2 * len(["root", "timestamp", "snapshot", "targets"])


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"news": 1}', b'{"news": "failed"}', b"\xff", b"[" * 100_000])
def test_a_line_that_is_none_of_ours_is_left_out(line: bytes) -> None:
    assert heard(line) is None


def test_the_running_agent_has_not_loaded_the_update_framework() -> None:
    """Twenty megabytes that a till has for the length of a job, not of a year."""
    loaded = (
        "import json, sys; import tillwatch_agent.commands, tillwatch_agent.runtime; print(json.dumps([*sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", loaded], capture_output=True, check=True, timeout=60)
    tops = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "tillwatch_agent" in tops
    assert not tops & {"tuf", "securesystemslib", "cryptography", "urllib3"}
