"""Backup and restore: every row, out of one moment, into either database, and nothing lost in silence after it."""

import gzip
import hashlib
import itertools
import json
import os
import random
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update
from tests.collector.databases import KINDS, Databases
from tests.collector.full_database import ROWS, TODAY, contents, fill, filled, value
from tests.collector.shell_fixtures import NOW
from tests.collector.words import at, delivered, events, heartbeat

from tillwatch_collector import app, policies
from tillwatch_collector.__main__ import main
from tillwatch_collector.domain.attachment import FILE_BYTES_MAX
from tillwatch_collector.flows import epochs
from tillwatch_collector.flows.ingest import ingest
from tillwatch_collector.flows.judge import Judge, JudgeSettings
from tillwatch_collector.store import archive, backup, schema
from tillwatch_collector.store.archive import Archive, BackupUnusable, BackupUnwritable, Manifest, TableShape
from tillwatch_collector.store.history import day_table
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import Table
from tillwatch_protocol.process import EPOCH_SALT_BITS

Run = Callable[..., tuple[int, str, str]]
NewUrl = Callable[[str], str]
Opened = Callable[[str], Store]

MADE_HERE = {"ticket", "journal", "epoch", "lease", "process", "session", "invitation", "attempt", "audit"}
"""What a restore itself writes into."""


