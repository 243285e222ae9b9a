"""`tillwatch-sim`: one device on a port, a fleet of terminals, or the whole demonstration."""

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from enum import StrEnum
from importlib import metadata, resources
from pathlib import Path
from random import Random
from threading import Event
from typing import Annotated, TextIO

import typer
from typer import Option

from tillwatch_agent.publisher import Broker
from tillwatch_simulator import scenario
from tillwatch_simulator.demo import Report, run
from tillwatch_simulator.devices import Device, escpos, nexo, star, zvt
from tillwatch_simulator.devices.modem import Modem
from tillwatch_simulator.errors import ScenarioInvalid, SimulatorError
from tillwatch_simulator.fleet import Fleet, Totals, embedded, play, reached
from tillwatch_simulator.https_port import HttpsPort
from tillwatch_simulator.ports import Port, PtyPort, TcpPort
from tillwatch_simulator.scenario import Scenario, Step, narrated

_HELP = """Devices, terminals and fleets that behave and fail as real ones do.

\b
examples:
  tillwatch-sim demo
  tillwatch-sim demo --scenario restaurant_chain --duration 100
  tillwatch-sim demo --scenario retailer
  tillwatch-sim printer --pty /tmp/printer --set paper_end
  tillwatch-sim printer --tcp 9100
  tillwatch-sim zvt --tcp 20007 --set no_host
  tillwatch-sim fleet --terminals 50 --embedded-broker-file tillwatch-data/embedded-broker.json

\b
exit codes: 0 done, or ended by Ctrl-C or a request to terminate; 1 it cannot be done; 2 wrong usage;
130 interrupted before it began
"""

Served = Port | HttpsPort

