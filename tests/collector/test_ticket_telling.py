"""How a ticket is told: its clocks' rings, its evidence, the machine's reasons, and what people type."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.collector.shell_fixtures import NOW

from tillwatch_collector import policies
from tillwatch_collector.console import reasons, texts
from tillwatch_collector.console.evidence import LIST_MAX, TEXT_CHARS_MAX, Fact, Teller
from tillwatch_collector.console.pictures.clock import LENGTH, Ring, Sign, ring
from tillwatch_collector.console.texts import Texts
from tillwatch_collector.console.ticket_filter import STATUSES, WHOSE, Asked
from tillwatch_collector.console.typed import lines, number, wrong_text
from tillwatch_collector.domain import presence
from tillwatch_collector.domain.condition import Phase
from tillwatch_collector.domain.hours import WEEKDAYS
from tillwatch_collector.domain.outage import NodeKind
from tillwatch_collector.domain.policy import Repair
from tillwatch_collector.domain.sla import Promised
from tillwatch_collector.domain.ticket import PERSONS_ACTIONS, Action, Origin, PendingOn, RepairMode
from tillwatch_collector.store.ticket_queries import SlaState, TicketFilter
from tillwatch_protocol.vocabulary import INTEGER_MAX

ENGLISH, CHINESE = Texts(language="en"), Texts(language="zh-CN")


# --- clocks


def drawn(state: str | None, due_s: float | None = None, *, done: bool = False, opened_s: float = -100) -> Ring:
    return ring(
        state,
        opened_at=NOW + timedelta(seconds=opened_s),
        due_at=None if due_s is None else NOW + timedelta(seconds=due_s),
        done_at=NOW if done else None,
        now=NOW,
    )


def test_a_clock_that_nobody_will_meet_any_more_has_ended() -> None:
    ended = ring("none", opened_at=NOW, due_at=None, done_at=None, has_ended=True, now=NOW)
    assert (ended.sign, ended.left_s) == (Sign.ENDED, None)
    assert ENGLISH.word("clock_signs", ended.sign) == "ended"


@pytest.mark.parametrize(
    ("state", "due_s", "sign", "gone", "left_s"),
    [
        ("ok", 300, Sign.OK, 25, 300),
        ("ok", 1e9, Sign.OK, 0, 1e9),
        ("due_soon", 0.1, Sign.DUE_SOON, LENGTH - 1, 0.1),  # never full before its time is over
        ("breached", 0, Sign.BREACHED, LENGTH, 0),
        ("breached", -60, Sign.BREACHED, LENGTH, -60),
        ("paused", -60, Sign.PAUSED, 0, None),
        ("paused", None, Sign.PAUSED, 0, None),
        ("none", 300, Sign.NONE, 0, None),
        (None, 300, Sign.NONE, 0, None),
        ("ok", None, Sign.NONE, 0, None),
    ],
)
def test_a_ring_closes_while_its_time_goes(
    state: str | None, due_s: float | None, sign: Sign, gone: int, left_s: float | None
) -> None:
    found = drawn(state, due_s)
    assert (found.sign, found.gone, found.left_s) == (sign, gone, left_s)


def test_what_is_done_has_no_time_left() -> None:
    assert drawn("none", 300, done=True).sign is Sign.DONE


def test_a_clock_that_was_due_before_it_began_is_drawn() -> None:
    assert drawn("ok", 50, opened_s=100).gone == 0


def test_every_state_of_a_clock_has_a_sign() -> None:
    assert set(SlaState) < set(Sign)


# --- evidence


def said(evidence: dict[str, Any], words: Texts = ENGLISH) -> list[tuple[str, str, str | None]]:
    teller = Teller(words=words, zone=None, person=lambda actor: actor.partition(":")[2].title())
    return [(fact.name, fact.said, fact.href) for fact in teller.facts(evidence)]


@pytest.mark.parametrize(
    ("evidence", "name", "told", "href"),
    [
        ({"terminal_id": "t 1"}, "Terminal", "t 1", "/terminals/t%201"),
        ({"heard_at": NOW.isoformat()}, "Last heard", "Nov 21, 2026, 12:00", None),
        ({"clock_offset_s": -90.4}, "Its clock is apart by", "-1 min 30 sec", None),
        ({"clock_offset_s": 0.0}, "Its clock is apart by", "0 sec", None),
        ({"presence": "missed_three"}, "Heard of as", "three heartbeats missed", None),
        ({"share": 0.755}, "Share of its time", "76%", None),
        ({"share_pct": 92.3}, "Share hit", "92%", None),
        ({"into": 7}, "Goes on as", "#7", "/tickets/7"),
        ({"rollout_id": "r/1"}, "Rollout", "r/1", "/rollouts/r%2F1"),
        ({"assignee": "person:ann"}, "Assigned to", "Ann", None),
        ({"before": "person:bob"}, "Before", "Bob", None),
        ({"before": 3}, "Before", "#3", None),
        ({"before": {"severity": "minor"}}, "Before", "Severity: minor", None),
        ({"mode": "on_site"}, "How", "on site", None),
        ({"pending_on": "parts"}, "Waits for", "parts", None),
        ({"code": "paper_end"}, "What", "Out of paper", None),
        ({"internal": True}, "Internal", "yes", None),
        ({"internal": "strange"}, "Internal", "strange", None),
        ({"raises": 1200}, "Raised", "1,200", None),
        (
            {"node": {"kind": "carrier", "id": "CityNet", "hit": 4, "total": 9}},
            "Where",
            "Carrier CityNet (4 of 9 terminals)",
            None,
        ),
        ({"widened_from": {"kind": "store", "id": "s-1"}}, "Was about", "Store s-1", None),
        ({"alternatives": [{"kind": "region", "id": "east"}]}, "Also looked at", "Region east", None),
        ({"sample": [f"t-{number}" for number in range(LIST_MAX + 2)]}, "Some of them", None, None),
        ({"heartbeats": ["", "1.4"]}, "Heartbeats", "1.4", None),
        ({"reading": {"health": "ok", "facts": {"maker": "Epson"}}}, "Reading", "ok, maker Epson", None),
        ({"reading": {"health": "ok", "facts": None}}, "Reading", "ok", None),
        ({"update": {"version": "2.1"}}, "Shortly after an update", "Version: 2.1", None),
        # What nobody knows, and what is not what its name says, is said as it is written.
        ({"blood_type": "A"}, "blood type", "A", None),
        ({"strange": {"a": [1]}}, "strange", '{"a": [1]}', None),
        ({"long": "x" * 400}, "long", "x" * (TEXT_CHARS_MAX - 1) + "…", None),
        ({"heard_at": "yesterday"}, "Last heard", "yesterday", None),
        ({"node": "here"}, "Where", "here", None),
        ({"node": {"kind": "carrier"}}, "Where", '{"kind": "carrier"}', None),
        ({"into": "seven"}, "Goes on as", "seven", None),
    ],
)
def test_evidence_is_said_as_what_it_is(
    evidence: dict[str, Any], name: str, told: str | None, href: str | None
) -> None:
    ((found_name, found, found_href),) = said(evidence)
    assert (found_name, found_href) == (name, href)
    assert found == told or (told is None and found.endswith("and 2 more"))


def test_what_is_empty_says_nothing() -> None:
    assert said({"detail": None, "heartbeat": "", "sample": [], "node": {}, "internal": False}) == []


def test_evidence_of_any_shape_is_said_in_both_languages() -> None:
    names = [*texts.catalogue()["en"]["evidence"], "unheard_of"]
    shapes = ["x", 7, -1.5, True, ["a", {"b": 1}], [3], {"kind": "x"}, {"a": {"b": None}}, [None], {"health": 3}]
    for words in (ENGLISH, CHINESE):
        for name in names:
            for shape in shapes:
                assert all(isinstance(one[1], str) for one in said({name: shape}, words)), (name, shape)


# --- the machine's reasons


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("paper_end on pos_printer:1 for 60 s", "Out of paper on Printer 1, for 1 min by then"),
        ("paper_end on pos_printer:1 for 1e+05 s", "Out of paper on Printer 1, for 1 day 3 hr by then"),
        ("paper_end on pos_printer:1", "Out of paper on Printer 1"),
        (
            "silent on agent:self: still so at the end of a maintenance",
            "Terminal is silent on Agent: still so at the end of a maintenance",
        ),
        (
            "silent on agent:self: no outage explains it, or it outlasted one",
            "Terminal is silent on Agent: no outage explains it, or it outlasted one",
        ),
        (
            "silent on agent:self: it stood without a ticket when judge began",
            "Terminal is silent on Agent: it stood without a ticket when the collector began to judge",
        ),
        (
            "silent on agent:self proved gone by t-1 itself",
            "Terminal is silent on Agent: proved gone by t-1 itself",
        ),
        (
            "silent on agent:self at 9 of 12 terminals of carrier City Net, from one moment on",
            "Terminal is silent on Agent at 9 of 12 terminals of Carrier City Net, from one moment on",
        ),
        (
            "silent on agent:self at 9 of 12 terminals of the fleet, from one moment on",
            "Terminal is silent on Agent at 9 of 12 terminals of the whole fleet, from one moment on",
        ),
        (
            "silent on agent:self proved gone by 9 terminals themselves; who is left is judged by itself",
            "Terminal is silent on Agent: proved gone by 9 terminals themselves; who is left is judged by itself",
        ),
        (
            "cover_open on pos_printer:1 flaps: raised 5 times; it must be well for longer now",
            "Cover open on Printer 1 flaps: it came 5 times, and must be well for longer now",
        ),
        (
            "cover_open on pos_printer:1 flaps no more, after 5 raises",
            "Cover open on Printer 1 flaps no more; it had come 5 times",
        ),
        ("75% of the time to resolve is gone", "75% of the time is gone: Resolve"),
        ("stayed resolved for the policy's time", "It stayed resolved for the time that the policy sets."),
        ("part of outage 3", "Part of outage 3"),
        ("rollout of till/x.gz halted in wave 2: harm", "Rollout of till/x.gz halted in wave 2: harm"),
        ("shown after the update that was halted: till/x.gz", "Shown after the update that was halted: till/x.gz"),
        ("anything else {x}", "anything else {x}"),
    ],
)
def test_the_machines_reasons_are_told_from_their_parts(written: str, told: str) -> None:
    assert reasons.told(ENGLISH, "machine:judge", written) == told
    chinese = reasons.told(CHINESE, "machine:judge", written)
    assert (chinese == written) is (told == written)
    assert reasons.told(CHINESE, "person:ann", written) == written


def test_every_sentence_that_the_flows_write_is_known() -> None:
    """The sentences stand in the flows' sources; each of them has its pattern."""
    flows = Path(policies.__file__).parent / "flows"
    source = "".join(
        (flows / f"{name}.py").read_text(encoding="utf-8") for name in ("sitting", "outages", "sla", "judge")
    )
    for piece in (
        "proved gone by",
        "terminals themselves; who is left is judged by itself",
        ", from one moment on",
        "it must be well for longer now",
        "flaps no more, ",
        "of the time to",
        "stayed resolved for the policy's time",
        "part of outage",
    ):
        assert piece in source, piece