@pytest.fixture
def new_url(tmp_path: Path, worker_databases: Databases) -> Iterator[NewUrl]:
    """Return the address of an empty database of a kind; SQLite's is not there yet."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def address(kind: str) -> str:
            if kind == "postgresql":
                return stack.enter_context(worker_databases.fresh())
            return f"sqlite:///{tmp_path}/{next(numbers)}.db"

        yield address


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open the database at an address, until the end of the test."""
    with ExitStack() as stack:

        def open_(url: str) -> Store:
            store = Store.open(url)
            stack.callback(store.close)
            return store

        yield open_


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command over the database at an address: exit code, standard output, standard error."""
    monkeypatch.setenv("TILLWATCH_DATA_DIR", str(tmp_path / "data"))

    def run(url: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("TILLWATCH_DATABASE_URL", url)
        code = main(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


# --- out and in


def kept_in(path: Path, store: Store) -> Archive:
    with store.reading() as connection:
        manifest = backup.describe(connection, made_at=NOW, version="0.1.0")
        archive.write(path, manifest, backup.rows(connection, lambda _: None))
    return archive.opened(path)


def put_back(store: Store, kept: Archive, *, replace: bool = False) -> None:
    with store.transaction() as repository:
        backup.put_back(repository.connection, kept, NOW, replace=replace, advanced=lambda _: None)


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_a_backup_holds_every_row_and_goes_into_either_database(
    tmp_path: Path, new_url: NewUrl, opened: Opened, source: str, target: str
) -> None:
    store, back = filled(opened(new_url(source))), opened(new_url(target))
    kept = kept_in(tmp_path / "b.gz", store)
    names = {table.name for table in kept.manifest.tables}
    assert names == set(Table.metadata.tables) | {"sample_20261120", "sample_20261121"}
    assert {table.rows for table in kept.manifest.tables} == {ROWS}
    before = contents(store)
    put_back(back, kept)
    after = contents(back)
    over = {"process", "session", "invitation", "attempt"}  # whoever ran, or was signed in
    for name in set(before) - over - {"lease"}:
        assert after[name] == before[name], name
    assert not any(after[name] for name in over)


@pytest.mark.parametrize("target", KINDS)
def test_what_only_one_database_takes_is_made_to_fit(
    tmp_path: Path, new_url: NewUrl, opened: Opened, target: str
) -> None:
    twice, nul = filled(opened(new_url("postgresql"))), filled(opened(new_url("sqlite")))
    table = day_table(TODAY)
    with twice.transaction() as repository:
        repository.connection.execute(insert(table), {"hour": 7, "series_id": 1, "second": 0, "value": 0.0})
    with nul.transaction() as repository:
        repository.connection.execute(text("UPDATE quarantine SET excerpt = 'a' || char(0) || 'b'"))
    back, other = opened(new_url(target)), opened(new_url(target))
    put_back(back, kept_in(tmp_path / "twice.gz", twice))
    put_back(other, kept_in(tmp_path / "nul.gz", nul))
    with back.reading() as connection:
        seconds = connection.scalars(select(table.c.second).distinct()).all()
        assert sorted(seconds) == [0, 1, 2]
    with other.reading() as connection:
        excerpts = set(connection.scalars(text("SELECT excerpt FROM quarantine")))
        assert excerpts == {"a\0b" if target == "sqlite" else "a\ufffdb"}


@pytest.mark.parametrize("target", KINDS)
def test_the_largest_files_are_held_a_few_at_a_time(
    tmp_path: Path, new_url: NewUrl, opened: Opened, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(backup, "FILES_AT_ONCE", 2)
    store, back = filled(opened(new_url("sqlite"))), opened(new_url(target))
    table = Table.metadata.tables["attachment"]
    content = random.Random(1).randbytes(FILE_BYTES_MAX)
    with store.transaction() as repository:
        repository.connection.execute(update(table).values(content=content))
    kept = kept_in(tmp_path / "b.gz", store)
    held: list[int] = []
    with store.reading() as connection:
        list(backup.rows(connection, held.append))
    assert max(held) == ROWS  # of every other table all at once
    assert held.count(2) == 1
    put_back(back, kept)
    with back.reading() as connection:
        assert set(connection.scalars(select(table.c.content))) == {content}


@pytest.mark.parametrize("target", KINDS)
def test_numbers_go_on_after_those_of_the_backup(tmp_path: Path, new_url: NewUrl, opened: Opened, target: str) -> None:
    store, back = filled(opened(new_url("sqlite"))), opened(new_url(target))
    put_back(back, kept_in(tmp_path / "b.gz", store))
    for name in ("ticket", "journal", "quarantine", "fault", "series"):
        table = Table.metadata.tables[name]
        (key,) = table.primary_key
        with back.transaction() as repository:
            row = dict(repository.connection.execute(select(table).order_by(key)).mappings().first() or {})
            row = {column: f"new {word}"[:16] if isinstance(word, str) else word for column, word in row.items()}
            del row[key.name]
            assert repository.connection.scalar(insert(table).returning(key), row) == ROWS + 1


@pytest.mark.parametrize("kind", KINDS)
def test_who_held_the_lease_when_the_backup_was_made_holds_it_no_more(
    tmp_path: Path, new_url: NewUrl, opened: Opened, kind: str
) -> None:
    store = filled(opened(new_url(kind)))
    settings = JudgeSettings(holder="collector.1")
    with store.transaction() as repository:
        repository.connection.execute(text("DELETE FROM process"))
        repository.connection.execute(text("DELETE FROM lease"))
    kept = kept_in(tmp_path / "before.gz", store)
    with store.transaction() as repository:
        fencing_no = repository.take_lease("tick", settings.holder, NOW, NOW + timedelta(seconds=30))
        assert fencing_no is not None
    kept = kept_in(tmp_path / "held.gz", store)
    put_back(store, kept, replace=True)
    with store.transaction() as repository:
        assert not repository.keep_lease("tick", fencing_no, NOW + timedelta(seconds=60))
        assert repository.take_lease("tick", "collector.2", NOW, NOW + timedelta(seconds=30)) == fencing_no + 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_of_an_older_schema_is_brought_up_to_this_version(
    tmp_path: Path, new_url: NewUrl, opened: Opened, kind: str
) -> None:
    old = opened(f"sqlite:///{tmp_path}/old.db")
    with old.transaction() as repository:
        schema.upgrade(repository.connection, "0001")
        fill(repository.connection, Table.metadata)
    kept = kept_in(tmp_path / "b.gz", old)
    back = opened(new_url(kind))
    put_back(back, kept)
    with back.reading() as connection:
        assert schema.revision_of(connection) not in {None, "0001"}
        assert connection.scalar(select(func.count()).select_from(Table.metadata.tables["event"])) == ROWS


# --- while a collector writes


@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_while_events_come_in_is_one_moment(
    tmp_path: Path, new_url: NewUrl, opened: Opened, kind: str
) -> None:
    store = opened(new_url(kind))
    store.migrate()
    enough = threading.Event()

    def write() -> None:
        seq = 0
        while not enough.is_set():
            seq += 1
            with store.transaction() as repository:
                ingest(repository, [delivered(events(seq))], at(seq))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        moments = [moment(kept_in(tmp_path / f"{no}.gz", store)) for no in range(8)]
    finally:
        enough.set()
        writer.join()
    assert all(events_kept == prefix_seq for events_kept, prefix_seq in moments), moments
    assert moments[-1][0] > moments[0][0]


def moment(kept: Archive) -> tuple[int, int]:
    """How many events it has, and how many the stream's prefix says: the same transaction wrote both."""
    found = {"event": 0, "stream": 0}
    for shape, rows in kept.tables():
        for row in rows:
            if shape.name == "event":
                found["event"] += 1
            elif shape.name == "stream":
                found["stream"] = row[shape.columns.index("prefix_seq")]
    return found["event"], found["stream"]


