"""Many terminals with one cause, from heartbeats to tickets: a restaurant chain under a judge, by stepped time."""

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.collector.databases import rows
from tests.collector.shell_fixtures import Web
from tests.collector.words import START, at, delivered, heartbeat, offline

from tillwatch_collector.__main__ import main
from tillwatch_collector.domain.outage import OutageSettings
from tillwatch_collector.domain.ticket import Action
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.changes import Move, TicketChange
from tillwatch_collector.flows.ingest import ingest
from tillwatch_collector.flows.judge import Judge, JudgeSettings
from tillwatch_collector.policies import load
from tillwatch_collector.store import tables
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of
from tillwatch_collector.tokens import Scope
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import Health

STEP_S = 15
UPLINK = "network:uplink"


class Chain:
    """Stores of one merchant: each till beats every minute, a quarter of them every fifteen seconds.

    All have one carrier, if it is named, but for store `x`.
    """

    def __init__(self, store: Store, stores: Mapping[str, int], *, carrier: str | None = "weak") -> None:
        self.store = store
        self.tills = {f"{name}-{till:02}": name for name, count in stores.items() for till in range(count)}
        self.cut: set[str] = set()
        self.complains: set[str] = set()
        self.intervals: dict[str, int] = {}
        """Of those that promise another than a minute."""
        self.now_s = 0
        self.beats = 0
        self.changes: list[TicketChange] = []
        self._enter(stores, carrier)
        self.judge = self.load()
        self.judge.listening = self.judge.listening.broker_connected(at(0))
        self.live(120)

    def load(self) -> Judge:
        settings = JudgeSettings(canary_s=5, lost_hold_s=10, outages=OutageSettings())
        with self.store.transaction() as repository:
            return Judge.load(repository, load(), settings, at(self.now_s))

    def restart(self) -> None:
        """Begin anew, as another process: rows are all that is left."""
        listening = self.judge.listening
        self.judge = self.load()
        self.judge.listening = listening

    def live(self, span_s: int) -> None:
        """Let time pass; who is not cut is heard."""
        end_s = self.now_s + span_s
        while self.now_s < end_s:
            self.now_s += STEP_S
            self.hear(
                name
                for number, name in enumerate(self.tills)
                if number % 4 == self.now_s // STEP_S % 4 and name not in self.cut
            )
            self.judge.listening = self.judge.listening.canary_returned(at(self.now_s - 1), at(self.now_s))
            with self.store.transaction() as repository:
                self.changes += self.judge.tick(repository, at(self.now_s)).tickets

    def hear(self, names: Iterable[str]) -> None:
        batch = []
        for name in names:
            self.beats += 1
            interval_s = self.intervals.get(name, 60)
            beat = heartbeat(self.beats, self._uplink(name), terminal_id=name, interval_s=interval_s)
            batch.append(delivered(beat, self.now_s))
        with self.store.transaction() as repository:
            ingest(repository, batch, at(self.now_s))

    def act(self, ticket_id: int, action: Action) -> None:
        with self.store.transaction() as repository:
            tickets.act(repository, ticket_id, action, actor="person:ann", reason="told so", now=at(self.now_s))

    def these(self, *stores: str) -> set[str]:
        return {name for name, store in self.tills.items() if store in stores}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return rows(self.store, query)

    @property
    def moves(self) -> list[tuple[str, str, str]]:
        return [(str(each.move), each.subject_kind, each.subject_id) for each in self.changes]

    @property
    def open_tickets(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT subject_kind, subject_id, parent_id FROM ticket WHERE status NOT IN"
            " ('closed', 'cancelled', 'merged', 'resolved') ORDER BY ticket_id"
        )

    def _uplink(self, name: str) -> Reading:
        bad = name in self.complains
        conditions = (Condition(code="dns_failure", since=START),) if bad else ()
        return Reading(component=UPLINK, health=Health.FAULT if bad else Health.OK, conditions=conditions)

    def _enter(self, stores: Mapping[str, int], carrier: str | None) -> None:
        lines = {name: None if name == "x" else carrier for name in stores}
        place = {"merchant_id": "chain", "time_zone": "UTC", "created_at": START, "watch": "always"}
        empty: dict[str, Any] = {"opening_hours": {}, "holidays": {}}
        with self.store.transaction() as repository:
            connection = repository.connection
            merchant = {"merchant_id": "chain", "name": "The Chain", "created_at": START}
            connection.execute(table_of(tables.MerchantRow).insert().values(merchant))
            for name, line in lines.items():
                row = {"store_id": name, "name": name, "carrier": line, **place, **empty}
                connection.execute(table_of(tables.StoreRow).insert().values(row))
            for name, store_id in self.tills.items():
                row = {"terminal_id": name, "store_id": store_id, "life_cycle": "live", "created_at": START}
                connection.execute(table_of(tables.TerminalRow).insert().values(row))


