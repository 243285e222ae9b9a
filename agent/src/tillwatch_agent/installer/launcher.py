"""Starts what a slot holds: `launcher.py [--confirm-within-s S] ROOT -- COMMAND...`, in place of COMMAND itself.

This file is copied to where no release replaces it and needs nothing but the standard library. It starts the program
in its slot's folder and becomes it. An activation on trial is started at most three times, each counted before it; one
that nobody confirmed by then, and one that cannot be started at all, gives way to the committed slot. So a release that
crashes, or a power cut at any moment, ends in a program that starts, without a network and without the agent.

`chosen.json` is the agent's and says what is committed and what is on trial; `attempts.json` and `running.json` are
ours. No file has two writers. Where what is chosen cannot be read, the link `current` decides.

With `--confirm-within-s` the kernel ends the program after that time unless it confirms itself by `confirmed()`: for
the agent, beside which nothing watches. The timer outlives the change into the program (execve(2), alarm(2)).

A change violates this when a trial is started that was not counted on the disk, or when a release could replace this.
"""

import argparse
import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SLOTS: Final = "slots"
CURRENT: Final = "current"
CHOSEN: Final = "chosen.json"
ATTEMPTS: Final = "attempts.json"
RUNNING: Final = "running.json"
PARTIAL: Final = ".partial"

ATTEMPTS_MAX: Final = 3
"""A start may fail for another reason once, and a power cut may follow."""

EXIT_NOTHING: Final = 78
"""As in sysexits.h: there is nothing to start, somebody must look."""

