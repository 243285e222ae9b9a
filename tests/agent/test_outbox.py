"""The outbox: what is committed survives, what is broken is set aside, and only one process holds it."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agent.conftest import InMemory
from tests.agent.moments import MORNING

from tillwatch_agent import outbox as outboxes
from tillwatch_agent.backlog import Happening, Verdict
from tillwatch_agent.errors import OutboxBusy, OutboxCorrupt, OutboxFailed
from tillwatch_agent.outbox import (
    COMMANDS_KEPT_MAX,
    CORRUPT_KEPT_MAX,
    MEMORY,
    Outbox,
    Summary,
    new_stream_id,
    stored_time,
    summary,
)
from tillwatch_protocol.event import EventKind, SeqRange
from tillwatch_protocol.process import EPOCH_SALT_BITS

SEVENTH = 7 << EPOCH_SALT_BITS | 99
"""An epoch of the seventh start."""
EDGE = Happening(kind=EventKind.CONDITION_RAISED, happened_at=MORNING, component="scanner:1", code="offline")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], Outbox]]:
    held: list[Outbox] = []

    def opening() -> Outbox:
        for outbox in held:
            outbox.close()
        held.append(Outbox.open(path, events_max=20))
        return held[-1]

    yield opening
    for outbox in held:
        outbox.close()


def numbers(outbox: Outbox) -> list[int]:
    return [event.event_seq for event in outbox.read(outbox.backlog.numbers)]


def test_a_new_outbox_begins_a_stream_of_128_random_bits(opened: Callable[[], Outbox]) -> None:
    outbox = opened()
    assert len(outbox.stream_id) == len(new_stream_id()) == 32
    assert (outbox.boot_epoch, outbox.backlog.event_seq_last, outbox.collector_epoch_seen) == (1, 0, 0)


def test_everything_that_matters_survives_a_start(opened: Callable[[], Outbox]) -> None:
    first = opened()
    stream_id, events = first.stream_id, first.append([EDGE, EDGE, EDGE])
    first.backlog.take(0)
    first.acknowledge(stream_id, 1, 0)
    first.see_epoch(SEVENTH)
    first.mark_done("command-1")
    second = opened()
    assert (second.stream_id, second.boot_epoch, second.collector_epoch_seen) == (stream_id, 2, SEVENTH)
    assert second.read(second.backlog.numbers) == events[1:]
    assert (second.backlog.event_seq_last, second.backlog.acknowledged_seq) == (3, 1)
    assert not second.mark_done("command-1")
    assert second.append([EDGE])[0].event_seq == 4
    assert second.append([EDGE])[0].boot_epoch == 2


def test_numbers_go_on_after_all_was_acknowledged(opened: Callable[[], Outbox]) -> None:
    first = opened()
    first.append([EDGE, EDGE])
    first.backlog.take(0)
    assert first.acknowledge(first.stream_id, 2, 1) is Verdict.RELEASED
    assert opened().append([EDGE])[0].event_seq == 3


def test_a_declaration_survives_a_start(opened: Callable[[], Outbox]) -> None:
    first = opened()
    for _ in range(25):
        first.append([EDGE])
    second = opened()
    assert second.backlog.dropped == first.backlog.dropped
    assert second.backlog.dropped[0] == SeqRange(first=1, last=6)
    assert second.backlog.numbers == first.backlog.numbers


def test_an_acknowledgement_for_another_stream_lets_nothing_go(in_memory: InMemory) -> None:
    outbox = in_memory()
    outbox.append([EDGE])
    assert outbox.acknowledge("0" * 32, 1, 0) is Verdict.FOREIGN
    assert numbers(outbox) == [1]


def test_the_time_a_collector_told_survives_to_the_second(opened: Callable[[], Outbox], path: Path) -> None:
    first = opened()
    assert first.told_at is None
    first.store_time(MORNING + timedelta(seconds=5.7))
    assert opened().told_at == stored_time(path) == MORNING + timedelta(seconds=5)


def test_an_older_epoch_is_not_remembered(in_memory: InMemory) -> None:
    outbox = in_memory()
    outbox.see_epoch(SEVENTH)
    outbox.see_epoch(SEVENTH - (1 << EPOCH_SALT_BITS))
    assert outbox.collector_epoch_seen == SEVENTH


def test_of_two_epochs_that_count_alike_the_first_is_told_so_that_a_restored_collector_hears_of_it(
    in_memory: InMemory,
) -> None:
    outbox = in_memory()
    outbox.see_epoch(SEVENTH)
    outbox.see_epoch(SEVENTH + 5)
    assert outbox.collector_epoch_seen == SEVENTH
    outbox.see_epoch(SEVENTH + (1 << EPOCH_SALT_BITS))
    assert outbox.collector_epoch_seen == SEVENTH + (1 << EPOCH_SALT_BITS)


def test_a_command_is_new_once_and_old_ones_are_forgotten(in_memory: InMemory) -> None:
    outbox = in_memory()
    assert outbox.mark_done("first")
    assert not outbox.mark_done("first")
    for number in range(COMMANDS_KEPT_MAX):
        assert outbox.mark_done(f"command-{number}")
    assert outbox.mark_done("first")


# --- files of earlier versions


VERSION_1 = """
CREATE TABLE stream (
    only INTEGER PRIMARY KEY CHECK (only = 1), stream_id TEXT NOT NULL, boot_epoch INTEGER NOT NULL,
    event_seq_last INTEGER NOT NULL, acknowledged_seq INTEGER NOT NULL, collector_epoch_seen INTEGER NOT NULL);
