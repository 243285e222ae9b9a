"""`release`, as people with keys on machines of their own use it."""

import json
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tillwatch_collector import release_keys
from tillwatch_collector.__main__ import main
from tillwatch_collector.release_keys import KeyUnusable


class Office:
    """A folder for each person, a stick, and the collector's machine."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.releases = folder / "releases"
        self._capsys = capsys
        self.out = self.err = ""

    def run(self, *arguments: str | Path) -> int:
        code = main(["release", *map(str, arguments)])
        self.out, self.err = self._capsys.readouterr()
        return code

    def there(self, *arguments: str | Path) -> int:
        return self.run(*arguments, "--folder", self.releases)

    def person(self, name: str) -> Path:
        (self.folder / f"{name}.txt").write_text(f"the passphrase of {name}\n")
        assert self.run("key", self.pem(name), "--passphrase-file", self.folder / f"{name}.txt") == 0, self.err
        return self.pub(name)

    def pem(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def pub(self, name: str) -> Path:
        return self.folder / f"{name}.pub"

    def sign(self, name: str) -> int:
        return self.there("sign", "--key", self.pem(name), "--passphrase-file", self.folder / f"{name}.txt")

    def publish(self, *more: str | Path) -> int:
        return self.there("publish", "--online-key", self.pem("online"), *more)

    def add(self, version: str, *more: str) -> int:
        file = self.folder / f"till-{version}.tar.gz"
        with tarfile.open(file, "w:gz") as packed:
            packed.addfile(tarfile.TarInfo(f"till-{version}"))
        return self.there("add", file, "--product", "till", "--version", version, "--installer", "bundle", *more)


@pytest.fixture
def office(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Office:
    """Alice, Bob and Carol have keys, two of them make a root."""
    office = Office(tmp_path, capsys)
    people = [office.person(name) for name in ("alice", "bob", "carol")]
    assert office.run("key", office.pem("online"), "--online") == 0
    roots = [part for person in people for part in ("--root-key", person)]
    more = ("--root-threshold", "2", "--release-key", people[0], "--release-key", people[1])
    assert office.there("init", *roots, *more, "--online-key", office.pub("online")) == 0, office.err
    return office


@pytest.fixture
def opened(office: Office) -> Office:
    assert office.sign("alice") == 0
    assert office.sign("bob") == 0
    assert office.publish() == 0
    return office


def test_from_keys_to_a_release_that_terminals_see(office: Office) -> None:
    assert "root 1: 0 of 2 signatures by root keys; may sign: alice, bob, carol" in office.out
    assert office.sign("alice") == 0
    assert office.out.splitlines()[:2] == ["signed root 1", "signed targets 1"]
    assert office.publish() == 1
    assert "root 1: 1 of 2 signatures by root keys; may sign: bob, carol" in office.err
    assert office.sign("carol") == 0
    assert office.out.splitlines()[-1] == "enough have signed: `release publish` shows it to terminals"
    assert office.publish() == 0
    assert office.out.splitlines()[0] == "published root 1"
    assert office.add("2.1.0", "--machine", "x86_64", "--notes", "receipts") == 0
    size = (office.folder / "till-2.1.0.tar.gz").stat().st_size
    assert office.out.startswith(f"till/till-2.1.0.tar.gz: {size} bytes, sha256 ")
    assert office.sign("bob") == 0
    assert office.publish() == 0
    assert office.there("verify") == 0
    assert "timestamp: holds until" in office.out
    assert office.there("list") == 0
    assert "till/till-2.1.0.tar.gz  2.1.0    bundle     10" in office.out
    assert office.there("list", "--json") == 0
    listed = json.loads(office.out)
    assert listed["published"][0]["machines"] == ["x86_64"]
    assert listed["drafts"] == []


def test_a_release_is_taken_back_with_a_reason(opened: Office) -> None:
    assert opened.add("2.1.0") == 0
    assert opened.sign("alice") == 0
    assert opened.there("revoke", "till/till-2.1.0.tar.gz", "--reason", "prints no receipts") == 0
    assert "alice must sign it again" in opened.err
    assert opened.sign("alice") == 0
    assert opened.publish() == 0
    assert opened.there("list") == 0
    assert "revoked" in opened.out
    assert opened.there("revoke", "till/x", "--reason", " ") == 1
    assert "--reason: expected 1 to 300" in opened.err


def test_what_was_drafted_by_mistake_is_dropped_and_spends_no_version(opened: Office) -> None:
    assert opened.add("2.1.0") == 0, opened.err
    assert opened.sign("alice") == 0, opened.err
    assert opened.publish() == 0, opened.err
    assert opened.add("9.9.9") == 0, opened.err
    assert opened.there("revoke", "till/till-2.1.0.tar.gz", "--reason", "oops") == 0, opened.err
    for drafted in ("till/till-9.9.9.tar.gz", "till/till-2.1.0.tar.gz"):
        assert opened.there("drop", drafted) == 0, opened.err
    assert opened.there("drop", "till/till-2.1.0.tar.gz") == 1
    assert "expected a release that is drafted and not published, one of: none" in opened.err
    assert opened.add("2.2.0") == 0, opened.err
    assert opened.sign("alice") == 0, opened.err
    assert opened.publish() == 0, opened.err
    assert opened.there("list", "--json") == 0, opened.err
    found = {one["target"]: one["revoked"] for one in json.loads(opened.out)["published"]}
    assert found == {"till/till-2.1.0.tar.gz": False, "till/till-2.2.0.tar.gz": False}


def test_somebody_leaves_and_somebody_comes(opened: Office) -> None:
    opened.person("dave")
    assert opened.there("rotate-key", "root", "--out", "carol", "--new", opened.pub("dave")) == 0
    assert opened.sign("dave") == 0
    assert opened.sign("alice") == 0
    assert opened.publish() == 1
    assert "root before keys; may sign: bob, carol" in opened.err
    assert opened.there("list") == 0
    assert "draft: root 2: 1 of 2 signatures by root before keys" in opened.err
    assert opened.sign("bob") == 0
    assert opened.publish() == 0
    assert opened.there("root", opened.folder / "root.json", "--version", "2") == 0
    assert json.loads((opened.folder / "root.json").read_bytes())["signed"]["version"] == 2
    assert opened.there("root", opened.folder / "root.json", "--version", "3") == 1
    assert opened.there("root", opened.folder / "no" / "root.json") == 1
    assert opened.there("rotate-key", "root") == 1
    assert "expected --out, --new or --threshold" in opened.err


def test_metadata_is_renewed_before_it_ends(opened: Office) -> None:
    assert opened.there("renew", "root") == 0
    assert opened.there("renew", "release") == 0
    assert opened.sign("alice") == 0
    assert opened.sign("bob") == 0
    assert opened.publish() == 0
    assert "published root 2" in opened.out
    assert opened.there("renew", "online") == 1
    assert opened.there("refresh", "--online-key", opened.pem("online")) == 0
    assert opened.out == ""


def test_drafts_come_on_a_stick_to_a_machine_that_has_nothing(office: Office) -> None:
    office.sign("alice")
    office.sign("bob")
    stick, office.releases = office.releases, office.folder / "collector"
    assert office.publish("--from", stick) == 0
    assert office.there("verify") == 0


def test_verify_ends_in_1_where_something_is_wrong(opened: Office) -> None:
    next(opened.releases.rglob("timestamp.json")).write_bytes(b"{}")
    assert opened.there("verify") == 1
    assert "got 1 problems" in opened.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version", "2.1-rc1"], "--version: expected one to four numbers with dots such as 2.1.0, got '2.1-rc1'"),
        (["--product", "Till"], "--product: "),
        (["--machine", "../x"], "--machines.0: "),
        (["--agent-min", "one"], "--agent_version_min: "),
        (["--installed-bytes", "-1"], "--installed_bytes: "),
        (["--notes", "two\nlines"], "--notes: "),
    ],
)
def test_words_that_make_no_sense_are_refused(opened: Office, arguments: list[str], said: str) -> None:
    assert opened.add("2.1.0", *arguments) == 1
    assert said in opened.err


def test_a_file_name_that_is_no_target_is_refused(opened: Office, tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_bytes(b"x")
    said = ("--product", "till", "--version", "1", "--installer", "bundle")
    assert opened.there("add", tmp_path / ".hidden", *said) == 1
    assert "expected a file name" in opened.err


@pytest.mark.parametrize(
    ("name", "installer", "said"),
    [
        # a terminal would have to refuse it only after it was signed, published and fetched
        ("till-2.1.0", "bundle", "expected an archive for installer bundle"),
        ("till-2.1.0.tar.gz", "bundle", "expected an archive, as its name says"),
        ("agent-2.1.0.zip", "agent", "expected an archive, as its name says"),
        ("drivers.tgz", "config", "expected an archive, as its name says"),
    ],
)
def test_what_no_terminal_could_unpack_is_not_drafted(
    opened: Office, tmp_path: Path, name: str, installer: str, said: str
) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    assert opened.there("add", tmp_path / name, "--product", "p", "--version", "1", "--installer", installer) == 1
    assert said in opened.err
    assert not list(opened.releases.rglob(f"*{name}"))


def test_settings_may_be_one_plain_file(opened: Office, tmp_path: Path) -> None:
    (tmp_path / "drivers.toml").write_text("[drivers]\n")
    said = ("--product", "drivers", "--version", "1", "--installer", "config")
    assert opened.there("add", tmp_path / "drivers.toml", *said) == 0


def test_a_folder_that_is_none_is_said(office: Office) -> None:
    office.releases = office.folder / "nowhere"
    assert office.there("list") == 2
    assert "--folder: expected the folder of releases" in office.err


# --- keys


def test_a_key_is_its_owners_and_encrypted(office: Office) -> None:
    assert stat.S_IMODE(office.pem("alice").stat().st_mode) == 0o600
    assert b"ENCRYPTED" in office.pem("alice").read_bytes()
    assert b"ENCRYPTED" not in office.pem("online").read_bytes()
    assert office.run("key", office.pem("alice"), "--passphrase-file", office.folder / "alice.txt") == 1
    assert "expected a name that no key has" in office.err


def test_a_passphrase_is_asked_for_where_no_file_has_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def prompt(text: str, **_: object) -> str:
        asked.append(text)
        return "the passphrase of alice"

    monkeypatch.setattr("typer.prompt", prompt)
    assert office.there("sign", "--key", office.pem("alice")) == 0
    assert office.run("key", office.folder / "erin.pem") == 0
    assert asked == ["Passphrase of alice.pem", "Passphrase of erin.pem"]


def test_a_key_that_cannot_be_used_is_said(office: Office, tmp_path: Path) -> None:
    assert office.there("sign", "--key", office.pem("online")) == 1
    assert "expected an encrypted key" in office.err
    (tmp_path / "alice.txt").write_text("a passphrase that is wrong\n")
    assert office.sign("alice") == 1
    assert "one of them is wrong" in office.err


def refused(work: str, path: Path, passphrase: bytes | None = None) -> str:
    works: dict[str, Any] = {
        "public": lambda: release_keys.public(path),
        "signer": lambda: release_keys.signer(path, passphrase),
        "create": lambda: release_keys.create(path, passphrase),
        "passphrase": lambda: release_keys.passphrase_of(path),
    }
    with pytest.raises(KeyUnusable) as caught:
        works[work]()
    return str(caught.value)


P256 = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9
q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==
-----END PUBLIC KEY-----
"""


def test_files_that_are_no_keys_are_refused(office: Office, tmp_path: Path) -> None:
    (tmp_path / "junk.pub").write_text("junk")
    (tmp_path / "other.pub").write_text(P256)
    (tmp_path / "nothing.txt").touch()
    assert "expected a public key" in refused("public", tmp_path / "junk.pub")
    assert "expected an Ed25519 key" in refused("public", tmp_path / "other.pub")
    assert "expected a readable file" in refused("public", tmp_path / "missing.pub")
    assert "named after the key's owner" in refused("public", tmp_path / "a b.pub")
    assert "its passphrase, got none" in refused("signer", office.pem("alice"))
    assert "got one in clear text" in refused("signer", office.pem("online"), b"a passphrase")
    assert "in its first line" in refused("passphrase", tmp_path / "nothing.txt")
    assert "at least 12 characters" in refused("create", tmp_path / "new.pem", b"short")
    assert "expected a folder that can be written" in refused("create", tmp_path / "no" / "new.pem")
    office.pem("online").chmod(0o644)
    assert "chmod 600" in refused("signer", office.pem("online"))
