"""Facts to tickets, with a judge that listens through canaries; time is stepped, in seconds from START."""

from datetime import timedelta
from typing import Any

import pytest
from tests.collector.shop import Shop
from tests.collector.words import PRINTER, at, delivered, event, events, heartbeat, offline, presence, printer, raw

from tillwatch_collector.domain.ticket import Action
from tillwatch_collector.errors import LeaseHeldElsewhere, LeaseLost, ReasonMissing, TicketActionIllegal, TicketUnknown
from tillwatch_collector.flows import sitting, tickets
from tillwatch_collector.flows.judge import Judge, JudgeSettings
from tillwatch_collector.policies import load
from tillwatch_collector.store import tables
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.topics import Message
from tillwatch_protocol.vocabulary import Health

SILENT = ("till-1", "agent:self", "silent")
PAPER = ("till-1", PRINTER, "paper_end")
"""Raised after 30 s, cleared after 30 s."""


@pytest.fixture
def shop(store: Store) -> Shop:
    return Shop(store)


def beats(first: int, last: int, *components: Reading, **more: Any) -> list[Heartbeat]:
    return [heartbeat(number, *components, **more) for number in range(first, last + 1)]


# --- presence and silence


def test_a_terminal_that_is_heard_in_time_is_online_and_has_no_ticket(shop: Shop) -> None:
    shop.beat(beats(1, 5, printer()))
    assert shop.states == [("till-1", "online", "heard")]
    assert shop.moves == []
    assert shop.rows("SELECT presence, reason FROM standing") == [("online", "heard")]


def test_a_terminal_that_falls_silent_gets_one_ticket_after_three_missed(shop: Shop) -> None:
    shop.beat(beats(1, 2))
    shop.until(3600)
    assert [state for _, state, _ in shop.states] == ["online", "late", "silent"]
    assert shop.moves == [("opened", SILENT)]
    [(opened_at,)] = shop.rows("SELECT opened_at FROM ticket")
    # heard at 60, silent at 60 + 3 intervals + 3 s grace, proved by the canary after that, judged by its tick
    assert opened_at == "2026-11-21 12:04:05.000000"


def test_silence_is_resolved_by_heartbeats_over_the_hold_and_the_proof_is_kept(shop: Shop) -> None:
    shop.beat(beats(1, 1))
    shop.until(300)
    shop.beat(beats(5, 7, connection_no=2))
    assert shop.moves == [("opened", SILENT), ("resolved", SILENT)]
    [(actor, action, before, after, evidence)] = shop.rows(
        "SELECT actor, action, from_status, to_status, evidence FROM journal WHERE action = 'prove'"
    )
    assert (actor, action, before, after) == ("machine:judge", "prove", "reported", "resolved")
    assert '"terminal_id": "till-1"' in evidence
    assert '"healthy_since": "2026-11-21T12:05:00+00:00"' in evidence
    assert '"heartbeats": ["1.5", "1.6"]' in evidence
    assert shop.rows("SELECT cleared_at IS NULL FROM fault") == [(0,)]


def test_a_sign_of_life_that_is_no_heartbeat_proves_no_health(shop: Shop) -> None:
    shop.beat(beats(1, 1))
    shop.until(300)
    for _ in range(10):
        shop.take(raw(b"{", shop.now_s))
        shop.until(shop.now_s + 30)
    assert shop.state == "online"
    assert shop.moves == [("opened", SILENT)]


def test_who_comes_back_is_seen_at_the_next_tick(shop: Shop) -> None:
    shop.beat(beats(1, 1))
    shop.until(300)
    shop.take(events(1))
    shop.tick()
    assert shop.state == "online"


def test_whom_a_late_tick_missed_while_their_heartbeat_was_being_written_is_seen_within_an_interval(shop: Shop) -> None:
    shop.beat(beats(1, 1))
    shop.listen_until(400)
    shop.tick()
    assert shop.states[-2:] == [("till-1", "online", "heard"), ("till-1", "silent", "missed_three")]
    shop.take(heartbeat(2))
    with shop.store.transaction() as repository:
        repository.looks.take_marked(100)  # as if it was written beside that tick, before anybody was missed
    shop.until(shop.now_s + 60)
    assert shop.state == "online"


