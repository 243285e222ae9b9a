"""Secrets that are made here, shown once, and kept as a hash: of sessions, of one-time links, of API tokens.

256 random bits cannot be guessed, so one round of SHA-256 keeps them: there is no dictionary of such secrets.
"""

import hashlib
import secrets

CHARS_MAX = 100
"""Longer is no secret of ours and is not hashed."""


def new_key() -> str:
    """Make a secret: the only moment at which it is known in clear."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Hash a secret, or anything else, as it is kept."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def could_be(secret: str) -> bool:
    """Whether it has the length of one of ours."""
    return 0 < len(secret) <= CHARS_MAX