CREATE TABLE event (event_seq INTEGER PRIMARY KEY, payload TEXT NOT NULL);
CREATE TABLE command (position INTEGER PRIMARY KEY, command_id TEXT NOT NULL UNIQUE);
PRAGMA user_version = 1;
INSERT INTO stream VALUES (1, 'cafe0000cafe0000cafe0000cafe0000', 3, 2, 1, 7);
INSERT INTO event VALUES (
    2, '{"event_seq":2,"boot_epoch":3,"kind":"started","happened_at":"2026-11-21T08:00:00Z","dropped":[]}');
INSERT INTO command VALUES (1, 'command-1');
"""


def test_a_file_of_version_1_goes_on_where_it_stands(opened: Callable[[], Outbox], path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
    outbox = opened()
    assert (outbox.stream_id[:4], outbox.boot_epoch, outbox.collector_epoch_seen) == ("cafe", 4, 7)
    assert (numbers(outbox), outbox.told_at, outbox.mark_done("command-1")) == ([2], None, False)
    outbox.store_time(MORNING)
    again = opened()
    assert (again.boot_epoch, numbers(again), again.told_at) == (5, [2], MORNING)


def test_an_upgraded_file_is_as_a_new_one(in_memory: InMemory, opened: Callable[[], Outbox], path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
    columns = [
        outbox._connection.execute("SELECT name, type, [notnull] FROM pragma_table_info('stream')").fetchall()
        for outbox in (opened(), in_memory())
    ]
    assert columns[0] == columns[1]


# --- twins: cloned and restored files


def test_a_restored_file_begins_a_new_stream_and_its_events_move_there(in_memory: InMemory) -> None:
    outbox = in_memory()
    image = outbox.image()
    outbox.append([EDGE] * 9)
    restored = in_memory(image=image)
    left = restored.stream_id
    restored.append([EDGE, EDGE])
    assert restored.acknowledge(left, 9, 0) is Verdict.FORKED
    assert restored.stream_id != left
    assert restored.boot_epoch == 1
    assert [(event.event_seq, event.boot_epoch) for event in restored.read((1, 2))] == [(1, 1), (2, 1)]
    again = in_memory(image=restored.image())
    assert (again.stream_id, again.boot_epoch, again.backlog.numbers) == (restored.stream_id, 2, (1, 2))


def test_a_new_stream_without_events_begins_at_nothing(in_memory: InMemory) -> None:
    outbox = in_memory(ids=iter(["1" * 32, "2" * 32]).__next__)
    outbox.begin_new_stream()
    assert (outbox.stream_id, outbox.backlog.event_seq_last, len(outbox.backlog)) == ("2" * 32, 0, 0)


# --- crashes


ACTIONS = st.lists(st.sampled_from(["append", "append", "acknowledge", "crash"]), max_size=40)


@settings(max_examples=50, deadline=None)
@given(ACTIONS)
def test_an_outbox_that_crashes_anywhere_is_the_one_that_never_did(actions: list[str]) -> None:
    with ExitStack() as opened:
        steady = opened.enter_context(closing(Outbox.open(MEMORY, events_max=8)))
        crashing = opened.enter_context(closing(Outbox.open(MEMORY, events_max=8)))
        for action in actions:
            if action == "crash":
                crashing = opened.enter_context(closing(Outbox.open(MEMORY, events_max=8, image=crashing.image())))
                continue
            for outbox in (steady, crashing):
                if action == "append":
                    outbox.append([EDGE])
                else:
                    outbox.backlog.take(0)
                    outbox.acknowledge(outbox.stream_id, min(outbox.backlog.numbers, default=0), 0)
        same = [event.model_copy(update={"boot_epoch": 1}) for event in crashing.read(crashing.backlog.numbers)]
        assert same == list(steady.read(steady.backlog.numbers))
        assert crashing.backlog.dropped == steady.backlog.dropped
        assert crashing.backlog.event_seq_last == steady.backlog.event_seq_last
        assert crashing.boot_epoch == 1 + actions.count("crash")


WRITER = """
import sys
from datetime import UTC, datetime
from tillwatch_agent.backlog import Happening
from tillwatch_agent.outbox import Outbox
outbox = Outbox.open(sys.argv[1])
while True:
    (event,) = outbox.append([Happening(kind="started", happened_at=datetime(2026, 1, 1, tzinfo=UTC))])
    print(event.event_seq, flush=True)
