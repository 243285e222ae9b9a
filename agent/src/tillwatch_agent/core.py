"""The agent's core: observations and messages in, effects out. Single-threaded, without a clock of its own.

It joins `health` (what is true), `outbox` (what is kept), `session` (when to speak), `clock` (what time it may be),
`jobs` (what is to run instead), `obeying` (what a collector asks for) and the wire (how it is said). The runtime beside
a till, the simulator's fleet and the world in virtual time drive this same class:

    core = Core(settings, Outbox.open(path), Random(), now)
    for effect in core.handle(Connected(), now): ...
    # wait at most core.next_due_s(now) seconds for the next input; then handle it, or Tick()

Effects are to be carried out in the order given. After `Disconnect` or `Connect` nothing of an earlier connection is to
be handed in. What comes from the broker is never trusted to be well formed: what cannot be used is counted and left.

The level is told as it is; an event says when it turned. A new start knows nothing of the level before it: what is
still true is raised again, what is no longer true the heartbeat clears.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tillwatch_agent import clock, culprit, health, heartbeat, obeying, session
from tillwatch_agent.account import account
from tillwatch_agent.backlog import Happening, Verdict
from tillwatch_agent.clock import BY_WALL, JudgedBy, Judging
from tillwatch_agent.diagnosis import Verdict as WayOut
from tillwatch_agent.errors import JobReportsFull, ObservationInvalid, OutboxFailed
from tillwatch_agent.health import Edge, Observation
from tillwatch_agent.moment import Moment
from tillwatch_agent.outbox import Outbox
from tillwatch_agent.session import Heard, Nudge, Output, Phase
from tillwatch_protocol import codec, topics
from tillwatch_protocol.command import Command, CommandReport
from tillwatch_protocol.errors import PeerError
from tillwatch_protocol.event import Ack, EventBatch, EventKind
from tillwatch_protocol.heartbeat import Connection, Heartbeat, Presence, PresenceReason, PresenceState
from tillwatch_protocol.job import JobMessage, JobState
from tillwatch_protocol.process import ProcessState
from tillwatch_protocol.topics import Message, Topic
from tillwatch_protocol.vocabulary import MACHINE_CLOCK, ConditionCode

if TYPE_CHECKING:  # an agent that takes no jobs has none of this in memory
    from tillwatch_agent.job_work import Beaten, Result
    from tillwatch_agent.job_work import Effect as JobEffect
    from tillwatch_agent.jobs import Jobs

STALE_AFTER_INTERVALS = 3
"""A component not looked at for three heartbeats is stale, unless the settings know its probe to be slower."""

UNWRITTEN_MAX = 256
"""Events that wait in memory while the disk takes none: a full disk is not a reason to run out of memory too."""

_SWITCHING = frozenset({JobState.SWITCHING, JobState.CONFIRMING, JobState.ROLLING_BACK})
"""States of a job in which a restart from outside would be taken for a failure."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreSettings:
    """What a core is told once."""

    terminal_id: str
    interval_s: int
    agent_version: str
    host_boot_id: str
    stale_after_s: float | None = None
    """After how long without a look a component is unknown; three intervals when not given."""
    components: tuple[str, ...] = ()
    """Those that are configured: one whose probe hangs at its very first look is unknown, too."""
    lines: tuple[culprit.Line, ...] = ()
    """How the devices among them hang on the machine."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A probe looked."""

    observations: tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker accepted the connection."""


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """It did not, or was not there."""

    not_begun: bool = False
    """Its certificate has not begun, by this machine's clock."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection ended without being asked to."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message came."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went by."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The agent was told to stop."""


@dataclass(frozen=True, slots=True)
class Worked:
    """Something that a job asked for came to its end."""

    result: "Result"


@dataclass(frozen=True, slots=True)
class Examined:
    """A diagnosis has looked at everything; None: the way out is not watched."""

    command_id: str
    way_out: WayOut | None


Input = Observed | Connected | ConnectFailed | ConnectionLost | Received | Worked | Examined | Tick | Stop


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection with this last will; answer with `Connected` or `ConnectFailed`."""

    will: Outgoing
    judging: Judging = BY_WALL
    """By whose time the broker's certificate is judged."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe at QoS 1."""

    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish."""

    outgoing: Outgoing


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Let go of the connection after what was published; the broker drops the will."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Let the probes forget what they learned of their devices, and look anew."""


