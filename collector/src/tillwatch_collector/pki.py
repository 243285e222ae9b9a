"""The certificate authority of an installation: who may connect, as whom, and who no longer. Imports `cryptography`.

It lives in a folder, and only this module imports that library. The folder needs nothing else of tillwatch beside it,
so it may be on a machine of its own: `ca.crt`, `ca.key` (readable by its owner alone), `crl.pem`, `index.jsonl` (one
line per certificate) and, once made, the broker's `server.crt` and `server.key`. It holds no key of a terminal or a
process. Whoever changes it holds a lock on it; every file is replaced whole.

Decisions:
- A name says what it is: a process has a dot, a terminal has none; and whoever asks must say which of both is meant.
- The subject of a certificate is its name and nothing else; whatever more a signing request asks for is left out. A
  client's certificate cannot serve, and a server's cannot sign in.
- A serial number stands in the index before its certificate exists: nobody holds one that cannot be revoked. The
  exceptions live for minutes and are made in memory (`fleeting`).
- The revocation list ends with the authority itself. Brokers let nobody in on an expired list; a list that needed
  renewal every week would one day lock every shop out, and protects nothing that a broker's own file does not.
- Lists are dated strictly upwards: of two with one date, a broker that has read both may go by the older.
- Each list also revokes a canary, a serial number of its own: a broker that refuses the canary, and nobody else, has
  read this list. That is the proof asked for before an eviction is called done.

A change violates this when a terminal's name yields a process's certificate or the reverse, or when a certificate can
be in the world without its line in the index.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tillwatch_collector import files
from tillwatch_collector.errors import CallerError, OperatorError
from tillwatch_protocol.vocabulary import ProcessName, TerminalId

CA_CERT_FILE, CA_KEY_FILE, CRL_FILE, INDEX_FILE = "ca.crt", "ca.key", "crl.pem", "index.jsonl"
SERVER_CERT_FILE, SERVER_KEY_FILE = "server.crt", "server.key"

CA_DAYS, CA_DAYS_MAX = 7_300, 18_250
"""Twenty years: a new authority must be brought to every till."""

CLIENT_DAYS, SERVER_DAYS = 1_825, 825
"""Five years, about a till's life: revocation, not expiry, is what puts a client out. A broker is renewed at a desk."""

DAYS_MAX = 7_300
FLEETING_S = 600
"""For a certificate that nobody keeps: longer than any eviction waits."""

CLOCKS_APART = timedelta(hours=1)
"""Certificates begin, and lists are dated, this much in the past: a till's or a broker's clock may be behind ours."""

REQUEST_BYTES_MAX = 64 * 1024
"""A signing request with an RSA key of 8,192 bits has some 3 KB."""

RSA_BITS_MIN, RSA_BITS_MAX = 2_048, 8_192
"""Below, it can be broken; above, every handshake costs the broker dearly."""

HOSTS_MAX = 32
CANARY_NAME = "revocation.canary"
"""A process's name by its dot, and no process: it is granted nothing."""

_SERVER_NAME = "mqtt broker"
"""Has a space, which neither a terminal's nor a process's name has."""

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class AuthorityUnusable(OperatorError):  # noqa: N818 - it names what is so
    """The folder is not that of an authority, or is not kept as one must be."""


class NameRefused(CallerError):  # noqa: N818
    """The name is not one of the kind that was asked for."""


class RequestRefused(CallerError):  # noqa: N818
    """The signing request cannot be signed."""


class CertificateUnknown(CallerError):  # noqa: N818
    """The authority has no such certificate of which this could be asked."""


class FileInTheWay(CallerError):  # noqa: N818
    """A file stands where one would be written that must not be lost."""


class Kind(StrEnum):
    """What a certificate makes of its holder."""

    TERMINAL = "terminal"
    PROCESS = "process"
    SERVER = "server"


class Reason(StrEnum):
    """Why a certificate is revoked (RFC 5280, 5.3.1)."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"


ClientKind = Literal[Kind.TERMINAL, Kind.PROCESS]
_Hosts = tuple[x509.DNSName | x509.IPAddress, ...]

_FLAGS = {
    Reason.KEY_COMPROMISE: x509.ReasonFlags.key_compromise,
    Reason.SUPERSEDED: x509.ReasonFlags.superseded,
    Reason.CESSATION_OF_OPERATION: x509.ReasonFlags.cessation_of_operation,
}


class Entry(BaseModel):
    """One line of the index."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    serial: Annotated[str, Field(pattern=r"^[0-9a-f]{1,40}$")]
    name: str
    kind: Kind
    issued_at: AwareDatetime
    not_after: AwareDatetime
    revoked_at: AwareDatetime | None = None
    reason: Reason | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and now < self.not_after


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """A certificate in PEM, its key where it was made here, and its line in the index."""

    entry: Entry
    certificate: bytes
    key: bytes | None


