"""The program that fetches a release: `python -m tillwatch_agent.installer.fetch OPTIONS (init ROOT|refresh|download)`.

It runs only while a job does, started by the agent and by nobody else. It prints JSON lines (`order.told`) and ends
with an exit code by cause (`order.EXIT_CODES`). `init`, `refresh` and `download` with the first options are the command
line by which TUF's conformance suite drives clients; those that follow are ours, and with `--product` a release must
also be one for this terminal.

SIGTERM ends it between two steps; what was downloaded stays, and the next start goes on from there. Only one may work
in a folder of metadata at a time. A change violates this when it can run for ever, or end without saying why.
"""

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final
from urllib.parse import quote

from pydantic import ValidationError

from tillwatch_agent.floor import BUILT_AT
from tillwatch_agent.installer.failure import FetchFailed
from tillwatch_agent.installer.order import EXIT_CODES, Cause, Failed, Fetched, News, Progress, Reason, told
from tillwatch_agent.installer.pace import BYTES_PER_S_MIN, WINDOW_S, Limits
from tillwatch_agent.installer.spool import RESERVE_BYTES, TOTAL_S, Spool, Terms, storage_failed
from tillwatch_agent.installer.transfer import HEAD_S, Times, Web
from tillwatch_agent.installer.trusted import Trusted, matches
from tillwatch_protocol.release import Fitting, Release, misfit, version_key

LOCK_FILE: Final = ".lock"

PROGRESS_S: Final = 1.0
"""Between two lines of progress."""

SAID_CHARS_MAX: Final = 500
"""Of a failure: what a server says may be long."""

ROOT_BYTES_MAX: Final = 512_000

