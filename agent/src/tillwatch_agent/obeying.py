"""Commands: which is to be done, when its turn comes, and what is answered. Pure.

That a command is done at most once is the outbox's part, which remembers its id before it is handed in here; each
that is handed in is answered once, done or refused, unless the agent ends before. Lifetimes are counted on the
monotonic clock from the arrival: a command whose turn did not come in time is refused, and one that has begun may end
after it. A heartbeat is asked for and answered when it leaves; one diagnosis runs at a time.

A change violates this when a command is begun after its lifetime, or when what a collector sends can make the agent
remember without limit, or start again more often than once in `RESTART_AFTER_S`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from tillwatch_protocol.command import Command, CommandKind, CommandRefusal, Diagnosis

WAITING_MAX: Final = 8
"""Commands that wait for their turn: a collector lets fewer wait for one terminal."""

DIAGNOSIS_S_MAX: Final = 60.0
"""After it a diagnosis is given up: every look has an end of its own, the slowest within half of this."""

RESTART_AFTER_S: Final = 60.0
"""Since its own start, before an agent is told to start again: nothing sent can keep it from watching."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A command that waits, or runs; not begun, or not waited for, beyond `until_s`."""

    command_id: str
    kind: CommandKind
    until_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """What is to be done; times are monotonic seconds."""

    began_s: float
    """When the agent started."""
    waiting: tuple[Order, ...] = ()
    running: Order | None = None
    """The diagnosis that runs."""

    def due_s(self) -> float:
        """Say when `step` has something to do if nothing comes; infinity for never."""
        running = () if self.running is None else (self.running,)
        return min((order.until_s for order in (*self.waiting, *running)), default=math.inf)


@dataclass(frozen=True, kw_only=True, slots=True)
class Came:
    """A command that was never done before."""

    command: Command
    is_switching: bool
    """A release is being switched, proved or rolled back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosed:
    """A diagnosis has come to its end."""

    command_id: str
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Beaten:
    """A heartbeat left."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Time went by."""


Said = Came | Diagnosed | Beaten | Passed


class Act(StrEnum):
    """What to do at once."""

    BEAT = "beat"
    FORGET = "forget"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a diagnosis; its end is `Diagnosed`."""

    command_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Tell what became of a command; without a reason it was done."""

    command_id: str
    kind: CommandKind
    reason: str | None = None
    diagnosis: Diagnosis | None = None


Deed = Act | Begin | Answer
Step = tuple[Orders, tuple[Deed, ...]]


def begin(now_s: float) -> Orders:
    """Start with nothing to do."""
    return Orders(began_s=now_s)


def step(orders: Orders, said: Said, now_s: float) -> Step:
    """Take one thing that happened; returns what to do, in order."""
    orders, deeds = _take(orders, said, now_s)
    orders, lapsed = _lapse(orders, now_s)
    orders, begun = _begin_next(orders, now_s)
    return orders, (*deeds, *lapsed, *begun)


def _take(orders: Orders, said: Said, now_s: float) -> Step:
    match said:
        case Came():
            return _come(orders, said, now_s)
        case Diagnosed():
            return _diagnosed(orders, said)
        case Beaten():
            return _beaten(orders)
        case Passed():
            return orders, ()


def _come(orders: Orders, came: Came, now_s: float) -> Step:
    command = came.command
    match command.kind:
        case CommandKind.REPROBE:
            return orders, (Act.FORGET, _answer(command))
        case CommandKind.RESTART_AGENT:
            reason = _against_restart(orders, came, now_s)
            return orders, (_answer(command, reason),) if reason else (_answer(command), Act.RESTART)
        case CommandKind.REPORT | CommandKind.DIAGNOSE:
            if len(orders.waiting) >= WAITING_MAX:
                return orders, (_answer(command, CommandRefusal.TOO_MANY),)
            order = Order(command_id=command.command_id, kind=command.kind, until_s=now_s + command.lifetime_s)
            wanted = (Act.BEAT,) if command.kind is CommandKind.REPORT else ()
            return replace(orders, waiting=(*orders.waiting, order)), wanted


def _against_restart(orders: Orders, came: Came, now_s: float) -> str | None:
    if came.is_switching:
        return CommandRefusal.JOB_SWITCHING
    return CommandRefusal.JUST_STARTED if now_s - orders.began_s < RESTART_AFTER_S else None


def _diagnosed(orders: Orders, said: Diagnosed) -> Step:
    """Answer the diagnosis that runs; one that was given up before has been answered."""
    running = orders.running
    if running is None or running.command_id != said.command_id:
        return orders, ()
    answer = Answer(command_id=running.command_id, kind=running.kind, diagnosis=said.diagnosis)
    return replace(orders, running=None), (answer,)


def _beaten(orders: Orders) -> Step:
    told = (order for order in orders.waiting if order.kind is CommandKind.REPORT)
    rest = tuple(order for order in orders.waiting if order.kind is not CommandKind.REPORT)
    return replace(orders, waiting=rest), _answers(told)


def _lapse(orders: Orders, now_s: float) -> Step:
    late = (order for order in orders.waiting if now_s >= order.until_s)
    deeds = _answers(late, CommandRefusal.LIFETIME_OVER)
    rest = tuple(order for order in orders.waiting if now_s < order.until_s)
    running = orders.running
    if running is None or now_s < running.until_s:
        return replace(orders, waiting=rest), deeds
    return replace(orders, waiting=rest, running=None), (*deeds, *_answers([running], CommandRefusal.NO_RESULT))


def _begin_next(orders: Orders, now_s: float) -> Step:
    following = next((order for order in orders.waiting if order.kind is CommandKind.DIAGNOSE), None)
    if orders.running is not None or following is None:
        return orders, ()
    rest = tuple(order for order in orders.waiting if order is not following)
    running = replace(following, until_s=now_s + DIAGNOSIS_S_MAX)
    return replace(orders, waiting=rest, running=running), (Begin(following.command_id),)


def _answer(command: Command, reason: str | None = None) -> Answer:
    return Answer(command_id=command.command_id, kind=command.kind, reason=reason)


def _answers(orders: Iterable[Order], reason: str | None = None) -> tuple[Answer, ...]:
    return tuple(Answer(command_id=order.command_id, kind=order.kind, reason=reason) for order in orders)
