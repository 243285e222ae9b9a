"""The page of one terminal: what is seen of it, what is asked of it, by whom."""

import html
import re
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.collector.databases import rows
from tests.collector.desk_words import fault, put
from tests.collector.shell_fixtures import NOW, STREAM, Web, describe, tell

from tillwatch_collector.domain.command import WAITING_MAX
from tillwatch_collector.domain.history import Recorder
from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.domain.ticket import Status
from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.store.session import Store
from tillwatch_protocol import codec, topics
from tillwatch_protocol.command import CommandReport, Diagnosis, Finding
from tillwatch_protocol.event import Event, EventBatch, EventKind
from tillwatch_protocol.heartbeat import Connection, Heartbeat
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import Health

URL = "/terminals/t-1"
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}" + "长" * 200
NARROWED = Within(store_ids=frozenset({"s-2"}))


def hear(store: Store, *readings: Reading, terminal_id: str = "t-1", beat_no: int = 1_000, after_s: float = 0) -> None:
    at = NOW + timedelta(seconds=after_s)
    beat = Heartbeat(
        terminal_id=terminal_id,
        connection=Connection(stream_id=STREAM, boot_epoch=1, connection_no=1),
        beat_no=beat_no,
        interval_s=10,
        event_seq_last=0,
        sent_at=at,
        host_boot_id="boot-1",
        agent_version="0.1.0",
        components=readings,
    )
    topic = topics.HEARTBEAT.of(terminal_id)
    recorder = Recorder()
    with store.transaction() as repository:
        delivery = Delivery(topic=topic, payload=codec.encode(beat), retained=False, received_at=at)
        ingest(repository, [delivery], at, recorder=recorder)


def reading(component: str, *codes: str, detail: str | None = None, **more: Any) -> Reading:
    conditions = tuple(Condition(code=code, since=NOW, detail=detail) for code in codes)
    health = Health.FAULT if codes else Health.OK
    return Reading(component=component, health=health, conditions=conditions, **more)


@pytest.fixture
def web(store: Store) -> Web:
    """A collector that has heard of t-1 and t-3, and has not judged."""
    describe(store)
    hear(store, reading("pos_printer:kitchen"), beat_no=1)
    hear(store, reading("pos_printer:kitchen"), terminal_id="t-3", beat_no=1)
    return Web(database=store)


@pytest.fixture
def judged(store: Store) -> TestClient:
    """Who visits a collector that has judged: t-1's cover was opened and closed, t-3 fell silent."""
    describe(store)
    tell(store)
    return Web(database=store).visitor(Role.OPERATOR, person_id="ann")


@pytest.fixture
def visitor(web: Web) -> TestClient:
    return web.visitor(Role.OPERATOR, person_id="ann")


def seen(visitor: TestClient, path: str = URL, **headers: str) -> str:
    answer = visitor.get(path, headers=headers)
    assert answer.status_code == HTTPStatus.OK, answer.text
    return answer.text


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


# --- what is seen


def test_every_component_is_told_with_its_health_age_and_evidence(web: Web, visitor: TestClient) -> None:
    silent = Reading(component="scanner:1", health=Health.UNKNOWN, reason="stale", undetermined=("device_error",))
    printer = reading("pos_printer:kitchen", "cover_open", detail="the lid", measures={"answer_ms": 4.5})
    hear(web.database, printer, silent)
    page = text_of(seen(visitor, f"{URL}/live"))
    assert "Printer kitchen ○" not in page
    for words in (
        "Printer kitchen",
        "fault",
        "Cover open",
        "the lid",
        "Answer 4.5 ms",
        "Scanner 1",
        "No fresh reading",
        "as of 0 s ago",
    ):
        assert words in page
    assert "Not judged this time: Device reports an error" in page
    assert page.index("Printer kitchen") < page.index("Scanner 1"), "the worst first"