app = typer.Typer(
    name="tillwatch-sim",
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Language(StrEnum):
    """What a simulated printer speaks."""

    ESCPOS = "escpos"
    STAR = "star"


_PRINTERS: dict[Language, Callable[[], Device]] = {Language.ESCPOS: escpos.Printer, Language.STAR: star.Printer}

PtyOption = Annotated[Path | None, Option("--pty", metavar="PATH", help="Serve on a pty; PATH becomes a link to it.")]
TcpOption = Annotated[str | None, Option("--tcp", metavar="[HOST:]PORT", help="Serve on TCP; port 0 takes a free one.")]
CertificateOption = Annotated[Path, Option("--cert", metavar="FILE", help="The terminal's certificate, in PEM.")]
KeyOption = Annotated[Path, Option("--key", metavar="FILE", help="The certificate's key, in PEM.")]
HttpsOption = Annotated[str, Option("--tcp", metavar="[HOST:]PORT", help="Serve there; port 0 takes a free one.")]
LanguageOption = Annotated[Language, Option("--protocol", help="What it speaks.")]
SetOption = Annotated[
    list[str] | None, Option("--set", metavar="FAULT", help="A fault to begin with; may be repeated.")
]
BrokerOption = Annotated[str | None, Option("--broker", metavar="HOST:PORT", help="The broker.")]
PasswordOption = Annotated[
    Path | None, Option("--password-file", metavar="PATH", help="One password for all; each terminal is its own user.")
]
EmbeddedOption = Annotated[
    Path | None,
    Option(
        "--embedded-broker-file", metavar="PATH", help="What a collector on this machine left; instead of --broker."
    ),
]
_SCENARIOS = {
    Path(file.name).stem: file
    for file in sorted((resources.files("tillwatch_simulator") / "scenarios").iterdir(), key=lambda file: file.name)
    if file.name.endswith(".toml")
}
_SCENARIO_HELP = f"What goes wrong: {', '.join(_SCENARIOS)}, or a TOML file;"
ScenarioOption = Annotated[
    str | None, Option("--scenario", metavar="NAME|FILE", help=f"{_SCENARIO_HELP} without it, nothing does.")
]
DemoScenarioOption = Annotated[str, Option("--scenario", metavar="NAME|FILE", help=f"{_SCENARIO_HELP} else demo.")]
TerminalsOption = Annotated[
    int | None, Option("--terminals", metavar="N", help="How many; else the scenario's, or 100.")
]
IntervalOption = Annotated[
    int | None, Option("--interval-s", metavar="S", help="Heartbeat; else the scenario's, or 5.")
]
SeedOption = Annotated[int, Option("--seed", metavar="S", help="The same seed draws the same troubles.")]
DurationOption = Annotated[float | None, Option("--duration", metavar="S", help="End after so many seconds of it.")]
JsonOption = Annotated[bool, Option("--json", help="End with one JSON object on standard output; the rest on error.")]


def _tell_version(value: bool) -> None:  # noqa: FBT001 - typer's signature
    if value:
        _say(f"tillwatch-sim {metadata.version('tillwatch-simulator')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
]


@app.callback(help=_HELP)
def _root(*, version: VersionOption = False) -> None:
    """Keep `printer` a command of its own, however many there are."""


@app.command()
def printer(
    pty: PtyOption = None,
    tcp: TcpOption = None,
    faults: SetOption = None,
    protocol: LanguageOption = Language.ESCPOS,
) -> None:
    """Be a receipt printer, ESC/POS or a Star in line mode, on a pty or on TCP.

    Point an agent, or any program that speaks to such a printer, at the address it prints. Then type, one a line:
    "set cover_open", "clear cover_open", "state", "quit". Each line is answered by one that begins with "ok" or
    "error". When its input ends it serves on, until Ctrl-C.

    Faults: cover_open, paper_end, paper_near_end, cutter_error, unrecoverable_error, recoverable_error, head_hot,
    drawer_open, feed_button, silent (sends nothing), garbled (sends wrong bits), slow (answers too late), unplugged
    (the port is gone). A Star has mechanical_error, offline and overflow, and no recoverable_error or feed_button.
    """
    with _ending_cleanly(), _port(_PRINTERS[protocol](), pty, tcp) as port:
        _serve(port, faults)


@app.command()
def modem(pty: PtyOption = None, tcp: TcpOption = None, faults: SetOption = None) -> None:
    """Be a cellular modem at its port for AT commands, on a pty or on TCP.

    Control lines on standard input are those of printer: "set searching", "clear searching", "state", "quit".

    Faults: sim_absent, sim_locked, sim_failure, sim_busy, searching, denied, sms_only, roaming, weak, no_signal_known,
    no_extended_signal, bare_errors, echo_off, chatty (reports that nobody asked for), silent, garbled, slow, unplugged.
    """
    with _ending_cleanly(), _port(Modem(), pty, tcp) as port:
        _serve(port, faults)


@app.command(name="zvt")
def zvt_terminal(pty: PtyOption = None, tcp: TcpOption = None, faults: SetOption = None) -> None:
    """Be a payment terminal that speaks ZVT: framed on a pty, as a serial line has it, or plain on TCP (20007).

    Control lines on standard input are those of printer: "set no_host", "clear no_host", "state", "quit".

    Faults: initialisation_required, date_wrong, busy, memory_full, supply_low, diagnosis_required, printer_not_ready,
    card_inserted, out_of_order, remote_maintenance, card_not_removed, reader_defective, pin_pad_defective, no_host,
    intermediate, aborts, refuses, noise_once, mute_version, silent, garbled, slow, unplugged.
    """
    with _ending_cleanly(), _port(zvt.Terminal(over_tcp=tcp is not None), pty, tcp) as port:
        _serve(port, faults)


@app.command()
def poi(certificate: CertificateOption, key: KeyOption, tcp: HttpsOption = "8443", faults: SetOption = None) -> None:
    """Be a payment terminal that answers nexo's Diagnosis over HTTPS, as POIID P400-1.

    Control lines on standard input are those of printer: "set reader_broken", "clear reader_broken", "state", "quit".

    Faults: reader_broken, pin_pad_broken, security_broken, no_communication, acquirer_unreachable, paper_low, no_paper,
    paper_jam, printer_out_of_order, maintenance, busy, busy_failure, logged_out, unreachable, device_out, server_error,
    another_terminal, stale_answer, silent, garbled, slow, unplugged.
    """
    with _ending_cleanly():
        host, tcp_port = _address(tcp)
        with HttpsPort(nexo.Terminal(), tcp_port, certificate=certificate, key=key, host=host) as port:
            _serve(port, faults)


@app.command()
def fleet(
    *,
    broker: BrokerOption = None,
    password_file: PasswordOption = None,
    embedded_broker_file: EmbeddedOption = None,
    scenario_name: ScenarioOption = None,
    terminals: TerminalsOption = None,
    interval_s: IntervalOption = None,
    seed: SeedOption = 1,
    duration_s: DurationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Be many terminals, each with its own connection to a broker.

    They are named sim-0001 and so on, and beat until Ctrl-C or the end of --duration; then each says that it stops.
    What befalls them, by the scenario, is told as it happens.

    Beside a collector on this machine: tillwatch-sim fleet --embedded-broker-file DATA_DIR/embedded-broker.json
    """
    with _ending_cleanly():
        played = _scenario(scenario_name, terminals=terminals, interval_s=interval_s)
        ours = Fleet(
            terminal_ids=map(scenario.terminal_id, range(1, played.terminals + 1)),
            interval_s=played.interval_s,
            seed=seed,
            broker=_access(broker, password_file, embedded_broker_file),
        )
        tell = _hint if as_json else _say

        def take(step: Step) -> None:
            tell(f"{step.at_s:7.1f} s  {step.injection.terminal_id:<10} {narrated(step)}")
            ours.follow(step)

        with suppress(KeyboardInterrupt), ours:
            play(scenario.rounds(played, Random(seed)), take, duration_s)  # noqa: S311 - a draw, not a secret
        _say(json.dumps(asdict(ours.totals())) if as_json else _told(ours.totals()))


@app.command()
def demo(
    *,
    scenario_name: DemoScenarioOption = "demo",
    terminals: TerminalsOption = None,
    seed: SeedOption = 1,
    duration_s: DurationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch a collector, agents, a fleet and their troubles on this machine.

    Three agents are real, beside simulated printers; a hundred terminals are simulated. Paper runs out and is put back,
    a cover is open, a cable is pulled, terminals die, stop and lose their uplink. It prints the address of a page to
    look at, and goes on until Ctrl-C or the end of --duration. Then it counts: tickets without a cause, and events that
    were sent and not stored; it exits 0 whatever the counts, and 1 when a part fails.

    With --scenario restaurant_chain, all tills of six restaurants lose the network at once: one cause, one ticket.

    With --scenario retailer, 300 tills are upgraded, in waves and while their stores are closed; the next release does
    harm that no test found, and is halted in its first wave. It takes some minutes, and ends by itself.
    """
    with _ending_cleanly():
        played = _scenario(scenario_name, terminals=terminals)
        report = run(played=played, seed=seed, duration_s=duration_s, tell=_hint if as_json else _say)
        _say(json.dumps(asdict(report)) if as_json else _told(report))


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """Let Ctrl-C and a request to terminate end a command as `quit` does; say an error of ours in one line."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        return
    except SimulatorError as error:
        sys.stderr.write(f"tillwatch-sim: {error}\n")
        raise typer.Exit(1) from error


def _port(device: Device, pty: Path | None, tcp: str | None) -> Port:
    if (pty is None) == (tcp is None):
        raise typer.BadParameter("expected either --pty PATH or --tcp PORT")
    if pty is not None:
        return PtyPort(device, pty)
    host, tcp_port = _address(tcp or "")
    return TcpPort(device, tcp_port, host)


def _address(tcp: str) -> tuple[str, int]:
    host, _, number = tcp.rpartition(":")
    if not number.isdecimal() or int(number) > 65_535:  # noqa: PLR2004 - the highest TCP port
        raise typer.BadParameter(f"expected [HOST:]PORT, got {tcp!r}", param_hint="--tcp")
    return host or "127.0.0.1", int(number)


def _serve(port: Served, faults: Iterable[str] | None) -> None:
    """Begin with faults, say that the port is ready, and obey."""
    for fault in faults or ():
        port.set(fault)
    _say(f"ready {port.describe()}")
    _obey(port, sys.stdin)


def _obey(port: Served, lines: TextIO) -> None:
    """Follow control lines until `quit`; when they end, serve on until a signal ends it."""
    for line in lines:
        words = line.split()
        if words == ["quit"]:
            return
        if words:
            _say(_done(port, words))
    Event().wait()


def _done(port: Served, words: Iterable[str]) -> str:
    try:
        match list(words):
            case ["set", fault]:
                port.set(fault)
            case ["clear", fault]:
                port.clear(fault)
            case ["state"]:
                pass
            case other:
                return f"error expected set FAULT, clear FAULT, state or quit; got {' '.join(other)!r}"
    except SimulatorError as error:
        return f"error {error}"
    return f"ok {port.describe()}"


def _scenario(name: str | None, **settings: int | None) -> Scenario:
    """Read a packaged scenario or a file; nothing befalls anybody in none."""
    try:
        text = _SCENARIOS.get(name, Path(name)).read_text(encoding="utf-8") if name else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioInvalid(f"expected one of {', '.join(_SCENARIOS)}, or a readable file, got: {error}") from None
    return scenario.parse(text, **_given(**settings))


def _given(**settings: int | None) -> dict[str, int]:
    return {name: value for name, value in settings.items() if value is not None}


def _access(address: str | None, password_file: Path | None, embedded_file: Path | None) -> Callable[[str], Broker]:
    if (address is None) == (embedded_file is None):
        raise typer.BadParameter("expected either --broker HOST:PORT or --embedded-broker-file PATH")
    return embedded(embedded_file) if embedded_file else reached(address or "", password_file)


def _told(counts: Totals | Report) -> str:
    """Lay out the numbers; what is not one is in the JSON alone."""
    numbers = {name: value for name, value in asdict(counts).items() if isinstance(value, int)}
    return "\n".join(f"{name.replace('_', ' '):<18}{value:>10,}" for name, value in numbers.items())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _hint(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main() -> None:
    """Run `tillwatch-sim`; a fleet's lost connections are what it is for, and not logged."""
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    app()
