"""The doctor: everything an installer can get wrong, looked at once, each with what to do about it in plain words.

It looks at each component as `run` does, and at what `run` needs: the broker and the login there, the state directory,
the secrets, the clock. It leaves nothing behind, and an agent that runs on the same `state_dir` undisturbed: a broker
that is told the same name twice would throw that agent out, so the login is then not tried. A check is `ok`, a
`warning` (it works; look at it), or a `problem`.
"""

import contextlib
import fcntl
import grp
import json
import os
import pwd
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from tillwatch_agent import clock, outbox, ports, resolver, runtime
from tillwatch_agent import config as settings
from tillwatch_agent.clock import BY_WALL, Clock, JudgedBy, Judging
from tillwatch_agent.config import AgentConfig, BrokerConfig, ConfigError, MachineConfig
from tillwatch_agent.core import Disconnect
from tillwatch_agent.diagnosis import MISCONFIGURED, NOT_ASKED, UPLINK_DOWN
from tillwatch_agent.errors import MachineError, OperatorError
from tillwatch_agent.health import Observation
from tillwatch_agent.moment import Moment
from tillwatch_agent.probes import Probe, poll_all
from tillwatch_agent.publisher import CONNACK_TIMEOUT_S, CONNECT_TIMEOUT_S, Loop, Publisher
from tillwatch_protocol.vocabulary import ConditionCode, Health

