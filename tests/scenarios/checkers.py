"""The rules that hold, one class each: checked at every step they can break at, and once more at the end.

The measure is never the code under test: it is the story (what was injected), the tills (what was so), the reference
(what the committed messages say), and plain SQL over the store.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import text
from tests.scenarios.broker import Packet
from tests.scenarios.clock import chance
from tests.scenarios.dump import difference, facts_of
from tests.scenarios.letters import read
from tests.scenarios.model import CLOCK, Look, may_be_wrong, must_be_wrong
from tests.scenarios.reference import Belief, Reference
from tests.scenarios.terminal import Life, Terminal
from tests.scenarios.watcher import RuleBroken, Watcher

from tillwatch_collector.flows.ingest import Delivery, ingest
from tillwatch_collector.flows.judge import JudgeEffects
from tillwatch_collector.flows.tickets import Move, TicketChange
from tillwatch_collector.store.session import Store
from tillwatch_protocol.event import Ack, EventBatch
from tillwatch_protocol.heartbeat import Heartbeat
from tillwatch_protocol.vocabulary import AGENT_SELF, MACHINE_CLOCK, ConditionCode, Health, Kind

if TYPE_CHECKING:
    from tests.scenarios.world import World

OPEN = "status NOT IN ('closed', 'cancelled', 'merged')"
"""DESIGN.md, "From heartbeat to ticket", 7."""
UNPROVED = "status NOT IN ('closed', 'cancelled', 'merged', 'resolved')"

SILENT = (AGENT_SELF, ConditionCode.SILENT)
SILENT_INTERVALS = 3
SLACK_S = 60.0
"""From a look to the tick that judged it: a poll, a far node, gathering, a tick that was refused its commit."""


class Checker(Watcher):
    """One rule."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def require(self, holds: object, said: str) -> None:
        """Raise `RuleBroken` unless it holds."""
        if not holds:
            raise RuleBroken(f"{type(self).__name__} at {self.world.clock.now_s:.3f} s: {said}")

    def rows(self, query: str, **values: object) -> list[tuple[object, ...]]:
        """Ask the store in plain SQL."""
        with self.world.store.reading() as connection:
            return [tuple(row) for row in connection.execute(text(query), values)]


class Referee(Checker):
    """No rule of its own: keeps the reference up to date before the checkers that follow look at it."""

    def __init__(self, world: "World", reference: Reference) -> None:
        super().__init__(world)
        self._reference = reference

    def ingested(self, batch: Sequence[Delivery]) -> None:
        """Take in what was committed."""
        self._reference.take(batch)

    def judged(self, effects: JudgeEffects) -> None:  # noqa: ARG002 - one shape for all watchers
        """Look as judge did."""
        self._reference.tick()


class OneOpenTicket(Checker):
    """Rule 3: at most one open ticket per identity."""

    def judged(self, effects: JudgeEffects) -> None:
        """Look after every change."""
        if effects.tickets:
            self.finish()

    def finish(self) -> None:
        """Count."""
        doubled = self.rows(
            "SELECT subject_kind, subject_id, component, code, count(*) FROM ticket"
            f" WHERE {OPEN} GROUP BY 1, 2, 3, 4 HAVING count(*) > 1"
        )
        self.require(not doubled, f"more than one open ticket: {doubled}")


