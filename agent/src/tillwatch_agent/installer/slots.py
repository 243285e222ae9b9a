"""Two slots of one product: what is committed stays whole beside what is on trial, whatever moment the power is cut.

    ROOT/slots/{a,b}/        unpacked releases
    ROOT/slots/{a,b}.json    what lies there, file by file with its digest; without it a slot is empty
    ROOT/chosen.json         which activation is committed, which one is on trial, which one was taken back last
    ROOT/current             a link to the slot that is chosen, for whoever reads there
    ROOT/attempts.json, ROOT/running.json    the launcher's: how often the trial was started, and what was started last

`chosen.json` is the one truth, each change one write; the link follows it and is set right by whoever comes next. Only
the slot that is not committed is ever written. Every method may be called again after any cut or failure, and writes
again what it finds done: that it can be read does not mean that the disk has it.

A change violates this when the committed slot is touched, when bytes are activated that were not hashed from the disk
since, or when a job is activated twice.
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from tillwatch_agent.installer.archive import Packing, members, packing_of
from tillwatch_agent.installer.disk import Disk
from tillwatch_agent.installer.failure import DiskFailed, InstallFailed, Refusal
from tillwatch_agent.installer.launcher import ATTEMPTS, CHOSEN, CURRENT, RUNNING, SLOTS
from tillwatch_agent.installer.unpack import Bounds, Contents, proves, unpack
from tillwatch_protocol.release import InstallerKind

SLOT_NAMES: Final = ("a", "b")

EXPANSION_MAX: Final = 10
"""Of an archive whose release does not say how large it gets: programs pack to a quarter, rarely to a tenth."""

SMALL_BYTES: Final = 1024 * 1024
"""So much any archive may hold: short tables pack to less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Staging:
    """What is to be staged, in the words of its signed release."""

    target: str
    """Its path; the ending says how it is packed: `.tar.gz`, `.tgz`, `.zip`; of `config` any other is one file."""
    product: str
    version: str
    digest: str
    """The archive's SHA-256 in hex, as it was signed."""
    kind: InstallerKind
    installed_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """A release in a slot."""

    slot: str
    """`a` or `b`."""
    target: str
    product: str
    version: str
    digest: str
    activation_id: str | None = None
    """None: it is only staged."""
    job_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """What was started last, as the one who started it wrote."""

    activation_id: str
    digest: str
    slot: str
    host_boot_id: str
    """Of that start: another one than the machine's own means that it does not run any more."""


def new_activation_id() -> str:
    """Make 128 random bits."""
    return secrets.token_hex(16)