"""


def test_what_append_returned_is_there_after_sigkill(path: Path) -> None:
    seen = 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        lines = [int(writer.stdout.readline()) for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        lines += [int(line) for line in writer.stdout.read().splitlines()]
        writer.wait()
        writer.stdout.close()
        assert lines == list(range(seen + 1, seen + len(lines) + 1)), "numbers are dense across kills"
        with closing(Outbox.open(path)) as outbox:
            assert outbox.backlog.event_seq_last - lines[-1] in {0, 1}, "one may be committed and not yet said"
            seen = outbox.backlog.event_seq_last
            assert outbox.backlog.numbers == tuple(range(1, seen + 1))


# --- broken, busy, full


def spoil_index(path: Path) -> None:
    """Leave a file that opens, with pages that contradict each other."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'event')"
        )


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def overwrite(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be read as one" * 200)


def empty_stream(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM stream")


def drop_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE event")


def spoil_event(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE event SET payload = '{}'")


def age_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    "broken", [truncate, spoil_index, overwrite, empty_stream, drop_table, spoil_event, age_schema]
)
def test_a_file_that_cannot_be_read_is_set_aside_and_a_new_stream_begins(
    broken: Callable[[Path], None], path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Outbox.open(path)) as outbox:
        left = outbox.stream_id
        outbox.append([EDGE])
    broken(path)
    with closing(Outbox.open(path)) as outbox:
        assert outbox.stream_id != left
        assert outbox.append([EDGE])[0].event_seq == 1
    assert path.with_name("outbox.db.corrupt-1").exists()
    assert "a new stream begins" in caplog.text


def test_only_the_newest_broken_files_are_kept(path: Path) -> None:
    for _ in range(CORRUPT_KEPT_MAX + 3):
        Outbox.open(path).close()
        overwrite(path)
    Outbox.open(path).close()
    kept = sorted(file.name for file in path.parent.glob("*.corrupt-*"))
    assert kept == [f"outbox.db.corrupt-{number}" for number in (4, 5, 6)]


def test_a_second_process_is_told_who_holds_it(path: Path) -> None:
    with closing(Outbox.open(path)), pytest.raises(OutboxBusy, match=f"process {os.getpid()} holds it"):
        Outbox.open(path)
    Outbox.open(path).close()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxFailed, match="expected to write in"):
        Outbox.open(tmp_path / "file" / "outbox.db")


def test_a_folder_in_its_place_is_said(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(OutboxFailed, match="sound and writable"):
        Outbox.open(path)
    shutil.rmtree(path)
    Outbox.open(path).close()


def test_a_full_disk_changes_nothing_and_room_heals_it(opened: Callable[[], Outbox]) -> None:
    outbox = opened()
    outbox.append([EDGE])
    pages = outbox._connection.execute("PRAGMA page_count").fetchone()[0]
    outbox._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = Happening(kind="started", happened_at=MORNING, detail="x" * 500)
    with pytest.raises(OutboxFailed, match="full"):
        outbox.append([big] * 15)
    assert (outbox.backlog.event_seq_last, numbers(outbox)) == (1, [1])
    outbox._connection.execute("PRAGMA max_page_count = 1000000")
    assert outbox.append([big])[0].event_seq == 2


def test_a_closed_outbox_fails_as_a_disk_does() -> None:
    outbox = Outbox.open(MEMORY)
    outbox.close()
    with pytest.raises(OutboxFailed):
        outbox.append([EDGE])


def test_a_file_that_breaks_under_us_is_said(path: Path) -> None:
    with closing(Outbox.open(path)) as outbox:
        outbox._connection.execute("DROP TABLE event")
        with pytest.raises(OutboxCorrupt):
            outbox.append([EDGE])


# --- from outside


def test_a_tool_sees_a_summary_beside_a_running_agent(path: Path) -> None:
    with closing(Outbox.open(path)) as outbox:
        outbox.append([EDGE, EDGE, EDGE])
        outbox.backlog.take(0)
        outbox.acknowledge(outbox.stream_id, 1, 0)
        expected = Summary(stream_id=outbox.stream_id, boot_epoch=1, event_seq_last=3, unacknowledged=2)
        assert summary(path) == expected
    assert summary(path) == expected


def test_a_tool_is_told_that_there_is_no_outbox(path: Path) -> None:
    with pytest.raises(OutboxFailed):
        summary(path)
    with closing(Outbox.open(path)):
        pass
    empty_stream(path)
    with pytest.raises(OutboxCorrupt):
        summary(path)


def test_the_disk_is_asked_to_keep_every_commit(path: Path) -> None:
    with closing(Outbox.open(path)) as outbox:
        pragma = {
            name: outbox._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 2}
    assert outboxes.BUSY_TIMEOUT_S > 0