def test_the_way_out_breaks_where_it_breaks(web: Web, visitor: TestClient) -> None:
    behind = ("dns_failure", "wan_unreachable", "captive_portal")
    uplink = reading(
        "network:uplink", "gateway_unreachable", detail="192.168.1.1", undetermined=behind, facts={"interface": "eth0"}
    )
    hear(web.database, uplink)
    page = seen(visitor, f"{URL}/live")
    assert text_of(page).count("fails here") == 1
    assert "The way out breaks here: Router. Router does not answer" in text_of(page)
    assert re.findall(r'<li class="link is-(\w+)', page) == ["whole"] * 4 + ["broken"] + ["unproved"] * 4


def test_what_a_device_tells_of_itself_is_named_in_the_readers_words(web: Web) -> None:
    told = {"maker": "TILLWATCH", "serial_number": "4711", "cutter": "yes", "odd_thing": "1"}
    hear(web.database, reading("pos_printer:kitchen", facts=told))
    page = text_of(seen(web.visitor(Role.VIEWER, language="zh-CN"), f"{URL}/live"))
    assert "厂商 TILLWATCH · 序列号 4711 · 切刀 是 · odd thing 1" in page


def test_of_a_silent_terminal_what_is_old_is_called_old(judged: TestClient) -> None:
    assert "This terminal does not speak now" in seen(judged, "/terminals/t-3")
    assert "This terminal does not speak now" not in seen(judged)


def test_a_terminal_that_never_spoke_has_a_page(web: Web, visitor: TestClient) -> None:
    with web.database.transaction() as repository:
        repository.connection.exec_driver_sql("DELETE FROM level WHERE terminal_id = 't-3'")
    assert "has not told anything yet" in seen(visitor, "/terminals/t-3")


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("path", ["", "/live", "/plots", "/timeline", "/commands"])
def test_every_page_is_there_in_every_language(web: Web, language: str, path: str) -> None:
    answer = web.visitor(language=language).get(URL + path)
    assert answer.status_code == HTTPStatus.OK
    assert answer.headers["content-language"] == language


@pytest.mark.parametrize("path", ["", "/live", "/plots", "/timeline", "/commands"])
def test_who_does_not_see_it_finds_nothing(web: Web, path: str) -> None:
    assert web.visitor(within=NARROWED).get(URL + path).status_code == HTTPStatus.NOT_FOUND
    assert web.visitor().get(f"/terminals/t-9{path}").status_code == HTTPStatus.NOT_FOUND
    assert web.client().get(URL + path).status_code in {HTTPStatus.SEE_OTHER, HTTPStatus.UNAUTHORIZED}


def test_what_a_terminal_sends_is_text(web: Web, visitor: TestClient) -> None:
    uplink = reading("network:uplink", "link_down", detail=HOSTILE, facts={"interface": HOSTILE, "version": HOSTILE})
    software = reading("application:till", facts={"version": HOSTILE, "digest": HOSTILE})
    hear(web.database, uplink, software, reading("acquirer:bank", "tcp_failure", detail=HOSTILE))
    say(web.database, Event(event_seq=1, boot_epoch=1, kind="started", happened_at=NOW, detail=HOSTILE))
    for path in ("", "/live", "/timeline"):
        page = seen(visitor, URL + path)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page
        assert "49" not in text_of(page).replace("{{7*7}}", "").split()


