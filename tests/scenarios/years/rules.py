"""The rules for tickets over years, one class each: every one costs what changed, never what has been.

They are the invariants I8 to I10 and I13 to I15 as far as they concern what judge, people and routes do; I11 and I12
are `tests.scenarios.checkers`'. The measure is the story (`truth`), what came over the wire, what people were told, and
rows as plain SQL reads them. A rule raises `RuleBroken` with what was expected and what came.
"""

import math
import re
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from tests.scenarios.watcher import RuleBroken, Watcher
from tests.scenarios.years.rounds import ROUND_S
from tests.scenarios.years.story import Cause
from tests.scenarios.years.troubles import Call
from tests.scenarios.years.truth import (
    INTERVAL_S,
    PARENT_MIN,
    RETURN_S,
    SETTLED_S,
    SILENT,
    Needed,
    holds,
)

from tillwatch_collector.domain.notification import ENDINGS, Route, Said
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import ACTOR_PATTERN, NO_COMPONENT, REPORTED_CODE
from tillwatch_collector.flows.changes import Move, TicketChange
from tillwatch_collector.flows.ingest import Delivery
from tillwatch_collector.flows.judge import JudgeEffects
from tillwatch_collector.flows.sitting import FLAPS_MAX, FOLLOWED_MAX
from tillwatch_collector.notifiers import Letter
from tillwatch_protocol import topics

if TYPE_CHECKING:
    from tests.scenarios.years.dense import DenseWorld

OPEN = "status NOT IN ('closed', 'cancelled', 'merged')"
UNPROVED = "status NOT IN ('closed', 'cancelled', 'merged', 'resolved')"
RAISING = frozenset({Move.OPENED, Move.REOPENED, Move.RECURRED})
GRAVE = frozenset({str(Severity.CRITICAL), str(Severity.MAJOR)})

TOLD_AN_HOUR_MAX = 8
"""Words to one route about one fault in an hour: three raises and their ends before it flaps, and one more of each
while the hold grows past what comes between two contacts."""
LATE_S = 300.0
"""How long after its cause a ticket may still come: three intervals, grace, rounds, listening that stood still."""
DELIVERED_S = 3600.0
"""A receiver that is away now and then has had a message by then."""
CARDS = re.compile(rb"4111[ -]?1111[ -]?1111[ -]?1111|5555555555554444")


class Rule(Watcher):
    """One rule."""

    def __init__(self, world: "DenseWorld") -> None:
        self.world, self.truth, self.clock = world, world.truth, world.years.clock

    def acted(self, change: TicketChange) -> None:
        """Somebody moved a ticket."""

    def called(self, call: Call, change: TicketChange) -> None:
        """Somebody telephoned."""

    def letter(self, route: Route, letter: Letter) -> None:
        """A route took a message."""

    def require(self, holds: object, said: str) -> None:
        """Raise `RuleBroken` unless it holds."""
        if not holds:
            raise RuleBroken(
                f"{type(self).__name__} at {self.clock.now_s:.0f} s ({self.clock.now:%a %H:%M:%S}): {said}"
            )

    def rows(self, query: str, **values: object) -> list[Any]:
        """Ask the store in plain SQL."""
        with self.world.years.store.reading() as connection:
            return list(connection.execute(text(query), values))

    def moment(self, at_s: float) -> str:
        """Name a moment of the world in a query: SQLite's text of it."""
        return self.clock.at(at_s).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


class OneOpenTicket(Rule):
    """I8: at most one open ticket of an identity."""

    def judged(self, effects: JudgeEffects) -> None:
        """Count those that moved."""
        for change in effects.tickets:
            self.acted(change)

    def acted(self, change: TicketChange) -> None:
        """Count those of this identity."""
        ((count,),) = self.rows(
            f"SELECT count(*) FROM ticket WHERE {OPEN} AND subject_kind = :subject_kind AND subject_id = :subject_id"
            " AND component = :component AND code = :code",
            subject_kind=change.subject_kind,
            subject_id=change.subject_id,
            component=change.component,
            code=change.code,
        )
        self.require(count <= 1, f"expected one open ticket of {change.subject_id} {change.code}, got {count}")


