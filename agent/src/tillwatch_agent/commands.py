"""`tillwatch-agent run | doctor | probe | slots`: the command line; settings are built once and passed down.

What `run` needs is imported here; what a person asks for by the other commands is `by_hand`, and beside a till in
nobody's memory.
"""

import argparse
import contextlib
import logging
import sys
from importlib import metadata
from pathlib import Path

from tillwatch_agent import config, probes, runtime
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.errors import AgentError, OperatorError
from tillwatch_agent.words import Language

DEFAULT_CONFIG = Path("/etc/tillwatch/agent.toml")

_PROBLEM, _USAGE = 1, 2

_DESCRIPTION = """\
Watches the devices and the network of one till, and tells a collector over MQTT how they are.

  doctor   first, after installing: looks at everything once and says what to do
  probe    looks once and prints one heartbeat; needs no broker
  run      stays and reports; what the service unit starts
  slots    for tills that take releases: puts the first one of a product into its slot, shows what lies there
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
        says what to do about what is wrong, in English or Chinese. It leaves nothing behind but what --write adds: a
        table for each attached device that is recognised by its USB ids. Exits 1 if there is a problem.""",
    ),
    "probe": (
        "look once and print one heartbeat",
        """Looks once, and prints what run would send; with --json, the heartbeat itself. It needs no broker, and
        exits 0 whatever it found.""",
    ),
}
"""Each command's line in the list, and its own page."""

_INIT = "put the first release of a product into its slot, and keep it"
_INIT_MORE = """\
Run it as the user that the agent runs as, while no agent runs. A product that has a release is refused, for the next
one comes by a rollout; what was cut is begun again by the same words."""
_SHOW = "show which release is committed, on trial or staged, and which one runs"
_LAUNCHER = "bring the launcher where no release replaces it; as root"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if options.command == "run":
            return _run(config.load(options.config))
        from tillwatch_agent import by_hand  # noqa: PLC0415 - not in memory of what runs beside a till

        return by_hand.carry_out(options)
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
        if name == "doctor":
            languages = [language.value for language in Language]
            command.add_argument("--language", choices=languages, help="of the table (default: by the locale)")
            command.add_argument("--write", type=Path, metavar="FILE", help="add what is recognised to FILE, then look")
        if name != "run":
            command.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    _add_slots(commands, shared)
    return parser


def _add_slots(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", shared: argparse.ArgumentParser
) -> None:
    slots = commands.add_parser(
        "slots",
        help="the slots of products that releases are made of",
        description="What lies in the slots of products that releases are made of.",
    )
    slots.set_defaults(log_level="error")
    within = slots.add_subparsers(dest="slots_command", required=True, metavar="COMMAND")
    init = within.add_parser("init", parents=[shared], help=_INIT, description=f"{_INIT}. {_INIT_MORE}")
    init.add_argument("product", metavar="PRODUCT", help="its name under [[update.products]]")
    init.add_argument("archive", type=Path, metavar="ARCHIVE", help="the file, as it is signed for later rollouts")
    init.add_argument("--version", required=True, metavar="VERSION", help="of the release, such as 2.1.0")
    init.add_argument("--target", metavar="PATH", help="under which it is signed (default: PRODUCT/ARCHIVE's name)")
    show = within.add_parser("show", parents=[shared], help=_SHOW, description=_SHOW)
    show.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    launcher = within.add_parser("launcher", parents=[shared], help=_LAUNCHER, description=_LAUNCHER)
    launcher.add_argument("path", nargs="?", type=Path, metavar="PATH", help="default: where the agent's unit has it")


def _run(settings: AgentConfig) -> int:
    if all(printer.share is None for printer in settings.printer):
        return runtime.run(settings, probes.build(settings))
    from tillwatch_agent import share  # noqa: PLC0415 - not in memory where no printer is shared

    # Who is not alone on the state touches no path that the other serves.
    with contextlib.closing(runtime.alone(settings)) as outbox, share.serving(settings) as shared:
        return runtime.run(settings, probes.build(settings, shared), outbox)


def _version() -> str:
    return metadata.version("tillwatch-agent")
