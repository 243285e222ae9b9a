"""What the agent asks of the program that fetches a release, and what it hears of it: an order, and lines.

The order becomes the program's arguments; what happens comes back as JSON, a line each, and as the exit code. A line
that is none of ours is left out: what a library prints must not look like news. Nothing secret is in either.

A change violates this when an exit code changes its meaning.
"""

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

HOME: Final = Path(__file__).parents[2]
"""Where this agent lies: a release of it in a slot is in no place where an interpreter looks by itself."""

_PROGRAM: Final = """\
import sys
sys.path.insert(0, sys.argv.pop(1))
from tillwatch_agent.installer.fetch import main
sys.exit(main())
"""

LINE_BYTES_MAX: Final = 64 * 1024
"""Of a line that is heard: a result with a release's words has some two kilobytes."""


class Cause(StrEnum):
    """Who failed; only the last two end a job, the others are tried again when they may have changed."""

    NETWORK = "network"
    """The way to the repository, or its server. Never burns an attempt."""
    STORAGE = "storage"
    """This machine's disk."""
    CANCELLED = "cancelled"
    """We were told to end."""
    TRUST = "trust"
    """The repository: what it shows is not what its people signed, or ended."""
    CONSTRAINT = "constraint"
    """The release is none for this terminal."""


EXIT_CODES: Final = {
    Cause.TRUST: 1,  # the exit code by which TUF's own conformance suite knows a refusal
    # 2 is a command line that makes no sense
    Cause.NETWORK: 3,
    Cause.STORAGE: 4,
    Cause.CONSTRAINT: 5,
    Cause.CANCELLED: 6,
}


class Reason(StrEnum):
    """What it was, more closely."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    CUT = "cut"
    SLOW = "slow"
    REFUSED = "refused"
    """The server answers that it cannot, or not now."""
    DISK_FULL = "disk_full"
    DISK_FAILED = "disk_failed"
    BUSY = "busy"
    """Another one fetches."""
    TOLD = "told"
    EXPIRED = "expired"
    """By the time that a collector told."""
    EXPIRED_BY_OWN_CLOCK = "expired_by_own_clock"
    """By this machine's clock alone, which may be wrong: ask again when a collector has told the time."""
    UNSIGNED = "unsigned"
    VERSION = "version"
    """Older than what was seen before, or not the one that was announced."""
    MISMATCH = "mismatch"
    """Length or digest are not as signed."""
    OVERSIZED = "oversized"
    MISSING = "missing"
    """The repository lacks a file that its own metadata names."""
    UNKNOWN_TARGET = "unknown_target"
    UNREADABLE = "unreadable"
    REVOKED = "revoked"
    NOT_UNDERSTOOD = "not_understood"
    """The words of the release are none of ours: a newer agent may know them."""
    UNFIT = "unfit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What to fetch, from where, for which terminal, and within which limits."""

    metadata_dir: Path
    metadata_url: str
    target: str
    target_url: str
    target_dir: Path
    product: str
    agent_version: str
    trusted_root: Path | None = None
    """The first root, which came with the agent; None: the one that is known already."""
    reference_at: datetime | None = None
    """The time that a collector told; None: nobody has, and this machine's clock must do."""
    ca_file: Path | None = None
    machine: str | None = None
    model: str | None = None
    installed_version: str | None = None
    bytes_per_s_max: int | None = None
    total_s: int | None = None
    reserve_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far it is."""

    received_bytes: int
    total_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """The release is there, whole and verified."""

    path: Path
    total_bytes: int
    digests: dict[str, str]
    release: dict[str, Any] | None
    was_there: bool
    """Nothing had to be downloaded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """It is not."""

    cause: Cause
    reason: str
    said: str


News = Progress | Fetched | Failed


def command(order: Order) -> list[str]:
    """Write the order as a command line of this interpreter, apart from its user's settings."""
    own = "-I" + "B" * sys.flags.dont_write_bytecode + "S" * sys.flags.no_site
    return [sys.executable, own, "-c", _PROGRAM, str(HOME), *arguments(order)]


def arguments(order: Order) -> list[str]:
    """Write the order as the program's own arguments."""
    given: dict[str, object] = {
        "--metadata-dir": order.metadata_dir,
        "--metadata-url": order.metadata_url,
        "--target-name": order.target,
        "--target-base-url": order.target_url,
        "--target-dir": order.target_dir,
        "--trusted-root": order.trusted_root,
        "--reference-time": order.reference_at.isoformat() if order.reference_at else None,
        "--ca-file": order.ca_file,
        "--product": order.product,
        "--agent-version": order.agent_version,
        "--machine": order.machine,
        "--model": order.model,
        "--installed-version": order.installed_version,
        "--bytes-per-s-max": order.bytes_per_s_max,
        "--total-s": order.total_s,
        "--reserve-bytes": order.reserve_bytes,
    }
    return [*(f"{name}={value}" for name, value in given.items() if value is not None), "download"]


def told(news: News) -> str:
    """Write news as a line."""
    match news:
        case Progress():
            said: dict[str, Any] = {"received_bytes": news.received_bytes, "total_bytes": news.total_bytes}
            return _line("progress", said)
        case Fetched():
            said = {"path": str(news.path), "total_bytes": news.total_bytes, "digests": news.digests}
            return _line("fetched", {**said, "release": news.release, "was_there": news.was_there})
        case Failed():
            return _line("failed", {"cause": news.cause, "reason": news.reason, "said": news.said})


def heard(line: bytes) -> News | None:
    """Read a line; None for what is none of ours."""
    try:
        said = json.loads(line[:LINE_BYTES_MAX])
        kind = said.pop("news")
        if kind == "progress":
            return Progress(**said)
        if kind == "fetched":
            return Fetched(**{**said, "path": Path(said["path"])})
        if kind == "failed":
            return Failed(**{**said, "cause": Cause(said["cause"])})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return None


def cause_of(exit_code: int) -> Cause | None:
    """Say what an exit code means; None for success, and for what is none of ours, such as a kill."""
    return next((cause for cause, code in EXIT_CODES.items() if code == exit_code), None)


def _line(kind: str, said: dict[str, Any]) -> str:
    return json.dumps({"news": kind, **said}, ensure_ascii=True)
