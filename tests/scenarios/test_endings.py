"""The troubles that have one right end, each told alone, with the checkers of every world watching."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.scenarios import checkers
from tests.scenarios.broker import AfterRestart, Habits, Packet
from tests.scenarios.letters import read
from tests.scenarios.model import PRINTER, SCANNER, Flaw
from tests.scenarios.story import HOUR_S, Act, Story, Turn
from tests.scenarios.terminal import Terminal
from tests.scenarios.watcher import Watcher
from tests.scenarios.world import World

from tillwatch_collector.flows.judge import JudgeEffects
from tillwatch_collector.flows.tickets import Move
from tillwatch_protocol.event import EventBatch
from tillwatch_simulator.link import LinkHabits, Span

STEADY = LinkHabits(breaks_per_hour=0)
SEED = 1

Checkers = Callable[[World], Iterable[Watcher]]


class Moves(Watcher):
    """Remembers every ticket that moved, and when."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.all: list[tuple[float, Move, str, str, str]] = []

    def judged(self, effects: JudgeEffects) -> None:
        now_s = self._world.clock.now_s
        self.all += [(now_s, c.move, c.subject_id, c.component, c.code) for c in effects.tickets]

    def of(self, code: str) -> list[tuple[str, Move]]:
        return [(subject, move) for _, move, subject, _, said in self.all if said == code]


def told(story: Story, watched_by: Checkers = checkers.all_checkers) -> tuple[World, Moves]:
    """Set the scene, with a note of every ticket."""
    world = World.of(SEED, replace(story, link=STEADY), watched_by)
    moves = Moves(world)
    world.watchers.each.append(moves)
    return world, moves


def rows(world: World, query: str) -> list[tuple[object, ...]]:
    return checkers.Checker(world).rows(query)


def test_an_outbox_that_is_lost_begins_a_new_stream_that_is_taken_as_it_is() -> None:
    # The uplink is down when the file is lost, so that events that nobody acknowledged go with it.
    world, moves = told(
        Story(
            terminals=2,
            duration_s=2 * HOUR_S,
            flaws={"t01": [Flaw(component=PRINTER.component, code="paper_end", start_s=900, end_s=3600)]},
            outages={"t01": [Span(start_s=1200, end_s=1400)]},
            turns=[Turn(terminal_id="t01", act=Act.OUTBOX_LOST, away=Span(start_s=1300, end_s=1330))],
        )
    )
    world.run()
    streams = world.terminals["t01"].streams
    assert len(streams) == 2
    assert rows(world, "SELECT stream_id FROM sighting WHERE terminal_id = 't01'") == [(streams[-1],)]
    assert moves.of("paper_end") == [("t01", Move.OPENED), ("t01", Move.RESOLVED)]
    assert moves.of("identity_shared") == []


def test_a_cloned_image_is_one_ticket_until_the_twin_is_gone() -> None:
    def watched_by(world: World) -> list[Watcher]:
        return [checkers.OneOpenTicket(world), checkers.OrderFree(world)]

    world, moves = told(Story(terminals=1, duration_s=3 * HOUR_S), watched_by)
    twin = twin_of(world, "t01")

    def clone() -> None:
        life = world.terminals["t01"].life
        assert life is not None
        twin.disk = life.outbox.image()
        twin.start()

    world.clock.call_at(1200, clone)
    world.clock.call_at(5400, twin.kill)
    world.run()
    assert moves.of("identity_shared") == [("t01", Move.OPENED), ("t01", Move.RESOLVED)]
    assert {code for *_, code in moves.all} <= {"identity_shared", "silent"}


def test_a_restored_collector_goes_above_what_agents_have_seen_and_says_what_it_lacks() -> None:
    def watched_by(world: World) -> list[Watcher]:
        watchers = [w for w in checkers.all_checkers(world) if not isinstance(w, checkers.OrderFree)]
        for watcher in watchers:
            if isinstance(watcher, checkers.NoSilentLoss):
                watcher.losses_expected = True
        return watchers

    blips = [
        Flaw(component=SCANNER.component, code="not_attached", start_s=at_s, end_s=at_s + 60)
        for at_s in (900, 2400, 2700, 5000)
    ]
    world, moves = told(
        Story(
            terminals=3,
            duration_s=3 * HOUR_S,
            flaws={"t01": blips},
            # Once between the backup and its return: a collector that never started anew cannot tell.
            collector_away=[Span(start_s=3000, end_s=3030), Span(start_s=3600, end_s=3660)],
        ),
        watched_by,
    )
    world.restored = True
    kept: list[bytes] = []
    world.clock.call_at(1800, lambda: kept.append(world.backup()))
    world.clock.call_at(3630, lambda: world.restore(kept[0]))
    seen: list[int] = []
    world.clock.call_at(3640, lambda: seen.extend(epochs_seen(world)))
    world.run()
    assert moves.of("restored_from_backup") == [("collector", Move.OPENED)]
    assert world.process.life is not None
    assert world.process.life.epoch > max(seen)
    assert epochs_seen(world) == [world.process.life.epoch] * 3
    # What was acknowledged between the backup and its loss: two raised, two cleared.
    assert rows(world, "SELECT kind, sum(last_seq - first_seq + 1) FROM event_gap") == [("lost", 4)]


