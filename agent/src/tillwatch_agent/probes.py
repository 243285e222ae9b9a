"""Probes: one per thing that is watched, each with its own pace; and the one that joins a port with a driver.

A probe blocks for a bounded time, is used by one thread at a time, and never raises for what a device or a network
does: that is what its observations are for.
"""

import logging
import math
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tillwatch_agent import config as configuration
from tillwatch_agent import culprit, families, machine, plugging, ports, usb
from tillwatch_agent.config import AgentConfig, ConfigError, LineConfig, PaymentDeviceConfig
from tillwatch_agent.culprit import Line
from tillwatch_agent.drivers import (
    SILENT_POWER_STATES,
    Ask,
    Attachment,
    Device,
    Driver,
    Looked,
    Occasion,
    Timing,
    Transport,
)
from tillwatch_agent.health import Observation
from tillwatch_agent.https_port import HttpsPort, PortUntrusted
from tillwatch_agent.machine import MachineProbe
from tillwatch_agent.network import NetworkProbe
from tillwatch_agent.plugging import UsbDevice, Wanted, not_attached
from tillwatch_agent.ports import Port, PortAbsent, PortBusy, PortError, PortLost, PortRefused, TurnMissed
from tillwatch_agent.power import PowerProbe
from tillwatch_agent.usb import UsbProbe
from tillwatch_agent.usb_control import UsbControlPort
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

FRESH_POLLS = 3
"""Periods after which a look is no more taken for what is so now; the heartbeat tells it stale by then."""

THREADS_MAX = 8
"""Probes that look at once; more would only wait for the same machine."""


class Probe(Protocol):
    """Something that looks at one or more components."""

    name: str
    poll_s: float
    hangs_on_plug: bool
    """Whether what it looks at can be unplugged from this machine: it then looks at once when something is."""

    def poll(self) -> tuple[Observation, ...]:
        """Look once."""

    def forget(self) -> None:
        """Drop what was learned of the device."""

    def close(self) -> None:
        """Let go of what is held."""


def build(config: AgentConfig, shared: Mapping[str, Port] | None = None) -> tuple[Probe, ...]:
    """Make every probe that a configuration asks for; opens nothing. Raises `OperatorError` for a driver's settings.

    `shared` has, by component, the ports that somebody holds already to share them with the till.
    """
    watched = config.wanted
    probes: list[Probe] = [_device_probe(line, watched, shared or {}) for line in config.lines]
    probes += [UsbProbe(wanted=device.wanted, poll_s=device.poll_s, others=watched) for device in config.usb_device]
    if config.network.enabled:
        modem = next((probe for probe in probes if config.modem and probe.name == config.modem.components[0]), None)
        newest = modem.newest if isinstance(modem, DeviceProbe) else None
        probes.append(NetworkProbe(network=config.network, acquirers=config.acquirer, modem=newest))
    if config.machine.enabled:
        probes.append(MachineProbe(config.machine))
        probes.append(PowerProbe(poll_s=config.machine.poll_s))
    return (*probes, *_product_probes(config))


def _product_probes(config: AgentConfig) -> "Iterable[Probe]":
    """Make a probe of each product that releases are made of; what they need is in memory only where there are any."""
    if not config.update.products:
        return ()
    from tillwatch_agent import updates  # noqa: PLC0415 - see above
    from tillwatch_agent.installer.disk import Disk  # noqa: PLC0415 - see above

    set_up = updates.products(config.update, Disk())
    return [updates.ProductProbe(name, product, machine.host_boot_id()) for name, product in set_up.items()]


def lines(config: AgentConfig) -> tuple[Line, ...]:
    """Say how each configured device hangs on this machine, as far as its port says."""
    spoken_to = (
        Line(
            component=line.components[0],
            attachment=attachment(line.port),
            socket=line.socket or _socket(line.port),
        )
        for line in config.lines
    )
    looked_for = (
        Line(component=device.component, attachment=Attachment.USB, socket=device.socket)
        for device in config.usb_device
    )
    return (*spoken_to, *looked_for)


