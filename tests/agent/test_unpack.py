"""Archives into slots: what is taken, what is refused, and what it may cost."""

import gzip
import io
import os
import random
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.agent import packages
from tests.agent.packages import file, link, special, zipped

from tillwatch_agent.installer import archive as archives
from tillwatch_agent.installer.archive import Packing, members, packing_of
from tillwatch_agent.installer.disk import Disk
from tillwatch_agent.installer.failure import InstallFailed, Refusal
from tillwatch_agent.installer.unpack import DEPTH_MAX, NAME_CHARS_MAX, Bounds, Contents, proves, unpack

MANY = Bounds(bytes_max=10_000_000, reserve_bytes=0)

LINKED = stat.S_IFLNK | 0o777


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    folder = tmp_path / "slots" / "a"
    folder.mkdir(parents=True)
    return folder


def fill(slot: Path, packed: bytes, packing: Packing = Packing.TAR, bounds: Bounds = MANY) -> Contents:
    return unpack(members(io.BytesIO(packed), packing, "single.toml"), slot, Disk(), bounds)


def lying(slot: Path) -> dict[str, str]:
    return {
        path.relative_to(slot).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in sorted(slot.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize(
    ("target", "packing"),
    [
        ("till/till-2.1.0.tar.gz", Packing.TAR),
        ("till/till-2.1.0.tgz", Packing.TAR),
        ("till/till-2.1.0.zip", Packing.ZIP),
        ("till/prices.toml", Packing.FILE),
        ("till/till-2.1.0.tar", Packing.FILE),
    ],
)
def test_a_target_s_name_tells_how_it_is_packed(target: str, packing: Packing) -> None:
    assert packing_of(target) is packing


# --- what is taken

TREE = {"bin/till": "#!/bin/sh\n", "lib/a/b.txt": "b", "empty": ""}


@pytest.mark.parametrize(
    ("packing", "packed"),
    [
        (Packing.TAR, packages.plain(TREE)),
        # as `tar -C folder .` writes it
        (
            Packing.TAR,
            packages.tar(
                special(".", tarfile.DIRTYPE),
                *(file(f"./{n}", c.encode(), 0o755 if n.startswith("bin/") else 0o600) for n, c in TREE.items()),
            ),
        ),
        (Packing.ZIP, zipped({n: c.encode() for n, c in TREE.items()}, {"bin/till": stat.S_IFREG | 0o744})),
        (Packing.ZIP, zipped({"bin/": b"", **{n: c.encode() for n, c in TREE.items()}}, {"bin/till": 0o744})),
    ],
)
def test_files_and_folders_arrive_with_plain_modes(packing: Packing, packed: bytes, slot: Path) -> None:
    contents = fill(slot, packed, packing)
    assert lying(slot) == TREE
    modes = {name: stat.S_IMODE((slot / name).stat().st_mode) for name in TREE}
    assert modes == {"bin/till": 0o755, "lib/a/b.txt": 0o644, "empty": 0o644}
    assert contents.programs == ("bin/till",)
    assert proves(slot, contents) is None


def test_a_single_file_lies_under_its_own_name(slot: Path) -> None:
    contents = fill(slot, b"[prices]\n", Packing.FILE)
    assert lying(slot) == {"single.toml": "[prices]\n"}
    assert proves(slot, contents) is None


def test_no_mode_of_an_archive_gives_rights(slot: Path) -> None:
    fill(slot, packages.tar(file("till", mode=0o6777), file("secret", mode=0o000)))
    assert stat.S_IMODE((slot / "till").stat().st_mode) == 0o755
    assert stat.S_IMODE((slot / "secret").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "packed",
    [
        packages.tar(file("lib/till-2"), link("lib/till", "till-2"), link("bin/deep/till", "../../lib/till")),
        # the order in an archive does not matter
        packages.tar(link("lib/till", "till-2"), link("bin/deep/till", "../../lib/till"), file("lib/till-2")),
    ],
)
def test_links_within_the_slot_are_kept(packed: bytes, slot: Path) -> None:
    contents = fill(slot, packed)
    assert lying(slot) == {"lib/till-2": "content\n", "lib/till": "till-2", "bin/deep/till": "../../lib/till"}
    assert proves(slot, contents) is None


def test_links_of_a_zip_are_links(slot: Path) -> None:
    contents = fill(slot, zipped({"till-2": b"x", "till": b"till-2"}, {"till": LINKED}), Packing.ZIP)
    assert contents.links == {"till": "till-2"}
    assert (slot / "till").readlink() == Path("till-2")


# --- what is refused

UNSAFE = [
    # a name that leads out
    packages.tar(file("../evil")),
    packages.tar(file("lib/../../evil")),
    packages.tar(file("/etc/evil")),
    packages.tar(file("..")),
    packages.tar(special("../evil", tarfile.DIRTYPE)),
    # a name that is read in two ways
    packages.tar(file("lib//till")),
    packages.tar(file("lib/./till")),
    packages.tar(file("lib\\till")),
    packages.tar(file("evil\n.txt")),
    packages.tar(file(".")),
    packages.tar(file("till"), file("till")),
    packages.tar(file("till"), file("till/below")),
    packages.tar(file("till"), special("till", tarfile.DIRTYPE)),
    packages.tar(file("lib/till"), file("lib")),
    # a name that no file system has room for
    packages.tar(file("x" * 256)),
    packages.tar(file("ä" * 128)),
    packages.tar(file("x" * 200 + "/" + "x" * NAME_CHARS_MAX)),
    packages.tar(file("d/" * DEPTH_MAX + "x")),
    # a link that leads out, at once or by way of others
    packages.tar(link("out", "/etc/passwd")),
    packages.tar(link("out", "../../secret")),
    packages.tar(link("lib/out", "../..")),
    packages.tar(link("out", "lib/../../secret"), file("lib/x")),
    packages.tar(file("z/x"), link("p/q/r/s", "../../../z"), link("out", "p/q/r/s/../..")),
    # a link that leads nowhere, or round
    packages.tar(link("out", "missing")),
    packages.tar(link("a", "b"), link("b", "a")),
    packages.tar(link("out", "")),
    packages.tar(file("x"), link("out", "x\n")),
    # a file that is written through a link, before or after
    packages.tar(link("lib", "."), file("lib/x")),
    packages.tar(file("target/x"), link("lib", "target"), file("lib/y")),
    packages.tar(file("lib/x"), link("lib", "target"), file("target/x")),
    # what is no file
    packages.tar(file("x"), special("hard", tarfile.LNKTYPE, "x")),
    packages.tar(special("disk", tarfile.BLKTYPE)),
    packages.tar(special("tty", tarfile.CHRTYPE)),
    packages.tar(special("pipe", tarfile.FIFOTYPE)),
]


@pytest.mark.parametrize("packed", UNSAFE)
def test_an_archive_that_would_reach_outside_is_refused(packed: bytes, slot: Path) -> None:
    outside = slot.parent.parent / "secret"
    outside.write_text("secret")
    with pytest.raises(InstallFailed) as refused:
        fill(slot, packed)
    assert refused.value.reason is Refusal.ARCHIVE_UNSAFE
    assert outside.read_text() == "secret"
    assert sorted(path.name for path in slot.parent.parent.iterdir()) == ["secret", "slots"]
    assert [path.name for path in slot.parent.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("files", "modes"),
    [
        ({"../evil": b""}, {}),
        ({"out": b"/etc/passwd"}, {"out": LINKED}),
        ({"out": b"../../secret"}, {"out": LINKED}),
        ({"pipe": b""}, {"pipe": stat.S_IFIFO}),
        ({"out": b"x" * 2000}, {"out": LINKED}),
    ],
)
def test_a_zip_that_would_reach_outside_is_refused(files: dict[str, bytes], modes: dict[str, int], slot: Path) -> None:
    with pytest.raises(InstallFailed) as refused:
        fill(slot, zipped(files, modes), Packing.ZIP)
    assert refused.value.reason is Refusal.ARCHIVE_UNSAFE


def encrypted() -> bytes:
    packed = bytearray(zipped({"till": b"content"}))
    for signature in (b"PK\3\4", b"PK\1\2"):
        at = packed.index(signature) + (6 if signature == b"PK\3\4" else 8)
        packed[at] |= 1
    return bytes(packed)


@pytest.mark.parametrize(
    ("packing", "packed"),
    [
        (Packing.TAR, b""),
        (Packing.TAR, b"<html>log in first</html>"),
        (Packing.TAR, gzip.compress(b"no tar at all", mtime=0)),
        (Packing.TAR, packages.plain(TREE)[:-20]),
        (Packing.TAR, packages.tar(file("x", bytes(1_000_000)))[:300]),
        (Packing.ZIP, b""),
        (Packing.ZIP, b"no zip at all"),
        (Packing.ZIP, zipped({"till": b"x"})[:-10]),
        (Packing.ZIP, encrypted()),
        (Packing.ZIP, zipped({"till": b"content"}).replace(b"till", b"tall", 1)),
        (Packing.ZIP, zipped({"till": b"\xff"}, {"till": LINKED})),
    ],
)
def test_what_is_no_archive_is_said(packing: Packing, packed: bytes, slot: Path) -> None:
    with pytest.raises(InstallFailed) as refused:
        fill(slot, packed, packing)
    assert refused.value.reason is Refusal.ARCHIVE_UNREADABLE


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("packing", "packed"), [(Packing.TAR, None), (Packing.ZIP, zipped({"a": b"a" * 99, "b": b"b"}))]
)
def test_a_damaged_archive_is_refused_and_nothing_else_happens(
    packing: Packing, packed: bytes | None, seed: int, slot: Path
) -> None:
    rng = random.Random(seed)
    raw = packed or gzip.decompress(packages.tar(file("a", b"a" * 99), link("l", "a"), file("d/b")))
    for number in range(60):
        damaged = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        into = slot / str(number)
        into.mkdir()
        try:
            fill(into, bytes(damaged) if packed else gzip.compress(bytes(damaged), 1), packing)
        except InstallFailed:
            continue
    assert [path.name for path in slot.parent.iterdir()] == ["a"]


# --- what it may cost


@pytest.mark.parametrize(
    ("packing", "packed"),
    [
        (Packing.TAR, packages.tar(file("bomb", bytes(2_000_000)))),
        (Packing.ZIP, zipped({"bomb": bytes(2_000_000)})),
        (Packing.FILE, bytes(2_000_000)),
        (Packing.TAR, packages.tar(*(file(f"bomb-{number}", bytes(500_000)) for number in range(4)))),
    ],
)
def test_no_more_is_written_than_the_release_says(packing: Packing, packed: bytes, slot: Path) -> None:
    with pytest.raises(InstallFailed) as refused:
        fill(slot, packed, packing, Bounds(bytes_max=1_000_000, reserve_bytes=0))
    assert refused.value.reason is Refusal.ARCHIVE_TOO_LARGE
    assert sum(path.stat().st_size for path in slot.iterdir()) <= 1_000_000


def test_a_till_s_disk_is_never_filled(slot: Path) -> None:
    with pytest.raises(InstallFailed) as refused:
        fill(slot, packages.plain(TREE), bounds=Bounds(bytes_max=100, reserve_bytes=2**60))
    assert refused.value.reason is Refusal.DISK_FULL
    assert lying(slot) == {}


def many_members() -> bytes:
    return packages.tar(*(file(f"f{number}", b"") for number in range(12)))


def many_folders() -> bytes:
    return packages.tar(*(file(f"d{number}/e/f", b"") for number in range(6)))


@pytest.mark.parametrize(
    "packed", [many_members(), many_folders(), packages.tar(*(special(f"d{n}", tarfile.DIRTYPE) for n in range(12)))]
)
def test_members_and_folders_are_counted(packed: bytes, slot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MEMBERS_MAX", 10)
    monkeypatch.setattr("tillwatch_agent.installer.unpack.MEMBERS_MAX", 10)
    with pytest.raises(InstallFailed) as refused:
        fill(slot, packed)
    assert refused.value.reason is Refusal.ARCHIVE_TOO_LARGE


def test_names_and_attributes_take_no_memory_without_limit(slot: Path) -> None:
    """A header of 50 MB packs to 50 kB; tarfile would read it whole."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 50_000_000
    with pytest.raises(InstallFailed) as refused:
        fill(slot, gzip.compress(info.tobuf() + bytes(info.size), 1))
    assert refused.value.reason is Refusal.ARCHIVE_TOO_LARGE


def test_a_zip_s_directory_takes_no_memory_without_limit(slot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "INDEX_BYTES_MAX", 1000)
    with pytest.raises(InstallFailed) as refused:
        fill(slot, zipped({f"name-{number}": b"" for number in range(100)}), Packing.ZIP)
    assert refused.value.reason is Refusal.ARCHIVE_TOO_LARGE


# --- the proof


def overwrite(slot: Path) -> None:
    (slot / "lib/a/b.txt").write_text("c")


def forbid(slot: Path) -> None:
    (slot / "bin/till").chmod(0o644)


def permit(slot: Path) -> None:
    (slot / "empty").chmod(0o755)


def remove(slot: Path) -> None:
    (slot / "empty").unlink()


def add(slot: Path) -> None:
    (slot / "lib/more").write_text("")


def turn(slot: Path) -> None:
    (slot / "link").unlink()
    (slot / "link").symlink_to("bin/till")


def replace_by_link(slot: Path) -> None:
    (slot / "lib/a/b.txt").unlink()
    (slot / "lib/a/b.txt").symlink_to("/dev/null")


def replace_by_pipe(slot: Path) -> None:
    (slot / "lib/a/b.txt").unlink()
    os.mkfifo(slot / "lib/a/b.txt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (overwrite, "lib/a/b.txt is another one"),
        (forbid, "bin/till is another one"),
        (permit, "empty is another one"),
        (remove, "empty is missing"),
        (add, "lib/more was not there"),
        (turn, "link is another one"),
        (replace_by_link, "lib/a/b.txt is another one"),
        (replace_by_pipe, "lib/a/b.txt is another one"),
    ],
)
def test_whatever_changed_since_is_found(change: Callable[[Path], None], said: str, slot: Path) -> None:
    adds = [file(name, content.encode()) for name, content in TREE.items()]
    contents = fill(slot, packages.tar(*adds, link("link", "empty")))
    assert proves(slot, contents) is None
    change(slot)
    assert proves(slot, contents) == said


def test_a_slot_that_cannot_be_read_is_the_disk_s_fault(slot: Path) -> None:
    with pytest.raises(InstallFailed) as failed:
        proves(slot / "missing", Contents())
    assert failed.value.reason is Refusal.DISK_FAILED