# --- what people type


@pytest.mark.parametrize(
    ("text", "needed", "key"),
    [
        ("hello\n\tthere", True, None),
        ("", False, None),
        (" \n ", True, "wrong_text_missing"),
        ("x" * 11, True, "wrong_text_long"),
        ("  " + "x" * 10 + "  ", True, None),
        ("a\x07", True, "wrong_text_control"),
    ],
)
def test_a_text_is_looked_at_before_it_is_kept(text: str, needed: bool, key: str | None) -> None:
    wrong = wrong_text(text, 10 if "\n" not in text else 20, needed=needed)
    assert (wrong.key if wrong else None) == key


def test_a_line_ends_in_one_character() -> None:
    assert lines("a\r\nb\nc") == "a\nb\nc"


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (" #12 ", 12),
        ("12", 12),
        ("0", None),
        ("-1", None),
        ("x", None),
        ("", None),
        ("٣", None),
        (str(INTEGER_MAX + 1), None),
    ],
)
def test_a_ticket_is_named_by_its_number(typed: str, found: int | None) -> None:
    assert number(typed) == found


def test_an_address_comes_back_as_it_was() -> None:
    asked = Asked(
        q="a&b=c #", whose="mine", status="pending", age_h=24, parent_id=3, sort="-opened_at", page=2, unfold=9
    )
    assert Asked.of_query(asked.query) == asked
    assert Asked.of_query(asked.but(status="all")).page == 1


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_narrows_as_it_says(status: str) -> None:
    chosen = Asked(status=status).chosen(NOW, "person:ann")
    expected = {
        "open": TicketFilter(now=NOW, open=True, resolved=False),
        "all": TicketFilter(now=NOW),
    }.get(status, TicketFilter(now=NOW, status=status))
    assert chosen == expected