def test_the_same_part_is_not_sent_twice(visitor: TestClient) -> None:
    first = visitor.get(f"{URL}/live")
    again = visitor.get(f"{URL}/live", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (HTTPStatus.NOT_MODIFIED, b"")


# --- plots


def test_plots_are_drawn_with_gaps_faults_and_figures(store: Store, judged: TestClient) -> None:
    for number in range(20):
        after_s = -3_600 + 60 * number + (1_200 if number > 9 else 0)
        uplink = reading("network:uplink", measures={"gateway_ms": 1.5 + 10 * number, "dns_ms": 12.0})
        hear(store, uplink, beat_no=2_000 + number, after_s=after_s)
    page = seen(judged, f"{URL}/plots?span=hour", **{"HX-Request": "true"})
    assert len(re.findall(r'<polyline class="line line-1"', page)) == 2, "what lies between is a gap"
    assert len(re.findall(r'<rect class="mark-fault" x=', page)) == 1
    assert "Asia/Shanghai" in page
    assert "<html" not in page
    assert "<html" in seen(judged, f"{URL}/plots?span=nonsense")


# --- the story


def say(store: Store, *events: Event, terminal_id: str = "t-1", after_s: float = 0) -> None:
    batch = EventBatch(terminal_id=terminal_id, stream_id=STREAM, oldest_seq=1, events=events)
    at = NOW + timedelta(seconds=after_s)
    delivery = Delivery(
        topic=topics.EVENTS.of(terminal_id), payload=codec.encode(batch), retained=False, received_at=at
    )
    with store.transaction() as repository:
        ingest(repository, [delivery], at)


def test_the_story_is_told_once_over_all_its_pages(web: Web, visitor: TestClient) -> None:
    for first in range(1, 121, 20):
        events = [
            Event(event_seq=first + no, boot_epoch=1, kind="started", happened_at=NOW, detail=f"start-{first + no}.")
            for no in range(20)
        ]
        say(web.database, *events, after_s=-100 + first // 50)
    path: str | None = f"{URL}/timeline"
    told: list[str] = []
    while path:
        page = seen(visitor, path, **{"HX-Request": "true"})
        told += re.findall(r"start-\d+\.", page)
        more = re.search(r'hx-get="([^"]+)"', page)
        path = html.unescape(more[1]) if more else None
    assert sorted(told) == sorted(f"start-{number}." for number in range(1, 121))


def test_the_story_holds_faults_tickets_and_commands(judged: TestClient) -> None:
    judged.post(f"{URL}/commands", data={"kind": "report"})
    page = text_of(seen(judged, f"{URL}/timeline"))
    for words in ("Fault: Cover open", "Fault over: Cover open", "Ticket #1:", "was asked: Refresh"):
        assert words in page


def test_the_story_is_told_in_the_stores_time_to_the_second_and_in_the_persons_language(store: Store) -> None:
    describe(store)
    tell(store)
    web = Web(database=store)
    page = seen(web.visitor(Role.OPERATOR), f"{URL}/timeline")
    assert re.search(r"Nov 21, 2026, (?:19|20):\d\d:\d\d</time>", page)
    assert page.count("Times of the store: Asia/Shanghai") == 1
    assert seen(web.visitor(Role.OPERATOR), URL).count("Times of the store: Asia/Shanghai") == 1
    assert " on Printer " in page
    chinese = seen(web.visitor(Role.OPERATOR, language="zh-CN"), f"{URL}/timeline")
    assert "pos_printer:" not in chinese


def test_what_is_resolved_and_not_closed_stands_apart(store: Store) -> None:
    describe(store)
    first, second = fault(store, code="cover_open"), fault(store, code="paper_end")
    put(store, second, Status.RESOLVED)
    web = Web(database=store)
    page = text_of(seen(web.visitor(Role.OPERATOR), URL))
    assert page.index(f"#{first} ") < page.index("Resolved, not closed yet") < page.index(f"#{second} ")
    report = text_of(seen(web.visitor(Role.OPERATOR), "/report?terminal_id=t-1"))
    assert report.index(f"#{first}") < report.index("Resolved, not closed yet") < report.index(f"#{second}")
    row = seen(web.visitor(Role.OPERATOR), "/live/terminals?q=t-1")
    assert '<a href="/tickets?terminal_id=t-1">1</a>' in row


def test_the_audit_log_is_for_those_who_may_read_it(web: Web, visitor: TestClient) -> None:
    with web.database.transaction() as repository:
        repository.audit.record(NOW, actor="person:ann", action="moved_terminal", subject="terminal:t-1", detail={})
        repository.audit.record(NOW, actor="person:ann", action="moved_other", subject="terminal:t-2", detail={})
    assert "moved_terminal" in seen(web.visitor(Role.ADMIN), f"{URL}/timeline")
    assert "moved_other" not in seen(web.visitor(Role.ADMIN), f"{URL}/timeline")
    assert "moved_terminal" not in seen(visitor, f"{URL}/timeline")


@pytest.mark.parametrize("query", ["before=no", "before=9999-12-31T23:59:59%2B00:00&skip=-5", "before=0001-01-01"])
def test_a_page_that_nobody_gave_is_the_first(visitor: TestClient, query: str) -> None:
    assert visitor.get(f"{URL}/timeline?{query}").status_code == HTTPStatus.OK


# --- commands


def answer(store: Store, command_id: str) -> None:
    findings = (
        Finding(name="link", outcome="passed"),
        Finding(name="gateway", outcome="failed", codes=("gateway_unreachable",), found=HOSTILE[:100]),
        Finding(name="names", outcome="untested", codes=("behind_failure",)),
        Finding(name="pos_printer:kitchen", outcome="fault", codes=("paper_end",)),
    )
    diagnosis = Diagnosis(failing="gateway_unreachable", confidence="proved", findings=findings)
    report = CommandReport(command_id=command_id, kind="diagnose", diagnosis=diagnosis)
    say(store, Event(event_seq=1, boot_epoch=1, kind=EventKind.COMMAND_DONE, happened_at=NOW, command=report))


def test_a_command_is_asked_for_and_its_answer_shows(web: Web, visitor: TestClient) -> None:
    asked = visitor.post(f"{URL}/commands", data={"kind": "diagnose"})
    assert (asked.status_code, asked.headers["location"]) == (HTTPStatus.SEE_OTHER, URL)
    assert "waits to be sent" in seen(visitor, f"{URL}/commands")
    ((command_id, asked_by),) = rows(web.database, "SELECT command_id, asked_by FROM command")
    assert asked_by == "person:ann"
    answer(web.database, command_id)
    page = seen(visitor, f"{URL}/commands")
    for words in ("done", "Router does not answer", "proved", "fails here", "Printer kitchen", "Out of paper"):
        assert words in text_of(page)
    assert "<script>alert" not in page


def test_a_restart_is_confirmed_and_buttons_are_for_those_who_may(web: Web, visitor: TestClient) -> None:
    assert 'value="restart_agent"' in seen(visitor)
    button = re.search(r'<button name="kind" value="restart_agent"[^>]*>', seen(visitor))
    assert button is not None
    assert "data-confirm" in button[0]
    viewer = web.visitor(Role.VIEWER)
    assert 'name="kind"' not in seen(viewer)
    assert viewer.post(f"{URL}/commands", data={"kind": "report"}).status_code == HTTPStatus.FORBIDDEN
    assert rows(web.database, "SELECT count(*) FROM command") == [(0,)]


def test_who_does_not_see_it_asks_it_for_nothing(web: Web) -> None:
    narrowed = web.visitor(Role.OPERATOR, within=NARROWED)
    assert narrowed.post(f"{URL}/commands", data={"kind": "report"}).status_code == HTTPStatus.NOT_FOUND
    assert rows(web.database, "SELECT count(*) FROM command") == [(0,)]


def test_too_many_are_refused_in_words(visitor: TestClient) -> None:
    for _ in range(WAITING_MAX):
        visitor.post(f"{URL}/commands", data={"kind": "report"})
    refused = visitor.post(f"{URL}/commands", data={"kind": "report"})
    assert refused.status_code == HTTPStatus.CONFLICT
    assert "Wait for an answer" in refused.text


def test_what_is_not_on_the_list_is_not_taken(web: Web, visitor: TestClient) -> None:
    assert visitor.post(f"{URL}/commands", data={"kind": "shell"}).status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert rows(web.database, "SELECT count(*) FROM command") == [(0,)]
