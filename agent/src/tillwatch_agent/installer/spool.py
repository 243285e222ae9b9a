"""The download of one target into a file beside its place: resumed across cuts and starts, bounded, verified.

What came lies in `<digest>.part`, named after what was signed, so that nothing is resumed that is not the same. Another
try begins where the last one ended, if the server's ETag is the same; a server that knows no ranges begins anew. Only a
whole file with the signed length and digest gets the target's name. A part of an earlier start that does not match is
thrown away once, since power may have been cut under it; what came in one go and does not match is an attack.

A change violates this when a file that was not verified bears a target's name, or when parts pile up.
"""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from tillwatch_agent.installer import pace
from tillwatch_agent.installer.failure import FetchFailed
from tillwatch_agent.installer.order import Cause, Reason
from tillwatch_agent.installer.pace import Limits, Pace
from tillwatch_agent.installer.transfer import Answer, Web

TRIES_MAX: Final = 5
"""In a row that bring nothing: the rest is a matter of the job's own retries."""

RETRY_S, RETRY_S_MAX = 1.0, 30.0

TOTAL_S: Final = 24 * 3600.0
"""A night may not be enough for 200 MB over a modem; a day is."""

RESERVE_BYTES: Final = 32 * 1024 * 1024
"""Left free for the till and our own outbox."""

OK, PARTIAL, UNSATISFIABLE = 200, 206, 416

Tell = Callable[[int, int], None]
"""Hears how many bytes are there, and of how many."""


class Wanted(Protocol):
    """What was signed of a file."""

    @property
    def length(self) -> int:
        """Bytes."""

    @property
    def hashes(self) -> dict[str, str]:
        """Digests by algorithm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Within which limits a download is made."""

    limits: Limits = field(default_factory=Limits)
    total_s: float = TOTAL_S
    reserve_bytes: int = RESERVE_BYTES
    retry_s: float = RETRY_S