def test_a_chain_that_loses_its_network_is_one_ticket_that_is_resolved_when_all_are_back(store: Store) -> None:
    chain = Chain(store, {"a": 5, "b": 5, "c": 5})
    chain.cut = set(chain.tills)
    chain.live(900)
    assert chain.moves == [("opened", "carrier", "weak")]
    [(title, evidence)] = chain.rows(
        "SELECT ticket.title, outage.evidence FROM ticket JOIN outage ON outage.ticket_id = ticket.ticket_id"
    )
    assert title == "silent on agent:self at 15 of 15 terminals of carrier weak, from one moment on"
    told = json.loads(evidence)
    assert (told["node"]["hit"], told["share_pct"], len(told["sample"])) == (15, 100.0, 15)
    assert {other["kind"] for other in told["alternatives"]} >= {"store", "merchant", "fleet"}
    assert chain.rows("SELECT count(*), count(DISTINCT ticket_id), count(ticket_id) FROM fault") == [(15, 1, 15)]
    chain.cut = set()
    chain.live(300)
    assert chain.moves[1:] == [("resolved", "carrier", "weak")]
    assert chain.rows("SELECT count(*) FROM ticket") == [(1,)]
    assert chain.rows("SELECT count(*) FROM fault WHERE cleared_at IS NULL") == [(0,)]
    assert chain.rows("SELECT node_kind, node_id, ended_at IS NULL FROM outage") == [("carrier", "weak", 0)]


def test_the_parent_is_open_when_the_first_has_missed_three(store: Store) -> None:
    chain = Chain(store, {"a": 6})
    chain.cut = set(chain.tills)
    chain.live(90)
    # it was heard at 75, and listening began at 14
    assert chain.judge._outages.due_s == pytest.approx(75 + 183 - 14)
    chain.live(105)
    # heard last at 75 at the earliest, three intervals and the grace, and the tick after that
    assert chain.rows("SELECT opened_at FROM ticket") == [("2026-11-21 12:04:30.000000",)]


def test_a_store_of_three_has_tickets_of_its_own(store: Store) -> None:
    chain = Chain(store, {"a": 3, "b": 12}, carrier=None)
    chain.cut = chain.these("a")
    chain.live(400)
    assert sorted(chain.moves) == [("opened", "terminal", f"a-0{till}") for till in range(3)]


def test_one_dead_till_in_an_outage_gets_its_own_ticket_after_it(store: Store) -> None:
    chain = Chain(store, {"a": 8, "b": 8}, carrier=None)
    chain.cut = chain.these("a")
    chain.live(600)
    chain.cut = {"a-03"}
    chain.live(60)
    assert chain.moves == [("opened", "store", "a")]
    chain.live(240)
    assert sorted(chain.moves[1:]) == [("opened", "terminal", "a-03"), ("resolved", "store", "a")]
    [(own,)] = chain.rows("SELECT ticket_id FROM ticket WHERE subject_kind = 'terminal'")
    assert chain.rows("SELECT ticket_id FROM fault WHERE terminal_id = 'a-03'") == [(own,)]
    chain.cut = set()
    chain.live(300)
    assert chain.moves[-1] == ("resolved", "terminal", "a-03")


def test_a_parent_that_is_back_before_its_children_brings_no_flood(store: Store) -> None:
    chain = Chain(store, {"a": 10, "b": 10}, carrier=None)
    chain.cut = chain.these("a")
    chain.live(600)
    for name in sorted(chain.cut):
        chain.cut.discard(name)
        chain.live(15)
    chain.live(300)
    assert chain.moves == [("opened", "store", "a"), ("resolved", "store", "a")]


def test_a_condition_that_a_store_shares_is_one_ticket(store: Store) -> None:
    chain = Chain(store, {"a": 6, "b": 12}, carrier=None)
    chain.complains = chain.these("a")
    chain.live(400)
    assert chain.moves == [("opened", "store", "a")]
    assert chain.rows("SELECT DISTINCT component, code FROM ticket") == [(UPLINK, "dns_failure")]
    assert chain.rows("SELECT count(ticket_id) FROM fault") == [(6,)]
    chain.complains = set()
    chain.live(400)
    assert chain.moves[1:] == [("resolved", "store", "a")]


