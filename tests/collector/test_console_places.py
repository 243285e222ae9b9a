"""The pages of a store, a merchant and the regions: what is known and under way there, and for whom."""

import re
from datetime import date, timedelta

import pytest
from sqlalchemy import insert, select, update
from tests.collector.shell_fixtures import NOW, Web, describe, tell

from tillwatch_collector.domain.inventory import Store
from tillwatch_collector.domain.maintenance import Maintenance, Scope
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.store import tables
from tillwatch_collector.store.inventory import Inventory
from tillwatch_collector.store.session import Store as Database
from tillwatch_collector.store.tables import table_of

S_1 = Within(store_ids=frozenset({"s-1"}))
OF_NOBODY = Within(merchant_ids=frozenset({"m-9"}))


@pytest.fixture(scope="module")
def told(module_store: Database) -> Web:
    """t-1 is well in s-1, t-2 in s-2 has no paper; to be read only."""
    describe(module_store)
    tell(module_store)
    return Web(database=module_store)


@pytest.fixture
def described(store: Database) -> Web:
    """Two stores, three terminals that nobody has heard."""
    describe(store)
    return Web(database=store)


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def read(web: Web, path: str, within: Within | None = None) -> str:
    browser = web.visitor() if within is None else web.visitor(within=within)
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text


# --- a store


def test_a_store_shows_its_terminals_and_what_of_their_parts_is_not_well(told: Web) -> None:
    page = words(read(told, "/stores/s-2"))
    assert "Shop s-2" in page
    assert "major fault t-2 fault Printer kitchen Out of paper" in page
    assert "one part well" not in page


def test_what_is_well_is_counted(told: Web) -> None:
    assert "well t-1 one part well" in words(read(told, "/stores/s-1"))


def test_a_store_shows_its_open_tickets_and_a_way_to_them(told: Web) -> None:
    page = read(told, "/stores/s-2")
    assert re.search(r'<a href="/tickets/\d+">Ticket \d+</a>', page)
    assert "No open tickets." in words(read(told, "/stores/s-1"))


def test_the_live_part_is_the_same_as_the_page_shows(told: Web) -> None:
    browser = told.visitor()
    live = browser.get("/stores/s-2/live")
    assert 'hx-get="/stores/s-2/live"' in browser.get("/stores/s-2").text
    assert words(live.text) in words(browser.get("/stores/s-2").text)
    again = browser.get("/stores/s-2/live", headers={"If-None-Match": live.headers["ETag"]})
    assert again.status_code == 304


HOURS = {day: [["09:00", "18:00"]] for day in ("mon", "tue", "wed", "thu", "fri")}


@pytest.mark.parametrize(
    ("hours", "later", "expected"),
    [
        # NOW is a Saturday noon in UTC, evening in Shanghai; times are the store's
        pytest.param(HOURS, timedelta(hours=-34), "open until Nov 20, 2026, 18:00", id="in its hours"),
        pytest.param(HOURS, timedelta(), "closed until Nov 23, 2026, 09:00", id="on a free day"),
        pytest.param(HOURS, timedelta(hours=-36), "closed until Nov 20, 2026, 09:00", id="before its hours"),
        pytest.param({}, timedelta(), "Opening hours not entered", id="nobody said when"),
        pytest.param({"sat": []}, timedelta(), "· closed", id="never"),
        pytest.param({"sat": [["00:00", "24:00"]]}, timedelta(), "Sat 00:00-24:00", id="the week is shown"),
    ],
)
def test_a_store_says_whether_it_is_open(
    described: Web, hours: dict[str, list[list[str]]], later: timedelta, expected: str
) -> None:
    described.now = NOW + later
    changed = update(table_of(tables.StoreRow)).values(opening_hours=hours)
    with described.database.transaction() as repository:
        repository.connection.execute(changed)
    assert expected in words(read(described, "/stores/s-1"))


def test_a_store_says_what_was_agreed_and_how_it_is_watched(described: Web) -> None:
    with described.database.transaction() as repository:
        place = Store(
            store_id="s-1",
            merchant_id="m-1",
            name="S",
            time_zone="UTC",
            carrier="unicom",
            contract="gold",
            holidays={date(2026, 12, 25): ()},
        )
        Inventory(repository.connection).put_store(place, NOW)
    page = words(read(described, "/stores/s-1"))
    assert "Line unicom" in page
    assert "Contract gold" in page
    assert "Watched day and night" in page
    assert "2026-12-25 closed" in page


def test_a_store_says_that_it_is_muted_or_will_be(described: Web) -> None:
    with described.database.transaction() as repository:
        for kind, name, starts_h in ((Scope.STORE, "s-1", 0), (Scope.MERCHANT, "m-1", 5)):
            starts = NOW + timedelta(hours=starts_h)
            span = Maintenance(
                scope_kind=kind, scope_id=name, starts_at=starts, ends_at=starts + timedelta(hours=1), reason="cleaning"
            )
            repository.maintenance.add(span, actor="person:ann", now=NOW)
    page = words(read(described, "/stores/s-1"))
    assert "In maintenance until Nov 21, 2026, 13:00: cleaning" in page
    assert "Maintenance from Nov 21, 2026, 17:00: cleaning" in page


