"""Who may sign what, and which releases may stand beside each other: the rules of a repository, as plain functions.

A change violates this when one person can count for two, or when a version of a product can be given twice.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from tillwatch_collector.errors import CallerError, OperatorError
from tillwatch_collector.release_keys import NAME_FIELD
from tillwatch_protocol.release import REVOKED_FIELD, Release, Revocation, version_key

KEYS_MAX = 16
"""Of one role: people who can meet."""

KEY_ID_CHARS_MIN = 8
"""Of the beginning of a key's id, where it is named by that."""


class Office(StrEnum):
    """Whose keys."""

    ROOT = "root"
    """Say who holds the others."""
    RELEASE = "release"
    """Say which releases there are: TUF's role `targets`."""
    ONLINE = "online"
    """Say which of what people signed is current: TUF's roles `snapshot` and `timestamp`."""


ROLES: Final = {
    Office.ROOT: (Root.type,),
    Office.RELEASE: (Targets.type,),
    Office.ONLINE: (Snapshot.type, Timestamp.type),
}


class ReleasesUnusable(OperatorError):  # noqa: N818 - it names what is so
    """The folder holds no repository, or a broken one."""


class ReleaseRefused(CallerError):  # noqa: N818
    """What was asked cannot be done with these releases, keys or signatures; nothing changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holders:
    """Public keys of an office, and how many of them must sign."""

    keys: tuple[SSlibKey, ...]
    threshold: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Signing:
    """How far one draft is signed by the keys of one root."""

    document: str
    version: int
    by: str
    """Whose keys: `root`, `root before` where a new root must please the old one too, `release`."""
    threshold: int
    signed: tuple[str, ...]
    """Names of those who have."""
    unsigned: tuple[str, ...]
    """Names of those who may."""

    @property
    def missing(self) -> int:
        """Signatures that are still needed."""
        return max(0, self.threshold - len(self.signed))

    def __str__(self) -> str:
        """Say it to people."""
        said = f"{self.document} {self.version}: {len(self.signed)} of {self.threshold} signatures by {self.by} keys"
        return f"{said}; may sign: {', '.join(self.unsigned)}" if self.missing else said


def give(root: Root, office: Office, held: Holders) -> None:
    """Give an office of a new root its keys; raises `ReleaseRefused`."""
    expect_threshold(office, len(held.keys), held.threshold)
    for role in ROLES[office]:
        for key in held.keys:
            expect_new(root, role, key)
            root.add_key(key, role)
        root.roles[role].threshold = held.threshold


def expect_threshold(office: Office, keys: int, threshold: int) -> None:
    """Raise `ReleaseRefused` where the threshold does not fit the number of keys."""
    if not 1 <= threshold <= keys <= KEYS_MAX:
        raise ReleaseRefused(
            f"{office} keys: expected 1 to {KEYS_MAX} keys and a threshold of 1 to their number, "
            f"got {keys} keys and a threshold of {threshold}"
        )
    if office is Office.ONLINE and threshold != 1:
        raise ReleaseRefused(f"online keys: expected a threshold of 1, since one machine signs, got {threshold}")


def expect_new(root: Root, role: str, key: SSlibKey) -> None:
    """Let nobody sign twice, neither with one key nor under one name."""
    held = [root.keys[key_id] for key_id in root.roles[role].keyids]
    for other in held:
        if other.keyval == key.keyval or name_of(other) == name_of(key):
            raise ReleaseRefused(f"expected keys that differ in name and content, got {name_of(key)} twice")


def expect_apart(root: Root) -> None:
    """Keep the online key out of people's offices: it lies where anyone who breaks in finds it."""
    online = {key_id for role in ROLES[Office.ONLINE] for key_id in root.roles[role].keyids}
    for office in (Office.ROOT, Office.RELEASE):
        for key_id in online & set(root.roles[ROLES[office][0]].keyids):
            raise ReleaseRefused(f"expected an online key that is no {office} key, got {name_of(root.keys[key_id])}")


def expect_online(root: Root, signer: CryptoSigner) -> None:
    """Raise `ReleaseRefused` for a key that is not the online one."""
    key_id = signer.public_key.keyid
    if any(key_id not in root.roles[role].keyids for role in ROLES[Office.ONLINE]):
        names = ", ".join(name_of(root.keys[one]) for one in root.roles[Snapshot.type].keyids)
        raise ReleaseRefused(f"expected the online key ({names}), got {name_of(signer.public_key)}")


def expect_newer(targets: Targets, target: str, release: Release) -> None:
    """Raise `ReleaseRefused` for a target that was there before, or a version that is not above the others."""
    revoked = {
        path: Revocation.model_validate(said)
        for path, said in targets.unrecognized_fields.get(REVOKED_FIELD, {}).items()
    }
    if target in targets.targets or target in revoked:
        raise ReleaseRefused(f"expected a target that was never there, got {target}")
    own = version_key(release.version)
    for path, taken_back in revoked.items():
        if taken_back.product == release.product and own <= version_key(taken_back.version):
            raise ReleaseRefused(
                f"expected a version of {release.product} above {taken_back.version} ({path}, revoked), "
                f"got {release.version}"
            )
    for path, file in targets.targets.items():
        other = Release.model_validate(file.custom)
        if other.product != release.product or own > version_key(other.version):
            continue
        if own < version_key(other.version) or not _are_for_others(release, other):
            raise ReleaseRefused(
                f"expected a version of {release.product} above {other.version} ({path}), got {release.version}; "
                f"one version has several files only where their machines or models differ"
            )


def _are_for_others(one: Release, other: Release) -> bool:
    """Whether no terminal can take both."""
    pairs = ((one.machines, other.machines), (one.models, other.models))
    return any(a and b and not set(a) & set(b) for a, b in pairs)


def signing_of(document: Metadata[Any], judge: Root, role: str, by: str) -> Signing:
    """Count the valid signatures of a document by the keys that a root has for this role."""
    result = judge.get_verification_result(role, document.signed_bytes, document.signatures)
    return Signing(
        document=role,
        version=document.signed.version,
        by=by,
        threshold=result.threshold,
        signed=tuple(sorted(map(name_of, result.signed.values()))),
        unsigned=tuple(sorted(map(name_of, result.unsigned.values()))),
    )


def name_of(key: Any) -> str:
    """Name the holder of a key, or its id where it has no name."""
    return str(key.unrecognized_fields.get(NAME_FIELD, key.keyid[:12]))


def id_named(root: Root, role: str, name: str) -> str:
    """Find a key by name or by the beginning of its id."""
    held = root.roles[role].keyids
    found = [
        one
        for one in held
        if name_of(root.keys[one]) == name or (len(name) >= len("12345678") and one.startswith(name))
    ]
    if len(found) != 1:
        names = ", ".join(name_of(root.keys[one]) for one in held)
        raise ReleaseRefused(f"expected one of the keys {names}, got {name!r}")
    return found[0]