def test_a_restart_in_an_outage_goes_on_with_it_and_repeats_nothing(store: Store) -> None:
    chain = Chain(store, {"a": 6, "b": 12}, carrier=None)
    chain.cut = chain.these("a")
    chain.live(600)
    chain.restart()
    chain.live(400)
    assert chain.moves == [("opened", "store", "a")]
    chain.cut = {"a-00"}
    chain.live(30)
    chain.restart()
    chain.live(400)
    assert sorted(chain.moves[1:]) == [("opened", "terminal", "a-00"), ("resolved", "store", "a")]


@pytest.mark.parametrize("others", ["stay away", "come back"])
def test_a_restart_while_nobody_knows_whose_a_fault_is_forgets_nobody(store: Store, others: str) -> None:
    chain = Chain(store, {"a": 8, "b": 20}, carrier=None)
    chain.cut = chain.these("a")
    chain.live(75)
    with store.transaction() as repository:
        ingest(repository, [delivered(offline(terminal_id="a-03"), chain.now_s)], at(chain.now_s))
    chain.live(15)
    assert chain.rows("SELECT terminal_id, ticket_id FROM fault") == [("a-03", None)]
    assert chain.moves == []
    chain.restart()
    if others == "come back":
        chain.cut = {"a-03"}
    chain.live(500)
    told = ("opened", "store", "a") if others == "stay away" else ("opened", "terminal", "a-03")
    assert chain.moves == [told]
    assert chain.rows("SELECT count(*) FROM fault WHERE ticket_id IS NULL") == [(0,)]


def test_a_restart_does_not_take_what_was_down_for_something_that_begins(store: Store) -> None:
    chain = Chain(store, {"a": 10}, carrier=None)
    for till in range(6):
        chain.complains.add(f"a-0{till}")
        chain.live(450)
    assert chain.moves == [("opened", "terminal", f"a-0{till}") for till in range(6)]
    chain.restart()
    chain.live(300)
    assert len(chain.moves) == 6


def test_an_outage_that_reaches_further_keeps_its_one_ticket(store: Store) -> None:
    chain = Chain(store, {"a": 6, "b": 6, "c": 6, "d": 6})
    chain.cut = chain.these("a")
    chain.live(120)
    chain.cut = set(chain.tills)
    chain.live(500)
    assert chain.moves == [("opened", "store", "a"), ("widened", "carrier", "weak")]
    assert chain.open_tickets == [("carrier", "weak", None)]
    assert chain.rows("SELECT node_kind, terminals_hit FROM outage") == [("carrier", 24)]
    assert chain.rows("SELECT action FROM journal ORDER BY journal_id") == [("open",), ("widen",)]
    assert chain.rows("SELECT count(ticket_id) FROM fault") == [(24,)]
    chain.cut = set()
    chain.live(300)
    assert chain.moves[-1] == ("resolved", "carrier", "weak")


def test_two_stores_that_turn_out_to_be_their_carriers_become_one_ticket(store: Store) -> None:
    chain = Chain(store, {**dict.fromkeys("abcdefghij", 6), "x": 60})
    chain.cut = chain.these("a", "b")
    chain.live(120)
    chain.cut = set(chain.tills) - chain.these("x")
    chain.live(500)
    assert [move for move, _, _ in chain.moves] == ["opened", "opened", "widened", "merged"]
    assert chain.open_tickets == [("carrier", "weak", None)]
    assert chain.rows("SELECT count(*) FROM outage WHERE ended_at IS NULL") == [(1,)]
    [(parent,)] = chain.rows("SELECT ticket_id FROM outage WHERE ended_at IS NULL")
    assert chain.rows("SELECT DISTINCT ticket_id FROM fault") == [(parent,)]


def test_a_store_whose_carrier_had_an_outage_before_goes_on_in_the_carriers_ticket(store: Store) -> None:
    chain = Chain(store, {"a": 6, "b": 6, "c": 6, "d": 6})
    chain.cut = set(chain.tills)
    chain.live(300)
    chain.cut = set()
    chain.live(300)
    chain.cut = chain.these("a")
    chain.live(120)
    chain.cut = set(chain.tills)
    chain.live(500)
    assert [move for move, _, _ in chain.moves] == ["opened", "resolved", "opened", "reopened", "merged"]
    assert chain.open_tickets == [("carrier", "weak", None)]
    assert chain.rows("SELECT count(*) FROM outage WHERE ended_at IS NULL") == [(1,)]
    assert chain.rows("SELECT DISTINCT ticket_id FROM fault WHERE cleared_at IS NULL") == [
        (chain.changes[0].ticket_id,)
    ]


