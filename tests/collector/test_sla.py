"""What contracts promise, and how a ticket stands to it: out of its journal, on the contract's calendar."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillwatch_collector import slas
from tillwatch_collector.domain.hours import WEEKDAYS, Hours, parse_hours
from tillwatch_collector.domain.policy import Repair, Severity
from tillwatch_collector.domain.sla import (
    SLA_BYTES_MAX,
    Clock,
    ClockReason,
    Clocks,
    ClockState,
    EscalationStep,
    Promised,
    Step,
    Target,
    deadlines,
    escalation,
    parse_sla,
    responded_at,
)
from tillwatch_collector.domain.ticket import Status
from tillwatch_collector.errors import SlaInvalid

H = 3600
START = datetime(2026, 11, 16, 8, tzinfo=UTC)
"""A Monday; nine o'clock in Berlin, where the shop opens."""
SHOP = parse_hours({day: [["09:00", "18:00"]] for day in WEEKDAYS[:6]}, "Europe/Berlin", {"2026-11-18": []})
TARGET = Target(respond_s=2 * H, resolve_s=12 * H)

ANN, JUDGE, ACME = "person:ann", "machine:judge", "provider:acme"

PACKAGED = slas.load()
SHORT = """
version = 1
default = "plain"
[contract.plain]
calendar = "always"
"""


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def step(hours: float, to: str, *, actor: str = ANN, action: str = "act", before: str = "") -> Step:
    return Step(at=at(hours), actor=actor, action=action, from_status=before or None, to_status=to)


def journal(*moves: tuple[float, str] | tuple[float, str, str]) -> list[Step]:
    """Return a journal that begins with the machine's report; a move is by Ann unless it says by whom."""
    steps = [step(0, "reported", actor=JUDGE, action="open")]
    for hours, to, *actor in moves:
        before = steps[-1].to_status or ""
        steps.append(step(hours, to, actor=actor[0] if actor else ANN, before=before))
    return steps


def clocks(steps: list[Step], now_h: float, *, calendar: Hours | None = None, target: Target = TARGET) -> Clocks:
    return deadlines(START, steps, target, calendar, at(now_h))


def said(clock: Clock) -> tuple[str, str]:
    return str(clock.state), str(clock.reason)


# --- the two clocks


@pytest.mark.parametrize(
    ("moves", "now_h", "respond", "resolve"),
    [
        # nobody has looked at it: in time, at the last moment, and after it
        ((), 1, "running counting", "running counting"),
        ((), 2, "breached overdue", "running counting"),
        ((), 12, "breached overdue", "breached overdue"),
        # taken in hand in time, and late
        (((1, "diagnosing"),), 5, "met in_time", "running counting"),
        (((3, "diagnosing"),), 5, "breached late", "running counting"),
        # a provider takes it in hand, too; the machine does not
        (((1, "diagnosing", ACME),), 5, "met in_time", "running counting"),
        (((1, "resolved", JUDGE), (1.5, "reported", JUDGE)), 1.6, "running counting", "running counting"),
        # pending: both stand, whoever waits; what was over before stays so
        (((1, "diagnosing"), (2, "pending")), 50, "met in_time", "paused pending"),
        (((1, "diagnosing"), (13, "pending")), 50, "met in_time", "breached overdue"),
        # done in time, and late: pending apart
        (((1, "diagnosing"), (11, "resolved", JUDGE)), 50, "met in_time", "met in_time"),
        (((1, "diagnosing"), (13, "resolved", JUDGE)), 50, "met in_time", "breached late"),
        (((1, "diagnosing"), (2, "pending"), (40, "repairing"), (49, "closed")), 50, "met in_time", "met in_time"),
        # verifying is not done
        (((1, "verifying"),), 13, "met in_time", "breached overdue"),
        # it ended by itself, before anyone was late, and after
        (((1, "resolved", JUDGE),), 50, "none ended", "met in_time"),
        (((3, "resolved", JUDGE),), 50, "breached late", "met in_time"),
        # nothing to resolve any more: who cancels, or merges, has responded
        (((1, "cancelled"),), 50, "met in_time", "none ended"),
        (((1, "merged"),), 50, "met in_time", "none ended"),
        (((13, "cancelled"),), 50, "breached late", "breached late"),
        # reopened: what had gone by counts, the time in which it was resolved does not
        (((1, "diagnosing"), (2, "resolved", JUDGE), (30, "reported", JUDGE)), 39, "met in_time", "running counting"),
        (((1, "diagnosing"), (2, "resolved", JUDGE), (30, "reported", JUDGE)), 40, "met in_time", "breached overdue"),
    ],
)
def test_how_a_ticket_stands_to_its_contract(
    moves: tuple[tuple[float, str]], now_h: float, respond: str, resolve: str
) -> None:
    found = clocks(journal(*moves), now_h)
    assert (" ".join(said(found.respond)), " ".join(said(found.resolve))) == (respond, resolve)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("over", [False, True])
