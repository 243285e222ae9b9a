"""The doctor: everything an installer can get wrong, looked at once, each with what to do about it in plain words.

It looks at each component as `run` does, and at what `run` needs: the broker and the login there, the state directory,
the secrets, the clock. It leaves nothing behind, and an agent that runs on the same `state_dir` undisturbed: a broker
that is told the same name twice would throw that agent out, so the login is then not tried. What is attached and not
configured is told by its USB ids alone: nothing is written to it.
"""

import contextlib
import fcntl
import grp
import ipaddress
import json
import os
import pwd
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from tillwatch_agent import clock, connection_note, outbox, ports, reach, recognise, resolver, runtime
from tillwatch_agent import config as settings
from tillwatch_agent.checks import Check, Verdict, blamed, phases, way_out, with_modem
from tillwatch_agent.clock import BY_WALL, Clock, JudgedBy, Judging
from tillwatch_agent.config import AgentConfig, BrokerConfig, ConfigError, MachineConfig, UpdateConfig
from tillwatch_agent.core import Disconnect
from tillwatch_agent.culprit import parts
from tillwatch_agent.diagnosis import MISCONFIGURED, NOT_ASKED, UPLINK_DOWN
from tillwatch_agent.errors import MachineError, OperatorError
from tillwatch_agent.health import Observation
from tillwatch_agent.job_standing import Reason
from tillwatch_agent.moment import Moment
from tillwatch_agent.network import NetworkProbe
from tillwatch_agent.probes import Probe, lines, poll_all
from tillwatch_agent.publisher import CONNACK_TIMEOUT_S, CONNECT_TIMEOUT_S, Loop, Publisher
from tillwatch_agent.share_check import NOT_LOOKED_AT, SHARED_NOW, check_shares
from tillwatch_agent.updates import NOT_INSTALLED
from tillwatch_agent.words import ENGLISH, Words, padded
from tillwatch_protocol.vocabulary import ConditionCode, Health, Kind

BROKER_TIMEOUT_S = 5.0
LOGIN_TIMEOUT_S = 2 * CONNECT_TIMEOUT_S + CONNACK_TIMEOUT_S
"""For TCP, TLS and the broker's answer; the publisher keeps to it by itself."""
VERDICT_COLUMNS = 8
PORTS_LISTED_MAX = 8
"""Ports named in an advice; a till with more has a list of its own."""


class Beside(StrEnum):
    """Whether the agent itself runs on the same `state_dir`."""

    NOBODY = "no agent runs"
    AGENT = "the agent is running"
    UNTOLD = "state_dir does not tell whether the agent is running"


