"""Who may sign what, what is published when, and that nothing that people sign is ever changed by a machine."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.collector.release_office import NOW, Desk, named, release
from tuf.api.metadata import Metadata, Targets

from tillwatch_collector import files, release_files, signing
from tillwatch_collector.release_files import FileUnusable
from tillwatch_collector.release_rules import KEYS_MAX, Holders, Office, ReleaseRefused, ReleasesUnusable
from tillwatch_collector.releases import Refresher, Shelf
from tillwatch_collector.signing import SNAPSHOT_LIFE, TIMESTAMP_LIFE, ReleaseFolder


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "releases").opened()


def shown(desk: Desk) -> dict[str, tuple[str, bool]]:
    return {one.target: (one.version, one.revoked) for one in Shelf(desk.folder).look()}


def published_files(desk: Desk) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (desk.folder / "metadata").iterdir()}


# --- signatures


def test_nothing_is_published_before_enough_people_have_signed(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "releases")
    desk.begin()
    with pytest.raises(ReleaseRefused, match=r"root 1: 0 of 2 signatures by root keys; may sign: alice, bob, carol"):
        desk.publish()
    desk.sign("alice", "alice")  # one person is one, however often
    with pytest.raises(ReleaseRefused, match=r"root 1: 1 of 2 signatures by root keys; may sign: bob, carol"):
        desk.publish()
    assert published_files(desk) == {}
    desk.sign("carol")
    assert desk.publish() == ("root 1", "targets 1", "snapshot 1", "timestamp 1")
    assert desk.releases.problems(NOW) == ()
    assert desk.releases.signings() == ()


def test_a_release_is_shown_when_it_is_signed_and_published(desk: Desk) -> None:
    target = desk.add("2.1.0", notes="fixes receipts")
    assert shown(desk) == {}
    with pytest.raises(ReleaseRefused, match=r"targets 2: 0 of 1 signatures by release keys; may sign: alice, bob"):
        desk.publish()
    with pytest.raises(ReleaseRefused, match="expected a key that may sign a draft, got carol"):
        desk.sign("carol")
    desk.sign("bob")
    assert desk.publish() == ("targets 2", "snapshot 2", "timestamp 2")
    assert shown(desk) == {target: ("2.1.0", False)}
    (view,) = Shelf(desk.folder).look()
    assert (view.notes, view.bytes) == ("fixes receipts", len(b"till 2.1.0"))


def test_a_draft_that_changes_says_who_must_sign_again(desk: Desk) -> None:
    desk.add("2.1.0")
    desk.sign("alice")
    file = desk.folder.parent / "more.tar.gz"
    file.write_bytes(b"more")
    _, lost = desk.releases.add(file, "till/more.tar.gz", release("2.2.0"), NOW)
    assert lost == ("alice",)
    with pytest.raises(ReleaseRefused, match="0 of 1"):
        desk.publish()


def test_with_nothing_drafted_there_is_nothing_to_sign(desk: Desk) -> None:
    with pytest.raises(ReleaseRefused, match="expected a draft to sign, got none"):
        desk.sign("alice")


def test_the_online_key_signs_no_draft_and_no_other_publishes(desk: Desk) -> None:
    desk.add("2.1.0")
    with pytest.raises(ReleaseRefused, match="got online, which may sign none"):
        desk.sign("online")
    desk.sign("alice")
    with pytest.raises(ReleaseRefused, match=r"expected the online key \(online\), got alice"):
        desk.releases.publish(desk.keys["alice"], NOW)
    with pytest.raises(ReleaseRefused, match=r"expected the online key \(online\), got alice"):
        desk.releases.refresh(desk.keys["alice"], NOW)


def holders(*names: str, threshold: int = 1) -> Holders:
    return Holders(keys=tuple(named(name).public_key for name in names), threshold=threshold)


TWICE = named("alice").public_key


@pytest.mark.parametrize(
    ("root", "released", "online", "said"),
    [
        (holders("a", threshold=2), holders("b"), holders("o"), "got 1 keys and a threshold of 2"),
        (holders("a", threshold=0), holders("b"), holders("o"), "a threshold of 0"),
        (holders(), holders("b"), holders("o"), "got 0 keys"),
        (holders(*map(str, range(KEYS_MAX + 1))), holders("b"), holders("o"), f"expected 1 to {KEYS_MAX} keys"),
        (holders("a", "a"), holders("b"), holders("o"), "differ in name and content, got a twice"),
        (Holders(keys=(TWICE, TWICE)), holders("b"), holders("o"), "got alice twice"),
        (holders("a"), Holders(keys=(TWICE,)), Holders(keys=(TWICE,)), "an online key that is no release key"),
        (Holders(keys=(TWICE,)), holders("b"), Holders(keys=(TWICE,)), "an online key that is no root key"),
        (holders("a"), holders("b"), holders("o", "p", threshold=2), "online keys: expected a threshold of 1"),
    ],
)
def test_offices_that_cannot_work_are_refused(
    tmp_path: Path, root: Holders, released: Holders, online: Holders, said: str
) -> None:
    folder = ReleaseFolder(tmp_path)
    with pytest.raises(ReleaseRefused, match=said):
        folder.begin({Office.ROOT: root, Office.RELEASE: released, Office.ONLINE: online}, NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_has_one_beginning(desk: Desk) -> None:
    with pytest.raises(ReleaseRefused, match="expected a folder without releases"):
        desk.begin()


# --- versions


@pytest.mark.parametrize(
    ("version", "more", "said"),
    [
        ("2.1.1", {}, None),
        ("2.10", {}, None),  # numbers, not letters
        ("2.1.0", {"target": "till/again.tar.gz"}, "above 2.1.0"),
        ("2.0.9", {}, "above 2.1.0"),
        ("2.1.0", {"target": "till/arm.tar.gz", "machines": ["aarch64"]}, "above 2.1.0"),  # the first is for all
        ("2.0", {"product": "agent"}, None),  # another product counts for itself
    ],
)
def test_versions_of_a_product_only_grow(desk: Desk, version: str, more: dict[str, Any], said: str | None) -> None:
    desk.bring("2.1.0")
    if said is None:
        desk.bring(version, **more)
        return
    with pytest.raises(ReleaseRefused, match=said):
        desk.add(version, **more)


def test_one_version_has_a_file_for_each_machine(desk: Desk) -> None:
    desk.bring("2.1.0", target="till/x86.tar.gz", machines=["x86_64"])
    desk.bring("2.1.0", target="till/arm.tar.gz", machines=["aarch64"])
    with pytest.raises(ReleaseRefused, match="only where their machines or models differ"):
        desk.add("2.1.0", target="till/both.tar.gz", machines=["aarch64", "riscv64"])


def test_a_release_that_was_taken_back_stays_on_record_and_its_version_is_spent(desk: Desk) -> None:
    first, second = desk.bring("2.1.0"), desk.bring("2.2.0")
    desk.releases.revoke(second, "prints no receipts", NOW)
    desk.sign("bob")
    desk.publish()
    assert shown(desk) == {first: ("2.1.0", False), second: ("2.2.0", True)}
    view = Shelf(desk.folder).find(second)
    assert view is not None
    assert (view.revoked_reason, view.revoked_at, view.installer) == ("prints no receipts", NOW, None)
    for version, target in (("2.2.0", "till/anew.tar.gz"), ("2.1.5", "till/between.tar.gz")):
        with pytest.raises(ReleaseRefused, match=r"above 2\.2\.0"):
            desk.add(version, target=target)
    with pytest.raises(ReleaseRefused, match="a target that was never there"):
        desk.add("2.3.0", target=second)
    with pytest.raises(ReleaseRefused, match=r"expected the target of a release, one of: till/till-2\.1\.0\.tar\.gz"):
        desk.releases.revoke(second, "twice", NOW)
    desk.bring("2.3.0")


# --- keys that go and come


def test_a_lost_root_key_is_replaced_with_the_threshold_of_old_and_new(desk: Desk) -> None:
    desk.keys["dave"] = named("dave")
    desk.releases.rotate(Office.ROOT, out="carol", key=desk.keys["dave"].public_key, threshold=None, now=NOW)
    desk.sign("alice", "dave")
    with pytest.raises(ReleaseRefused, match=r"root 2: 1 of 2 signatures by root before keys; may sign: bob, carol"):
        desk.publish()
    desk.sign("carol")  # her key is gone from the new root, and still counts for the old one
    assert desk.publish() == ("root 2", "snapshot 2", "timestamp 2")
    assert desk.releases.problems(NOW) == ()
    desk.releases.renew(Office.ROOT, NOW)
    with pytest.raises(ReleaseRefused, match="got carol, which may sign none"):
        desk.sign("carol")


def test_a_new_release_key_must_sign_the_list_anew(desk: Desk) -> None:
    target = desk.bring("2.1.0")
    desk.keys["dave"] = named("dave")
    desk.releases.rotate(Office.RELEASE, out="alice", key=desk.keys["dave"].public_key, threshold=2, now=NOW)
    desk.sign("alice", "bob")
    with pytest.raises(ReleaseRefused, match=r"targets 3: 1 of 2 signatures by release keys; may sign: dave"):
        desk.publish()
    desk.sign("dave")
    assert desk.publish() == ("root 2", "targets 3", "snapshot 3", "timestamp 3")
    assert shown(desk) == {target: ("2.1.0", False)}
    assert desk.releases.problems(NOW) == ()


def test_a_stolen_online_key_is_replaced_and_versions_go_on(desk: Desk) -> None:
    desk.keys["fresh"] = named("fresh")
    desk.releases.rotate(Office.ONLINE, out="online", key=desk.keys["fresh"].public_key, threshold=None, now=NOW)
    desk.sign("alice", "bob")
    with pytest.raises(ReleaseRefused, match=r"expected the online key \(fresh\), got online"):
        desk.publish()
    assert desk.releases.publish(desk.keys["fresh"], NOW) == ("root 2", "snapshot 2", "timestamp 2")
    assert desk.releases.problems(NOW) == ()


@pytest.mark.parametrize(
    ("office", "out", "threshold", "said"),
    [
        (Office.ROOT, "mallory", None, "expected one of the keys alice, bob, carol, got 'mallory'"),
        (Office.ROOT, "", None, "expected one of the keys"),
        (Office.RELEASE, "alice", 2, "got 1 keys and a threshold of 2"),
        (Office.ONLINE, "online", None, "got 0 keys"),
        (Office.ROOT, None, 4, "got 3 keys and a threshold of 4"),
    ],
)
def test_a_rotation_that_leaves_nobody_to_sign_is_refused(
    desk: Desk, office: Office, out: str | None, threshold: int | None, said: str
) -> None:
    with pytest.raises(ReleaseRefused, match=said):
        desk.releases.rotate(office, out=out, key=None, threshold=threshold, now=NOW)
    assert desk.releases.signings() == ()


def test_a_key_is_named_by_the_beginning_of_its_id_too(desk: Desk) -> None:
    key_id = desk.keys["carol"].public_key.keyid
    desk.releases.rotate(Office.ROOT, out=key_id[:10], key=None, threshold=None, now=NOW)
    assert {name for one in desk.releases.signings() if one.by == "root" for name in one.unsigned} == {"alice", "bob"}


# --- what the machine renews


def test_the_collector_renews_the_timestamp_alone_and_the_snapshot_seldom(desk: Desk) -> None:
    before = published_files(desk)
    assert desk.releases.refresh(desk.online, NOW + TIMESTAMP_LIFE / 2) == ()
    assert published_files(desk) == before
    at = NOW + TIMESTAMP_LIFE / 2 + timedelta(seconds=1)
    assert desk.releases.refresh(desk.online, at) == ("timestamp 2",)
    changed = {name for name, content in published_files(desk).items() if before.get(name) != content}
    assert changed == {"timestamp.json"}
    at = NOW + SNAPSHOT_LIFE / 2 + timedelta(seconds=1)
    assert desk.releases.refresh(desk.online, at) == ("snapshot 2", "timestamp 3")
    assert set(published_files(desk)) == set(before) | {"2.snapshot.json"}
    assert desk.releases.problems(at) == ()


def test_drafts_are_none_of_the_collectors_business(desk: Desk) -> None:
    desk.add("2.1.0")
    desk.sign("alice")
    desk.releases.refresh(desk.online, NOW + TIMESTAMP_LIFE)
    assert shown(desk) == {}
    assert desk.releases.signings() != ()


def test_the_refresher_says_a_failure_once_and_its_end(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = tmp_path / "online.pem"
    files.write_new_key(key, desk.online.private_bytes)
    now = NOW + TIMESTAMP_LIFE
    with caplog.at_level("INFO"), Refresher(desk.folder, key, now=lambda: now) as refresher:
        assert published_files(desk)["timestamp.json"].count(b'"version":2') == 1
        away = desk.folder.rename(tmp_path / "away")
        assert not refresher.work()
        assert not refresher.work()
        away.rename(desk.folder)
        assert refresher.work()
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR", "INFO"]


def test_a_collector_whose_online_key_cannot_be_read_does_not_start(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(ReleasesUnusable, match=r"releases\.online_key_file: .*expected a readable file"):
        Refresher(desk.folder, tmp_path / "missing.pem", now=lambda: NOW)


# --- folders that are carried, half written, or broken


def test_a_draft_is_carried_on_a_stick_and_published_where_the_online_key_is(desk: Desk, tmp_path: Path) -> None:
    shutil.copytree(desk.folder, tmp_path / "stick" / "releases")
    stick = Desk(tmp_path / "stick" / "releases", keys=desk.keys)
    target = stick.add("2.1.0")
    stick.sign("alice")
    desk.releases.refresh(desk.online, NOW + TIMESTAMP_LIFE)  # the collector did not wait
    desk.releases.take_drafts(stick.releases)
    assert desk.publish() == ("targets 2", "snapshot 2", "timestamp 3")
    assert shown(desk) == {target: ("2.1.0", False)}


def test_a_file_that_was_changed_on_the_stick_is_not_taken(desk: Desk, tmp_path: Path) -> None:
    shutil.copytree(desk.folder, tmp_path / "stick" / "releases")
    stick = Desk(tmp_path / "stick" / "releases", keys=desk.keys)
    stick.add("2.1.0")
    stick.sign("alice")
    (file,) = (stick.folder / "targets" / "till").iterdir()
    file.write_bytes(b"another")
    with pytest.raises(FileUnusable, match="expected the content that was signed"):
        desk.releases.take_drafts(stick.releases)
    assert list((desk.folder / "targets").rglob("*.gz")) == []


def test_a_draft_beside_an_older_state_is_refused_and_not_lost(desk: Desk, tmp_path: Path) -> None:
    shutil.copytree(desk.folder, tmp_path / "stick" / "releases")
    stick = Desk(tmp_path / "stick" / "releases", keys=desk.keys)
    stick.add("2.1.0", b"one")
    stick.sign("alice")
    desk.bring("2.1.0", content=b"another")
    desk.releases.take_drafts(stick.releases)
    with pytest.raises(ReleaseRefused, match="expected targets 3, got a draft of 2"):
        desk.publish()
    assert desk.releases.signings() != ()


@pytest.mark.parametrize("writes", range(1, 5))
def test_to_publish_again_what_was_half_published_ends_in_the_same(
    desk: Desk, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power is cut before the root, the list, the snapshot or the timestamp is written; terminals see old or new."""
    target = desk.add("2.1.0")
    desk.releases.renew(Office.ROOT, NOW)
    desk.sign("alice", "bob")
    monkeypatch.setattr(signing, "files", CutAfter(writes - 1))
    with pytest.raises(KeyboardInterrupt):
        desk.publish()
    monkeypatch.undo()
    assert shown(desk) == {}
    assert desk.releases.problems(NOW) == ()
    desk.publish()
    assert shown(desk) == {target: ("2.1.0", False)}
    assert desk.releases.problems(NOW) == ()
    assert desk.releases.signings() == ()