_NAMES: dict[ClientKind, tuple[TypeAdapter[str], str]] = {
    Kind.TERMINAL: (TypeAdapter(TerminalId), "1 to 64 letters, digits, - or _, such as till-7, and no dot"),
    Kind.PROCESS: (TypeAdapter(ProcessName), "a name with a dot such as collector.1: parts of letters, digits, - or _"),
}


def checked_name(kind: ClientKind, name: str) -> str:
    """Return the name if it is one of a terminal, or of a process; raises `NameRefused`."""
    adapter, expected = _NAMES[kind]
    try:
        checked = adapter.validate_python(name, strict=True)
    except ValidationError:
        raise NameRefused(f"{kind} name: expected {expected}, got {name[:200]!r}") from None
    if checked == CANARY_NAME:
        raise NameRefused(
            f"{kind} name: expected another than {CANARY_NAME}, which proves that revocations are in force"
        )
    return checked


def checked_host(text: str) -> x509.DNSName | x509.IPAddress:
    """Read a host's name or address; raises `NameRefused`."""
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        pass
    try:
        TypeAdapter(_HostName).validate_python(text)
    except ValidationError:
        raise NameRefused(
            f"host: expected a name such as broker.example.org, without wildcards, or an IP address, got {text[:300]!r}"
        ) from None
    return x509.DNSName(text)


