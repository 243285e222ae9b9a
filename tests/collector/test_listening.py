"""Listened time: what canaries prove, and what gaps, losses and clocks do to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.words import at

from tillwatch_collector.domain.listening import CANARIES_AWAY_MAX, STRETCHES_MAX, CanaryBook, Listening
from tillwatch_protocol.process import Canary

NEVER = Listening(gap_max_s=15)
CONNECTED = NEVER.broker_connected(at(0))


def after(listening: Listening, *sent_s: float, lag_s: float = 0) -> Listening:
    for sent in sent_s:
        listening = listening.canary_returned(at(sent), at(sent + lag_s))
    return listening


def test_before_the_first_canary_nothing_was_listened_to() -> None:
    assert CONNECTED.listened_s == 0
    assert after(CONNECTED, 5).listened_s == 0
    assert after(CONNECTED, 5, 10).listened_s == 5


def test_time_counts_up_to_the_sending_of_the_last_canary_that_returned() -> None:
    assert after(CONNECTED, 0, 5, 10, lag_s=4).listened_s == 10


def test_without_a_connection_a_canary_proves_nothing() -> None:
    assert after(NEVER, 5, 10).listened_s == 0
    assert after(after(CONNECTED, 5, 10).broker_lost(at(11)), 15).listened_s == 5


@pytest.mark.parametrize(("apart_s", "listened_s"), [(15, 15), (15.1, 0), (3600, 0)])
def test_a_gap_counts_toward_nobodys_silence(apart_s: float, listened_s: float) -> None:
    assert after(CONNECTED, 0, apart_s).listened_s == listened_s


def test_a_canary_of_an_earlier_connection_or_out_of_turn_proves_nothing() -> None:
    again = after(CONNECTED, 0, 5).broker_connected(at(20))
    assert again.canary_returned(at(19), at(21)) == again
    turned = after(CONNECTED, 0, 10)
    assert turned.canary_returned(at(5), at(11)) == turned


def test_a_connection_begins_a_generation_and_keeps_what_was_listened_to() -> None:
    again = after(CONNECTED, 0, 5, 10).broker_lost(at(11)).broker_connected(at(20))
    assert (again.generation, again.listened_s, again.anew_s) == (2, 10, 10)
    assert after(again, 22, 27).listened_s == 15


def test_who_was_heard_before_the_generation_counts_as_heard_at_its_beginning() -> None:
    again = after(after(CONNECTED, 0, 5, 10).broker_connected(at(20)), 22, 27)
    assert not again.heard_since_anew(at(19))
    assert again.heard_since_anew(at(20))
    assert not NEVER.heard_since_anew(at(0))
    assert again.position_s(at(3)) == again.position_s(at(21)) == 10
    assert CONNECTED.position_s(at(99)) == 0


def test_positions_stand_still_in_gaps_and_run_on_after_the_last_proof() -> None:
    listening = after(CONNECTED, 0, 10, 100, 110)
    assert listening.listened_s == 20
    assert [listening.position_s(at(moment)) for moment in (4, 10, 50, 100, 107, 110, 130)] == [
        4,
        10,
        10,
        10,
        17,
        20,
        40,
    ]


def test_a_clock_that_goes_back_begins_anew() -> None:
    set_back = after(CONNECTED, 0, 10).canary_returned(at(-3600), at(-3599))
    assert (set_back.generation, set_back.listened_s, set_back.anew_at) == (2, 10, at(-3599))
    assert CONNECTED.canary_returned(at(-2), at(-1)).generation == 2


def test_remembered_stretches_are_bounded_and_forget_toward_less_silence() -> None:
    listening = CONNECTED
    for gap in range(STRETCHES_MAX + 10):
        listening = after(listening, gap * 100, gap * 100 + 10)
    assert len(listening.stretches) == STRETCHES_MAX
    assert listening.listened_s == (STRETCHES_MAX + 10) * 10
    assert listening.position_s(at(5)) == 100


@given(st.lists(st.tuples(st.sampled_from(["canary", "lost", "connected"]), st.floats(0, 60)), max_size=40))
def test_listened_time_never_goes_back_nor_outruns_the_clock(steps: list[tuple[str, float]]) -> None:
    listening, now_s = NEVER, 0.0
    for what, passed_s in steps:
        now_s += passed_s
        before_s = listening.listened_s
        match what:
            case "canary":
                listening = listening.canary_returned(at(now_s), at(now_s))
            case "lost":
                listening = listening.broker_lost(at(now_s))
            case _:
                listening = listening.broker_connected(at(now_s))
        assert before_s <= listening.listened_s <= now_s + 1e-3


def returning(canary_no: int, start_id: str = "life-1") -> Canary:
    return Canary(process="collector.1", start_id=start_id, canary_no=canary_no)


def test_a_canary_returns_once_and_only_to_its_own_life() -> None:
    book = CanaryBook("life-1")
    number = book.send(at(3))
    assert book.returned(returning(number, "life-0")) is None
    assert book.returned(returning(number)) == at(3)
    assert book.returned(returning(number)) is None


def test_canaries_that_never_return_are_forgotten() -> None:
    book = CanaryBook("life-1")
    first = book.send(at(0))
    for number in range(CANARIES_AWAY_MAX):
        book.send(at(number))
    assert book.returned(returning(first)) is None
    assert book.returned(returning(first + 1)) == at(0)