def test_a_will_of_the_current_connection_shortens_the_wait(shop: Shop) -> None:
    shop.beat(beats(1, 2))
    shop.take(offline())
    shop.until(shop.now_s + 20)
    assert shop.states[-1] == ("till-1", "silent", "connection_lost")
    assert shop.moves == [("opened", SILENT)]


def test_a_will_soon_after_a_heartbeat_is_not_forgotten_over_it(shop: Shop) -> None:
    shop.beat(beats(1, 2))
    shop.beat([heartbeat(3)], every_s=5)
    shop.take(offline())
    shop.until(shop.now_s + 20)
    assert shop.states[-1] == ("till-1", "silent", "connection_lost")


@pytest.mark.parametrize(
    "saviour",
    [
        pytest.param(heartbeat(2, connection_no=2), id="a heartbeat of a newer connection"),
        pytest.param(presence(connection_no=2), id="a newer connection"),
        pytest.param(heartbeat(2), id="a heartbeat of this connection"),
    ],
)
def test_a_will_is_void_when_its_terminal_speaks_within_the_hold(shop: Shop, saviour: Message) -> None:
    shop.beat(beats(1, 1), every_s=5)
    shop.take(offline())
    shop.until(10)
    shop.take(saviour)
    shop.until(40)
    assert shop.moves == []
    assert shop.state == "online"


def test_a_will_of_an_old_connection_says_nothing(shop: Shop) -> None:
    shop.beat(beats(1, 1, connection_no=2), every_s=5)
    shop.take(offline(connection_no=1))
    shop.until(40)
    assert shop.states == [("till-1", "online", "heard")]


def test_who_said_that_it_stops_is_off_and_not_missed(shop: Shop) -> None:
    shop.beat(beats(1, 1))
    shop.take(offline("stopping"))
    shop.until(3600)
    assert shop.states[-1] == ("till-1", "off", "stopping")
    shop.beat(beats(1, 1, boot_epoch=2), every_s=5)
    assert shop.state == "online"
    assert shop.moves == []


def test_who_stopped_while_nobody_listened_is_off_by_its_retained_word(shop: Shop) -> None:
    shop.beat(beats(1, 1))
    shop.judge.listening = shop.judge.listening.broker_lost(at(shop.now_s))
    shop.until(600, listening=False)
    shop.judge.listening = shop.judge.listening.broker_connected(at(shop.now_s))
    shop.take(delivered(offline("stopping"), shop.now_s, retained=True))
    shop.until(3600)
    assert shop.states[-1] == ("till-1", "off", "stopping")
    assert shop.moves == []


@pytest.mark.parametrize("message", [offline(), presence(connection_no=2)])
def test_other_retained_words_decide_nothing(shop: Shop, message: Message) -> None:
    shop.beat(beats(1, 1), every_s=5)
    shop.take(delivered(message, shop.now_s, retained=True))
    shop.until(60)
    assert shop.states == [("till-1", "online", "heard")]
    shop.until(3600)
    assert shop.moves == [("opened", SILENT)]


def test_silence_that_stops_for_good_leaves_its_ticket_open(shop: Shop) -> None:
    shop.beat(beats(1, 1))
    shop.until(300)
    shop.take(offline("stopping"))
    shop.until(3600)
    assert shop.rows("SELECT status FROM ticket") == [("reported",)]


# --- listening


def test_time_that_was_not_listened_to_counts_toward_nobodys_silence(shop: Shop) -> None:
    shop.beat(beats(1, 1))
    shop.until(3600, listening=False)
    assert shop.moves == []
    shop.until(3660)
    assert shop.moves == []
    shop.until(3900)
    assert shop.moves == [("opened", SILENT)]


def test_after_a_new_connection_all_timers_start_anew(shop: Shop) -> None:
    shop.beat(beats(1, 1))
    shop.until(150)
    shop.judge.listening = shop.judge.listening.broker_connected(at(150))
    shop.until(320)
    assert shop.moves == []
    shop.until(350)
    assert shop.moves == [("opened", SILENT)]