_HostName = Annotated[
    str, Field(max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*$")
]


def read_request(path: Path, name: str) -> PublicKey:
    """Read the public key of a signing request (PEM) that asks for exactly this name; raises `RequestRefused`."""
    try:
        with path.open("rb") as file:
            content = file.read(REQUEST_BYTES_MAX + 1)
    except OSError as error:
        raise RequestRefused(f"--csr: expected a readable file, got {path}: {error.strerror}") from None
    if len(content) > REQUEST_BYTES_MAX:
        raise RequestRefused(f"--csr: expected at most {REQUEST_BYTES_MAX:,} bytes, got more: {path}")
    try:
        request = x509.load_pem_x509_csr(content)
        signed = request.is_signature_valid
        asked = [attribute.value for attribute in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise RequestRefused(f"--csr: expected a signing request in PEM, got {path}: {error}") from None
    if not signed:
        raise RequestRefused("--csr: expected a request signed with its own key; its signature is not of that key")
    if asked != [name]:
        raise RequestRefused(f"--csr: expected a request whose one common name is {name!r}, got {asked}")
    return _checked_key(key)


def _checked_key(key: object) -> PublicKey:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
        got = f"an elliptic curve key on {key.curve.name}"
    elif isinstance(key, rsa.RSAPublicKey):
        if RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            return key
        got = f"an RSA key of {key.key_size} bits"
    else:
        got = type(key).__name__
    raise RequestRefused(
        f"--csr: expected a key on P-256 or P-384, an Ed25519 key, or an RSA key of {RSA_BITS_MIN} to {RSA_BITS_MAX} "
        f"bits, got {got}"
    )


class Authority:
    """The authority in a folder, held for one command. `create` makes one; `opened` opens it."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.folder = folder
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, folder: Path, *, name: str, days: int, now: datetime) -> Self:
        """Make a new one; raises `FileInTheWay` where there is one."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder):
            for file in (CA_CERT_FILE, CA_KEY_FILE, CRL_FILE, INDEX_FILE):
                if (folder / file).exists():
                    raise FileInTheWay(f"--ca: expected a folder without an authority, got {folder} with its {file}")
            key = ec.generate_private_key(ec.SECP256R1())
            authority = cls(folder, _self_signed(key, name, now, now + timedelta(days=days)), key)
            files.write_new_key(folder / CA_KEY_FILE, _pem_of_key(key))
            files.replace(folder / INDEX_FILE, b"", 0o600)
            authority.write_crl(now)
            files.replace(folder / CA_CERT_FILE, authority.certificate, 0o644)
        return authority

    @property
    def certificate(self) -> bytes:
        """Its own certificate in PEM: what terminals, processes and the broker trust."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def not_after(self) -> datetime:
        """When it ends, and with it all that it has signed."""
        return self._certificate.not_valid_after_utc

    def entries(self) -> tuple[Entry, ...]:
        """Every certificate, in the order of issue; raises `AuthorityUnusable`."""
        return _read_index(self.folder)

    def issue(
        self, kind: ClientKind, name: str, *, public_key: PublicKey | None, days: int = CLIENT_DAYS, now: datetime
    ) -> Issued:
        """Make a client's certificate, of `public_key` or of a new key; raises `NameRefused`."""
        return self._issue(kind, checked_name(kind, name), public_key, (), days=days, now=now)

    def issue_server(self, hosts: Sequence[str], *, days: int = SERVER_DAYS, now: datetime) -> Issued:
        """Make the broker's certificate, by names and addresses under which clients call it; raises `NameRefused`."""
        if not 1 <= len(hosts) <= HOSTS_MAX:
            raise NameRefused(f"host: expected 1 to {HOSTS_MAX}, got {len(hosts)}")
        names = tuple(checked_host(host) for host in hosts)
        return self._issue(Kind.SERVER, _SERVER_NAME, None, names, days=days, now=now)

    def revoke(self, name_or_serial: str, *, reason: Reason, now: datetime) -> tuple[Entry, ...]:
        """Revoke all certificates of a name that hold, or the one of a serial; raises `CertificateUnknown`.

        The broker's are revoked by serial only (`NameRefused`): all of them bear one name, the one in use among them.
        """
        if name_or_serial == _SERVER_NAME:
            raise NameRefused(
                f"expected the serial of one of the broker's certificates, as `pki list` shows it, "
                f"got {_SERVER_NAME!r}, the name of all of them, the one in use among them"
            )
        entries = self.entries()
        serial = name_or_serial.lower().replace(":", "").lstrip("0")
        matching = [entry for entry in entries if name_or_serial == entry.name or serial == entry.serial]
        chosen = {entry.serial for entry in matching if entry.holds(now)}
        if not chosen:
            raise CertificateUnknown(
                f"expected the name or the serial of a certificate that `pki list` shows as valid, "
                f"got {name_or_serial[:200]!r}, of which there are {len(matching)}, none of them valid"
            )
        ended = {"revoked_at": now, "reason": reason}
        after = tuple(entry.model_copy(update=ended) if entry.serial in chosen else entry for entry in entries)
        self._write_index(after)
        self.write_crl(now)
        return tuple(entry for entry in after if entry.serial in chosen)

    def write_crl(self, now: datetime) -> int:
        """Write the revocation list anew; its number."""
        before = self._crl()
        number = 1 if before is None else _number_of(before) + 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(_next_date(before, now))
            .next_update(self.not_after)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_authority_key(self._key), critical=False)
            .add_revoked_certificate(_revoked(_canary_serial(number), now, Reason.UNSPECIFIED))
        )
        for entry in self.entries():
            if entry.revoked_at is not None and now < entry.not_after + CLOCKS_APART:
                reason = entry.reason or Reason.UNSPECIFIED
                builder = builder.add_revoked_certificate(_revoked(int(entry.serial, 16), entry.revoked_at, reason))
        crl = builder.sign(self._key, hashes.SHA256())
        files.replace(self.folder / CRL_FILE, crl.public_bytes(serialization.Encoding.PEM), 0o644)
        return number

    def fleeting(self, name: str, now: datetime) -> Issued:
        """Make a client's certificate for minutes, with its key, for an eviction; it stands in no index."""
        return self._fleeting(name, x509.random_serial_number(), now)

    def fleeting_canary(self, now: datetime) -> Issued:
        """Make a certificate for minutes that the newest list revokes."""
        crl = self._crl()
        if crl is None:
            raise AuthorityUnusable(f"{self.folder / CRL_FILE}: expected the revocation list; `pki crl` writes it anew")
        return self._fleeting(CANARY_NAME, _canary_serial(_number_of(crl)), now)

    def _issue(
        self, kind: Kind, name: str, public_key: PublicKey | None, hosts: _Hosts, *, days: int, now: datetime
    ) -> Issued:
        self._expect_in_force(now)
        key = None
        if public_key is None:
            key = ec.generate_private_key(ec.SECP256R1())
            public_key = key.public_key()
        not_after = min(now + timedelta(days=days), self.not_after).replace(microsecond=0)
        serial = f"{x509.random_serial_number():x}"
        entry = Entry(serial=serial, name=name, kind=kind, issued_at=now, not_after=not_after)
        files.append_line(self.folder / INDEX_FILE, entry.model_dump_json(exclude_none=True).encode())
        certificate = self._sign(entry, public_key, hosts)
        return Issued(entry=entry, certificate=certificate, key=None if key is None else _pem_of_key(key))

    def _fleeting(self, name: str, serial: int, now: datetime) -> Issued:
        self._expect_in_force(now)
        key, not_after = ec.generate_private_key(ec.SECP256R1()), now + timedelta(seconds=FLEETING_S)
        entry = Entry(serial=f"{serial:x}", name=name, kind=Kind.PROCESS, issued_at=now, not_after=not_after)
        return Issued(entry=entry, certificate=self._sign(entry, key.public_key(), ()), key=_pem_of_key(key))

    def _sign(self, entry: Entry, public_key: PublicKey, hosts: _Hosts) -> bytes:
        serves = entry.kind is Kind.SERVER
        usage = ExtendedKeyUsageOID.SERVER_AUTH if serves else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(entry.name))
            .issuer_name(self._certificate.subject)
            .public_key(public_key)
            .serial_number(int(entry.serial, 16))
            .not_valid_before(max(entry.issued_at - CLOCKS_APART, self._certificate.not_valid_before_utc))
            .not_valid_after(entry.not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(of_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(_authority_key(self._key), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _expect_in_force(self, now: datetime) -> None:
        begin = self._certificate.not_valid_before_utc
        if not begin <= now < self.not_after:
            raise AuthorityUnusable(
                f"{self.folder / CA_CERT_FILE}: expected an authority in force, got one from {begin:%Y-%m-%d} "
                f"to {self.not_after:%Y-%m-%d}, and this machine's clock says {now:%Y-%m-%d}"
            )

    def _write_index(self, entries: Sequence[Entry]) -> None:
        lines = (entry.model_dump_json(exclude_none=True) for entry in entries)
        files.replace(self.folder / INDEX_FILE, "".join(f"{line}\n" for line in lines).encode(), 0o600)

    def _crl(self) -> x509.CertificateRevocationList | None:
        try:
            return x509.load_pem_x509_crl((self.folder / CRL_FILE).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise AuthorityUnusable(f"{self.folder / CRL_FILE}: expected a revocation list, got: {error}") from None


@contextmanager
def opened(folder: Path) -> Iterator[Authority]:
    """Hold the authority in a folder; raises `AuthorityUnusable`."""
    _expect_authority(folder)
    with _locked(folder):
        yield Authority(folder, *_read(folder))


def listed(folder: Path) -> tuple[Entry, ...]:
    """Read every certificate, in the order of issue, without the authority's key; raises `AuthorityUnusable`."""
    _expect_authority(folder)
    with _locked(folder):
        return _read_index(folder)


def common_name(path: Path) -> tuple[str, datetime]:
    """Read the name in a certificate (PEM), and when it ends; raises `OSError` or `ValueError`."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) != 1:
        raise ValueError(f"expected a certificate with one common name, got {names}")
    return names[0], certificate.not_valid_after_utc


def _expect_authority(folder: Path) -> None:
    if not (folder / CA_CERT_FILE).is_file():
        raise AuthorityUnusable(f"--ca: expected the folder of an authority, got {folder}; `pki init` makes one")


def _read_index(folder: Path) -> tuple[Entry, ...]:
    path = folder / INDEX_FILE
    try:
        # A line that a power cut left unfinished stands for a certificate that was never made.
        whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
        return tuple(Entry.model_validate_json(line) for line in whole.splitlines())
    except (OSError, ValueError) as error:
        raise AuthorityUnusable(f"{path}: expected one certificate a line, got: {error}") from None


def _read(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    path = folder / CA_KEY_FILE
    try:
        if path.stat().st_mode & files.OTHERS_MAY:
            raise AuthorityUnusable(f"{path}: expected a key that its owner alone may read; try chmod 600 {path}")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate((folder / CA_CERT_FILE).read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuthorityUnusable(f"--ca: expected {CA_CERT_FILE} and {CA_KEY_FILE} in {folder}, got: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise AuthorityUnusable(f"--ca: expected {CA_KEY_FILE} to be the key of {CA_CERT_FILE} in {folder}")
    return certificate, key


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one command; another one waits, as long as it takes to sign."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise AuthorityUnusable(f"--ca: expected a folder, got {folder}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _self_signed(key: ec.EllipticCurvePrivateKey, name: str, now: datetime, not_after: datetime) -> x509.Certificate:
    subject, public_key = _subject(name), key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(of_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_authority_key(key), critical=False)
        .sign(key, hashes.SHA256())
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _authority_key(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _key_usage(*, of_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not of_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=of_authority,
        crl_sign=of_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _revoked(serial: int, at: datetime, reason: Reason) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
    if reason is not Reason.UNSPECIFIED:  # which a list leaves out (RFC 5280, 5.3.1)
        builder = builder.add_extension(x509.CRLReason(_FLAGS[reason]), critical=False)
    return builder.build()


def _number_of(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def _canary_serial(number: int) -> int:
    """Of the list with this number; in no certificate but the fleeting one that asks a broker."""
    return int.from_bytes(hashlib.sha256(b"tillwatch revocation canary %d" % number).digest()[:19]) | 1


def _next_date(before: x509.CertificateRevocationList | None, now: datetime) -> datetime:
    """Date a list after the one before it, and never in the future: a broker takes no such list."""
    date = now - CLOCKS_APART
    if before is not None:
        date = max(date, before.last_update_utc + timedelta(seconds=1))
    return min(date, now).replace(microsecond=0)
