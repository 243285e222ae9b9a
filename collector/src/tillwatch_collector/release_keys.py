"""Keys that sign releases: files of their own, each its owner's, encrypted under a passphrase.

A key is a pair of files: NAME.pem holds the private half, which its owner alone reads and carries; NAME.pub the public
half, which `release init` and `release rotate-key` are given. All are Ed25519. The online key may lie in clear text
beside the collector, since who has it can make no terminal run anything.

A change violates this when a key that signs root or releases can lie unencrypted.
"""

import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from tillwatch_collector import files
from tillwatch_collector.errors import CallerError

NAME_FIELD = "x-tillwatch-name"
"""Of a key in the metadata: whose it is, so that people read names and not digests."""

PASSPHRASE_CHARS_MIN = 12
"""A file that was copied is tried at leisure."""

FILE_BYTES_MAX = 16 * 1024
"""A key or a passphrase has some hundred bytes."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,47}")


class KeyUnusable(CallerError):  # noqa: N818 - it names what is so
    """A key or its passphrase cannot be used; the message says which, what was expected and what came."""


def create(path: Path, passphrase: bytes | None) -> SSlibKey:
    """Make a pair, NAME.pem and NAME.pub; None leaves it in clear text. Raises `KeyUnusable`."""
    name = _checked_name(path)
    if passphrase is not None and len(passphrase) < PASSPHRASE_CHARS_MIN:
        raise KeyUnusable(f"expected a passphrase of at least {PASSPHRASE_CHARS_MIN} characters")
    key = Ed25519PrivateKey.generate()
    encryption = (
        serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        files.write_new_key(path, private)
        files.replace(path.with_suffix(".pub"), public, 0o644)
    except FileExistsError:
        raise KeyUnusable(f"expected a name that no key has, got {path}, which is there") from None
    except OSError as error:
        raise KeyUnusable(f"expected a folder that can be written, got {path.parent}: {error.strerror}") from None
    return _named(key.public_key(), name)


def public(path: Path) -> SSlibKey:
    """Read the public half of a pair from NAME.pub, named after its file; raises `KeyUnusable`."""
    name = _checked_name(path)
    content = _read(path)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusable(f"{path}: expected a public key (PEM), as `release key` writes beside each key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnusable(f"{path}: expected an Ed25519 key, got {type(key).__name__.lstrip('_')}")
    return _named(key, name)


def signer(path: Path, passphrase: bytes | None) -> CryptoSigner:
    """Read the private half; raises `KeyUnusable`, also where it lies in clear text and a passphrase was given."""
    content = _read(path)
    if path.stat().st_mode & files.OTHERS_MAY:
        raise KeyUnusable(f"{path}: expected a key that its owner alone may read; try chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(content, password=passphrase)
    except TypeError:
        said = "an encrypted key, got one in clear text" if passphrase else "its passphrase, got none"
        raise KeyUnusable(f"{path}: expected {said}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusable(f"{path}: expected a private key (PEM) and its passphrase; one of them is wrong") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"{path}: expected an Ed25519 key, got {type(key).__name__.lstrip('_')}")
    return CryptoSigner(key, _named(key.public_key(), path.stem))


def is_encrypted(path: Path) -> bool:
    """Whether a private key needs a passphrase; raises `KeyUnusable`."""
    return b"ENCRYPTED PRIVATE KEY" in _read(path)


def passphrase_of(path: Path) -> bytes:
    """Read a passphrase from the first line of a file; raises `KeyUnusable`."""
    line = _read(path).partition(b"\n")[0].rstrip(b"\r")
    if not line:
        raise KeyUnusable(f"{path}: expected a passphrase in its first line")
    return line


def _named(key: Ed25519PublicKey, name: str) -> SSlibKey:
    made = SSlibKey.from_crypto(key)
    made.unrecognized_fields[NAME_FIELD] = name
    return made


def _checked_name(path: Path) -> str:
    if not _NAME.fullmatch(path.stem):
        raise KeyUnusable(f"expected a file named after the key's owner, such as alice.pem, got {path.name!r}")
    return path.stem


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise KeyUnusable(f"{path}: expected a readable file, got: {error.strerror}") from None
