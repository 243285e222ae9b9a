"""What the collector does with signed releases: lists them, and says with the online key that they are current.

Listing verifies every signature, so that a rollout is never made of what terminals would refuse. The upkeep's thread
renews snapshot and timestamp once half of their life is over; it touches nothing else, and while it cannot, terminals
keep what they run. Of a web process and its like one may refresh or all: the folder's lock makes them take turns.

A change violates this when the collector lists a release that is not signed, or renews what people sign.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from tillwatch_collector import release_keys, signing
from tillwatch_collector.errors import CollectorError
from tillwatch_collector.release_keys import KeyUnusable
from tillwatch_collector.release_rules import ReleasesUnusable
from tillwatch_collector.signing import ReleaseFolder
from tillwatch_collector.store.views import View
from tillwatch_protocol.release import REVOKED_FIELD, InstallerKind, Release, Revocation

LOOK_S = 600.0
"""Between two looks whether something must be renewed: half of the shortest life is a day and a half."""

STOP_TIMEOUT_S = 10.0
"""Four small files are written."""

_log = logging.getLogger(__name__)


class ReleaseView(View):
    """A signed release."""

    target: str
    product: str
    version: str
    installer: InstallerKind | None
    """None: it was taken back."""
    bytes: int | None
    sha256: str | None
    machines: tuple[str, ...]
    models: tuple[str, ...]
    agent_version_min: str | None
    installed_bytes: int | None
    notes: str
    revoked: bool
    revoked_at: datetime | None
    revoked_reason: str | None


class Shelf:
    """The releases of one folder, as they are published at the moment; may be shared by threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: tuple[bytes, tuple[ReleaseView, ...]] | None = None

    def look(self) -> tuple[ReleaseView, ...]:
        """List all that is published and all that was taken back, by target; raises `ReleasesUnusable`.

        Empty before anything was published.
        """
        try:
            said = (self.folder / "metadata" / "timestamp.json").read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ReleasesUnusable(f"{self.folder}: expected readable releases, got: {error.strerror}") from None
        seen = self._seen
        if seen is not None and seen[0] == said:
            return seen[1]
        views = self._read()
        self._seen = (said, views)
        return views

    def find(self, target: str) -> ReleaseView | None:
        """Find one; raises `ReleasesUnusable`."""
        return next((one for one in self.look() if one.target == target), None)

    def digest_of(self, target: str) -> str | None:
        """Return the digest of a release that may be installed; None: there is none such, or it was taken back.

        Raises `ReleasesUnusable`.
        """
        found = self.find(target)
        return None if found is None or found.revoked else found.sha256

    def ends(self) -> Mapping[str, datetime]:
        """Say when each role's metadata ends; raises `ReleasesUnusable`."""
        return {document.signed.type: document.signed.expires for document in ReleaseFolder(self.folder).published()}

    def _read(self) -> tuple[ReleaseView, ...]:
        targets = ReleaseFolder(self.folder).published()[3].signed
        try:
            views = [
                _view(path, Release.model_validate(file.custom), file.length, file.hashes["sha256"])
                for path, file in targets.targets.items()
            ]
            revoked = targets.unrecognized_fields.get(REVOKED_FIELD, {})
            views += [_gone(path, Revocation.model_validate(said)) for path, said in revoked.items()]
        except (ValidationError, KeyError) as error:
            raise ReleasesUnusable(f"{self.folder}: expected releases of ours, got: {error}") from None
        return tuple(sorted(views, key=lambda view: view.target))


class Refresher:
    """Renews what the online key signs; a context in which its thread runs."""

    def __init__(self, folder: Path, online_key_file: Path, *, now: Callable[[], datetime]) -> None:
        """Read the key; raises `ReleasesUnusable`."""
        self._folder = folder
        try:
            self._signer = release_keys.signer(online_key_file, None)
        except KeyUnusable as error:
            raise ReleasesUnusable(f"releases.online_key_file: {error}") from None
        self._now = now
        self._failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="releases")

    def __enter__(self) -> Self:
        self.work()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)

    def work(self) -> bool:
        """Renew what is due; False, and said once in the log, where it cannot be done."""
        try:
            with signing.opened(self._folder) as releases:
                renewed = releases.refresh(self._signer, self._now())
        except (CollectorError, OSError) as error:
            if not self._failing:
                _log.error("releases are not renewed, terminals will take none when they end: %s", error)
            self._failing = True
            return False
        if self._failing or renewed:
            _log.info("releases are current: %s", ", ".join(renewed) or "nothing was to be renewed")
        self._failing = False
        return True

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            self.work()


def _view(path: str, release: Release, length: int, digest: str) -> ReleaseView:
    return ReleaseView(
        target=path,
        product=release.product,
        version=release.version,
        installer=release.installer,
        bytes=length,
        sha256=digest,
        machines=release.machines,
        models=release.models,
        agent_version_min=release.agent_version_min,
        installed_bytes=release.installed_bytes,
        notes=release.notes,
        revoked=False,
        revoked_at=None,
        revoked_reason=None,
    )


def _gone(path: str, taken_back: Revocation) -> ReleaseView:
    return ReleaseView(
        target=path,
        product=taken_back.product,
        version=taken_back.version,
        installer=None,
        bytes=None,
        sha256=None,
        machines=(),
        models=(),
        agent_version_min=None,
        installed_bytes=None,
        notes="",
        revoked=True,
        revoked_at=taken_back.revoked_at,
        revoked_reason=taken_back.reason,
    )