ADVICE: Final = {
    ConditionCode.GARBLED_RESPONSE: "check baud_rate and parity, that it is an ESC/POS printer, and its emulation mode",
    ConditionCode.UNKNOWN_DEVICE: "put the right device back into its place, or name this one in the configuration",
    ConditionCode.PAPER_END: "load paper",
    ConditionCode.PAPER_NEAR_END: "have a new roll ready",
    ConditionCode.COVER_OPEN: "close the cover",
    ConditionCode.CUTTER_ERROR: "clear the jam at the cutter, then switch the printer off and on",
    ConditionCode.UNRECOVERABLE_ERROR: "switch the printer off and on; if it stays, it needs service",
    ConditionCode.RECOVERABLE_ERROR: "clear the paper path and press the feed button",
    ConditionCode.HEAD_HOT: "let the print head cool; it goes on by itself",
    ConditionCode.OFFLINE: "put the printer online; look at its lamps",
    ConditionCode.MECHANICAL_ERROR: "clear the paper path, then switch the printer off and on",
    ConditionCode.DEVICE_ERROR: "look at the device's lamps or display; switch it off and on",
    ConditionCode.PAPER_JAM: "clear the jam",
    ConditionCode.DRIVER_FAILED: "a mistake in the driver of this protocol: tell whoever brought it, with this line",
    ConditionCode.SIM_ABSENT: "put the SIM card in, then switch the modem off and on",
    ConditionCode.SIM_LOCKED: "enter the SIM's PIN, or switch its PIN off; for a PUK ask the carrier",
    ConditionCode.SIM_FAILURE: "take the SIM card out, clean it and put it back; if it stays, change it",
    ConditionCode.REGISTRATION_DENIED: "the carrier refuses this SIM: ask the carrier about its subscription",
    ConditionCode.SIGNAL_WEAK: "move the antenna, or turn it; look at its cable",
    ConditionCode.READER_FAILURE: "switch the payment device off and on; if it stays, change it",
    ConditionCode.PIN_PAD_FAILURE: "switch the payment device off and on; if it stays, change it",
    ConditionCode.SECURITY_FAILURE: "take the payment device out of use and call its service: its security has failed",
    ConditionCode.OUT_OF_ORDER: "switch the payment device off and on; if it stays, call its service",
    ConditionCode.SETUP_REQUIRED: "do on the payment device what its display asks for: initialisation or a diagnosis",
    ConditionCode.IN_MAINTENANCE: "it is being maintained from afar: wait until it has ended",
    ConditionCode.HOST_UNREACHABLE: "check the payment device's own network cable, then call the acquirer",
    ConditionCode.MEMORY_FULL: "do the end-of-day on the payment device",
    ConditionCode.CARD_LEFT: "take the card out",
    ConditionCode.SUPPLY_LOW: "check the payment device's power supply, or charge it",
    ConditionCode.ON_BATTERY: "plug the power in",
    ConditionCode.BATTERY_LOW: "plug the power in",
    ConditionCode.BATTERY_BAD: "replace the battery",
    ConditionCode.DRAWER_OPEN: "close the drawer; if it is closed, turn drawer_open_level round",
    ConditionCode.NOT_REGISTERED: "the modem finds no network: move the antenna, and ask the carrier about the SIM",
    ConditionCode.LINK_DOWN: "plug the network cable in, or bring the modem up",
    ConditionCode.NO_ADDRESS: "the interface has no address: check DHCP, or the fixed address",
    ConditionCode.NO_ROUTE: "there is no default route: check DHCP, or the fixed gateway",
    ConditionCode.GATEWAY_UNREACHABLE: "the router does not answer: check that it is on, and the cable to it",
    ConditionCode.DNS_FAILURE: "names are not found: check the name service of this machine, and the spelling",
    ConditionCode.WAN_UNREACHABLE: "nothing beyond the router answers: call the carrier",
    ConditionCode.CAPTIVE_PORTAL: "a sign-in page stands in the way: sign in once, or have this machine let through",
    ConditionCode.TCP_FAILURE: "it does not answer: check host, port and firewall, then call the acquirer",
    ConditionCode.TCP_REFUSED: "it refuses the connection: check the port, then call the acquirer",
    ConditionCode.TLS_FAILURE: "no TLS on this port: check the port, and whether a portal or a proxy stands between",
    ConditionCode.CERTIFICATE_EXPIRED: "its certificate has expired: check the clock here, then call the acquirer",
    ConditionCode.CERTIFICATE_UNTRUSTED: "its certificate is not trusted: check ca_file, host, and the clock here",
    ConditionCode.CERTIFICATE_EXPIRING: "its certificate ends soon: tell the acquirer",
    ConditionCode.REPLY_FAILURE: "it is reached and does not serve: check reply_path, then call the acquirer",
    ConditionCode.CLOCK_WRONG: "its certificate is valid, by the true time: set the clock here",
    ConditionCode.DISK_LOW: "free some disk space",
    ConditionCode.MEMORY_LOW: "close programs, or add memory",
    ConditionCode.CPU_HOT: "free the machine's air inlets",
    UPLINK_DOWN: "judged when network:uplink is well again",
    NOT_ASKED: "judged when network:uplink is well again",
    NOT_INSTALLED: "a rollout brings its first release",
    Reason.NOT_STARTED: "nothing of it was started since the machine did: start it by its launcher",
    MISCONFIGURED: "check ca_file: it must hold the acquirer's authority in PEM",
}
"""What to do about a condition or a reason; what is not here is told as it is."""