class CutAfter:
    """Writes so many files, and then the power is gone."""

    def __init__(self, writes: int) -> None:
        self._left = writes

    def replace(self, path: Path, content: bytes, mode: int) -> None:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        files.replace(path, content, mode)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("2.targets.json", b"till-2.1.0", b"till-6.6.6", "whole repository"),
        ("timestamp.json", b'"version":2', b'"version":9', "expected snapshot metadata"),
        ("timestamp.json", b'"length":', b'"lenght":', "whole repository"),
        ("1.root.json", b"2028", b"2099", "root 1: root was signed by 0/2 keys"),
        ("timestamp.json", b'{"', b"<", "expected timestamp metadata"),
        ("1.root.json", b'{"', b"<", "expected root metadata"),
        ("*.tar.gz", b"2.1", b"6.6", "expected 10 bytes with digest"),
    ],
)
def test_verify_finds_what_was_changed(desk: Desk, name: str, old: bytes, new: bytes, said: str) -> None:
    desk.bring("2.1.0")
    assert desk.releases.problems(NOW) == ()
    path = next(desk.folder.rglob(name))
    path.write_bytes(path.read_bytes().replace(old, new))
    assert said in "; ".join(desk.releases.problems(NOW))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("*.tar.gz", "expected its file"),
        ("2.targets.json", "expected targets metadata"),
        ("2.snapshot.json", "expected snapshot metadata"),
        ("timestamp.json", "found none"),
        ("1.root.json", "found none"),
    ],
)
def test_verify_finds_what_is_missing(desk: Desk, name: str, said: str) -> None:
    desk.bring("2.1.0")
    next(desk.folder.rglob(name)).unlink()
    assert said in "; ".join(desk.releases.problems(NOW))