def _socket(port: str) -> str | None:
    """Find which socket a port is named by, though nothing sits in it."""
    by_path = culprit.socket_of(port)
    return usb.location_of(*by_path) if by_path else None


def attachment(port: str) -> Attachment:
    """Tell by the name of a port how a device hangs at it."""
    if not port.startswith("/"):
        return Attachment.TCP
    return Attachment.USB if Path(port).resolve().name.startswith(("ttyACM", "lp")) else Attachment.SERIAL


class DeviceProbe:
    """One device by its driver, through one port; a busy port is left alone for ever longer."""

    def __init__(
        self,
        driver: Driver,
        port: Port,
        *,
        poll_s: float,
        timing: Timing | None = None,
        others: Iterable[Wanted] = (),
        sysfs: Path = usb.SYSFS,
    ) -> None:
        self.name, *_ = driver.components
        self.poll_s = poll_s
        self.hangs_on_plug = port.attachment is not Attachment.TCP
        self._others = tuple(others)
        self._sysfs = sysfs
        self._device: UsbDevice | None = None
        """The USB device behind the port, as it was when the port was opened last."""
        self._driver = driver
        self._port = port
        self._timing = timing or driver.timing
        self._memory: Any = None
        self._look_no = 0
        self._last: tuple[Observation, ...] = ()
        self._looked_at_s = -math.inf
        self._busy_polls = 0
        self._polls_to_skip = 0

    def poll(self) -> tuple[Observation, ...]:
        """Look once, unless the port was busy lately: then its last answer stands."""
        if self._polls_to_skip > 0:
            self._polls_to_skip -= 1
            return self._last
        before, self._last = self._last, self._looked()
        self._looked_at_s = time.monotonic()
        self._log_turn(before)
        return self._last

    def newest(self) -> Observation | None:
        """Give what the last look said of the device, unless that is old; from any thread."""
        age_s = time.monotonic() - self._looked_at_s
        return self._last[0] if self._last and age_s <= FRESH_POLLS * self.poll_s else None

    def forget(self) -> None:
        """Learn the device's capabilities anew."""
        self._memory = None
        self._polls_to_skip = self._busy_polls = 0

    def close(self) -> None:
        """Close the port, if a look was cut short."""
        self._port.close()

    def _looked(self) -> tuple[Observation, ...]:
        try:
            seen = self._talk()
        except PortError as error:
            return self._without_port(error)
        except Exception as error:  # noqa: BLE001 - a driver may be anybody's; its mistake is told of its device alone
            return self._failed(error)
        self._busy_polls = 0
        self._memory = seen.memory
        return self._placed(seen.observations)

    def _placed(self, seen: tuple[Observation, ...]) -> tuple[Observation, ...]:
        """Add where the device is plugged in, which says later what else hung on the same hub."""
        self._device = usb.owner(self._port.node, self._sysfs) if self._port.node else None
        if self._device is None or not seen:
            return seen
        device, *others = seen
        return replace(device, facts=device.facts | {"location": self._device.location}), *others

    def _talk(self) -> Looked:
        for attempt in range(ATTEMPTS_MAX):
            try:
                self._port.open()
                occasion = Occasion(attachment=self._port.attachment, look_no=self._look_no)
                self._look_no += 1
                return converse(self._port, self._driver.look(self._memory, occasion), self._timing)
            except PortLost:
                if attempt == ATTEMPTS_MAX - 1:
                    raise
            finally:
                self._port.close()
        raise AssertionError("the last attempt returns or raises")

    def _without_port(self, error: PortError) -> tuple[Observation, ...]:
        is_busy, takes_turns = isinstance(error, PortBusy), isinstance(error, TurnMissed)
        to_skip = min(max(2 * self._busy_polls, 1), BUSY_POLLS_MAX)
        self._busy_polls = to_skip if is_busy and not takes_turns else 0
        self._polls_to_skip = self._busy_polls
        if not is_busy:
            self._memory = None
        return self._untold(self._missing(error) or without_port(self.name, error, self._port.attachment))

    def _missing(self, error: PortError) -> Observation | None:
        """Say where a device was that is gone, and what is in its place; None where neither is known."""
        known = self._device
        if known is None or not isinstance(error, PortAbsent):
            return None
        others = (*self._others, Wanted(component=self.name, ids=known.ids))
        sitting = plugging.sitting_in(known.location, usb.attached(self._sysfs), others)
        if sitting is None:
            return not_attached(self.name, str(error), socket=known.location)
        return plugging.unknown_device(self.name, known.ids, sitting)

    def _failed(self, error: Exception) -> tuple[Observation, ...]:
        reason = ConditionCode.DRIVER_FAILED
        said = {reason: f"{type(error).__name__}: {error}"}
        self._memory = None
        return self._untold(
            Observation(component=self.name, health=Health.UNKNOWN, reason=reason, true_codes=dict(said))
        )

    def _untold(self, device: Observation) -> tuple[Observation, ...]:
        """Say of what hangs at a device that cannot be asked: unknown, for the device's reason."""
        reason = device.reason or ConditionCode.NO_RESPONSE
        others = self._driver.components[1:]
        return (device, *(Observation(component=name, health=Health.UNKNOWN, reason=reason) for name in others))

    def _log_turn(self, before: tuple[Observation, ...]) -> None:
        """Log the first look of a kind and the recovery, never the repetition."""
        was, now = (before[0].reason if before else None), self._last[0].reason
        if was == now:
            return
        if now is None:
            _log.info("%s answers", self.name)
        else:
            _log.warning("%s: %s (%s)", self.name, now, self._last[0].true_codes.get(now))


