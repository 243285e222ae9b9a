"""What is done with tickets: each step is the row and a line in its journal; reports and faults of one cause meet."""

from itertools import product
from typing import Any

import pytest
from tests.collector.ticket_words import (
    ANN,
    BOB,
    OTHER_TILL,
    PIN_PAD,
    PRINTER,
    RULE,
    SHOP,
    TILL,
    WHY,
    act,
    actions_in,
    assert_journals_tell_the_tickets,
    fault,
    identity,
    journal_of,
    opened_shop,
    proof,
    report,
    tickets_of,
    told,
)
from tests.collector.words import at

from tillwatch_collector.domain.ticket import (
    FINAL,
    PERSONS_ACTIONS,
    TICKET_TABLE,
    Action,
    Origin,
    PendingOn,
    RepairMode,
    Status,
    TicketIdentity,
)
from tillwatch_collector.errors import (
    AttachmentRefused,
    CallerError,
    ReasonMissing,
    TicketActionIllegal,
    TicketRefused,
    TicketUnknown,
)
from tillwatch_collector.flows import tickets
from tillwatch_collector.store.inventory import UnknownReference
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store

CARD = "4111 1111 1111 1111"


@pytest.fixture
def shop(store: Store) -> Store:
    return opened_shop(store)


WAYS: dict[Status, tuple[Action, ...]] = {
    Status.REPORTED: (),
    Status.DIAGNOSING: (Action.DIAGNOSE,),
    Status.REPAIRING: (Action.REPAIR,),
    Status.PENDING: (Action.REPAIR, Action.PEND),
    Status.VERIFYING: (Action.REPAIR, Action.VERIFY),
    Status.RESOLVED: (Action.PROVE,),
    Status.CLOSED: (Action.CLOSE,),
    Status.CANCELLED: (Action.CANCEL,),
    Status.MERGED: (Action.MERGE,),
}
"""How a ticket comes to stand there."""


def brought_to(repository: Repository, status: Status) -> int:
    ticket_id = fault(repository).ticket_id
    for action in WAYS[status]:
        done(repository, ticket_id, action)
    return ticket_id


def done(repository: Repository, ticket_id: int, action: Action) -> str:
    """Do any action, whoever's it is; return the status that it says."""
    if action is Action.PROVE:
        change = proof(repository)
    elif action is Action.RECUR:
        change = fault(repository)
    elif action is Action.EXPIRE:
        change = tickets.expire(repository, ticket_id, WHY, at(0))
    elif action is Action.MERGE:
        other = fault(repository, till=OTHER_TILL).ticket_id
        change = tickets.merge(repository, ticket_id, other, actor=ANN, reason="the same", now=at(0))
    else:
        change = act(repository, ticket_id, action)
    return change.status if change else "unmoved"


@pytest.mark.parametrize(("status", "action"), list(product(Status, Action)))
def test_every_status_and_action_over_the_rows(shop: Store, status: Status, action: Action) -> None:
    with shop.transaction() as repository:
        ticket_id = brought_to(repository, status)
    after = TICKET_TABLE.get((status, action))
    before = (tickets_of(shop)[0], actions_in(shop, ticket_id))
    if after is not None:
        with shop.transaction() as repository:
            assert done(repository, ticket_id, action) == after
        assert actions_in(shop, ticket_id)[-1] == action
    elif action in PERSONS_ACTIONS:
        with pytest.raises(TicketActionIllegal), shop.transaction() as repository:
            done(repository, ticket_id, action)
    elif (status, action) in product(FINAL, [Action.RECUR]):
        with shop.transaction() as repository:  # what comes back is a new ticket, or is noted where this one goes on
            done(repository, ticket_id, action)
    else:
        with shop.transaction() as repository:
            assert done(repository, ticket_id, action) == "unmoved"
    if after is None:
        assert (tickets_of(shop)[0], actions_in(shop, ticket_id)) == before
    assert_journals_tell_the_tickets(shop)


# --- what a step writes


