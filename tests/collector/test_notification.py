"""Who is told what: routes, what they know, their hours, and that nothing is said twice or lost."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_collector import routing
from tillwatch_collector.domain.notification import (
    ENDINGS,
    ROUTES_BYTES_MAX,
    Change,
    Item,
    Outside,
    Place,
    Route,
    Routes,
    Said,
    Ticket,
    Word,
    parse_routes,
    plan,
    reminder,
)
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.errors import RoutesInvalid

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
"""A Saturday, 20:00 in Shanghai."""
CRITICAL, MAJOR, MINOR, INFO = Severity.CRITICAL, Severity.MAJOR, Severity.MINOR, Severity.INFO
HERE = Place(merchant_id="m-1", store_id="s-1", region="east")
EVENINGS = {"hours": {"sat": [["18:00", "22:00"]]}}


def route(name: str = "ops", **more: Any) -> Route:
    return Route.model_validate({"name": name, "target": {"url_env": "OPS"}} | more)


def routes(*some: Route) -> Routes:
    return Routes(version=1, route=some)


def ticket(ticket_id: int = 1, severity: Severity = MAJOR, **more: Any) -> Ticket:
    made: dict[str, Any] = {
        "ticket_id": ticket_id,
        "subject_kind": "terminal",
        "subject_id": "t-1",
        "component": "pos_printer:kitchen",
        "code": "paper_end",
        "severity": severity,
        "category": "supplies",
        "opened_at": NOW,
        "place": HERE,
    }
    return Ticket(**made | more)


def word(said: Said, severity: Severity = MAJOR, step: int = 0) -> Word:
    return Word(said=said, severity=severity, escalation_step=step)


def change(said: Said | None, of: Ticket | None = None, **more: Any) -> Change:
    return Change(ticket=of or ticket(unresolved=said not in ENDINGS), said=said, **more)


def told(
    changes: Sequence[Change], *some: Route, knows: dict[tuple[str, int], Word] | None = None, now: datetime = NOW
) -> dict[str, list[tuple[int, str]]]:
    tellings = plan(changes, knows or {}, routes(*some or (route(),)), now)
    return {telling.route: [(item.ticket_id, item.word.said) for item in telling.items] for telling in tellings}


# --- what is news


@pytest.mark.parametrize(
    ("knows", "said", "news"),
    [
        # of a ticket that the route has not heard of, every beginning is news, and no end
        (None, Said.OPENED, Said.OPENED),
        (None, Said.REOPENED, Said.REOPENED),
        (None, Said.ESCALATED, Said.ESCALATED),
        (None, Said.RESOLVED, None),
        (None, Said.CLOSED, None),
        (None, None, None),
        # of one that it takes for open, its end is news, and a replay is not
        (word(Said.OPENED), Said.OPENED, None),
        (word(Said.OPENED), Said.REOPENED, None),
        (word(Said.OPENED), None, None),
        (word(Said.OPENED), Said.RESOLVED, Said.RESOLVED),
        (word(Said.REMINDED), Said.CANCELLED, Said.CANCELLED),
        (word(Said.RAISED), Said.MERGED, Said.MERGED),
        # a step of escalation is news once
        (word(Said.OPENED), Said.ESCALATED, Said.ESCALATED),
        (word(Said.ESCALATED, step=1), Said.ESCALATED, None),
        # it hurts more than it was told, whatever moved the ticket
        (word(Said.OPENED, MINOR), None, Said.RAISED),
        (word(Said.OPENED, MINOR), Said.REOPENED, Said.RAISED),
        (word(Said.OPENED, CRITICAL), None, None),
        # of one whose end it knows, it hears that it came back, and no second end
        (word(Said.RESOLVED), Said.REOPENED, Said.REOPENED),
        (word(Said.CLOSED), Said.ESCALATED, Said.ESCALATED),
        (word(Said.RESOLVED), Said.OPENED, None),
        (word(Said.RESOLVED), Said.RESOLVED, None),
        (word(Said.RESOLVED), Said.CLOSED, None),
        (word(Said.RESOLVED), None, None),
    ],
)
def test_a_route_is_told_what_it_does_not_know(knows: Word | None, said: Said | None, news: Said | None) -> None:
    step = int(said is Said.ESCALATED)
    moved = change(said, ticket(unresolved=said not in ENDINGS, escalation_step=step))
    known = {} if knows is None else {("ops", 1): knows}
    assert told([moved], knows=known) == ({} if news is None else {"ops": [(1, news)]})


def test_what_is_over_by_the_commit_is_not_told_to_have_begun() -> None:
    assert told([change(Said.OPENED, ticket(unresolved=False))]) == {}


def test_who_filters_moves_is_told_of_no_others() -> None:
    bosses = route(moves=["escalated", "resolved"])
    assert told([change(Said.OPENED)], bosses) == {}
    moved = change(Said.ESCALATED, ticket(escalation_step=1))
    assert told([moved], bosses) == {"ops": [(1, Said.ESCALATED)]}


def test_a_step_of_escalation_reaches_the_route_that_it_names_whatever_that_matches() -> None:
    moved = change(Said.ESCALATED, ticket(escalation_step=1), escalates_to="lead")
    lead, far = route("lead", stores=["s-9"]), route("far", stores=["s-9"])
    assert told([moved], route(), lead, far) == {"lead": [(1, Said.ESCALATED)], "ops": [(1, Said.ESCALATED)]}
    knows = {("lead", 1): word(Said.ESCALATED, step=1)}
    assert told([change(Said.RESOLVED)], lead, knows=knows) == {"lead": [(1, Said.RESOLVED)]}


# --- parents and outages


def test_of_children_of_an_open_parent_routes_are_told_the_parent_once() -> None:
    parent = ticket(9, CRITICAL, subject_kind="carrier", place=Place())
    children = [change(Said.OPENED, ticket(number), parent=parent) for number in range(1, 101)]
    of_store = route("store", stores=["s-1"], severity="major")
    assert told([change(Said.OPENED, parent), *children], route(), of_store) == {
        "ops": [(9, Said.OPENED)],
        "store": [(9, Said.OPENED)],
    }


def test_who_was_told_the_end_of_a_parent_that_came_back_is_told_so_by_its_child() -> None:
    parent = ticket(9)
    moved = change(Said.OPENED, parent=parent)
    assert told([moved], knows={("ops", 9): word(Said.RESOLVED)}) == {"ops": [(9, Said.REOPENED)]}


def test_who_was_told_of_a_child_before_it_was_one_is_told_its_end() -> None:
    ended = change(Said.RESOLVED, parent=ticket(9))
    assert told([ended], knows={("ops", 1): word(Said.OPENED)}) == {"ops": [(1, Said.RESOLVED)]}


def test_an_outage_is_told_to_whom_it_reaches_and_to_more_as_it_spreads() -> None:
    east, west = route("east", regions=["east"]), route("west", regions=["west"])
    small = ticket(9, subject_kind="carrier", place=Place(), reaches=frozenset({HERE}))
    assert told([change(Said.OPENED, small)], east, west) == {"east": [(9, Said.OPENED)]}
    wide = ticket(9, subject_kind="carrier", place=Place(), reaches=frozenset({HERE, Place(region="west")}))
    knows = {("east", 9): word(Said.OPENED)}
    assert told([change(None, wide)], east, west, knows=knows) == {"west": [(9, Said.OPENED)]}


# --- what a route matches


@pytest.mark.parametrize(
    ("wanted", "concerned"),
    [
        ({}, True),
        ({"severity": "major"}, True),  # at least
        ({"severity": "critical"}, False),
        ({"merchants": ["m-1"]}, True),
        ({"merchants": ["m-2"]}, False),
        ({"stores": ["s-1", "s-2"], "regions": ["east"]}, True),
        ({"stores": ["s-2"]}, False),
        ({"regions": ["west"]}, False),
        ({"categories": ["supplies"]}, True),
        ({"categories": ["network"]}, False),
        ({"subject_kinds": ["terminal"]}, True),
        ({"subject_kinds": ["store"]}, False),
    ],
)
def test_a_route_matches_by_what_a_ticket_is_and_where(wanted: dict[str, Any], concerned: bool) -> None:
    assert route(**wanted).matches(ticket()) is concerned


def test_an_outage_must_reach_into_one_place_that_satisfies_all() -> None:
    places = frozenset({Place(store_id="s-1", region="east"), Place(store_id="s-2", region="west")})
    outage = ticket(place=Place(), reaches=places)
    assert route(stores=["s-1"], regions=["east"]).matches(outage)
    assert not route(stores=["s-1"], regions=["west"]).matches(outage)


# --- when


@pytest.mark.parametrize(
    ("when", "now", "due"),
    [
        # always: after the group's time
        ("always", NOW, NOW + timedelta(seconds=30)),
        # inside the hours (18:00 to 22:00 in Shanghai): the same
        (EVENINGS, NOW, NOW + timedelta(seconds=30)),
        # the last second inside is inside, and the end is not
        (EVENINGS, NOW + timedelta(hours=2, seconds=-1), NOW + timedelta(hours=2, seconds=29)),
        (EVENINGS, NOW + timedelta(hours=2), datetime(2026, 11, 28, 10, 0, tzinfo=UTC)),
        # outside: held until they begin, and never less than the group's time
        (EVENINGS, NOW - timedelta(hours=5), NOW - timedelta(hours=2)),
        (EVENINGS, NOW - timedelta(hours=2, seconds=10), NOW - timedelta(hours=2) + timedelta(seconds=20)),
        # outside, where nothing is held
        (EVENINGS | {"outside": "drop"}, NOW - timedelta(hours=5), None),
        # on a holiday the hours are others
        (EVENINGS | {"holidays": {"2026-11-21": []}}, NOW, datetime(2026, 11, 28, 10, 0, tzinfo=UTC)),
    ],
)
def test_news_are_due_in_the_hours_of_a_route(when: Any, now: datetime, due: datetime | None) -> None:
    assert route(time_zone="Asia/Shanghai", when=when).due_at(now) == due


def test_what_was_dropped_the_route_does_not_know_and_what_is_held_it_does() -> None:
    noon = NOW - timedelta(hours=8)
    for outside, items in ((Outside.DROP, {}), (Outside.LATER, {"ops": [(1, Said.OPENED)]})):
        held = route(time_zone="Asia/Shanghai", when=EVENINGS | {"outside": outside})
        assert told([change(Said.OPENED)], held, now=noon) == items


# --- reminders


@pytest.mark.parametrize(
    ("knows", "unresolved", "reminded"),
    [
        (word(Said.OPENED), True, True),
        (word(Said.REMINDED), True, True),
        (word(Said.OPENED), False, False),
        (word(Said.RESOLVED), True, False),  # it came back while the route was not told
    ],
)
def test_a_route_is_reminded_of_what_it_takes_for_open_and_is(
    knows: Word,
    unresolved: bool,
    reminded: bool,
) -> None:
    made = reminder(knows, ticket(unresolved=unresolved, severity=CRITICAL, escalation_step=2))
    assert made == (word(Said.REMINDED, CRITICAL, 2) if reminded else None)


def test_a_word_is_kept_as_text() -> None:
    for said in Said:
        assert Word.of(word(said, MINOR, 3).text) == word(said, MINOR, 3)
    assert word(Said.OPENED).text == "opened:major:0"


# --- properties

_TICKETS = st.builds(
    ticket,
    st.integers(1, 3),
    st.sampled_from(Severity),
    unresolved=st.booleans(),
    escalation_step=st.integers(0, 2),
    category=st.sampled_from(["supplies", "network"]),
)
_CHANGES = st.lists(st.builds(Change, ticket=_TICKETS, said=st.none() | st.sampled_from(Said)), max_size=30)
_ROUTES = st.lists(
    st.builds(
        route,
        st.sampled_from(["a", "b", "c"]),
        severity=st.sampled_from(Severity),
        categories=st.sampled_from([[], ["network"]]),
        when=st.sampled_from(["always", EVENINGS | {"outside": "drop"}]),
    ),
    max_size=3,
    unique_by=lambda one: one.name,
)


@given(_CHANGES, _ROUTES)
def test_whatever_comes_no_route_is_told_the_same_twice_and_none_hears_an_end_without_a_beginning(
    changes: list[Change], some: list[Route]
) -> None:
    for telling in plan(changes, {}, routes(*some), NOW):
        last: dict[int, Word] = {}
        for item in telling.items:
            before = last.get(item.ticket_id)
            assert before != item.word
            if before is None or not before.open:
                assert item.word.open
            elif item.word.open:
                assert (item.word.said is Said.RAISED) or item.word.escalation_step > before.escalation_step
            last[item.ticket_id] = item.word


@given(_CHANGES, _ROUTES, st.integers(0, 30))
def test_it_makes_no_difference_where_a_run_of_changes_is_cut(
    changes: list[Change], some: list[Route], cut: int
) -> None:
    whole = _items(changes, some, {})
    knows: dict[tuple[str, int], Word] = {}
    first = _items(changes[:cut], some, knows)
    second = _items(changes[cut:], some, knows)
    assert {name: first.get(name, []) + second.get(name, []) for name in first | second} == whole


@given(_CHANGES, _ROUTES)
def test_every_beginning_that_concerns_a_route_in_its_hours_leaves_it_knowing_the_ticket(
    changes: list[Change], some: list[Route]
) -> None:
    knows: dict[tuple[str, int], Word] = {}
    _items(changes, some, knows)
    for one in some:
        for moved in changes:
            begins = moved.said is Said.OPENED and moved.ticket.unresolved
            if begins and one.matches(moved.ticket) and one.due_at(NOW) is not None:
                assert (one.name, moved.ticket.ticket_id) in knows


def _items(changes: list[Change], some: list[Route], knows: dict[tuple[str, int], Word]) -> dict[str, list[Item]]:
    """Plan, and remember as the store does."""
    found = {}
    for telling in plan(changes, knows, routes(*some), NOW):
        found[telling.route] = list(telling.items)
        knows.update({(telling.route, item.ticket_id): item.word for item in telling.items})
    return found


# --- the file


WHOLE = """
version = 1
[[route]]
name = "desk"
severity = "major"
merchants = ["m-1"]
group_s = 5
repeat_s = 3600
language = "zh-CN"
time_zone = "Asia/Shanghai"
moves = ["opened", "resolved"]
[route.when]
hours = { mon = [["08:00", "20:00"]] }
holidays = { 2026-12-25 = [] }
outside = "drop"
[route.target]
url_env = "DESK_URL"