def examine(config: AgentConfig, probes: Iterable[Probe]) -> tuple[Check, ...]:
    """Look at everything once."""
    known, moment = known_clock(config.state_dir), runtime.now()
    own = (
        check_state_dir(config.state_dir),
        check_clock(known, moment),
        *check_ways_in(config, clock.judging(known, moment)),
        *check_disk_path(config.machine),
        *check_update(config.update),
        *check_shares(config),
    )
    probes = tuple(probes)
    looks = poll_all(probes)
    components = blamed((check_component(look, config) for look in looks), parts(lines(config), looks))
    return (*own, *check_way_out(probes, looks, config), *components, *check_attached(config))


def is_well(checks: Iterable[Check]) -> bool:
    """Whether there is no problem; a warning is none."""
    return all(check.verdict is not Verdict.PROBLEM for check in checks)


def table(checks: Iterable[Check], words: Words = ENGLISH) -> str:
    """Lay the checks out for reading: verdict, name, what was found, and below it what to do."""
    checks = tuple(checks)
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        verdict, found, advice = words.check(check)
        marked = verdict.upper() if check.verdict is Verdict.PROBLEM else verdict
        took = f" ({check.took_ms:g} ms)" if check.took_ms is not None else ""
        lines.append(f"{padded(marked, VERDICT_COLUMNS)} {check.name:<{width}}  {found}{took}".rstrip())
        if advice:
            lines.append(f"{'':<{VERDICT_COLUMNS}} {'':<{width}}  -> {advice}")
    return "\n".join([*lines, words.said(_sum(checks))])


def unseen(checks: Iterable[Check]) -> int:
    """Count the devices that were not looked at, since the running agent has their port."""
    return sum(check.found == NOT_LOOKED_AT for check in checks)


def _sum(checks: tuple[Check, ...]) -> str:
    problems, not_looked_at = sum(check.verdict is Verdict.PROBLEM for check in checks), unseen(checks)
    told = [f"{problems} problem{'' if problems == 1 else 's'}"] if problems else []
    told += [f"{not_looked_at} not looked at"] if not_looked_at else []
    return ", ".join(told) or "all is well"


def next_step(config: AgentConfig, file: Path, checks: Iterable[Check]) -> str:
    """Say what to do after a look at everything."""
    checks = tuple(checks)
    if not is_well(checks):
        return f"next: mend what is marked PROBLEM, then look again: tillwatch-agent doctor --config {file}"
    if unseen(checks):
        return "next: look at the collector, to which the running agent reports what was not looked at here"
    if look_beside(config.state_dir) is Beside.AGENT:
        return "next: nothing; the agent is running, and reports"
    start = f"next: start the agent's unit, or by hand: tillwatch-agent run --config {file}"
    if config.lines or config.usb_device:
        return start
    return f"next: name the devices of the till in {file}, since none is watched\n{start}"


def as_json(terminal_id: str, checks: Iterable[Check]) -> str:
    """Give the same as one JSON object."""
    checks = tuple(checks)
    document = {
        "terminal_id": terminal_id,
        "ok": is_well(checks),
        "not_looked_at": unseen(checks),
        "checks": [{key: value for key, value in asdict(check).items() if value is not None} for check in checks],
    }
    return json.dumps(document)


def check_component(observation: Observation, config: AgentConfig) -> Check:
    """Say how a component is, and what to do about it."""
    codes = list(observation.true_codes) or [code for code in [observation.reason] if code]
    said = [f"{code} ({detail})" if (detail := observation.true_codes.get(code)) else code for code in codes]
    times = phases(observation.measures) if observation.component.startswith(f"{Kind.ACQUIRER}:") else ""
    told = ", ".join([*said, *filter(None, [times])])
    found = " ".join([str(observation.health) + (":" if told else ""), told]).strip()
    advice = "; ".join(dict.fromkeys(text for code in codes if (text := _advice(code, observation, config))))
    worst = Verdict.WARNING if codes else Verdict.OK
    is_fine = observation.health is Health.OK or observation.reason == NOT_INSTALLED
    verdict = worst if is_fine else Verdict.PROBLEM
    if advice == SHARED_NOW:
        verdict, found = Verdict.UNTESTED, NOT_LOOKED_AT
    return Check(name=observation.component, verdict=verdict, found=found, advice=advice or None)


