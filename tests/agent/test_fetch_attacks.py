"""What the update framework promises, attack by attack: none gets a byte onto a terminal that people have not signed.

The list is that of The Update Framework's specification (1.1.3) and of Uptane: arbitrary software, rollback, fast
forward, freeze, mix and match, key compromise, wrong software, endless data, slow retrieval, partial bundle.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tests.agent.release_site import CONTENT, LIFE, NOW, PRODUCT, TILL, Asked, Repository, Site, Terminal
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from tillwatch_agent.installer import trusted
from tillwatch_agent.installer.order import EXIT_CODES, Cause

TRUST = EXIT_CODES[Cause.TRUST]
EVIL = b"what nobody signed".ljust(len(CONTENT), b"!")


def test_what_people_signed_is_fetched(terminal: Terminal) -> None:
    assert terminal.download() == 0
    assert terminal.files() == {"till%2Ftill-2.1.0.tar.gz": CONTENT}
    assert not terminal.fetched.was_there
    assert terminal.download() == 0
    assert terminal.fetched.was_there


# --- arbitrary software


def unsigned(repository: Repository, part: str) -> None:
    """Show the next version of a part with a stranger's signature only."""
    stranger = CryptoSigner.generate_ed25519()
    if part == Root.type:
        repository.next_root(stranger, CryptoSigner.generate_ed25519())
        return
    if part == Targets.type:
        repository.targets.version += 1
        repository.add(TILL, EVIL, PRODUCT)
        repository.put_targets(stranger)
    repository.snapshot.version += 1
    repository.timestamp.version += 1
    repository.say_current()
    if part == Snapshot.type:
        repository.put(repository.snapshot, stranger)
        repository.say_timestamp()
    if part == Timestamp.type:
        repository.put(repository.timestamp, stranger)


@pytest.mark.parametrize("part", [Root.type, Timestamp.type, Snapshot.type, Targets.type])
def test_metadata_that_a_stranger_signed_is_refused(terminal: Terminal, repository: Repository, part: str) -> None:
    assert terminal.refresh() == 0
    before = {role: terminal.version(role) for role in (Root.type, Timestamp.type, Snapshot.type, Targets.type)}
    unsigned(repository, part)
    assert terminal.download() == TRUST
    assert terminal.failure == ("trust", "unsigned")
    assert terminal.version(part) == before[part]
    assert terminal.files() == {}


@pytest.mark.parametrize("part", ["/metadata/2.targets.json", "/metadata/2.snapshot.json", "/metadata/timestamp.json"])
def test_a_signed_document_of_which_one_letter_was_changed_is_refused(
    terminal: Terminal, repository: Repository, part: str
) -> None:
    repository.files[part] = repository.files[part].replace(b"2026", b"2027")
    assert terminal.refresh() == TRUST


def test_a_root_that_came_unsigned_is_not_even_begun_with(tmp_path: Path, repository: Repository, site: Site) -> None:
    terminal = Terminal(tmp_path, site)
    document = json.loads(repository.first_root)
    document["signatures"] = document["signatures"][:1]
    assert terminal.init(json.dumps(document).encode()) == TRUST
    assert terminal.refresh() != 0
    assert site.requests == []


def test_bytes_that_take_a_releases_place_are_refused_and_not_kept(
    terminal: Terminal, repository: Repository, site: Site
) -> None:
    site.files[repository.file_of(TILL)] = EVIL
    assert terminal.download() == TRUST
    assert terminal.failure == ("trust", "mismatch")
    assert terminal.files() == {}
    site.files[repository.file_of(TILL)] = CONTENT
    assert terminal.download() == 0


def test_the_online_keys_alone_make_a_terminal_run_nothing_new(terminal: Terminal, repository: Repository) -> None:
    """Who broke into the collector has snapshot and timestamp keys, and may show what it likes."""
    assert terminal.download() == 0
    online = repository.signers[Snapshot.type]
    repository.signers[Targets.type] = [*online, *repository.signers[Timestamp.type]]
    repository.add(TILL, EVIL, PRODUCT)
    repository.publish()
    assert terminal.download() == TRUST
    assert terminal.failure == ("trust", "unsigned")
    assert terminal.files() == {"till%2Ftill-2.1.0.tar.gz": CONTENT}


