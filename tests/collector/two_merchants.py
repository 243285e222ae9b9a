"""Two merchants who must not see each other: of each, one of everything that is kept.

Whatever belongs to the other one has `theirs` in its name: a page on which that word stands, seen by somebody who is
narrowed to `mine`, tells what it must not.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from fastapi.testclient import TestClient
from tests.collector.rollout_estate import TARGET, office
from tests.collector.shell_fixtures import Web
from tests.collector.shop import SETTINGS as JUDGE
from tests.collector.shop import Shop
from tests.collector.words import at, event, events, heartbeat, printer, raw
from tests.live.rollouts import PLAN

from tillwatch_collector import policies
from tillwatch_collector.domain.notification import Item, Said, Word
from tillwatch_collector.domain.permission import Within
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.releases import Shelf
from tillwatch_collector.store.session import Store
from tillwatch_collector.tokens import Scope
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import Health

MINE, THEIRS = "mine", "theirs"
TILLS: Final = 6
"""So many silent ones in one store are one cause."""

SPEAKING_S, END_S = 120, 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Subjects:
    """What of one merchant may stand in a path, by the name of the path's parameter."""

    merchant_id: str
    store_id: str
    terminal_id: str
    ticket_id: str
    outage_id: str
    maintenance_id: str
    notification_id: str
    rollout_id: str
    attachment_id: str

    def fill(self, path: str) -> str:
        """Put them into a route's pattern."""
        return path.format(
            **{name: getattr(self, name) for name in Subjects.__slots__},
            action="start" if "/rollouts/" in path else "diagnose",
            step="start",
            what="terminals",
            name=self.terminal_id,
            key="none",
            command_id="none",
            person_id="nobody",
            token_id="none",
            session_id="none",
            invitation_id="none",
        )


class Pair:
    """A collector that watches both."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.database = store
        self._shop = Shop(store, policy=policies.load(None).scaled(0.01), settings=JUDGE)
        self.web = Web(database=store, now=at(END_S), releases=Shelf(office(folder).folder))
        self._api = self.web.client(Scope.ADMIN)
        self._api.headers["X-Actor"] = "person:ann"
        for whose in (MINE, THEIRS):
            self._describe(whose)
        self._speak()
        self.subjects = {whose: self._subjects(whose) for whose in (MINE, THEIRS)}

    def _describe(self, whose: str) -> None:
        merchant = {"merchant_id": f"m-{whose}", "name": f"Merchant {whose}"}
        self._post("/api/v1/merchants", merchant)
        for number in (1, 2):
            store = {"store_id": f"s-{whose}-{number}", "merchant_id": f"m-{whose}", "name": f"Store {whose}"}
            more = {"region": f"region {whose}", "carrier": f"carrier {whose}", "time_zone": "Asia/Shanghai"}
            self._post("/api/v1/stores", store | more)
            for till in range(TILLS):
                terminal = {"terminal_id": f"t-{whose}-{number}{till}", "store_id": store["store_id"], "model": "A920"}
                self._post("/api/v1/terminals", terminal | {"serial_number": f"serial {whose}"})

    def _speak(self) -> None:
        """Let all terminals speak: one has no paper, one sends what nobody understands, one store falls silent."""
        for number, second in enumerate(range(0, END_S, 10), start=1):
            batch = []
            for whose in (MINE, THEIRS):
                for store in (1, 2):
                    if store == 2 and second > SPEAKING_S:
                        continue
                    batch += [self._beat(f"t-{whose}-{store}{till}", number, whose) for till in range(TILLS)]
            self._shop.take(*batch)
            self._shop.until(second + 10)
        for whose in (MINE, THEIRS):
            said = event(1, detail=f"detail {whose}")
            self._shop.take(events(said, terminal_id=f"t-{whose}-10"))
            self._shop.take(raw(b"{,}", END_S, topic=f"tillwatch/v1/t/t-{whose}-10/up/heartbeat"))
        self._shop.until(END_S + 10)

    @staticmethod
    def _beat(terminal_id: str, number: int, whose: str) -> Any:
        runs = Reading(component="application:till", health=Health.OK, facts={"version": "2.0"})
        well = printer(
            *(("paper_end",) if terminal_id.endswith("10") else ()), facts={"serial_number": f"serial {whose}"}
        )
        return heartbeat(number, runs, well, terminal_id=terminal_id, interval_s=10, event_seq_last=1)

    def _subjects(self, whose: str) -> Subjects:
        ticket_id = self._first("/api/v1/tickets", "ticket_id", subject_id=f"t-{whose}-10", code="paper_end")
        self._post(f"/api/v1/tickets/{ticket_id}/comments", {"text": f"comment {whose}"})
        attached = self._api.post(
            f"/api/v1/tickets/{ticket_id}/attachments",
            files={"file": (f"{whose}.txt", b"a note", "text/plain")},
        )
        assert attached.status_code == 201, attached.text
        begins, ends = at(END_S) - timedelta(hours=1), at(END_S) + timedelta(hours=1)
        maintenance = {"scope_kind": "store", "scope_id": f"s-{whose}-1", "reason": f"works {whose}"}
        span = {"starts_at": begins.isoformat(), "ends_at": ends.isoformat()}
        rollout = {"target": TARGET, "select": f"merchant=m-{whose}", "reason": f"for {whose}"}
        return Subjects(
            merchant_id=f"m-{whose}",
            store_id=f"s-{whose}-1",
            terminal_id=f"t-{whose}-10",
            ticket_id=ticket_id,
            outage_id=self._first("/api/v1/outages", "outage_id", node_id=f"s-{whose}-2"),
            maintenance_id=str(self._post("/api/v1/maintenance", maintenance | span)["maintenance_id"]),
            notification_id=self._told(int(ticket_id)),
            rollout_id=str(self._post("/api/v1/rollouts", rollout | {"settings": PLAN})["rollout_id"]),
            attachment_id=str(attached.json()["attachment_id"]),
        )

    def _told(self, ticket_id: int) -> str:
        with self.database.transaction() as repository:
            item = Item(ticket_id=ticket_id, word=Word(said=Said.OPENED, severity=Severity.MAJOR))
            repository.notifications.tell(f"route {ticket_id}", [item], due_at=at(END_S), now=at(END_S))
        return self._first("/api/v1/notifications", "notification_id", route=f"route {ticket_id}")

    def _first(self, path: str, key: str, **query: str) -> str:
        items = self._api.get(path, params=query).json()["items"]
        assert items, f"{path} {query}: nothing"
        return str(items[0][key])

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._api.post(path, json=body)
        assert answer.status_code in {200, 201}, f"{path}: {answer.text}"
        return answer.json()

    def narrowed(self, within: Within, *scopes: Scope) -> TestClient:
        """Return a program that sees a part."""
        return self.web.client(*scopes, within=within)

    @property
    def api(self) -> TestClient:
        """Somebody who may do everything."""
        return self._api