def test_who_had_a_ticket_already_becomes_part_of_the_outage(store: Store) -> None:
    chain = Chain(store, {"a": 6, "b": 20}, carrier=None)
    chain.cut = chain.these("a")
    with store.transaction() as repository:
        ingest(repository, [delivered(offline(terminal_id="a-02"), chain.now_s)], at(chain.now_s))
    chain.live(30)
    assert chain.moves == [("opened", "terminal", "a-02")]
    chain.live(400)
    assert chain.moves[1:] == [("opened", "store", "a")]
    parent = chain.changes[1].ticket_id
    assert chain.open_tickets == [("terminal", "a-02", parent), ("store", "a", None)]
    chain.cut = {"a-00"}
    chain.live(400)
    assert ("resolved", "terminal", "a-02") in chain.moves


def test_a_line_that_breaks_again_before_it_was_well_for_long_is_the_same_outage(store: Store) -> None:
    chain = Chain(store, {"a": 6, "b": 12}, carrier=None)
    chain.intervals["a-00"] = 600
    chain.live(120)
    chain.cut = chain.these("a")
    chain.live(1200)
    chain.cut = set()
    chain.live(75)
    chain.cut = chain.these("a") - {"a-00"}
    chain.live(300)
    assert chain.moves == [("opened", "store", "a")]
    assert chain.rows("SELECT action FROM journal ORDER BY journal_id") == [("open",), ("relapse",)]
    assert chain.rows("SELECT count(*) FROM fault WHERE cleared_at IS NULL AND ticket_id IS NOT NULL") == [(5,)]


def test_an_outage_that_nobody_comes_back_from_is_not_resolved(store: Store) -> None:
    chain = Chain(store, {"a": 6, "b": 12}, carrier=None)
    chain.cut = chain.these("a")
    chain.live(300)
    # as if they had been taken away while nobody looked
    with store.transaction() as repository:
        for change in (
            "DELETE FROM fault",
            "DELETE FROM condition",
            "UPDATE standing SET presence = 'off'",
            "UPDATE outage SET terminals_hit = 0",
        ):
            repository.connection.execute(text(change))
        repository.connection.execute(text("UPDATE terminal SET life_cycle = 'retired' WHERE store_id = 'a'"))
    chain.restart()
    chain.live(300)
    assert chain.moves == [("opened", "store", "a")]
    assert chain.rows("SELECT action FROM journal ORDER BY journal_id") == [("open",), ("nobody_left",)]
    assert chain.rows("SELECT count(*) FROM outage WHERE ended_at IS NULL") == [(0,)]


@pytest.mark.parametrize("action", [Action.CLOSE, Action.CANCEL])
def test_a_person_who_ends_the_parent_is_not_told_of_its_children(store: Store, action: Action) -> None:
    chain = Chain(store, {"a": 6, "b": 12}, carrier=None)
    chain.cut = chain.these("a")
    chain.live(400)
    chain.act(chain.changes[0].ticket_id, action)
    chain.live(600)
    assert chain.moves == [("opened", "store", "a")]
    assert chain.rows("SELECT ended_at IS NULL FROM outage") == [(0,)]
    chain.restart()
    chain.live(400)
    assert len(chain.moves) == 1
    chain.cut = set()
    chain.live(300)
    chain.cut = chain.these("a")
    chain.live(400)
    assert chain.moves[1:] == [("opened", "store", "a")]


def test_a_parent_that_is_merged_goes_on_as_the_other_ticket(store: Store) -> None:
    chain = Chain(store, {"a": 6, "b": 6, "c": 20}, carrier=None)
    chain.cut = chain.these("a")
    chain.live(400)
    chain.cut |= chain.these("b")
    chain.live(400)
    first, second = (each.ticket_id for each in chain.changes)
    with store.transaction() as repository:
        tickets.merge(repository, second, first, actor="person:ann", reason="one digger", now=at(chain.now_s))
    chain.live(60)
    assert chain.rows("SELECT DISTINCT ticket_id FROM outage") == [(first,)]
    chain.cut = set()
    chain.live(400)
    assert [each.move for each in chain.changes[2:]] == [Move.RESOLVED]