def test_a_digest_of_a_kind_that_nobody_knows_is_no_digest(terminal: Terminal, repository: Repository) -> None:
    repository.targets.targets[TILL] = TargetFile(len(CONTENT), {"md5000": "0" * 64}, TILL)
    repository.files[f"/targets/till/{'0' * 64}.till-2.1.0.tar.gz"] = CONTENT
    repository.publish()
    assert terminal.download() == TRUST
    assert terminal.files() == {}


# --- rollback, and the way back from fast forward


def test_an_older_timestamp_is_refused(terminal: Terminal, repository: Repository) -> None:
    old = repository.files["/metadata/timestamp.json"]
    repository.publish()
    assert terminal.refresh() == 0
    repository.files["/metadata/timestamp.json"] = old
    assert terminal.refresh() == TRUST
    assert terminal.failure == ("trust", "version")
    assert terminal.version(Timestamp.type) == 3


def test_an_older_snapshot_is_refused(terminal: Terminal, repository: Repository) -> None:
    repository.publish()
    assert terminal.refresh() == 0
    repository.snapshot.version = 2
    repository.timestamp.version += 1
    repository.say_timestamp()
    assert terminal.refresh() == TRUST
    assert terminal.failure == ("trust", "version")
    assert terminal.version(Snapshot.type) == 3


def test_an_older_list_of_releases_is_refused(terminal: Terminal, repository: Repository) -> None:
    repository.publish()
    assert terminal.refresh() == 0
    repository.targets.version = 2
    repository.snapshot.version += 1
    repository.timestamp.version += 1
    repository.say_current()
    assert terminal.refresh() == TRUST
    assert terminal.failure == ("trust", "version")
    assert terminal.version(Targets.type) == 3


def test_a_list_of_releases_that_vanished_is_refused(terminal: Terminal, repository: Repository) -> None:
    assert terminal.refresh() == 0
    repository.snapshot.version += 1
    repository.timestamp.version += 1
    repository.snapshot.meta = {}
    repository.put(repository.snapshot)
    repository.say_timestamp()
    assert terminal.download() == TRUST


def test_an_older_root_is_refused(terminal: Terminal, repository: Repository) -> None:
    repository.next_root()
    assert terminal.refresh() == 0
    repository.files["/metadata/3.root.json"] = repository.first_root
    assert terminal.refresh() == TRUST
    assert terminal.failure == ("trust", "version")
    assert terminal.version(Root.type) == 2


@pytest.mark.parametrize("role", [Timestamp.type, Snapshot.type, Targets.type])
def test_versions_that_a_thief_ran_ahead_with_are_forgotten_with_his_key(
    terminal: Terminal, repository: Repository, role: str
) -> None:
    """Fast forward: who had the online keys published version 1,000,000, which bars all that is honest."""
    honest = {part.type: part.version for part in (repository.timestamp, repository.snapshot, repository.targets)}
    part = {Timestamp.type: repository.timestamp, Snapshot.type: repository.snapshot, Targets.type: repository.targets}
    part[role].version = 1_000_000
    repository.put_targets()
    repository.say_current()
    repository.timestamp.version += 1
    repository.put(repository.timestamp)
    assert terminal.refresh() == 0
    for stolen in (Timestamp.type, Snapshot.type):
        repository.give(stolen, [CryptoSigner.generate_ed25519()])
    repository.next_root()
    part[role].version = honest[role]
    repository.timestamp.version = honest[Timestamp.type]
    repository.put_targets()
    repository.say_current()
    assert terminal.download() == 0
    assert terminal.version(role) == honest[role]


# --- freeze


@pytest.mark.parametrize("role", [Root.type, Timestamp.type, Snapshot.type, Targets.type])
def test_metadata_that_ended_is_refused(terminal: Terminal, repository: Repository, role: str) -> None:
    parts = {
        Root.type: repository.root,
        Timestamp.type: repository.timestamp,
        Snapshot.type: repository.snapshot,
        Targets.type: repository.targets,
    }
    parts[role].expires = NOW - timedelta(seconds=1)
    if role == Root.type:
        repository.next_root()
    else:
        repository.publish()
    assert terminal.download(TILL, f"--reference-time={NOW.isoformat()}") == TRUST
    assert terminal.failure == ("trust", "expired")
    assert terminal.files() == {}


