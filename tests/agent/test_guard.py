"""Whether the till is busy, and that nothing but a clear answer says that it is not."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tillwatch_agent.installer.guard import FAILED, MISSING, SALE, Busy, CommandGuard, Guard, Idle, LockGuard, NoGuard
from tillwatch_agent.installer.hooks import Hook


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "sale.lock"
    file.touch()
    return file


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+")
getattr(fcntl, sys.argv[2])(file, getattr(fcntl, sys.argv[3]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another(path: Path, call: str, kind: str) -> Iterator[None]:
    """Let another process hold the lock."""
    arguments = [sys.executable, "-c", HOLD, str(path), call, kind]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        process.communicate()


def reason(guard: Guard) -> str | None:
    verdict = guard.look()
    return verdict.reason if isinstance(verdict, Busy) else None


def test_a_file_that_nobody_holds_says_idle(path: Path) -> None:
    assert LockGuard(path).look() == Idle()
    assert LockGuard(path).look() == Idle()


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("flock", "LOCK_EX"),
        ("flock", "LOCK_SH"),  # two sales at once, say
        ("lockf", "LOCK_EX"),  # what Java and .NET take
    ],
)
def test_a_sale_that_holds_it_in_either_way_says_busy(call: str, kind: str, path: Path) -> None:
    with another(path, call, kind):
        assert LockGuard(path).look() == Busy(SALE, f"{path} is locked")
    assert LockGuard(path).look() == Idle()


def test_the_next_sale_waits_while_it_is_held(path: Path) -> None:
    with LockGuard(path).held() as verdict:
        assert verdict == Idle()
        assert reason(LockGuard(path)) == SALE
    assert reason(LockGuard(path)) is None


def test_a_lock_file_that_is_missing_says_busy_and_is_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "missing.lock"
    assert reason(LockGuard(missing)) == MISSING
    assert not missing.exists()


def test_what_is_no_file_says_busy(tmp_path: Path) -> None:
    assert reason(LockGuard(tmp_path)) == FAILED
    os.mkfifo(tmp_path / "fifo")
    assert reason(LockGuard(tmp_path / "fifo")) == FAILED
    (tmp_path / "round").symlink_to("round")
    assert reason(LockGuard(tmp_path / "round")) == FAILED


def test_a_file_system_without_locks_says_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert reason(LockGuard(path)) == FAILED


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("exit 0", Idle()),
        ("echo card in reader; exit 1", Busy(SALE, "card in reader")),
        ("exit 2", Busy(FAILED, "")),
        ("kill -9 $$", Busy(FAILED, "")),
    ],
)
def test_a_command_says_it_by_its_exit_code(script: str, verdict: Idle | Busy) -> None:
    guard = CommandGuard(Hook(arguments=("/bin/sh", "-c", script), timeout_s=60))
    assert guard.look() == verdict
    with guard.held() as held:
        assert held == verdict


def test_a_command_that_hangs_says_busy() -> None:
    guard = CommandGuard(Hook(arguments=("/bin/sleep", "600"), timeout_s=0.2))
    assert guard.look() == Busy(FAILED, "expected an end within 0.2 s")


def test_a_command_that_is_missing_says_busy() -> None:
    assert reason(CommandGuard(Hook(arguments=("/missing",)))) == MISSING


def test_a_product_that_disturbs_no_sale_is_always_idle() -> None:
    assert NoGuard().look() == Idle()
    with NoGuard().held() as verdict:
        assert verdict == Idle()