def test_a_store_tells_of_the_outage_that_it_is_part_of(described: Web) -> None:
    ticket, outage = table_of(tables.TicketRow), table_of(tables.OutageRow)
    at = {"opened_at": NOW, "updated_at": NOW}
    work = {"status": "reported", "severity": "critical", "category": "network", "watchers": [], "repair": "complex"}
    with described.database.transaction() as repository:
        subject = {"subject_kind": "store", "subject_id": "s-1", "component": "agent:self", "code": "silent"}
        repository.connection.execute(insert(ticket).values(**subject, **work, **at, store_id="s-1", merchant_id="m-1"))
        number = repository.connection.execute(select(ticket.c.ticket_id)).scalar_one()
        node = {"node_kind": "store", "node_id": "s-1", "component": "agent:self", "code": "silent"}
        span = {"began_at": NOW, "detected_at": NOW, "terminals_hit": 5, "terminals_total": 5, "evidence": {}}
        repository.connection.execute(insert(outage).values(**node, **span, ticket_id=number))
    page = read(described, "/stores/s-1")
    assert "Outage (this store): Terminal is silent" in words(page)
    assert f'<a href="/tickets/{number}">' in page
    assert "Outage" not in words(read(described, "/stores/s-2"))


@pytest.mark.parametrize("path", ["/stores/s-9", "/stores/s-9/live", "/merchants/m-9"])
def test_what_is_not_there_is_not_found(told: Web, path: str) -> None:
    assert told.visitor().get(path).status_code == 404


@pytest.mark.parametrize("path", ["/stores/a%00b", "/merchants/..%2F..", "/stores/" + "x" * 65])
def test_what_cannot_be_a_name_is_refused(told: Web, path: str) -> None:
    assert told.visitor().get(path).status_code in {401, 404, 422}


# --- for whom


@pytest.mark.parametrize("path", ["/stores/s-2", "/stores/s-2/live"])
def test_a_store_of_others_is_not_found(told: Web, path: str) -> None:
    assert told.visitor(within=S_1).get(path).status_code == 404


def test_a_merchant_of_others_is_not_found(told: Web) -> None:
    assert told.visitor(within=OF_NOBODY).get("/merchants/m-1").status_code == 404


def test_of_a_merchant_a_narrowed_person_sees_their_store_alone(told: Web) -> None:
    page = read(told, "/merchants/m-1", S_1)
    assert "Shop s-1" in page
    assert "s-2" not in page
    assert "one store, one terminal, one reports" in words(page)


def test_of_the_regions_a_narrowed_person_sees_theirs_alone(told: Web) -> None:
    page = words(read(told, "/regions", S_1))
    assert "east" in page
    assert "west" not in page
    assert "in no store" not in page


# --- merchants and regions


def test_a_merchant_shows_its_stores_the_worst_first(told: Web) -> None:
    page = read(told, "/merchants/m-1")
    assert re.findall(r'<th scope="row"><a href="/stores/([^"]+)"', page) == ["s-2", "s-1"]
    assert "2 stores, 2 terminals, 2 report, one needs a look" in words(page)


def test_a_merchant_with_many_stores_has_pages(described: Web) -> None:
    place = {"merchant_id": "m-1", "time_zone": "UTC", "opening_hours": {}, "holidays": {}, "created_at": NOW}
    place |= {"watch": "always"}
    more = [{"store_id": f"x-{no:03d}", "name": f"X {no}"} | place for no in range(150)]
    with described.database.transaction() as repository:
        repository.connection.execute(insert(table_of(tables.StoreRow)), more)
    first = read(described, "/merchants/m-1")
    assert "1 to 100 of 152" in words(first)
    assert 'href="?offset=100"' in first
    rest = read(described, "/merchants/m-1?offset=100")
    assert len(re.findall(r'<th scope="row"><a href="/stores/', rest)) == 52
    assert "1 to 100 of 152" in words(read(described, "/merchants/m-1?offset=x"))


def test_the_regions_are_counted_the_most_troubled_first(told: Web) -> None:
    page = read(told, "/regions")
    assert re.findall(r'<a href="/\?region=(\w+)"', page) == ["west", "east"]
    assert "west 1 1 1 0 0 1 0 0 0 0" in words(page)
    assert "One terminal stands in no store yet." in words(page)


@pytest.mark.parametrize("path", ["/stores/s-2", "/merchants/m-1", "/regions"])
def test_both_languages_are_spoken(told: Web, path: str) -> None:
    page = told.visitor(language="zh-CN").get(path)
    assert page.status_code == 200
    assert "终端" in page.text


def test_there_are_regions_of_nothing(empty: Web) -> None:
    assert "There are no stores here yet." in words(read(empty, "/regions"))
