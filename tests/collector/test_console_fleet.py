"""The fleet's page and its live parts: what is counted, drawn and listed, and for whom."""

import csv
import io
import re
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, update
from tests.bench.seeding import put
from tests.collector.shell_fixtures import NOW, Web, describe, tell

from tillwatch_collector.console.fleet_filter import Asked
from tillwatch_collector.console.pictures.tiles import TILES_MAX
from tillwatch_collector.domain.census import State
from tillwatch_collector.domain.inventory import Merchant, Store, Terminal
from tillwatch_collector.domain.maintenance import Maintenance, Scope
from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.exports import BYTE_ORDER_MARK
from tillwatch_collector.shared import LENT
from tillwatch_collector.store import tables
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store as Database
from tillwatch_collector.store.tables import table_of

S_1 = Within(store_ids=frozenset({"s-1"}))
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def told(module_store: Database) -> Web:
    """t-1 is well in s-1, t-2 in s-2 has no paper, t-3 stands nowhere and is silent; to be read only."""
    describe(module_store)
    tell(module_store)
    return Web(database=module_store)


@pytest.fixture
def changing(store: Database) -> Web:
    """The same, for a test that writes."""
    describe(store)
    tell(store)
    return Web(database=store)


def ids(html: str) -> list[str]:
    """The terminals of a list, in its order."""
    return re.findall(r'<th scope="row"><a href="/terminals/([^"]+)"', html)


def listed(browser: TestClient, query: str = "") -> list[str]:
    answer = browser.get(f"/live/terminals?{query}")
    assert answer.status_code == 200, answer.text
    return ids(answer.text)