def test_an_outbox_that_overflows_declares_what_it_dropped() -> None:
    blips = [
        Flaw(component=SCANNER.component, code="not_attached", start_s=1000 + 60 * n, end_s=1030 + 60 * n)
        for n in range(40)
    ]
    world, moves = told(
        Story(
            terminals=1,
            duration_s=3 * HOUR_S,
            events_max=8,
            flaws={"t01": blips},
            outages={"t01": [Span(start_s=900, end_s=3500)]},
        )
    )
    world.run()
    [(dropped, stored)] = rows(
        world,
        "SELECT (SELECT sum(last_seq - first_seq + 1) FROM event_gap WHERE kind = 'dropped'),"
        " (SELECT count(*) FROM event)",
    )
    account = world.terminals["t01"].outbox_account()
    assert isinstance(dropped, int)
    assert isinstance(stored, int)
    assert dropped > 60
    assert dropped + stored == account[2]
    # An edge that came late is history: the outage alone made a ticket.
    assert {code for *_, code in moves.all} == {"silent"}


def test_a_broker_that_loses_acknowledgements_delays_and_doubles_nothing() -> None:
    blips = [
        Flaw(component=SCANNER.component, code="not_attached", start_s=900 + 300 * n, end_s=920 + 300 * n)
        for n in range(10)
    ]
    world, _ = told(Story(terminals=1, duration_s=3 * HOUR_S, flaws={"t01": blips}, broker=Habits(drop_down_share=0.9)))
    world.clock.call_at(1.5 * HOUR_S, lambda: world.broker.take_habits(Habits()))
    repeats = Repeats()
    world.watchers.each.append(repeats)
    world.run()
    assert repeats.sent > 2 * 21
    assert rows(world, "SELECT count(*), max(event_seq) FROM event") == [(21, 21)]


class Repeats(Watcher):
    """Counts the events that are sent."""

    sent = 0

    def sending(self, terminal: Terminal, packet: Packet) -> None:  # noqa: ARG002 - one shape for all watchers
        batch = read(packet.topic, packet.payload)
        self.sent += len(batch.events) if isinstance(batch, EventBatch) else 0


def test_a_broker_that_restarts_makes_no_ticket() -> None:
    for after_restart in AfterRestart:
        world, moves = told(
            Story(
                terminals=4,
                duration_s=2 * HOUR_S,
                broker_restarts_s=[1000, 1500, 4000],
                broker=Habits(after_restart=after_restart, down_s=(200, 300)),
            )
        )
        world.run()
        assert moves.all == []


def test_a_collector_that_restarts_makes_no_ticket_and_counts_silence_anew() -> None:
    # t02 dies while nobody listens: its silence is counted from when somebody does.
    world, moves = told(
        Story(
            terminals=2,
            duration_s=2 * HOUR_S,
            collector_away=[Span(start_s=1000, end_s=1010), Span(start_s=2000, end_s=3000)],
            turns=[Turn(terminal_id="t02", act=Act.DEAD, away=Span(start_s=2100, end_s=float("inf")))],
        )
    )
    world.run()
    [(at_s, move, subject, _, code)] = moves.all
    assert (move, subject, code) == (Move.OPENED, "t02", "silent")
    assert at_s > 3000 + 3 * 60


def twin_of(world: World, terminal_id: str) -> Terminal:
    """Return another machine under the same name."""
    one = world.terminals[terminal_id]
    world.shared.add(terminal_id)
    return one.twin()


def epochs_seen(world: World) -> list[int]:
    return [t.life.outbox.collector_epoch_seen for t in world.terminals.values() if t.life is not None]