def test_who_shows_the_same_for_ever_is_found_out_when_it_ends(terminal: Terminal) -> None:
    assert terminal.refresh() == 0
    later = (NOW + LIFE + timedelta(days=1)).isoformat()
    assert terminal.refresh(f"--reference-time={later}") == TRUST
    assert terminal.failure == ("trust", "expired")


def test_metadata_that_ended_here_does_not_keep_the_newest_out(terminal: Terminal, repository: Repository) -> None:
    """A terminal that was off for a year holds nothing but ended metadata."""
    assert terminal.refresh() == 0
    terminal.now = NOW + timedelta(days=365)
    for part in (repository.root, repository.timestamp, repository.snapshot, repository.targets):
        part.expires = terminal.now + LIFE
    repository.next_root()
    repository.publish()
    assert terminal.download() == 0


# --- mix and match


@pytest.mark.parametrize("part", ["snapshot", "targets"])
def test_parts_of_two_states_do_not_go_together(terminal: Terminal, repository: Repository, part: str) -> None:
    """Both are honestly signed, but what says so named the other."""
    old = repository.files[f"/metadata/2.{part}.json"]
    repository.add("till/till-2.2.0.tar.gz", b"2.2", PRODUCT)
    repository.publish()
    repository.files[f"/metadata/3.{part}.json"] = old
    assert terminal.refresh() == TRUST
    assert terminal.failure == ("trust", "mismatch")


@pytest.mark.parametrize("part", ["2.snapshot", "2.targets", "timestamp"])
def test_a_part_that_the_repository_lacks_is_its_fault(terminal: Terminal, repository: Repository, part: str) -> None:
    del repository.files[f"/metadata/{part}.json"]
    assert terminal.refresh() == TRUST
    assert terminal.failure == ("trust", "missing")


def test_a_page_that_a_captive_portal_shows_is_no_metadata(terminal: Terminal, repository: Repository) -> None:
    repository.files["/metadata/timestamp.json"] = b"<html>Welcome to our hotel</html>"
    assert terminal.refresh() == TRUST
    assert terminal.failure == ("trust", "unreadable")


# --- keys that were stolen, and how many are needed


def test_one_key_of_two_signs_nothing(terminal: Terminal, repository: Repository) -> None:
    repository.add(TILL, EVIL, PRODUCT)
    repository.signers[Targets.type] = repository.signers[Targets.type][:1]
    repository.publish()
    assert terminal.download() == TRUST
    assert terminal.failure == ("trust", "unsigned")


def test_one_key_that_signs_twice_is_one(terminal: Terminal, repository: Repository) -> None:
    """python-tuf GMS-2022-4197: the same key under the same id, or its signature repeated."""
    repository.targets.version += 1
    document = json.loads(repository.signed(repository.targets, repository.signers[Targets.type][:1]))
    document["signatures"] *= 2
    repository.files[f"/metadata/{repository.targets.version}.targets.json"] = json.dumps(document).encode()
    repository.snapshot.version += 1
    repository.timestamp.version += 1
    repository.say_current()
    assert terminal.refresh() == TRUST


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_that_nobody_must_meet_is_no_threshold(
    terminal: Terminal, repository: Repository, threshold: int
) -> None:
    """go-tuf GHSA-fphv-w9fq-2525: even a root that its people signed may not say so."""
    repository.root.version += 1
    document = json.loads(repository.signed(repository.root))
    document["signed"]["roles"]["targets"]["threshold"] = threshold
    repository.files["/metadata/2.root.json"] = json.dumps(document).encode()
    assert terminal.refresh() == TRUST
    assert terminal.version(Root.type) == 1


def test_a_root_needs_the_threshold_of_the_one_before(terminal: Terminal, repository: Repository) -> None:
    thieves = [CryptoSigner.generate_ed25519() for _ in range(3)]
    honest = repository.give(Root.type, thieves)
    repository.next_root(honest[0], *thieves)
    assert terminal.refresh() == TRUST
    assert terminal.version(Root.type) == 1


def test_a_root_needs_its_own_threshold_too(terminal: Terminal, repository: Repository) -> None:
    honest = repository.give(Root.type, [CryptoSigner.generate_ed25519() for _ in range(3)])
    repository.next_root(*honest)
    assert terminal.refresh() == TRUST


