"""What is over goes, in slices, and nothing that is open; accounts stay closed."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import insert
from tests.collector.databases import rows
from tests.collector.test_history_store import DAY, TILL, record
from tests.collector.words import delivered, event, events, heartbeat, printer, raw

from tillwatch_collector.config import CollectorConfig
from tillwatch_collector.domain.retention import Retention, cutoffs
from tillwatch_collector.errors import StoreUnavailable
from tillwatch_collector.flows.ingest import Counts, ingest
from tillwatch_collector.flows.upkeep import IDLE_S, PACE_S, Chore, Upkeep, UpkeepEffects
from tillwatch_collector.intake import Clock
from tillwatch_collector.metrics import Metrics
from tillwatch_collector.store import tables, upkeep
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import Table, table_of
from tillwatch_collector.upkeep import JAMMED_PACE_S, Keeper
from tillwatch_protocol.topics import Message

KEPT = Retention(
    samples_days=2,
    hourly_days=4,
    daily_days=8,
    events_days=10,
    tickets_days=20,
    quarantine_days=5,
    quarantine_rows_max=1_000,
    streams_kept=2,
)
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def put(store: Store, row: type[Table], *values: dict[str, Any]) -> None:
    with store.transaction() as repository:
        repository.connection.execute(insert(table_of(row)), list(values))


def steps(store: Store, now: datetime = NOW, kept: Retention = KEPT) -> list[UpkeepEffects]:
    """Make steps until there is nothing to do."""
    keeper = Upkeep(kept)
    done: list[UpkeepEffects] = []
    for _ in range(500):
        with store.transaction() as repository:
            effects = keeper.step(repository, now, 0)
        if effects.chore is None:
            return done
        done.append(effects)
    raise AssertionError(f"upkeep finds no end: {done[-5:]}")


def numbers(store: Store, query: str) -> list[Any]:
    return [row[0] for row in rows(store, query)]


# --- when


def test_cutoffs_are_whole_days_for_history_and_moments_for_the_rest() -> None:
    over = cutoffs(KEPT, NOW)
    today = 20778
    assert (over.samples_day, over.hourly_hour, over.daily_day) == (today - 2, (today - 4) * 24, today - 8)
    assert over.series_day < over.daily_day - 31
    assert (over.events_at, over.tickets_at, over.quarantine_at) == (ago(10), ago(20), ago(5))


def test_the_settings_defaults_keep_what_auditors_ask_for() -> None:
    kept = CollectorConfig().retained
    assert kept.samples_days <= kept.hourly_days <= kept.daily_days
    assert kept.events_days >= 365
    assert kept.tickets_days >= kept.events_days


# --- history


def test_history_becomes_coarser_with_age_and_then_goes(store: Store) -> None:
    for day in range(12):
        record(store, [(ago(day), TILL, {"cpu_pct": float(day)})])
    steps(store)
    today = 20778
    assert numbers(store, "SELECT day FROM sample_day ORDER BY day") == [today - 2, today - 1, today]
    # today's hour is under way
    assert numbers(store, "SELECT hour / 24 FROM rollup_hour ORDER BY 1") == [
        today - 4,
        today - 3,
        today - 2,
        today - 1,
    ]
    assert numbers(store, "SELECT day FROM rollup_day ORDER BY 1") == list(range(today - 8, today))
    assert numbers(store, "SELECT count(*) FROM series") == [1]


def test_a_day_whose_hours_are_not_rolled_up_is_not_dropped(store: Store) -> None:
    record(store, [(ago(5), TILL, {"cpu_pct": 20})])
    with store.transaction() as repository:
        assert upkeep.Disposal(repository.connection, cutoffs(KEPT, NOW)).samples() == 0
    steps(store)
    assert numbers(store, "SELECT day FROM sample_day") == []
    assert numbers(store, "SELECT count FROM rollup_day") == [1]


def test_hours_stay_until_their_day_is_made(store: Store) -> None:
    record(store, [(ago(6), TILL, {"cpu_pct": 20})])
    done = [step.chore for step in steps(store)]
    assert done.index(Chore.ROLL_DAY) < done.index(Chore.HOURS)


def test_a_series_without_rollups_is_forgotten(store: Store) -> None:
    today = 20778
    put(
        store,
        tables.SeriesRow,
        {"terminal_id": TILL, "component": "machine:self", "measure": "old_ms", "last_day": today - 41},
        {"terminal_id": TILL, "component": "machine:self", "measure": "new_ms", "last_day": today - 40},
    )
    steps(store)
    assert numbers(store, "SELECT measure FROM series") == ["new_ms"]


# --- events and streams


def taken_in(store: Store, *messages: Message, now: datetime) -> Counts:
    batch = [delivered(message)._replace(received_at=now) for message in messages]
    with store.transaction() as repository:
        return ingest(repository, batch, now).counts


def test_events_go_by_the_collectors_time_and_never_above_the_committed_prefix(store: Store) -> None:
    taken_in(store, events(1, 2, 4), now=ago(11))  # 3 is missing: 4 is above the prefix
    taken_in(store, events(event(5)), now=ago(9))
    steps(store)
    assert numbers(store, "SELECT event_seq FROM event ORDER BY event_seq") == [4, 5]


def test_an_event_that_went_by_age_stays_accounted_for(store: Store) -> None:
    taken_in(store, events(*range(1, 6)), now=ago(11))
    before = rows(store, "SELECT prefix_seq, accounted, event_seq_last FROM stream")
    steps(store)
    assert numbers(store, "SELECT count(*) FROM event") == [0]
    counts = taken_in(store, events(*range(3, 7)), now=NOW)
    assert (counts.events, counts.events_repeated) == (1, 3)
    assert numbers(store, "SELECT event_seq FROM event") == [6]
    assert rows(store, "SELECT prefix_seq FROM stream") == [(6,)]
    assert before == [(5, "[]", 5)]
    assert numbers(store, "SELECT count(*) FROM event_gap") == [0]


def test_of_a_terminals_old_streams_the_latest_stay_and_so_does_the_current_one(store: Store) -> None:
    for number, letter in enumerate("abcdef"):
        beat = heartbeat(1, printer(), stream_id=letter, event_seq_last=1)
        taken_in(store, beat, events(1, stream_id=letter), now=ago(30 - number))
    taken_in(store, heartbeat(2, printer(), stream_id="a"), now=ago(15))  # the first one speaks again: it is current
    taken_in(store, heartbeat(2, printer(), stream_id="c"), events(2, stream_id="c"), now=ago(9))
    taken_in(store, heartbeat(3, printer(), stream_id="a"), now=ago(8.9))
    steps(store)
    left = [letter * 32 for letter in "acef"]
    for table in ("stream", "level"):
        assert numbers(store, f"SELECT stream_id FROM {table} ORDER BY stream_id") == left, table
    assert numbers(store, "SELECT DISTINCT stream_id FROM event") == ["c" * 32]
    assert numbers(store, "SELECT heard_at FROM sighting") != []


def test_a_stream_goes_with_events_that_nobody_acknowledged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "ROWS_MAX", 3)
    taken_in(store, events(*range(2, 12), stream_id="a"), now=ago(30))
    for letter in "bc":
        taken_in(store, heartbeat(1, printer(), stream_id=letter), now=ago(29))
    steps(store)
    assert numbers(store, "SELECT DISTINCT stream_id FROM stream ORDER BY 1") == ["b" * 32, "c" * 32]
    assert numbers(store, "SELECT count(*) FROM event") == [0]


# --- tickets, faults, quarantine


def ticket(ticket_id: int, status: str, updated_days: float) -> dict[str, Any]:
    return {
        "ticket_id": ticket_id,
        "subject_kind": "terminal",
        "subject_id": f"t-{ticket_id}",
        "component": "pos_printer:1",
        "code": "paper_end",
        "status": status,
        "severity": "minor",
        "category": "paper",
        "opened_at": ago(100),
        "updated_at": ago(updated_days),
        "recurrences": 0,
        "origin": "machine",
        "title": "",
        "description": "",
        "watchers": [],
        "repair": "simple",
        "escalation_step": 0,
    }


def fault(ticket_id: int | None, cleared_days: float | None) -> dict[str, Any]:
    return {
        "terminal_id": "t-1",
        "component": "pos_printer:1",
        "code": "paper_end",
        "severity": "minor",
        "happened_at": ago(100),
        "raised_at": ago(100),
        "cleared_at": None if cleared_days is None else ago(cleared_days),
        "ticket_id": ticket_id,
    }


def line(ticket_id: int) -> dict[str, Any]:
    return {
        "ticket_id": ticket_id,
        "at": ago(50),
        "actor": "machine:judge",
        "action": "x",
        "reason": "",
        "evidence": {},
    }


def test_ended_tickets_go_with_journal_and_faults_and_open_ones_stay_however_old(store: Store) -> None:
    put(
        store,
        tables.TicketRow,
        ticket(1, "closed", 21),
        ticket(2, "cancelled", 21),
        ticket(3, "merged", 21),
        ticket(4, "closed", 19),  # not old enough
        ticket(5, "reported", 90),  # open
        ticket(6, "resolved", 90),  # still open: it waits for a recurrence
        ticket(7, "cancelled", 90),  # its condition still stands
    )
    put(store, tables.FaultRow, *(fault(number, 60) for number in range(1, 7)), fault(7, None))
    put(store, tables.JournalRow, *(line(number) for number in range(1, 8)))
    steps(store)
    for table in ("ticket", "fault", "journal"):
        assert numbers(store, f"SELECT ticket_id FROM {table} ORDER BY ticket_id") == [4, 5, 6, 7], table


def said(ticket_id: int) -> dict[str, Any]:
    return {"route": "ops", "ticket_id": ticket_id, "said": "opened", "at": ago(50)}


def comment(ticket_id: int) -> dict[str, Any]:
    return {"ticket_id": ticket_id, "at": ago(50), "actor": "person:ann", "text": "hello", "internal": False}


def attachment(ticket_id: int) -> dict[str, Any]:
    return {
        "ticket_id": ticket_id,
        "at": ago(50),
        "actor": "person:ann",
        "name": "a.txt",
        "media_type": "text/plain",
        "size_bytes": 1,
        "sha256": "",
        "content": b"a",
    }


def outage(ticket_id: int, ended_days: float | None) -> dict[str, Any]:
    return {
        "node_kind": "store",
        "node_id": "s-1",
        "component": "agent:self",
        "code": "silent",
        "ticket_id": ticket_id,
        "began_at": ago(90),
        "detected_at": ago(90),
        "ended_at": None if ended_days is None else ago(ended_days),
        "terminals_hit": 5,
        "terminals_total": 5,
        "evidence": {},
    }


def test_what_people_and_notifiers_wrote_on_a_ticket_goes_with_it(store: Store) -> None:
    put(store, tables.TicketRow, ticket(1, "closed", 21), ticket(2, "closed", 19), ticket(3, "closed", 21))
    for number in (1, 2, 3):
        put(store, tables.CommentRow, comment(number))
        put(store, tables.AttachmentRow, attachment(number))
        put(store, tables.SaidRow, said(number))
    # the third was closed by a person while its outage goes on
    put(store, tables.OutageRow, outage(1, 80), outage(2, 80), outage(3, None))
    steps(store)
    for table in ("ticket", "comment", "attachment", "said", "outage"):
        assert numbers(store, f"SELECT ticket_id FROM {table} ORDER BY ticket_id") == [2, 3], table


def notification(number: int, state: str, created_days: float) -> dict[str, Any]:
    return {
        "notification_id": number,
        "route": "ops",
        "state": state,
        "created_at": ago(created_days),
        "due_at": ago(created_days),
        "attempts": 1,
        "title": "t",
        "body": "b",
        "items": [],
    }


def test_messages_go_when_they_are_old_and_not_before_they_were_sent(store: Store) -> None:
    put(
        store,
        tables.NotificationRow,
        notification(1, "sent", 11),
        notification(2, "given_up", 11),
        notification(3, "due", 11),
        notification(4, "sent", 9),
    )
    steps(store)
    assert numbers(store, "SELECT notification_id FROM notification ORDER BY 1") == [3, 4]


def span(number: int, ends_days: float | None, cancelled_days: float | None) -> dict[str, Any]:
    return {
        "maintenance_id": number,
        "scope_kind": "all",
        "scope_id": "",
        "starts_at": ago(100),
        "ends_at": None if ends_days is None else ago(ends_days),
        "reason": "r",
        "created_by": "person:ann",
        "created_at": ago(100),
        "cancelled_at": None if cancelled_days is None else ago(cancelled_days),
    }


def test_maintenance_goes_long_after_its_end(store: Store) -> None:
    put(
        store,
        tables.MaintenanceRow,
        span(1, 21, None),
        span(2, 19, None),
        span(3, None, None),  # every week, without end
        span(4, None, 21),
        span(5, -10, 19),
    )
    steps(store)
    assert numbers(store, "SELECT maintenance_id FROM maintenance ORDER BY 1") == [2, 3, 5]


def test_faults_without_a_ticket_go_when_they_are_long_over(store: Store) -> None:
    put(store, tables.FaultRow, fault(None, 21), fault(None, 19), fault(None, None))
    steps(store)
    assert numbers(store, "SELECT count(*) FROM fault") == [2]
    assert numbers(store, "SELECT count(*) FROM fault WHERE cleared_at IS NULL") == [1]


def quarantined(store: Store, count: int, days: float) -> None:
    with store.transaction() as repository:
        ingest(repository, [raw(b"{,}")._replace(received_at=ago(days)) for _ in range(count)], ago(days))


def test_quarantine_keeps_its_days_and_its_rows(store: Store) -> None:
    quarantined(store, 3, 6)
    quarantined(store, 20, 4)
    steps(store)
    assert numbers(store, "SELECT count(*) FROM quarantine") == [20]
    steps(store, kept=replace(KEPT, quarantine_rows_max=7))
    assert numbers(store, "SELECT count(*), min(quarantine_id) FROM quarantine") == [7]
    assert numbers(store, "SELECT max(quarantine_id) FROM quarantine") == [23]


# --- steps


def test_a_step_deletes_a_slice_and_the_others_take_their_turns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "ROWS_MAX", 4)
    quarantined(store, 9, 6)
    taken_in(store, events(*range(1, 11)), now=ago(11))
    done = [(step.chore, step.rows) for step in steps(store)]
    assert done == [
        (Chore.EVENTS, 4),
        (Chore.QUARANTINE, 4),
        (Chore.EVENTS, 4),
        (Chore.QUARANTINE, 4),
        (Chore.EVENTS, 2),
        (Chore.QUARANTINE, 1),
    ]


def test_a_step_is_due_soon_while_there_is_work_and_seldom_when_there_is_none(store: Store) -> None:
    keeper = Upkeep(KEPT)
    quarantined(store, 1, 6)
    assert keeper.due(100)
    with store.transaction() as repository:
        keeper.step(repository, NOW, 100)
    assert [keeper.due(100 + PACE_S - 0.1), keeper.due(100 + PACE_S)] == [False, True]
    with store.transaction() as repository:
        assert keeper.step(repository, NOW, 102).chore is None
    assert [keeper.due(102 + IDLE_S - 0.1), keeper.due(102 + IDLE_S)] == [False, True]


def test_hours_that_wait_are_told(store: Store) -> None:
    record(store, [(ago(1) + timedelta(hours=hour), TILL, {"cpu_pct": 20}) for hour in range(5)])
    assert steps(store)[0].hours_waiting == 5


# --- beside the ticks


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: NOW, monotonic_s=lambda: self.now_s)


def sample(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(f"tillwatch_{name}", labels) or 0.0


def test_the_keeper_tells_what_it_did_and_is_rarer_while_messages_wait(store: Store) -> None:
    hand, metrics = Hand(), Metrics()
    quarantined(store, 5, 6)
    record(store, [(DAY - timedelta(days=1), TILL, {"cpu_pct": 20})])
    keeper = Keeper(store, KEPT, metrics=metrics, clock=hand.clock)
    keeper.work(jammed=True)
    assert sample(metrics.registry, "upkeep_rows_total", chore="roll_hour") == 1
    assert sample(metrics.registry, "rollups_waiting_hours") == 1
    hand.now_s = JAMMED_PACE_S - 1
    keeper.work(jammed=True)
    assert sample(metrics.registry, "upkeep_seconds_count") == 1
    keeper.work(jammed=False)
    assert sample(metrics.registry, "upkeep_seconds_count") == 2


def test_a_day_that_is_dropped_is_said(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    put(store, tables.SampleDayRow, {"day": 20770})
    caplog.set_level(logging.INFO)
    Keeper(store, KEPT, metrics=Metrics(), clock=Hand().clock).work(jammed=False)
    assert "the samples of a day that is over were dropped" in caplog.messages


def test_upkeep_that_the_database_refuses_is_said_once_and_stops_nobody(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, metrics = Hand(), Metrics()
    keeper = Keeper(store, KEPT, metrics=metrics, clock=hand.clock)

    def refuse(*_: object) -> None:
        raise StoreUnavailable("the database does not do its work: no room")

    with monkeypatch.context() as refusing:
        refusing.setattr(Upkeep, "step", refuse)
        caplog.set_level(logging.INFO)
        for hand.now_s in (0.0, 1.0, IDLE_S, 2 * IDLE_S):
            keeper.work(jammed=False)
    hand.now_s = 3 * IDLE_S
    keeper.work(jammed=False)
    assert [entry.getMessage() for entry in caplog.records if "upkeep" in entry.name] == [
        "upkeep waits: the database does not do its work: no room",
        "upkeep works again",
    ]
