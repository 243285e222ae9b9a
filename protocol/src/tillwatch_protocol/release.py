"""What a signed release says of itself, and whether a terminal may take it.

A release is a TUF target: a path such as `till/till-2.1.0.tar.gz` with its length and digest, which TUF signs, and the
words below beside them, signed likewise. Versions are one to four numbers with dots, compared as numbers (2.10 is later
than 2.9, and 2.0 is 2), so that nobody argues about suffixes on the night of an upgrade.

A change violates this when a terminal takes a release whose words it does not understand, or one below its own version.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from tillwatch_protocol.vocabulary import Code, Count, Frozen, Instant, Text

RELEASE_BYTES_MAX: Final = 2 * 1024**3
"""Of one file: the image of a whole till has some hundred megabytes; what is longer is a mistake."""

NAMES_MAX: Final = 64
"""Machines or models that one release is for."""

REVOKED_FIELD: Final = "x-tillwatch-revoked"
"""Of the signed targets metadata: the releases that were taken back, by target path."""

_NUMBERS_MAX = 4
_UNKNOWN = "one that is not known"
_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){0,3}")


def version_key(version: str) -> tuple[int, ...]:
    """Make a version comparable; raises `ValueError` for what is none."""
    if not _VERSION.fullmatch(version):
        raise ValueError(f"expected one to four numbers with dots such as 2.1.0, got {version[:40]!r}")
    numbers = tuple(map(int, version.split(".")))
    return numbers + (0,) * (_NUMBERS_MAX - len(numbers))


def _checked(version: str) -> str:
    version_key(version)
    return version


Version = Annotated[str, Field(max_length=40), AfterValidator(_checked)]
TargetPath = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}){1,2}$"),
    Field(max_length=150),
]
"""Folders and a file name; no part begins with a dot, so that none leads elsewhere. A prefixed digest still fits."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$")]


class InstallerKind(StrEnum):
    """How a release is brought to run."""

    BUNDLE = "bundle"
    """An archive into a slot, with hooks for restart and health."""
    CONFIG = "config"
    """Settings and driver tables, which go the same staged way."""
    AGENT = "agent"
    """The agent itself."""


class Release(Frozen):
    """What a target says of itself beside its length and digest; an empty constraint fits every terminal."""

    product: Code
    version: Version
    installer: Annotated[InstallerKind, Field(strict=False)]
    machines: Annotated[tuple[Name, ...], Field(max_length=NAMES_MAX, strict=False)] = ()
    """As the operating system names them: `x86_64`, `aarch64`."""
    models: Annotated[tuple[Name, ...], Field(max_length=NAMES_MAX, strict=False)] = ()
    agent_version_min: Version | None = None
    installed_bytes: Count | None = None
    """What it takes on the disk when it is unpacked; by default twice its length is held free."""
    notes: Text = ""


class Revocation(Frozen):
    """A release that was taken back, and why; its version is never given again."""

    product: Code
    version: Version
    reason: Text
    revoked_at: Instant


class Unfit(StrEnum):
    """Why a terminal does not take a release."""

    MACHINE = "machine"
    MODEL = "model"
    AGENT = "agent_too_old"
    DOWNGRADE = "downgrade"
    PRODUCT = "product"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitting:
    """What a terminal is; what it does not know of itself meets no constraint."""

    product: str
    """The one that was asked for."""
    machine: str | None = None
    model: str | None = None
    agent_version: str | None = None
    installed_version: str | None = None
    """None: the product is not there yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Misfit:
    """Which constraint a terminal does not meet: what was expected, and what it is."""

    unfit: Unfit
    expected: str
    got: str

    def __str__(self) -> str:
        """Say it to people."""
        return f"{self.unfit}: expected {self.expected}, got {self.got}"


def misfit(release: Release, terminal: Fitting) -> Misfit | None:
    """Say why a terminal must not take a release; None where it may."""
    if terminal.product != release.product:
        return Misfit(unfit=Unfit.PRODUCT, expected=terminal.product, got=release.product)
    if release.machines and terminal.machine not in release.machines:
        return Misfit(unfit=Unfit.MACHINE, expected=_one_of(release.machines), got=terminal.machine or _UNKNOWN)
    if release.models and terminal.model not in release.models:
        return Misfit(unfit=Unfit.MODEL, expected=_one_of(release.models), got=terminal.model or _UNKNOWN)
    least, own = release.agent_version_min, terminal.agent_version
    if least is not None and (own is None or version_key(own) < version_key(least)):
        return Misfit(unfit=Unfit.AGENT, expected=f"an agent of at least {least}", got=own or _UNKNOWN)
    installed = terminal.installed_version
    if installed is not None and version_key(release.version) < version_key(installed):
        return Misfit(unfit=Unfit.DOWNGRADE, expected=f"a version of at least {installed}", got=release.version)
    return None


def _one_of(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}"