def test_each_status_has_its_word_on_both_clocks(status: Status, over: bool) -> None:
    """The whole product: a status that somebody adds is counted, or named among those that are not."""
    found = clocks([step(0, "reported", actor=JUDGE), step(13 if over else 0.5, status, actor=JUDGE)], 14)
    ended = {Status.RESOLVED, Status.CLOSED, Status.CANCELLED, Status.MERGED}
    late = "late" if status in ended else "overdue"
    if over:
        assert said(found.respond) == said(found.resolve) == ("breached", late)
    elif status is Status.PENDING:
        assert said(found.respond) == said(found.resolve) == ("paused", "pending")
    elif status in ended:
        assert said(found.respond) == ("none", "ended")
        assert found.resolve.state is (
            ClockState.MET if status in {Status.RESOLVED, Status.CLOSED} else ClockState.NONE
        )
    else:
        assert said(found.resolve) == ("breached", "overdue")


@pytest.mark.parametrize(
    ("steps", "taken_h"),
    [
        # by a step, by an assignment, whatever comes later
        (journal((3, "repairing"), (4, "resolved")), 3),
        ([*journal(), step(2, "reported", action="assign", before="reported")], 2),
        # the machine assigns nobody, its own moves are none, and a person's report is not work
        ([*journal(), step(2, "reported", actor="machine:sla", action="assign", before="reported")], None),
        (journal((2, "resolved", JUDGE)), None),
        ([step(0, "reported", action="open")], None),
        # a word on a ticket that the machine resolved takes nothing in hand
        ([*journal((2, "resolved", JUDGE)), step(3, "resolved", action="comment", before="resolved")], None),
    ],
)
def test_who_takes_a_ticket_in_hand(steps: list[Step], taken_h: float | None) -> None:
    assert responded_at(steps) == (None if taken_h is None else at(taken_h))


def test_due_times_are_on_the_shops_calendar() -> None:
    found = clocks(journal((1, "diagnosing")), 20, calendar=SHOP)
    # nine hours on Monday, and three on Tuesday
    assert found.resolve.due_at == at(24 + 3)
    assert (found.resolve.used_s, found.resolve.remaining_s) == (9 * H, 3 * H)
    waited = journal((1, "diagnosing"), (2, "pending"), (24 + 8, "repairing"))
    # two hours on Monday, one on Tuesday; closed on Wednesday; nine on Thursday
    assert clocks(waited, 40, calendar=SHOP).resolve.due_at == at(3 * 24 + 9)


def test_what_is_due_is_kept_while_it_is_to_be_done() -> None:
    running, waiting = clocks(journal((1, "diagnosing")), 2), clocks(journal((1, "pending")), 2)
    assert (running.respond.presses_at, running.resolve.presses_at) == (None, at(12))
    assert (waiting.respond.presses_at, waiting.resolve.presses_at) == (None, None)
    overdue_and_waiting = clocks(journal((13, "pending")), 20)
    assert overdue_and_waiting.resolve.presses_at == at(12)
    assert clocks(journal((13, "resolved", JUDGE)), 20).resolve.presses_at is None