def test_a_judge_that_is_not_connected_judges_nobody_and_loses_no_mark(shop: Shop) -> None:
    shop.judge.listening = shop.judge.listening.broker_lost(at(0))
    shop.take(heartbeat(1, printer("paper_end")))
    shop.until(60, listening=False)
    assert (shop.states, shop.moves) == ([], [])
    shop.judge.listening = shop.judge.listening.broker_connected(at(60))
    shop.beat(beats(2, 3, printer("paper_end")))
    assert shop.moves == [("opened", PAPER)]


def test_after_a_restart_judge_knows_what_was_raised_and_all_timers_start_anew(shop: Shop) -> None:
    shop.beat(beats(1, 2, printer("paper_end")))
    shop.judge = shop.load()
    shop.judge.listening = shop.judge.listening.broker_connected(at(shop.now_s))
    shop.beat(beats(3, 4, printer("paper_end")))
    assert shop.moves == [("opened", PAPER)]
    shop.beat(beats(5, 7, printer()))
    assert shop.moves == [("opened", PAPER), ("resolved", PAPER)]


def test_a_restart_in_the_middle_of_a_hold_or_of_a_proof_begins_it_anew(shop: Shop) -> None:
    shop.take(heartbeat(1, printer("paper_end")))
    shop.until(25)
    shop.judge = shop.load()
    shop.judge.listening = shop.judge.listening.broker_connected(at(25))
    shop.until(50)
    assert shop.moves == []
    shop.beat(beats(2, 2, printer("paper_end")))
    assert shop.moves == [("opened", PAPER)]
    shop.take(heartbeat(3, printer()))
    shop.until(shop.now_s + 10)
    assert shop.rows("SELECT phase FROM condition") == [("clearing",)]
    shop.judge = shop.load()
    shop.judge.listening = shop.judge.listening.broker_connected(at(shop.now_s))
    shop.take(heartbeat(4, printer()))
    shop.until(shop.now_s + 25)
    assert shop.moves == [("opened", PAPER)]
    shop.beat(beats(5, 6, printer()))
    assert shop.moves[-1] == ("resolved", PAPER)


def test_a_restarted_judge_does_not_raise_on_what_it_has_not_heard_itself(shop: Shop) -> None:
    """The roll was changed while nobody listened; the heartbeat before that still says paper_end."""
    shop.take(heartbeat(1, printer("paper_end")))
    shop.until(10)
    shop.judge = shop.load()
    shop.judge.listening = shop.judge.listening.broker_connected(at(10))
    shop.until(70)
    shop.beat(beats(3, 5, printer()))
    assert shop.moves == []


# --- conditions


def test_a_condition_shorter_than_its_hold_makes_nothing(shop: Shop) -> None:
    shop.take(heartbeat(1, printer("paper_end")))
    shop.until(20)
    shop.beat(beats(2, 4, printer()))
    assert shop.moves == []
    assert shop.rows("SELECT count(*) FROM fault") == [(0,)]
    assert shop.rows("SELECT count(*) FROM condition") == [(0,)]


def test_a_condition_is_raised_after_its_hold_and_resolved_on_proof_with_evidence(shop: Shop) -> None:
    shop.beat(beats(1, 3, printer("paper_end")))
    shop.beat(beats(4, 5, printer(facts={"model": "TM-T88"})))
    assert shop.moves == [("opened", PAPER), ("resolved", PAPER)]
    journal = shop.rows("SELECT action, reason, evidence FROM journal ORDER BY journal_id")
    assert journal[0][:2] == ("open", f"paper_end on {PRINTER} for 30 s")
    assert '"happened_at": "2026-11-21T12:00:00+00:00"' in journal[0][2]
    assert '"facts": {"model": "TM-T88"}' in journal[1][2]
    assert shop.rows("SELECT severity, raised_at, cleared_at FROM fault") == [
        ("major", "2026-11-21 12:00:35.000000", "2026-11-21 12:04:05.000000")
    ]


def test_a_component_that_does_not_answer_resolves_nothing(shop: Shop) -> None:
    shop.beat(beats(1, 2, printer("paper_end")))
    shop.beat(beats(3, 6, printer(health=Health.UNKNOWN)))
    shop.beat(beats(7, 9))
    assert shop.moves == [("opened", PAPER)]