# --- after a restore: no silent loss


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_acknowledged_after_the_backup_is_recorded_as_lost(
    tmp_path: Path, new_url: NewUrl, opened: Opened, run: Run, kind: str
) -> None:
    url = new_url(kind)
    store = opened(url)
    store.migrate()
    with store.transaction() as repository:
        seen = epochs.begin(repository, 77, NOW)
        ingest(repository, [delivered(events(1, 2, 3, 4, 5))], at(0))
    assert run(url, "backup", str(tmp_path / "b.gz"))[0] == 0
    with store.transaction() as repository:
        (ack,) = ingest(repository, [delivered(events(6, 7, 8, oldest_seq=6))], at(10)).acks
    assert ack.event_seq == 8  # and so the agent has deleted all of them

    code, out, err = run(url, "restore", str(tmp_path / "b.gz"), "--replace")
    assert (code, "ticket 1 says so" in out, "disabled since the backup" in err) == (0, True, True)
    with store.transaction() as repository:
        epoch = repository.epoch()
        assert (
            epoch >> EPOCH_SALT_BITS == (seen >> EPOCH_SALT_BITS) + 1
        )  # above what every agent has seen, so all send again
        (ack,) = ingest(repository, [delivered(events(9, oldest_seq=9))], at(20)).acks
        assert ack.event_seq == 9
        ingest(repository, [delivered(heartbeat(event_seq_last=9, collector_epoch_seen=seen))], at(21))
    with store.reading() as connection:
        gaps = connection.execute(text("SELECT kind, first_seq, last_seq FROM event_gap")).all()
        assert [tuple(gap) for gap in gaps] == [("lost", 6, 8)]
        stored = connection.scalar(text("SELECT count(*) FROM event"))
        assert stored == 6  # 1 to 5, and 9: with the three that are declared lost, all nine are accounted for
        codes = connection.execute(text("SELECT code, status FROM ticket")).all()
        assert [tuple(row) for row in codes] == [("restored_from_backup", "reported")]


def test_agents_word_of_a_later_epoch_adds_to_the_one_ticket(
    tmp_path: Path, new_url: NewUrl, opened: Opened, run: Run
) -> None:
    url = new_url("sqlite")
    assert run(url, "migrate")[0] == 0
    assert run(url, "backup", str(tmp_path / "b.gz"))[0] == 0
    assert run(url, "restore", str(tmp_path / "b.gz"))[0] == 0
    store = opened(url)
    with store.transaction() as repository:
        judge = Judge.load(repository, policies.load(None), JudgeSettings(holder="collector.1"), NOW)
        judge.restored(5 << EPOCH_SALT_BITS, NOW)
        (change,) = judge.tick(repository, NOW).tickets
    assert (change.ticket_id, change.move) == (1, "recurred")


# --- what is refused changes nothing


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_restore_is_refused_unless_it_may_replace(
    tmp_path: Path, new_url: NewUrl, opened: Opened, run: Run, kind: str
) -> None:
    url = new_url(kind)
    store = filled(opened(url))
    file = str(tmp_path / "b.gz")
    with store.transaction() as repository:
        repository.connection.execute(text("DELETE FROM process"))
    kept_in(tmp_path / "b.gz", store)
    before = contents(store)
    code, _, err = run(url, "restore", file)
    assert (code, "expected an empty database" in err, "--replace" in err) == (1, True, True)
    assert contents(store) == before
    with store.transaction() as repository:
        repository.connection.execute(text("DELETE FROM journal"))
    assert run(url, "restore", file, "--replace")[0] == 0
    after = contents(store)
    assert {name for name in before if after[name] != before[name]} <= MADE_HERE
    assert set(before["journal"]) < set(after["journal"])


def test_a_restore_is_refused_while_a_collector_runs_in_the_data_directory(
    tmp_path: Path, new_url: NewUrl, run: Run
) -> None:
    url = new_url("sqlite")
    assert run(url, "migrate")[0] == 0
    assert run(url, "backup", str(tmp_path / "b.gz"))[0] == 0
    with app.data_dir_held(tmp_path / "data"):
        code, _, err = run(url, "restore", str(tmp_path / "b.gz"), "--replace")
    assert (code, "another one runs there" in err) == (2, True)