def test_an_outage_that_comes_again_soon_reopens_its_ticket(store: Store) -> None:
    chain = Chain(store, {"a": 6, "b": 12}, carrier=None)
    for _ in range(2):
        chain.cut = chain.these("a")
        chain.live(400)
        chain.cut = set()
        chain.live(400)
    assert [move for move, _, _ in chain.moves] == ["opened", "resolved", "reopened", "resolved"]
    assert chain.rows("SELECT count(*), count(DISTINCT ticket_id) FROM outage") == [(2, 1)]


def test_time_in_which_nobody_listens_makes_and_ends_no_outage(store: Store) -> None:
    chain = Chain(store, {"a": 6, "b": 6}, carrier=None)
    chain.cut = set(chain.tills)
    for _ in range(40):
        chain.now_s += STEP_S
        with store.transaction() as repository:
            chain.changes += chain.judge.tick(repository, at(chain.now_s)).tickets
    assert chain.moves == []
    chain.judge.listening = chain.judge.listening.broker_connected(at(chain.now_s))
    chain.cut = chain.these("a")
    chain.live(400)
    assert chain.moves == [("opened", "store", "a")]


# --- what is shown of them


@pytest.fixture
def struck(store: Store) -> Chain:
    """A store that is away as a whole, one till of it since a little before."""
    chain = Chain(store, {"a": 8, "b": 20}, carrier=None)
    chain.cut = {"a-00"}
    chain.live(75)
    chain.cut = chain.these("a")
    chain.live(500)
    return chain


def test_outages_are_listed_and_narrowed_and_shown_with_their_evidence(struck: Chain) -> None:
    client = Web(database=struck.store).client(Scope.READ)
    page = client.get("/api/v1/outages", params={"open": "true", "node_kind": "store", "node_id": "a"}).json()
    assert (page["total"], page["items"][0]["node_id"]) == (1, "a")
    assert client.get("/api/v1/outages", params={"open": "false"}).json()["total"] == 0
    assert client.get("/api/v1/outages", params={"node_kind": "carrier"}).json()["total"] == 0
    shown = client.get(f"/api/v1/outages/{page['items'][0]['outage_id']}").json()
    assert (shown["code"], shown["ticket_status"], shown["ended_at"]) == ("silent", "reported", None)
    assert shown["evidence"]["node"]["kind"] == "store"
    assert shown["faults"] == shown["faults_standing"] >= 7
    assert client.get("/api/v1/outages", params={"node_kind": "planet"}).status_code == 422
    assert client.get("/api/v1/outages", params={"sort": "code"}).status_code == 422


def test_the_terminals_of_an_outage_are_listed_with_whether_they_are_back(struck: Chain) -> None:
    struck.cut = struck.these("a") - {"a-07"}
    struck.live(240)
    client = Web(database=struck.store).client(Scope.READ)
    listed = client.get("/api/v1/outages/1/terminals", params={"limit": "50"}).json()
    assert [item["terminal_id"] for item in listed["items"]] == sorted(struck.these("a"))
    back = [item["terminal_id"] for item in listed["items"] if item["cleared_at"]]
    assert back == ["a-07"]
    assert all(item["raised_at"] or item["own_ticket_id"] for item in listed["items"])
    assert client.get("/api/v1/outages/99").status_code == 404
    assert client.get("/api/v1/outages/99/terminals").status_code == 404


def test_commands_list_and_show_outages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TILLWATCH_DATA_DIR", str(tmp_path))
    assert main(("migrate",)) == 0
    with closing(Store.open(f"sqlite:///{tmp_path / 'collector.db'}")) as database:
        chain = Chain(database, {"a": 6, "b": 12}, carrier=None)
        chain.cut = chain.these("a")
        chain.live(300)
    capsys.readouterr()
    assert main(("outage", "list", "--kind", "store")) == 0
    assert "store" in capsys.readouterr().out
    assert main(("outage", "list", "--all", "--json", "--node", "b")) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(("outage", "show", "1")) == 0
    assert "a-05" in capsys.readouterr().out
    assert main(("outage", "show", "1", "--json")) == 0
    assert len(json.loads(capsys.readouterr().out)["terminals"]) == 6
    assert main(("outage", "show", "7")) == 1
    assert "no outage 7" in capsys.readouterr().err