def test_a_terminal_that_is_not_heard_resolves_and_raises_nothing(shop: Shop) -> None:
    shop.beat(beats(1, 2, printer("paper_end")))
    shop.take(heartbeat(3, printer("cutter_error")))
    shop.until(1000)
    assert shop.moves == [("opened", PAPER), ("opened", ("till-1", PRINTER, "cutter_error")), ("opened", SILENT)]
    assert shop.rows("SELECT code, phase FROM condition ORDER BY 1") == [
        ("cutter_error", "raised"),
        ("paper_end", "raised"),
        ("silent", "raised"),
    ]


def test_a_recurrence_while_resolved_reopens_the_ticket(shop: Shop) -> None:
    shop.beat(beats(1, 2, printer("paper_end")))
    shop.beat(beats(3, 4, printer()))
    shop.beat(beats(5, 6, printer("paper_end")))
    assert [move for move, _ in shop.moves] == ["opened", "resolved", "reopened"]
    assert shop.rows("SELECT status, recurrences, resolved_at FROM ticket") == [("reported", 1, None)]
    assert shop.rows("SELECT count(*) FROM fault WHERE ticket_id = 1") == [(2,)]


def test_a_resolved_ticket_is_closed_after_its_time_also_across_a_restart(shop: Shop) -> None:
    shop.beat(beats(1, 2, printer("paper_end")))
    shop.beat(beats(3, 4, printer()))
    assert shop.moves[-1] == ("resolved", PAPER)
    shop.judge = shop.load()
    shop.now_s += timedelta(days=1).total_seconds() - 60
    shop.tick()
    assert shop.moves[-1] == ("resolved", PAPER)
    shop.now_s += 60
    shop.tick()
    assert shop.moves[-1] == ("closed", PAPER)


def test_a_ticket_reopened_in_time_is_not_closed(store: Store) -> None:
    short = load().model_copy(update={"default": load().default})
    rule = short.rule("paper_end").model_copy(update={"close_after_s": 60})
    shop = Shop(store, policy=short.model_copy(update={"code": {**short.code, "paper_end": rule}}))
    shop.beat(beats(1, 2, printer("paper_end")))
    shop.beat(beats(3, 4, printer()), every_s=35)
    shop.beat(beats(5, 9, printer("paper_end")), every_s=30)
    assert [move for move, _ in shop.moves] == ["opened", "resolved", "reopened"]


def test_a_code_without_tickets_makes_a_fault_only(shop: Shop) -> None:
    shop.beat(beats(1, 3, printer("paper_near_end")))
    assert shop.moves == []
    assert shop.rows("SELECT code, ticket_id FROM fault") == [("paper_near_end", None)]


def test_an_unknown_code_is_judged_by_the_default(shop: Shop) -> None:
    shop.beat(beats(1, 3, printer("smells_of_fish")))
    assert shop.moves == [("opened", ("till-1", PRINTER, "smells_of_fish"))]


def test_conditions_followed_of_one_terminal_are_bounded(shop: Shop) -> None:
    def inventive(number: int) -> list[Reading]:
        codes = tuple(Condition(code=f"c{number}_{n}", since=at(0)) for n in range(12))
        return [Reading(component=f"scanner:{n}", health=Health.FAULT, conditions=codes) for n in range(12)]

    shop.take(heartbeat(1, *inventive(1)))
    shop.tick()
    shop.take(heartbeat(2, *inventive(2)))
    shop.tick()
    assert shop.rows("SELECT count(*) FROM condition") == [(sitting.FOLLOWED_MAX,)]


# --- people, stores, life cycles


def test_a_person_closes_a_ticket_and_only_a_new_fault_opens_another(shop: Shop) -> None:
    shop.beat(beats(1, 2, printer("paper_end")))
    with shop.store.transaction() as repository:
        change = tickets.act(
            repository, 1, Action.CLOSE, actor="person:ann", reason=" roll is on its way ", now=at(120)
        )
    assert change.move == "closed"
    shop.beat(beats(3, 4, printer("paper_end")))
    shop.beat(beats(5, 6, printer()))
    assert shop.moves == [("opened", PAPER)]
    shop.beat(beats(7, 8, printer("paper_end")))
    assert shop.moves == [("opened", PAPER), ("opened", PAPER)]
    assert shop.rows("SELECT actor, reason, to_status FROM journal WHERE action = 'close'") == [
        ("person:ann", "roll is on its way", "closed")
    ]


