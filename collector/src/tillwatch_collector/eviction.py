"""Put a revoked client out of a broker, and know that it stays out.

A broker reads a revocation list when it is told to, and asks nobody who is connected already for a certificate again.
So first the canary of the newest list signs in, until the broker refuses it: then the list is in force. Then the
authority takes the client id over, by a certificate of minutes with that name, and leaves: the broker ends the
client's connection, and its next attempt meets the list.

A change violates this when an eviction is called done while the broker would let the client in again.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tillwatch_collector import files, pki
from tillwatch_collector.errors import OperatorError
from tillwatch_collector.mqtt import Endpoint, take_over

ASK_EVERY_S = 1.0


class RevocationNotInForce(OperatorError):  # noqa: N818 - it names what is so
    """The broker lets in whom the newest revocation list puts out, or cannot be asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    """What an eviction shows to the broker, made while the authority is open."""

    authority: bytes
    canary: pki.Issued
    names: tuple[pki.Issued, ...]


SignIn = Callable[[pki.Issued], bool]
"""Sign in once and leave; whether the broker let us in. Raises `OSError` when it cannot be asked."""


def passes(authority: pki.Authority, names: Sequence[str], now: datetime) -> Passes:
    """Make what the eviction of these names needs; of no names, what shows whether the list is in force."""
    return Passes(
        authority=authority.certificate,
        canary=authority.fleeting_canary(now),
        names=tuple(authority.fleeting(name, now) for name in names),
    )


def evict(shown: Passes, host: str, port: int, *, wait_s: float) -> None:
    """Put the names out, once the newest list is in force; raises `RevocationNotInForce`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ca_file = folder / "ca.crt"
        ca_file.write_bytes(shown.authority)

        def sign_in(issued: pki.Issued) -> bool:
            cert_file, key_file = folder / f"{issued.entry.serial}.crt", folder / f"{issued.entry.serial}.key"
            files.replace(cert_file, issued.certificate, 0o600)
            files.replace(key_file, issued.key or b"", 0o600)
            endpoint = Endpoint(host=host, port=port, ca_file=ca_file, cert_file=cert_file, key_file=key_file)
            return take_over(endpoint, issued.entry.name)

        try:
            _carry_out(shown, sign_in, wait_s)
        except OSError as error:
            raise RevocationNotInForce(
                f"--broker: expected an answer from {host}:{port}, got: {error}; nobody was put out by this command"
            ) from None


def _carry_out(shown: Passes, sign_in: SignIn, wait_s: float) -> None:
    deadline_s = time.monotonic() + wait_s
    while sign_in(shown.canary):
        if time.monotonic() >= deadline_s:
            raise RevocationNotInForce(
                f"expected the broker to refuse who is revoked, got in for {wait_s:.0f} s: the newest crl.pem is not "
                f"in force there; bring it to the broker, make the broker read it (SIGHUP), then run `pki evict`"
            )
        time.sleep(ASK_EVERY_S)  # nothing tells us when a broker has read its list
    for issued in shown.names:
        if not sign_in(issued):
            raise RevocationNotInForce(
                f"expected the broker to let a valid certificate in for {issued.entry.name}, it refused: it refuses "
                f"everyone, or trusts another authority; see its log"
            )