def test_without_a_target_there_is_no_clock_and_one_that_would_take_years_is_not_looked_for() -> None:
    none = clocks(journal(), 5, target=Target())
    assert said(none.respond) == said(none.resolve) == ("none", "no_target")
    assert (none.respond.due_at, none.respond.remaining_s) == (None, None)
    minute = parse_hours({"mon": [["09:00", "09:01"]]}, "UTC")
    assert said(clocks(journal(), 5, calendar=minute).resolve) == ("none", "too_far")


def test_clocks_of_processes_that_are_apart_take_no_time_back() -> None:
    found = clocks(journal((-1, "diagnosing"), (-2, "pending"), (1, "repairing")), 1)
    assert found.resolve.used_s == 0
    assert found.resolve.due_at == at(13)


# --- escalation

STEPS = (
    EscalationStep(clock=Promised.RESPOND, share=1, to="desk"),
    EscalationStep(clock=Promised.RESOLVE, share=0.5),
    EscalationStep(clock=Promised.RESOLVE, share=1, to="lead"),
)


@pytest.mark.parametrize(
    ("moves", "taken", "now_h", "number", "next_h"),
    [
        # none has come; the first; the second; the last of several that came at once
        ((), 0, 1, 0, 2),
        ((), 0, 2, 1, 6),
        ((), 1, 6, 2, 12),
        ((), 0, 12, 3, None),
        # what was taken is not taken again
        ((), 1, 3, 1, 6),
        ((), 3, 50, 3, None),
        # a step of a clock that is done is passed over
        (((1, "diagnosing"),), 0, 5, 0, 6),
        # nothing comes while it is pending, and when it goes on it comes later
        (((1, "pending"),), 0, 50, 0, None),
        (((1, "diagnosing"), (2, "pending"), (12, "repairing")), 0, 12, 0, 16),
        # nor once it has ended
        (((1, "resolved", JUDGE),), 0, 50, 0, None),
    ],
)
def test_steps_are_taken_in_their_order_each_once(
    moves: tuple[tuple[float, str]], taken: int, now_h: float, number: int, next_h: float | None
) -> None:
    found = escalation(STEPS, clocks(journal(*moves), now_h), taken, at(now_h))
    assert found.taken == number
    assert found.step == (STEPS[number - 1] if number > taken else None)
    assert found.next_at == (None if next_h is None else at(next_h))


def test_what_is_not_promised_is_not_escalated() -> None:
    found = escalation(STEPS, clocks(journal(), 50, target=Target()), 0, at(50))
    assert (found.step, found.taken, found.next_at) == (None, 0, None)


# --- the book


def test_the_packaged_contracts_promise_what_the_trade_does() -> None:
    standard = PACKAGED.contract_of(None)
    simple, complex_ = (standard.targets(Severity.MAJOR, repair).resolve_s or 0 for repair in Repair)
    assert (1 * 24 * H, 3 * 24 * H) <= (simple, complex_) <= (2 * 24 * H, 7 * 24 * H)
    for contract in PACKAGED.contract.values():
        for repair in Repair:
            times = [
                contract.targets(severity, repair) for severity in (Severity.CRITICAL, Severity.MAJOR, Severity.MINOR)
            ]
            assert all((a.resolve_s or 0) < (b.resolve_s or 0) for a, b in pairwise(times))
            assert all((a.respond_s or 0) < (b.respond_s or 0) for a, b in pairwise(times))
        assert contract.targets(Severity.INFO, Repair.SIMPLE) == Target()


def test_a_store_without_a_contract_or_with_an_unknown_one_has_the_default() -> None:
    assert PACKAGED.contract_of("no such") is PACKAGED.contract_of(None) is PACKAGED.contract["standard"]
    assert PACKAGED.contract_of("opening_hours") is PACKAGED.contract["opening_hours"]