def test_verify_finds_what_ended_and_a_root_that_is_missing(desk: Desk) -> None:
    desk.releases.renew(Office.ROOT, NOW)
    desk.sign("alice", "bob")
    desk.publish()
    (desk.folder / "metadata" / "1.root.json").unlink()
    found = desk.releases.problems(NOW + TIMESTAMP_LIFE + timedelta(days=1))
    assert found == (
        "root 2: expected every root from 1 on, the one before is missing",
        "timestamp 2: ended 2026-11-24",
    )


def test_a_folder_without_releases_is_no_repository(tmp_path: Path) -> None:
    releases = ReleaseFolder(tmp_path)
    works: list[Any] = [
        lambda: releases.refresh(named("online"), NOW),
        lambda: releases.publish(named("online"), NOW),
        lambda: releases.renew(Office.ROOT, NOW),
        lambda: releases.renew(Office.RELEASE, NOW),
        releases.published,
    ]
    for work in works:
        with pytest.raises(ReleasesUnusable):
            work()


def test_metadata_of_another_kind_is_not_taken_for_it(desk: Desk) -> None:
    shutil.copy(desk.folder / "metadata" / "1.root.json", desk.folder / "metadata" / "timestamp.json")
    with pytest.raises(ReleasesUnusable, match="expected timestamp metadata, got root"):
        Shelf(desk.folder).look()


