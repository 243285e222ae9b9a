"""Which device stands there, which clock it has, and whether there are two of it: as judge tells it."""

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from tests.collector.shop import Shop, Street
from tests.collector.words import START, at, heartbeat, printer

from tillwatch_collector.domain.ticket import Action
from tillwatch_collector.store import tables
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import MACHINE_SELF, Health

UNKNOWN = ("till-1", MACHINE_SELF, "serial_unknown")
MOVED = ("till-1", MACHINE_SELF, "serial_moved")
SWAPPED = ("till-1", MACHINE_SELF, "swapped")
SHARED = ("till-1", "agent:self", "identity_shared")


def machine(serial: str | None, health: Health = Health.OK) -> Reading:
    facts = {"serial_number": serial} if serial else {}
    reason = None if health is Health.OK else "asked_in_vain"
    return Reading(component=MACHINE_SELF, health=health, reason=reason, facts=facts)


class Counter(Shop):
    """A counter with one till, whose machine tells its serial number."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.numbers = count(1)

    def tell(self, *components: Reading, times: int = 1) -> None:
        self.beat([heartbeat(next(self.numbers), *components) for _ in range(times)])

    def known(self, terminal_id: str, serial: str, life_cycle: str = "live") -> None:
        row = {"terminal_id": terminal_id, "serial_number": serial, "life_cycle": life_cycle, "created_at": START}
        with self.store.transaction() as repository:
            repository.connection.execute(table_of(tables.TerminalRow).insert().values(row))

    @property
    def entered(self) -> Any:
        return self.rows("SELECT serial_number FROM terminal WHERE terminal_id = 'till-1'")[0][0]


@pytest.fixture
def counter(store: Store) -> Counter:
    return Counter(store)


# --- serial numbers


def test_the_first_number_that_is_told_is_learned(counter: Counter) -> None:
    counter.tell(machine("sn-1"), times=3)
    assert counter.entered == "SN-1"
    assert counter.moves == []


def test_a_device_that_stands_where_it_should_is_no_news(counter: Counter) -> None:
    counter.tell(machine("SN-1"))
    counter.enter("till-1", serial_number="sn-1 ")
    counter.tell(machine("SN-1"), times=3)
    assert counter.moves == []


def test_an_unknown_device_is_a_ticket_that_ends_when_the_known_one_is_back(counter: Counter) -> None:
    counter.tell(machine("SN-1"), times=2)
    counter.tell(machine("SN-9"), times=3)
    assert counter.moves == [("opened", UNKNOWN)]
    [(_, evidence)] = counter.journal("open")
    assert evidence["detail"] == "SN-9 stands here, in the place of SN-1; the inventory has it nowhere"
    assert counter.entered == "SN-1"
    counter.tell(machine(None, Health.UNKNOWN), times=3)
    assert len(counter.moves) == 1
    counter.tell(machine("SN-1"), times=2)
    assert counter.moves[1:] == [("resolved", UNKNOWN)]


def test_a_device_that_is_swapped_while_nothing_else_changes_is_seen_by_the_next_heartbeat(counter: Counter) -> None:
    counter.tell(machine("SN-1"), times=5)
    counter.take(heartbeat(next(counter.numbers), machine("SN-9")))
    counter.tick()
    assert counter.moves == [("opened", UNKNOWN)]


def test_an_unknown_device_that_a_person_enters_is_known(counter: Counter) -> None:
    counter.tell(machine("SN-1"), times=2)
    counter.tell(machine("SN-9"), times=2)
    counter.enter("till-1", serial_number="SN-9")
    counter.tell(machine("SN-9"), times=3)
    assert counter.moves == [("opened", UNKNOWN), ("resolved", UNKNOWN)]


def test_a_number_that_is_entered_wrong_is_seen_though_the_till_says_nothing_new(counter: Counter) -> None:
    counter.tell(machine("SN-1"), times=3)
    counter.enter("till-1", serial_number="SN-2")
    counter.tick()
    assert counter.moves == [("opened", UNKNOWN)]


@pytest.mark.parametrize(
    ("life_cycle", "told"),
    [("spare", SWAPPED), ("in_repair", SWAPPED), ("swapped", SWAPPED), ("live", MOVED), ("retired", MOVED)],
)
def test_a_device_that_the_inventory_has_elsewhere_is_told_as_what_it_is(
    counter: Counter, life_cycle: str, told: tuple[str, str, str]
) -> None:
    counter.known("other", "SN-7", life_cycle)
    counter.tell(machine("SN-1"), times=2)
    counter.tell(machine("SN-7"), times=2)
    assert counter.moves == [("opened", told)]
    assert "the inventory has it as other" in counter.journal("open")[0][1]["detail"]
    counter.restart()
    counter.tell(machine("SN-7"), times=3)
    assert len(counter.moves) == 1
    counter.tell(machine("SN-1"), times=2)
    assert counter.moves[1:] == [("resolved", told)]


def test_a_spare_that_turns_out_to_be_known_nowhere_is_another_ticket(counter: Counter) -> None:
    counter.known("other", "SN-7", "spare")
    counter.tell(machine("SN-1"), times=2)
    counter.tell(machine("SN-7"), times=2)
    counter.tell(machine("SN-8"), times=3)
    assert counter.moves == [("opened", SWAPPED), ("opened", UNKNOWN), ("resolved", SWAPPED)]


# --- clocks


def ahead(counter: Counter, number: int, by_s: float) -> None:
    sent_at = at(counter.now_s + by_s)
    counter.beat([heartbeat(number, machine("SN-1")).model_copy(update={"sent_at": sent_at})])


def test_how_far_a_clock_is_ahead_is_kept_and_survives_a_restart(counter: Counter) -> None:
    for number in range(1, 6):
        ahead(counter, number, 90.0)
    assert counter.rows("SELECT clock_offset_s FROM standing") == [(90.0,)]
    counter.restart()
    ahead(counter, 6, 90.3)
    assert counter.rows("SELECT clock_offset_s FROM standing") == [(90.0,)]
    ahead(counter, 7, 400.0)
    assert counter.rows("SELECT clock_offset_s FROM standing") == [(400.0,)]
    assert counter.moves == []


def test_the_evidence_of_a_fault_says_how_far_its_clock_is_ahead(counter: Counter) -> None:
    for number in range(1, 4):
        ahead(counter, number, -3600.0)
    counter.beat(
        [
            heartbeat(number, printer("paper_end")).model_copy(update={"sent_at": at(counter.now_s - 3600.0)})
            for number in range(4, 6)
        ]
    )
    [(_, evidence)] = counter.journal("open")
    assert evidence["clock_offset_s"] == pytest.approx(-3600.0, abs=61)


def test_a_clock_that_drifts_while_nothing_else_happens_is_written_now_and_then(counter: Counter) -> None:
    for number in range(1, 40):
        ahead(counter, number, float(number))
    [(kept_s,)] = counter.rows("SELECT clock_offset_s FROM standing")
    # looked at every ten minutes, and one of the last eight heartbeats is the quickest
    assert 39 - 12 <= kept_s <= 39
    assert counter.moves == []


# --- two of one name


def both(counter: Counter, times: int) -> None:
    for number in range(counter_no(counter), counter_no(counter) + times):
        counter.beat([heartbeat(number)], every_s=30)
        counter.beat([heartbeat(number, stream_id="b")], every_s=30)


def counter_no(counter: Counter) -> int:
    return int(counter.now_s // 60) + 1


def test_two_that_bear_one_name_are_one_ticket_across_a_restart_until_one_is_left(counter: Counter) -> None:
    both(counter, 6)
    counter.restart()
    both(counter, 6)
    assert counter.moves == [("opened", SHARED)]
    counter.beat([heartbeat(number, stream_id="b") for number in range(100, 130)])
    assert counter.moves[1:] == [("resolved", SHARED)]


def test_two_that_bear_one_name_are_told_of_after_a_maintenance(counter: Counter) -> None:
    counter.beat([heartbeat(1)], every_s=5)
    counter.maintain("terminal", "till-1", for_s=900)
    both(counter, 12)
    assert counter.moves == []
    both(counter, 5)
    assert counter.moves == [("opened", SHARED)]


def test_many_that_share_their_names_are_no_outage(store: Store) -> None:
    """A copied disk is a fault of each: what one cause has silenced does not speak twice."""
    street = Street(store, {"a": 8})
    for number in range(1, 8):
        street.take(*[heartbeat(1000 + number, terminal_id=till) for till in street.tills])
        street.live(30)
        street.take(*[heartbeat(1000 + number, terminal_id=till, stream_id="b") for till in street.tills])
        street.live(30)
    assert {code for _, _, code in street.open_tickets} == {"identity_shared"}
    assert len(street.open_tickets) == 8
    assert street.rows("SELECT count(*) FROM outage") == [(0,)]


def test_a_person_closes_what_was_explained_and_nothing_opens_it_again(counter: Counter) -> None:
    counter.tell(machine("SN-1"), times=2)
    counter.tell(machine("SN-9"), times=2)
    counter.act(1, Action.CLOSE)
    counter.tell(machine("SN-9"), times=int(timedelta(minutes=15) / timedelta(minutes=1)))
    assert [move for move, _ in counter.moves] == ["opened", "closed"]
