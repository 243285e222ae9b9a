"""`tillwatch-agent run | doctor | probe`: the agent's command line; settings are built here once and passed down."""

import argparse
import logging
import random
import sys
from importlib import metadata
from pathlib import Path

from tillwatch_agent import config, doctor, heartbeat, probes, runtime
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.core import Core, CoreSettings, Observed
from tillwatch_agent.errors import AgentError, OperatorError
from tillwatch_agent.health import Observation
from tillwatch_agent.outbox import MEMORY, Outbox
from tillwatch_protocol.heartbeat import Heartbeat

DEFAULT_CONFIG = Path("/etc/tillwatch/agent.toml")

_OK, _PROBLEM, _USAGE = 0, 1, 2

_DESCRIPTION = """\
Watches the devices and the network of one till, and tells a collector over MQTT how they are.

  doctor   first, after installing: looks at everything once and says what to do
  probe    looks once and prints one heartbeat; needs no broker
  run      stays and reports; what the service unit starts
"""

_EPILOG = """\
exit codes: 0 all is well, 1 a problem was found, 2 wrong usage or configuration, 130 interrupted

examples:
  tillwatch-agent doctor --config agent.toml
  tillwatch-agent probe --json --config agent.toml | python3 -m json.tool
  tillwatch-agent run --config agent.toml
"""

_COMMANDS = {
    "run": ("watch and report until told to stop", "Watches and reports until SIGTERM or SIGINT, then says goodbye."),
    "doctor": (
        "look at everything once and say what to do",
        """Looks at every device, the network, the broker and the login there, the state directory and the secrets, and
        says what to do about what is wrong. It leaves nothing behind. Exits 1 if there is a problem.""",
    ),
    "probe": (
        "look once and print one heartbeat",
        """Looks once, and prints what run would send; with --json, the heartbeat itself. It needs no broker, and
        exits 0 whatever it found.""",
    ),
}
"""Each command's line in the list, and its own page."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = config.load(options.config)
        match options.command:
            case "doctor":
                return _doctor(settings, as_json=options.json)
            case "probe":
                return _probe(settings, as_json=options.json)
            case _:
                return _run(settings)
    except OperatorError as error:
        sys.stderr.write(f"tillwatch-agent: {error}\n")
        return _USAGE
    except AgentError as error:
        sys.stderr.write(f"tillwatch-agent: {error}\n")
        return _PROBLEM


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="the settings (default: %(default)s)"
    )
    levels = ("debug", "info", "warning", "error")
    parser = argparse.ArgumentParser(
        prog="tillwatch-agent",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, description) in _COMMANDS.items():
        command = commands.add_parser(name, parents=[shared], help=text, description=description)
        log_level = "info" if name == "run" else "error"
        command.add_argument("--log-level", choices=levels, default=log_level, help="default: %(default)s")
        if name != "run":
            command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def _run(settings: AgentConfig) -> int:
    return runtime.run(settings, probes.build(settings))


def _doctor(settings: AgentConfig, *, as_json: bool) -> int:
    checks = doctor.examine(settings, probes.build(settings))
    sys.stdout.write((doctor.as_json(settings.terminal_id, checks) if as_json else doctor.table(checks)) + "\n")
    return _OK if doctor.is_well(checks) else _PROBLEM


def _probe(settings: AgentConfig, *, as_json: bool) -> int:
    built = probes.build(settings)
    observations = probes.poll_all(built)
    if as_json:
        core_settings = runtime.core_settings(settings, built)
        sys.stdout.write(heartbeat.encode(_beat(core_settings, observations)).decode() + "\n")
    else:
        checks = [doctor.check_component(observation, settings) for observation in observations]
        sys.stdout.write(doctor.table(checks) + "\n")
    return _OK


def _beat(core_settings: CoreSettings, observations: tuple[Observation, ...]) -> Heartbeat:
    """Make the heartbeat that `run` would send, over an outbox that is forgotten."""
    outbox = Outbox.open(MEMORY)
    try:
        core = Core(core_settings, outbox, random.SystemRandom(), runtime.now())
        core.handle(Observed(observations), runtime.now())
        return core.heartbeat_now(runtime.now())
    finally:
        outbox.close()


def _version() -> str:
    return metadata.version("tillwatch-agent")