def test_a_ticket_stands_where_its_subject_stands_and_says_what_the_policy_says(shop: Store) -> None:
    with shop.transaction() as repository:
        change = fault(repository)
        store_outage = TicketIdentity(subject_kind="store", subject_id=SHOP, component="agent:self", code="silent")
        tickets.open_or_recur(repository, store_outage, RULE, WHY, at(0), parent_id=None)
        region = TicketIdentity(subject_kind="region", subject_id="north", component="agent:self", code="silent")
        tickets.open_or_recur(repository, region, RULE, WHY, at(0))
        merchant = TicketIdentity(subject_kind="merchant", subject_id="m-1", component="agent:self", code="silent")
        tickets.open_or_recur(repository, merchant, RULE, WHY, at(0))
    assert (change.store_id, change.merchant_id, change.title, change.status) == (SHOP, "m-1", "it was so", "reported")
    rows = tickets_of(shop)
    assert [(row["store_id"], row["merchant_id"]) for row in rows] == [
        (SHOP, "m-1"),
        (SHOP, "m-1"),
        (None, None),
        (None, "m-1"),
    ]
    assert {row["repair"] for row in rows} == {RULE.repair}
    assert {row["origin"] for row in rows} == {"machine"}


def test_what_a_repair_and_a_wait_are_about_is_on_the_row_and_in_the_journal(shop: Store) -> None:
    with shop.transaction() as repository:
        ticket_id = fault(repository).ticket_id
        act(repository, ticket_id, Action.REPAIR, mode=RepairMode.ON_SITE, after_s=1)
        act(repository, ticket_id, Action.PEND, pending_on=PendingOn.PROVIDER, after_s=2)
    (row,) = tickets_of(shop)
    assert (row["repair_mode"], row["pending_on"], row["updated_at"]) == ("on_site", "provider", at(2))
    evidence = [line["evidence"] for line in journal_of(shop, ticket_id)[1:]]
    assert evidence == [{"mode": "on_site"}, {"pending_on": "provider"}]
    with shop.transaction() as repository:
        act(repository, ticket_id, Action.RESUME, after_s=3)
    (row,) = tickets_of(shop)
    assert (row["repair_mode"], row["pending_on"], row["status"]) == ("on_site", None, "repairing")


def test_times_of_proof_and_end_are_those_of_the_last(shop: Store) -> None:
    with shop.transaction() as repository:
        ticket_id = fault(repository).ticket_id
        proof(repository, after_s=5)
    assert tickets_of(shop)[0]["resolved_at"] == at(5)
    with shop.transaction() as repository:
        again = fault(repository, after_s=6)
    row = tickets_of(shop)[0]
    assert (again.move, row["resolved_at"], row["recurrences"]) == ("reopened", None, 1)
    with shop.transaction() as repository:
        proof(repository, after_s=7)
        tickets.expire(repository, ticket_id, WHY, at(8))
    row = tickets_of(shop)[0]
    assert (row["status"], row["resolved_at"], row["closed_at"]) == ("closed", at(7), at(8))