def test_a_restore_is_refused_while_a_process_shows_itself_in_postgresql(
    tmp_path: Path, new_url: NewUrl, opened: Opened, run: Run
) -> None:
    url = new_url("postgresql")
    assert run(url, "backup", str(tmp_path / "b.gz"))[0] == 0
    store = opened(url)
    process = Table.metadata.tables["process"]
    row = {column.name: value(column, 1, random.Random(1)) for column in process.c}
    row |= {"process": "ingest.1", "expires_at": datetime.now(UTC) + timedelta(hours=1)}
    with store.transaction() as repository:
        repository.connection.execute(insert(process).values(row))
    code, _, err = run(url, "restore", str(tmp_path / "b.gz"), "--replace")
    assert (code, "got ingest.1: stop them all" in err) == (2, True)
    with store.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(process)) == 1


Lines = list[bytes]


def rewritten(path: Path, change: Callable[[Lines], Lines]) -> None:
    """Change the lines of a backup."""
    lines = change(gzip.decompress(path.read_bytes()).splitlines(keepends=True))
    path.write_bytes(gzip.compress(b"".join(lines)))


def sealed(path: Path, change: Callable[[Lines], Lines]) -> None:
    """Change the lines of a backup, and give it a checksum that is right again."""
    rewritten(path, change)
    rewritten(path, lambda lines: [*lines[:-1], _seal(b"".join(lines[:-1]))])


def _seal(content: bytes) -> bytes:
    return json.dumps({"sha256": hashlib.sha256(content).hexdigest()}).encode() + b"\n"


def with_manifest(**changes: Any) -> Callable[[Lines], Lines]:
    return lambda lines: [json.dumps(json.loads(lines[0]) | changes).encode() + b"\n", *lines[1:]]


def with_row(row: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [lines[0], row, *lines[2:]]


def renamed(before: bytes, after: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [lines[0].replace(before, after), *lines[1:]]


DAMAGES: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-40]), 1, "was cut off"),
    "a byte altered": (lambda path: path.write_bytes(_altered(path.read_bytes(), 90)), 1, "cut off"),
    "another file": (lambda path: path.write_text("terminal_id,store_id\n"), 1, "a file that is none"),
    "another packed file": (lambda path: path.write_bytes(gzip.compress(b"hello\n")), 1, "got another file"),
    "packed, and empty": (lambda path: path.write_bytes(gzip.compress(b"")), 1, "got another file"),
    "empty": (lambda path: path.write_bytes(b""), 1, "got another file"),
    "not there": (lambda path: path.unlink(), 1, "No such file"),
    "a row altered": (lambda path: rewritten(path, with_row(b"[2]\n")), 1, "checksum differs"),
    "a row gone": (lambda path: rewritten(path, lambda lines: [lines[0], *lines[2:]]), 1, "checksum differs"),
    "a row gone, and sealed": (lambda path: sealed(path, lambda lines: [lines[0], *lines[2:]]), 1, "checksum differs"),
    "no seal": (lambda path: rewritten(path, lambda lines: lines[:-1]), 1, "checksum differs"),
    "of a later format": (lambda path: sealed(path, with_manifest(tillwatch_backup=2)), 1, "tillwatch_backup: "),
    "of a later schema": (
        lambda path: sealed(path, with_manifest(schema_revision="9999")),
        2,
        "does not know: install",
    ),
    "of an unknown table": (lambda path: sealed(path, renamed(b'"token"', b'"tokem"')), 1, "table tokem: expected one"),
    "of an unknown column": (lambda path: sealed(path, renamed(b'"scopes"', b'"scores"')), 1, "table token: expected"),
    "a row too short": (lambda path: sealed(path, with_row(b"[1]\n")), 1, "expected rows of"),
    "a row that is none": (lambda path: sealed(path, with_row(b"{}\n")), 1, "expected rows of"),
}