def test_a_persons_action_that_is_not_possible_changes_nothing(shop: Shop) -> None:
    shop.beat(beats(1, 2, printer("paper_end")))
    impossible = [
        (1, Action.PROVE, "it works", TicketActionIllegal, "a person may cancel, close, diagnose, .*; got prove"),
        (1, Action.CLOSE, "  ", ReasonMissing, "expected the reason to close the ticket"),
        (99, Action.CLOSE, "done", TicketUnknown, "expected the number of a ticket, got 99"),
    ]
    for ticket_id, action, reason, error, said in impossible:
        with pytest.raises(error, match=said), shop.store.transaction() as repository:
            tickets.act(repository, ticket_id, action, actor="person:ann", reason=reason, now=at(120))
    assert shop.rows("SELECT status FROM ticket") == [("reported",)]
    assert shop.rows("SELECT count(*) FROM journal") == [(1,)]


def place(shop: Shop, *, watch: str = "opening_hours", hours: dict[str, Any] | None = None, **terminal: Any) -> None:
    """Put till-1 into a store that opens from 12:10 to 13:00 UTC on Saturdays, which START is."""
    with shop.store.transaction() as repository:
        connection = repository.connection
        merchant = {"merchant_id": "m", "name": "M", "created_at": at(0)}
        connection.execute(table_of(tables.MerchantRow).insert().values(merchant))
        opening = {"sat": [["12:10", "13:00"]]} if hours is None else hours
        row = {"store_id": "s", "merchant_id": "m", "name": "S", "time_zone": "UTC", "created_at": at(0)}
        connection.execute(table_of(tables.StoreRow).insert().values(**row, watch=watch, opening_hours=opening))
        connection.execute(table_of(tables.TerminalRow).update().values(store_id="s", **terminal))
        repository.facts.mark(["till-1"])


def test_silence_outside_the_opening_hours_is_off_and_judgement_begins_at_opening_plus_the_grace(shop: Shop) -> None:
    shop.beat(beats(1, 1), every_s=5)
    place(shop)
    shop.until(1490)
    assert shop.states[1:] == [("till-1", "off", "closed"), ("till-1", "off", "opening")]
    assert shop.moves == []
    shop.until(1510)
    assert shop.states[-1] == ("till-1", "silent", "missed_three")
    assert shop.moves == [("opened", SILENT)]


def test_who_is_on_outside_the_opening_hours_is_online(shop: Shop) -> None:
    shop.take(heartbeat(1))
    place(shop)
    shop.beat(beats(2, 4))
    assert shop.states == [("till-1", "online", "heard")]


@pytest.mark.parametrize(
    ("watch", "hours"),
    [
        # a store that is watched always has hours for other reasons
        ("always", None),
        # hours that make no sense must not hide a dead till
        ("opening_hours", {"funday": []}),
    ],
)
def test_a_store_that_is_watched_always(shop: Shop, watch: str, hours: dict[str, Any] | None) -> None:
    shop.take(heartbeat(1))
    place(shop, watch=watch, hours=hours)
    shop.until(300)
    assert shop.moves == [("opened", SILENT)]


@pytest.mark.parametrize("life_cycle", ["in_repair", "spare", "swapped", "retired"])
def test_a_terminal_that_is_not_live_is_not_missed_and_its_bench_is_not_the_shop(shop: Shop, life_cycle: str) -> None:
    shop.take(heartbeat(1))
    place(shop, watch="always", life_cycle=life_cycle)
    shop.beat(beats(2, 4, printer("paper_end")))
    shop.until(3600)
    assert shop.states[-1] == ("till-1", "off", "not_live")
    assert shop.moves == []


def test_what_nobody_marks_is_looked_at_now_and_then(shop: Shop) -> None:
    shop.take(heartbeat(1))
    place(shop, watch="always", life_cycle="spare")
    shop.until(60)
    with shop.store.transaction() as repository:
        repository.connection.execute(table_of(tables.TerminalRow).update().values(life_cycle="live"))
    shop.until(1000)
    assert shop.state == "silent"


