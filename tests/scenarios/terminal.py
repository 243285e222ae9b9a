"""The host of one agent: the real core and the real outbox, driven by virtual time over a client and a till.

It does what the runtime does and nothing else: it hands inputs in with a moment, carries out effects, and wakes the
core when it is due. A killed process leaves its outbox as a disk would; a booted machine begins its monotonic clock
anew.

With `software` it takes jobs; what they ask is done in memory. What a release does to the till is a flaw of its.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import assert_never

from tests.scenarios.broker import Broker, Packet
from tests.scenarios.client import Client
from tests.scenarios.clock import Clock
from tests.scenarios.model import Flaw, Till
from tests.scenarios.watcher import Watcher

from tillwatch_agent.core import (
    Connect,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Core,
    CoreSettings,
    Disconnect,
    Effect,
    Examine,
    Forget,
    Input,
    Observed,
    Outgoing,
    Publish,
    Received,
    RestartAgent,
    Stop,
    Subscribe,
    Tick,
    Work,
    Worked,
)
from tillwatch_agent.jobs import Jobs, MemoryStore
from tillwatch_agent.moment import Moment
from tillwatch_agent.outbox import MEMORY, Outbox
from tillwatch_protocol.event import SeqRange
from tillwatch_simulator.link import Link
from tillwatch_simulator.updating import Installation, Software

LOOK_EVERY_S = 150.0
"""Parts are looked at this often, and within a poll when something changes; not so seldom that a reading gets stale."""

RESOLUTION_S = 0.001
"""No process sleeps for less; what is due a rounding error from now is due then."""


@dataclass(kw_only=True, eq=False)
class Life:
    """What one start of the agent holds in memory."""

    core: Core
    outbox: Outbox
    wakes: int = 0


@dataclass(kw_only=True, eq=False)
class Terminal:
    """One terminal; `start`, `kill`, `cut_power`, `stop` as often as the story wants."""

    terminal_id: str
    clock: Clock
    broker: Broker
    chance: Random
    link: Link
    till: Till
    watcher: Watcher
    interval_s: int = 60
    poll_s: float = 5.0
    look_every_s: float = LOOK_EVERY_S
    events_max: int = 10_000
    disk: bytes | None = None
    """The outbox as a disk holds it while no agent runs."""
    wall_off_s: float = 0.0
    software: Software | None = None
    page: MemoryStore = field(default_factory=MemoryStore)
    """Of the newest job, as the disk holds it."""
    life: Life | None = None
    streams: list[str] = field(default_factory=list)
    """Every stream that began here, in their true order."""
    _booted_s: float = 0.0
    _boot_id: str = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the machine and the way to the broker."""
        self.installation: Installation | None = None
        if self.software:
            self.installation = Installation(self.software, Random(self.chance.getrandbits(64)))
        self.client = Client(
            clock=self.clock, broker=self.broker, link=self.link, client_id=self.terminal_id, owner=self
        )
        self.boot()

    def boot(self) -> None:
        """Begin the monotonic clock anew, some seconds before an agent starts."""
        self._booted_s = self.clock.now_s - 20.0
        self._boot_id = f"{self.chance.getrandbits(64):016x}"
        if self.installation:
            self.installation.boot(self.clock.now_s)

    # --- its life

    def start(self) -> None:
        """Start the agent on the outbox that is there."""
        outbox = Outbox.open(MEMORY, events_max=self.events_max, ids=self._stream_id, image=self.disk)
        settings = CoreSettings(
            terminal_id=self.terminal_id,
            interval_s=self.interval_s,
            agent_version="1.0.0",
            host_boot_id=self._boot_id,
        )
        core = Core(settings, outbox, Random(self.chance.getrandbits(64)), self.moment(), self._jobs())
        self.life = life = Life(core=core, outbox=outbox)
        self._plan_look(life, self.poll_s * self.chance.random())
        self.give(Tick())

    def kill(self) -> None:
        """SIGKILL: the kernel closes the socket, the disk keeps the outbox."""
        if self._end():
            self.client.drop()

    def cut_power(self) -> None:
        """The machine is gone without a packet."""
        if self._end():
            self.client.vanish()

    def stop(self) -> None:
        """Stop properly: the agent says so and leaves."""
        self.give(Stop())
        if self._end():
            self.client.disconnect()

    def lose_outbox(self) -> None:
        """SIGKILL, and the outbox's file is gone when it starts again."""
        self.kill()
        self.disk = None

    def twin(self) -> "Terminal":
        """Return another machine, on another uplink, that comes under the same name; it is off."""
        return Terminal(
            terminal_id=self.terminal_id,
            clock=self.clock,
            broker=self.broker,
            chance=Random(self.chance.getrandbits(64)),
            link=Link(habits=self.link.habits, chance=Random(self.chance.getrandbits(64))),
            till=Till(),
            watcher=self.watcher,
            interval_s=self.interval_s,
        )

    def set_wall(self, off_s: float) -> None:
        """Set the machine's wall clock wrong by so much."""
        self.wall_off_s = off_s

    def outbox_account(self) -> tuple[Sequence[int], Sequence[SeqRange], int]:
        """What the outbox holds, what it declares dropped, and the last number it gave; of a dead one, its disk's."""
        if self.life is not None:
            backlog = self.life.outbox.backlog
        elif self.disk is not None:
            outbox = Outbox.open(MEMORY, image=self.disk)
            backlog = outbox.backlog
            outbox.close()
        else:
            return (), (), 0
        return backlog.numbers, backlog.dropped, backlog.event_seq_last

    # --- what the client says

    def connected(self) -> None:
        """Tell the core."""
        self.give(Connected())

    def connect_failed(self) -> None:
        """Tell the core."""
        self.give(ConnectFailed())

    def connection_lost(self) -> None:
        """Tell the core."""
        self.give(ConnectionLost())

    def received(self, packet: Packet, *, retained: bool) -> None:
        """Tell the core."""
        self.give(Received(topic=packet.topic, payload=packet.payload, retained=retained))

    def acknowledged(self, packet: Packet) -> None:
        """Make nothing of a PUBACK: it promises nothing."""

    # --- what it does

    def moment(self) -> Moment:
        """Now, on this machine's clocks."""
        return self.moment_at(self.clock.now_s)

    def moment_at(self, at_s: float) -> Moment:
        """A moment of this boot, on this machine's clocks."""
        return Moment(monotonic_s=at_s - self._booted_s, at=self.clock.at(at_s) + timedelta(seconds=self.wall_off_s))

    def give(self, given: Input) -> None:
        """Hand an input to the core and carry out what it wants."""
        life = self.life
        if life is None:
            return
        for effect in life.core.handle(given, self.moment()):
            self._carry_out(effect)
        self.watcher.handled(self)
        self._wake_when_due(life)

    def look(self) -> None:
        """Look at every part and at what runs, as the probes do."""
        if self.life is None:
            return
        now_s = self.clock.now_s
        self._suffer(now_s)
        looks = self.till.look(now_s)
        self.watcher.looked(self, looks)
        seen = [look.observation() for look in looks]
        if self.installation:
            seen.append(self.installation.look(now_s))
        self.give(Observed(observations=tuple(seen)))

    def _jobs(self) -> Jobs | None:
        """Go on with the newest job, by its page."""
        if self.software is None:
            return None
        settings = self.software.settings(self.interval_s, self._boot_id)
        return Jobs(settings, self.page, Random(self.chance.getrandbits(64)), self.moment())

    def _suffer(self, now_s: float) -> None:
        """Have the till bear what its release does to it."""
        harm = self.installation.harm(now_s) if self.installation else None
        if harm and not any(flaw.holds(now_s) for flaw in self.till.wrong(*harm)):
            self.till.flaws.append(Flaw(component=harm[0], code=harm[1], start_s=now_s))

    def _install(self) -> None:
        """Hand in what came of the newest effect of a job, and look when something else runs."""
        installation, now_s = self.installation, self.clock.now_s
        if not installation:
            return
        while result := installation.take(now_s, line_is_up=self.link.usable(now_s)):
            self.give(Worked(result))
        if installation.has_turned(now_s):
            self.look()

    def _plan_look(self, life: Life, delay_s: float) -> None:
        self.clock.call_at(self._when(delay_s), lambda: self._look_again(life))

    def _look_again(self, life: Life) -> None:
        if life is self.life:
            self.look()
            self._plan_look(life, self.look_every_s)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Connect():
                self.client.dial(packet_of(effect.will))
            case Subscribe():
                self.client.subscribe(effect.filters)
            case Publish():
                packet = packet_of(effect.outgoing)
                self.watcher.sending(self, packet)
                self.client.publish(packet)
            case Disconnect():
                self.client.disconnect()
            case Work():
                assert self.installation
                monotonic_s = self.moment().monotonic_s
                self.installation.carry_out(effect.effect, self.clock.now_s, monotonic_s=monotonic_s)
            case Forget() | Examine() | RestartAgent():
                pass  # nobody here asks for it
            case _:
                assert_never(effect)

    def _wake_when_due(self, life: Life) -> None:
        life.wakes += 1
        due_s = life.core.next_due_s(self.moment())
        if self.installation:
            due_s = min(due_s, self.installation.due_s(self.clock.now_s) - self.clock.now_s)
        if due_s < math.inf:
            self._plan_tick(life, max(due_s, RESOLUTION_S))

    def _plan_tick(self, life: Life, delay_s: float) -> None:
        wake = life.wakes

        def tick() -> None:
            if life is self.life and life.wakes == wake:
                self._install()
                self.give(Tick())

        self.clock.call_at(self._when(delay_s), tick)

    def _when(self, delay_s: float) -> float:
        return self.clock.now_s + delay_s

    def _end(self) -> bool:
        life, self.life = self.life, None
        if life is None:
            return False
        if self.installation:
            self.installation.kill(self.clock.now_s)
        self.disk = life.outbox.image()
        life.outbox.close()
        return True

    def _stream_id(self) -> str:
        self.streams.append(f"{self.chance.getrandbits(128):032x}")
        return self.streams[-1]


def packet_of(outgoing: Outgoing) -> Packet:
    """Return an effect's message as a broker takes it."""
    return Packet(topic=outgoing.topic, payload=outgoing.payload, qos=outgoing.qos, retain=outgoing.retain)