def test_a_chain_of_roots_with_a_bad_link_ends_at_the_last_good_one(terminal: Terminal, repository: Repository) -> None:
    """CVE-2020-15163: what comes after the bad one is signed by those whom it named."""
    repository.next_root()
    thieves = [CryptoSigner.generate_ed25519() for _ in range(3)]
    repository.give(Root.type, thieves)
    repository.next_root(*thieves)
    repository.next_root(*thieves)
    assert terminal.refresh() == TRUST
    assert terminal.version(Root.type) == 2


def test_a_terminal_that_missed_two_roots_follows_all_of_them(terminal: Terminal, repository: Repository) -> None:
    assert terminal.refresh() == 0
    for _ in range(2):
        before = repository.give(Root.type, [CryptoSigner.generate_ed25519() for _ in range(3)])
        repository.next_root(*before, *repository.signers[Root.type])
    repository.give(Targets.type, [CryptoSigner.generate_ed25519() for _ in range(2)])
    repository.next_root()
    repository.publish()
    assert terminal.download() == 0
    assert terminal.version(Root.type) == 4


def test_a_key_that_was_taken_away_signs_nothing_more(terminal: Terminal, repository: Repository) -> None:
    gone = repository.give(Targets.type, [CryptoSigner.generate_ed25519() for _ in range(2)])
    repository.next_root()
    repository.publish()
    assert terminal.refresh() == 0
    repository.add(TILL, EVIL, PRODUCT)
    repository.signers[Targets.type] = gone
    repository.publish()
    assert terminal.download() == TRUST
    assert terminal.failure == ("trust", "unsigned")


