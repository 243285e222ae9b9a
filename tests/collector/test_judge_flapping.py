"""What comes and goes, as judge tells it: one ticket, whose hold grows, and whose journal says when it flaps."""

from itertools import count

import pytest
from tests.collector.shop import Shop, Street
from tests.collector.words import PRINTER, at, heartbeat, printer

from tillwatch_collector.flows.judge import JudgeSettings
from tillwatch_collector.store.session import Store

LOOSE = ("till-1", PRINTER, "cutter_error")
"""Raised after 30 s, cleared after 60 s."""


class Cable(Shop):
    """A till that beats every half minute, with a printer whose cable is loose."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, settings=JudgeSettings(canary_s=30))
        self.numbers = count(1)

    def hear(self, *codes: str, for_s: float) -> None:
        end_s = self.now_s + for_s
        while self.now_s < end_s:
            beat = heartbeat(next(self.numbers), printer(*codes), interval_s=30)
            self.beat([beat], every_s=30)

    def swing(self, times: int) -> None:
        """Be bad for a minute and well for two: longer than the policy asks for a proof."""
        for _ in range(times):
            self.hear("cutter_error", for_s=60)
            self.hear(for_s=120)


@pytest.fixture
def cable(store: Store) -> Cable:
    return Cable(store)


def test_a_loose_cable_for_two_hours_is_one_ticket_that_says_when_it_flapped(cable: Cable) -> None:
    cable.swing(40)
    assert cable.rows("SELECT count(*) FROM ticket") == [(1,)]
    assert [move for move, _ in cable.moves] == ["opened", "resolved", "reopened", "resolved", "reopened"]
    [(began, evidence)] = cable.journal("flap")
    assert began == f"cutter_error on {PRINTER} flaps: raised 3 times; it must be well for longer now"
    assert evidence == {"raises": 3}
    assert cable.rows("SELECT recurrences, status FROM ticket") == [(2, "reported")]
    cable.hear(for_s=1860)
    assert cable.moves[-1] == ("resolved", LOOSE)
    cable.hear(for_s=2400)
    _, (ended, evidence) = cable.journal("flap")
    assert ended == f"cutter_error on {PRINTER} flaps no more, after 40 raises"
    assert evidence == {"raises": 40}
    [(ended_at,)] = cable.rows("SELECT max(at) FROM journal WHERE action = 'flap'")
    # the last time but one that it came back, seen by the tick after it, is an hour old
    assert ended_at == f"{at(38 * 180 + 30 + 3600):%Y-%m-%d %H:%M:%S.%f}"


def test_while_it_flaps_the_proof_takes_longer_with_every_raise(cable: Cable) -> None:
    cable.swing(3)
    assert cable.moves[-1] == ("reopened", LOOSE)
    cable.hear(for_s=60)
    assert cable.moves[-1] == ("resolved", LOOSE)
    cable.swing(2)
    proofs = len(cable.moves)
    # the fifth raise: 60 s doubled thrice is eight minutes
    cable.hear(for_s=330)
    assert len(cable.moves) == proofs
    cable.hear(for_s=90)
    assert cable.moves[-1] == ("resolved", LOOSE)


def test_what_comes_back_twice_within_the_hour_does_not_flap(cable: Cable) -> None:
    cable.swing(2)
    cable.hear(for_s=3600)
    assert cable.journal("flap") == []
    cable.swing(1)
    assert [move for move, _ in cable.moves] == ["opened", "resolved", "reopened", "resolved", "reopened", "resolved"]


def test_a_restart_in_its_midst_makes_no_second_ticket(cable: Cable) -> None:
    cable.swing(10)
    cable.restart()
    cable.swing(10)
    assert cable.rows("SELECT count(*) FROM ticket") == [(1,)]
    assert {identity for _, identity in cable.moves} == {LOOSE}
    cable.hear(for_s=7200)
    assert cable.rows("SELECT status FROM ticket") == [("resolved",)]
    assert "flaps no more" in cable.journal("flap")[-1][0]


def test_a_line_that_comes_and_goes_is_noted_on_no_terminal(store: Store) -> None:
    """Its ticket is the outage's: a line for each of its terminals would say nothing that it does not."""
    street = Street(store, {"a": 8, "b": 12})
    for _ in range(4):
        street.dead = street.these("a")
        street.live(420)
        street.dead = set()
        street.live(300)
    assert street.rows("SELECT DISTINCT subject_kind, subject_id FROM ticket") == [("store", "a")]
    assert street.journal("flap") == []
    street.live(2400)
    assert street.open_tickets == []
    assert street.rows("SELECT count(*) FROM fault WHERE cleared_at IS NULL") == [(0,)]