class NoSilentLoss(Checker):
    """Rule 4: stored + outbox + declared dropped + declared lost = 1..last; nothing leaves an outbox unacknowledged."""

    losses_expected = False
    """Whether the story takes events from the store that were acknowledged."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._acked: dict[tuple[str, str], int] = defaultdict(int)
        self._held: dict[str, tuple[Life, str, set[int]]] = {}
        self._sent: dict[tuple[str, str, int], tuple[object, ...]] = {}

    def sending(self, terminal: Terminal, packet: Packet) -> None:
        """Remember what an event said: it never says anything else."""
        batch = read(packet.topic, packet.payload)
        if not isinstance(batch, EventBatch):
            return
        for event in batch.events:
            said = (event.boot_epoch, event.kind, event.component, event.code)
            key = (terminal.terminal_id, batch.stream_id, event.event_seq)
            self.require(self._sent.setdefault(key, said) == said, f"event {key} says another thing than before")

    def handled(self, terminal: Terminal) -> None:
        """See that only what was acknowledged or declared is gone."""
        life = terminal.life
        assert life is not None
        outbox, name = life.outbox, terminal.terminal_id
        numbers = set(outbox.backlog.numbers)
        known_life, stream_id, before = self._held.get(name, (life, outbox.stream_id, numbers))
        self._held[name] = (life, outbox.stream_id, numbers)
        if known_life is not life or stream_id != outbox.stream_id:
            return
        acked = self._acked[name, stream_id]
        declared = outbox.backlog.dropped
        gone = [n for n in before - numbers if n > acked and not any(r.first <= n <= r.last for r in declared)]
        self.require(not gone, f"{name} let events {gone} go; acknowledged up to {acked}, dropped {declared}")

    def acknowledging(self, packet: Packet) -> None:
        """See that what is acknowledged is committed."""
        ack = read(packet.topic, packet.payload)
        assert isinstance(ack, Ack)
        stored, gone = self._accounted(ack.terminal_id, ack.stream_id)
        missing = set(range(1, ack.event_seq + 1)) - stored - gone
        self.require(not missing, f"{ack.terminal_id}: {ack.event_seq} acknowledged, {sorted(missing)} nowhere")
        key = (ack.terminal_id, ack.stream_id)
        self._acked[key] = max(self._acked[key], ack.event_seq)

    def finish(self) -> None:
        """Account for every number of every stream, and see that what could be delivered was."""
        for name, terminal in self.world.terminals.items():
            for stream_id in terminal.streams:
                self._settle(terminal, stream_id)
            alive = terminal.life
            left = alive.outbox.backlog.numbers if alive else ()
            self.require(not left, f"{name} still holds {left} after the quiet end")
        lost = [] if self.losses_expected else self.rows("SELECT * FROM event_gap WHERE kind = 'lost'")
        self.require(not lost, f"recorded as lost: {lost}")
        self._compare_contents()

    def _settle(self, terminal: Terminal, stream_id: str) -> None:
        stored, gone = self._accounted(terminal.terminal_id, stream_id)
        numbers, dropped, last = terminal.outbox_account() if stream_id == terminal.streams[-1] else ((), (), 0)
        known = stored | gone | set(numbers) | {n for r in dropped for n in range(r.first, r.last + 1)}
        last = max(last, self._acked[terminal.terminal_id, stream_id])
        missing = set(range(1, last + 1)) - known
        self.require(not missing, f"{terminal.terminal_id}/{stream_id[:8]}: {sorted(missing)} of 1..{last} nowhere")
        beyond = {number for number in known if number > last}
        current = stream_id == terminal.streams[-1]
        self.require(not (current and beyond), f"{terminal.terminal_id}: {sorted(beyond)} were never given")

    def _accounted(self, terminal_id: str, stream_id: str) -> tuple[set[int], set[int]]:
        where = "WHERE terminal_id = :terminal_id AND stream_id = :stream_id"
        key = {"terminal_id": terminal_id, "stream_id": stream_id}
        stored = {int(str(row[0])) for row in self.rows(f"SELECT event_seq FROM event {where}", **key)}
        gaps = self.rows(f"SELECT first_seq, last_seq FROM event_gap {where}", **key)
        return stored, {n for first, last in gaps for n in range(int(str(first)), int(str(last)) + 1)}

    def _compare_contents(self) -> None:
        rows = self.rows("SELECT terminal_id, stream_id, event_seq, boot_epoch, kind, component, code FROM event")
        for row in rows:
            sent = self._sent.get((str(row[0]), str(row[1]), int(str(row[2]))))
            self.require(sent == row[3:], f"event {row[:3]} is stored as {row[3:]} and was sent as {sent}")


class OrderFree(Checker):
    """Rule 5: any duplication and any reordering of the messages ends in the same stored state."""

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self._heard: list[Delivery] = []

    def ingested(self, batch: Sequence[Delivery]) -> None:
        """Record the set."""
        self._heard.extend(batch)

    def finish(self) -> None:
        """Let a fresh store hear it in another order, some of it twice."""
        rng = chance(self.world.seed, "order")
        again = self._heard + rng.sample(self._heard, len(self._heard) // 5)
        rng.shuffle(again)
        fresh = Store.in_memory()
        while again:
            batch = [again.pop() for _ in range(min(len(again), rng.randint(1, 400)))]
            with fresh.transaction() as repository:
                ingest(repository, batch, self.world.clock.now)
        differs = difference(facts_of(self.world.store), facts_of(fresh))
        fresh.close()
        self.require(differs is None, f"another order ends in another state: {differs}")


class SilentIsUnknown(Checker):
    """Rule 9: a silent device is never ok, a silent terminal never online, and nothing unknown resolves a ticket."""

    def __init__(self, world: "World", reference: Reference) -> None:
        super().__init__(world)
        self._reference = reference
        self._looks: dict[str, tuple[Life, dict[str, Look]]] = {}

    def looked(self, terminal: Terminal, looks: Sequence[Look]) -> None:
        """Remember what the agent is told."""
        assert terminal.life is not None
        self._looks[terminal.terminal_id] = (terminal.life, {look.part.component: look for look in looks})

    def sending(self, terminal: Terminal, packet: Packet) -> None:
        """See that a heartbeat says what the looks showed."""
        message = read(packet.topic, packet.payload)
        if not isinstance(message, Heartbeat):
            return
        life, looks = self._looks.get(terminal.terminal_id, (None, {}))
        self._require_clock(terminal, message)
        parts = [reading for reading in message.components if _is_part(reading.component)]
        if life is not terminal.life:
            self.require(not parts, f"{terminal.terminal_id} tells of parts nobody looked at")
            return
        for reading in parts:
            look = looks[reading.component]
            shown = (look.observation().health, look.reason, look.true)
            said = (reading.health, reading.reason, frozenset(condition.code for condition in reading.conditions))
            self.require(said == shown, f"{terminal.terminal_id} {reading.component}: looked {shown}, said {said}")
            self.require(not (look.reason and reading.health is Health.OK), f"{reading.component} is silent and ok")

    def judged(self, effects: JudgeEffects) -> None:
        """See that every resolution has its proof, and every presence its sign of life."""
        for change in effects.tickets:
            if change.move is Move.RESOLVED:
                self._require_proof(change)
        for presence in effects.presences:
            if presence.state == "online":
                self._require_heard(presence.terminal_id, "online")

    def finish(self) -> None:
        """See that the dead are not thought alive."""
        for terminal_id in self.world.terminals:
            if self.world.story.dead_s(terminal_id) < math.inf:
                rows = self.rows("SELECT presence FROM standing WHERE terminal_id = :name", name=terminal_id)
                self.require(not rows or rows[0][0] in {"silent", "off"}, f"{terminal_id} is dead and thought {rows}")

    def _require_clock(self, terminal: Terminal, heartbeat: Heartbeat) -> None:
        """See that a clock is called wrong when it is, by an agent that was told the time."""
        said = [reading.health for reading in heartbeat.components if reading.component == MACHINE_CLOCK]
        told = f"{terminal.terminal_id}'s clock is {terminal.wall_off_s:.0f} s off, said {said}"
        self.require(Health.FAULT not in said or may_be_wrong(terminal.wall_off_s), told)
        self.require(Health.OK not in said or not must_be_wrong(terminal.wall_off_s), told)

    def _require_proof(self, change: TicketChange) -> None:
        name, now_s = (change.component, change.code), self.world.clock.now_s
        self._require_heard(change.subject_id, f"{name} resolved")
        if change.component == AGENT_SELF:
            return
        belief = self._reference.of[change.subject_id]
        clear_s = self.world.policy.rule(change.code).clear_s
        since_s = belief.cleared.get(name, math.inf)
        told = f"{change.subject_id} {name} resolved"
        self.require(since_s < math.inf, f"{told}, and the newest level does not say that it is over")
        self.require(name not in belief.unproved, f"{told}, while nobody can judge it")
        self.require(now_s - since_s >= clear_s - SLACK_S, f"{told} after {now_s - since_s:.1f} s of {clear_s} s")

    def _require_heard(self, terminal_id: str, what: str) -> None:
        now_s, interval_s = self.world.clock.now_s, self.world.terminals[terminal_id].interval_s
        lately_s = now_s - SILENT_INTERVALS * interval_s - SLACK_S
        heard = self._reference.of[terminal_id].heard_between(lately_s, now_s + 1)
        self.require(heard or self.world.blind_since(lately_s), f"{terminal_id} {what}, and nothing was heard of it")


class NoTicketWithoutCause(Checker):
    """Every ticket has an injected cause; trouble of the observer opens none."""

    def __init__(self, world: "World", reference: Reference) -> None:
        super().__init__(world)
        self._reference = reference

    def judged(self, effects: JudgeEffects) -> None:
        """Look at each ticket as it is opened, or opened again."""
        for change in effects.tickets:
            if change.move not in {Move.OPENED, Move.RECURRED, Move.REOPENED}:
                continue
            if change.subject_kind == "collector":
                self.require(self.world.restored, f"{change} without a restored store")
            elif change.subject_kind == "release":
                self.require(change.subject_id in self.world.harmful, f"{change} of a release that does no harm")
            elif change.code == ConditionCode.IDENTITY_SHARED:
                self.require(change.subject_id in self.world.shared, f"{change} without a twin")
            elif (change.component, change.code) == SILENT:
                self._require_silence(change)
            else:
                self._require_flaw(change)

    def _require_flaw(self, change: TicketChange) -> None:
        name, now_s = (change.component, change.code), self.world.clock.now_s
        belief, till = self._reference.of[change.subject_id], self.world.terminals[change.subject_id].till
        begun_by_s = now_s - self.world.policy.rule(change.code).raise_s
        flaws = [flaw for flaw in till.wrong(*name) if flaw.start_s <= begun_by_s]
        self.require(flaws, f"{change} without a flaw that began in time")
        self.require(name in belief.held, f"{change}, and the newest level does not say so")

    def _require_silence(self, change: TicketChange) -> None:
        now_s, belief = self.world.clock.now_s, self._reference.of[change.subject_id]
        from_s = now_s - SILENT_INTERVALS * self.world.terminals[change.subject_id].interval_s
        by_will = belief.presence is not None and belief.presence.reason == "connection_lost"
        heard = belief.heard_between(from_s + SLACK_S, now_s)
        self.require(by_will or not heard, f"{change}, and it was heard since {from_s:.0f} s")
        self.require(not belief.said_stopping, f"{change}, and it said that it stops")
        causes = [span for span in self._causes(change.subject_id) if span[0] < now_s and span[1] > from_s - SLACK_S]
        self.require(causes, f"{change} without a cause at the terminal")

    def _causes(self, terminal_id: str) -> Iterable[tuple[float, float]]:
        yield from ((span.start_s, span.end_s) for span in self.world.story.away(terminal_id))
        yield from self.world.terminals[terminal_id].client.breaks


class Complete(Checker):
    """After the quiet end, the open tickets are the lasting faults: none is missing, none is left over."""

    def __init__(self, world: "World", reference: Reference) -> None:
        super().__init__(world)
        self._reference = reference

    def finish(self) -> None:
        """Compare, terminal by terminal."""
        rows = self.rows(f"SELECT subject_id, component, code FROM ticket WHERE {UNPROVED}")
        unproved = {(str(subject), str(component), str(code)) for subject, component, code in rows}
        for terminal_id, terminal in self.world.terminals.items():
            tickets = {(component, code) for subject, component, code in unproved if subject == terminal_id}
            if terminal.life is None:
                self._check_dead(terminal, tickets)
            else:
                self._check_alive(terminal, tickets)

    def _check_alive(self, terminal: Terminal, tickets: set[tuple[str, str]]) -> None:
        belief, now_s = self._reference.of[terminal.terminal_id], self.world.clock.now_s
        looks = terminal.till.look(now_s)
        shown = {(look.part.component, code) for look in looks for code in look.true}
        hidden = {(look.part.component, code) for look in looks for code in look.hidden}
        if must_be_wrong(terminal.wall_off_s):
            shown.add(CLOCK)
        elif may_be_wrong(terminal.wall_off_s):
            hidden.add(CLOCK)
        said = f"{terminal.terminal_id}: tickets {sorted(tickets)}, shown {sorted(shown)}, hidden {sorted(hidden)}"
        self.require(belief.held.keys() - hidden == shown, f"{said}; believed {sorted(belief.held)}")
        wanted = {name for name in shown if self.world.policy.rule(name[1]).ticket}
        self.require(wanted <= tickets, f"{said}; missing {sorted(wanted - tickets)}")
        allowed = (
            wanted
            | hidden
            | ({(AGENT_SELF, "identity_shared")} if terminal.terminal_id in self.world.shared else set())
        )
        self.require(tickets <= allowed, f"{said}; left over {sorted(tickets - allowed)}")

    def _check_dead(self, terminal: Terminal, tickets: set[tuple[str, str]]) -> None:
        belief = self._reference.of[terminal.terminal_id]
        said = f"{terminal.terminal_id} is dead, with {sorted(tickets)}"
        missed = bool(belief.heard_s) and not belief.said_stopping
        self.require((SILENT in tickets) == missed, f"{said}; missed: {missed}")
        believed = _recent(belief)
        self.require(tickets - {SILENT} <= believed, f"{said}; believed {sorted(believed)}")


def _is_part(component: str) -> bool:
    """Whether a till's looks tell of it: the clock is judged apart, and what runs by those who look at rollouts."""
    return component != MACHINE_CLOCK and not component.startswith(f"{Kind.APPLICATION}:")


def _recent(belief: Belief) -> set[tuple[str, str]]:
    """What a terminal that fell silent may have open: what is held, and what nobody could prove gone any more."""
    return belief.held.keys() | belief.cleared.keys()


def all_checkers(world: "World") -> list[Watcher]:
    """Every rule, for an ordinary world."""
    reference = Reference(world.clock, world.terminals)
    return [
        Referee(world, reference),
        OneOpenTicket(world),
        NoSilentLoss(world),
        OrderFree(world),
        SilentIsUnknown(world, reference),
        NoTicketWithoutCause(world, reference),
        Complete(world, reference),
    ]
