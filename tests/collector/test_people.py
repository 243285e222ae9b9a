"""Who may come in: sign-in and its limits, sessions, one-time links. On both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import insert
from tests.collector.databases import rows
from tests.collector.people_words import (
    OTHER,
    PASSWORD,
    SECOND,
    STORE_1,
    actions,
    come,
    joined,
    link,
    refusal,
    signed_in,
    signing_in,
)
from tests.collector.shell_fixtures import NOW

from tillwatch_collector import passwords, people, roster
from tillwatch_collector.config import CollectorConfig
from tillwatch_collector.domain.permission import (
    EVERYWHERE,
    Role,
    Within,
)
from tillwatch_collector.domain.person import IDLE, SESSION
from tillwatch_collector.domain.throttle import LIMITS, Counted
from tillwatch_collector.flows.upkeep import Chore, Upkeep
from tillwatch_collector.people import LINK, SESSIONS_MAX, Refusal, Refused, Signed, SignedIn
from tillwatch_collector.roster import Invited
from tillwatch_collector.store import tables
from tillwatch_collector.store.people import People
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of

# --- signing in


def test_whoever_knows_the_password_comes_in(store: Store) -> None:
    joined(store)
    came = signed_in(store, NOW + SECOND, login="  ANN ")
    found = people.find(store, came.secret, NOW + 2 * SECOND)
    assert found is not None
    assert (found.person.person_id, found.person.role, found.ends_at) == ("ann", Role.ADMIN, NOW + SECOND + SESSION)


def test_secrets_lie_in_the_database_as_hashes_only(store: Store) -> None:
    key = link(store)
    came = come(store, key)
    assert isinstance(came, SignedIn)
    link_2 = link(store)
    kept = str([rows(store, f"SELECT * FROM {name}") for name in ("person", "session", "invitation", "audit")])
    for secret in (PASSWORD, came.secret, key, link_2):
        assert secret not in kept
    assert "$argon2id$" in kept


def test_a_session_begins_with_a_new_secret_each_time(store: Store) -> None:
    joined(store)
    secrets = {signed_in(store).secret for _ in range(3)}
    assert len(secrets) == 3
    assert all(len(secret) == 43 for secret in secrets)  # 256 bits in base64


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("ann", "two lamps on a green tabl"),
        ("ann", ""),
        ("ann", "x" * 5_000),
        ("ann", PASSWORD.upper()),
        ("nobody", PASSWORD),
        ("", ""),
        ("\x00", "\x00"),  # no database takes it
        ("\ud800", "\ud800" * 20),  # half of a pair: no text at all
        ("ann\x00", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        ("a" * 5_000, PASSWORD),
    ],
)
def test_what_does_not_fit_is_refused_in_one_word(store: Store, login: str, password: str) -> None:
    joined(store)
    assert signing_in(store, password, login) == Refused(reason=Refusal.WRONG)


def test_whoever_is_disabled_is_refused_like_a_wrong_password(store: Store) -> None:
    joined(store)
    joined(store, "bob", Role.VIEWER)
    assert roster.disable(store, by="person:ann", person_id="bob", now=NOW) is None
    assert signing_in(store, login="bob") == Refused(reason=Refusal.WRONG)
    assert roster.enable(store, by="person:ann", person_id="bob", now=NOW) is None
    assert signed_in(store, login="bob").signed.person.person_id == "bob"


def test_a_login_that_nobody_has_costs_as_much_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    joined(store)
    work: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, kept: str, password: bytes) -> bool:
        work.append(kept.rsplit("$", 2)[0])
        return verify(self, kept, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    signing_in(store, "wrong password here", "ann")
    signing_in(store, "wrong password here", "nobody")
    assert len(work) == 2
    assert work[0] == work[1]  # one verification each, by the same parameters


def test_what_was_typed_in_the_place_of_a_login_is_repeated_nowhere(store: Store) -> None:
    signing_in(store, "x", "my secret password")
    assert "my secret password" not in str([rows(store, f"SELECT * FROM {name}") for name in ("audit", "attempt")])


def test_a_hash_of_older_parameters_is_made_anew(store: Store) -> None:
    joined(store)
    older = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    with store.transaction() as repository:
        repository.people.set_password("ann", older)
    signed_in(store)
    with store.reading() as connection:
        account = People(connection).account("ann")
    assert account is not None
    assert account.password_hash != older
    assert not passwords.outdated(account.password_hash or "")
    signed_in(store)


def test_a_hash_that_is_none_opens_nothing(store: Store) -> None:
    joined(store)
    with store.transaction() as repository:
        repository.people.set_password("ann", "not a hash")
    assert refusal(signing_in(store)) is Refusal.WRONG


# --- the limit of tries


def test_a_login_has_its_tries_and_then_waits_whatever_the_password(store: Store) -> None:
    joined(store)
    limit = LIMITS[Counted.LOGIN]
    for number in range(limit.at_once):
        assert refusal(signing_in(store, "wrong", address=f"192.0.2.{number}")) is Refusal.WRONG
    waits = signing_in(store, PASSWORD, address="198.51.100.1")
    assert waits == Refused(reason=Refusal.WAIT, wait_s=limit.every_s)
    later = NOW + timedelta(seconds=limit.every_s)
    assert refusal(signing_in(store, PASSWORD, now=later - SECOND)) is Refusal.WAIT
    assert isinstance(signing_in(store, PASSWORD, now=later), SignedIn)


def test_whoever_came_in_has_all_tries_again(store: Store) -> None:
    joined(store)
    for _ in range(LIMITS[Counted.LOGIN].at_once - 1):
        signing_in(store, "wrong")
    signed_in(store)
    for _ in range(LIMITS[Counted.LOGIN].at_once):
        assert refusal(signing_in(store, "wrong")) is Refusal.WRONG


def test_an_address_has_its_tries_over_all_logins(store: Store) -> None:
    joined(store)
    limit = LIMITS[Counted.ADDRESS]
    for number in range(limit.at_once):
        assert refusal(signing_in(store, "wrong", f"login-{number}", address="2001:db8::1")) is Refusal.WRONG
    assert signing_in(store, address="2001:db8::2") == Refused(reason=Refusal.WAIT, wait_s=limit.every_s)
    assert isinstance(signing_in(store, address="2001:db8:0:1::2"), SignedIn)


def test_sign_ins_that_succeed_cost_an_address_nothing(store: Store) -> None:
    joined(store)
    for _ in range(LIMITS[Counted.ADDRESS].at_once + 5):
        signed_in(store)


def test_the_first_refusal_in_a_row_is_written_down_and_the_others_are_not(store: Store) -> None:
    joined(store)
    for _ in range(LIMITS[Counted.LOGIN].at_once + 4):
        signing_in(store, "wrong")
    assert actions(store).count("sign_in_throttled") == 1
    assert actions(store).count("sign_in_refused") == LIMITS[Counted.LOGIN].at_once
    later = NOW + timedelta(seconds=LIMITS[Counted.LOGIN].every_s)
    for _ in range(3):
        signing_in(store, "wrong", now=later)
    assert actions(store).count("sign_in_throttled") == 2


def test_tries_made_side_by_side_are_counted_too(store: Store) -> None:
    joined(store)
    at_once = LIMITS[Counted.LOGIN].at_once
    with ThreadPoolExecutor(4) as pool:
        came = list(pool.map(lambda _: refusal(signing_in(store, "wrong")), range(at_once + 4)))
    assert came.count(Refusal.WRONG) == at_once
    assert came.count(Refusal.WAIT) == 4


def test_whoever_another_keeps_out_comes_in_by_a_link(store: Store) -> None:
    joined(store)
    for _ in range(LIMITS[Counted.LOGIN].at_once + 1):
        signing_in(store, "wrong")
    invited = roster.invite_back(store, by="person:root", person_id="ann", now=NOW)
    assert isinstance(invited, Invited)
    assert isinstance(come(store, invited.key, password=OTHER), SignedIn)
    signed_in(store, password=OTHER)


# --- sessions


@pytest.mark.parametrize(
    ("unused", "found"),
    [(IDLE - SECOND, True), (IDLE, False), (2 * IDLE, False)],
)
def test_a_session_ends_when_nobody_uses_it(store: Store, unused: timedelta, found: bool) -> None:
    came = joined(store)
    assert (people.find(store, came.secret, NOW + unused) is not None) is found


def test_a_session_that_is_used_ends_after_a_working_day(store: Store) -> None:
    came = joined(store)
    minutes = timedelta(minutes=10)
    passed = minutes
    while passed < SESSION:
        assert people.find(store, came.secret, NOW + passed) is not None
        passed += minutes
    assert people.find(store, came.secret, NOW + SESSION) is None


def test_a_page_that_asks_every_few_seconds_writes_one_row_in_five_minutes(store: Store) -> None:
    came = joined(store)
    seen = set()
    for passed_s in range(0, 660, 10):
        people.find(store, came.secret, NOW + timedelta(seconds=passed_s))
        seen.add(str(rows(store, "SELECT seen_at FROM session")))
    assert len(seen) == 3


@pytest.mark.parametrize("secret", ["", "x", "x" * 43, "x" * 5_000, "\x00", "\ud800"])
def test_a_secret_that_is_none_finds_nobody(store: Store, secret: str) -> None:
    joined(store)
    assert people.find(store, secret, NOW) is None
    people.sign_out(store, secret, NOW)


def test_signing_out_ends_this_session_and_no_other(store: Store) -> None:
    one, other = joined(store), signed_in(store)
    people.sign_out(store, one.secret, NOW)
    assert people.find(store, one.secret, NOW) is None
    assert people.find(store, other.secret, NOW) is not None
    assert actions(store)[-1] == "sign_out"


def test_one_person_has_a_few_sessions_and_the_oldest_goes(store: Store) -> None:
    came = [joined(store)]
    came += [signed_in(store, NOW + number * SECOND) for number in range(1, SESSIONS_MAX + 1)]
    there = [people.find(store, one.secret, NOW + timedelta(minutes=1)) is not None for one in came]
    assert there == [False] + [True] * SESSIONS_MAX


def test_one_ends_ones_other_sessions_and_nobody_elses(store: Store) -> None:
    one, other, bob = joined(store), signed_in(store), joined(store, "bob")
    assert people.end_sessions(store, one.signed, session_id=bob.signed.session_id, now=NOW) == 0
    assert people.end_sessions(store, one.signed, now=NOW) == 1
    found = [people.find(store, came.secret, NOW) is not None for came in (one, other, bob)]
    assert found == [True, False, True]


Ending = Callable[[Store, Signed], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda store, _: roster.disable(store, by="person:root", person_id="bob", now=NOW),
        lambda store, _: roster.change_part(
            store, by="person:root", person_id="bob", role=Role.ADMIN, within=EVERYWHERE, now=NOW
        ),
        lambda store, _: roster.change_part(
            store, by="person:root", person_id="bob", role=Role.OPERATOR, within=STORE_1, now=NOW
        ),
        lambda store, _: roster.set_password(store, by="person:root", person_id="bob", password=OTHER, now=NOW),
    ],
    ids=["disabled", "another role", "another part of the fleet", "another password"],
)
def test_what_an_admin_changes_of_a_person_ends_their_sessions(store: Store, change: Ending) -> None:
    joined(store)
    came = joined(store, "bob", Role.OPERATOR)
    assert change(store, came.signed) is None
    assert people.find(store, came.secret, NOW) is None


def test_a_part_that_stays_the_same_ends_nothing(store: Store) -> None:
    came = joined(store)
    part = {"role": Role.ADMIN, "within": EVERYWHERE}
    assert roster.change_part(store, by="person:ann", person_id="ann", now=NOW, **part) is None  # type: ignore[arg-type]
    assert people.find(store, came.secret, NOW) is not None
    assert "part_changed" not in actions(store)


# --- one-time links


def test_the_first_start_makes_a_link_and_no_account(store: Store) -> None:
    invited = roster.first_link(store, NOW)
    assert invited is not None
    assert rows(store, "SELECT * FROM person") == []
    came = come(store, invited.key)
    assert isinstance(came, SignedIn)
    assert came.signed.person.role is Role.ADMIN
    assert roster.first_link(store, NOW) is None


def test_each_start_makes_the_link_of_the_start_before_worthless(store: Store) -> None:
    earlier, later = roster.first_link(store, NOW), roster.first_link(store, NOW)
    assert earlier is not None
    assert later is not None
    assert refusal(come(store, earlier.key)) is Refusal.LINK_OVER
    assert isinstance(come(store, later.key), SignedIn)


def test_once_there_is_an_admin_no_link_of_a_start_opens(store: Store) -> None:
    invited = roster.first_link(store, NOW)
    assert invited is not None
    added = roster.add(
        store,
        by="person:root",
        person_id="ann",
        name="Ann",
        password=PASSWORD,
        role=Role.ADMIN,
        within=EVERYWHERE,
        now=NOW,
    )
    assert added is None
    assert refusal(come(store, invited.key, "eve")) is Refusal.LINK_OVER


def test_when_all_admins_are_gone_a_start_makes_a_link_again(store: Store) -> None:
    joined(store)
    with store.transaction() as repository:
        repository.people.set_disabled("ann", NOW)
    assert roster.first_link(store, NOW) is not None


def test_a_link_opens_once(store: Store) -> None:
    key = link(store)
    assert isinstance(come(store, key), SignedIn)
    assert refusal(come(store, key, "bob")) is Refusal.LINK_OVER
    assert people.invitation_of(store, key, NOW) is None


def test_of_two_who_use_a_link_at_once_one_comes_in(store: Store) -> None:
    key = link(store)
    with ThreadPoolExecutor(2) as pool:
        came = list(pool.map(lambda person_id: refusal(come(store, key, person_id)), ("ann", "bob")))
    assert sorted(came, key=str) == [None, Refusal.LINK_OVER]
    assert len(rows(store, "SELECT * FROM person")) == 1


@pytest.mark.parametrize(("passed", "opens"), [(LINK - SECOND, True), (LINK, False)])
def test_a_link_is_over_after_a_day(store: Store, passed: timedelta, opens: bool) -> None:
    key = link(store)
    assert isinstance(come(store, key, now=NOW + passed), SignedIn) is opens


@pytest.mark.parametrize("key", ["", "x", "x" * 43, "x" * 5_000, "\x00", "\ud800"])
def test_what_is_no_link_opens_nothing(store: Store, key: str) -> None:
    link(store)
    assert refusal(come(store, key)) is Refusal.LINK_OVER


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"person_id": ""}, Refusal.ID_UNUSABLE),
        ({"person_id": "-ann"}, Refusal.ID_UNUSABLE),
        ({"person_id": "ann lee"}, Refusal.ID_UNUSABLE),
        ({"person_id": "a" * 65}, Refusal.ID_UNUSABLE),
        ({"person_id": "ann\x00"}, Refusal.ID_UNUSABLE),
        ({"person_id": "安"}, Refusal.ID_UNUSABLE),  # journals and headers write it as it is
        ({"person_id": "there"}, Refusal.ID_TAKEN),
        ({"name": "  "}, Refusal.NAME_UNUSABLE),
        ({"name": "x" * 101}, Refusal.NAME_UNUSABLE),
        ({"name": "a\x1bb"}, Refusal.NAME_UNUSABLE),
        ({"password": "short"}, Refusal.PASSWORD_SHORT),
        ({"password": "x" * 201}, Refusal.PASSWORD_LONG),
        ({"password": "Password1234!"}, Refusal.PASSWORD_COMMON),
        ({"password": "Ann-Lee-2026!"}, Refusal.PASSWORD_OWN_NAME),
    ],
)
def test_what_cannot_stand_leaves_the_link_as_it_was(store: Store, told: dict[str, str], why: Refusal) -> None:
    joined(store, "there")
    key = link(store)
    assert refusal(come(store, key, **told)) is why  # type: ignore[arg-type]  # as above
    assert isinstance(come(store, key), SignedIn)


def test_a_link_may_say_whose_it_is(store: Store) -> None:
    key = link(store, person_id="bob")
    came = come(store, key, "eve")
    assert isinstance(came, SignedIn)
    assert came.signed.person.person_id == "bob"


def test_a_link_gives_the_role_and_the_part_that_it_was_made_with(store: Store) -> None:
    came = come(store, link(store, Role.OPERATOR, within=STORE_1))
    assert isinstance(came, SignedIn)
    assert (came.signed.person.role, came.signed.person.within) == (Role.OPERATOR, STORE_1)


def test_a_link_for_another_password_keeps_the_person_as_they_are(store: Store) -> None:
    came = joined(store)
    first = roster.invite_back(store, by="person:root", person_id="ann", now=NOW)
    second = roster.invite_back(store, by="person:root", person_id="ann", now=NOW)
    assert isinstance(first, Invited)
    assert isinstance(second, Invited)
    assert refusal(come(store, first.key, password=OTHER)) is Refusal.LINK_OVER  # the later one counts
    again = come(store, second.key, "eve", name="Eve", password=OTHER)
    assert isinstance(again, SignedIn)
    assert (again.signed.person.person_id, again.signed.person.name) == ("ann", "Ann Lee")
    assert people.find(store, came.secret, NOW) is None
    assert refusal(signing_in(store)) is Refusal.WRONG
    signed_in(store, password=OTHER)


@pytest.mark.parametrize("gone", ["disabled", "never there"])
def test_nobody_who_is_not_here_gets_a_link(store: Store, gone: str) -> None:
    joined(store)
    joined(store, "bob", Role.VIEWER)
    roster.disable(store, by="person:ann", person_id="bob", now=NOW)
    person_id = "bob" if gone == "disabled" else "eve"
    assert refusal(roster.invite_back(store, by="person:ann", person_id=person_id, now=NOW)) is Refusal.UNKNOWN


def test_the_links_of_whoever_is_disabled_open_nothing(store: Store) -> None:
    joined(store)
    joined(store, "bob")
    invited = roster.invite(store, by="person:bob", role=Role.ADMIN, now=NOW)
    own = roster.invite_back(store, by="person:ann", person_id="bob", now=NOW)
    assert isinstance(invited, Invited)
    assert isinstance(own, Invited)
    roster.disable(store, by="person:ann", person_id="bob", now=NOW)
    assert refusal(come(store, invited.key, "eve")) is Refusal.LINK_OVER
    assert refusal(come(store, own.key, password=OTHER)) is Refusal.LINK_OVER


def test_a_link_is_withdrawn_once(store: Store) -> None:
    invited = roster.invite(store, by="person:root", role=Role.VIEWER, now=NOW)
    assert isinstance(invited, Invited)
    number = invited.invitation.invitation_id
    assert roster.withdraw(store, by="person:root", invitation_id=number, now=NOW) is None
    assert refusal(roster.withdraw(store, by="person:root", invitation_id=number, now=NOW)) is Refusal.LINK_OVER
    assert refusal(come(store, invited.key)) is Refusal.LINK_OVER


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"role": Role.ADMIN, "within": STORE_1}, Refusal.WITHIN_UNUSABLE),  # an admin administers all
        (
            {"role": Role.VIEWER, "within": Within(store_ids=frozenset(f"s-{no}" for no in range(201)))},
            Refusal.WITHIN_UNUSABLE,
        ),
        ({"role": Role.VIEWER, "person_id": "not an id"}, Refusal.ID_UNUSABLE),
        ({"role": Role.VIEWER, "person_id": "ann"}, Refusal.ID_TAKEN),
    ],
)
def test_a_link_that_could_not_be_used_is_not_made(store: Store, asked: dict[str, object], why: Refusal) -> None:
    joined(store)
    invited = roster.invite(store, by="person:ann", now=NOW, **asked)  # type: ignore[arg-type]
    assert refusal(invited) is why


# --- one's own password


def test_one_changes_ones_password_and_is_signed_out_elsewhere(store: Store) -> None:
    here, there = joined(store), signed_in(store)
    assert people.change_password(store, here.signed, old=PASSWORD, new=OTHER, now=NOW) is None
    assert people.find(store, here.secret, NOW) is not None
    assert people.find(store, there.secret, NOW) is None
    assert refusal(signing_in(store)) is Refusal.WRONG
    signed_in(store, password=OTHER)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("wrong", OTHER, Refusal.WRONG),
        (PASSWORD, "short", Refusal.PASSWORD_SHORT),
        (PASSWORD, "qwertyuiop123", Refusal.PASSWORD_COMMON),
    ],
)
def test_a_password_that_cannot_be_changed_stays(store: Store, old: str, new: str, why: Refusal) -> None:
    came = joined(store)
    assert refusal(people.change_password(store, came.signed, old=old, new=new, now=NOW)) is why
    signed_in(store)


def test_whoever_took_a_session_over_cannot_guess_the_password_in_it(store: Store) -> None:
    came = joined(store)
    tries = [people.change_password(store, came.signed, old="x", new=OTHER, now=NOW) for _ in range(12)]
    at_once = LIMITS[Counted.LOGIN].at_once
    assert [refusal(one) for one in tries] == [Refusal.WRONG] * at_once + [Refusal.WAIT] * (12 - at_once)


# --- upkeep


def test_what_is_over_is_forgotten_and_nothing_else(store: Store) -> None:
    joined(store)
    link(store)
    signing_in(store, "wrong")

    def forgotten(now: datetime) -> int:
        with store.transaction() as repository:
            return repository.people.forget_over(
                started_before=now - SESSION, seen_before=now - IDLE, now=now, rows_max=100
            )

    assert forgotten(NOW) == 0
    assert forgotten(NOW + IDLE + SECOND) == 3  # the session, the login's tries, the address's
    assert forgotten(NOW + LINK) == 1
    assert forgotten(NOW + 10 * LINK) == 0


def test_upkeep_takes_it_in_turn_with_the_log_and_with_old_commands(store: Store) -> None:
    joined(store)
    asked = {"command_id": "c-1", "terminal_id": "t-1", "kind": "refresh", "lifetime_s": 60, "asked_by": "person:ann"}
    with store.transaction() as repository:
        repository.connection.execute(insert(table_of(tables.CommandRow)).values(**asked, asked_at=NOW))
    later = NOW + timedelta(days=500)
    signing_in(store, "wrong", now=later)
    keeper, done = Upkeep(CollectorConfig().retained), []
    for _ in range(10):
        with store.transaction() as repository:
            done.append(keeper.step(repository, later, 0).chore)
    assert {Chore.COMMANDS, Chore.SESSIONS, Chore.AUDIT} <= set(done)
    assert done[-1] is None
    assert actions(store) == ["sign_in_refused", "audit_cut"]
    assert rows(store, "SELECT * FROM command") == rows(store, "SELECT * FROM session") == []
