"""What a process shows to its broker, looked at before anything starts.

Where a file of the settings is missing, or is not what it should be, no connection would ever come about: better said
once, at the start, than in a log again and again. Where a broker goes by certificates alone (no `username` is set), the
certificate's name is the process's name to the broker: under another one it would connect, and be denied all that it
says. Such a process does not start.

A change violates this when a process can run for hours under a certificate that is not its own.
"""

import logging
import ssl
from datetime import datetime, timedelta
from pathlib import Path

from tillwatch_collector import pki
from tillwatch_collector.config import BrokerConfig, ConfigError

EXPIRES_SOON = timedelta(days=30)
"""Time to have a new certificate made and brought."""

OTHERS_READ = 0o004

_log = logging.getLogger(__name__)


def check(broker: BrokerConfig, process: str, now: datetime) -> None:
    """Load the files, compare the certificate's name with the process's; raises `ConfigError`, warns of the rest."""
    if broker.ca_file is not None:
        _expect_authority(broker.ca_file)
    if broker.cert_file is None or broker.key_file is None:
        return
    _expect_pair(broker.cert_file, broker.key_file)
    if broker.key_file.stat().st_mode & OTHERS_READ:
        _log.warning("broker.key_file: %s can be read by every user of this machine; try chmod 600", broker.key_file)
    try:
        name, not_after = pki.common_name(broker.cert_file)
    except ValueError as error:
        raise ConfigError(f"broker.cert_file: expected a certificate, got {broker.cert_file}: {error}") from None
    if broker.username is None and name != process:
        raise ConfigError(
            f"broker.cert_file: expected the certificate of {process}, the name of this process, got that of {name!r}: "
            f"the broker would take us for {name!r}; set process, or have one made (`pki issue process {process}`)"
        )
    if not_after - now < EXPIRES_SOON:
        _log.warning("broker.cert_file: the certificate of %s ends at %s", name, f"{not_after:%Y-%m-%d %H:%M} UTC")


def _expect_authority(ca_file: Path) -> None:
    _expect_readable("broker.ca_file", ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca_file)
        certificates = context.cert_store_stats()["x509"]
    except ssl.SSLError:
        certificates = 0
    if not certificates:
        raise ConfigError(f"broker.ca_file: expected certificates of who signs the broker's, in PEM, got {ca_file}")


def _expect_readable(key: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"{key}: expected a readable file, got {path}: {error.strerror}") from None


def _expect_pair(cert_file: Path, key_file: Path) -> None:
    _expect_readable("broker.cert_file", cert_file)
    _expect_readable("broker.key_file", key_file)
    try:
        # A key under a password would be asked for on the terminal, which a service does not have.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, password=lambda: b"")
    except ssl.SSLError as error:
        raise ConfigError(
            f"broker.cert_file, broker.key_file: expected a certificate and its key without a password, both in PEM, "
            f"got {cert_file} and {key_file}: {error.reason or 'they hold something else'}"
        ) from None