class Sound(Rule):
    """I9: judge opens a ticket only for what the story explains, when somebody is to be told of it."""

    def judged(self, effects: JudgeEffects) -> None:
        """Look at what was opened, or came back."""
        for change in effects.tickets:
            if change.move not in RAISING:
                continue
            if change.subject_kind != "terminal":
                self._require_cause(change)
                continue
            now_s, name = self.clock.now_s, change.subject_id
            told = f"{change.move} {change.code} of {name}"
            muted = any(s.start_s + ROUND_S < now_s < s.end_s for s in self.truth.muted[name])
            self.require(not muted, f"expected nothing in a maintenance, got {told}")
            if (change.component, change.code) == SILENT:
                self._require_silence(name, told)
            else:
                self._require_flaw(change, told)

    def _require_cause(self, change: TicketChange) -> None:
        now_s, causes = self.clock.now_s, (cause for cause, _ in self.truth.common)
        known = any(c.span.start_s <= now_s <= c.span.end_s + SETTLED_S for c in causes)
        self.require(known, f"expected no shared cause, got {change.move} {change.subject_kind} {change.subject_id}")

    def _require_silence(self, name: str, told: str) -> None:
        now_s = self.clock.now_s
        missed = self.truth.is_judged(name, now_s) or self.truth.is_judged(name, now_s - ROUND_S)
        self.require(missed, f"expected nobody to be missed, since the shop is closed or opens, got {told}")
        self.require(not holds(self.truth.repaired[name], now_s - ROUND_S), f"expected it in repair, got {told}")
        self.require(not holds(self.truth.off[name], now_s - ROUND_S), f"expected it switched off, got {told}")
        breaks = self.world.years.terminals[name].client.breaks
        causes = [(s.start_s, s.end_s) for s in self.truth.mute[name]] + breaks
        since_s = now_s - LATE_S
        self.require(any(a <= now_s and b >= since_s for a, b in causes), f"expected no silence, got {told}")

    def _require_flaw(self, change: TicketChange, told: str) -> None:
        name, now_s = (change.component, change.code), self.clock.now_s
        begun_s = now_s - self.world.years.process.policy.rule(change.code).raise_s
        flaws = self.truth.flaws(change.subject_id, name)
        known = any(flaw.start_s <= begun_s and flaw.end_s >= now_s - LATE_S for flaw in flaws)
        self.require(known, f"expected nothing wrong for that long, got {told}")


class Complete(Rule):
    """I9: what lasts has its ticket, from when it must be known until it ends."""

    def __init__(self, world: "DenseWorld") -> None:
        super().__init__(world)
        for needed in self.truth.needed:
            for at_s in (needed.span.start_s, needed.span.end_s - 1):
                self.clock.call_at(at_s, lambda needed=needed: self._look(needed))  # type: ignore[misc]

    def _look(self, needed: Needed) -> None:
        there = self.rows(
            f"SELECT ticket_id FROM ticket WHERE {UNPROVED} AND subject_kind = 'terminal' AND subject_id = :name"
            " AND component = :component AND code = :code AND parent_id IS NULL",
            name=needed.terminal_id,
            component=needed.name[0],
            code=needed.name[1],
        )
        span = needed.span
        since = f"needed from {span.start_s:.0f} to {span.end_s:.0f} s"
        self.require(there, f"expected a ticket of {needed.terminal_id} for {needed.name} ({since}), got none")


class OncePerFault(Rule):
    """I9: a ticket is opened or comes back once for each fault, and not again while that stands."""

    def __init__(self, world: "DenseWorld") -> None:
        super().__init__(world)
        self._raised: Counter[tuple[str, str, str]] = Counter()

    def judged(self, effects: JudgeEffects) -> None:
        """Count what is raised against the faults that there are."""
        for change in effects.tickets:
            if change.move not in RAISING or change.subject_kind != "terminal":
                continue
            key = (change.subject_id, change.component, change.code)
            self._raised[key] += 1
            ((faults,),) = self.rows(
                "SELECT count(*) FROM fault WHERE terminal_id = :a AND component = :b AND code = :c",
                a=key[0],
                b=key[1],
                c=key[2],
            )
            said = f"expected at most {faults} raises for the {faults} faults of {key}, got {self._raised[key]}"
            self.require(self._raised[key] <= faults, said)