def check_way_out(probes: Iterable[Probe], looks: Iterable[Observation], config: AgentConfig) -> tuple[Check, ...]:
    """Tell the way out step by step, by the evidence of the look that was made."""
    seen = next((probe.seen for probe in probes if isinstance(probe, NetworkProbe)), None)
    modem = config.modem.components[0] if config.modem else None
    return way_out(with_modem(seen, looks, modem)) if seen else ()


def check_attached(config: AgentConfig) -> Iterator[Check]:
    """Whether each attached device is recognised, and watched."""
    for number, each in enumerate(recognise.attached(config), start=1):
        name, family = f"attached.{number}", each.family
        if each.is_configured:
            yield Check(name=name, verdict=Verdict.OK, found=f"{each}: watched")
        elif family is None:
            yield Check(name=name, verdict=Verdict.UNTESTED, found=f"{each}: not recognised")
        else:
            is_line = family is recognise.Family.ADAPTER
            advice = "name what hangs at it, with this port" if is_line else "doctor --write FILE has it watched"
            found = f"{each}: {family.value}, not watched"
            yield Check(name=name, verdict=Verdict.WARNING, found=found, advice=advice)


def check_state_dir(directory: Path) -> Check:
    """Whether the outbox can be kept: make the directory and a file in it, and remove again what was not there."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-"):
            pass
    except OSError as error:
        made = f"sudo mkdir -p {directory} && " if missing else ""
        return Check(
            name="state_dir",
            verdict=Verdict.PROBLEM,
            found=f"{_user()} cannot write in {directory}: {error.strerror}; events would not survive a restart",
            advice=f"{made}sudo chown {_user()} {directory}, or name another state_dir",
        )
    finally:
        for path in missing:
            with contextlib.suppress(OSError):  # it was not made, or somebody else uses it already
                path.rmdir()
    return Check(name="state_dir", verdict=Verdict.OK, found=f"{directory} will be made" if missing else str(directory))


def check_update(update: UpdateConfig) -> Iterator[Check]:
    """Whether releases could be verified, and their slots be written."""
    if update.trusted_root is not None:
        found, is_read = str(update.trusted_root), os.access(update.trusted_root, os.R_OK)
        verdict = Verdict.OK if is_read else Verdict.PROBLEM
        advice = None if is_read else f"bring root.json of `release init` there, readable by {_user()}"
        yield Check(name="trusted_root", verdict=verdict, found=found, advice=advice)
    for product in update.products:
        place = next(folder for folder in (product.folder, *product.folder.absolute().parents) if folder.is_dir())
        is_written = os.access(place, os.W_OK)
        yield Check(
            name=f"slots of {product.name}",
            verdict=Verdict.OK if is_written else Verdict.PROBLEM,
            found=str(product.folder) if is_written else f"{_user()} cannot write in {place}",
            advice=None if is_written else f"sudo mkdir -p {product.folder} && sudo chown {_user()} {product.folder}",
        )


def known_clock(state_dir: Path) -> Clock:
    """Read what an agent has learned of the time; without an outbox the agent's own floor is known."""
    try:
        return clock.begin(outbox.stored_time(state_dir / runtime.OUTBOX_FILE))
    except MachineError:
        return clock.begin(None)


def check_clock(known: Clock, moment: Moment) -> Check:
    """Whether the clock can be right; that it is nobody here can tell."""
    said = f"{moment.at:%Y-%m-%d %H:%M} UTC"
    if moment.at >= known.floor:
        return Check(name="clock", verdict=Verdict.OK, found=said)
    return Check(
        name="clock",
        verdict=Verdict.PROBLEM,
        found=f"{said}, but it is {known.floor:%Y-%m-%d %H:%M} at least",
        advice="set the clock, or let NTP do it; if it falls back at each start, change the machine's battery",
    )


def check_disk_path(machine: MachineConfig) -> tuple[Check, ...]:
    """Whether there is a disk to measure; nothing to say when there is."""
    try:
        if machine.enabled:
            os.statvfs(machine.disk_path)
    except OSError as error:
        found = f"{machine.disk_path}: {error.strerror}; the disk is not measured"
        advice = "name a path on the disk to watch, such as /, as disk_path of [machine]"
        return (Check(name="machine.disk_path", verdict=Verdict.PROBLEM, found=found, advice=advice),)
    return ()


