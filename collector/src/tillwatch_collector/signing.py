"""A repository of signed releases in a folder (The Update Framework, specification 1.0): who may sign what, and drafts.

    FOLDER/metadata/   what is published: every root, and targets, snapshot and timestamp by their versions
    FOLDER/targets/    the files, each named by its digest
    FOLDER/pending/    drafts of root and targets, until enough people have signed them

- Root and release keys are people's and stay offline. What they sign is drafted (`add`, `revoke`, `rotate`, `renew`),
  signed by one after the other, and published only when every threshold is met.
- The online key signs snapshot and timestamp, which say which targets are current and that they still are. Who steals
  it can withhold releases for as long as metadata holds, and make no terminal run anything that people have not signed.
- A product's versions only grow. A release that is taken back stays on record, and its version is not given again.
- Every published file is written whole, the timestamp last: whoever reads or dies in between sees the old or the new
  repository. To publish again what was half published ends in the same.

A change violates this when a draft loses signatures without saying so, or when anything but people's keys can change
what targets name.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError, StorageError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, T, TargetFile, Targets, Timestamp

from tillwatch_collector import files, release_files
from tillwatch_collector.errors import CallerError
from tillwatch_collector.release_rules import (
    ROLES,
    Holders,
    Office,
    ReleaseRefused,
    ReleasesUnusable,
    Signing,
    expect_apart,
    expect_new,
    expect_newer,
    expect_online,
    expect_threshold,
    give,
    id_named,
    name_of,
    signing_of,
)
from tillwatch_protocol.release import REVOKED_FIELD, Release, Revocation

ROOT_LIFE: Final = timedelta(days=730)
TARGETS_LIFE: Final = timedelta(days=365)
"""People must come together to sign anew: a ceremony a year, and every release renews its own."""

SNAPSHOT_LIFE: Final = timedelta(days=30)
TIMESTAMP_LIFE: Final = timedelta(days=3)
"""For so long can who sits between collector and terminals hide a release; a collector may be down for half of it."""

PENDING = "pending"


class ReleaseFolder:
    """One repository, held by one process while it is changed; see `opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._metadata = folder / release_files.METADATA
        self._pending = folder / PENDING

    # --- people's work: drafts

    def begin(self, holders: dict[Office, Holders], now: datetime) -> None:
        """Draft the first root and empty targets, in a folder that has none; raises `ReleaseRefused`."""
        if self._newest_root() is not None or self._draft(Root) is not None:
            raise ReleaseRefused(f"expected a folder without releases, got {self.folder}, which has a root")
        root = Root(version=1, expires=_until(now, ROOT_LIFE), consistent_snapshot=True)
        for office, held in holders.items():
            give(root, office, held)
        expect_apart(root)
        for folder in (self._metadata, self.folder / release_files.TARGETS, self._pending):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._write_draft(Root, Metadata(root))
        self._write_draft(Targets, Metadata(Targets(version=1, expires=_until(now, TARGETS_LIFE))))

    def add(self, file: Path, target: str, release: Release, now: datetime) -> tuple[TargetFile, tuple[str, ...]]:
        """Draft one more release; returns it, and who signed the draft that it replaces. Raises `ReleaseRefused`."""
        draft, lost = self._targets_to_change(now)
        expect_newer(draft.signed, target, release)
        length, digest = release_files.take_in(file, self.folder, target)
        added = TargetFile(length, {"sha256": digest}, target, {"custom": release.model_dump(mode="json")})
        draft.signed.targets[target] = added
        self._write_draft(Targets, draft)
        return added, lost

    def revoke(self, target: str, reason: str, now: datetime) -> tuple[str, ...]:
        """Draft that a release is taken back; returns who signed the draft that it replaces."""
        draft, lost = self._targets_to_change(now)
        found = draft.signed.targets.pop(target, None)
        if found is None:
            names = ", ".join(sorted(draft.signed.targets)) or "none"
            raise ReleaseRefused(f"expected the target of a release, one of: {names}; got {target!r}")
        release = Release.model_validate(found.custom)
        taken_back = Revocation(product=release.product, version=release.version, reason=reason, revoked_at=now)
        revoked = draft.signed.unrecognized_fields.setdefault(REVOKED_FIELD, {})
        revoked[target] = taken_back.model_dump(mode="json")
        self._write_draft(Targets, draft)
        return lost

    def drop(self, target: str, now: datetime) -> tuple[str, ...]:
        """Take a release, or that one is taken back, out of the draft again; returns who signed what it replaces."""
        draft, lost = self._targets_to_change(now)
        newest = self._newest_targets()
        published = newest.signed.targets if newest else {}
        told = newest.signed.unrecognized_fields.get(REVOKED_FIELD, {}) if newest else {}
        revoked = draft.signed.unrecognized_fields.get(REVOKED_FIELD, {})
        drafted = (draft.signed.targets.keys() - published.keys()) | (revoked.keys() - told.keys())
        if target not in drafted:
            names = ", ".join(sorted(drafted)) or "none"
            raise ReleaseRefused(
                f"expected a release that is drafted and not published, one of: {names}; got {target!r}"
            )
        revoked.pop(target, None)
        draft.signed.targets.pop(target, None)
        if target in published:
            draft.signed.targets[target] = published[target]
        self._write_draft(Targets, draft)
        return lost

    def rotate(
        self, office: Office, *, out: str | None, key: SSlibKey | None, threshold: int | None, now: datetime
    ) -> tuple[str, ...]:
        """Draft a root in which `key` stands for the one of this name or id; returns who signed the one it replaces.

        Without `out` a key is added, without `key` one is removed.
        """
        draft, lost = self._root_to_change(now)
        root = draft.signed
        for role in ROLES[office]:
            if out is not None:
                root.revoke_key(id_named(root, role, out), role)
            if key is not None:
                expect_new(root, role, key)
                root.add_key(key, role)
            root.roles[role].threshold = threshold or root.roles[role].threshold
            expect_threshold(office, len(root.roles[role].keyids), root.roles[role].threshold)
        expect_apart(root)
        self._write_draft(Root, draft)
        if office is Office.RELEASE:  # what the old keys signed may not please the new root
            targets, lost_too = self._targets_to_change(now)
            self._write_draft(Targets, targets)
            lost = (*lost, *lost_too)
        return lost

    def renew(self, office: Office, now: datetime) -> tuple[str, ...]:
        """Draft the same root or targets with a new end; returns who signed the draft that it replaces."""
        if office is Office.ROOT:
            root, lost = self._root_to_change(now)
            self._write_draft(Root, root)
            return lost
        targets, lost = self._targets_to_change(now)
        self._write_draft(Targets, targets)
        return lost

    def sign(self, signer: CryptoSigner) -> tuple[str, ...]:
        """Add a signature to every draft that this key may sign; returns which. Raises `ReleaseRefused`."""
        drafts = self._drafts()
        if not drafts:
            raise ReleaseRefused(
                "expected a draft to sign, got none: `release add`, `revoke` and `rotate-key` make one"
            )
        chosen = [(kind, draft) for kind, draft in drafts if self._may_sign(signer.public_key.keyid, kind)]
        if not chosen:
            told = "; ".join(str(signing) for signing in self.signings())
            name = name_of(signer.public_key)
            raise ReleaseRefused(f"expected a key that may sign a draft, got {name}, which may sign none: {told}")
        for kind, draft in chosen:
            draft.sign(signer, append=True)
            self._write_draft(kind, draft)
        return tuple(f"{kind.type} {draft.signed.version}" for kind, draft in chosen)

    def signings(self) -> tuple[Signing, ...]:
        """Say how far the drafts are signed; empty where there is none."""
        said: list[Signing] = []
        root, before = self._draft(Root), self._newest_root()
        if root is not None:
            said.append(signing_of(root, root.signed, Root.type, "root"))
            if before is not None:
                said.append(signing_of(root, before.signed, Root.type, "root before"))
        targets, judge = self._draft(Targets), root or before
        if targets is not None and judge is not None:
            said.append(signing_of(targets, judge.signed, Targets.type, "release"))
        return tuple(said)

    # --- publishing

    def take_drafts(self, source: "ReleaseFolder") -> None:
        """Take drafts and files over from another folder, such as one on a stick; raises `ReleaseRefused`."""
        self._pending.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._metadata.mkdir(mode=0o755, parents=True, exist_ok=True)
        for kind, draft in source._drafts():  # noqa: SLF001 - another of our own kind
            if isinstance(draft.signed, Targets):
                for target in draft.signed.targets.values():
                    release_files.carry(source.folder, self.folder, target.path, target.hashes["sha256"])
            self._write_draft(kind, draft)

    def publish(self, signer: CryptoSigner, now: datetime) -> tuple[str, ...]:
        """Publish what is signed, and say with the online key that it is current; returns what is new.

        Raises `ReleaseRefused` where signatures or files are missing, and says which.
        """
        root, targets = self._to_publish()
        for target in targets.signed.targets.values():
            release_files.expect_there(self.folder, target.path, target.length, target.hashes["sha256"])
        expect_online(root.signed, signer)
        new = []
        for kind, signed in ((Root, root), (Targets, targets)):
            path = self._path(kind, signed.signed.version)
            if not path.exists():
                files.replace(path, signed.to_bytes(), 0o644)
                new.append(f"{kind.type} {signed.signed.version}")
        new += self._say_current(signer, targets, now, renew_snapshot=True)
        for kind in (Root, Targets):
            self._draft_path(kind).unlink(missing_ok=True)
        return tuple(new)

    def refresh(self, signer: CryptoSigner, now: datetime) -> tuple[str, ...]:
        """Renew what the online key signs once half of its life is over, and nothing else; returns what was renewed."""
        root, timestamp = self._newest_root(), self._published_timestamp()
        if root is None or timestamp is None:
            raise ReleasesUnusable(f"{self.folder}: expected published releases, found none; see `release publish`")
        expect_online(root.signed, signer)
        snapshot = self._snapshot_of(timestamp)
        renew_snapshot = snapshot.signed.expires - now < SNAPSHOT_LIFE / 2
        if not renew_snapshot and timestamp.signed.expires - now >= TIMESTAMP_LIFE / 2:
            return ()
        targets = self._read(Targets, self._path(Targets, snapshot.signed.meta["targets.json"].version))
        return self._say_current(signer, targets, now, renew_snapshot=renew_snapshot)

    def _say_current(
        self, signer: CryptoSigner, targets: Metadata[Targets], now: datetime, *, renew_snapshot: bool
    ) -> tuple[str, ...]:
        before = self._published_timestamp()
        number = 0 if before is None else before.signed.snapshot_meta.version
        told = []
        if renew_snapshot or before is None:
            number += 1
            meta = {"targets.json": _meta_of(targets.signed.version, self._path(Targets, targets.signed.version))}
            snapshot = Metadata(Snapshot(number, expires=_until(now, SNAPSHOT_LIFE), meta=meta))
            snapshot.sign(signer)
            files.replace(self._path(Snapshot, number), snapshot.to_bytes(), 0o644)
            told.append(f"snapshot {number}")
        version = 1 if before is None else before.signed.version + 1
        timestamp = Metadata(
            Timestamp(
                version,
                expires=_until(now, TIMESTAMP_LIFE),
                snapshot_meta=_meta_of(number, self._path(Snapshot, number)),
            )
        )
        timestamp.sign(signer)
        files.replace(self._metadata / release_files.TIMESTAMP, timestamp.to_bytes(), 0o644)
        return (*told, f"timestamp {version}")

    def _to_publish(self) -> tuple[Metadata[Root], Metadata[Targets]]:
        lacking = [str(signing) for signing in self.signings() if signing.missing]
        if lacking:
            raise ReleaseRefused(f"expected enough signatures, got {'; '.join(lacking)}")
        before, drafted = self._newest_root(), self._draft(Root)
        root = drafted or before
        targets = self._draft(Targets) or self._newest_targets()
        if root is None or targets is None:
            raise ReleasesUnusable(f"{self.folder}: expected drafts or releases, found none; see `release init`")
        if drafted is not None:
            self._expect_next(drafted, before)
        self._expect_next(targets, self._newest_targets())
        signing = signing_of(targets, root.signed, Targets.type, "release")
        if signing.missing:
            raise ReleaseRefused(f"expected enough signatures under the new root, got {signing}; see `release renew`")
        return root, targets

    def _expect_next(self, draft: Metadata[Any], newest: Metadata[Any] | None) -> None:
        """Take the version after the newest, or the newest itself, which was half published."""
        if newest is None or draft.signed.version == newest.signed.version + 1:
            return
        if draft.to_bytes() != newest.to_bytes():
            raise ReleaseRefused(
                f"expected {draft.signed.type} {newest.signed.version + 1}, got a draft of {draft.signed.version}: "
                f"it was made beside an older state of these releases; make it anew beside the newest"
            )

    # --- what is there

    def published(self) -> tuple[Metadata[Root], Metadata[Timestamp], Metadata[Snapshot], Metadata[Targets]]:
        """Read what is current, each verified against the newest root; raises `ReleasesUnusable`."""
        root, timestamp = self._newest_root(), self._published_timestamp()
        if root is None or timestamp is None:
            raise ReleasesUnusable(f"{self.folder}: expected published releases, found none; see `release publish`")
        snapshot = self._snapshot_of(timestamp)
        targets_meta = snapshot.signed.meta["targets.json"]
        targets_path = self._path(Targets, targets_meta.version)
        targets = self._read(Targets, targets_path)
        try:
            for role, document in ((Timestamp.type, timestamp), (Snapshot.type, snapshot), (Targets.type, targets)):
                root.signed.verify_delegate(role, document.signed_bytes, document.signatures)
            timestamp.signed.snapshot_meta.verify_length_and_hashes(
                self._path(Snapshot, snapshot.signed.version).read_bytes()
            )
            targets_meta.verify_length_and_hashes(targets_path.read_bytes())
        except (RepositoryError, OSError) as error:
            raise ReleasesUnusable(f"{self.folder}: expected a whole repository, got: {error}") from None
        return root, timestamp, snapshot, targets

    def problems(self, now: datetime) -> tuple[str, ...]:
        """Say all that is wrong with what is published: signatures, ends, files; empty where nothing is."""
        found: list[str] = []
        try:
            found += self._broken_roots()
            documents = self.published()
        except ReleasesUnusable as error:
            return (*found, str(error))
        found += [
            f"{document.signed.type} {document.signed.version}: ended {document.signed.expires:%Y-%m-%d}"
            for document in documents
            if document.signed.is_expired(now)
        ]
        for target in documents[3].signed.targets.values():
            try:
                release_files.expect_there(self.folder, target.path, target.length, target.hashes["sha256"])
                Release.model_validate(target.custom)
            except (CallerError, ValueError) as error:
                found.append(str(error))
        return tuple(found)

    def root_bytes(self, version: int) -> bytes:
        """Read a published root, such as the first one, which goes to terminals with the agent."""
        path = self._path(Root, version)
        try:
            return path.read_bytes()
        except OSError:
            raise ReleaseRefused(f"expected a published root, got {version}, which is not in {self.folder}") from None

    def _broken_roots(self) -> Iterator[str]:
        before: Metadata[Root] | None = None
        for version in self._root_versions():
            root = self._read(Root, self._path(Root, version))
            try:
                if before is not None:
                    before.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
                root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
            except RepositoryError as error:
                yield f"root {version}: {error}"
            if version != (before.signed.version + 1 if before else 1):
                yield f"root {version}: expected every root from 1 on, the one before is missing"
            before = root

    # --- reading and writing

    def _root_to_change(self, now: datetime) -> tuple[Metadata[Root], tuple[str, ...]]:
        draft = self._draft(Root)
        if draft is not None:
            return _unsigned(draft, _until(now, ROOT_LIFE), draft.signed)
        newest = self._newest_root()
        if newest is None:
            raise ReleasesUnusable(f"{self.folder}: expected releases, found none; see `release init`")
        newest.signed.version += 1
        copied, _ = _unsigned(newest, _until(now, ROOT_LIFE), newest.signed)
        return copied, ()

    def _targets_to_change(self, now: datetime) -> tuple[Metadata[Targets], tuple[str, ...]]:
        root, draft = self._draft(Root) or self._newest_root(), self._draft(Targets)
        if draft is not None and root is not None:
            return _unsigned(draft, _until(now, TARGETS_LIFE), root.signed)
        newest = self._newest_targets()
        if newest is None:
            raise ReleasesUnusable(f"{self.folder}: expected releases, found none; see `release init`")
        newest.signed.version += 1
        newest.signed.expires = _until(now, TARGETS_LIFE)
        newest.signatures.clear()
        return newest, ()

    def _may_sign(self, key_id: str, kind: type[Signed]) -> bool:
        roots = [root for root in (self._draft(Root), self._newest_root()) if root is not None]
        judges = roots if kind is Root else roots[:1]
        return any(key_id in root.signed.roles[kind.type].keyids for root in judges)

    def _newest_root(self) -> Metadata[Root] | None:
        versions = self._root_versions()
        return self._read(Root, self._path(Root, versions[-1])) if versions else None

    def _root_versions(self) -> list[int]:
        return release_files.versions(self.folder, Root.type)

    def _newest_targets(self) -> Metadata[Targets] | None:
        versions = release_files.versions(self.folder, Targets.type)
        return self._read(Targets, self._path(Targets, versions[-1])) if versions else None

    def _published_timestamp(self) -> Metadata[Timestamp] | None:
        path = self._metadata / release_files.TIMESTAMP
        return self._read(Timestamp, path) if path.exists() else None

    def _snapshot_of(self, timestamp: Metadata[Timestamp]) -> Metadata[Snapshot]:
        return self._read(Snapshot, self._path(Snapshot, timestamp.signed.snapshot_meta.version))

    def _path(self, kind: type[Signed], version: int) -> Path:
        return self._metadata / f"{version}.{kind.type}.json"

    def _draft_path(self, kind: type[Signed]) -> Path:
        return self._pending / f"{kind.type}.json"

    def _drafts(self) -> list[tuple[type[Signed], Metadata[Any]]]:
        read: list[tuple[type[Signed], Metadata[Any] | None]] = [
            (Root, self._draft(Root)),
            (Targets, self._draft(Targets)),
        ]
        return [(kind, draft) for kind, draft in read if draft is not None]

    def _draft(self, kind: type[T]) -> Metadata[T] | None:
        path = self._draft_path(kind)
        return self._read(kind, path) if path.exists() else None

    def _write_draft(self, kind: type[Signed], draft: Metadata[Any]) -> None:
        files.replace(self._draft_path(kind), draft.to_bytes(), 0o644)

    def _read(self, kind: type[T], path: Path) -> Metadata[T]:
        try:
            read: Metadata[T] = Metadata.from_file(str(path))
        except (RepositoryError, StorageError, OSError, ValueError) as error:
            raise ReleasesUnusable(f"{path}: expected {kind.type} metadata, got: {error}") from None
        if not isinstance(read.signed, kind):
            raise ReleasesUnusable(f"{path}: expected {kind.type} metadata, got {read.signed.type}")
        return read


@contextmanager
def opened(folder: Path, *, make: bool = False) -> Iterator[ReleaseFolder]:
    """Hold the releases in a folder for one command; another one waits. Raises `ReleasesUnusable`."""
    if make:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ReleasesUnusable(f"--folder: expected the folder of releases, got {folder}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield ReleaseFolder(folder)
    finally:
        os.close(descriptor)


def _until(now: datetime, life: timedelta) -> datetime:
    return (now + life).replace(microsecond=0)


def _unsigned(draft: Metadata[T], expires: datetime, judge: Root) -> tuple[Metadata[T], tuple[str, ...]]:
    """Take the signatures off what is about to change; returns whose they were."""
    names = tuple(name_of(judge.keys[key_id]) for key_id in draft.signatures if key_id in judge.keys)
    draft.signatures.clear()
    draft.signed.expires = expires
    return draft, names


def _meta_of(version: int, path: Path) -> MetaFile:
    return MetaFile.from_data(version, path.read_bytes(), ["sha256"])