def _device_probe(line: LineConfig, watched: tuple[Wanted, ...], shared: Mapping[str, Port]) -> DeviceProbe:
    secret_file = line.password_file if isinstance(line, PaymentDeviceConfig) else None
    secret = {"password": configuration.read_secret(secret_file)} if secret_file else {}
    device = Device(
        kind=line.component_kind,
        name=line.name,
        settings={**line.driver_settings, **secret},
        started_s=machine.wall_clock_s(),
    )
    driver = families.driver(line.protocol, device)
    port = shared.get(line.components[0]) or _port(line, driver)
    return DeviceProbe(driver, port, poll_s=line.poll_s, others=watched)


def _port(line: LineConfig, driver: Driver) -> Port:
    """Build what carries a driver's requests; raises `ConfigError` where the configured port cannot."""
    is_https = line.port.startswith("https://")
    if is_https is not (driver.transport is Transport.HTTPS):
        expected = "https://host:port" if driver.transport is Transport.HTTPS else "a serial line or tcp://host:port"
        raise ConfigError(f"{driver.components[0]}: port: expected {expected} for {line.protocol}, got {line.port}")
    if is_https:
        return HttpsPort(
            url=line.port,
            allowed=driver.allowed,
            ca_file=line.ca_file if isinstance(line, PaymentDeviceConfig) else None,
            server_name=line.server_name if isinstance(line, PaymentDeviceConfig) else None,
        )
    if driver.transport is Transport.USB_CONTROL:
        if not line.port.startswith("/dev/usb/"):
            said = f"expected /dev/usb/lp0 or the like for {line.protocol}, got {line.port}"
            raise ConfigError(f"{driver.components[0]}: port: {said}")
        return UsbControlPort(name=line.port, allowed=driver.allowed, locate=lambda: ports.locate(line, "usbmisc"))
    return ports.for_bytes(line, driver.allowed)


def converse(port: Port, talk: Generator[Ask, bytes, _Seen], timing: Timing) -> _Seen:
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
        case PortUntrusted():
            reason, power_state = error.code, SILENT_POWER_STATES[attachment]
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
