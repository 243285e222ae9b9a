"""Words in which tests say how people come in: by links, by passwords."""

from datetime import datetime, timedelta

from tests.collector.shell_fixtures import NOW

from tillwatch_collector import people, roster
from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.people import Refusal, Refused, SignedIn
from tillwatch_collector.roster import Invited
from tillwatch_collector.store.audit import Audit, AuditFilter
from tillwatch_collector.store.session import Store

PASSWORD = "two lamps on a green table"
OTHER = "a slow train through the hills"
HERE = "192.0.2.7"
SECOND = timedelta(seconds=1)
STORE_1 = Within(store_ids=frozenset({"s-1"}))


def link(store: Store, role: Role = Role.ADMIN, now: datetime = NOW, **changes: object) -> str:
    invited = roster.invite(store, by="person:root", role=role, now=now, **changes)  # type: ignore[arg-type]
    assert isinstance(invited, Invited), invited
    return invited.key


def come(store: Store, key: str, person_id: str = "ann", now: datetime = NOW, **changes: str) -> SignedIn | Refused:
    told = {"person_id": person_id, "name": "Ann Lee", "password": PASSWORD} | changes
    return people.welcome(store, key=key, now=now, **told)  # type: ignore[arg-type]  # names and texts


def joined(store: Store, person_id: str = "ann", role: Role = Role.ADMIN) -> SignedIn:
    came = come(store, link(store, role), person_id)
    assert isinstance(came, SignedIn), came
    return came


def signing_in(
    store: Store, password: str = PASSWORD, login: str = "ann", now: datetime = NOW, address: str = HERE
) -> SignedIn | Refused:
    return people.sign_in(store, login=login, password=password, address=address, user_agent="a browser", now=now)


def signed_in(store: Store, now: datetime = NOW, login: str = "ann", password: str = PASSWORD) -> SignedIn:
    came = signing_in(store, now=now, login=login, password=password)
    assert isinstance(came, SignedIn), came
    return came


def refusal(came: object) -> Refusal | None:
    return came.reason if isinstance(came, Refused) else None


def actions(store: Store) -> list[str]:
    with store.reading() as connection:
        assert Audit(connection).verify().misfit is None
        return [line.action for line in reversed(Audit(connection).lines(AuditFilter(), 500))]
