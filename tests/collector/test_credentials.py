"""A process that would come to its broker under another's name does not start."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tillwatch_collector import credentials, pki
from tillwatch_collector.config import BrokerConfig, ConfigError
from tillwatch_collector.pki import Authority, Kind

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def broker(folder: Path, *, username: str | None = None, days: int = 365) -> BrokerConfig:
    """Settings with a certificate of collector.1."""
    Authority.create(folder / "ca", name="test CA", days=7300, now=NOW)
    with pki.opened(folder / "ca") as authority:
        made = authority.issue(Kind.PROCESS, "collector.1", public_key=None, days=days, now=NOW)
    (folder / "crt").write_bytes(made.certificate)
    (folder / "key").touch(0o600)
    (folder / "key").write_bytes(made.key or b"")
    return BrokerConfig(
        host="localhost",
        username=username,
        ca_file=folder / "ca" / "ca.crt",
        cert_file=folder / "crt",
        key_file=folder / "key",
    )


def test_a_certificate_of_its_own_name_is_taken_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    credentials.check(broker(tmp_path), "collector.1", NOW)
    credentials.check(BrokerConfig(host="localhost"), "collector.1", NOW)
    assert caplog.records == []


def test_a_certificate_of_another_name_is_refused_with_both_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected the certificate of ingest\.1.*got that of 'collector\.1'"):
        credentials.check(broker(tmp_path), "ingest.1", NOW)


def test_a_broker_that_goes_by_user_names_may_see_any_certificate(tmp_path: Path) -> None:
    credentials.check(broker(tmp_path, username="ingest.1"), "ingest.1", NOW)


def test_a_key_that_others_may_read_and_an_end_that_is_near_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = broker(tmp_path, days=20)
    (tmp_path / "key").chmod(0o644)
    with caplog.at_level(logging.WARNING):
        credentials.check(settings, "collector.1", NOW + timedelta(days=1))
    assert ["chmod 600" in caplog.text, "ends at 2026-12-12" in caplog.text] == [True, True]


NO_AUTHORITY = {
    "none": None,
    "empty": b"",
    "of something else": b"nonsense",
    "cut off": b"-----BEGIN CERTIFICATE-----\nMIIB\n",
}


@pytest.mark.parametrize("content", NO_AUTHORITY.values(), ids=NO_AUTHORITY)
@pytest.mark.parametrize("signs_in", [True, False], ids=["with a certificate", "with no certificate"])
def test_an_authority_file_without_a_certificate_is_refused(
    signs_in: bool, content: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "trusted.crt"
    if content is not None:
        path.write_bytes(content)
    settings = broker(tmp_path) if signs_in else BrokerConfig(host="localhost")
    with pytest.raises(ConfigError, match=rf"broker\.ca_file: expected .* got {path}"):
        credentials.check(settings.model_copy(update={"ca_file": path}), "collector.1", NOW)


def test_a_revocation_list_or_a_key_is_no_authority_and_a_bundle_is(tmp_path: Path) -> None:
    settings = broker(tmp_path)
    for other in ("crl.pem", "ca.key"):
        with pytest.raises(ConfigError, match=r"broker\.ca_file: expected certificates"):
            credentials.check(BrokerConfig(host="b", ca_file=tmp_path / "ca" / other), "collector.1", NOW)
    bundle = tmp_path / "bundle"
    bundle.write_bytes(b"".join((tmp_path / "ca" / name).read_bytes() for name in ("crl.pem", "ca.crt")))
    credentials.check(settings.model_copy(update={"ca_file": bundle}), "collector.1", NOW)


@pytest.mark.parametrize("file", ["crt", "key"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_files_that_are_no_certificate_and_key_are_refused(file: str, content: bytes | None, tmp_path: Path) -> None:
    settings = broker(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ConfigError, match=r"broker\.(cert|key)_file.*expected"):
        credentials.check(settings, "collector.1", NOW)