class Proved(Rule):
    """I9: nothing is resolved while it lasts, or before it was gone for its hold."""

    def judged(self, effects: JudgeEffects) -> None:
        """Look at what was resolved."""
        for change in effects.tickets:
            if change.move is Move.RESOLVED and change.subject_kind == "terminal":
                self._require_gone(change)

    def _require_gone(self, change: TicketChange) -> None:
        now_s, name = self.clock.now_s, (change.component, change.code)
        clear_s = self.world.years.process.policy.rule(change.code).clear_s
        wrong = self.truth.mute[change.subject_id] if name == SILENT else self.truth.flaws(change.subject_id, name)
        ended_s = max((span.end_s for span in wrong if span.end_s <= now_s), default=-math.inf)
        told = f"{change.code} of {change.subject_id}"
        self.require(
            now_s - ended_s >= clear_s - 1, f"expected {told} to be gone for {clear_s} s, got {now_s - ended_s}"
        )
        if name != SILENT:
            lasting = any(
                s.start_s <= now_s - LATE_S and s.end_s > now_s for s in self.truth.flaws(change.subject_id, name)
            )
            self.require(not lasting, f"expected {told} to last, got it resolved")


class OneParent(Rule):
    """I10: a shared cause makes one parent and no child; who comes back is resolved in it, who does not is promoted."""

    def __init__(self, world: "DenseWorld") -> None:
        super().__init__(world)
        self._parents_s: list[float] = []
        self._back_s: dict[tuple[float, str], float] = {}
        """When who was silenced by a cause that ended then was first heard again."""
        for cause, hit in self.truth.common:
            ends_s = cause.span.end_s + SETTLED_S
            self.clock.call_at(ends_s, lambda cause=cause, hit=hit: self._settled(cause, hit))  # type: ignore[misc]

    def ingested(self, batch: Sequence[Delivery]) -> None:
        """Remember who comes back when."""
        now_s = self.clock.now_s
        ends_s = [c.span.end_s for c, _ in self.truth.common if c.span.end_s < now_s < c.span.end_s + SETTLED_S]
        for delivery in batch if ends_s else ():
            heard_s = (delivery.received_at - self.clock.at(0)).total_seconds()
            for end_s in ends_s:
                if heard_s > end_s and not delivery.retained:
                    self._back_s.setdefault((end_s, topics.parse(delivery.topic).owner), heard_s)

    def judged(self, effects: JudgeEffects) -> None:
        """Look at who is told of."""
        for change in effects.tickets:
            if change.move in {Move.OPENED, Move.REOPENED} and change.subject_kind != "terminal":
                self._parents_s.append(self.clock.now_s)
            elif change.move in RAISING and (change.component, change.code) == SILENT and change.parent_id is None:
                self._require_alone(change.subject_id)

    def _require_alone(self, name: str) -> None:
        now_s = self.clock.now_s
        for cause, hit in self.truth.common:
            span = cause.span
            if name not in hit or not span.start_s < now_s < span.end_s + SETTLED_S:
                continue
            said = (
                f"{name} has a ticket of its own {now_s - span.end_s:.0f} s after the end of {cause.kind} {cause.node}"
            )
            self.require(now_s > span.end_s + INTERVAL_S, f"expected it to be told of in the parent: {said}")
            own_s = now_s - RETURN_S + ROUND_S
            left = [each for each in hit if self._back_s.get((span.end_s, each), math.inf) >= own_s]
            threshold = max(PARENT_MIN, ceil(len(hit) / 2))
            ended = 2 * len(left) <= threshold
            self.require(ended, f"expected time of its own to return: {said}, and before that {len(left)} were silent")

    def _settled(self, cause: Cause, hit: frozenset[str]) -> None:
        """See that there was one, and that it is over."""
        parents = self._parents_of(cause)
        told = f"{cause.kind.value} {cause.node} that silenced {len(hit)}"
        self.require(len(parents) == 1, f"expected one parent of {told}, got {parents}")
        left = self.rows(f"SELECT ticket_id, status FROM ticket WHERE {UNPROVED} AND subject_kind != 'terminal'")
        self.require(not left, f"expected the parent of {told} to be resolved by now, got {left}")

    def _parents_of(self, cause: Cause) -> list[float]:
        return [at_s for at_s in self._parents_s if cause.span.start_s <= at_s <= cause.span.end_s + SETTLED_S]


