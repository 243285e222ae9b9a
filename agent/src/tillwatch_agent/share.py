"""Sharing a printer's port with the till: the thread that holds the port, and the port that a probe is given instead.

The decisions are `tee`'s; here bytes are moved. The thread owns the real port, the till's side and the tee between
them; who asks hands it one request at a time and waits for its turn.

- **The port is held for as long as it is there.** It vanishes for the till when it vanishes for us: the till's side is
  hung up, its path is taken away, and what was under way is dropped, as with a cable that was pulled. It comes back
  under the same path.
- **A port that was given away is not taken back from a till.** Where the path leads to the port itself, since an agent
  ended, a till may have opened that. Then only the path is offered, and the port is opened when the till opens the
  path: it has let go of the port itself by then. Where it is sure that nobody has the port, it is taken at once.
- **The path is ours while we serve, and another agent's while that does.** One that somebody led elsewhere is mended at
  the next look; one that leads to the pseudo-terminal of another agent is not touched by us who end, or have no port.
- **Whatever ends the agent, the path leads to the port afterwards**: at an orderly end it is made so here, and
  otherwise by `share_guard`, which is started beside us.
- **A connection that a printer ends for idleness is made again** without a word, where nothing was under way.

A change violates this when a till's byte can be lost other than with the port, or when a path can be left leading
nowhere by an agent that ends.
"""

import contextlib
import grp
import logging
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tillwatch_agent import port_holders, ports, share_guard
from tillwatch_agent.config import AgentConfig, ConfigError, PrinterConfig
from tillwatch_agent.drivers import escpos
from tillwatch_agent.port_holders import Held
from tillwatch_agent.ports import LineSettings, Port, PortAbsent, PortBusy, PortError, PortLost, TurnMissed
from tillwatch_agent.tee import Obstacle, Tee
from tillwatch_agent.till_side import TillSide, direct_of, lead, leads_to_port, note_direct

TURN_S_MAX: Final = 10.0
"""How long a question waits for the till to be quiet; a long receipt on a slow line takes as long."""
RETRY_S: Final = 1.0
"""A port that cannot be opened is tried again after this: plugged in, a till's software is to find it soon."""
TAKE_OVER_S: Final = 3.0
"""How long a till that opened the path waits for the port, where another program has that."""
LOOK_S: Final = 0.05
"""While a question waits, and while a line is full: how often its turn is looked for."""
FLOW_LOOK_S: Final = 0.005
"""Under XON/XOFF, how often it is looked whether some of `UNSENT_BYTES_MAX` have left."""
DEAF_S: Final = 0.02
"""A printer's node that is readable and has nothing is not listened to for so long."""
IDLE_LOOK_S: Final = 0.5
"""While the port was given away: how often a till that opened the path and writes nothing is looked for."""
HELD_LOOK_S: Final = 10.0
"""While the port was given away: how often it is looked whether nobody has it; that goes through all processes."""
PATH_LOOK_S: Final = 2.0
"""How often it is looked whether the path still leads to us: nobody but a person leads it elsewhere."""
UNSENT_BYTES_MAX: Final = 64
"""Under XON/XOFF, what is still in this machine when the printer says stop comes all the same: printers keep room for
138 bytes at least (TM-T88III specification, p. 64)."""
STOP_S: Final = 2.0

_WAITING: Final = {
    Held.SOMEBODY: "another program has it; it is shared when that lets go of it, or the till's software opens {}",
    Held.UNTOLD: "it was given to the till's software while no agent ran; waiting for that to open {}",
}

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class _Turn:
    """A question that waits for its turn, or is on its way."""

    request: bytes
    until_s: float
    went: Future[None]
    is_asked: bool = False

    def end(self, error: PortError | None = None) -> None:
        with contextlib.suppress(InvalidStateError):  # nobody waits for it any more
            if error is None:
                self.went.set_result(None)
            else:
                self.went.set_exception(error)