def test_a_contract_counts_always_by_the_store_or_by_a_calendar_of_its_own() -> None:
    text = (
        SHORT
        + """
    [contract.shop]
    calendar = "store"
    [contract.desk]
    calendar = "desk"
    [calendar.desk]
    time_zone = "Asia/Shanghai"
    opening_hours = { mon = [["08:00", "18:00"]] }
    holidays = { "2026-11-16" = [] }
    """
    )
    book = parse_sla(text)
    closed = parse_hours({}, "UTC")
    for contract, store, expected in (
        ("plain", SHOP, None),
        ("shop", SHOP, SHOP),
        # nobody has entered its hours, or it stands at no store
        ("shop", closed, None),
        ("shop", None, None),
        ("desk", SHOP, book.calendar["desk"].hours),
    ):
        assert book.calendar_of(book.contract_of(contract), store) == expected
    assert book.calendar["desk"].hours == parse_hours(
        {"mon": [["08:00", "18:00"]]}, "Asia/Shanghai", {"2026-11-16": []}
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version = ", "expected TOML, got "),
        ("x" * (SLA_BYTES_MAX + 1), f"expected at most {SLA_BYTES_MAX} characters, got {SLA_BYTES_MAX + 1}"),
        ("version = 1", "default: expected a value, got none"),
        ("version = 2\n" + SHORT.replace("version = 1", ""), "version: "),
        (
            SHORT.replace('default = "plain"', 'default = "gold"'),
            "default: expected one of the contracts plain, got gold",
        ),
        (SHORT.replace('"always"', '"weekly"'), "contract.plain.calendar: expected one of always, store, got weekly"),
        # a key that is not known, a severity that is none, a time that is none, a share of nothing
        (SHORT + "holidays = 3", "contract.plain.holidays: unknown key"),
        (SHORT + "[contract.plain.target.grave]\n", "contract.plain.target.grave"),
        (SHORT + "[contract.plain.target.major]\nsimple = { respond_s = 0 }", "major.simple.respond_s: .*, got 0"),
        (SHORT + "[contract.plain.target.major]\nsimple = { respond_s = inf }", "major.simple.respond_s: .*, got inf"),
        (SHORT + 'escalation = [{ clock = "respond", share = 0 }]', "escalation.0.share"),
        (SHORT + 'escalation = [{ clock = "other", share = 1 }]', "escalation.0.clock"),
        # calendars: names that mean something, hours that make no sense, and that never open
        (
            SHORT + '[calendar.store]\ntime_zone = "UTC"\nopening_hours = { mon = [["08:00", "18:00"]] }',
            "calendar: expected names other than always and store, got store",
        ),
        (
            SHORT + '[calendar.desk]\ntime_zone = "UTC"\nopening_hours = {}',
            "calendar.desk: expected opening_hours on at",
        ),
        (
            SHORT + '[calendar.desk]\ntime_zone = "Moon"\nopening_hours = {}',
            "calendar.desk: time_zone: expected an IANA",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_key(text: str, expected: str) -> None:
    with pytest.raises(SlaInvalid, match=expected):
        parse_sla(text)


def test_several_mistakes_are_counted() -> None:
    with pytest.raises(SlaInvalid, match=r"default: .*; contract: "):
        parse_sla("version = 1\ndefault = 3\ncontract = 4")


def test_the_operators_file_is_read_and_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "contracts.toml"
    with pytest.raises(SlaInvalid, match=r"contracts\.toml: expected a readable file"):
        slas.load(path)
    path.write_text(SHORT, encoding="utf-8")
    assert slas.load(path) == parse_sla(SHORT)
    path.write_text("default = 3", encoding="utf-8")
    with pytest.raises(SlaInvalid, match=r"contracts\.toml: version: expected a value, got none"):
        slas.load(path)


# --- properties

STATUSES = st.sampled_from([str(status) for status in Status])
MOVES = st.lists(st.tuples(st.integers(0, 72 * 60), STATUSES, st.sampled_from([ANN, JUDGE])), max_size=8).map(sorted)
CALENDARS = st.sampled_from([None, SHOP, parse_hours({"sat": [["22:00", "24:00"]]}, "Australia/Lord_Howe")])


def walked(moves: list[tuple[int, str, str]]) -> list[Step]:
    return journal(*((minutes / 60, to, actor) for minutes, to, actor in moves))


def never_before(later: datetime | None, earlier: datetime | None) -> bool:
    """Whether a due time is no earlier; None: it never comes."""
    return later is None or (earlier is not None and later >= earlier)


@given(MOVES, CALENDARS, st.integers(0, 72 * 60), st.integers(1, 72 * 60))
@settings(max_examples=300, deadline=None)
def test_a_pause_never_makes_it_due_earlier(
    moves: list[tuple[int, str, str]], calendar: Hours | None, pause_at: int, pause_min: int
) -> None:
    """Whatever came before: it waits for a while, or still does, and then goes on from where it stood."""
    before = [move for move in moves if move[0] <= pause_at]
    status = before[-1][1] if before else "reported"
    waits, goes_on = (pause_at, "pending", JUDGE), (pause_at + pause_min, status, JUDGE)
    plain = clocks(walked(before), 200, calendar=calendar)
    for waited in ([*before, waits], [*before, waits, goes_on]):
        found = clocks(walked(waited), 200, calendar=calendar)
        assert never_before(found.respond.due_at, plain.respond.due_at)
        assert never_before(found.resolve.due_at, plain.resolve.due_at)
        assert found.resolve.used_s <= plain.resolve.used_s


@given(MOVES, CALENDARS, st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_a_clock_is_over_exactly_when_its_time_is_used(
    moves: list[tuple[int, str, str]], calendar: Hours | None, now_h: int
) -> None:
    steps = [one for one in walked(moves) if one.at <= at(now_h)]
    for clock in (found := clocks(steps, now_h, calendar=calendar)).respond, found.resolve:
        over = clock.target_s is not None and clock.used_s >= clock.target_s
        assert (clock.state is ClockState.BREACHED) is over
        assert (clock.remaining_s is not None and clock.remaining_s <= 0) is over
        assert not over or (clock.due_at is not None and clock.due_at <= at(now_h))
        assert clock.to_do or clock.reason in {
            ClockReason.IN_TIME,
            ClockReason.LATE,
            ClockReason.ENDED,
            ClockReason.TOO_FAR,
            ClockReason.NO_TARGET,
        }


@given(MOVES, CALENDARS, st.integers(0, 200))
@settings(max_examples=200, deadline=None)
def test_what_is_due_does_not_hang_on_when_it_is_worked_out(
    moves: list[tuple[int, str, str]], calendar: Hours | None, later_h: int
) -> None:
    steps = walked(moves)
    first, second = clocks(steps, 72, calendar=calendar), clocks(steps, 72 + later_h, calendar=calendar)
    assert (first.respond.due_at, first.resolve.due_at) == (second.respond.due_at, second.resolve.due_at)


@given(MOVES, CALENDARS, st.lists(st.integers(0, 200), min_size=1, max_size=12).map(sorted))
@settings(max_examples=200, deadline=None)
def test_however_seldom_one_looks_no_step_is_taken_twice_and_none_goes_back(
    moves: list[tuple[int, str, str]], calendar: Hours | None, looks_h: list[int]
) -> None:
    taken, told = 0, []
    for now_h in looks_h:
        steps = [one for one in walked(moves) if one.at <= at(now_h)]
        found = escalation(STEPS, clocks(steps, now_h, calendar=calendar), taken, at(now_h))
        assert found.taken >= taken
        assert found.next_at is None or found.next_at > at(now_h)
        if found.step is not None:
            told.append(found.taken)
        taken = found.taken
    assert told == sorted(set(told))


def test_values_of_the_book_cannot_be_changed() -> None:
    anything: Any = PACKAGED
    with pytest.raises(ValueError, match="frozen"):
        anything.default = "gold"