class Told(Rule):
    """I9, I10: a route hears of a beginning and then of its end, of no child, not too often; and of everything."""

    def __init__(self, world: "DenseWorld") -> None:
        super().__init__(world)
        self._open: dict[tuple[str, int], bool] = {}
        self._lately: defaultdict[tuple[str, str, str], deque[float]] = defaultdict(deque)
        self._seen = 0

    def letter(self, route: Route, letter: Letter) -> None:
        """Look at each word of a message."""
        self.require(letter.message.title and letter.message.body, f"expected words for {route.name}, got none")
        bare = CARDS.search(f"{letter.message.title} {letter.message.body}".encode())
        self.require(not bare, f"expected no card number in a message, got {bare}")
        for item in letter.items:
            self._take(route.name, item.ticket_id, item.word.said)

    def finish(self) -> None:
        """See that nobody waits for a word."""
        before = self.moment(self.clock.now_s - DELIVERED_S)
        late = self.rows(
            "SELECT notification_id, state FROM notification WHERE state != 'sent' AND due_at < :at", at=before
        )
        self.require(not late, f"expected every message to be delivered, got {late}")

    def _take(self, route: str, ticket_id: int, said: Said) -> None:
        known, ends = self._open.get((route, ticket_id)), said in ENDINGS
        told = f"{route} was told that ticket {ticket_id} is {said}"
        self.require(not (ends and not known), f"expected no end of what is not open there: {told}")
        self.require(not (said is Said.OPENED and known is not None), f"expected to be told once: {told}")
        self._open[route, ticket_id] = not ends
        ((subject_kind, subject_id, component, code, parent),) = self.rows(
            "SELECT child.subject_kind, child.subject_id, child.component, child.code, parent.status FROM ticket child"
            " LEFT JOIN ticket parent ON parent.ticket_id = child.parent_id WHERE child.ticket_id = :ticket_id",
            ticket_id=ticket_id,
        )
        part = parent not in {None, "resolved", "closed", "cancelled", "merged"}
        self.require(ends or not part, f"expected to be told of its parent alone: {told}")
        self._bound(route, f"{subject_kind} {subject_id} {component}", code, told)

    def _bound(self, route: str, subject: str, code: str, told: str) -> None:
        lately = self._lately[route, subject, code]
        lately.append(self.clock.now_s)
        while lately[0] < self.clock.now_s - 3600:
            lately.popleft()
        said = f"{subject} {code}, and {told}"
        self.require(len(lately) <= TOLD_AN_HOUR_MAX, f"expected {TOLD_AN_HOUR_MAX} words an hour, got more of {said}")


class Meeting(Rule):
    """I8: what a person tells and what the machine finds of one cause are one ticket, whoever is first."""

    def called(self, call: Call, change: TicketChange) -> None:
        """See that a call meets what is open of the same."""
        if change.move is not Move.OPENED:
            return
        same = "component = :component" if call.component else "severity IN ('critical', 'major')"
        there = self.rows(
            f"SELECT ticket_id, code FROM ticket WHERE {UNPROVED} AND subject_kind = 'terminal' AND subject_id = :name"
            f" AND {same} AND ticket_id != :ticket_id",
            name=call.terminal_id,
            ticket_id=change.ticket_id,
            **({"component": call.component} if call.component else {}),
        )
        self.require(not there, f"expected a call about {call.terminal_id} to be noted on {there}, got a new ticket")

    def judged(self, effects: JudgeEffects) -> None:
        """See that a fault meets what was told of it."""
        for change in effects.tickets:
            if change.move in RAISING and change.subject_kind == "terminal" and change.severity in GRAVE:
                there = self.rows(
                    f"SELECT ticket_id FROM ticket WHERE {OPEN} AND subject_kind = 'terminal' AND subject_id = :name"
                    " AND code = :code AND component IN (:component, :none)",
                    name=change.subject_id,
                    code=REPORTED_CODE,
                    component=change.component,
                    none=NO_COMPONENT,
                )
                told = f"{change.code} of {change.subject_id}"
                self.require(not there, f"expected {told} to be what was reported in {there}, got a new ticket")