class SharedPort(Port):
    """A shared port, as a probe sees it: asked like any other, its questions wait for their turn."""

    def __init__(self, share: "Share", *, name: str, allowed: Container[bytes]) -> None:
        super().__init__(name=name, allowed=allowed)
        self._share = share
        self.attachment = share.port.attachment

    def open(self) -> None:
        """See that the port is there; raises what stands in the way."""
        trouble = self._share.trouble
        if trouble is not None:
            raise type(trouble)(str(trouble))
        self.attachment, self.node = self._share.port.attachment, self._share.port.node

    def close(self) -> None:
        """Leave the port to the till, which has it all the time."""

    def _send(self, data: bytes) -> None:
        self._share.ask(data)

    def _fileno(self) -> int:
        return self._share.hears.fileno()


class Share(threading.Thread):
    """One shared port; see the module."""

    def __init__(
        self, link: Path, port: Port, *, allowed: Container[bytes], group: int | None, line: LineSettings
    ) -> None:
        """Prepare it: `group` may open the path, or the port's own; `line` is had until a till sets it."""
        super().__init__(name=f"share-{link.name}", daemon=True)
        self.port = port
        self.trouble: PortError | None = PortLost(f"{port.name}: it is not open yet")
        """Why nothing can be asked; None while the port is there."""
        self.hears, self._tells = _pair()
        """Where what answers us is read."""
        self._link = link
        self._allowed = allowed
        self._group = group
        self._default_line = self._line = line
        self._side = TillSide(link, line)
        self._tee = Tee(allowed)
        self._turn: _Turn | None = None
        self._bell, self._rope = _pair()
        self._epoll = select.epoll()
        self._port_fd = -1
        self._port_events = 0
        self._deaf_until_s = 0.0
        self._has_till = False
        self._hangs_up_ourselves = False
        self._path_due_s = 0.0
        self._said_of_path = ""
        self._ended = False

    def ask(self, request: bytes) -> None:
        """Have a question asked, one at a time, and wait until it has gone; raises `PortError`."""
        turn = _Turn(request=request, until_s=time.monotonic() + TURN_S_MAX, went=Future())
        self._turn = turn
        trouble = self.trouble
        if trouble is not None:
            turn.end(type(trouble)(str(trouble)))
        self._ring()
        try:
            turn.went.result(timeout=2 * TURN_S_MAX)
        except TimeoutError:
            raise PortLost(f"{self.port.name}: whoever shares it does not turn") from None

    def stop(self) -> None:
        """Give the port back and let the path lead to it."""
        self._ended = True
        self._ring()
        if self.is_alive():
            self.join(STOP_S)
        elif self.ident is None:
            self._close()
        self.hears.close()
        self._rope.close()

    def run(self) -> None:
        """Serve until stopped."""
        self._epoll.register(self._bell, select.EPOLLIN)
        try:
            while not self._ended:
                self._serve_until_lost()
        finally:
            self._give_away()
            self._close()

    def _close(self) -> None:
        """Close what is the thread's own."""
        for end in (self._tells, self._bell, self._epoll):
            end.close()

    def _serve_until_lost(self) -> None:
        try:
            self._serve()
        except PortError as error:
            self._lost(error)
        except Exception as error:  # noqa: BLE001 - the outermost loop of its thread: a till depends on it
            _log.critical("the share of %s fails", self.port.name, exc_info=error)
            self._lost(PortLost(f"{self.port.name}: {type(error).__name__}: {error}"))
        if not self._ended:
            self._wait(RETRY_S)

    def _serve(self) -> None:
        """Take the port, offer it to the till, and pass bytes until one of us ends; raises `PortError`."""
        if leads_to_port(self._link):
            self._offer()
            self._await_till()
        else:
            self._take()
            self._offer()
        if not self._ended:
            self._set_trouble(None)
        while not self._ended:
            self._pass()

    # --- the port and the path

    def _take(self) -> None:
        """Open the port; raises `PortError`."""
        try:
            self.port.open()
        finally:
            if self.port.node is not None:
                note_direct(self._link, self.port.node)
        port_fd = self.port.fileno()
        try:
            self._epoll.register(port_fd, select.EPOLLIN)
        except OSError as error:  # EPERM: a file
            raise PortAbsent(f"{self.port.name}: {ports.NOT_A_LINE}") from error
        self._port_fd, self._port_events = port_fd, select.EPOLLIN
        self._line = self._default_line
        self._tee = Tee(self._allowed)

    def _release(self) -> None:
        if self._port_fd >= 0:
            with contextlib.suppress(OSError):
                self._epoll.unregister(self._port_fd)
        self._port_fd = -1
        self.port.close()

    def _offer(self) -> None:
        """Offer the till a side of its own; raises `PortError`."""
        group = self._group
        if group is None:
            with contextlib.suppress(OSError):
                group = (self.port.node or self._link).stat().st_gid
        self._side.offer(group)
        self._path_due_s = time.monotonic() + PATH_LOOK_S
        self._has_till = False
        self._watch_side()

    def _watch_side(self) -> None:
        self._epoll.register(self._side.fileno(), select.EPOLLIN | select.EPOLLET)
        self._hangs_up_ourselves = True

    def _await_till(self) -> None:
        """Open the port once the till has opened the path, or it is sure that nobody has it; raises `PortError`."""
        look_due_s = 0.0
        while not self._ended and not self._side.is_open:
            if not direct_of(self._link).exists():
                raise PortAbsent(f"{self.port.name}: it is not there, and so nobody has it")
            now_s = time.monotonic()
            if now_s >= look_due_s:
                look_due_s = now_s + HELD_LOOK_S
                if self._took_from_nobody():
                    return
            self._keep_path(now_s)
            self._wait(IDLE_LOOK_S)
        until_s = time.monotonic() + TAKE_OVER_S
        while not self._ended:
            try:
                self._take()
            except PortBusy:
                if time.monotonic() >= until_s:
                    raise
                self._wait(LOOK_S)
            else:
                return

    def _took_from_nobody(self) -> bool:
        """Open the port where nobody has it, or say what is waited for; raises `PortError`."""
        held = Held.NOBODY if self.port.opens_for_one else self._held()
        if held is Held.NOBODY:
            try:
                self._take()
            except PortBusy:
                held = Held.SOMEBODY
            else:
                return True
        self._set_trouble(PortBusy(f"{self.port.name}: {_WAITING[held].format(self._link)}"))
        return False

    def _held(self) -> Held:
        node = self.port.found()
        return Held.UNTOLD if node is None else port_holders.look(node)

    def _keep_path(self, now_s: float) -> None:
        """Let the path lead to us again, where somebody led it elsewhere; that is logged once, until it is well."""
        if now_s < self._path_due_s:
            return
        self._path_due_s = now_s + PATH_LOOK_S
        before, self._said_of_path = self._said_of_path, ""
        if self._side.has_link:
            return
        try:
            said = f"it led to {self._side.lead_here() or 'nowhere'} though the port is shared by us; it is mended"
        except OSError as error:
            said = f"it does not lead to us, and cannot be mended: {error.strerror}"
        self._said_of_path = said
        if said != before:
            _log.warning("%s: %s", self._link, said)

    def _is_anothers(self) -> bool:
        """Whether the path leads to another agent's pseudo-terminal."""
        return not self._side.has_link and share_guard.is_served(str(self._link))

    def _lost(self, error: PortError) -> None:
        """Hang the till up, and take its path away, or lead it to who has the port instead."""
        is_anothers = self._is_anothers()
        self._set_trouble(error)
        self._release()
        self._side.withdraw()
        if is_anothers:
            return
        with contextlib.suppress(OSError):
            if isinstance(error, PortBusy):
                self._lead_to_port()
            elif self._link.is_symlink():
                self._link.unlink()

    def _give_away(self) -> None:
        """Let the till go on by itself."""
        self.trouble = PortLost(f"{self.port.name}: the agent ends")
        self._end_turn(self.trouble)
        self._release()
        try:
            if not self._is_anothers():
                self._lead_to_port()
        except OSError as error:
            _log.error("%s does not lead to the port: %s", self._link, error)
        self._side.withdraw()

    def _lead_to_port(self) -> None:
        """Let the path lead to the port itself, or nowhere where that has no path; raises `OSError`."""
        if direct_of(self._link).is_symlink():
            lead(self._link, str(direct_of(self._link).readlink()))
        elif self._link.is_symlink():
            self._link.unlink()

    def _set_trouble(self, trouble: PortError | None) -> None:
        """Say how it stands, and log what changed."""
        before, self.trouble = self.trouble, trouble
        if trouble is None:
            _log.info("%s is shared as %s", self.port.name, self._link)
            return
        self._end_turn(trouble)
        if str(before) != str(trouble):
            _log.warning("%s: not shared: %s", self._link, trouble)

    # --- bytes

    def _pass(self) -> None:
        """Move what there is to move, and wait for more; raises `PortError`."""
        now_s = time.monotonic()
        self._keep_path(now_s)
        self._hear_till(now_s)
        self._take_turn(now_s)
        had_room = self._tee.room
        wait_s = self._write(now_s)
        # What the till wrote while there was no room wakes nobody again.
        waits_s = PATH_LOOK_S if wait_s is None else min(wait_s, PATH_LOOK_S)
        self._wait(waits_s if had_room or not self._tee.room else 0.0)

    def _wait(self, wait_s: float | None) -> None:
        """Wait for bytes or the bell; what the printer says is heard."""
        for descriptor, events in self._epoll.poll(wait_s):
            if descriptor == self._bell.fileno():
                self._bell.recv(ports.READ_BYTES_MAX)
            elif descriptor == self._port_fd:
                if events != select.EPOLLOUT:
                    self._hear_printer(time.monotonic())
            elif events & select.EPOLLHUP:
                self._has_till = self._has_till or not self._hangs_up_ourselves
                self._hangs_up_ourselves = False

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # it rings already
            self._rope.send(b".")

    def _hear_till(self, now_s: float) -> None:
        while room := self._tee.room:
            data = self._side.read(room)
            if data is None:
                self._till_left()
            if not data:
                return
            self._has_till = True
            self._tee.till_wrote(data, now_s)

    def _till_left(self) -> None:
        """Make ready for the next; raises `PortError`."""
        if not self._has_till:
            return
        self._has_till = False
        self._tee.till_left()
        self._epoll.unregister(self._side.fileno())
        if self._side.forget():
            self._offer()
        else:
            self._watch_side()

    def _hear_printer(self, now_s: float) -> None:
        try:
            data = self.port.take()
        except PortLost as error:
            self._connect_again(error)
            return
        if not data:
            self._deaf_until_s = now_s + DEAF_S
        said = self._tee.device_said(data, now_s)
        self._side.write(said.till)
        if said.agent:
            with contextlib.suppress(OSError):  # nobody has listened for long
                self._tells.send(said.agent)

    def _connect_again(self, error: PortLost) -> None:
        """Open the port once more, where nothing is lost by it; raises `PortError`."""
        is_clear = self._tee.is_clear
        self._end_turn(error)
        self._release()
        if not is_clear:
            raise error
        self._take()

    def _take_turn(self, now_s: float) -> None:
        """Let the question that waits go, if nothing stands in its way."""
        turn = self._turn
        if turn is None or turn.is_asked:
            return
        obstacle = self._tee.obstacle(turn.request, now_s)
        if obstacle is None and self.port.unsent():
            obstacle = Obstacle.TILL_WRITES
        if obstacle is None:
            turn.is_asked = True
            self._tee.ask(turn.request, now_s)
        elif now_s >= turn.until_s:
            self._end_turn(TurnMissed(f"{self.port.name}: {obstacle}"))

    def _see_turn(self) -> None:
        """Tell whoever asked that the question has gone, or that it could not."""
        if self._turn is None or not self._turn.is_asked:
            return
        if self._tee.has_asked:
            self._end_turn(None)
        elif not self._tee.is_asking:
            self._end_turn(PortLost(f"{self.port.name}: it took no bytes"))

    def _end_turn(self, error: PortError | None) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.end(error)

    def _write(self, now_s: float) -> float | None:
        """Write what is due, as far as it goes; returns after how many seconds to look again, None for no reason to."""
        if not self._follow_line():
            return LOOK_S
        due = self._tee.due(now_s)
        if self._tee.has_software_flow:
            due = due[: max(UNSENT_BYTES_MAX - self.port.unsent(), 0)]
        count = self.port.pass_on(due) if due else 0
        if count:
            self._tee.gone(count, now_s)
        self._see_turn()
        is_full = count < len(due)
        self._watch_port(now_s, for_room=is_full)
        if not is_full and self._tee.due(now_s):
            return 0.0 if count else FLOW_LOOK_S
        waits = [self._tee.next_due_s(now_s), LOOK_S if self._turn else None, self._deaf_s(now_s)]
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    def _watch_port(self, now_s: float, *, for_room: bool) -> None:
        """Have the port wake us for what it says, and for room where it is full."""
        events = 0 if self._deaf_s(now_s) else select.EPOLLIN
        events |= select.EPOLLOUT if for_room else 0
        if events != self._port_events:
            self._port_events = events
            self._epoll.modify(self._port_fd, events)

    def _deaf_s(self, now_s: float) -> float | None:
        """Say how long not to listen to a node that is readable and has nothing."""
        return self._deaf_until_s - now_s if self._deaf_until_s > now_s else None

    def _follow_line(self) -> bool:
        """Give the port the settings of the till's line; says whether bytes may go already.

        A question passes a line that the printer holds off by RTS/CTS; the till's bytes wait meanwhile.
        """
        line, self._tee.has_software_flow = self._side.settings()
        wanted = replace(line, has_hardware_flow=line.has_hardware_flow and not self._tee.is_asking)
        if wanted != self._line:
            if self.port.unsent():
                return False
            self.port.set_line(wanted)
            self._line = wanted
        return True


