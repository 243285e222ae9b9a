"""The token of a form: proof that what is sent was asked for by a page that we gave to this session.

A salt and its keyed hash, so that each page has another one, and a compressed page tells nothing of the key by its
length.
"""

import base64
import hashlib
import hmac
import secrets

FIELD = "csrf"
HEADER = "x-csrf-token"

_SALT_BYTES = 16
_TOKEN_CHARACTERS_MAX = 100
"""A salt and a hash take 64; longer is none of ours and is not read."""


def key_of(session_secret: str) -> bytes:
    """Derive the key under which a session's tokens are made: another session's do not hold."""
    return hashlib.sha256(b"form:" + session_secret.encode(errors="replace")).digest()


def issue(key: bytes) -> str:
    """Make a token that `holds` under the same key."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return base64.urlsafe_b64encode(salt + _hash(key, salt)).decode()


def holds(key: bytes, token: str) -> bool:
    """Whether a token was issued under this key."""
    if not token.isascii() or len(token) > _TOKEN_CHARACTERS_MAX:
        return False
    try:
        sent = base64.urlsafe_b64decode(token)
    except ValueError:
        return False
    salt, proof = sent[:_SALT_BYTES], sent[_SALT_BYTES:]
    return len(salt) == _SALT_BYTES and hmac.compare_digest(_hash(key, salt), proof)


def _hash(key: bytes, salt: bytes) -> bytes:
    return hmac.digest(key, salt, hashlib.sha256)