def words(html: str) -> str:
    """What a person reads: text without markup, with single spaces."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


# --- what is counted


def test_the_counters_say_who_reports_and_what_is_wrong(told: Web) -> None:
    said = words(told.visitor().get("/live/fleet").text)
    assert "Reporting 2 of 3 terminals" in said
    assert "silent 1" in said
    assert "Faults, critical 1 Faults, major 1 Faults, minor 0 Open tickets 2" in said


def test_a_collector_that_hears_nobody_says_so(changing: Web) -> None:
    changing.listening = False
    assert "hears nobody" in changing.visitor().get("/live/fleet").text


def test_muted_terminals_are_counted_once_however_often_they_are_muted(changing: Web) -> None:
    spans = ((Scope.STORE, "s-1"), (Scope.TERMINAL, "t-1"), (Scope.TERMINAL, "t-3"))
    with changing.database.transaction() as repository:
        for kind, name in spans:
            muted = Maintenance(scope_kind=kind, scope_id=name, ends_at=NOW + timedelta(hours=1), reason="cleaning")
            repository.maintenance.add(muted, actor="person:ann", now=NOW)
    assert "In maintenance 2" in words(changing.visitor().get("/live/fleet").text)
    assert "In maintenance 1" in words(changing.visitor(within=S_1).get("/live/fleet").text)


def test_all_are_muted_where_all_are(changing: Web) -> None:
    muted = Maintenance(scope_kind=Scope.ALL, ends_at=NOW + timedelta(hours=1), reason="cleaning")
    with changing.database.transaction() as repository:
        repository.maintenance.add(muted, actor="person:ann", now=NOW)
    assert "In maintenance 3" in words(changing.visitor().get("/live/fleet").text)


# --- what is drawn


def test_each_store_is_a_tile_with_its_state_and_a_way_to_it(told: Web) -> None:
    drawn = told.visitor().get("/live/picture").text
    assert re.findall(r'<a href="/stores/([^"]+)"[^>]*class="(\w+)"', drawn) == [("s-2", "major"), ("s-1", "well")]
    assert 'href="#is-major"' in drawn
    assert "Shop s-2: major fault, 1 of 1 terminals need a look" in drawn
    assert "One terminal stands in no store yet." in words(drawn)


def test_a_zoom_shows_one_region(told: Web) -> None:
    drawn = told.visitor().get("/live/picture?region=east").text
    assert re.findall(r'href="/stores/([^"]+)"', drawn) == ["s-1"]
    assert "in no store" not in words(drawn)


def test_stores_without_any_region_are_drawn_by_merchant(changing: Web) -> None:
    with changing.database.transaction() as repository:
        repository.connection.execute(update(table_of(tables.StoreRow)).values(region=None))
    assert '<a href="/?merchant=m-1">Noodle House</a>' in changing.visitor().get("/live/picture").text


# --- what is listed


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("", ["t-3", "t-2", "t-1"], id="the worst first"),
        pytest.param("q=SHOP+S-2", ["t-2"], id="by the store's name, in capitals or not"),
        pytest.param("q=epson", ["t-1"], id="by brand"),
        pytest.param("q=t-", ["t-3", "t-2", "t-1"], id="by id"),
        pytest.param("q=100%25", [], id="a per cent sign is itself"),
        pytest.param("q=%00", ["t-3", "t-2", "t-1"], id="what nobody can write narrows nothing"),
        pytest.param("region=east", ["t-1"], id="by region"),
        pytest.param("merchant=m-1", ["t-2", "t-1"], id="by merchant"),
        pytest.param("store=s-2", ["t-2"], id="by store"),
        pytest.param("presence=silent", ["t-3"], id="by presence"),
        pytest.param("state=major", ["t-2"], id="by state"),
        pytest.param("state=well", ["t-1"], id="those who are well"),
        pytest.param("severity=critical", ["t-3"], id="by the severity of a fault that stands"),
        pytest.param("life_cycle=spare", [], id="by use"),
        pytest.param("brand=Epson", ["t-1"], id="by exact brand"),
        pytest.param("version=0.1.0", ["t-3", "t-2", "t-1"], id="by the agent's version"),
        pytest.param("version=9", [], id="a version that nobody runs"),
        pytest.param("state=nonsense&sort=nonsense&offset=-1", ["t-3", "t-2", "t-1"], id="nonsense narrows nothing"),
        pytest.param("region=east&state=major", [], id="all of them together"),
        pytest.param("sort=terminal_id", ["t-1", "t-2", "t-3"], id="by id, upwards"),
        pytest.param("sort=-terminal_id", ["t-3", "t-2", "t-1"], id="downwards"),
        pytest.param("sort=-state", ["t-1", "t-2", "t-3"], id="the best first"),
        pytest.param("sort=store", ["t-1", "t-2", "t-3"], id="by store, nowhere last"),
        pytest.param("sort=-store", ["t-2", "t-1", "t-3"], id="by store downwards, nowhere last"),
        pytest.param("sort=brand", ["t-1", "t-2", "t-3"], id="by brand, none last"),
        pytest.param("sort=heard_at", ["t-3", "t-1", "t-2"], id="by who was heard longest ago"),
        pytest.param("offset=2&sort=terminal_id", ["t-3"], id="from the third on"),
        pytest.param("offset=50", [], id="beyond the end"),
    ],
)
def test_the_list_is_filtered_and_sorted(told: Web, query: str, expected: list[str]) -> None:
    assert listed(told.visitor(), query) == expected


def test_a_row_says_what_is_wrong_where_and_how_long_it_was_silent(told: Web) -> None:
    row = words(told.visitor().get("/live/terminals?state=major").text)
    assert "One terminal" in row
    assert "major fault t-2 Out of paper Printer kitchen Shop s-2 west" in row
    assert "0.1.0" in row


def test_the_form_shows_what_the_list_is_narrowed_by(told: Web) -> None:
    page = told.visitor().get("/?q=t-&state=major&region=west&version=7&sort=brand").text
    assert 'name="q" value="t-"' in page
    for chosen in ('value="major" selected', 'value="west" selected', 'value="7" selected'):
        assert chosen in page
    assert 'hx-get="/live/terminals?q=t-&amp;region=west&amp;state=major&amp;version=7&amp;sort=brand"' in page


def test_a_long_list_has_pages_that_keep_what_is_asked(changing: Web) -> None:
    more = [{"terminal_id": f"u-{no:03d}", "life_cycle": "live", "created_at": NOW} for no in range(120)]
    with changing.database.transaction() as repository:
        repository.connection.execute(insert(table_of(tables.TerminalRow)), more)
    browser = changing.visitor()
    first = browser.get("/?q=u-&sort=terminal_id").text
    assert ids(first)[:2] == ["u-000", "u-001"]
    assert len(ids(first)) == 50
    assert "1 to 50 of 120" in words(first)
    assert 'href="/?q=u-&amp;sort=terminal_id&amp;offset=50"' in first
    assert ids(browser.get("/?q=u-&sort=terminal_id&offset=100").text)[0] == "u-100"


def test_an_address_says_only_what_differs_and_reads_back() -> None:
    asked = Asked.of({"q": "x y", "state": "silent", "offset": "50", "sort": "-brand"})
    assert asked.query == "q=x+y&state=silent&sort=-brand&offset=50"
    assert Asked.of({}).query == ""
    assert asked.with_(sort="state") == "q=x+y&state=silent"
    assert Asked.of({"offset": "9" * 30}).offset == 0


@pytest.mark.parametrize("state", State)
def test_each_state_can_be_asked_for(told: Web, state: State) -> None:
    assert told.visitor().get(f"/?state={state}").status_code == 200


# --- for whom


def test_a_narrowed_person_sees_theirs_alone(told: Web) -> None:
    browser = told.visitor(within=S_1)
    page = browser.get("/").text
    assert ids(page) == ["t-1"]
    assert "Reporting 1 of one terminal" in words(page)
    for others in ("t-2", "t-3", "s-2", "west"):
        assert others not in page
    assert "t-2" not in browser.get("/terminals.csv").text
    assert listed(browser, "q=t-2") == []


def test_people_who_see_different_parts_do_not_share_an_answer(told: Web) -> None:
    everywhere, narrow = told.visitor(), told.visitor(within=S_1)
    for path in ("/live/fleet", "/live/picture", "/live/terminals", "/"):
        assert everywhere.get(path).text != narrow.get(path).text
        assert narrow.get(path).text != everywhere.get(path).text


def test_an_answer_is_shared_for_seconds_and_then_worked_out_anew(changing: Web) -> None:
    browser, other = changing.visitor(), changing.visitor(Role.VIEWER)
    before = browser.get("/live/terminals").text
    with changing.database.transaction() as repository:
        Inventory(repository.connection).put_terminal(Terminal(terminal_id="t-4"), NOW)
    assert other.get("/live/terminals").text == before
    changing.now += LENT
    assert "t-4" in ids(other.get("/live/terminals").text)


def test_a_part_that_is_the_same_is_not_sent_again(told: Web) -> None:
    browser = told.visitor()
    for path in ("/live/fleet", "/live/picture", "/live/terminals"):
        first = browser.get(path)
        assert first.headers["Cache-Control"] == "private, no-cache"
        again = browser.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_both_languages_are_spoken(told: Web) -> None:
    said = words(told.visitor(language="zh-CN").get("/").text)
    assert "正在上报 2 共 3 台终端" in said
    assert "缺纸" in said


# --- sizes and strings


def test_an_empty_fleet_says_how_to_begin(empty: Web) -> None:
    page = words(empty.visitor().get("/").text)
    assert "No terminal has been heard yet" in page
    assert "There are no stores here yet" in page
    assert "No terminal is like that" in page


def test_a_fleet_of_one_terminal(empty: Web) -> None:
    with empty.database.transaction() as repository:
        Inventory(repository.connection).put_terminal(Terminal(terminal_id="only"), NOW)
    page = empty.visitor().get("/").text
    assert ids(page) == ["only"]
    assert "Reporting 0 of one terminal" in words(page)


def test_fifty_thousand_terminals_make_a_light_page(empty: Web) -> None:
    with empty.database.transaction() as repository:
        at = {"created_at": NOW}
        put(repository.connection, tables.MerchantRow, [{"merchant_id": "m-1", "name": "M"} | at])
        stores = [f"s-{no:04d}" for no in range(5_000)]
        place = {"merchant_id": "m-1", "time_zone": "UTC", "opening_hours": {}, "holidays": {}} | at
        described = [
            {"store_id": name, "name": name, "region": f"r-{no % 20}"} | place for no, name in enumerate(stores)
        ]
        put(repository.connection, tables.StoreRow, described)
        terminals = [{"terminal_id": f"t-{no:05d}", "store_id": stores[no % 5_000]} | at for no in range(50_000)]
        put(repository.connection, tables.TerminalRow, terminals)
        standing = {"presence": "online", "reason": "heard", "since": NOW}
        put(
            repository.connection,
            tables.StandingRow,
            [{"terminal_id": one["terminal_id"]} | standing for one in terminals[:49_990]],
        )
    answer = empty.visitor().get("/", headers={"Accept-Encoding": "gzip"})
    assert "Reporting 49,990 of 50,000 terminals" in words(answer.text)
    assert "not known 10" in words(answer.text)
    assert answer.text.count('href="/stores/s-') == TILES_MAX + 50
    assert answer.num_bytes_downloaded < 40_000


@pytest.fixture
def hostile(store: Database) -> Web:
    with store.transaction() as repository:
        inventory = Inventory(repository.connection)
        inventory.put_merchant(Merchant(merchant_id="m-1", name=HOSTILE), NOW)
        place = Store(store_id="s-1", merchant_id="m-1", name=HOSTILE, region=HOSTILE[:60], time_zone="UTC")
        inventory.put_store(place, NOW)
        inventory.put_terminal(Terminal(terminal_id="t-1", store_id="s-1", brand="=1+1", model=HOSTILE[:60]), NOW)
    return Web(database=store)


@pytest.mark.parametrize(
    "path", ["/", "/live/picture", "/live/terminals", "/stores/s-1", "/merchants/m-1", "/regions", f"/?q={HOSTILE}"]
)
def test_what_others_wrote_is_text(hostile: Web, path: str) -> None:
    page = hostile.visitor().get(path).text
    assert "<img" not in page
    assert "<script>" not in page
    assert "onerror=alert(1)&gt;" in page or "&lt;script&gt;alert(1)" in page


# --- the file


def read_csv(text: str) -> list[dict[str, str]]:
    assert text.startswith(BYTE_ORDER_MARK)
    return list(csv.DictReader(io.StringIO(text.removeprefix(BYTE_ORDER_MARK))))


def test_the_file_has_all_that_the_filter_leaves_by_id(told: Web) -> None:
    answer = told.visitor().get("/terminals.csv?sort=-state&offset=2")
    rows = read_csv(answer.text)
    assert [row["terminal_id"] for row in rows] == ["t-1", "t-2", "t-3"]
    assert (rows[1]["state"], rows[1]["faults"]) == ("major", "pos_printer:kitchen paper_end")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="terminals.csv"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert [row["terminal_id"] for row in read_csv(told.visitor().get("/terminals.csv?state=major").text)] == ["t-2"]


def test_the_file_goes_on_over_its_parts(changing: Web) -> None:
    more = [{"terminal_id": f"u-{no:04d}", "life_cycle": "live", "created_at": NOW} for no in range(1_200)]
    with changing.database.transaction() as repository:
        repository.connection.execute(insert(table_of(tables.TerminalRow)), more)
    assert len(read_csv(changing.visitor().get("/terminals.csv").text)) == 1_203


def test_no_cell_is_a_formula(hostile: Web) -> None:
    (row,) = read_csv(hostile.visitor().get("/terminals.csv").text)
    assert row["brand"] == "'=1+1"
    assert row["store_name"] == HOSTILE