class Slots:
    """The slots of one product; only one process may have them at a time, beside the launcher."""

    def __init__(self, root: Path, disk: Disk | None = None, *, ids: Callable[[], str] = new_activation_id) -> None:
        """Work in `root`; nothing is touched before it is asked for."""
        self._root = root
        self._disk = Disk() if disk is None else disk
        self._ids = ids

    def committed(self) -> Installed | None:
        """Say what is committed; None where nothing ever was. Raises `InstallFailed`."""
        return self._chosen().committed

    def trial(self) -> Installed | None:
        """Say what is on trial; None where nothing is. Raises `InstallFailed`."""
        return self._chosen().trial

    def of_job(self, job_id: str) -> Installed | None:
        """Say what a job activated; None where it did not, or was taken back. Raises `InstallFailed`."""
        return self._chosen().of_job(job_id)

    def staged(self) -> Installed | None:
        """Say what lies in the free slot; None where nothing does, or something is on trial. `InstallFailed`."""
        chosen = self._chosen()
        lying = None if chosen.trial else self._lying(chosen.free_slot)
        return lying.installed if lying else None

    def stage(self, archive: Path, release: Staging) -> None:
        """Unpack into the free slot, unless it lies there whole; raises `InstallFailed`."""
        chosen = self._chosen()
        if chosen.trial is not None:
            said = f"expected no activation on trial, got {chosen.trial.activation_id}"
            raise InstallFailed(Refusal.TRIAL_OPEN, said)
        installed = Installed(
            slot=chosen.free_slot,
            target=release.target,
            product=release.product,
            version=release.version,
            digest=release.digest,
        )
        lying = self._lying(installed.slot)
        if lying is not None and lying.installed == installed and self._difference(lying) is None:
            self._list(lying)
            return
        self._empty(installed.slot)
        try:
            contents = self._unpacked(archive, release, installed.slot)
        except InstallFailed:
            with suppress(DiskFailed):  # of two failures the first is told
                self._empty(installed.slot)
            raise
        self._list(_Lying(installed, contents))

    def activate(self, job_id: str) -> str:
        """Put what is staged on trial, every file's digest proved again; returns its activation id.

        For a job that did so before it says the same id and sets the link right. Raises `InstallFailed`, also for a
        job whose activation was taken back.
        """
        chosen = self._chosen()
        done = chosen.of_job(job_id)
        if done is None:
            self._expect_free(chosen, job_id)
            done = replace(self._proved(chosen.free_slot), activation_id=self._ids(), job_id=job_id)
            chosen = replace(chosen, trial=done)
        self._choose(chosen)
        assert done.activation_id is not None  # noqa: S101 - what a job activated has one
        return done.activation_id

    def running(self) -> Running | None:
        """Say what was started last; None where nothing was, or nobody can tell. Raises `DiskFailed`.

        A word of one slot is none while a program holds the other one, and none holds it: the launcher could not write
        what it started instead.
        """
        running = _parsed(_RUNNING, self._disk.read(self._root / RUNNING))
        if running is None or self._is_held(running.slot):
            return running
        return None if any(self._is_held(slot) for slot in SLOT_NAMES) else running

    def declare_running(self, activation_id: str, host_boot_id: str) -> None:
        """Say of a product that no launcher starts (`config`) that it was read anew. Raises `InstallFailed`."""
        chosen = self._chosen()
        found = next(
            (one for one in (chosen.trial, chosen.committed) if one and one.activation_id == activation_id), None
        )
        if found is None:
            raise _not_on_trial(activation_id, chosen)
        running = Running(activation_id=activation_id, digest=found.digest, slot=found.slot, host_boot_id=host_boot_id)
        self._disk.write(self._root / RUNNING, _dumped(_RUNNING, running))

    def attempts(self) -> int:
        """Say how often the launcher started what is on trial; from `launcher.ATTEMPTS_MAX` on it starts it no more."""
        trial = self._chosen().trial
        counted = _parsed(_ATTEMPTS, self._disk.read(self._root / ATTEMPTS))
        return counted.attempts if trial and counted and counted.activation_id == trial.activation_id else 0

    def commit(self, activation_id: str) -> None:
        """Keep what is on trial; what was kept is fine. Raises `InstallFailed`."""
        chosen = self._chosen()
        if chosen.trial is not None and chosen.trial.activation_id == activation_id:
            chosen = replace(chosen, committed=chosen.trial, trial=None)
        elif chosen.committed is None or chosen.committed.activation_id != activation_id:
            raise _not_on_trial(activation_id, chosen)
        self._choose(chosen)

    def revert(self, activation_id: str) -> None:
        """Go back to what is committed; what is not on trial is fine. Raises `InstallFailed` for what was kept."""
        chosen = self._chosen()
        if chosen.committed is not None and chosen.committed.activation_id == activation_id:
            raise InstallFailed(Refusal.COMMITTED, f"expected an activation on trial, {activation_id} was committed")
        if chosen.trial is not None and chosen.trial.activation_id == activation_id:
            chosen = replace(chosen, trial=None, reverted=chosen.trial)
        self._choose(chosen)

    def _chosen(self) -> "_Chosen":
        content = self._disk.read(self._root / CHOSEN)
        if content is None:
            return _Chosen()
        chosen = _parsed(_CHOSEN, content)
        if chosen is None:
            said = f"{self._root / CHOSEN}: expected what is committed, got something else"
            raise InstallFailed(Refusal.STATE_UNREADABLE, said)
        return chosen

    def _choose(self, chosen: "_Chosen") -> None:
        """Write what is chosen, also where it reads so: a try before may have failed when it was to be forced."""
        self._disk.write(self._root / CHOSEN, _dumped(_CHOSEN, chosen))
        link, installed = self._root / CURRENT, chosen.trial or chosen.committed
        if installed is None:
            self._disk.remove(link)
        else:
            self._disk.link(link, f"{SLOTS}/{installed.slot}")

    def _list(self, lying: "_Lying") -> None:
        """Write what lies in a slot; likewise."""
        self._disk.write(self._list_path(lying.installed.slot), _dumped(_LYING, lying))

    def _expect_free(self, chosen: "_Chosen", job_id: str) -> None:
        if chosen.trial is not None:
            said = f"expected no activation on trial, got that of job {chosen.trial.job_id}"
            raise InstallFailed(Refusal.TRIAL_OPEN, said)
        if chosen.reverted is not None and chosen.reverted.job_id == job_id:
            raise InstallFailed(
                Refusal.REVERTED, f"expected another job than {job_id}, whose activation was taken back"
            )

    def _proved(self, slot: str) -> Installed:
        lying = self._lying(slot)
        if lying is None:
            raise InstallFailed(Refusal.NOT_STAGED, f"{self._folder(slot)}: expected a release, got none")
        difference = self._difference(lying)
        if difference is not None:
            said = f"{self._folder(slot)}: expected what was unpacked, but {difference}"
            raise InstallFailed(Refusal.STAGED_CHANGED, said)
        return lying.installed

    def _difference(self, lying: "_Lying") -> str | None:
        folder = self._folder(lying.installed.slot)
        return proves(folder, lying.contents) if folder.is_dir() else "it is missing"

    def _lying(self, slot: str) -> "_Lying | None":
        """Say what is listed for a slot; a list that cannot be read is none."""
        return _parsed(_LYING, self._disk.read(self._list_path(slot)))

    def _empty(self, slot: str) -> None:
        """Take the list away first: what has none is nothing."""
        self._disk.remove(self._list_path(slot))
        self._disk.remove(self._folder(slot))

    def _unpacked(self, archive: Path, release: Staging, slot: str) -> Contents:
        packing = packing_of(release.target)
        if packing is Packing.FILE and release.kind is not InstallerKind.CONFIG:
            said = f"{release.target}: expected .tar.gz, .tgz or .zip of a {release.kind}"
            raise InstallFailed(Refusal.ARCHIVE_UNREADABLE, said)
        folder = self._folder(slot)
        self._disk.make_folder(folder)
        try:
            with archive.open("rb") as file:
                length = _expect_digest(file, release)
                bounds = Bounds(bytes_max=release.installed_bytes or max(SMALL_BYTES, EXPANSION_MAX * length))
                name = PurePosixPath(release.target).name
                return unpack(members(file, packing, name), folder, self._disk, bounds)
        except OSError as error:
            raise DiskFailed(Refusal.DISK_FAILED, f"{archive}: expected to read it, got: {error}") from None

    def _is_held(self, slot: str) -> bool:
        """Whether a program that the launcher started from a slot lives."""
        try:
            descriptor = os.open(self._folder(slot), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        else:
            return False
        finally:
            os.close(descriptor)

    def _folder(self, slot: str) -> Path:
        return self._root / SLOTS / slot

    def _list_path(self, slot: str) -> Path:
        return self._root / SLOTS / f"{slot}.json"


@dataclass(frozen=True, slots=True)
class _Lying:
    """What lies in a slot."""

    installed: Installed
    contents: Contents


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chosen:
    """What runs, or shall; read by agents and launchers of other versions: fields are added, never changed."""

    committed: Installed | None = None
    trial: Installed | None = None
    reverted: Installed | None = None
    """What was taken back last, so that its job is not done again."""

    @property
    def free_slot(self) -> str:
        """The one that may be written."""
        return next(name for name in SLOT_NAMES if self.committed is None or name != self.committed.slot)

    def of_job(self, job_id: str) -> Installed | None:
        """Find what a job activated and nobody took back."""
        return next((one for one in (self.trial, self.committed) if one and one.job_id == job_id), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempts:
    activation_id: str
    attempts: int


T = TypeVar("T")

_CHOSEN: Final = TypeAdapter(_Chosen)
_LYING: Final = TypeAdapter(_Lying)
_RUNNING: Final = TypeAdapter(Running)
_ATTEMPTS: Final = TypeAdapter(_Attempts)


def _parsed(kind: TypeAdapter[T], content: bytes | None) -> T | None:
    if content is None:
        return None
    try:
        return kind.validate_json(content)
    except ValidationError:
        return None


def _dumped(kind: TypeAdapter[T], value: T) -> bytes:
    return kind.dump_json(value, indent=1) + b"\n"


def _expect_digest(file: BufferedReader, release: Staging) -> int:
    """Hash what will be unpacked, by the descriptor that it will be unpacked from; returns its length."""
    came = hashlib.file_digest(file, "sha256").hexdigest()
    if came != release.digest:
        said = f"{release.target}: expected the digest {release.digest}, got {came}"
        raise InstallFailed(Refusal.ARCHIVE_MISMATCH, said)
    return file.tell()


def _not_on_trial(activation_id: str, chosen: _Chosen) -> InstallFailed:
    on_trial = chosen.trial.activation_id if chosen.trial else "none"
    return InstallFailed(Refusal.NOT_ON_TRIAL, f"expected {activation_id} on trial, got {on_trial}")