def check_ways_in(config: AgentConfig, judging: Judging = BY_WALL) -> tuple[Check, ...]:
    """Check secrets, broker and login, each only where the one before left something to find."""
    secrets = check_secrets(config.broker)
    broker, took_ms = reach.timed(lambda: check_broker(config.broker, judging))
    broker = replace(broker, took_ms=took_ms)
    if not is_well((*secrets, broker)):
        return (*secrets, broker)
    return (*secrets, broker, check_login(config, judging))


def check_secrets(broker: BrokerConfig) -> tuple[Check, ...]:
    """Whether the files that hold secrets can be read by the agent, and by nobody else."""
    files = {"broker.password_file": broker.password_file, "broker.key_file": broker.key_file}
    return tuple(_check_secret(name, path) for name, path in files.items() if path)


def check_broker(broker: BrokerConfig, judging: Judging = BY_WALL) -> Check:
    """Whether the broker takes a connection, and proves who it is where TLS is asked for."""
    address = f"{broker.host}:{broker.port}"
    try:
        tls = runtime.broker(broker.model_copy(update={"password_file": None})).context(judging)
    except OperatorError as error:
        return _broker_problem(str(error), "check the files that [broker] names")
    found = resolver.resolve(broker.host, BROKER_TIMEOUT_S)
    if not found.addresses:
        return _broker_problem(f"no address for {broker.host}", "check broker.host and this machine's name service")
    connected_to = ipaddress.ip_address(found.addresses[0].partition("%")[0])
    try:
        with socket.create_connection((found.addresses[0], broker.port), BROKER_TIMEOUT_S) as connection:
            if tls:
                with tls.wrap_socket(connection, server_hostname=broker.host) as secured:
                    unjudged = "" if judging.by is JudgedBy.WALL else "; its certificate's times are not judged"
                    found_tls = f"{address} by {secured.version()}{unjudged}"
                    return Check(name="broker", verdict=Verdict.OK, found=found_tls)
    except ssl.SSLCertVerificationError as error:
        return _broker_problem(
            f"{address}: {error.verify_message}", "check broker.ca_file, broker.host and this machine's clock"
        )
    except ssl.SSLError as error:
        return _broker_problem(f"{address}: {error.reason}", "check that broker.port speaks TLS, and the certificates")
    except OSError as error:
        is_here = connected_to.is_loopback
        return _broker_problem(
            f"{address}: {error.strerror or 'timed out'}", _HERE_ADVICE if is_here else _THERE_ADVICE
        )
    return Check(name="broker", verdict=Verdict.OK, found=f"{address} without TLS")


_THERE_ADVICE: Final = "check broker.host and broker.port, and that the broker runs"
_HERE_ADVICE: Final = (
    "no broker answers on this machine: write the address of yours as host of [broker], or see that the broker runs"
)


def check_login(config: AgentConfig, judging: Judging = BY_WALL) -> Check:
    """Whether the broker lets the terminal in under its own name, unless the agent is there under it."""
    name = "broker.login"
    beside = look_beside(config.state_dir)
    note = connection_note.read(config.state_dir) if beside is Beside.AGENT else None
    if note is not None:
        said = "online" if note.is_online else "offline"
        found = f"{beside}; {said} since {note.since:%Y-%m-%d %H:%M} UTC"
        if note.is_online:
            return Check(name=name, verdict=Verdict.OK, found=found)
        found = "; ".join(filter(None, (found, note.failure)))
        return Check(name=name, verdict=Verdict.PROBLEM, found=found, advice=_LOGIN_ADVICE)
    if beside is not Beside.NOBODY:
        return Check(name=name, verdict=Verdict.UNTESTED, found=f"{beside}; login not tried")
    failure = _tried_login(config, judging)
    if failure is None:
        return Check(name=name, verdict=Verdict.OK, found=f"{config.terminal_id} is let in")
    return Check(name=name, verdict=Verdict.PROBLEM, found=f"{config.terminal_id}: {failure}", advice=_LOGIN_ADVICE)


_LOGIN_ADVICE: Final = (
    "check broker.cert_file, or broker.username and password_file, and what the broker allows terminal_id"
)