@contextlib.contextmanager
def serving(config: AgentConfig) -> Iterator[Mapping[str, Port]]:
    """Share what is configured so, while this lasts; gives the port of each such component. Raises `OperatorError`."""
    printers = [printer for printer in config.printer if printer.share is not None]
    shares: dict[str, tuple[Share, Port]] = {}
    with _guarded([printer.share for printer in printers if printer.share is not None]):
        try:
            for printer in printers:
                share = share_of(printer)
                shares[printer.components[0]] = share, SharedPort(share, name=printer.port, allowed=escpos.ALLOWED)
                share.start()
            yield {component: port for component, (_, port) in shares.items()}
        finally:
            for share, _ in shares.values():
                share.stop()


def share_of(printer: PrinterConfig) -> Share:
    """Make the share of one printer; raises `ConfigError`."""
    if printer.share is None:
        raise AssertionError(f"{printer.name}: it is not shared")
    return Share(
        printer.share,
        ports.for_bytes(printer, frozenset()),
        allowed=escpos.ALLOWED,
        group=_group(printer),
        line=LineSettings(baud_rate=printer.baud_rate, stop_bits=printer.stop_bits, has_hardware_flow=False),
    )


def _group(printer: PrinterConfig) -> int | None:
    if printer.share_group is None:
        return None
    try:
        return grp.getgrnam(printer.share_group).gr_gid
    except KeyError:
        said = f"expected a group of this machine, got {printer.share_group!r}"
        raise ConfigError(f"printer {printer.name}: share_group: {said}") from None


@contextlib.contextmanager
def _guarded(paths: list[Path]) -> Iterator[None]:
    """Have a guard look after the paths, whatever ends us."""
    if not paths:
        yield
        return
    command = [sys.executable, "-I", "-S", share_guard.__file__, *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as guard:  # noqa: S603 - our own interpreter and module
        try:
            yield
        finally:
            if guard.stdin is not None:
                guard.stdin.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    for end in (one, other):
        end.setblocking(False)  # noqa: FBT003 - the socket library's own signature
    return one, other