@dataclass(frozen=True, slots=True)
class Examine:
    """Let every probe look now; when all have, and what they saw is handed in, answer with `Examined`."""

    command_id: str


@dataclass(frozen=True, slots=True)
class RestartAgent:
    """Hand in `Stop`, and end so that the agent is started again."""


@dataclass(frozen=True, slots=True)
class Work:
    """Do something for a job; answer with `Worked`. `told_at` is the time as far as a collector told it."""

    effect: "JobEffect"
    told_at: datetime | None


Effect = Connect | Subscribe | Publish | Disconnect | Forget | Examine | RestartAgent | Work

_TURNS: dict[type[Input], session.Turn] = {
    Connected: session.Turn.CONNECTED,
    ConnectFailed: session.Turn.FAILED,
    ConnectionLost: session.Turn.LOST,
}


class Core:
    """One terminal's agent, in one start."""

    def __init__(
        self, settings: CoreSettings, outbox: Outbox, rng: session.Rng, moment: Moment, jobs: "Jobs | None" = None
    ) -> None:
        """Begin a start: its first event is that it began. Without `jobs` it takes none."""
        self.settings = settings
        self.outbox = outbox
        self.jobs = jobs
        self.ignored = 0
        """Messages that could not be used."""
        self._rng = rng
        self._level = health.begin(settings.components, moment)
        self._beat_no = 0
        self._beat: Heartbeat | None = None
        """The newest one that left, until the job has seen it."""
        self._acknowledged_at_s = -math.inf
        self._orders = obeying.begin(moment.monotonic_s)
        self._has_beaten = False
        """A heartbeat left, until the commands have seen it."""
        self._unwritten: tuple[Happening, ...] = ()
        self._outbox_fails = False
        self._clock = clock.begin(outbox.told_at)
        self._judging = BY_WALL
        """By whose time the newest connection was judged."""
        self._stale_after_s = settings.stale_after_s or STALE_AFTER_INTERVALS * settings.interval_s
        phase_s = heartbeat.phase_s(settings.terminal_id, settings.interval_s)
        self._session = session.begin(interval_s=settings.interval_s, phase_s=phase_s, moment=moment, rng=rng)
        self._record([self._started(moment)])

    @property
    def phase(self) -> Phase:
        """Where the conversation with the broker stands."""
        return self._session.phase

    @property
    def connection(self) -> Connection:
        """The connection that is, or was last."""
        return Connection(
            stream_id=self.outbox.stream_id,
            boot_epoch=self.outbox.boot_epoch,
            connection_no=self._session.connection_no,
        )

    def handle(self, said: Input, moment: Moment) -> list[Effect]:
        """Take one input; returns what to do, in order."""
        effects = self._look_at_clock(moment) + self._react(said, moment)
        if self.phase is Phase.STOPPED:
            return effects
        return effects + self._settle(moment)

    def next_due_s(self, moment: Moment) -> float:
        """How many seconds from now a `Tick` is due; infinity when nothing waits for time."""
        if self.phase is Phase.STOPPED:
            return math.inf
        stale_s = health.expires_at_s(self._level, self._stale_after_s)
        due_s = min(self._session.due_s(), stale_s, self._orders.due_s())
        if self.jobs is not None:
            due_s = min(due_s, self.jobs.due_s())
        if self._session.sends:
            due_s = min(due_s, self.outbox.backlog.due_s())
        return max(due_s - moment.monotonic_s, 0.0)

    def heartbeat_now(self, moment: Moment) -> Heartbeat:
        """Say the whole level at this moment, under the next number."""
        self._beat_no += 1
        return Heartbeat(
            terminal_id=self.settings.terminal_id,
            connection=self.connection,
            beat_no=self._beat_no,
            interval_s=self.settings.interval_s,
            event_seq_last=self.outbox.backlog.event_seq_last,
            sent_at=moment.at,
            host_boot_id=self.settings.host_boot_id,
            agent_version=self.settings.agent_version,
            collector_epoch_seen=self.outbox.collector_epoch_seen,
            components=culprit.told(self.settings.lines, health.readings(self._level, moment)),
            job=None if self.jobs is None else self.jobs.status(),
        )

    def _react(self, said: Input, moment: Moment) -> list[Effect]:
        match said:
            case Observed():
                return self._observe(said.observations, moment)
            case Received():
                return self._receive(said, moment)
            case Stop():
                return self._stop(moment)
            case Connected() | ConnectFailed() | ConnectionLost():
                if isinstance(said, ConnectFailed) and said.not_begun:
                    self._clock = clock.came_too_early(self._clock, moment)
                return self._step(_TURNS[type(said)], moment)
            case Worked():
                return self._work(said.result, moment)
            case Examined():
                readings = culprit.told(self.settings.lines, health.readings(self._level, moment))
                diagnosis = account(said.way_out, readings)
                return self._order(obeying.Diagnosed(command_id=said.command_id, diagnosis=diagnosis), moment)
            case Tick():
                return []

    def _settle(self, moment: Moment) -> list[Effect]:
        """Do what time asks for: staleness, heartbeats, the job, events."""
        before = self._level
        self._level, edges = health.expire(before, moment, self._stale_after_s)
        self._record(map(_happening, edges))
        if self._session.sends and self.outbox.backlog.in_vain:
            _logger.warning("nothing sent is acknowledged; the connection is made anew")
            return self._step(session.Turn.RENEW, moment)
        wanted = (self.jobs is not None and self.jobs.wants_beat(moment)) or bool(edges)
        effects = self._step(Nudge.CHANGED if wanted else Nudge.TICK, moment)
        effects += self._look_after_job(moment) + self._look_after_orders(moment)
        return effects + self._events_due(moment)

    def _look_after_job(self, moment: Moment) -> list[Effect]:
        """Let the job see the heartbeat that left, and do what is due for it."""
        if self.jobs is None:
            return []
        beat, self._beat = self._beat, None
        if beat is not None and self.jobs.is_open:
            beaten = self.jobs.beaten(beat.components, self._acknowledged_at_s)
            return self._work(beaten, moment)
        return self._work(None, moment) if moment.monotonic_s >= self.jobs.due_s() else []

    def _work(self, said: "JobMessage | Result | Beaten | None", moment: Moment) -> list[Effect]:
        """Let the job take a step: it is written, told, and then carried out."""
        if self.jobs is None:
            return []
        outcome = self.jobs.handle(said, moment)
        self._record(Happening(kind=EventKind.JOB, happened_at=moment.at, job=report) for report in outcome.reports)
        told_at = clock.time_at(self._clock, moment)
        work: list[Effect] = [Work(effect, told_at) for effect in outcome.effects]
        return (self._step(Nudge.CHANGED, moment) if outcome.turned else []) + work

    def _observe(self, observations: Iterable[Observation], moment: Moment) -> list[Effect]:
        before = self._level
        edges: tuple[Edge, ...] = ()
        for observation in observations:
            try:
                self._level, more = health.fold(self._level, observation, moment)
            except ObservationInvalid as invalid:
                self.ignored += 1
                _logger.warning("observation left out: %s", invalid)
            else:
                edges += more
        self._record(map(_happening, edges))
        return self._step(Nudge.CHANGED, moment) if health.differs(before, self._level) else []

    def _look_at_clock(self, moment: Moment) -> list[Effect]:
        """Say when the wall clock turns wrong or right, and often enough that what is said is not stale."""
        standing = self._level.standings.get(MACHINE_CLOCK)
        was_wrong = standing is not None and ConditionCode.CLOCK_WRONG in standing.held
        seen = clock.look(self._clock, moment, was_wrong=was_wrong)
        if seen is None or self.phase is Phase.STOPPED:
            return []
        fresh_s = self._stale_after_s / STALE_AFTER_INTERVALS
        is_fresh = standing is not None and moment.monotonic_s - standing.looked_at_s < fresh_s
        return [] if is_fresh and bool(seen.true_codes) == was_wrong else self._observe([seen], moment)

    def _stop(self, moment: Moment) -> list[Effect]:
        if self.phase is not Phase.STOPPED:
            self._record([Happening(kind=EventKind.STOPPING, happened_at=moment.at)])
        return self._events_due(moment) + self._step(session.Turn.STOP, moment)

    def _receive(self, received: Received, moment: Moment) -> list[Effect]:
        try:
            message = codec.decode(received.topic, received.payload)
        except PeerError as error:
            self.ignored += 1
            _logger.debug("message ignored: %s", error)
            return []
        if isinstance(message, ProcessState):
            return self._hear(message, moment, retained=received.retained)
        if received.retained or not self._is_for_us(message):
            self.ignored += 1
            return []
        if isinstance(message, Ack):
            return self._acknowledged(message, moment) + self._told(message, moment)
        if isinstance(message, Command):
            return self._obey(message, moment)
        if isinstance(message, JobMessage) and self.jobs is not None:
            return self._work(message, moment)
        _logger.debug("%s ignored: this agent takes no jobs", message)
        return []

    def _is_for_us(self, message: Message) -> bool:
        return isinstance(message, Ack | Command | JobMessage) and message.terminal_id == self.settings.terminal_id

    def _hear(self, state: ProcessState, moment: Moment, *, retained: bool) -> list[Effect]:
        try:
            self.outbox.see_epoch(state.collector_epoch)
        except OutboxFailed as failure:
            self._failed(failure)
        return self._step(Heard(state=state, retained=retained), moment)

    def _acknowledged(self, ack: Ack, moment: Moment) -> list[Effect]:
        left = self.outbox.stream_id
        try:
            verdict = self.outbox.acknowledge(ack.stream_id, ack.event_seq, moment.monotonic_s)
        except OutboxFailed as failure:
            self._failed(failure)
            return []
        if verdict is not Verdict.FOREIGN:
            self._acknowledged_at_s = moment.monotonic_s
        if verdict is not Verdict.FORKED:
            return []
        _logger.warning(
            "stream %s goes on elsewhere, up to %d: this outbox begins %s", left, ack.event_seq, self.outbox.stream_id
        )
        self._record([self._started(moment)])
        return self._step(session.Turn.RENEW, moment)

    def _told(self, ack: Ack, moment: Moment) -> list[Effect]:
        """Learn the time; a connection that was judged by nobody's is then made anew."""
        self._clock = clock.tell(self._clock, ack.sent_at, moment)
        told = self._clock.told
        try:
            if told and clock.is_worth_storing(self.outbox.told_at, told.sent_at):
                self.outbox.store_time(told.sent_at)
        except OutboxFailed as failure:
            self._failed(failure)
        effects = self._look_at_clock(moment)
        can_judge = clock.judging(self._clock, moment).by is not JudgedBy.NOBODY
        if self.phase is not Phase.ONLINE or self._judging.by is not JudgedBy.NOBODY or not can_judge:
            return effects
        _logger.info("told the time; the connection is made anew, to judge the broker's certificate by it")
        return effects + self._step(session.Turn.RENEW, moment)

    def _obey(self, command: Command, moment: Moment) -> list[Effect]:
        """Do a command at most once: it is remembered before it is done."""
        if self.phase is Phase.STOPPED:
            return []
        try:
            if not self.outbox.mark_done(command.command_id):
                return []
        except OutboxFailed as failure:
            self._failed(failure)
            return []
        status = None if self.jobs is None else self.jobs.status()
        is_switching = status is not None and status.state in _SWITCHING
        return self._order(obeying.Came(command=command, is_switching=is_switching), moment)

    def _look_after_orders(self, moment: Moment) -> list[Effect]:
        """Answer what waited for a heartbeat, and what waited too long."""
        has_beaten, self._has_beaten = self._has_beaten, False
        if has_beaten and self._orders.waiting:
            return self._order(obeying.Beaten(), moment)
        is_due = moment.monotonic_s >= self._orders.due_s()
        return self._order(obeying.Passed(), moment) if is_due else []

    def _order(self, said: obeying.Said, moment: Moment) -> list[Effect]:
        self._orders, deeds = obeying.step(self._orders, said, moment.monotonic_s)
        return [effect for deed in deeds for effect in self._done(deed, moment)]

    def _done(self, deed: obeying.Deed, moment: Moment) -> list[Effect]:
        match deed:
            case obeying.Act.BEAT:
                return self._step(Nudge.CHANGED, moment)
            case obeying.Act.FORGET:
                return [Forget()]
            case obeying.Act.RESTART:
                return [RestartAgent()]
            case obeying.Begin():
                return [Examine(deed.command_id)]
            case obeying.Answer():
                self._record([_answer(deed, moment)])
                return []

    def _step(self, said: session.Input, moment: Moment) -> list[Effect]:
        self._session, outputs = session.step(self._session, said, moment, self._rng)
        return [effect for output in outputs for effect in self._carried_out(output, moment)]

    def _carried_out(self, output: Output, moment: Moment) -> list[Effect]:
        match output:
            case Output.DIAL:
                return [self._dial(moment)]
            case Output.SUBSCRIBE:
                filters = (f.format(terminal_id=self.settings.terminal_id) for f in topics.AGENT_SUBSCRIPTIONS)
                return [Subscribe(tuple(filters))]
            case Output.ANNOUNCE:
                return [Publish(self._presence(None))]
            case Output.BEAT:
                return [self._beaten(moment)]
            case Output.REWIND:
                self.outbox.backlog.rewind()
                return []
            case Output.FAREWELL:
                return [Publish(self._presence(PresenceReason.STOPPING))]
            case Output.HANG_UP:
                return [Disconnect()]

    def _beaten(self, moment: Moment) -> Publish:
        if self.jobs is not None:
            self.jobs.ask_anew(moment)
        self._beat = self.heartbeat_now(moment)
        self._has_beaten = True
        return Publish(self._outgoing(topics.HEARTBEAT, heartbeat.encode(self._beat)))

    def _dial(self, moment: Moment) -> Connect:
        before, self._judging = self._judging, clock.judging(self._clock, moment)
        if self._judging.by is JudgedBy.NOBODY is not before.by:
            said = f"{moment.at:%Y-%m-%d %H:%M}"
            _logger.warning("the clock is behind at %s: until the time is told only chain and name are judged", said)
        return Connect(self._presence(PresenceReason.CONNECTION_LOST), self._judging)

    def _events_due(self, moment: Moment) -> list[Effect]:
        if not self._session.sends:
            return []
        batches = self.outbox.backlog.take(moment.monotonic_s)
        try:
            return [Publish(self._batch(numbers)) for numbers in batches]
        except OutboxFailed as failure:
            self._failed(failure)
            return []

    def _batch(self, numbers: Sequence[int]) -> Outgoing:
        batch = EventBatch(
            terminal_id=self.settings.terminal_id,
            stream_id=self.outbox.stream_id,
            oldest_seq=self.outbox.backlog.oldest_seq,
            events=self.outbox.read(numbers),
        )
        return self._outgoing(topics.EVENTS, codec.encode(batch))

    def _presence(self, offline_reason: str | None) -> Outgoing:
        presence = Presence(
            terminal_id=self.settings.terminal_id,
            state=PresenceState.OFFLINE if offline_reason else PresenceState.ONLINE,
            reason=offline_reason,
            connection=self.connection,
        )
        return self._outgoing(topics.PRESENCE, codec.encode(presence))

    def _outgoing(self, topic: Topic, payload: bytes) -> Outgoing:
        return Outgoing(topic.of(self.settings.terminal_id), payload, topic.qos, topic.retain)

    def _started(self, moment: Moment) -> Happening:
        detail = f"tillwatch-agent {self.settings.agent_version}"
        return Happening(kind=EventKind.STARTED, happened_at=moment.at, detail=detail)

    def _record(self, happenings: Iterable[Happening]) -> None:
        """Keep events; while the disk takes none they wait in memory, and the level is told without them."""
        waiting = (*self._unwritten, *happenings)
        if not waiting:
            return
        try:
            self._append(waiting)
        except OutboxFailed as failure:
            self._failed(failure)
            self._unwritten = waiting[-UNWRITTEN_MAX:]
        else:
            self._unwritten = ()
            if self._outbox_fails:
                _logger.warning("outbox takes events again")
            self._outbox_fails = False

    def _append(self, happenings: Sequence[Happening]) -> None:
        """Append events; where no report of a job finds room any more, the level alone tells of it."""
        try:
            self.outbox.append(happenings)
        except JobReportsFull as full:
            _logger.warning("reports of a job are left out: %s", full)
            if others := [happening for happening in happenings if happening.job is None]:
                self.outbox.append(others)

    def _failed(self, failure: OutboxFailed) -> None:
        if not self._outbox_fails:
            _logger.error("outbox fails, events wait in memory: %s", failure)
        self._outbox_fails = True


def _happening(edge: Edge) -> Happening:
    raised = edge.turn is health.Turn.RAISED
    return Happening(
        kind=EventKind.CONDITION_RAISED if raised else EventKind.CONDITION_CLEARED,
        happened_at=edge.happened_at,
        component=edge.component,
        code=edge.code,
        detail=edge.detail,
    )


def _answer(answer: obeying.Answer, moment: Moment) -> Happening:
    report = CommandReport(
        command_id=answer.command_id, kind=answer.kind, reason=answer.reason, diagnosis=answer.diagnosis
    )
    kind = EventKind.COMMAND_DONE if answer.reason is None else EventKind.COMMAND_REFUSED
    return Happening(kind=kind, happened_at=moment.at, command=report)
