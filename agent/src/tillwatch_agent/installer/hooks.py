"""Programs of the till that a job runs: to restart it, to ask how it is, to ask whether it is busy.

A hook is a list of arguments and a time; no shell reads it. It gets a place to search programs in and the words of the
activation, nothing else of ours. What it says is kept to one short line. A hook that is late is ended with all that it
started; one that ends in time may leave a program running.

A change violates this when a hook can hold the job for ever, or reads what the agent's environment holds.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SAID_BYTES_MAX: Final = 4096
"""Of what a hook prints; the rest is read and dropped, so that it never waits for us."""

SAID_CHARS_MAX: Final = 200
"""Of the line that is passed on."""

LOOK_S: Final = 0.05
"""Between two looks at whether it ended while something that it started still holds its output."""

_INHERITED: Final = ("PATH", "LANG", "HOME", "TZ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hook:
    """What to run, and how long it may take."""

    arguments: tuple[str, ...]
    timeout_s: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a hook ended."""

    exit_code: int | None
    """None: it was late, or could not be started; below 0: by that signal."""
    said: str
    """The first line that it printed, or why it could not be started."""
    is_missing: bool = False
    """It could not be started."""

    @property
    def is_well(self) -> bool:
        """Whether it ended in time and with 0."""
        return self.exit_code == 0


def run(hook: Hook, words: Mapping[str, str] | None = None) -> Outcome:
    """Run a hook to its end; `words` become its environment's `TILLWATCH_<WORD>`."""
    try:
        process = subprocess.Popen(  # noqa: S603 - arguments of the installation's own settings, and no shell
            hook.arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(words or {}),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        said = _line(f"expected to start {hook.arguments[0]}, got: {error}")
        return Outcome(exit_code=None, said=said, is_missing=True)
    with process:
        heard, in_time = _hear(process, time.monotonic() + hook.timeout_s)
        if not in_time:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return Outcome(exit_code=None, said=_line(f"expected an end within {hook.timeout_s:g} s"))
    return Outcome(exit_code=process.returncode, said=_line(heard.decode(errors="replace")))


def _hear(process: "subprocess.Popen[bytes]", until_s: float) -> tuple[bytes, bool]:
    """Hear it until it ends; returns what it said, and whether it ended in time."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left_s := until_s - time.monotonic()) > 0:
            if selector.get_map() and selector.select(min(left_s, LOOK_S)):
                part = os.read(process.stdout.fileno(), SAID_BYTES_MAX)
                said = (said + part)[:SAID_BYTES_MAX]
                if not part:
                    selector.unregister(process.stdout)
            elif _ended(process, min(left_s, LOOK_S)):
                return said + _rest(selector, process), True
    return said, process.poll() is not None


def _rest(selector: selectors.BaseSelector, process: "subprocess.Popen[bytes]") -> bytes:
    """Read what it said between the last look and its end; what it started may hold its output open."""
    if not selector.get_map() or not selector.select(0):
        return b""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    return os.read(process.stdout.fileno(), SAID_BYTES_MAX)


def _ended(process: "subprocess.Popen[bytes]", wait_s: float) -> bool:
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _environment(words: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {f"TILLWATCH_{word.upper()}": value for word, value in words.items()}


def _line(said: str) -> str:
    first = next((line for line in said.splitlines() if line.strip()), "")
    return "".join(character if character.isprintable() else " " for character in first).strip()[:SAID_CHARS_MAX]