def test_roots_without_end_are_followed_to_a_limit(
    terminal: Terminal, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2^10 roots in one go would hold a terminal for minutes; the next refresh goes on."""
    monkeypatch.setattr(trusted.CONFIG, "max_root_rotations", 5)
    for _ in range(7):
        repository.next_root()
    assert terminal.refresh() == 0
    assert terminal.version(Root.type) == 6
    assert terminal.refresh() == 0
    assert terminal.version(Root.type) == 8


# --- wrong software, and tricks with paths


@pytest.mark.parametrize(
    ("custom", "options", "failure"),
    [
        (PRODUCT, [], None),
        (PRODUCT | {"product": "agent"}, [], "unfit"),  # a release of another product under this name
        (PRODUCT | {"machines": ["aarch64"]}, ["--machine=x86_64"], "unfit"),
        (PRODUCT | {"machines": ["aarch64"]}, [], "unfit"),  # what is not known fits nothing
        (PRODUCT | {"machines": ["aarch64"]}, ["--machine=aarch64"], None),
        (PRODUCT | {"models": ["A920"]}, ["--model=A80"], "unfit"),
        (PRODUCT | {"agent_version_min": "3"}, ["--agent-version=2.9"], "unfit"),
        (PRODUCT, ["--installed-version=2.1.1"], "unfit"),  # never back
        (PRODUCT, ["--installed-version=2.1.0"], None),  # the same again mends a broken slot
        (PRODUCT | {"installer": "firmware"}, [], "not_understood"),
        (PRODUCT | {"version": "latest"}, [], "not_understood"),
        (None, [], "not_understood"),
    ],
)
def test_a_release_must_be_for_this_terminal(
    terminal: Terminal,
    repository: Repository,
    custom: dict[str, object] | None,
    options: list[str],
    failure: str | None,
) -> None:
    repository.add(TILL, CONTENT, custom)
    repository.publish()
    code = terminal.download(TILL, "--product=till", *options)
    if failure is None:
        assert code == 0
        assert terminal.fetched.release is not None
        return
    assert code == EXIT_CODES[Cause.CONSTRAINT]
    assert terminal.failure == ("constraint", failure)
    assert terminal.files() == {}


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a/../../b", "a%2f..%2fb", "x\\..\\y"])
def test_a_targets_name_leads_nowhere_else(terminal: Terminal, repository: Repository, name: str) -> None:
    """Even one that people signed: its file is named by the whole path, without a slash that counts."""
    repository.add(name, CONTENT)
    repository.publish()
    terminal.download(name)
    found = [path for path in terminal.targets.parent.rglob("*") if path.is_file() and path.read_bytes() == CONTENT]
    assert all(path.parent == terminal.targets for path in found)


def test_a_release_that_nobody_signed_is_unknown(terminal: Terminal) -> None:
    assert terminal.download("till/till-9.tar.gz") == TRUST
    assert terminal.failure == ("trust", "unknown_target")


def test_a_release_that_was_taken_back_says_why(terminal: Terminal, repository: Repository) -> None:
    del repository.targets.targets[TILL]
    repository.targets.unrecognized_fields["x-tillwatch-revoked"] = {TILL: {"reason": "prints no receipts"}}
    repository.publish()
    assert terminal.download() == TRUST
    assert terminal.failure == ("trust", "revoked")
    assert "prints no receipts" in str(terminal.news[-1])


# --- endless data, slow retrieval, partial bundle


def endlessly(asked: Asked) -> None:
    asked.head(200, None)
    while not asked.site.stopping.is_set():
        asked.wfile.write(b"x" * 65536)


def too_much(asked: Asked) -> None:
    asked.head(200, len(CONTENT) * 1000)
    asked.wfile.write(CONTENT)


@pytest.mark.parametrize("path", ["/metadata/timestamp.json", "/metadata/2.snapshot.json", "/metadata/2.targets.json"])
def test_metadata_without_end_is_cut_off(terminal: Terminal, site: Site, path: str) -> None:
    site.tricks[path] = [endlessly]
    assert terminal.refresh() == TRUST
    assert terminal.failure == ("trust", "oversized")


@pytest.mark.parametrize(
    ("trick", "failure"),
    [
        (endlessly, "mismatch"),  # no more is read than was signed, and that is not what was signed
        (too_much, "oversized"),  # not even begun
    ],
)
def test_a_release_without_end_fills_no_disk(
    terminal: Terminal, repository: Repository, site: Site, trick: Callable[[Asked], None], failure: str
) -> None:
    site.tricks[repository.file_of(TILL)] = [trick]
    assert terminal.download() == TRUST
    assert terminal.failure == ("trust", failure)
    assert terminal.files() == {}


def in_drops(asked: Asked) -> None:
    """Answer honestly, a few bytes at a time, always in time for the next read."""
    content = asked.site.files[asked.path]
    asked.head(200, len(content))
    for place in range(0, len(content), 10):
        asked.wfile.write(content[place : place + 10])
        if asked.site.stopping.wait(0.02):
            return


def head_in_drops(asked: Asked) -> None:
    for letter in b"HTTP/1.1 200 OK\r\n" + b"X-Filler: x\r\n" * 1000:
        asked.wfile.write(bytes([letter]))
        if asked.site.stopping.wait(0.02):
            return


def test_a_release_in_drops_is_given_up(terminal: Terminal, repository: Repository, site: Site) -> None:
    site.tricks[repository.file_of(TILL)] = [in_drops]
    assert terminal.download(TILL, "--bytes-per-s-min=5000", "--window-s=0.2") == EXIT_CODES[Cause.NETWORK]
    assert terminal.failure == ("network", "slow")


def test_a_release_may_not_take_longer_in_all(terminal: Terminal, repository: Repository, site: Site) -> None:
    site.tricks[repository.file_of(TILL)] = [in_drops]
    assert terminal.download(TILL, "--bytes-per-s-min=0", "--total-s=0.3") == EXIT_CODES[Cause.NETWORK]
    assert terminal.failure == ("network", "slow")


def test_a_head_in_drops_is_given_up(terminal: Terminal, site: Site) -> None:
    site.tricks["/metadata/timestamp.json"] = [head_in_drops]
    assert terminal.refresh("--head-s=0.3") == EXIT_CODES[Cause.NETWORK]
    assert terminal.failure == ("network", "slow")


def test_half_a_bundle_is_none(terminal: Terminal, repository: Repository, site: Site) -> None:
    """A server that ends each time before the last byte: what is there is kept for the next try, and never named."""
    path = repository.file_of(TILL)
    site.files[path] = CONTENT[:-1]
    assert terminal.download() == TRUST
    assert terminal.failure == ("trust", "mismatch")
    assert "till%2Ftill-2.1.0.tar.gz" not in terminal.files()


def test_what_is_trusted_outlives_what_was_refused(terminal: Terminal, repository: Repository) -> None:
    """Every refusal leaves the terminal able to take the next honest state."""
    assert terminal.refresh() == 0
    honest = dict(repository.files)
    for path in list(honest):
        repository.files[path] = b"{}"
        terminal.refresh()
        repository.files.update(honest)
    repository.publish()
    assert terminal.download() == 0
    trusted = Metadata.from_file(str(terminal.state / "targets.json"))
    assert trusted.signed.version == 3