# --- two under one name, a restored collector


def test_two_that_speak_in_turn_are_one_ticket_that_ends_with_proof(shop: Shop) -> None:
    shared = ("till-1", "agent:self", "identity_shared")
    for number in range(1, 6):
        shop.take(heartbeat(number))
        shop.until(shop.now_s + 10)
        shop.take(heartbeat(number, stream_id="b"))
        shop.until(shop.now_s + 50)
    assert shop.moves == [("opened", shared)]
    shop.beat(beats(6, 30, stream_id="b"))
    assert shop.moves == [("opened", shared), ("resolved", shared)]


def test_a_restored_collector_has_one_ticket_that_a_person_ends(shop: Shop) -> None:
    restored = ("collector", "collector:store", "restored_from_backup")
    shop.judge.restored(77, at(0))
    shop.tick()
    shop.tick()
    shop.judge.restored(99, at(0))
    shop.tick()
    assert shop.moves == [("opened", restored), ("recurred", restored)]
    assert shop.rows("SELECT subject_kind, severity FROM ticket") == [("collector", "critical")]
    assert '"epoch_seen": 77' in shop.rows("SELECT evidence FROM journal")[0][0]


def test_a_policy_may_want_no_ticket_for_a_restored_collector(store: Store) -> None:
    policy = load()
    rule = policy.rule("restored_from_backup").model_copy(update={"ticket": False})
    shop = Shop(store, policy=policy.model_copy(update={"code": {"restored_from_backup": rule}}))
    shop.judge.restored(77, at(0))
    shop.tick()
    assert shop.moves == []


# --- the tick itself


def test_only_so_many_are_looked_at_in_one_tick_and_the_rest_in_the_next(store: Store) -> None:
    shop = Shop(store, settings=JudgeSettings(canary_s=5, looks_max=3))
    shop.take(*[heartbeat(1, terminal_id=f"till-{n}") for n in range(5)])
    assert len(shop.tick().presences) == 3
    assert len(shop.tick().presences) == 2
    assert len(shop.tick().presences) == 0


def test_another_process_cannot_judge_while_one_does(shop: Shop) -> None:
    with pytest.raises(LeaseHeldElsewhere, match=r"for collector\.2"), shop.store.transaction() as repository:
        Judge.load(repository, shop.policy, JudgeSettings(holder="collector.2"), at(14))


def test_a_judge_whose_lease_was_taken_commits_nothing(shop: Shop) -> None:
    shop.take(heartbeat(1))
    with shop.store.transaction() as repository:
        Judge.load(repository, shop.policy, JudgeSettings(holder="collector.2"), at(15))
    with pytest.raises(LeaseLost, match="with number 1"):
        shop.tick()
    assert shop.rows("SELECT count(*) FROM standing") == [(0,)]


def tick_and_fail(shop: Shop) -> None:
    with shop.store.transaction() as repository:
        assert shop.judge.tick(repository, at(shop.now_s)).tickets != ()
        raise ZeroDivisionError


def test_a_judge_is_rebuilt_after_a_failed_commit_and_opens_no_second_ticket(shop: Shop) -> None:
    shop.beat(beats(1, 1))
    shop.until(180)
    shop.now_s = 245
    shop.judge.listening = shop.judge.listening.canary_returned(at(190), at(245))
    shop.judge.listening = shop.judge.listening.canary_returned(at(204), at(245))
    listening = shop.judge.listening
    with pytest.raises(ZeroDivisionError):
        tick_and_fail(shop)
    with shop.store.transaction() as repository:
        shop.judge = Judge.load(repository, shop.policy, shop.settings, at(245), listening=listening)
    shop.until(600)
    assert shop.moves == [("opened", SILENT)]


def test_a_late_event_opens_no_ticket(shop: Shop) -> None:
    old = event(1).model_copy(update={"kind": "condition_raised", "component": PRINTER, "code": "paper_end"})
    shop.take(events(old))
    shop.beat(beats(1, 3, printer()))
    assert shop.moves == []