Execute = Callable[[str, list[str], dict[str, str]], Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Become the program of a slot; returns an exit code where nothing can be started."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, command = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    parser = argparse.ArgumentParser(prog="launcher.py", usage="%(prog)s [--confirm-within-s S] ROOT -- COMMAND...")
    parser.add_argument("--confirm-within-s", type=int, default=0)
    parser.add_argument("root", type=Path)
    asked = parser.parse_args(own)
    if not command:
        parser.error("expected a command after --")
    return launch(Root(asked.root.absolute()), command, asked.confirm_within_s)


def launch(root: "Root", command: list[str], confirm_within_s: int = 0, execute: Execute = os.execvpe) -> int:
    """Start what is chosen; where that cannot be started, what is committed."""
    for start in root.starts():
        root.announce(start)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(confirm_within_s if start.is_trial else 0)
        try:
            os.chdir(root.folder(start))
            root.hold(start)
            execute(command[0], command, {**os.environ, **_words(start)})
        except OSError as error:
            root.let_go()
            _say(f"{root.folder(start)}: expected to start {command[0]}, got: {error}")
    signal.alarm(0)
    _say(f"{root.path}: expected something to start, got nothing")
    return EXIT_NOTHING


def confirmed() -> None:
    """Stop the timer that a launcher set for this process."""
    signal.alarm(0)


@dataclass(frozen=True)
class Start:
    """What to start: an activation, or of an unreadable choice the slot alone."""

    slot: str
    activation_id: str = ""
    digest: str = ""
    is_trial: bool = False


class Root:
    """The slots of one product, as its launcher sees them."""

    def __init__(self, path: Path, volume: "Volume | None" = None, boot_id: str | None = None) -> None:
        """See the slots below `path`, which is absolute."""
        self.path = path
        self._volume = volume or Volume()
        self._boot_id = boot_id or _boot_id()
        self._held: int | None = None

    def starts(self) -> Iterator[Start]:
        """Say what to start, one after the other, as long as the one before could not be."""
        self._forget()
        chosen = _read(self.path / CHOSEN)
        trial, committed = _start(chosen.get("trial")), _start(chosen.get("committed"))
        is_over = trial is not None and committed is not None and trial.activation_id == committed.activation_id
        if trial is not None and not is_over and self._count(trial):
            yield Start(trial.slot, trial.activation_id, trial.digest, is_trial=True)
            self._count_out(trial)
        if committed is not None:
            yield committed
        elif trial is None:
            yield from self._linked()

    def folder(self, start: Start) -> Path:
        """Say where it lies, by its own name: a program that runs keeps its folder when the link moves on."""
        return self.path / SLOTS / start.slot

    def announce(self, start: Start) -> None:
        """Let the link lead to it and say that it is started; a till must start also where this cannot be written."""
        running = {
            "activation_id": start.activation_id,
            "digest": start.digest,
            "slot": start.slot,
            "host_boot_id": self._boot_id,
        }
        current, to = self.path / CURRENT, f"{SLOTS}/{start.slot}"
        try:
            if not current.is_symlink() or current.readlink() != Path(to):
                link(self._volume, current, to)
            write(self._volume, self.path / RUNNING, json.dumps(running).encode())
        except OSError as error:
            _say(f"{self.path}: expected to write what is started, got: {error}")

    def hold(self, start: Start) -> None:
        """Lock its folder for as long as the program lives, which inherits the lock; raises `OSError`.

        So a program is known to run also where no word of it could be written. That it cannot be locked stops nobody.
        """
        self._held = os.open(self.folder(start), os.O_RDONLY | os.O_DIRECTORY)
        os.set_inheritable(self._held, True)  # noqa: FBT003 - the name says what is true
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            _say(f"{self.folder(start)}: expected to lock it, got: {error}")

    def let_go(self) -> None:
        """Hold nothing."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _forget(self) -> None:
        """Unsay what was started before: where the disk takes no word of what is, none is better than a wrong one."""
        running = self.path / RUNNING
        try:
            if running.exists():
                self._volume.unlink(running)
                self._volume.sync(self.path)
        except OSError as error:
            _say(f"{running}: expected to remove it, got: {error}")

    def _count(self, trial: Start) -> bool:
        """Count an attempt, on the disk; False where there is none left, or it cannot be counted."""
        counted = _read(self.path / ATTEMPTS)
        before = counted.get("attempts", 0) if counted.get("activation_id") == trial.activation_id else 0
        if not isinstance(before, int) or before >= ATTEMPTS_MAX:
            return False
        return self._write_attempts(trial, before + 1)

    def _count_out(self, trial: Start) -> None:
        """Leave none to what cannot be started."""
        self._write_attempts(trial, ATTEMPTS_MAX)

    def _write_attempts(self, trial: Start, attempts: int) -> bool:
        content = json.dumps({"activation_id": trial.activation_id, "attempts": attempts}).encode()
        try:
            write(self._volume, self.path / ATTEMPTS, content)
        except OSError as error:
            _say(f"{self.path}: expected to count an attempt, got: {error}")
            return False
        return True

    def _linked(self) -> Iterator[Start]:
        try:
            yield Start((self.path / CURRENT).readlink().name)
        except OSError:
            return


class Volume:
    """The steps that durable writes are made of; tests replace them by a disk that forgets."""

    def create(self, path: Path, content: bytes, mode: int) -> None:
        """Begin a file, or one that is there anew."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            _write(descriptor, content)
        finally:
            os.close(descriptor)

    def append(self, path: Path, content: bytes) -> None:
        """Write at a file's end."""
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _write(descriptor, content)
        finally:
            os.close(descriptor)

    def sync(self, path: Path) -> None:
        """Force a file's content, or a folder's names, to the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, path: Path, onto: Path) -> None:
        """Rename, in place of what bears the name."""
        path.replace(onto)

    def link(self, to: str, path: Path) -> None:
        """Make a symbolic link."""
        path.symlink_to(to)

    def make_folder(self, path: Path) -> None:
        """Make a folder, which the user that the till's software runs as can enter, whatever the umask."""
        path.mkdir()
        path.chmod(0o755)

    def unlink(self, path: Path) -> None:
        """Remove a file or a link."""
        path.unlink()

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()


def write(volume: Volume, path: Path, content: bytes) -> None:
    """Put a file in its place at once, and on the disk; raises `OSError`."""
    partial = path.with_name(path.name + PARTIAL)
    volume.create(partial, content, 0o644)
    volume.sync(partial)
    volume.replace(partial, path)
    volume.sync(path.parent)


def link(volume: Volume, path: Path, to: str) -> None:
    """Let a link lead elsewhere at once, and on the disk; raises `OSError`."""
    partial = path.with_name(path.name + PARTIAL)
    if os.path.lexists(partial):
        volume.unlink(partial)
    volume.link(to, partial)
    volume.replace(partial, path)
    volume.sync(path.parent)


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _start(said: Any) -> Start | None:
    """Read an activation; None for what is none."""
    if not isinstance(said, dict):
        return None
    slot, activation_id, digest = said.get("slot"), said.get("activation_id"), said.get("digest")
    if slot not in {"a", "b"} or not isinstance(activation_id, str) or not isinstance(digest, str):
        return None
    return Start(slot, activation_id, digest)


def _read(path: Path) -> dict[str, Any]:
    """Read an object; an empty one for what is none."""
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _words(start: Start) -> dict[str, str]:
    return {"TILLWATCH_ACTIVATION_ID": start.activation_id, "TILLWATCH_SLOT": start.slot}


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _say(said: str) -> None:
    sys.stderr.write(f"launcher: {said}\n")


if __name__ == "__main__":
    sys.exit(main())