REFUSED: dict[str, tuple[type[CallerError], dict[str, Any]]] = {
    "no reason": (ReasonMissing, {"action": Action.CLOSE, "reason": " "}),
    "no such ticket": (TicketUnknown, {"action": Action.CLOSE, "ticket_id": 99}),
    "the machine's": (TicketActionIllegal, {"action": Action.PROVE}),
    "a merge, without into what": (TicketActionIllegal, {"action": Action.MERGE}),
    "how it is mended": (TicketRefused, {"action": Action.REPAIR, "mode": None}),
    "what it waits for": (TicketRefused, {"action": Action.PEND, "pending_on": None}),
    "a mode of what is no repair": (TicketRefused, {"action": Action.DIAGNOSE, "mode": RepairMode.REMOTE}),
    "a wait for what does not wait": (TicketRefused, {"action": Action.CLOSE, "pending_on": PendingOn.PARTS}),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_refused_changes_nothing(shop: Store, why: str) -> None:
    error, asked = REFUSED[why]
    with shop.transaction() as repository:
        ticket_id = fault(repository).ticket_id
    before = tickets_of(shop)
    with pytest.raises(error), shop.transaction() as repository:
        act(repository, **({"ticket_id": ticket_id} | asked))
    assert (tickets_of(shop), actions_in(shop, ticket_id)) == (before, ["open"])


def test_reasons_are_scrubbed_and_cut(shop: Store) -> None:
    with shop.transaction() as repository:
        ticket_id = fault(repository).ticket_id
        act(repository, ticket_id, Action.CLOSE, reason=f"paid with {CARD} " + "x" * 600)
    reason = journal_of(shop, ticket_id)[-1]["reason"]
    assert CARD not in reason
    assert len(reason) == tickets.REASON_CHARS_MAX


# --- a report and a fault meet


def test_a_fault_that_is_reported_later_has_one_ticket(shop: Store) -> None:
    with shop.transaction() as repository:
        first = fault(repository)
        second = report(repository, description=f"since noon, {CARD}", contact="Li, 10 to 12", actor=BOB)
    assert (second.ticket_id, second.move, second.status) == (first.ticket_id, "reported", "reported")
    (row,) = tickets_of(shop)
    assert (row["code"], row["contact"], row["watchers"]) == ("paper_end", "Li, 10 to 12", [BOB])
    assert row["description"].startswith("since noon")
    assert CARD not in row["description"]
    (_, line) = journal_of(shop, first.ticket_id)
    assert (line["action"], line["actor"], line["reason"]) == ("report", BOB, "broken")
    assert CARD not in str(line["evidence"])


def test_a_report_whose_fault_is_raised_later_has_one_ticket(shop: Store) -> None:
    with shop.transaction() as repository:
        first = report(repository, severity="minor", description="it blinks")
        second = fault(repository, PIN_PAD, "no_response", severity="critical")
    assert (second.ticket_id, second.move, second.code) == (first.ticket_id, "identified", "no_response")
    (row,) = tickets_of(shop)
    named = (row["component"], row["code"], row["severity"], row["category"], row["origin"], row["title"])
    assert named == (PIN_PAD, "no_response", "critical", RULE.category, "phone", "broken")
    assert actions_in(shop, first.ticket_id) == ["open", "identify"]
    with shop.transaction() as repository:
        tickets.assign(repository, first.ticket_id, BOB, actor=BOB, now=at(1))
        proved = proof(repository, PIN_PAD, "no_response")
    assert proved is not None
    assert (proved.ticket_id, proved.status) == (first.ticket_id, "resolved")


@pytest.mark.parametrize("called_first", [True, False])
def test_no_proof_ends_a_call_that_named_no_part_before_a_person_has_looked_at_it(
    shop: Store, *, called_first: bool
) -> None:
    def call(repository: Repository) -> None:
        report(repository, title="the drawer does not open")

    def silent(repository: Repository) -> None:
        fault(repository, PIN_PAD, "no_response", severity="critical")

    with shop.transaction() as repository:
        for told in (call, silent) if called_first else (silent, call):
            told(repository)
        assert proof(repository, PIN_PAD, "no_response") is None
    (row,) = tickets_of(shop)
    assert row["status"] == "reported"
    assert actions_in(shop, row["ticket_id"])[-1] == "prove_in_part"
    with shop.transaction() as repository:
        act(repository, row["ticket_id"], Action.DIAGNOSE)
        proved = proof(repository, PIN_PAD, "no_response")
    assert proved is not None
    assert proved.status == "resolved"


def test_a_graver_report_keeps_its_severity_when_a_lesser_fault_explains_it(shop: Store) -> None:
    with shop.transaction() as repository:
        report(repository, PRINTER, severity="critical")
        fault(repository, severity="minor")
    (row,) = tickets_of(shop)
    assert (row["severity"], row["code"]) == ("critical", "paper_end")


def test_a_fault_that_explains_what_was_thought_mended_takes_it_back(shop: Store) -> None:
    with shop.transaction() as repository:
        ticket_id = report(repository, PRINTER).ticket_id
        act(repository, ticket_id, Action.REPAIR)
        act(repository, ticket_id, Action.VERIFY)
        change = fault(repository)
    assert (change.move, change.status) == ("identified", "repairing")
    assert actions_in(shop, ticket_id)[-2:] == ["identify", "recur"]
    assert_journals_tell_the_tickets(shop)


def test_a_fault_that_comes_back_after_a_call_about_the_whole_is_that_calls_ticket(shop: Store) -> None:
    with shop.transaction() as repository:
        proved_id = fault(repository, PIN_PAD, "no_response", severity="critical").ticket_id
        proof(repository, PIN_PAD, "no_response")
        called = report(repository, title="nothing works")
        change = fault(repository, PIN_PAD, "no_response", severity="critical")
    assert called.ticket_id != proved_id
    assert (change.ticket_id, change.move, change.code) == (called.ticket_id, "identified", "no_response")
    assert actions_in(shop, proved_id) == ["open", "prove", "close"]
    assert_journals_tell_the_tickets(shop)


def test_a_report_of_what_is_resolved_reopens_it(shop: Store) -> None:
    with shop.transaction() as repository:
        ticket_id = fault(repository).ticket_id
        proof(repository)
        change = report(repository, PRINTER, title="still no paper")
    assert (change.ticket_id, change.move, change.status) == (ticket_id, "reopened", "reported")
    assert actions_in(shop, ticket_id) == ["open", "prove", "report", "reopen"]


def test_a_report_of_a_store_meets_the_outage_of_it(shop: Store) -> None:
    node = TicketIdentity(subject_kind="store", subject_id=SHOP, component="agent:self", code="silent")
    with shop.transaction() as repository:
        outage = tickets.open_or_recur(repository, node, RULE, WHY, at(0))
        change = report(repository, subject_kind="store", subject_id=SHOP, origin=Origin.WEB)
    assert (change.ticket_id, change.move) == (outage.ticket_id, "reported")


def test_reports_of_other_things_are_tickets_of_their_own(shop: Store) -> None:
    with shop.transaction() as repository:
        of_printer = report(repository, PRINTER)
        of_pin_pad = report(repository, PIN_PAD)
        of_other_till = report(repository, PRINTER, subject_id=OTHER_TILL)
    assert len({of_printer.ticket_id, of_pin_pad.ticket_id, of_other_till.ticket_id}) == 3
    assert [row["code"] for row in tickets_of(shop)] == ["reported"] * 3


WRONG_REPORTS: list[tuple[dict[str, Any], type[CallerError], str]] = [
    # nobody entered it
    ({"subject_id": "till-9"}, UnknownReference, "till-9"),
    # people point at terminals and stores
    ({"subject_kind": "region", "subject_id": "north"}, UnknownReference, "north"),
    # nothing said
    ({"title": "  "}, TicketRefused, "title: expected 1 to 200 characters"),
    # too much said
    ({"title": "x" * 201}, TicketRefused, "got 201"),
    ({"description": "x" * 4001}, TicketRefused, "description: expected 0 to 4000"),
    ({"contact": "x" * 201}, TicketRefused, "contact: expected"),
]


@pytest.mark.parametrize(("wrong", "error", "said"), WRONG_REPORTS)
def test_a_report_is_refused(shop: Store, wrong: dict[str, Any], error: type[CallerError], said: str) -> None:
    with pytest.raises(error, match=said), shop.transaction() as repository:
        tickets.report(repository, told(**wrong), RULE, actor=ANN, now=at(0))
    assert tickets_of(shop) == []


# --- merging


def test_what_is_merged_goes_on_as_the_other_with_its_faults_children_and_watchers(shop: Store) -> None:
    with shop.transaction() as repository:
        one = fault(repository, severity="critical").ticket_id
        other = fault(repository, PIN_PAD, "offline").ticket_id
        child = fault(repository, till=OTHER_TILL).ticket_id
        tickets.set_parent(repository, child, one, actor=ANN, reason="part of it", now=at(0))
        tickets.watch(repository, one, BOB, actor=ANN, now=at(0))
        change = tickets.merge(repository, one, other, actor=ANN, reason="one cable", now=at(1))
    assert (change.ticket_id, change.move, change.status) == (one, "merged", "merged")
    merged, into, moved = tickets_of(shop)
    assert (merged["merged_into_id"], merged["closed_at"]) == (other, at(1))
    assert (into["watchers"], into["severity"], into["status"]) == ([BOB], "critical", "reported")
    assert moved["parent_id"] == other
    assert journal_of(shop, one)[-1]["evidence"] == {"into": other}
    assert journal_of(shop, other)[-1]["evidence"] == {"ticket_id": one}
    with shop.reading() as connection:
        owners = {
            row[0] for row in connection.exec_driver_sql("SELECT ticket_id FROM fault WHERE terminal_id = 'till-1'")
        }
    assert owners == {other}


def test_a_merged_ticket_comes_back_and_is_proved_where_it_goes_on(shop: Store) -> None:
    with shop.transaction() as repository:
        one = fault(repository).ticket_id
        other = fault(repository, PIN_PAD, "offline").ticket_id
        tickets.merge(repository, one, other, actor=ANN, reason="one cable", now=at(1))
        assert proof(repository, PIN_PAD, "offline") is None  # the printer's fault is part of it, and stands
        proved = proof(repository)
        again = fault(repository)
    assert proved is not None
    assert (proved.ticket_id, proved.move) == (other, "resolved")
    assert (again.ticket_id, again.move) == (other, "reopened")
    assert actions_in(shop, other) == ["open", "take_in", "prove_in_part", "prove", "recur"]
    assert len(tickets_of(shop)) == 2


def test_merged_twice_it_comes_back_where_it_ended(shop: Store) -> None:
    with shop.transaction() as repository:
        first = fault(repository).ticket_id
        second = fault(repository, PIN_PAD, "offline").ticket_id
        third = fault(repository, till=OTHER_TILL).ticket_id
        tickets.merge(repository, first, second, actor=ANN, reason="one", now=at(1))
        tickets.merge(repository, second, third, actor=ANN, reason="two", now=at(2))
        assert fault(repository).ticket_id == third


def test_once_that_one_has_ended_what_comes_back_is_a_new_ticket(shop: Store) -> None:
    with shop.transaction() as repository:
        one, other = fault(repository).ticket_id, fault(repository, PIN_PAD, "offline").ticket_id
        tickets.merge(repository, one, other, actor=ANN, reason="one", now=at(1))
        act(repository, other, Action.CLOSE)
        again = fault(repository)
    assert again.move == "opened"
    assert again.ticket_id not in {one, other}


def test_a_report_takes_on_what_is_merged_into_it(shop: Store) -> None:
    with shop.transaction() as repository:
        known = fault(repository, severity="minor").ticket_id
        asked = report(repository).ticket_id  # what is minor is not what it is about, as far as anyone can tell
        tickets.merge(repository, known, asked, actor=ANN, reason="it was the paper", now=at(1))
        proved = proof(repository)
    assert proved is not None
    assert (proved.ticket_id, proved.code, proved.status) == (asked, "paper_end", "resolved")


def test_a_part_into_which_the_whole_is_merged_is_no_part_of_itself(shop: Store) -> None:
    with shop.transaction() as repository:
        whole, part = fault(repository).ticket_id, fault(repository, till=OTHER_TILL).ticket_id
        tickets.set_parent(repository, part, whole, actor=ANN, reason="part", now=at(0))
        tickets.merge(repository, whole, part, actor=ANN, reason="it is all", now=at(1))
    assert [row["parent_id"] for row in tickets_of(shop)] == [None, None]


def test_a_merge_is_refused_where_it_makes_no_sense(shop: Store) -> None:
    with shop.transaction() as repository:
        one, part = fault(repository).ticket_id, fault(repository, till=OTHER_TILL).ticket_id
        whole, other = fault(repository, PIN_PAD, "offline").ticket_id, fault(repository, PIN_PAD, "x").ticket_id
        ended = fault(repository, PIN_PAD, "y").ticket_id
        act(repository, ended, Action.CLOSE)
        tickets.set_parent(repository, part, one, actor=ANN, reason="part", now=at(0))
        tickets.set_parent(repository, other, whole, actor=ANN, reason="part", now=at(0))
    for ticket_id, into_id, error in [
        (one, one, TicketRefused),  # itself
        (one, 99, TicketUnknown),
        (99, one, TicketUnknown),
        (one, ended, TicketRefused),  # where nothing goes on
        (one, other, TicketRefused),  # a whole into a part of another: two levels
        (ended, one, TicketActionIllegal),  # final
    ]:
        with pytest.raises(error), shop.transaction() as repository:
            tickets.merge(repository, ticket_id, into_id, actor=ANN, reason="the same", now=at(1))
    with pytest.raises(ReasonMissing), shop.transaction() as repository:
        tickets.merge(repository, one, whole, actor=ANN, reason="", now=at(1))


# --- parts of a larger piece of work


def test_parents_have_no_parents_and_there_are_no_circles(shop: Store) -> None:
    with shop.transaction() as repository:
        top, part = fault(repository).ticket_id, fault(repository, PIN_PAD, "offline").ticket_id
        other = fault(repository, till=OTHER_TILL).ticket_id
        ended = fault(repository, PIN_PAD, "x").ticket_id
        act(repository, ended, Action.CANCEL)
        change = tickets.set_parent(repository, part, top, actor=ANN, reason="one line", now=at(1))
    assert (change.parent_id, change.ticket_id) == (top, part)
    for ticket_id, parent_id, error in [
        (top, top, TicketRefused),  # itself
        (top, part, TicketRefused),  # a circle
        (other, part, TicketRefused),  # a second level
        (top, other, TicketRefused),  # a second level, from above
        (other, 99, TicketUnknown),
        (other, ended, TicketRefused),  # no work goes on there
        (ended, top, TicketActionIllegal),  # final
    ]:
        with pytest.raises(error), shop.transaction() as repository:
            tickets.set_parent(repository, ticket_id, parent_id, actor=ANN, reason="r", now=at(2))
    with shop.transaction() as repository:
        tickets.set_parent(repository, part, None, actor=ANN, reason="it is not", now=at(3))
    assert {row["parent_id"] for row in tickets_of(shop)} == {None}
    assert actions_in(shop, part) == ["open", "set_parent", "set_parent"]


def test_a_fault_that_recurs_in_an_outage_becomes_part_of_it(shop: Store) -> None:
    with shop.transaction() as repository:
        parent = tickets.open_or_recur(
            repository,
            TicketIdentity(subject_kind="store", subject_id=SHOP, component="agent:self", code="silent"),
            RULE,
            WHY,
            at(0),
        )
        own = fault(repository)
        again = tickets.open_or_recur(repository, identity(), RULE, WHY, at(1), parent_id=parent.ticket_id)
    assert (own.parent_id, again.parent_id, again.ticket_id) == (None, parent.ticket_id, own.ticket_id)


# --- who works on it, and who is told


def test_a_ticket_is_given_to_somebody_and_back(shop: Store) -> None:
    with shop.transaction() as repository:
        ticket_id = fault(repository).ticket_id
        change = tickets.assign(repository, ticket_id, "provider:acme", actor=ANN, now=at(1))
        assert change.move == "assigned"
        tickets.assign(repository, ticket_id, None, actor=ANN, reason="they are closed", now=at(2))
        with pytest.raises(TicketRefused):
            tickets.assign(repository, ticket_id, "acme", actor=ANN, now=at(3))
    assert tickets_of(shop)[0]["assignee"] is None
    evidence = [line["evidence"] for line in journal_of(shop, ticket_id)[1:]]
    assert evidence == [
        {"before": None, "assignee": "provider:acme"},
        {"before": "provider:acme", "assignee": None},
    ]
    with shop.transaction() as repository:
        act(repository, ticket_id, Action.CLOSE)
        with pytest.raises(TicketActionIllegal):
            tickets.assign(repository, ticket_id, BOB, actor=ANN, now=at(4))


def test_watching_twice_is_watching_once_and_there_is_a_limit(shop: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "WATCHERS_MAX", 2)
    with shop.transaction() as repository:
        ticket_id = fault(repository).ticket_id
        for watcher in (ANN, ANN, BOB):
            tickets.watch(repository, ticket_id, watcher, actor=ANN, now=at(1))
        with pytest.raises(TicketRefused, match="watchers: expected at most 2"):
            tickets.watch(repository, ticket_id, "person:eve", actor=ANN, now=at(1))
        for _ in range(2):
            assert tickets.unwatch(repository, ticket_id, ANN, actor=ANN, now=at(2)) == [BOB]
    assert tickets_of(shop)[0]["watchers"] == [BOB]
    assert actions_in(shop, ticket_id) == ["open", "watch", "watch", "unwatch"]


# --- comments and files


def test_people_talk_on_a_ticket_also_after_its_end(shop: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "COMMENTS_MAX", 2)
    with shop.transaction() as repository:
        ticket_id = fault(repository).ticket_id
        first = tickets.comment(repository, ticket_id, f" card {CARD} ", actor=ANN, now=at(1), internal=True)
        act(repository, ticket_id, Action.CLOSE)
        tickets.comment(repository, ticket_id, "all is well after a week", actor=BOB, now=at(2))
        for text, said in ((" ", "text: expected 1 to 4000"), ("x" * 4001, "got 4001"), ("more", "at most 2")):
            with pytest.raises(TicketRefused, match=said):
                tickets.comment(repository, ticket_id, text, actor=ANN, now=at(3))
    with shop.reading() as connection:
        rows = connection.exec_driver_sql("SELECT text, internal FROM comment ORDER BY comment_id").all()
    assert [bool(row[1]) for row in rows] == [True, False]
    assert rows[0][0].startswith("card 411111")
    assert CARD not in rows[0][0]
    assert journal_of(shop, ticket_id)[1]["evidence"] == {"comment_id": first, "internal": True}


def test_files_are_kept_with_their_ticket(shop: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "FILES_MAX", 1)
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    with shop.transaction() as repository:
        ticket_id = fault(repository).ticket_id
        sent: dict[str, Any] = {"media_type": "image/png", "content": picture, "actor": ANN, "now": at(1)}
        attachment_id = tickets.attach(repository, ticket_id, name="C:\\pictures\\till.png", **sent)
        with pytest.raises(TicketRefused, match="attachments: expected at most 1"):
            tickets.attach(repository, ticket_id, name="b.png", **sent)
        with pytest.raises(AttachmentRefused):
            tickets.attach(repository, ticket_id, name="b.png", **(sent | {"content": b"GIF89a"}))
    with shop.transaction() as repository:
        kept = repository.tickets.attachment(ticket_id, attachment_id)
        assert repository.tickets.attachment(ticket_id + 1, attachment_id) is None
    assert kept is not None
    assert (kept.name, kept.media_type, kept.content) == ("till.png", "image/png", picture)
    evidence = journal_of(shop, ticket_id)[-1]["evidence"]
    assert evidence == {"attachment_id": attachment_id, "name": "till.png", "sha256": kept.sha256}


def test_what_was_merged_takes_no_more_words_and_no_more_files(shop: Store) -> None:
    with shop.transaction() as repository:
        one, other = fault(repository).ticket_id, fault(repository, PIN_PAD, "offline").ticket_id
        tickets.merge(repository, one, other, actor=ANN, reason="the same", now=at(0))
        with pytest.raises(TicketRefused, match=f"goes on as {other}"):
            tickets.comment(repository, one, "hello", actor=ANN, now=at(1))
        with pytest.raises(TicketRefused, match=f"goes on as {other}"):
            tickets.attach(repository, one, name="a", media_type="text/plain", content=b"a", actor=ANN, now=at(1))


# --- lines that the machine adds


def test_a_line_is_noted_on_the_open_ticket_only(shop: Store) -> None:
    with shop.transaction() as repository:
        assert not tickets.note(repository, identity(), "flap", WHY, at(0))
        ticket_id = fault(repository).ticket_id
        assert tickets.note(repository, identity(), "flap", WHY, at(0))
    assert actions_in(shop, ticket_id) == ["open", "flap"]
    assert tickets_of(shop)[0]["subject_id"] == TILL