class Accountable(Rule):
    """I15: every step of a ticket is a line of its journal, with actor and reason, and the lines make its status."""

    def __init__(self, world: "DenseWorld") -> None:
        super().__init__(world)
        self._read = 0
        self._status: dict[int, str] = {}
        self._at: dict[int, str] = {}

    def judged(self, effects: JudgeEffects) -> None:
        """Read on, and hold it against what moved."""
        if effects.tickets:
            self._replay({change.ticket_id for change in effects.tickets})

    def acted(self, change: TicketChange) -> None:
        """Read on, and hold it against what moved."""
        self._replay({change.ticket_id})

    def finish(self) -> None:
        """Hold the whole journal against all tickets."""
        self._replay({ticket_id for (ticket_id,) in self.rows("SELECT ticket_id FROM ticket")})

    def _replay(self, moved: set[int]) -> None:
        lines = self.rows("SELECT * FROM journal WHERE journal_id > :read ORDER BY journal_id", read=self._read)
        for line in lines:
            self._read = line.journal_id
            told = f"{line.action} of ticket {line.ticket_id} by {line.actor!r}"
            self.require(re.fullmatch(ACTOR_PATTERN, line.actor), f"expected kind:id as actor, got {told}")
            silent = line.from_status == line.to_status
            self.require(silent or line.reason.strip(), f"expected a reason, got {told} without one")
            before = self._status.get(line.ticket_id)
            self.require(line.from_status == before, f"expected it to go on from {before}, got {told}")
            self._status[line.ticket_id], self._at[line.ticket_id] = line.to_status, line.at
        for ticket_id in moved | {line.ticket_id for line in lines}:
            self._compare(ticket_id)

    def _compare(self, ticket_id: int) -> None:
        ((status, updated_at),) = self.rows(
            "SELECT status, updated_at FROM ticket WHERE ticket_id = :ticket_id", ticket_id=ticket_id
        )
        replayed = (self._status.get(ticket_id), self._at.get(ticket_id))
        row = (status, updated_at)
        self.require(row == replayed, f"expected ticket {ticket_id} as its journal tells, {replayed}, got {row}")


class NoCards(Rule):
    """I15: no card number in any row; people and tills write them into every text."""

    def __init__(self, world: "DenseWorld") -> None:
        super().__init__(world)
        self._searched = dict.fromkeys(("comment", "attachment", "journal"), 0)

    def called(self, call: Call, change: TicketChange) -> None:  # noqa: ARG002 - one shape for all rules
        """Look at what was written down."""
        self._search(self.rows("SELECT * FROM ticket WHERE ticket_id = :ticket_id", ticket_id=change.ticket_id))

    def acted(self, change: TicketChange) -> None:  # noqa: ARG002
        """Look at what was written since."""
        for table, last in self._searched.items():
            rows = self.rows(f"SELECT * FROM {table} WHERE {table}_id > {last} ORDER BY {table}_id")
            self._search(rows)
            self._searched[table] = rows[-1][0] if rows else last

    def finish(self) -> None:
        """Look at every row of every table."""
        for (table,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
            self._search(self.rows(f'SELECT * FROM "{table}"'))

    def _search(self, rows: list[Any]) -> None:
        for row in rows:
            for column, value in row._mapping.items():
                data = value if isinstance(value, bytes) else str(value).encode()
                self.require(not CARDS.search(data), f"expected no card number, got one in {column}: {data[:200]!r}")


class Bounded(Rule):
    """I13, I14: judge's memory has a bound; what cannot be used costs a row each, and says nothing of anybody."""

    def __init__(self, world: "DenseWorld") -> None:
        super().__init__(world)
        self._poison = 0

    def ingested(self, batch: Sequence[Delivery]) -> None:
        """Count what nobody can use."""
        poison = sum(self.world.is_poison(delivery) for delivery in batch)
        if poison:
            self._poison += poison
            ((kept,),) = self.rows("SELECT count(*) FROM quarantine")
            self.require(kept == self._poison, f"expected {self._poison} rows of quarantine, got {kept}")

    def judged(self, effects: JudgeEffects) -> None:
        """Look at what is remembered of those who changed."""
        life = self.world.years.process.life
        for presence in effects.presences:
            terminal = life.judge._terminals[presence.terminal_id] if life else None
            if terminal is not None:
                kept = (len(terminal.followed), len(terminal.flaps))
                self.require(
                    kept <= (FOLLOWED_MAX, FLAPS_MAX), f"expected a bound, got {kept} of {presence.terminal_id}"
                )

    def finish(self) -> None:
        """See that what is kept of a terminal was said by it."""
        for table in ("stream", "level", "presence", "event"):
            for name, stream_id in self.rows(f"SELECT DISTINCT terminal_id, stream_id FROM {table}"):
                streams = self.world.years.terminals[name].streams
                self.require(stream_id in streams, f"expected a {table} of {name} itself, got stream {stream_id}")


def every_rule(world: "DenseWorld") -> list[Rule]:
    """All of them, for a world."""
    return [
        OneOpenTicket(world),
        Sound(world),
        Complete(world),
        OncePerFault(world),
        Proved(world),
        OneParent(world),
        Told(world),
        Meeting(world),
        Accountable(world),
        NoCards(world),
        Bounded(world),
    ]