BROKER_TIMEOUT_S = 5.0
LOGIN_TIMEOUT_S = 2 * CONNECT_TIMEOUT_S + CONNACK_TIMEOUT_S
"""For TCP, TLS and the broker's answer; the publisher keeps to it by itself."""
PORTS_LISTED_MAX = 8
"""Ports named in an advice; a till with more has a list of its own."""


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the table."""

    name: str
    verdict: Verdict
    found: str
    advice: str | None = None


class Beside(StrEnum):
    """Whether the agent itself runs on the same `state_dir`."""

    NOBODY = "no agent runs"
    AGENT = "the agent is running"
    UNTOLD = "state_dir does not tell whether the agent is running"


ADVICE: Final = {
    ConditionCode.GARBLED_RESPONSE: "check baud_rate and parity, that it is an ESC/POS printer, and its emulation mode",
    ConditionCode.PAPER_END: "load paper",
    ConditionCode.PAPER_NEAR_END: "have a new roll ready",
    ConditionCode.COVER_OPEN: "close the cover",
    ConditionCode.CUTTER_ERROR: "clear the jam at the cutter, then switch the printer off and on",
    ConditionCode.UNRECOVERABLE_ERROR: "switch the printer off and on; if it stays, it needs service",
    ConditionCode.RECOVERABLE_ERROR: "clear the paper path and press the feed button",
    ConditionCode.HEAD_HOT: "let the print head cool; it goes on by itself",
    ConditionCode.OFFLINE: "put the printer online; look at its lamps",
    ConditionCode.DRAWER_OPEN: "close the drawer; if it is closed, turn drawer_open_level round",
    ConditionCode.LINK_DOWN: "plug the network cable in, or bring the modem up",
    ConditionCode.NO_ADDRESS: "the interface has no address: check DHCP, or the fixed address",
    ConditionCode.NO_ROUTE: "there is no default route: check DHCP, or the fixed gateway",
    ConditionCode.GATEWAY_UNREACHABLE: "the router does not answer: check that it is on, and the cable to it",
    ConditionCode.DNS_FAILURE: "names are not found: check the name service of this machine, and the spelling",
    ConditionCode.WAN_UNREACHABLE: "nothing beyond the router answers: call the carrier",
    ConditionCode.TCP_FAILURE: "it does not answer: check host, port and firewall, then call the acquirer",
    ConditionCode.TCP_REFUSED: "it refuses the connection: check the port, then call the acquirer",
    ConditionCode.TLS_FAILURE: "no TLS on this port: check the port, and whether a portal or a proxy stands between",
    ConditionCode.CERTIFICATE_EXPIRED: "its certificate has expired: check the clock here, then call the acquirer",
    ConditionCode.CERTIFICATE_UNTRUSTED: "its certificate is not trusted: check ca_file, host, and the clock here",
    ConditionCode.CERTIFICATE_EXPIRING: "its certificate ends soon: tell the acquirer",
    ConditionCode.DISK_LOW: "free some disk space",
    ConditionCode.MEMORY_LOW: "close programs, or add memory",
    ConditionCode.CPU_HOT: "free the machine's air inlets",
    UPLINK_DOWN: "judged when network:uplink is well again",
    NOT_ASKED: "judged when network:uplink is well again",
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
    )
    return (*own, *(check_component(observation, config) for observation in poll_all(probes)))


def is_well(checks: Iterable[Check]) -> bool:
    """Whether there is no problem; a warning is none."""
    return all(check.verdict is not Verdict.PROBLEM for check in checks)


def table(checks: Iterable[Check]) -> str:
    """Lay the checks out for reading: verdict, name, what was found, and below it what to do."""
    checks = tuple(checks)
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        verdict = check.verdict.upper() if check.verdict is Verdict.PROBLEM else check.verdict
        lines.append(f"{verdict:<8} {check.name:<{width}}  {check.found}".rstrip())
        if check.advice:
            lines.append(f"{'':<8} {'':<{width}}  -> {check.advice}")
    problems = sum(check.verdict is Verdict.PROBLEM for check in checks)
    lines.append(f"{problems} problem{'' if problems == 1 else 's'}" if problems else "all is well")
    return "\n".join(lines)


def as_json(terminal_id: str, checks: Iterable[Check]) -> str:
    """Give the same as one JSON object."""
    checks = tuple(checks)
    document = {
        "terminal_id": terminal_id,
        "ok": is_well(checks),
        "checks": [{key: value for key, value in asdict(check).items() if value is not None} for check in checks],
    }
    return json.dumps(document)


def check_component(observation: Observation, config: AgentConfig) -> Check:
    """Say how a component is, and what to do about it."""
    codes = list(observation.true_codes) or [code for code in [observation.reason] if code]
    said = [f"{code} ({detail})" if (detail := observation.true_codes.get(code)) else code for code in codes]
    found = " ".join([str(observation.health) + (":" if said else ""), ", ".join(said)]).strip()
    advice = "; ".join(dict.fromkeys(text for code in codes if (text := _advice(code, observation, config))))
    worst = Verdict.WARNING if codes else Verdict.OK
    verdict = worst if observation.health is Health.OK else Verdict.PROBLEM
    return Check(name=observation.component, verdict=verdict, found=found, advice=advice or None)


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
    broker = check_broker(config.broker, judging)
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
        return _broker_problem(
            f"{address}: {error.strerror or 'timed out'}", "check broker.host and broker.port, and that the broker runs"
        )
    return Check(name="broker", verdict=Verdict.OK, found=f"{address} without TLS")


def check_login(config: AgentConfig, judging: Judging = BY_WALL) -> Check:
    """Whether the broker lets the terminal in under its own name, unless the agent is there under it."""
    name = "broker.login"
    beside = look_beside(config.state_dir)
    if beside is not Beside.NOBODY:
        return Check(name=name, verdict=Verdict.OK, found=f"{beside}; login not tried")
    failure = _tried_login(config, judging)
    if failure is None:
        return Check(name=name, verdict=Verdict.OK, found=f"{config.terminal_id} is let in")
    return Check(
        name=name,
        verdict=Verdict.PROBLEM,
        found=f"{config.terminal_id}: {failure}",
        advice="check broker.cert_file, or broker.username and password_file, and what the broker allows terminal_id",
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
    port = next((p.port for p in config.printer if observation.component in p.components), None)
    by_place: dict[str, Callable[[], str]] = {
        ConditionCode.PORT_REFUSED: lambda: _group_advice(Path(port or "/")),
        ConditionCode.NOT_ATTACHED: lambda: _attach_advice(port, observation.true_codes.get(code)),
        ConditionCode.NO_RESPONSE: lambda: _silence_advice(port),
        ConditionCode.PORT_BUSY: lambda: _busy_advice(config.state_dir),
    }
    return by_place[code]() if code in by_place else ADVICE.get(code)


def _group_advice(path: Path) -> str:
    """Name the group that owns a port: dialout for serial lines and lp for printers, on most systems."""
    try:
        group = grp.getgrgid(path.stat().st_gid).gr_name
    except (OSError, KeyError):
        group = "dialout"
    return f"add {_user()} to the {group} group: sudo usermod -aG {group} {_user()}, then start the agent again"


def _busy_advice(state_dir: Path) -> str:
    if look_beside(state_dir) is Beside.AGENT:
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