class Spool:
    """One target's download; `now_s` is the monotonic clock."""

    def __init__(self, path: Path, wanted: Wanted, terms: Terms, *, now_s: Callable[[], float], tell: Tell) -> None:
        digest = hashlib.sha256(repr(sorted(wanted.hashes.items())).encode()).hexdigest()
        self._path = path
        self._part = path.parent / f"{digest}.part"
        self._etag = path.parent / f"{digest}.etag"
        self._wanted = wanted
        self._terms = terms
        self._now_s = now_s
        self._tell = tell
        self._ends_s = now_s() + terms.total_s
        self._never = threading.Event()

    def fill(self, web: Web, url: str, matches: Callable[[Path], bool]) -> bool:
        """Bring the file to its place, verified; False where it was there. Raises `FetchFailed`."""
        with _storage(self._path):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._path.is_file() and matches(self._path):
                return False
            self._forget_others()
            resumed = self._size() > 0
            self._expect_room()
        self._download(web, url)
        with _storage(self._path):
            if not matches(self._part):
                self._forget()
                if not resumed:
                    said = f"{self._path.name}: expected the content that was signed, got another"
                    raise FetchFailed(Cause.TRUST, Reason.MISMATCH, said)
                return self.fill(web, url, matches)
            self._finish()
        return True

    def _download(self, web: Web, url: str) -> None:
        fruitless = 0
        while (before := self._size()) < self._wanted.length:
            try:
                self._ask(web, url, before)
            except FetchFailed as failure:
                if failure.cause is not Cause.NETWORK or failure.reason is Reason.SLOW:
                    raise
                fruitless = 0 if self._size() > before else fruitless + 1
                wait_s = max(failure.retry_after_s, min(RETRY_S_MAX, self._terms.retry_s * 2**fruitless))
                if fruitless >= TRIES_MAX or self._now_s() + wait_s > self._ends_s:
                    raise
                self._never.wait(wait_s)

    def _ask(self, web: Web, url: str, offset: int) -> None:
        headers = self._range_headers(offset)
        left_s = max(0.001, self._ends_s - self._now_s())
        with web.get(url, headers, body_s=left_s) as answer:
            if answer.is_gone:
                said = f"{self._path.name}: expected the file that was signed, the server answered {answer.status}"
                raise FetchFailed(Cause.TRUST, Reason.MISSING, said)
            if answer.status == UNSATISFIABLE and offset:
                self._forget()
                raise answer.refusal()
            if answer.status not in {OK, PARTIAL}:
                raise answer.refusal()
            begins = self._begins(answer, offset)
            self._expect_announced(answer, begins)
            with _storage(self._path), self._part.open("ab") as part:
                part.truncate(begins)
                self._remember(answer)
                self._pour(answer, part, begins)

    def _pour(self, answer: Answer, part: BinaryIO, begins: int) -> None:
        going = pace.begin(self._terms.limits, self._now_s())
        came, length = begins, self._wanted.length
        while came < length:
            sip = answer.read(min(going.limits.sip_bytes, length - came))
            if not sip:
                raise FetchFailed(Cause.NETWORK, Reason.CUT, f"expected {length} bytes, the connection ended at {came}")
            part.write(sip)
            came += len(sip)
            part.flush()
            self._tell(came, length)
            going = self._paced(going, len(sip))

    def _paced(self, going: Pace, count: int) -> Pace:
        going, wait_s = pace.took(going, count, self._now_s())
        if wait_s:
            self._never.wait(wait_s)
            going = pace.waited(going, wait_s)
        looked = pace.look(going, self._now_s())
        if looked is None:
            least = going.limits.bytes_per_s_min
            raise FetchFailed(Cause.NETWORK, Reason.SLOW, f"expected at least {least:.0f} bytes a second, got less")
        return looked

    def _range_headers(self, offset: int) -> dict[str, str]:
        if not offset:
            return {}
        etag = self._etag.read_text(encoding="utf-8") if self._etag.exists() else ""
        return {"Range": f"bytes={offset}-", **({"If-Range": etag} if etag else {})}

    def _begins(self, answer: Answer, offset: int) -> int:
        """Say where the body belongs; raises `FetchFailed` for a range that nobody asked for."""
        if answer.status == OK:
            return 0
        expected = f"bytes {offset}-{self._wanted.length - 1}/{self._wanted.length}"
        came = answer.headers.get("content-range", "")
        if not offset or came != expected:
            self._forget()
            said = f"expected the range {expected}, got {came[:80]!r}"
            raise FetchFailed(Cause.NETWORK, Reason.REFUSED, said)
        return offset

    def _expect_announced(self, answer: Answer, begins: int) -> None:
        """Begin no body of another length; of one that does not tell its length no more is read than was signed."""
        expected, came = self._wanted.length - begins, answer.announced_bytes
        if came is not None and came != expected:
            self._forget()
            reason = Reason.OVERSIZED if came > expected else Reason.MISMATCH
            said = f"{self._path.name}: expected {expected} bytes to come, the server announced {came}"
            raise FetchFailed(Cause.TRUST, reason, said)

    def _remember(self, answer: Answer) -> None:
        etag = answer.headers.get("etag", "")
        # A weak one does not promise the same bytes (RFC 9110, 13.1.5).
        self._etag.write_text(etag if etag.startswith('"') and etag.isprintable() else "", encoding="utf-8")

    def _size(self) -> int:
        """Say how much is there; what is longer than signed is not ours."""
        try:
            size = self._part.stat().st_size
        except FileNotFoundError:
            return 0
        if size > self._wanted.length:
            self._forget()
            return 0
        return size

    def _expect_room(self) -> None:
        needed = self._wanted.length - self._size() + self._terms.reserve_bytes
        free = shutil.disk_usage(self._path.parent).free
        if free < needed:
            said = f"{self._path.parent}: expected {needed} bytes free, got {free}"
            raise FetchFailed(Cause.STORAGE, Reason.DISK_FULL, said)

    def _forget(self) -> None:
        self._part.unlink(missing_ok=True)
        self._etag.unlink(missing_ok=True)

    def _forget_others(self) -> None:
        """One job at a time: parts of others are of jobs that ended."""
        ours = {self._part, self._etag}
        for path in (*self._path.parent.glob("*.part"), *self._path.parent.glob("*.etag")):
            if path not in ours:
                path.unlink(missing_ok=True)

    def _finish(self) -> None:
        with self._part.open("rb") as part:
            os.fsync(part.fileno())
        self._part.replace(self._path)
        self._etag.unlink(missing_ok=True)
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    """Say of what the disk refuses that it was the disk."""
    try:
        yield
    except OSError as error:
        raise storage_failed(path, error) from None


def storage_failed(path: Path, error: OSError) -> FetchFailed:
    """Make the failure of an error of the file system."""
    reason = Reason.DISK_FULL if error.errno in {errno.ENOSPC, errno.EDQUOT} else Reason.DISK_FAILED
    return FetchFailed(Cause.STORAGE, reason, f"{path}: expected to read and write, got: {error.strerror or error}")
