"""Passwords: kept as Argon2id hashes, and what may be one.

The parameters are the OWASP Password Storage Cheat Sheet's (19 MiB, two passes, one lane); a hash that was made with
others is made anew at the next sign-in. What is not known takes as long as what is: `verify` of no hash does the same
work. A password is refused for being short, or for what guessers try first, as NIST SP 800-63B (5.1.1.2) has it; there
is no rule of characters.

A change violates this when a login that nobody has is answered sooner than a wrong password.
"""

import re
import threading
import unicodedata
from enum import StrEnum
from functools import cache
from importlib import resources

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

CHARS_MIN = 12
CHARS_MAX = 200
"""Longer ones cost more to hash, and nobody remembers them."""

AT_ONCE = 4
"""Hashes at one time, each of 19 MiB: a burst of sign-ins must not take the memory of what judges."""

_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_room = threading.BoundedSemaphore(AT_ONCE)

_COMMON = frozenset(
    resources.files("tillwatch_collector").joinpath("common_passwords.txt").read_text(encoding="utf-8").split()
)
"""What the commonest passwords are once digits and signs around them are left out, or whole."""

_RUNS = ("01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")
_AROUND = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_SPELLED = str.maketrans("@430157$!", "aaeoistsi")
_DIFFERENT_MIN = 5
"""Characters that differ: `121212121212` has two."""
_WORD_CHARS_MIN = 3
"""A shorter piece of a name is in any text."""


class Weakness(StrEnum):
    """Why something may not be a password."""

    SHORT = "short"
    LONG = "long"
    COMMON = "common"
    OWN_NAME = "own_name"


def weakness(password: str, *own: str) -> Weakness | None:
    """Say why it may not be the password of whoever has these names; None where it may."""
    if len(password) < CHARS_MIN:
        return Weakness.SHORT
    if len(password) > CHARS_MAX:
        return Weakness.LONG
    if _common(password.lower()):
        return Weakness.COMMON
    return Weakness.OWN_NAME if _names(password.lower(), own) else None


def hashed(password: str) -> str:
    """Hash a password as it is kept, with a salt of its own."""
    with _room:
        return _hasher.hash(_written(password))


def verify(password: str, kept: str | None) -> bool:
    """Whether a password is the one that was kept; of None it is not, after as much work."""
    with _room:
        try:
            _hasher.verify(kept or _nobodys(), _written(password))
        except (VerificationError, InvalidHashError):
            return False
    return kept is not None


def outdated(kept: str) -> bool:
    """Whether a hash was made with other parameters than these."""
    return _hasher.check_needs_rehash(kept)


def _written(password: str) -> bytes:
    """Write a password down: keyboards compose the same letter in more than one way."""
    return unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")


@cache
def _nobodys() -> str:
    return _hasher.hash("nobody has this password")


def _common(password: str) -> bool:
    if len(set(password)) < _DIFFERENT_MIN or any(password in run for run in _RUNS):
        return True
    bare = _bare(password)
    return not _COMMON.isdisjoint({password, bare, bare.translate(_SPELLED), _bare(password.translate(_SPELLED))})


def _names(password: str, own: tuple[str, ...]) -> bool:
    """Whether little is left of it without its owner's names."""
    left = password
    for word in sorted({word for name in own for word in re.split(r"[\W_]+", name.lower())}, key=len, reverse=True):
        left = left.replace(word, "") if len(word) >= _WORD_CHARS_MIN else left
    return left != password and len(_bare(left)) < CHARS_MIN // 2


def _bare(password: str) -> str:
    return _AROUND.sub("", password)