def test_releases_with_words_that_are_not_ours_are_not_listed(desk: Desk) -> None:
    desk.bring("2.1.0")
    draft: Metadata[Targets] = Metadata.from_file(str(desk.folder / "metadata" / "2.targets.json"))
    draft.signed.version = 3
    draft.signed.targets["till/till-2.1.0.tar.gz"].unrecognized_fields["custom"] = {"product": "till"}
    draft.signatures.clear()
    draft.to_file(str(desk.folder / "pending" / "targets.json"))
    desk.sign("alice")
    desk.publish()
    with pytest.raises(ReleasesUnusable, match="expected releases of ours"):
        Shelf(desk.folder).look()
    assert len(desk.releases.problems(NOW)) == 1


def test_a_file_that_is_none_or_empty_or_too_long_is_not_taken(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").touch()
    for file, said in ((tmp_path / "missing", "No such file"), (tmp_path, "directory"), (tmp_path / "empty", "empty")):
        with pytest.raises(FileUnusable, match=said):
            desk.releases.add(file, "till/x", release("1"), NOW)
    monkeypatch.setattr(release_files, "RELEASE_BYTES_MAX", 3)
    (tmp_path / "long").write_bytes(b"1234")
    with pytest.raises(FileUnusable, match="at most 3 bytes"):
        desk.releases.add(tmp_path / "long", "till/x", release("1"), NOW)
    assert list((desk.folder / "targets").rglob("*.partial")) == []
