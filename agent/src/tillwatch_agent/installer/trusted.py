"""The TUF client: what people signed, as far as this terminal has seen it; the only file that imports `tuf`.

Metadata lies in a folder of the agent's state, under names without versions, every root in `root_history`. What was
seen binds: an older timestamp, snapshot or list of releases is refused, also after a power cut. python-tuf judges ends
by the wall clock; here they are judged by the time that a collector told, or where none did by the later of the wall
clock and the agent's floor. Nothing that is refused leaves a trace, so that no wrong time locks a terminal out.

A change violates this when a file can be had that signed metadata does not name, or when metadata that ended is told
apart from a clock that is wrong in one way only.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tuf.api import exceptions
from tuf.api.metadata import TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from tillwatch_agent.installer.failure import FetchFailed
from tillwatch_agent.installer.order import Cause, Reason
from tillwatch_agent.installer.transfer import Web
from tillwatch_protocol.release import REVOKED_FIELD

METADATA_S: Final = 120.0
"""For one file of some kilobytes, on the worst of lines."""

PART_BYTES: Final = 16 * 1024

CONFIG: Final = UpdaterConfig(
    max_root_rotations=256,  # a rotation a month for twenty years; the suite that clients are held to has 250 at once
    max_delegations=8,  # ours has none
    root_max_length=512_000,
    timestamp_max_length=16_384,
    snapshot_max_length=500_000,
    targets_max_length=5_000_000,  # some thousand releases
)


class Trusted:
    """What a repository's people signed."""

    def __init__(
        self,
        metadata_dir: Path,
        metadata_url: str,
        web: Web,
        *,
        at: datetime,
        is_told: bool,
        trusted_root: bytes | None = None,
    ) -> None:
        """Know the trusted root; `at` judges ends, and `is_told` says whether a collector told it. `FetchFailed`."""
        self._is_told = is_told
        with self._judged():
            self._client = _Client(
                str(metadata_dir), metadata_url, fetcher=_Fetcher(web), config=CONFIG, bootstrap=trusted_root
            )
        self._client.judge_at(at)

    def refresh(self) -> None:
        """Take what is current; raises `FetchFailed`."""
        with self._judged():
            self._client.refresh()

    def find(self, target: str) -> TargetFile:
        """Find a target; raises `FetchFailed` where no signed metadata names it."""
        with self._judged():
            found = self._client.get_targetinfo(target)
        revoked = self._client.revoked()
        if found is None and target in revoked:
            said = f"{target}: expected a release, it was taken back: {_words(revoked[target])}"
            raise FetchFailed(Cause.TRUST, Reason.REVOKED, said)
        if found is None:
            raise FetchFailed(Cause.TRUST, Reason.UNKNOWN_TARGET, f"{target}: expected a release, nobody signed it")
        if not any(_DIGESTS[kind].fullmatch(found.hashes.get(kind, "")) for kind in _DIGESTS):
            said = f"{target}: expected a SHA-256 or SHA-512 digest, got {', '.join(sorted(found.hashes))[:200]}"
            raise FetchFailed(Cause.TRUST, Reason.NOT_UNDERSTOOD, said)
        return found

    def url_path(self, target: TargetFile) -> str:
        """Say under which name below the targets' URL the file lies."""
        return self._client.url_path(target)

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Say of what TUF refuses who is at fault."""
        try:
            yield
        except exceptions.DownloadHTTPError as error:
            said = f"expected all metadata that was announced, the server answered {error.status_code}"
            raise FetchFailed(Cause.TRUST, Reason.MISSING, said) from None
        except exceptions.DownloadLengthMismatchError as error:
            raise FetchFailed(Cause.TRUST, Reason.OVERSIZED, str(error)) from None
        except exceptions.DownloadError as error:
            raise FetchFailed(Cause.NETWORK, Reason.CUT, str(error)) from None
        except exceptions.ExpiredMetadataError as error:
            reason = Reason.EXPIRED if self._is_told else Reason.EXPIRED_BY_OWN_CLOCK
            raise FetchFailed(Cause.TRUST, reason, str(error)) from None
        except exceptions.RepositoryError as error:
            raise FetchFailed(Cause.TRUST, _reason(error), str(error)[:500]) from None


def matches(target: TargetFile, path: Path) -> bool:
    """Whether a file is what was signed, by every digest; raises `OSError`."""
    try:
        with path.open("rb") as file:
            target.verify_length_and_hashes(file)
    except exceptions.LengthOrHashMismatchError:
        return False
    return True


class _Client(Updater):
    """python-tuf's client with another clock, and writes that outlast a power cut."""

    def judge_at(self, at: datetime) -> None:
        self._trusted_set.reference_time = at

    def revoked(self) -> dict[str, Any]:
        targets = self._trusted_set[Targets.type]
        said = targets.unrecognized_fields.get(REVOKED_FIELD)
        return said if isinstance(said, dict) else {}

    def url_path(self, target: TargetFile) -> str:
        """Put the digest before the name, where the root says so (specification 7.1)."""
        where, slash, name = target.path.rpartition("/")
        if self._trusted_set.root.consistent_snapshot:
            name = f"{next(iter(target.hashes.values()))}.{name}"
        return quote(f"{where}{slash}{name}")

    def _persist_file(self, filename: str, data: bytes) -> None:
        partial = f"{filename}.partial"
        with open(partial, "wb") as file:  # noqa: PTH123 - python-tuf hands over text
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, filename)  # noqa: PTH105 - as above
        descriptor = os.open(os.path.dirname(filename), os.O_RDONLY)  # noqa: PTH120 - as above
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _Fetcher(FetcherInterface):
    """Fetches metadata; what is no answer of the server's own is raised as it is."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def _fetch(self, url: str) -> Iterator[bytes]:
        with self._web.get(url, body_s=METADATA_S) as answer:
            if answer.is_gone:
                raise exceptions.DownloadHTTPError(f"the server answered {answer.status}", answer.status)
            if answer.status != 200:  # noqa: PLR2004 - HTTP's number for yes
                raise answer.refusal()
            came = 0
            while part := answer.read(PART_BYTES):
                came += len(part)
                yield part
            if answer.announced_bytes not in {None, came}:
                said = f"expected {answer.announced_bytes} bytes of metadata, got {came}"
                raise FetchFailed(Cause.NETWORK, Reason.CUT, said)


_DIGESTS: Final = {"sha256": re.compile(r"[0-9a-f]{64}"), "sha512": re.compile(r"[0-9a-f]{128}")}

_REASONS: Final[dict[type[exceptions.RepositoryError], Reason]] = {
    exceptions.UnsignedMetadataError: Reason.UNSIGNED,
    exceptions.BadVersionNumberError: Reason.VERSION,
    exceptions.LengthOrHashMismatchError: Reason.MISMATCH,
}


def _reason(error: exceptions.RepositoryError) -> Reason:
    return next((reason for kind, reason in _REASONS.items() if isinstance(error, kind)), Reason.UNREADABLE)


def _words(said: Any) -> str:
    reason = said.get("reason") if isinstance(said, dict) else None
    return str(reason)[:200]
