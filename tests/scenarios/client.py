"""An MQTT client as a library gives it: it dials once when told to, says how that went, sends, hears, and loses.

It knows of a break when its side of the connection learns of it; until then it goes on sending into nothing. Nothing is
queued and nothing is sent again here: that is the owner's part.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from tests.scenarios.broker import Broker, Packet, Session
from tests.scenarios.clock import Action, Clock

from tillwatch_simulator.link import Connection, Fate, Link

REFUSED_S = 0.05
"""A refusal comes back at once."""
UNANSWERED_S = 10.0
"""A connection that nothing answers is given up after this."""


class Owner(Protocol):
    """Who uses a client."""

    def connected(self) -> None: ...
    def connect_failed(self) -> None: ...
    def connection_lost(self) -> None: ...
    def received(self, packet: Packet, *, retained: bool) -> None: ...
    def acknowledged(self, packet: Packet) -> None: ...


@dataclass(kw_only=True, eq=False, slots=True)
class Call:
    """One connection's end at the client; what comes over an old one after a new one was dialled is not heard."""

    client: "Client"
    connection: Connection | None
    session: Session | None = None
    connected: bool = False

    @property
    def current(self) -> bool:
        return self.client.call is self

    def arrives(self, packet: Packet, *, retained: bool) -> None:
        if self.current and self.connected:
            self.client.owner.received(packet, retained=retained)

    def acknowledged(self, packet: Packet) -> None:
        if self.current and self.connected:
            self.client.owner.acknowledged(packet)

    def accepted(self) -> None:
        if self.current and not self.connected:
            self.connected = True
            self.client.owner.connected()

    def unanswered(self) -> None:
        if self.current and not self.connected:
            self.client.call = None
            self.client.owner.connect_failed()

    def cut(self) -> None:
        if not self.current:
            return
        self.client.call = None
        if self.connected:
            self.client.owner.connection_lost()
        else:
            self.client.owner.connect_failed()


@dataclass(kw_only=True, eq=False)
class Client:
    """At most one connection at a time."""

    clock: Clock
    broker: Broker
    link: Link
    client_id: str
    owner: Owner
    call: Call | None = field(default=None, init=False)
    breaks: list[tuple[float, float]] = field(default_factory=list, init=False)
    """(from when nothing got through, when we learned of it): the link's own breaks of connections that were in use."""

    def dial(self, will: Packet | None) -> None:
        """Try to connect once; the owner hears `connected` or `connect_failed`."""
        self.drop()
        connection = self.link.open(self.clock.now_s)
        call = self.call = Call(client=self, connection=connection)
        if connection is None:
            self.clock.call_in(self.link.chance.random() * UNANSWERED_S, call.unanswered)
        elif not self.broker.up:
            self.clock.call_in(REFUSED_S, call.unanswered)
        else:
            self.clock.call_in(UNANSWERED_S, call.unanswered)
            self._call_at(connection.fate.breaks_at_s, lambda: self._note_break(call, connection.fate))
            self._call_at(connection.fate.client_learns_at_s, call.cut)
            self._over(call, lambda: self._accept(call, connection, will))

    def subscribe(self, filters: Iterable[str]) -> None:
        """Ask for what comes under `filters`."""
        wanted = tuple(filters)
        self._talk(lambda session: self.broker.subscribe(session, wanted))

    def publish(self, packet: Packet) -> None:
        """Send once; without a connection it is gone."""
        self._talk(lambda session: self.broker.receive(session, packet))

    def disconnect(self) -> None:
        """Say goodbye: no will."""
        self._talk(self.broker.leave)
        self.call = None

    def drop(self) -> None:
        """Close the socket without a word, as a killed process does: the will follows."""
        self._talk(self.broker.lose)
        self.call = None

    def vanish(self) -> None:
        """Be gone without closing anything, as when power is cut: only the keepalive tells the broker."""
        call, self.call = self.call, None
        if call is not None and call.session is not None:
            session = call.session
            self.clock.call_in(1.5 * self.link.habits.keepalive_s, lambda: self.broker.lose(session))

    def _accept(self, call: Call, connection: Connection, will: Packet | None) -> None:
        if not self.broker.up:
            return
        call.session = session = self.broker.accept(self.client_id, call, connection, will)
        self._call_at(connection.fate.broker_learns_at_s, lambda: self.broker.lose(session))
        accepted_s = connection.down.send(self.clock.now_s)
        if accepted_s is not None:
            self.clock.call_at(accepted_s, call.accepted)

    def _note_break(self, call: Call, fate: Fate) -> None:
        if call.current:
            self.breaks.append((fate.stuck_at_s, fate.client_learns_at_s))

    def _talk(self, action: Callable[[Session], None]) -> None:
        """Have the broker do something with this connection's session once the request has arrived."""
        call = self.call
        if call is not None:
            self._over(call, lambda: action(call.session) if call.session is not None else None)

    def _over(self, call: Call, action: Action) -> None:
        arrives_s = call.connection.up.send(self.clock.now_s) if call.connection is not None else None
        if arrives_s is not None:
            self.clock.call_at(arrives_s, action)

    def _call_at(self, at_s: float, action: Action) -> None:
        if at_s < math.inf:
            self.clock.call_at(at_s, action)