Say = Callable[[News], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clocks:
    """What this machine's clocks say."""

    now: Callable[[], datetime]
    now_s: Callable[[], float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    for signalled in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signalled, _end)
    clocks = Clocks(now=lambda: datetime.now(UTC), now_s=time.monotonic)
    return run(arguments, _print, clocks)


def run(arguments: Sequence[str] | None, say: Say, clocks: Clocks) -> int:
    """Do what the arguments ask for; returns the exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    lacking = [name for name in _NEEDED[asked.command] if getattr(asked, name) is None]
    if lacking:
        parser.error(f"{asked.command}: expected --{', --'.join(name.replace('_', '-') for name in lacking)}")
    try:
        with _alone(asked.metadata_dir):
            _WORK[asked.command](asked, say, clocks)
    except FetchFailed as failure:
        return _failed(failure, say)
    except OSError as error:
        return _failed(storage_failed(asked.metadata_dir, error), say)
    return 0


def _init(asked: argparse.Namespace, _say: Say, clocks: Clocks) -> None:
    """Know a root from now on; nothing is asked of any server."""
    _trusted(asked, _read_root(asked.root), clocks)


def _refresh(asked: argparse.Namespace, _say: Say, clocks: Clocks) -> None:
    _trusted(asked, _given_root(asked), clocks).refresh()


def _download(asked: argparse.Namespace, say: Say, clocks: Clocks) -> None:
    trusted = _trusted(asked, _given_root(asked), clocks)
    trusted.refresh()
    target = trusted.find(asked.target_name)
    release = _fitting_release(asked, target.custom) if asked.product is not None else None
    path = asked.target_dir / quote(target.path, safe="")
    spool = Spool(path, target, _terms(asked, release), now_s=clocks.now_s, tell=_Teller(say, clocks.now_s).tell)
    url = f"{asked.target_base_url.rstrip('/')}/{trusted.url_path(target)}"
    brought = spool.fill(_web(asked), url, lambda file: matches(target, file))
    fetched = Fetched(
        path=path,
        total_bytes=target.length,
        digests=target.hashes,
        release=None if release is None else release.model_dump(mode="json"),
        was_there=not brought,
    )
    say(fetched)


_NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "init": (),
    "refresh": ("metadata_url",),
    "download": ("metadata_url", "target_name", "target_base_url", "target_dir"),
}
_WORK: Final = {"init": _init, "refresh": _refresh, "download": _download}


def _trusted(asked: argparse.Namespace, root: bytes | None, clocks: Clocks) -> Trusted:
    """Open what is trusted; a clock below the floor is wrong, and the floor nearer to the truth."""
    at = asked.reference_time or max(clocks.now(), BUILT_AT)
    return Trusted(
        asked.metadata_dir,
        asked.metadata_url or "",
        _web(asked),
        at=at,
        is_told=asked.reference_time is not None,
        trusted_root=root,
    )


def _web(asked: argparse.Namespace) -> Web:
    return Web(ca_file=asked.ca_file, reference_at=asked.reference_time, times=Times(head_s=asked.head_s))


def _given_root(asked: argparse.Namespace) -> bytes | None:
    return None if asked.trusted_root is None else _read_root(asked.trusted_root)


def _read_root(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(ROOT_BYTES_MAX)


def _fitting_release(asked: argparse.Namespace, custom: Any) -> Release:
    """Read the words of a release that is for this terminal; raises `FetchFailed`."""
    try:
        release = Release.model_validate(custom)
    except ValidationError as error:
        said = f"expected the words of a release, got: {error.errors(include_url=False)[0]['msg']}"
        raise FetchFailed(Cause.CONSTRAINT, Reason.NOT_UNDERSTOOD, said) from None
    terminal = Fitting(
        product=asked.product,
        machine=asked.machine,
        model=asked.model,
        agent_version=asked.agent_version,
        installed_version=asked.installed_version,
    )
    found = misfit(release, terminal)
    if found is not None:
        raise FetchFailed(Cause.CONSTRAINT, Reason.UNFIT, str(found))
    return release


def _terms(asked: argparse.Namespace, release: Release | None) -> Terms:
    unpacked = 0 if release is None else release.installed_bytes or 0
    most = asked.bytes_per_s_max
    least = asked.bytes_per_s_min if most is None else min(asked.bytes_per_s_min, most / 2)
    limits = Limits(bytes_per_s_max=most, bytes_per_s_min=least, window_s=asked.window_s)
    return Terms(limits=limits, total_s=asked.total_s, reserve_bytes=asked.reserve_bytes + unpacked)


class _Teller:
    """Says how far it is, once a second and at the end."""

    def __init__(self, say: Say, now_s: Callable[[], float]) -> None:
        self._say = say
        self._now_s = now_s
        self._said_s = float("-inf")

    def tell(self, received_bytes: int, total_bytes: int) -> None:
        now_s = self._now_s()
        if now_s - self._said_s < PROGRESS_S and received_bytes < total_bytes:
            return
        self._said_s = now_s
        self._say(Progress(received_bytes=received_bytes, total_bytes=total_bytes))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder of metadata; raises `FetchFailed` where another one does, and `OSError`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        said = f"{folder}: expected to work here alone, another one does"
        raise FetchFailed(Cause.STORAGE, Reason.BUSY, said) from None
    finally:
        os.close(descriptor)


def _failed(failure: FetchFailed, say: Say) -> int:
    say(Failed(cause=failure.cause, reason=failure.reason, said=str(failure)[:SAID_CHARS_MAX]))
    return EXIT_CODES[failure.cause]


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise FetchFailed(Cause.CANCELLED, Reason.TOLD, "it was told to end")


def _print(news: News) -> None:
    sys.stdout.write(f"{told(news)}\n")
    sys.stdout.flush()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("expected a time with its zone")
    return moment.astimezone(UTC)


def _version(text: str) -> str:
    version_key(text)
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tillwatch_agent.installer.fetch", description="Fetch a release.")
    parser.add_argument("--metadata-dir", type=Path, required=True, help="where trusted metadata lies")
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name")
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--trusted-root", type=Path, help="the first root; by default the one that is known")
    parser.add_argument("--reference-time", type=_moment, help="the time that a collector told")
    parser.add_argument("--ca-file", type=Path, help="by default the system's authorities")
    parser.add_argument("--product", help="demand a release of this product that is for this terminal")
    parser.add_argument("--machine")
    parser.add_argument("--model")
    parser.add_argument("--agent-version", type=_version)
    parser.add_argument("--installed-version", type=_version)
    parser.add_argument("--bytes-per-s-max", type=int, help="never more on average")
    parser.add_argument("--bytes-per-s-min", type=float, default=BYTES_PER_S_MIN)
    parser.add_argument("--window-s", type=float, default=WINDOW_S, help="in which the least must come")
    parser.add_argument("--head-s", type=float, default=HEAD_S, help="until an answer begins")
    parser.add_argument("--total-s", type=float, default=TOTAL_S)
    parser.add_argument("--reserve-bytes", type=int, default=RESERVE_BYTES, help="to be left free")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init", help="know a root from now on").add_argument("root", type=Path)
    commands.add_parser("refresh", help="take what is current")
    commands.add_parser("download", help="fetch a target")
    return parser


if __name__ == "__main__":
    sys.exit(main())
