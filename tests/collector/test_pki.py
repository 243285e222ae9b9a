"""The authority: what it signs, for whom, what it refuses; what is left when two commands meet or one is cut off."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tillwatch_collector import eviction, pki
from tillwatch_collector.cli import root
from tillwatch_collector.pki import Authority, Kind, Reason

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Authority.create(tmp_path / "ca", name="test CA", days=7300, now=NOW)
    return tmp_path / "ca"


def issued(folder: Path, kind: pki.ClientKind, name: str, now: datetime = NOW) -> x509.Certificate:
    with pki.opened(folder) as authority:
        return x509.load_pem_x509_certificate(authority.issue(kind, name, public_key=None, now=now).certificate)


def crl(folder: Path) -> x509.CertificateRevocationList:
    return x509.load_pem_x509_crl((folder / "crl.pem").read_bytes())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# --- the authority itself


def test_an_authority_signs_certificates_and_lists_and_no_other_authority(folder: Path) -> None:
    certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert limits.critical
    assert limits.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.crl_sign
    assert not usage.digital_signature
    assert isinstance(key := certificate.public_key(), ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert certificate.not_valid_after_utc == NOW + timedelta(days=7300)
    assert mode(folder) == 0o700
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        "ca.crt": 0o644,
        "ca.key": 0o600,
        "crl.pem": 0o644,
        "index.jsonl": 0o600,
    }


def test_an_authority_is_never_made_over_another(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(pki.FileInTheWay, match=r"ca\.crt"):
        Authority.create(folder, name="another", days=1, now=NOW)
    (folder / "ca.crt").unlink()  # what an interrupted one leaves is not overwritten, either
    with pytest.raises(pki.FileInTheWay, match=r"ca\.key"):
        Authority.create(folder, name="another", days=1, now=NOW)
    assert (folder / "ca.key").read_bytes() == before["ca.key"]


def test_an_authority_whose_key_others_may_read_is_not_used(folder: Path) -> None:
    (folder / "ca.key").chmod(0o640)
    with pytest.raises(pki.AuthorityUnusable, match="chmod 600"), pki.opened(folder):
        pass


def test_an_authority_with_a_foreign_key_is_not_used(folder: Path, tmp_path: Path) -> None:
    Authority.create(tmp_path / "other", name="other", days=1, now=NOW)
    (tmp_path / "other" / "ca.key").replace(folder / "ca.key")
    with pytest.raises(pki.AuthorityUnusable, match="the key of"), pki.opened(folder):
        pass


@pytest.mark.parametrize("at", [NOW + timedelta(days=7300), NOW - timedelta(days=1)])
def test_an_authority_that_is_not_in_force_signs_nothing(folder: Path, at: datetime) -> None:
    with pki.opened(folder) as authority, pytest.raises(pki.AuthorityUnusable, match="clock"):
        authority.issue(Kind.TERMINAL, "till-7", public_key=None, now=at)


# --- names

TERMINALS = ["till-7", "A", "_", "0", "x" * 64]
PROCESSES = ["collector.1", "ingest.shop-3.a", "a.b.c.d"]
NEITHER = [
    "",
    "#",
    "+",
    "till+7",
    "till/7",
    "till 7",
    "till-7\n",
    "till-7\x00",
    "till-7\x00.1",
    "t\u0131ll-7",  # a letter of another alphabet
    "till.",  # a dot, and no name after it
    ".till",
    "a..b",
    "x" * 65,
    "$SYS",
    "a=b,CN=collector.1",
    "*",
    "..",
    "mqtt broker",  # the name of a server's certificate
    pki.CANARY_NAME,
]


@pytest.mark.parametrize("name", TERMINALS)
def test_a_terminals_name_makes_a_terminal_and_never_a_process(folder: Path, name: str) -> None:
    assert issued(folder, Kind.TERMINAL, name).subject.rfc4514_string() == f"CN={name}"
    with pytest.raises(pki.NameRefused, match=r"process name: expected .* dot"):
        issued(folder, Kind.PROCESS, name)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_processs_name_makes_a_process_and_never_a_terminal(folder: Path, name: str) -> None:
    assert issued(folder, Kind.PROCESS, name).subject.rfc4514_string() == f"CN={name}"
    with pytest.raises(pki.NameRefused, match=r"terminal name: expected .* no dot"):
        issued(folder, Kind.TERMINAL, name)


@pytest.mark.parametrize("name", NEITHER)
@pytest.mark.parametrize("kind", [Kind.TERMINAL, Kind.PROCESS])
def test_a_name_that_could_mean_something_else_is_refused(folder: Path, kind: pki.ClientKind, name: str) -> None:
    with pytest.raises(pki.NameRefused, match="expected"):
        issued(folder, kind, name)
    with pki.opened(folder) as authority:
        assert authority.entries() == ()


# --- certificates


def test_a_client_can_sign_in_and_cannot_serve_or_sign(folder: Path) -> None:
    certificate = issued(folder, Kind.TERMINAL, "till-7")
    extensions = certificate.extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, False, True)
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert certificate.not_valid_before_utc == NOW - pki.CLOCKS_APART
    assert certificate.not_valid_after_utc == NOW + timedelta(days=pki.CLIENT_DAYS)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()))


def test_a_server_can_serve_under_its_names_and_cannot_sign_in(folder: Path) -> None:
    with pki.opened(folder) as authority:
        made = authority.issue_server(["broker.example.org", "192.0.2.7", "2001:db8::7"], now=NOW)
    extensions = x509.load_pem_x509_certificate(made.certificate).extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example.org"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("192.0.2.7"), ip_address("2001:db8::7")]


@pytest.mark.parametrize("host", ["", "*.example.org", "a b", "-a", "a_b", "bröker", "a" * 64, "a..b", "host:8883"])
def test_a_host_that_is_none_is_refused(folder: Path, host: str) -> None:
    with pki.opened(folder) as authority, pytest.raises(pki.NameRefused, match="host: expected"):
        authority.issue_server([host], now=NOW)


def test_no_certificate_outlives_its_authority(folder: Path) -> None:
    late = NOW + timedelta(days=7000)
    assert issued(folder, Kind.TERMINAL, "till-7", late).not_valid_after_utc == NOW + timedelta(days=7300)


def test_every_serial_is_in_the_index_before_its_certificate_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(Exception):  # noqa: N818 - power, cut
        pass

    def cut(*_: object) -> bytes:
        raise Cut

    monkeypatch.setattr(Authority, "_sign", cut)
    with pki.opened(folder) as authority, pytest.raises(Cut):
        authority.issue(Kind.TERMINAL, "till-7", public_key=None, now=NOW)
    with pki.opened(folder) as authority:
        assert [entry.name for entry in authority.entries()] == ["till-7"]


# --- signing requests


def request(path: Path, key: Any, *names: str, ca: bool = False) -> Path:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("collector.1")]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    edwards = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    path.write_bytes(builder.sign(key, None if edwards else hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


KEYS_TAKEN: dict[str, Callable[[], Any]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA 2048": lambda: rsa.generate_private_key(65537, 2048),
}
KEYS_REFUSED: dict[str, Callable[[], Any]] = {
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RSA 1024": lambda: rsa.generate_private_key(65537, 1024),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "Ed448": ed448.Ed448PrivateKey.generate,
}


@pytest.mark.parametrize("kind", KEYS_TAKEN)
def test_a_signing_request_of_a_good_key_is_read(kind: str, tmp_path: Path) -> None:
    key = KEYS_TAKEN[kind]()
    assert pki.read_request(request(tmp_path / "csr", key, "till-7"), "till-7") == key.public_key()


@pytest.mark.parametrize("kind", KEYS_REFUSED)
def test_a_signing_request_of_another_key_is_refused(kind: str, tmp_path: Path) -> None:
    path = request(tmp_path / "csr", KEYS_REFUSED[kind](), "till-7")
    with pytest.raises(pki.RequestRefused, match="P-256 or P-384"):
        pki.read_request(path, "till-7")


@pytest.mark.parametrize("names", [(), ("till-8",), ("till-7", "till-8"), ("till-7", "till-7"), ("collector.1",)])
def test_a_signing_request_for_another_name_is_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    path = request(tmp_path / "csr", ed25519.Ed25519PrivateKey.generate(), *names)
    with pytest.raises(pki.RequestRefused, match="common name is 'till-7'"):
        pki.read_request(path, "till-7")


def test_a_signing_request_that_its_key_did_not_sign_is_refused(tmp_path: Path) -> None:
    path = request(tmp_path / "csr", ed25519.Ed25519PrivateKey.generate(), "till-7")
    der = x509.load_pem_x509_csr(path.read_bytes()).public_bytes(serialization.Encoding.DER)
    forged = x509.load_der_x509_csr(der[:-1] + bytes([der[-1] ^ 1]))
    path.write_bytes(forged.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(pki.RequestRefused, match="signed with its own key"):
        pki.read_request(path, "till-7")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", b"x" * 70_000])
def test_what_is_no_signing_request_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "csr").write_bytes(content)
    with pytest.raises(pki.RequestRefused, match="--csr: expected"):
        pki.read_request(tmp_path / "csr", "till-7")
    with pytest.raises(pki.RequestRefused, match="readable"):
        pki.read_request(tmp_path / "none", "till-7")


def test_a_signing_request_gives_its_key_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    path = request(tmp_path / "csr", ed25519.Ed25519PrivateKey.generate(), "till-7", ca=True)
    with pki.opened(folder) as authority:
        made = authority.issue(Kind.TERMINAL, "till-7", public_key=pki.read_request(path, "till-7"), now=NOW)
    assert made.key is None
    extensions = x509.load_pem_x509_certificate(made.certificate).extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.SubjectAlternativeName)


# --- revocation


def test_a_name_is_revoked_with_all_its_certificates_and_a_later_one_holds(folder: Path) -> None:
    first, second, other = (issued(folder, Kind.TERMINAL, name) for name in ("till-7", "till-7", "till-8"))
    with pki.opened(folder) as authority:
        assert len(authority.revoke("till-7", reason=Reason.KEY_COMPROMISE, now=NOW)) == 2
    third = issued(folder, Kind.TERMINAL, "till-7")
    revoked = crl(folder)
    assert [revoked.get_revoked_certificate_by_serial_number(c.serial_number) is not None for c in (first, second)] == [
        True,
        True,
    ]
    assert revoked.get_revoked_certificate_by_serial_number(other.serial_number) is None
    assert revoked.get_revoked_certificate_by_serial_number(third.serial_number) is None
    line = revoked.get_revoked_certificate_by_serial_number(first.serial_number)
    assert line is not None
    assert line.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise


def test_one_certificate_is_revoked_by_its_serial_as_any_tool_shows_it(folder: Path) -> None:
    first, second = (issued(folder, Kind.TERMINAL, "till-7") for _ in range(2))
    shown = ":".join(f"{byte:02X}" for byte in first.serial_number.to_bytes(20))
    with pki.opened(folder) as authority:
        assert len(authority.revoke(shown, reason=Reason.SUPERSEDED, now=NOW)) == 1
    assert crl(folder).get_revoked_certificate_by_serial_number(second.serial_number) is None


@pytest.mark.parametrize("asked", ["till-9", "0", "", "deadbeef"])
def test_what_does_not_hold_cannot_be_revoked(folder: Path, asked: str) -> None:
    issued(folder, Kind.TERMINAL, "till-7")
    with pki.opened(folder) as authority:
        authority.revoke("till-7", reason=Reason.UNSPECIFIED, now=NOW)
        for name in (asked, "till-7"):
            with pytest.raises(pki.CertificateUnknown, match="pki list"):
                authority.revoke(name, reason=Reason.UNSPECIFIED, now=NOW)


def test_a_list_holds_as_long_as_the_authority_is_dated_upwards_and_never_ahead(folder: Path) -> None:
    first = crl(folder)
    assert first.next_update_utc == NOW + timedelta(days=7300)
    dates = [first.last_update_utc]
    for _ in range(3):  # within one second
        with pki.opened(folder) as authority:
            authority.write_crl(NOW)
        dates.append(crl(folder).last_update_utc)
    assert dates == sorted(set(dates))
    assert max(dates) <= NOW
    with pki.opened(folder) as authority:
        authority.write_crl(NOW + timedelta(days=1))
        authority.write_crl(NOW)  # the clock went back: better an equal date than one that no broker takes yet
    assert crl(folder).last_update_utc <= NOW
    assert crl(folder).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 6


def test_what_has_expired_leaves_the_list(folder: Path) -> None:
    certificate = issued(folder, Kind.TERMINAL, "till-7")
    with pki.opened(folder) as authority:
        authority.revoke("till-7", reason=Reason.UNSPECIFIED, now=NOW)
        assert crl(folder).get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
        authority.write_crl(NOW + timedelta(days=pki.CLIENT_DAYS + 1))
    assert len(crl(folder)) == 1, "the canary alone"


def test_each_list_revokes_its_own_canary_and_no_fleeting_certificate(folder: Path) -> None:
    with pki.opened(folder) as authority:
        before = authority.fleeting_canary(NOW)
        authority.write_crl(NOW)
        after, pass_ = authority.fleeting_canary(NOW), authority.fleeting("till-7", NOW)
        assert authority.entries() == ()
    revoked = crl(folder)
    of = {made: int(made.entry.serial, 16) for made in (before, after, pass_)}
    assert revoked.get_revoked_certificate_by_serial_number(of[after]) is not None
    assert revoked.get_revoked_certificate_by_serial_number(of[before]) is None
    assert revoked.get_revoked_certificate_by_serial_number(of[pass_]) is None
    assert pass_.entry.not_after - NOW == timedelta(seconds=pki.FLEETING_S)


# --- the folder


def test_commands_at_once_wait_for_each_other(folder: Path) -> None:
    names = [f"till-{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: issued(folder, Kind.TERMINAL, name), names))
    with pki.opened(folder) as authority:
        assert sorted(entry.name for entry in authority.entries()) == sorted(names)


def test_a_damaged_index_is_said_and_not_written_over(folder: Path) -> None:
    (folder / "index.jsonl").write_text("{}\n")
    with pki.opened(folder) as authority, pytest.raises(pki.AuthorityUnusable, match="one certificate a line"):
        authority.revoke("till-7", reason=Reason.UNSPECIFIED, now=NOW)
    assert (folder / "index.jsonl").read_text() == "{}\n"


def test_a_line_that_a_power_cut_left_unfinished_is_written_over(folder: Path) -> None:
    issued(folder, Kind.TERMINAL, "till-1")
    with (folder / "index.jsonl").open("a") as index:
        index.write('{"serial":"ab')
    issued(folder, Kind.TERMINAL, "till-2")
    with pki.opened(folder) as authority:
        assert [entry.name for entry in authority.entries()] == ["till-1", "till-2"]


# --- the commands


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = root.run(["pki", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def today(tmp_path: Path) -> Path:
    """An authority of now, which the commands go by."""
    Authority.create(tmp_path / "ca", name="test CA", days=7300, now=datetime.now(UTC))
    return tmp_path / "ca"


def test_the_commands_lead_from_nothing_to_a_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "mosquitto", "--out", "broker")[0] == 2, "there is no authority yet"
    assert run(capsys, "init")[0] == 0
    assert run(capsys, "init")[0] == 1
    code, _, said = run(capsys, "mosquitto", "--out", "broker")
    assert (code, "pki server" in said) == (1, True)
    assert run(capsys, "server", "broker.example.org")[0] == 0
    assert run(capsys, "issue", "process", "collector.1")[0] == 0
    code, out, _ = run(capsys, "issue", "terminal", "till-7", "--json")
    assert code == 0
    assert json.loads(out)["files"] == ["till-7/till-7.crt", "till-7/till-7.key", "till-7/ca.crt"]
    assert mode(tmp_path / "till-7" / "till-7.key") == 0o600
    code, _, said = run(capsys, "issue", "terminal", "till-7")
    assert (code, "no key in the way" in said) == (1, True)
    code, _, said = run(capsys, "issue", "terminal", "till-7", "--out", "again")
    assert (code, "has another certificate that holds" in said) == (0, True)

    code, out, _ = run(capsys, "mosquitto", "--out", "broker", "--installed-at", "/etc/mosquitto/tillwatch")
    assert (code, "collector.1" in out) == (0, True)
    broker = tmp_path / "broker"
    assert "user collector.1" in (broker / "acl").read_text()
    assert "cafile /etc/mosquitto/tillwatch/ca.crt" in (broker / "mosquitto.conf").read_text()
    assert (broker / "crl.pem").read_bytes() == (tmp_path / "tillwatch-ca" / "crl.pem").read_bytes()
    assert {mode(broker / name) for name in ("server.key", "acl")} == {0o600}

    assert run(capsys, "revoke", "till-7", "--out", broker / "crl.pem")[0] == 0
    assert (broker / "crl.pem").read_bytes() == (tmp_path / "tillwatch-ca" / "crl.pem").read_bytes()
    code, out, _ = run(capsys, "list", "--json")
    assert {entry["name"] for entry in json.loads(out)} == {"mqtt broker", "collector.1"}
    code, out, _ = run(capsys, "list", "--all", "--expiring", "1000", "--json")
    assert [entry["name"] for entry in json.loads(out)] == ["mqtt broker"]


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    # what is asked, the exit code, what is said
    (("issue", "terminal", "collector.1"), 1, "no dot"),
    (("issue", "process", "till-7"), 1, "with a dot"),
    (("issue", "terminal", "till/7"), 1, "letters, digits"),
    (("issue", "till-7"), 2, "No such command"),  # it must be said which of both is meant
    (("revoke", "till-9"), 1, "pki list"),
    (("revoke", "mqtt broker"), 1, "expected the serial"),
    (("evict", "till-9", "--broker", "127.0.0.1:1"), 1, "got 'till-9', of which there are 0"),
    (("evict", "till-7", "--broker", "127.0.0.1:1"), 1, "got 'till-7', of which there are 1, none of them revoked"),
    (("evict", "till-7", "--broker", "nowhere"), 1, "HOST:PORT"),
    (("evict", "#", "--broker", "localhost:8883"), 1, "letters, digits"),
    (("mosquitto", "--out", "b", "--process", "till-7"), 1, "with a dot"),
    (("mosquitto", "--out", "b", "--installed-at", "/a\nlistener 1883"), 1, "absolute path"),
    (("mosquitto", "--out", "b", "--user", "a b"), 1, "user's name"),
    (("mosquitto", "--out", "b", "--address", "a b"), 1, "host: expected"),
    (("init", "--name", "a\nb"), 2, "printable"),
    (("init", "--days", "0"), 2, "--days"),
]


@pytest.mark.parametrize(("words", "code", "said"), REFUSED)
def test_what_is_refused_is_said(
    words: tuple[str, ...], code: int, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "server.crt").touch()
    issued(folder, Kind.TERMINAL, "till-7")
    got = run(capsys, *words, *(() if words[0] == "init" else ("--ca", str(folder))))
    assert (got[0], said in got[2]) == (code, True), got
    assert not Path("b").exists()


def test_an_eviction_from_a_broker_that_is_not_there_says_that_nobody_is_out(
    today: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    issued(today, Kind.TERMINAL, "till-7", datetime.now(UTC))
    run(capsys, "revoke", "till-7", "--ca", today)
    code, _, said = run(capsys, "evict", "till-7", "--broker", "127.0.0.1:1", "--ca", today)
    assert (code, "expected an answer from 127.0.0.1:1" in said, "nobody was put out" in said) == (2, True, True)


def test_who_still_gets_in_by_another_certificate_is_said(
    today: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Refuses:
        """A broker that refuses the revoked, and lets all others in."""

        def __call__(self, _: object, name: str) -> bool:
            return name != pki.CANARY_NAME

    monkeypatch.setattr(eviction, "take_over", Refuses())
    broker = ("--broker", "127.0.0.1:1", "--ca", today)
    first, second = (f"{issued(today, Kind.TERMINAL, 'till-7', datetime.now(UTC)).serial_number:x}" for _ in range(2))
    holds = f"till-7 has another certificate that holds, serial {second}"
    code, _, said = run(capsys, "revoke", first, *broker)
    assert (code, holds in said) == (0, True)
    code, out, said = run(capsys, "evict", "till-7", *broker)
    assert (code, "with what is revoked: till-7" in out, holds in said) == (0, True, True)
    run(capsys, "revoke", second, "--ca", today)
    code, out, said = run(capsys, "evict", "till-7", *broker)
    assert (code, "with what is revoked: till-7" in out, said) == (0, True, "")


def test_the_brokers_certificate_is_revoked_by_its_serial_alone(folder: Path) -> None:
    with pki.opened(folder) as authority:
        before = authority.issue_server(["localhost"], now=NOW)
        authority.issue_server(["localhost"], now=NOW)
        with pytest.raises(pki.NameRefused, match="expected the serial of one of the broker's"):
            authority.revoke(before.entry.name, reason=Reason.UNSPECIFIED, now=NOW)
        (revoked,) = authority.revoke(before.entry.serial, reason=Reason.SUPERSEDED, now=NOW)
        assert (revoked.kind, revoked.serial) == (Kind.SERVER, before.entry.serial)
        assert [entry.holds(NOW) for entry in authority.entries()] == [False, True]


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("narrow_umask")
def test_the_brokers_user_can_enter_the_folder_whatever_the_umask(
    today: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept := tmp_path / "kept").mkdir(mode=0o700)
    run(capsys, "server", "localhost", "--ca", today)
    out = kept / "made" / "broker"
    assert run(capsys, "mosquitto", "--out", out, "--ca", today)[0] == 0
    assert [mode(path) for path in (kept, out.parent, out)] == [0o700, 0o755, 0o755], "those that we made, no other"
    assert {path.name: mode(path) for path in out.iterdir()} == {
        "acl": 0o600,
        "ca.crt": 0o644,
        "crl.pem": 0o644,
        "mosquitto.conf": 0o644,
        "server.crt": 0o644,
        "server.key": 0o600,
    }
    out.chmod(0o750)
    assert run(capsys, "mosquitto", "--out", out, "--ca", today)[0] == 0
    assert mode(out) == 0o750, "one that is there stays as it is"


def test_what_only_reads_does_without_the_authoritys_key(
    today: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "server", "localhost", "--ca", today)
    issued(today, Kind.PROCESS, "collector.1", datetime.now(UTC))
    (today / "ca.key").unlink()
    code, out, _ = run(capsys, "list", "--ca", today)
    assert (code, "collector.1" in out) == (0, True)
    code, out, _ = run(capsys, "mosquitto", "--out", tmp_path / "broker", "--ca", today)
    assert (code, "processes collector.1" in out) == (0, True)
    assert run(capsys, "issue", "terminal", "till-7", "--out", tmp_path / "t", "--ca", today)[0] == 2


def test_no_command_needs_settings_or_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TILLWATCH_CONFIG", "/nowhere/collector.toml")
    assert run(capsys, "init")[0] == 0
    assert run(capsys, "list")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["tillwatch-ca"]
