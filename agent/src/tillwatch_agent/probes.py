"""Probes: one per thing that is watched, each with its own pace; and the one that joins a port with a driver.

A probe blocks for a bounded time, is used by one thread at a time, and never raises for what a device or a network
does: that is what its observations are for.
"""

import logging
import threading
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from tillwatch_agent import ports
from tillwatch_agent.config import AgentConfig, PrinterConfig
from tillwatch_agent.drivers import SILENT_POWER_STATES, Ask, Attachment, escpos
from tillwatch_agent.health import Observation
from tillwatch_agent.machine import MachineProbe
from tillwatch_agent.network import NetworkProbe
from tillwatch_agent.ports import Port, PortAbsent, PortBusy, PortError, PortLost, PortRefused
from tillwatch_agent.usb import UsbProbe, not_attached
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState

_log = logging.getLogger(__name__)

_Seen = TypeVar("_Seen")

BUSY_POLLS_MAX = 12
"""Polls at most that a busy port is left alone: a minute, at one in 5 s, in which a till's own job surely ends."""

ATTEMPTS_MAX = 2
"""A port that is lost during a look is looked for once more: it may be back under another number."""

BUSY_RETRIES_MAX = 50
BUSY_RETRY_S = 0.1
"""Who looks once tries a busy port again for some 5 s: who asks by turns, as the agent does, has it no longer."""

THREADS_MAX = 8
"""Probes that look at once; more would only wait for the same machine."""


class Probe(Protocol):
    """Something that looks at one or more components."""

    name: str
    poll_s: float

    def poll(self) -> tuple[Observation, ...]:
        """Look once."""

    def forget(self) -> None:
        """Drop what was learned of the device."""

    def close(self) -> None:
        """Let go of what is held."""


def build(config: AgentConfig) -> tuple[Probe, ...]:
    """Make every probe that a configuration asks for; opens nothing."""
    probes: list[Probe] = [
        PrinterProbe(printer, ports.for_printer(printer, escpos.ALLOWED)) for printer in config.printer
    ]
    probes += [
        UsbProbe(component=device.component, ids=device.usb_ids, poll_s=device.poll_s) for device in config.usb_device
    ]
    if config.network.enabled:
        probes.append(NetworkProbe(network=config.network, acquirers=config.acquirer))
    if config.machine.enabled:
        probes.append(MachineProbe(config.machine))
    return tuple(probes)


class PrinterProbe:
    """One printer through one port; a busy port is left alone for ever longer."""

    def __init__(self, printer: PrinterConfig, port: Port, *, timing: escpos.Timing | None = None) -> None:
        self.name, *_ = printer.components
        self.poll_s = printer.poll_s
        self._printer = printer
        self._port = port
        self._timing = timing or escpos.Timing()
        self._memory = escpos.Memory()
        self._last: tuple[Observation, ...] = ()
        self._busy_polls = 0
        self._polls_to_skip = 0

    def poll(self) -> tuple[Observation, ...]:
        """Look once, unless the port was busy lately: then its last answer stands."""
        if self._polls_to_skip > 0:
            self._polls_to_skip -= 1
            return self._last
        before, self._last = self._last, self._looked()
        self._log_turn(before)
        return self._last

    def forget(self) -> None:
        """Learn the printer's capabilities anew."""
        self._memory = escpos.Memory()
        self._polls_to_skip = self._busy_polls = 0

    def close(self) -> None:
        """Close the port, if a look was cut short."""
        self._port.close()

    def _looked(self) -> tuple[Observation, ...]:
        try:
            seen = self._talk()
        except PortError as error:
            return self._without_port(error)
        self._busy_polls = 0
        self._memory = seen.memory
        level = self._printer.drawer_open_level
        return escpos.observe(
            seen, name=self._printer.name, attachment=self._port.attachment, drawer_open_level=level and level.value
        )

    def _talk(self) -> escpos.Look:
        for attempt in range(ATTEMPTS_MAX):
            try:
                self._port.open()
                return converse(self._port, escpos.look(self._memory), self._timing)
            except PortLost:
                if attempt == ATTEMPTS_MAX - 1:
                    raise
            finally:
                self._port.close()
        raise AssertionError("the last attempt returns or raises")

    def _without_port(self, error: PortError) -> tuple[Observation, ...]:
        is_busy = isinstance(error, PortBusy)
        self._busy_polls = min(max(2 * self._busy_polls, 1), BUSY_POLLS_MAX) if is_busy else 0
        self._polls_to_skip = self._busy_polls
        if not is_busy:
            self._memory = escpos.Memory()
        printer = without_port(self.name, error, self._port.attachment)
        drawers = [escpos.drawer_unknown(printer, name) for name in self._printer.components[1:]]
        return (printer, *drawers)

    def _log_turn(self, before: tuple[Observation, ...]) -> None:
        """Log the first look of a kind and the recovery, never the repetition."""
        was, now = (before[0].reason if before else None), self._last[0].reason
        if was == now:
            return
        if now is None:
            _log.info("%s answers", self.name)
        else:
            _log.warning("%s: %s (%s)", self.name, now, self._last[0].true_codes.get(now))


def converse(port: Port, talk: Generator[Ask, bytes, _Seen], timing: escpos.Timing) -> _Seen:
    """Run a driver's talk over an open port: drain, ask, gather, until it returns."""
    received: bytes | None = None
    while True:
        try:
            ask = next(talk) if received is None else talk.send(received)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # what the generator returned, by its type
        port.drain(timing.late_s if ask.may_be_preceded else 0.0)
        received = port.ask(ask.request, ask.is_answered, timing.reply_s, timing.settle_s)


def poll_all(probes: Iterable[Probe]) -> tuple[Observation, ...]:
    """Let every probe look once, side by side, as a look at a silent device takes seconds."""
    probes = tuple(probes)
    with ThreadPoolExecutor(max_workers=min(len(probes), THREADS_MAX) or 1, thread_name_prefix="probe") as pool:
        return tuple(observation for seen in pool.map(_poll_patiently, probes) for observation in seen)


def _poll_patiently(probe: Probe) -> tuple[Observation, ...]:
    """Look; while the port is busy, look again for a while."""
    seen = probe.poll()
    for _ in range(BUSY_RETRIES_MAX):
        if not _is_busy(seen):
            break
        threading.Event().wait(BUSY_RETRY_S)
        probe.forget()
        seen = probe.poll()
    return seen


def _is_busy(seen: tuple[Observation, ...]) -> bool:
    return any(ConditionCode.PORT_BUSY in observation.true_codes for observation in seen)


def without_port(component: str, error: PortError, attachment: Attachment) -> Observation:
    """Say what is known of a device whose port cannot be used."""
    match error:
        case PortAbsent():
            return not_attached(component, str(error))
        case PortBusy():
            reason, power_state = ConditionCode.PORT_BUSY, PowerState.UNKNOWN
        case PortRefused():
            reason, power_state = ConditionCode.PORT_REFUSED, PowerState.UNKNOWN
        case PortLost():
            reason, power_state = ConditionCode.NO_RESPONSE, SILENT_POWER_STATES[attachment]
        case _:
            reason, power_state = ConditionCode.NO_RESPONSE, PowerState.OFF_OFFLINE
    return Observation(
        component=component,
        health=Health.UNKNOWN,
        reason=reason,
        power_state=power_state,
        true_codes={reason: str(error)},
    )