# --- the words


@pytest.mark.parametrize(
    ("vocabulary", "codes"),
    [
        ("queue_whoses", set(WHOSE)),
        ("clock_states", set(SlaState)),
        ("clock_signs", set(Sign)),
        ("ticket_promises", set(Promised)),
        ("ticket_actions", set(PERSONS_ACTIONS)),
        ("ticket_journal_actions", set(Action)),
        ("ticket_repair_modes", set(RepairMode)),
        ("ticket_waits", set(PendingOn)),
        ("ticket_origins", set(Origin)),
        ("ticket_subjects", {*NodeKind, "terminal", "collector"}),
        ("ticket_repairs", set(Repair)),
        ("ticket_phases", set(Phase)),
        ("ticket_presence_reasons", set(presence.Reason)),
        ("order_weekdays", set(WEEKDAYS)),
        ("ticket_categories", {rule.category for rule in policies.load(None).code.values()}),
    ],
)
def test_every_code_of_a_ticket_has_words(vocabulary: str, codes: set[str]) -> None:
    for words in texts.catalogue().values():
        assert codes - set(words[vocabulary]) == set()


def test_a_moment_is_told_in_the_zone_that_is_asked_for() -> None:
    teller = Teller(words=ENGLISH, zone=ZoneInfo("Asia/Shanghai"), person=str)
    assert teller.facts({"heard_at": NOW.isoformat()}) == (Fact(name="Last heard", said="Nov 21, 2026, 20:00"),)