[[route]]
name = "provider"
[route.target]
webhook = "https://provider.example.org/in?x=1"
secret_file = "/etc/tillwatch/provider.secret"
"""


def test_a_file_says_routes() -> None:
    desk, provider = parse_routes(WHOLE).route
    assert (desk.name, desk.severity) == ("desk", MAJOR)
    assert set(desk.moves) == {Said.OPENED, Said.RESOLVED}
    assert str(desk.zone) == "Asia/Shanghai"
    assert (provider.severity, provider.when, provider.moves) == (MINOR, "always", frozenset(Said))
    assert parse_routes(WHOLE).find("provider") == provider
    assert parse_routes(WHOLE).find("nobody") is None


def test_the_packaged_file_tells_nobody() -> None:
    assert routing.load().route == ()


def test_the_examples_in_the_packaged_file_are_routes() -> None:
    text = (Path(routing.__file__).parent / "routes.toml").read_text(encoding="utf-8")
    head, _, examples = text.partition("# [[route]]")
    uncommented = re.sub(r"^# ?", "", f"# [[route]]{examples}", flags=re.MULTILINE)
    assert [one.name for one in parse_routes(f"{head}{uncommented}").route] == ["service-desk", "provider"]


ROUTE = 'version = 1\n[[route]]\nname = "a"\n'
SECRET = "slack://SECRET/SECRET"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 1\n" + "#" * ROUTES_BYTES_MAX, "expected at most"),
        ("route", "expected TOML"),
        ("", "version: expected a value, got none"),
        ("version = 2", "version: expected less than or equal to 1, got 2"),
        (ROUTE, "route.0.target: expected a value, got none"),
        (f"{ROUTE}target = {{ }}", "expected one of url_env, url_file and webhook"),
        (f'{ROUTE}target = {{ url_env = "A", url_file = "b" }}', "expected one of url_env, url_file and webhook"),
        (f'{ROUTE}target = {{ webhook = "https://a.b/" }}', "expected secret_file beside webhook"),
        (f'{ROUTE}target = {{ url_env = "A", secret_file = "b" }}', "expected secret_file beside webhook"),
        (f'{ROUTE}target = {{ url_env = "A" }}\nwhom = 1', "unknown key"),
        (f'{ROUTE}colour = "red"\ntarget = {{ url_env = "A" }}', "route.0.colour: unknown key"),
        (f'{ROUTE}severity = "bad"\ntarget = {{ url_env = "A" }}', "route.0.severity"),
        (f'{ROUTE}time_zone = "Mars"\ntarget = {{ url_env = "A" }}', "expected an IANA name"),
        (f'{ROUTE}when = {{ hours = {{ }} }}\ntarget = {{ url_env = "A" }}', "expected a span on some day"),
        (f'{ROUTE}when = {{ hours = {{ x = [] }} }}\ntarget = {{ url_env = "A" }}', "expected days mon"),
        (
            f'{ROUTE}target = {{ url_env = "A" }}\n[[route]]\nname = "a"\ntarget = {{ url_env = "A" }}',
            "expected routes of different names, got 'a' twice",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(RoutesInvalid) as error:
        parse_routes(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "webhook",
    [
        "ftp://a.example.org/",
        "https:///path",
        "https://a.example.org:x/",
        "https://a.example.org/a b",
        "https://user:secret@a.example.org/",
        "https://a.example.org/#part",
        "https://ä.example.org/",
    ],
)
def test_a_webhook_has_a_plain_address(webhook: str) -> None:
    with pytest.raises(RoutesInvalid, match="webhook: expected"):
        parse_routes(f'{ROUTE}target = {{ webhook = "{webhook}", secret_file = "b" }}')


@pytest.mark.parametrize(
    "target", [f'{{ url = "{SECRET}" }}', f'"{SECRET}"', f'{{ url_env = "{SECRET}" }}', f'{{ webhook = "{SECRET}" }}']
)
def test_a_secret_that_was_put_into_the_file_is_not_repeated(target: str) -> None:
    with pytest.raises(RoutesInvalid) as error:
        parse_routes(f"{ROUTE}target = {target}")
    assert "SECRET" not in str(error.value)