def _altered(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that is filled, beside its backup."""
    folder = tmp_path_factory.mktemp("image")
    store = Store.open(f"sqlite:///{folder}/filled.db")
    kept_in(folder / "b.gz", filled(store))
    store.close()
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_be_used_changes_nothing(
    tmp_path: Path, image: Path, opened: Opened, run: Run, damage: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(image, folder)
    url, file = f"sqlite:///{folder}/filled.db", folder / "b.gz"
    store = opened(url)
    before = contents(store)
    harm, code, said = DAMAGES[damage]
    harm(file)
    found, out, err = run(url, "restore", str(file), "--replace")
    assert (found, out) == (code, "")
    assert said in err
    assert contents(store) == before


@pytest.mark.parametrize("command", [("migrate",), ("restore", "{file}", "--replace")])
def test_a_database_of_a_later_version_is_refused_in_words(
    tmp_path: Path, new_url: NewUrl, opened: Opened, run: Run, command: tuple[str, ...]
) -> None:
    url = new_url("sqlite")
    store = filled(opened(url))
    kept_in(tmp_path / "b.gz", store)
    with store.transaction() as repository:
        repository.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    code, _, err = run(url, *(word.format(file=tmp_path / "b.gz") for word in command))
    assert (code, "got schema 9999, which it does not know" in err) == (2, True)


@pytest.mark.parametrize("command", [("backup", "b.gz"), ("restore", "b.gz")])
def test_a_forgotten_config_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    assert "say with --config" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- the file


def test_a_backup_is_its_owners_alone_and_overwrites_nothing_unasked(tmp_path: Path, new_url: NewUrl, run: Run) -> None:
    url, file = new_url("sqlite"), tmp_path / "b.gz"
    assert run(url, "migrate")[0] == 0
    assert run(url, "backup", str(file))[0] == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, _, err = run(url, "backup", str(file))
    assert (code, "--force overwrites it" in err) == (1, True)
    assert run(url, "backup", str(file), "--force")[0] == 0
    assert [path.name for path in tmp_path.glob("*b.gz*")] == ["b.gz"]


def test_a_dry_run_says_what_a_backup_holds(tmp_path: Path, new_url: NewUrl, opened: Opened, run: Run) -> None:
    url, file = new_url("sqlite"), tmp_path / "b.gz"
    filled(opened(url))
    assert run(url, "backup", str(file))[0] == 0
    code, out, _ = run(url, "restore", str(file), "--dry-run")
    assert (code, "whole; made 20" in out, "journal" in out) == (0, True, True)
    held = json.loads(run(url, "restore", str(file), "--dry-run", "--json")[1])
    assert (held["tables"]["ticket"], held["tillwatch_backup"]) == (ROWS, 1)


def test_a_directory_keeps_the_newest_backups_and_what_is_not_ours(tmp_path: Path, new_url: NewUrl, run: Run) -> None:
    url, folder = new_url("sqlite"), tmp_path / "backups"
    folder.mkdir()
    assert run(url, "migrate")[0] == 0
    for day in range(1, 5):
        (folder / archive.name_at(datetime(2025, 1, day, tzinfo=UTC))).touch()
    (folder / "tillwatch-by-hand.backup.gz").touch()
    killed = folder / f".{archive.name_at(datetime(2025, 1, 4, tzinfo=UTC))}.x1.partial"
    killed.touch()
    os.utime(killed, (0, 0))
    code, out, _ = run(url, "backup", str(folder), "--keep", "2", "--json")
    report = json.loads(out)
    assert (code, len(report["removed"])) == (0, 3)
    newest = [archive.name_at(datetime(2025, 1, 4, tzinfo=UTC)), Path(report["file"]).name]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*newest, "tillwatch-by-hand.backup.gz"])
    assert run(url, "backup", str(tmp_path / "f.gz"), "--keep", "2")[0] == 2


def test_there_is_nothing_to_back_up_where_no_collector_ever_ran(tmp_path: Path, run: Run, new_url: NewUrl) -> None:
    code, _, err = run(new_url("sqlite"), "backup", str(tmp_path / "b.gz"))
    assert (code, "in which none has ever started" in err) == (1, True)
    assert list(tmp_path.glob("*b.gz*")) == []


def shape(rows: int) -> Manifest:
    return Manifest(
        made_at=NOW,
        version="0.1.0",
        schema_revision="0001",
        collector_epoch=1,
        tables=(TableShape(name="t", columns=("a",), rows=rows),),
    )


def test_a_backup_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    def breaking() -> Iterator[list[int]]:
        yield [1]
        raise RuntimeError("the database went away")

    with pytest.raises(RuntimeError):
        archive.write(tmp_path / "b.gz", shape(2), breaking())
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_does_not_read_back_gets_no_name(tmp_path: Path) -> None:
    with pytest.raises(BackupUnwritable, match="does not read back"):
        archive.write(tmp_path / "b.gz", shape(3), [[1]])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(BackupUnwritable, match="No such file or directory"):
        archive.write(tmp_path / "nowhere" / "b.gz", shape(0), [])


def test_a_line_beyond_every_limit_is_no_line_of_a_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.write(tmp_path / "b.gz", shape(1), [["x" * 2000]])
    monkeypatch.setattr(archive, "LINE_BYTES_MAX", 1000)
    with pytest.raises(BackupUnusable, match="checksum differs"):
        archive.opened(tmp_path / "b.gz")
