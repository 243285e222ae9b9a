"""Judging a broker's certificate apart from TLS: contexts that leave times out, and its end by a time that was told.

Chain and name stay TLS's own to judge, in every context. Only the broker's own certificate is judged here: of those
above it Python shows none, and they are the operator's. When which applies is `clock`'s decision.
"""

import ssl
from datetime import UTC, datetime
from typing import Any

from tillwatch_agent.errors import CertificateEnded

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME (OpenSSL, X509_VERIFY_PARAM_set_flags(3)): Python's ssl has no name for it."""

NOT_YET_VALID = 9
"""X509_V_ERR_CERT_NOT_YET_VALID (OpenSSL, X509_STORE_CTX_get_error(3))."""


def timeless(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let a context judge chain and name only; not one that others use: a connection takes the flags as it begins."""
    context.verify_flags |= NO_CHECK_TIME
    return context


def require_not_ended(secured: ssl.SSLSocket, at: datetime) -> None:
    """Judge the certificate that was shown by this time; raises `CertificateEnded`."""
    shown: dict[str, Any] = secured.getpeercert() or {}
    ended_at = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    if ended_at < at:
        raise CertificateEnded(f"expected a certificate that has not ended, got one that ended {ended_at:%Y-%m-%d}")


def has_not_begun(error: Exception) -> bool:
    """Whether a certificate was refused for beginning after the wall clock's time."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == NOT_YET_VALID
