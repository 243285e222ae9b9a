"""What an admin does with people, and what each role may. On both databases."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from tests.collector.people_words import OTHER, PASSWORD, STORE_1, actions, joined, link, refusal
from tests.collector.shell_fixtures import NOW

from tillwatch_collector import people, roster
from tillwatch_collector.domain.permission import (
    EVERYWHERE,
    FLEET_WIDE,
    PERMISSIONS,
    Permission,
    Role,
    may,
)
from tillwatch_collector.domain.person import Person
from tillwatch_collector.people import Browser, Refusal, SignedIn
from tillwatch_collector.store.audit import Audit, AuditFilter
from tillwatch_collector.store.people import People
from tillwatch_collector.store.session import Store

# --- the table of roles


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", Permission)
def test_each_role_may_what_the_table_says_and_less_of_it_when_narrowed(role: Role, permission: Permission) -> None:
    assert may(role, EVERYWHERE, permission) is (permission in PERMISSIONS[role])
    assert may(role, STORE_1, permission) is (permission in PERMISSIONS[role] - FLEET_WIDE)


def test_roles_grow() -> None:
    sets = [PERMISSIONS[role] for role in (Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.ADMIN)]
    assert all(one < other for one, other in pairwise(sets))
    assert sets[-1] == frozenset(Permission)
    assert Permission.APPROVE not in PERMISSIONS[Role.OPERATOR]


# --- what an admin does


def test_the_last_admin_stays_one(store: Store) -> None:
    joined(store)
    joined(store, "bob", Role.VIEWER)
    step_down = {"person_id": "ann", "role": Role.VIEWER, "within": EVERYWHERE}
    by = {"by": "person:ann", "now": NOW}
    assert refusal(roster.disable(store, person_id="ann", **by)) is Refusal.LAST_ADMIN  # type: ignore[arg-type]
    assert refusal(roster.change_part(store, **step_down, **by)) is Refusal.LAST_ADMIN  # type: ignore[arg-type]
    joined(store, "eve")
    assert roster.change_part(store, **step_down, **by) is None  # type: ignore[arg-type]


def test_of_two_admins_not_both_step_down_at_once(store: Store) -> None:
    for person_id in ("ann", "bob"):
        joined(store, person_id)
    with ThreadPoolExecutor(2) as pool:
        came = list(
            pool.map(
                lambda person_id: refusal(roster.disable(store, by="person:root", person_id=person_id, now=NOW)),
                ("ann", "bob"),
            )
        )
    assert sorted(came, key=str) == [None, Refusal.LAST_ADMIN]


@pytest.mark.parametrize("person_id", ["eve", "", "\x00", "a b", "x" * 500])
def test_nothing_is_done_with_whom_nobody_knows(store: Store, person_id: str) -> None:
    joined(store)
    by = {"by": "person:ann", "person_id": person_id, "now": NOW}
    for do in (
        roster.disable(store, **by),  # type: ignore[arg-type]
        roster.enable(store, **by),  # type: ignore[arg-type]
        roster.invite_back(store, **by),  # type: ignore[arg-type]
        roster.change_part(store, role=Role.VIEWER, within=EVERYWHERE, **by),  # type: ignore[arg-type]
        roster.set_password(store, password=OTHER, **by),  # type: ignore[arg-type]
    ):
        assert refusal(do) is Refusal.UNKNOWN


def test_an_id_is_given_once(store: Store) -> None:
    joined(store)
    told = {"name": "Eve", "password": OTHER, "role": Role.ADMIN, "within": EVERYWHERE, "by": "person:x", "now": NOW}
    assert refusal(roster.add(store, person_id="ann", **told)) is Refusal.ID_TAKEN  # type: ignore[arg-type]
    assert refusal(roster.add(store, person_id="Ann", **told)) is Refusal.ID_UNUSABLE  # type: ignore[arg-type]


def test_all_of_it_stands_in_the_audit_log(store: Store) -> None:
    came = joined(store)
    joined(store, "bob", Role.VIEWER)
    by = {"by": "person:ann", "person_id": "bob", "now": NOW}
    roster.disable(store, **by)  # type: ignore[arg-type]
    roster.disable(store, **by)  # type: ignore[arg-type]  # what changes nothing is no line
    roster.enable(store, **by)  # type: ignore[arg-type]
    roster.enable(store, **by)  # type: ignore[arg-type]
    roster.change_part(store, role=Role.OPERATOR, within=STORE_1, **by)  # type: ignore[arg-type]
    people.change_password(store, came.signed, old=PASSWORD, new=OTHER, now=NOW)
    assert actions(store) == [
        "person_invited",
        "person_joined",
        "person_invited",
        "person_joined",
        "person_disabled",
        "person_enabled",
        "part_changed",
        "password_changed",
    ]
    with store.reading() as connection:
        (line,) = Audit(connection).lines(AuditFilter(action="part_changed"), 5)
    assert (line.actor, line.subject) == ("person:ann", "person:bob")
    assert line.detail["after"] == {"role": "operator", "merchant_ids": [], "store_ids": ["s-1"]}


def test_a_language_that_somebody_chose_is_kept(store: Store) -> None:
    came = joined(store)
    people.choose_language(store, "ann", "zh-CN")
    found = people.find(store, came.secret, NOW)
    assert found is not None
    assert found.person.language == "zh-CN"


def test_what_a_browser_says_of_itself_is_cut_and_made_plain(store: Store) -> None:
    browser = Browser(address="x" * 500, user_agent="a\x00\x1b" * 500)
    came = people.welcome(
        store, key=link(store), person_id="ann", name="Ann", password=PASSWORD, now=NOW, browser=browser
    )
    assert isinstance(came, SignedIn)
    with store.reading() as connection:
        (session,) = People(connection).sessions("ann")
    assert (len(session.address), len(session.user_agent), session.user_agent[:3]) == (64, 200, "a??")


def test_a_person_may_what_their_role_may() -> None:
    person = Person(person_id="ann", name="Ann", role=Role.APPROVER)
    assert person.may(Permission.APPROVE)
    assert not person.may(Permission.ADMINISTER)