def look_beside(state_dir: Path) -> Beside:
    """Try the outbox's lock, for a moment, without writing."""
    try:
        with (state_dir / f"{runtime.OUTBOX_FILE}.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Beside.AGENT
    except (FileNotFoundError, NotADirectoryError):
        return Beside.NOBODY
    except OSError:
        return Beside.UNTOLD
    return Beside.NOBODY


def _tried_login(config: AgentConfig, judging: Judging) -> str | None:
    """Connect and leave; say why it failed, if it did."""
    answered = threading.Event()
    loop = Loop(name="login", diallers=1)
    loop.start()
    try:
        publisher = Publisher(loop, runtime.broker(config.broker), config.terminal_id, answered.set)
        publisher.sign_in(judging)
        came = answered.wait(LOGIN_TIMEOUT_S)
        failure = publisher.failure
        publisher.carry_out(Disconnect())
        return failure if came else "no answer"
    finally:
        loop.stop()


def _broker_problem(found: str, advice: str) -> Check:
    return Check(name="broker", verdict=Verdict.PROBLEM, found=found, advice=advice)


def _check_secret(name: str, path: Path) -> Check:
    try:
        settings.read_secret(path) if name.endswith("password_file") else path.read_bytes()
        is_open = settings.is_open_to_others(path)
    except ConfigError as error:
        return Check(name=name, verdict=Verdict.PROBLEM, found=str(error), advice=_secret_advice(name, path))
    except OSError as error:
        found = f"{path}: {error.strerror}"
        return Check(name=name, verdict=Verdict.PROBLEM, found=found, advice=_secret_advice(name, path))
    if is_open:
        found = f"{path}: every user of this machine can read it"
        return Check(name=name, verdict=Verdict.WARNING, found=found, advice=f"chmod 600 {path}")
    return Check(name=name, verdict=Verdict.OK, found=str(path))


def _secret_advice(name: str, path: Path) -> str:
    try:
        is_blank = path.stat().st_size == 0
    except FileNotFoundError:
        is_blank = True
    except OSError:
        is_blank = False
    if is_blank:
        return f"write the {'password' if name.endswith('password_file') else 'key'} there, then: chmod 600 {path}"
    if os.access(path, os.R_OK):
        return "put one line there, with the password and nothing else"
    return f"sudo chown {_user()} {path}"


def _advice(code: str, observation: Observation, config: AgentConfig) -> str | None:
    port = next((line.port for line in config.lines if observation.component in line.components), None)
    is_shared = any(observation.component in printer.components and printer.share for printer in config.printer)
    by_place: dict[str, Callable[[], str]] = {
        ConditionCode.PORT_REFUSED: lambda: _group_advice(Path(port or "/")),
        ConditionCode.NOT_ATTACHED: lambda: _attach_advice(port, observation.true_codes.get(code)),
        ConditionCode.NO_RESPONSE: lambda: _silence_advice(port),
        ConditionCode.PORT_BUSY: lambda: _busy_advice(config.state_dir, is_shared=is_shared),
    }
    return by_place[code]() if code in by_place else ADVICE.get(code)


def _group_advice(path: Path) -> str:
    """Name the group that owns a port: dialout for serial lines and lp for printers, on most systems."""
    try:
        group = grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        group = "dialout"
    return f"add {_user()} to the {group} group: sudo usermod -aG {group} {_user()}, then start the agent again"


def _busy_advice(state_dir: Path, *, is_shared: bool) -> str:
    if look_beside(state_dir) is Beside.AGENT:
        if is_shared:
            return SHARED_NOW
        return "the agent itself is running and holds it by turns; look again, or stop the agent first"
    return "another program has the port open; the agent waits for it, and asks when it is free"


def _silence_advice(port: str | None) -> str:
    if port and port.startswith("tcp://"):
        return "check that the printer is on, its network cable, and that port has its address"
    return "check that it is switched on, its cable, and the line's speed and parity"


def _attach_advice(port: str | None, detail: str | None) -> str:
    advice = "plug it in, and check its power"
    if detail and detail.endswith(ports.NOT_A_LINE):
        advice = "name the printer's own serial line, such as /dev/ttyUSB0, as port"
    if port is None:
        return advice
    seen = ports.seen()[:PORTS_LISTED_MAX]
    return f"{advice}; serial ports seen here: {', '.join(seen) or 'none on USB'}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
