"""What a person asks for at a till: `doctor`, `probe`, `slots`; each ends with what it found on standard output."""

import argparse
import os
import random
import shutil
import socket
import sys
import tomllib
from pathlib import Path

from tillwatch_agent import config, doctor, heartbeat, probes, recognise, runtime, slot_commands
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.core import Core, CoreSettings, Observed
from tillwatch_agent.errors import OperatorError
from tillwatch_agent.health import Observation
from tillwatch_agent.outbox import MEMORY, Outbox
from tillwatch_agent.words import Language, Words, language_of
from tillwatch_protocol.heartbeat import Heartbeat

_OK, _PROBLEM = 0, 1
_BEGUN = "agent.toml"


def carry_out(options: argparse.Namespace) -> int:
    """Do as the options of one command say; its exit code. Raises `AgentError`."""
    written: Path | None = getattr(options, "write", None)
    if written:
        _write(written)
    file: Path = written or options.config
    if options.command == "doctor" and not file.exists():
        raise OperatorError(f"{file}: there is no such file; begin one: tillwatch-agent doctor --write {_BEGUN}")
    settings = config.load(file)
    match options.command:
        case "slots":
            return _SLOTS[options.slots_command](settings, options)
        case "doctor":
            language = Language(options.language) if options.language else language_of(os.environ)
            return _doctor(settings, file, Words(language), as_json=options.json)
        case _:
            return _probe(settings, as_json=options.json)


def _slots_init(settings: AgentConfig, options: argparse.Namespace) -> int:
    first = slot_commands.First(
        product=options.product, archive=options.archive, version=options.version, target=options.target
    )
    committed = slot_commands.init(settings, first)
    sys.stdout.write(f"{first.product} {committed.version} is kept in slot {committed.slot}; start its unit\n")
    return _OK


def _slots_show(settings: AgentConfig, options: argparse.Namespace) -> int:
    seen = slot_commands.look(settings)
    sys.stdout.write((slot_commands.as_json(seen) if options.json else slot_commands.table(seen)) + "\n")
    return _PROBLEM if any("problem" in product for product in seen) else _OK


def _slots_launcher(settings: AgentConfig, options: argparse.Namespace) -> int:
    path = options.path or slot_commands.LAUNCHER
    slot_commands.bring_launcher(settings, path)
    sys.stdout.write(f"the launcher is {path}\n")
    return _OK


_SLOTS = {"init": _slots_init, "show": _slots_show, "launcher": _slots_launcher}


def _write(path: Path) -> None:
    """Begin a configuration, or add to one, for what is recognised; what stands there is left as it is."""
    if path.exists():
        known, text = config.load(path), path.read_text(encoding="utf-8")
    else:
        text = recognise.first_config(socket.gethostname())
        known = config.parse(tomllib.loads(text))
    tables = recognise.suggested(recognise.attached(known), known)
    if path.exists() and not tables:
        sys.stderr.write(f"{path}: nothing to add\n")
        return
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(text.rstrip("\n") + "\n" + tables, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except OSError as error:
        raise OperatorError(f"{path}: expected a file that can be written, got: {error.strerror}") from None
    sys.stderr.write(f"{path}: written\n{tables}\n")


def _doctor(settings: AgentConfig, file: Path, words: Words, *, as_json: bool) -> int:
    checks = doctor.examine(settings, probes.build(settings))
    if as_json:
        sys.stdout.write(doctor.as_json(settings.terminal_id, checks) + "\n")
    else:
        next_step = "\n".join(map(words.said, doctor.next_step(settings, file, checks).splitlines()))
        sys.stdout.write(f"{doctor.table(checks, words)}\n{next_step}\n")
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
