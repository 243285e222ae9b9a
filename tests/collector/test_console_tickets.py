"""The queue, a ticket's page and its printed order, as people of every role and language see them."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from tests.collector.desk_words import HOSTILE, PNG, Seen, change, fault, put
from tests.collector.shell_fixtures import NOW, Web, describe, tell
from tests.collector.test_outages import Chain
from tests.collector.words import delivered, heartbeat, printer

from tillwatch_collector.api.context import WebContext
from tillwatch_collector.console import texts
from tillwatch_collector.console.ticket_filter import Asked
from tillwatch_collector.console.tickets import ROWS, UNFOLDED_MAX
from tillwatch_collector.desk import Author
from tillwatch_collector.domain.history import Recorder
from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.domain.ticket import Action, Origin, RepairMode, Status, TicketIdentity
from tillwatch_collector.flows.changes import Why
from tillwatch_collector.flows.ingest import ingest
from tillwatch_collector.flows.tickets import Report, open_or_recur
from tillwatch_collector.policies import load as load_policy
from tillwatch_collector.store import tables
from tillwatch_collector.store.tables import table_of
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import Health

CARRIER = "weak"
ANN = Author(actor="person:ann", now=NOW)


@pytest.fixture
def served(empty: Web) -> Web:
    describe(empty.database)
    return empty


@pytest.fixture
def ann(served: Web) -> TestClient:
    return served.visitor(Role.OPERATOR, person_id="ann")


def listed(client: TestClient, query: str = "") -> list[int]:
    answer = client.get(f"/tickets/rows?{query}")
    assert answer.status_code == 200, answer.text
    return Seen(answer).rows


# --- the queue


def test_the_worst_comes_first_and_what_is_over_is_left_out(served: Web, ann: TestClient) -> None:
    minor, major, done = (fault(served.database, code=code) for code in ("paper_near_end", "paper_end", "cover_open"))
    put(served.database, done, Status.CLOSED)
    assert listed(ann) == [major, minor]
    assert listed(ann, "status=all&sort=opened_at") == [minor, major, done]
    assert listed(ann, "status=closed") == [done]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["mine", "nobodys", "late"]),
        ("whose=mine", ["mine"]),
        ("whose=nobodys", ["nobodys", "late"]),
        ("whose=watched", ["late"]),
        ("severity=minor", ["mine"]),
        ("store_id=s-2", ["late"]),
        ("store_id=s-9", []),
        ("merchant_id=m-1", ["mine", "nobodys", "late"]),
        ("region=west", ["late"]),
        ("terminal_id=t-1", ["mine", "nobodys"]),
        ("sla=breached", ["late"]),
        ("sla=paused", []),
        ("age_h=24", ["late"]),
        ("q=Shop+s-2", ["late"]),
        ("q=%25", []),
        ("status=pending", []),
        # What nobody understands narrows nothing.
        ("severity=awful&status=gone&sla=x&age_h=-1&whose=yours&sort=evil&page=0&parent_id=x&q=%00", None),
    ],
)
def test_the_queue_is_narrowed_by_its_address(
    served: Web, ann: TestClient, query: str, found: list[str] | None
) -> None:
    tickets = {
        "mine": fault(served.database, code="never_heard_of"),  # minor, by the policy's default
        "nobodys": fault(served.database, code="cover_open"),
        "late": fault(served.database, "t-2"),
    }
    change(served.database, tickets["mine"], assignee="person:ann")
    change(
        served.database,
        tickets["late"],
        watchers=["person:ann"],
        opened_at=NOW - timedelta(days=2),
        resolve_due_at=NOW - timedelta(hours=1),
    )
    assert sorted(listed(ann, query)) == sorted(tickets[name] for name in (tickets if found is None else found))


def test_counts_stand_beside_the_rows_and_lead_to_them(served: Web, ann: TestClient) -> None:
    first, second = fault(served.database), fault(served.database, code="cover_open")
    put(served.database, second, Status.REPAIRING)
    page = Seen(ann.get("/tickets?severity=major"))
    assert "to be worked on 2 reported 1 in repair 1 closed cancelled merged all" in page.text
    assert "/tickets?status=repairing&severity=major" in page.links
    assert listed(ann, "status=repairing&severity=major") == [second]
    assert first in page.rows


def test_pages_follow_each_other(served: Web, ann: TestClient) -> None:
    for number in range(ROWS + 2):
        fault(served.database, code=f"condition_{number}")
    first, second = (Seen(ann.get(f"/tickets?sort=opened_at&page={page}")) for page in (1, 2))
    assert (len(first.rows), len(second.rows)) == (ROWS, 2)
    assert not {*first.rows} & {*second.rows}
    assert "/tickets?sort=opened_at&page=2" in first.links
    assert "/tickets?sort=opened_at" in second.links
    assert "1 to 50 of 52" in first.text


def test_a_column_sorts_and_sorts_back(served: Web, ann: TestClient) -> None:
    fault(served.database)
    page = ann.get("/tickets").text
    assert 'aria-sort="descending"><a href="/tickets?sort=severity">' in page
    assert 'href="/tickets?sort=resolve_due_at"' in page
    assert 'href="/tickets?sort=-resolve_due_at"' in ann.get("/tickets?sort=resolve_due_at").text


def test_parts_lie_folded_in_their_larger_ticket_and_are_unfolded_by_the_address(served: Web, ann: TestClient) -> None:
    parent = fault(served.database, CARRIER, "silent", "agent:self")
    parts = [fault(served.database, till, "silent", "agent:self", parent_id=parent) for till in ("t-1", "t-2")]
    alone = fault(served.database)
    folded = Seen(ann.get("/tickets"))
    assert folded.rows == [parent, alone]
    assert "Parts: 2" in folded.text
    assert sorted(Seen(ann.get(f"/tickets?unfold={parent}")).rows) == sorted([parent, *parts, alone])
    assert sorted(listed(ann, "severity=critical")) == sorted([parent, *parts])  # whoever seeks sees them
    assert listed(ann, f"parent_id={parent}") == [parent, *reversed(parts)]  # the first is where they belong
    put(served.database, parent, Status.RESOLVED)
    assert sorted(listed(ann)) == sorted([*parts, alone])  # nothing is hidden below what is not there


def test_more_parts_than_fit_are_a_link_away(served: Web, ann: TestClient) -> None:
    parent = fault(served.database, CARRIER, "silent", "agent:self")
    for number in range(UNFOLDED_MAX + 1):
        fault(served.database, code=f"condition_{number}", parent_id=parent)
    page = Seen(ann.get(f"/tickets?unfold={parent}"))
    assert f"/tickets?status=all&parent_id={parent}" in page.links
    assert f"All parts: {UNFOLDED_MAX + 1}" in page.text
    assert len(page.rows) == UNFOLDED_MAX + 1


def test_the_rows_are_not_sent_twice_while_they_are_the_same(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    for path in ("/tickets/rows", f"/tickets/{ticket_id}/live?status=reported"):
        answer = ann.get(path)
        kept = {"If-None-Match": answer.headers["etag"]}
        assert ann.get(path, headers=kept).status_code == 304
        assert "csrf" not in answer.text
        change(served.database, ticket_id, assignee="person:bob")
        assert ann.get(path, headers=kept).status_code == 200
        change(served.database, ticket_id, assignee=None)


def test_what_is_read_once_for_many_is_still_told_to_each_as_theirs(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    bob, viewer = served.visitor(Role.OPERATOR, person_id="bob"), served.visitor(Role.VIEWER, person_id="vera")
    elsewhere = served.visitor(Role.OPERATOR, person_id="eve", within=Within(store_ids=frozenset({"s-2"})))
    take = f"/tickets/{ticket_id}/assign"
    assert take in ann.get("/tickets/rows").text
    assert take in bob.get("/tickets/rows").text
    assert take not in viewer.get("/tickets/rows").text
    assert listed(elsewhere) == []
    change(served.database, ticket_id, assignee="person:bob")  # seen at once, by everybody
    assert take in ann.get("/tickets/rows").text
    assert take not in bob.get("/tickets/rows").text
    assert (listed(ann, "whose=mine"), listed(bob, "whose=mine")) == ([], [ticket_id])


def test_a_filter_that_a_script_sends_leaves_a_link_without_what_is_empty(ann: TestClient) -> None:
    answer = ann.get("/tickets?q=&whose=mine&severity=", headers={"HX-Request": "true"})
    assert answer.headers["hx-push-url"] == "/tickets?whose=mine"
    assert ann.get("/tickets?q=", headers={"HX-Request": "true"}).headers["hx-push-url"] == "/tickets"


def test_the_csv_has_what_the_queue_is_narrowed_to_with_every_part(served: Web, ann: TestClient) -> None:
    parent = fault(served.database, CARRIER, "silent", "agent:self")
    fault(served.database, "t-1", "silent", "agent:self", parent_id=parent)
    other = fault(served.database, "t-2")
    answer = ann.get("/tickets.csv?severity=critical")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [row["code"] for row in rows] == ["silent", "silent"]
    assert str(other) not in {row["ticket_id"] for row in rows}
    assert answer.headers["content-disposition"] == 'attachment; filename="tickets.csv"'


# --- who sees what


def test_somebody_narrowed_sees_their_own_and_parts_whose_larger_ticket_they_do_not_see(served: Web) -> None:
    parent = fault(served.database, CARRIER, "silent", "agent:self")
    part = fault(served.database, "t-1", "silent", "agent:self", parent_id=parent)
    fault(served.database, "t-2", "silent", "agent:self", parent_id=parent)
    narrowed = served.visitor(Role.OPERATOR, within=Within(store_ids=frozenset({"s-1"})))
    assert listed(narrowed) == [part]
    assert listed(narrowed, "status=all") == [part]
    rows = list(csv.DictReader(io.StringIO(narrowed.get("/tickets.csv").text.removeprefix("\ufeff"))))
    assert [row["ticket_id"] for row in rows] == [str(part)]
    page = Seen(narrowed.get(f"/tickets/{part}"))
    assert parent not in page.rows
    assert "to be worked on 1" in Seen(narrowed.get("/tickets")).text
    nobody = served.visitor(Role.VIEWER, within=Within(merchant_ids=frozenset({"m-9"})))
    assert listed(nobody) == []


# --- one ticket


def test_a_page_tells_what_where_since_and_on_what_evidence(served: Web) -> None:
    tell(served.database)
    page = Seen(served.visitor(Role.VIEWER).get("/tickets/2")).text
    for told in (
        "Out of paper #2",
        "t-2 Printer kitchen",
        "Shop s-2",
        "Out of paper on Printer kitchen, for",
        "It happened Nov 21, 2026, 11:56",
        "Heard of as heard in time",
        "stands: Out of paper",
        "found by tillwatch",
    ):
        assert told in page, told


def test_what_was_measured_last_before_the_opening_is_told(served: Web, ann: TestClient) -> None:
    uplink = Reading(component="network:uplink", health=Health.OK, measures={"tls_ms": 812}, facts={})
    scanner = Reading(component="scanner:1", health=Health.OK, measures={"queue_s": 5}, facts={})
    beat = heartbeat(1, printer(measures={"head_celsius": 71}), uplink, scanner, terminal_id="t-1")
    with served.database.transaction() as repository:
        ingest(repository, [delivered(beat)], NOW, recorder=Recorder())
    served.now = NOW + timedelta(minutes=1)
    with served.database.transaction() as repository:
        why = Why(actor="machine:judge", reason="it is so")
        identity = TicketIdentity(
            subject_kind="terminal", subject_id="t-1", component="pos_printer:kitchen", code="head_hot"
        )
        open_or_recur(repository, identity, load_policy(None).default, why, served.now)
    page = Seen(ann.get("/tickets/1")).text
    assert "Measured last before it was opened" in page
    assert "71 °C" in page
    assert "812 ms" in page
    assert "scanner:1" not in page


def test_an_outage_says_where_else_its_cause_was_looked_for(empty: Web) -> None:
    chain = Chain(empty.database, {"a": 4, "b": 4, "c": 4, "x": 4})
    chain.cut = {till for till, store in chain.tills.items() if store != "x"}
    chain.live(600)
    empty.now = NOW
    viewer = empty.visitor(Role.VIEWER)
    parent = listed(viewer)[0]
    answer = viewer.get(f"/tickets/{parent}")
    page = Seen(answer).text
    assert "Where else the cause was looked for" in page
    assert "Carrier weak taken 12 of 12" in page
    assert "from one moment on" in page
    assert "Terminals hit: 12" in page
    assert "terminals: 12" in Seen(viewer.get("/tickets")).text


def test_a_page_that_has_moved_on_says_so(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    live = ann.get(f"/tickets/{ticket_id}").text
    assert f'hx-get="/tickets/{ticket_id}/live?status=reported"' in live
    assert "has moved on" not in ann.get(f"/tickets/{ticket_id}/live?status=reported").text
    put(served.database, ticket_id, Status.DIAGNOSING)
    assert "it is being diagnosed now" in ann.get(f"/tickets/{ticket_id}/live?status=reported").text


def test_a_long_journal_is_shown_from_its_end_and_whole_when_asked(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    desk = served.context.desk
    for number in range(40):
        desk.assign(ticket_id, None, ANN, reason=f"turn {number:02}")
    page, whole = ann.get(f"/tickets/{ticket_id}").text, ann.get(f"/tickets/{ticket_id}?journal=all").text
    assert ("turn 39" in page, "turn 02" in page, "Earlier lines: 11" in page) == (True, False, True)
    assert ("turn 02" in whole, "Earlier lines" in whole) == (True, False)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"respond_due_at": NOW - timedelta(minutes=5)}, "Respond 5 min over"),
        ({"resolve_due_at": NOW + timedelta(minutes=30)}, "Resolve 30 min left"),
        ({"resolve_due_at": NOW + timedelta(hours=5)}, "Resolve 5 hr left"),
        ({"responded_at": NOW}, "Respond done"),
        ({"status": "pending", "pending_on": "parts"}, "Resolve paused"),
        ({}, "Resolve no time set"),
    ],
)
def test_clocks_are_told_in_words(served: Web, ann: TestClient, columns: dict[str, Any], said: str) -> None:
    ticket_id = fault(served.database)
    change(served.database, ticket_id, **columns)
    assert said in Seen(ann.get(f"/tickets/{ticket_id}")).text
    if "resolve_due_at" in columns or "respond_due_at" in columns:
        assert said in Seen(ann.get("/tickets")).text


def test_there_is_no_page_of_a_ticket_that_there_is_not(ann: TestClient) -> None:
    for path in ("/tickets/99", "/tickets/99/live", "/tickets/99/order", "/tickets/99/attachments/1"):
        assert ann.get(path).status_code == 404


# --- the order


def test_an_order_has_what_a_technician_needs_in_the_persons_language(served: Web) -> None:
    with served.database.transaction() as repository:
        store, terminal = table_of(tables.StoreRow), table_of(tables.TerminalRow)
        hours = {"tue": [["08:00", "20:00"]], "mon": [["08:00", "12:00"], ["14:00", "20:00"]]}
        repository.connection.execute(
            update(store).where(store.c.store_id == "s-1").values(address="18 The Bund 外滩", opening_hours=hours)
        )
        repository.connection.execute(
            update(terminal).where(terminal.c.terminal_id == "t-1").values(model="TM-T88", serial_number="SN-77")
        )
    tell(served.database)
    ticket_id = fault(served.database, detail="the blade is stuck", code="cutter_error")
    served.context.desk.act(ticket_id, Action.REPAIR, ANN, reason="bring a cutter", mode=RepairMode.ON_SITE)
    order = Seen(served.visitor(Role.VIEWER).get(f"/tickets/{ticket_id}/order"))
    for told in (
        "18 The Bund 外滩",
        "Noodle House",
        "Mon 08:00-12:00, 14:00-20:00; Tue 08:00-20:00",
        "Epson TM-T88",
        "SN-77",
        "Cutter jammed",
        "the blade is stuck",
        "bring a cutter",
        "Technician",
        # in the store's time: Shanghai's
        "Nov 21, 2026, 20:00",
        "times in Asia/Shanghai",
        "Status",
        "Assigned to",
    ):
        assert told in order.text, told
    chinese = served.visitor(Role.VIEWER, language="zh-CN").get(f"/tickets/{ticket_id}/order").text
    assert "派工单" in chinese
    assert "Work order" not in chinese


def test_what_was_done_so_far_is_told_in_the_persons_language(served: Web) -> None:
    ticket_id = fault(served.database)
    why = "cover_open on pos_printer:kitchen proved gone by t-1 itself"
    machine = Author(actor="machine:judge", now=NOW)
    served.context.desk.act(ticket_id, Action.REPAIR, machine, reason=why, mode=RepairMode.ON_SITE)
    order = served.visitor(Role.VIEWER, language="zh-CN").get(f"/tickets/{ticket_id}/order").text
    assert "proved gone" not in order
    assert texts.choose("zh-CN").word("conditions", "cover_open") in order


def test_how_often_a_ticket_came_back_is_said_once(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database)
    change(served.database, ticket_id, recurrences=2)
    page = Seen(ann.get(f"/tickets/{ticket_id}/live")).text
    assert "2 times" in page
    assert "came back:" not in page


def test_no_text_turns_the_direction_of_a_page_and_none_is_changed_in_a_form(served: Web, ann: TestClient) -> None:
    ticket_id, turned = fault(served.database), "a\u202etxt.exe \u2066b"
    ann.post(f"/tickets/{ticket_id}/comments", data={"text": turned})
    page = ann.get(f"/tickets/{ticket_id}").text
    assert "a⟦U+202E⟧txt.exe ⟦U+2066⟧b" in page
    assert not set("\u202e\u2066") & set(page)
    draft = ann.post(f"/tickets/{ticket_id}/actions/repair", data={"reason": turned, "mode": "nonsense"}).text
    assert f">{turned}</textarea>" in draft


def test_an_order_of_what_stands_nowhere_says_what_is_not_known(served: Web, ann: TestClient) -> None:
    ticket_id = fault(served.database, CARRIER, "silent", "agent:self")
    assert "not known" in ann.get(f"/tickets/{ticket_id}/order").text


# --- both languages, and whatever people and terminals write


def hostile(context: WebContext) -> int:
    """A ticket with everything that somebody may write of it, written by somebody who means harm."""
    desk, evil = context.desk, Author(actor="person:mallory", now=NOW)
    with context.store.transaction() as repository:
        store, terminal = table_of(tables.StoreRow), table_of(tables.TerminalRow)
        repository.connection.execute(update(store).values(name=HOSTILE, address=HOSTILE, region=HOSTILE))
        repository.connection.execute(update(terminal).values(brand=HOSTILE, model=HOSTILE, serial_number=HOSTILE))
        merchant = table_of(tables.MerchantRow)
        repository.connection.execute(update(merchant).values(name=HOSTILE))
    told = Report(
        origin=Origin.WEB,
        subject_kind="terminal",
        subject_id="t-1",
        title=HOSTILE,
        description=HOSTILE,
        contact=HOSTILE,
    )
    ticket_id = desk.report(told, evil).ticket_id
    part = fault(
        context.store, "t-2", parent_id=ticket_id, detail=HOSTILE, strange={HOSTILE: [HOSTILE]}, presence=HOSTILE
    )
    desk.act(ticket_id, Action.DIAGNOSE, evil, reason=HOSTILE)
    desk.comment(ticket_id, HOSTILE, evil)
    desk.attach(ticket_id, f"{HOSTILE.replace('/', '')}.png", "image/png", PNG, evil)
    desk.assign(ticket_id, "provider:<img/src=x/onerror=alert(1)>", evil, reason=HOSTILE)
    desk.watch(ticket_id, "person:<script>", evil)
    return part


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_what_anybody_writes_is_never_markup(served: Web, language: str) -> None:
    part = hostile(served.context)
    client = served.visitor(Role.OPERATOR, language=language)
    ticket_id = part - 1
    paths = (
        "/tickets",
        f"/tickets?unfold={ticket_id}",
        f"/tickets/{ticket_id}",
        f"/tickets/{part}",
        f"/tickets/{part}/order",
        f"/tickets/{ticket_id}/order",
        f"/tickets/{part}/merge?into={ticket_id}",
        "/report?q=t-",
        f"/report?q={HOSTILE}",
        "/report?terminal_id=t-1",
        f"/report?terminal_id=t-1&component={HOSTILE}",
        "/report?store_id=s-1",
        f"/tickets?q={HOSTILE}&region={HOSTILE}&terminal_id={HOSTILE}",
    )
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 200, path
        page = Seen(answer)
        assert (page.scripted, page.tags & {"img", "iframe", "style"}) == ([], set()), path
        assert "onerror=alert(1)&gt;" in answer.text or path == f"/tickets/{part}/order", path


@pytest.mark.parametrize("path", ["/tickets", "/tickets/2", "/tickets/2/order", "/report?terminal_id=t-2"])
def test_every_page_is_told_in_both_languages(served: Web, path: str) -> None:
    tell(served.database)
    english, chinese = (served.visitor(Role.OPERATOR, language=one).get(path).text for one in ("en", "zh-CN"))
    assert '<html lang="zh-CN"' in chinese
    assert "Out of paper" in english
    assert "缺纸" in chinese
    assert "Out of paper" not in chinese


def test_an_address_without_filters_is_the_shortest() -> None:
    assert Asked().query == ""
    assert Asked.of_query("status=open&page=1&sort=") == Asked()


def test_every_column_has_a_name() -> None:
    for words in texts.catalogue().values():
        assert {f"queue_{name}" for name in ("severity", "what", "where", "status", "clock", "who", "since")} <= set(
            words
        )
