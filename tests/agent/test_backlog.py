"""The backlog: numbers without holes, what goes when it is full, what is sent when, and what lets go."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.agent.moments import MORNING, at

from tillwatch_agent.backlog import (
    BATCH_BYTES_MAX,
    EVENTS_MAX_MIN,
    JOB_REPORTS_MAX,
    RESEND_AFTER_S,
    RESEND_AFTER_S_MAX,
    Backlog,
    Entry,
    Happening,
    Verdict,
    coalesced,
    renumbered,
)
from tillwatch_agent.errors import JobReportsFull
from tillwatch_protocol.event import Event, EventKind, SeqRange
from tillwatch_protocol.job import JobReport, JobState
from tillwatch_protocol.vocabulary import DROPPED_RANGES_MAX, EVENTS_IN_FLIGHT_MAX

EDGE, JOB, DROPPED = EventKind.CONDITION_RAISED, EventKind.JOB, EventKind.DROPPED


def happening(kind: str = EDGE) -> Happening:
    report = JobReport(job_id="job-1", state=JobState.STAGED) if kind == JOB else None
    return Happening(kind=kind, happened_at=MORNING, component="scanner:1", code="offline", job=report)


def append(backlog: Backlog, *kinds: str, payload_bytes: int = 100) -> tuple[Event, ...]:
    """What an outbox does, without its table."""
    plan = backlog.plan_append(kinds)
    events = plan.events([happening(kind) for kind in kinds], boot_epoch=1)
    backlog.apply(plan, [Entry.of(event, payload_bytes) for event in events])
    return events


def filled(count: int, *, events_max: int = 10_000, kind: str = EDGE) -> Backlog:
    backlog = Backlog(events_max=events_max)
    for _ in range(count):
        append(backlog, kind)
    return backlog


def ranges(*pairs: tuple[int, int]) -> tuple[SeqRange, ...]:
    return tuple(SeqRange(first=first, last=last) for first, last in pairs)


def sent(backlog: Backlog, now_s: float = 0) -> list[int]:
    return [number for batch in backlog.take(now_s) for number in batch]


# --- numbers and room


def test_numbers_are_dense_from_one() -> None:
    backlog = Backlog()
    assert backlog.oldest_seq == 1
    events = append(backlog, EDGE, JOB, EDGE)
    assert [event.event_seq for event in events] == [1, 2, 3]
    assert (backlog.event_seq_last, backlog.oldest_seq, len(backlog), backlog.numbers) == (3, 1, 3, (1, 2, 3))


def test_a_full_backlog_drops_its_oldest_tenth_and_declares_it_in_the_place_kept_free() -> None:
    backlog = filled(99, events_max=100)
    assert len(backlog) == 99
    declaring, event = append(backlog, EDGE)
    assert (declaring.kind, declaring.event_seq, declaring.dropped) == (DROPPED, 100, ranges((1, 10)))
    assert event.event_seq == 101
    assert len(backlog) == 91
    assert backlog.dropped == ranges((1, 10))


def test_the_next_declaration_takes_in_the_one_before_with_its_own_number() -> None:
    backlog = filled(100, events_max=100)  # 1..10 dropped, declared by 100
    while append(backlog, EDGE)[0].kind != DROPPED:
        pass
    assert backlog.dropped == ranges((1, 20), (100, 100))
    assert sum(number == 100 for number in backlog.numbers) == 0
    assert len(backlog) <= 100


def test_job_reports_are_never_dropped() -> None:
    backlog = Backlog(events_max=20)
    for _ in range(5):
        append(backlog, EDGE, JOB)
    for _ in range(200):
        append(backlog, EDGE)
    assert set(backlog.numbers) >= {2, 4, 6, 8, 10}
    assert len(backlog) <= 20
    assert backlog.dropped[:6] == ranges((1, 1), (3, 3), (5, 5), (7, 7), (9, 9), (11, 287))


@pytest.mark.parametrize(
    ("events_max", "reports_max"),
    [
        (10_000, JOB_REPORTS_MAX),  # the ranges around them fit one declaration
        (20, 10),  # a small backlog keeps half for what is dropped
    ],
)
def test_too_many_job_reports_are_our_own_mistake(events_max: int, reports_max: int) -> None:
    backlog = filled(reports_max, events_max=events_max, kind=JOB)
    with pytest.raises(JobReportsFull, match=f"at most {reports_max}"):
        append(backlog, JOB)
    assert backlog.event_seq_last == reports_max
    append(backlog, EDGE)


def test_with_nothing_left_to_drop_events_still_enter() -> None:
    backlog = filled(2, events_max=EVENTS_MAX_MIN, kind=JOB)
    append(backlog, EDGE, EDGE, EDGE)  # more at once than there is room for
    assert backlog.numbers == (1, 2, 3, 4, 5)
    append(backlog, EDGE)
    assert backlog.dropped == ranges((3, 5))


def test_with_only_job_reports_held_there_is_nothing_to_declare() -> None:
    backlog = filled(2, events_max=EVENTS_MAX_MIN, kind=JOB)
    assert [event.event_seq for event in append(backlog, EDGE, EDGE)] == [3, 4]


def test_more_is_dropped_when_the_ranges_would_not_fit_one_event() -> None:
    # Every second event a report: each dropped one makes a range. Old declarations add theirs.
    backlog = Backlog(events_max=2_000)
    for _ in range(JOB_REPORTS_MAX):
        append(backlog, JOB, EDGE)
    for _ in range(40_000):
        append(backlog, EDGE)
        assert len(backlog.dropped) <= DROPPED_RANGES_MAX
    assert len(backlog) <= 2_000


def test_ranges_that_would_be_too_many_are_joined_by_dropping_what_stands_between() -> None:
    entries = [
        Entry(event_seq=number, kind=JOB if number % 2 and number < 100 else EDGE, payload_bytes=1)
        for number in range(1, 400)
    ]
    declaration = Entry(
        event_seq=400,
        kind=DROPPED,
        payload_bytes=1,
        dropped=(),
    )
    backlog = Backlog(entries=[*entries, declaration], event_seq_last=400, events_max=400)
    plan = backlog.plan_append([EDGE])
    assert len(plan.declare) <= DROPPED_RANGES_MAX
    assert len(plan.drop) > 40


def test_the_room_has_a_least() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        Backlog(events_max=EVENTS_MAX_MIN - 1)


@pytest.mark.parametrize(
    ("loose", "joined"),
    [
        ((), ()),
        (((1, 2), (3, 4)), ((1, 4),)),  # touching
        (((5, 9), (1, 6)), ((1, 9),)),  # overlapping, out of order
        (((1, 9), (3, 4)), ((1, 9),)),  # within
        (((1, 2), (4, 5)), ((1, 2), (4, 5))),  # apart
    ],
)
def test_ranges_are_coalesced(loose: tuple[tuple[int, int], ...], joined: tuple[tuple[int, int], ...]) -> None:
    assert coalesced(ranges(*loose)) == ranges(*joined)


# --- sending


def test_at_most_a_window_is_in_flight() -> None:
    backlog = filled(50)
    assert backlog.due_s() == -math.inf
    assert sent(backlog) == list(range(1, EVENTS_IN_FLIGHT_MAX + 1))
    assert sent(backlog, 1) == []
    assert backlog.due_s() == RESEND_AFTER_S


def test_what_is_new_is_sent_at_once_and_once() -> None:
    backlog = filled(2)
    assert sent(backlog) == [1, 2]
    append(backlog, EDGE)
    assert sent(backlog, 1) == [3]
    assert sent(backlog, 2) == []
    assert backlog.due_s() == RESEND_AFTER_S


def test_an_empty_backlog_waits_for_nothing() -> None:
    assert sent(Backlog()) == []
    assert Backlog().due_s() == math.inf


def test_unacknowledged_ones_go_again_from_the_oldest_ever_more_seldom() -> None:
    backlog = filled(3)
    assert sent(backlog) == [1, 2, 3]
    now_s, waits = 0.0, []
    for _ in range(7):
        waits.append(backlog.due_s() - now_s)
        now_s = backlog.due_s()
        assert sent(backlog, now_s - 0.1) == []
        assert sent(backlog, now_s) == [1, 2, 3]
    assert waits == [RESEND_AFTER_S, 20, 40, 80, 160, RESEND_AFTER_S_MAX, RESEND_AFTER_S_MAX]


def test_progress_begins_the_patience_anew() -> None:
    backlog = filled(3)
    sent(backlog)
    sent(backlog, 10)
    backlog.release(1, 15)
    assert backlog.due_s() == 15 + RESEND_AFTER_S
    backlog.release(3, 16)
    assert backlog.due_s() == math.inf


@pytest.mark.parametrize("again", [0, 1])
def test_a_new_connection_or_collector_gets_all_from_the_oldest(again: int) -> None:
    backlog = filled(3)
    sent(backlog)
    sent(backlog, 10 * again)
    backlog.rewind()
    assert backlog.due_s() == -math.inf
    assert sent(backlog, 20) == [1, 2, 3]
    assert backlog.due_s() == 20 + RESEND_AFTER_S


def test_the_declaration_is_sent_before_all_others() -> None:
    backlog = filled(100, events_max=100)
    assert sent(backlog) == [*range(11, 30), 100]  # 19 of the oldest, and it
    assert sent(backlog) == []


def test_a_declaration_in_flight_takes_no_second_place() -> None:
    backlog = filled(100, events_max=100)
    sent(backlog)
    backlog.release(12, 1)
    assert sent(backlog, 1) == [30, 31]


def test_batches_stay_below_the_payload_limit() -> None:
    backlog = Backlog()
    for _ in range(5):
        append(backlog, EDGE, payload_bytes=BATCH_BYTES_MAX // 2)
    assert backlog.take(0) == ((1, 2), (3, 4), (5,))


# --- acknowledgement


@pytest.mark.parametrize(
    ("event_seq", "verdict"),
    [
        (0, Verdict.KNOWN),  # a collector that knows nothing yet
        (1, Verdict.RELEASED),
        (20, Verdict.RELEASED),
        (21, Verdict.FORKED),  # held, but never sent from here: a twin wrote that number
        (31, Verdict.FORKED),  # beyond our last
    ],
)
def test_an_acknowledgement_is_judged_by_what_was_sent(event_seq: int, verdict: Verdict) -> None:
    backlog = filled(30)
    sent(backlog)
    assert backlog.judge(event_seq) is verdict


def test_what_lay_here_at_the_start_may_have_been_sent_before_it() -> None:
    entries = [Entry(event_seq=number, kind=EDGE, payload_bytes=1) for number in (3, 4)]
    backlog = Backlog(entries=entries, event_seq_last=4, acknowledged_seq=2)
    assert backlog.judge(4) is Verdict.RELEASED
    assert backlog.judge(5) is Verdict.FORKED
    assert backlog.judge(2) is Verdict.KNOWN


def test_a_duplicate_acknowledgement_is_known() -> None:
    backlog = filled(2)
    sent(backlog)
    backlog.release(2, 1)
    assert (backlog.judge(2), len(backlog), backlog.oldest_seq) == (Verdict.KNOWN, 0, 3)


def test_an_acknowledged_declaration_is_not_declared_again() -> None:
    backlog = filled(100, events_max=100)
    sent(backlog)
    backlog.release(100, 1)
    assert not backlog.dropped
    while append(backlog, EDGE)[0].kind != DROPPED:
        pass
    assert backlog.dropped[0].first == 101


def test_what_an_acknowledgement_passed_is_not_declared_again() -> None:
    backlog = filled(100, events_max=100)
    sent(backlog)
    backlog.release(5, 1)
    assert backlog.dropped == ranges((6, 10))


# --- a new stream


def test_unacknowledged_events_move_to_a_new_stream_and_what_was_dropped_keeps_its_count() -> None:
    events = [
        happening(JOB).numbered(4, 7),
        happening(EDGE).numbered(11, 7),
        Happening(kind=DROPPED, happened_at=at(1).at, dropped=ranges((1, 3), (5, 10))).numbered(12, 8),
        happening(EDGE).numbered(13, 8),
    ]
    moved = renumbered(events, ranges((2, 3), (5, 10)))
    assert [(event.event_seq, event.boot_epoch, event.kind) for event in moved] == [
        (9, 1, JOB),
        (10, 1, EDGE),
        (11, 1, DROPPED),
        (12, 1, EDGE),
    ]
    assert moved[2].dropped == ranges((1, 8))


def test_a_declaration_without_anything_left_to_declare_does_not_move() -> None:
    declaring = Happening(kind=DROPPED, happened_at=at(1).at, dropped=ranges((1, 3))).numbered(12, 8)
    assert renumbered([declaring], ()) == ()


# --- rule 4


class NoSilentLoss(RuleBasedStateMachine):
    """Appends, lossy sending, acknowledgements, restarts in any order: every number given is accounted for."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.backlog = Backlog(events_max=12)
        self.table: dict[int, Event] = {}
        self.stored: set[int] = set()
        self.declared: set[int] = set()
        self.lost: set[int] = set()

    @rule(kinds=st.lists(st.sampled_from([EDGE, EDGE, EDGE, JOB]), min_size=1, max_size=3))
    def append(self, kinds: list[str]) -> None:
        try:
            plan = self.backlog.plan_append(kinds)
        except JobReportsFull:
            return
        events = plan.events([happening(kind) for kind in kinds], boot_epoch=1)
        for number in plan.drop:
            del self.table[number]
        self.table |= {event.event_seq: event for event in events}
        self.backlog.apply(plan, [Entry.of(event, 1) for event in events])

    @rule(arrives=st.booleans(), waits_s=st.sampled_from([0.0, 1.0, 400.0]))
    def send(self, *, arrives: bool, waits_s: float) -> None:
        self.now_s += waits_s
        oldest_seq = self.backlog.oldest_seq
        for batch in self.backlog.take(self.now_s):
            if arrives:
                self.collect([self.table[number] for number in batch], oldest_seq)

    def collect(self, events: list[Event], oldest_seq: int) -> None:
        """What a collector does with a batch: store, take declarations, know what will never come."""
        for event in events:
            self.stored.add(event.event_seq)
            for gap in event.dropped:
                self.declared.update(range(gap.first, gap.last + 1))
        self.lost.update(set(range(1, oldest_seq)) - self.stored - self.declared)

    @property
    def prefix(self) -> int:
        known = self.stored | self.declared | self.lost
        return next(number for number in range(len(known) + 1) if number + 1 not in known)

    @rule(behind=st.integers(0, 5))
    def acknowledge(self, behind: int) -> None:
        event_seq = max(self.prefix - behind, 0)
        verdict = self.backlog.judge(event_seq)
        assert verdict is not Verdict.FORKED
        if verdict is Verdict.RELEASED:
            self.table = {number: event for number, event in self.table.items() if number > event_seq}
            self.backlog.release(event_seq, self.now_s)

    @rule()
    def restart(self) -> None:
        entries = [Entry.of(event, 1) for _, event in sorted(self.table.items())]
        self.backlog = Backlog(
            entries=entries,
            event_seq_last=self.backlog.event_seq_last,
            acknowledged_seq=self.backlog.acknowledged_seq,
            events_max=12,
        )

    @precondition(lambda self: self.table)
    @rule()
    def reconnect(self) -> None:
        self.backlog.rewind()
        assert self.backlog.due_s() == -math.inf

    @invariant()
    def every_number_is_accounted_for(self) -> None:
        pending = {
            number
            for event in self.table.values()
            for gap in event.dropped
            for number in range(gap.first, gap.last + 1)
        }
        accounted = self.stored | self.declared | self.lost | pending | self.table.keys()
        assert accounted == set(range(1, self.backlog.event_seq_last + 1))

    @invariant()
    def the_index_is_the_table(self) -> None:
        assert self.backlog.numbers == tuple(sorted(self.table))
        assert sum(event.kind == DROPPED for event in self.table.values()) <= 1

    def teardown(self) -> None:
        """A collector that hears everything ends with everything, and the outbox with nothing."""
        for _ in range(100):
            self.send(arrives=True, waits_s=400.0)
            self.acknowledge(0)
        assert self.table == {}
        assert self.prefix == self.backlog.event_seq_last


TestNoSilentLoss = NoSilentLoss.TestCase
TestNoSilentLoss.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
