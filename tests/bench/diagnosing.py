"""Injected faults against what the agent says: a confusion matrix over sets of faults, and healthy shops beside it.

A kind of fault belongs to the set of those that the stated evidence cannot tell apart: a cable that is out and a device
without power look alike from this side of the cable. A case counts on the diagonal when the verdict is the set's own.
Printers, modems and payment devices are the simulators', asked by the drivers; USB devices are trees laid out as
sysfs, whose rows are made real under umockdev by `tests/live/test_usb.py`; brokers are real sockets asked by the
doctor; machines are measures; ways out are worlds (`ways`), whose rows are made real in namespaces by
`tests/live/test_network_lab.py`. Everything is drawn from the seed.
"""

import json
import random
import socket
import ssl
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.agent import stand
from tests.agent.authority import DAY, Authority
from tests.agent.conftest import BrokerByHand
from tests.agent.talks import talk
from tests.bench import ways
from tests.bench.figures import RESULTS, Experiment, Figure, Progress
from tests.bench.ways import Fault, Way

from tillwatch_agent import config, doctor, machine
from tillwatch_agent.checks import Check, Verdict, way_out, with_modem
from tillwatch_agent.culprit import Culprit, Part, Seen, suspect
from tillwatch_agent.diagnosis import diagnose
from tillwatch_agent.drivers import Attachment, Device, Driver, at, escpos, zvt
from tillwatch_agent.evidence import Evidence
from tillwatch_agent.health import Observation
from tillwatch_agent.machine import THRESHOLDS
from tillwatch_agent.plugging import UsbIds, Wanted
from tillwatch_agent.usb import UsbProbe
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health
from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.devices.modem import Modem
from tillwatch_simulator.devices.zvt import Terminal

SEED = 20261122
DRAWS = 200
"""Of each kind that costs no time."""
DRAWS_OF_SOCKETS = 3
HEALTHY = 10_000
FILE = RESULTS / "diagnosis.json"

WELL = "well"
SILENT_S = 0.2
"""How long the doctor waits for a broker that says nothing; it waits for 5 s in a shop."""

Ask = Callable[[random.Random], str]
"""Inject a fault as drawn, and give the verdict: a word, `WELL` when nothing is said to fail."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of fault: whose it is, which verdict is its set's, and how it is injected."""

    group: str
    name: str
    verdict: str
    ask: Ask
    draws: int = DRAWS


def kinds(folder: Path) -> tuple[Kind, ...]:
    """List every kind; `folder` takes what some of them need."""
    return (*_ways_out(), *_modems(), *_printers(), *_payment_devices(), *_parts(), *_usb(folder), *_machines())


def verdict_of_way(evidence: Evidence) -> str:
    """Tell what fails: the uplink by its condition, else the first acquirer by its own, or by why it is unknown."""
    uplink, first, *_ = diagnose(evidence)
    if uplink.true_codes:
        return next(iter(uplink.true_codes))
    return next(iter(first.true_codes), first.reason or WELL)


_SETS = {
    **dict.fromkeys(ways.LINK, Code.LINK_DOWN),
    **dict.fromkeys(ways.ADDRESS, Code.NO_ADDRESS),
    Fault.NO_ROUTE: Code.NO_ROUTE,
    **dict.fromkeys(ways.ROUTER_GONE, Code.GATEWAY_UNREACHABLE),
    **dict.fromkeys(ways.NAMES, Code.DNS_FAILURE),
    **dict.fromkeys(ways.WAN, Code.WAN_UNREACHABLE),
    **dict.fromkeys(ways.PORTAL, Code.CAPTIVE_PORTAL),
    Fault.REFUSES: Code.TCP_REFUSED,
    Fault.SILENT: Code.TCP_FAILURE,
    Fault.NAME_GONE: Code.DNS_FAILURE,
    Fault.PLAIN_TEXT: Code.TLS_FAILURE,
    Fault.RESET: Code.TLS_FAILURE,
    Fault.EXPIRED: Code.CERTIFICATE_EXPIRED,
    Fault.NOT_BEGUN: Code.CERTIFICATE_UNTRUSTED,
    Fault.OTHER_HOST: Code.CERTIFICATE_UNTRUSTED,
    Fault.UNKNOWN_ISSUER: Code.CERTIFICATE_UNTRUSTED,
    Fault.SELF_SIGNED: Code.CERTIFICATE_UNTRUSTED,
    Fault.EXPIRING: Code.CERTIFICATE_EXPIRING,
    Fault.CANNOT_SERVE: Code.REPLY_FAILURE,
    Fault.NO_REPLY: Code.REPLY_FAILURE,
    Fault.PAPERS_REFUSED: Code.REPLY_FAILURE,
    Fault.CLOCK_BEHIND: Code.CLOCK_WRONG,
    Fault.CLOCK_AHEAD: Code.CLOCK_WRONG,
}


def _ways_out() -> Iterator[Kind]:
    def asking(fault: Fault) -> Ask:
        return lambda rng: verdict_of_way(Way(fault=fault, rng=rng).evidence())

    for fault in Fault:
        yield Kind(group="network", name=fault, verdict=_SETS[fault], ask=asking(fault))


def _modems() -> Iterator[Kind]:
    """Ask a modem that is the way out; the step that fails must be its registration, for its own reason."""

    def asking(fault: str) -> Ask:
        def ask(rng: random.Random) -> str:
            modem = Modem()
            modem.set(fault)
            if rng.random() < 0.5:
                modem.set("chatty")
            seen = _looked(at.driver(Device(kind="modem", name="0")), modem.receive)
            dead = Evidence(has_link=False, facts={"interface": "wwan0"})
            failing = next(step for step in way_out(with_modem(dead, [seen], "modem:0")) if _is_problem(step))
            return _word(seen) if failing.name == "network.modem" else failing.name

        return ask

    for fault, code in (
        ("sim_absent", Code.SIM_ABSENT),
        ("sim_locked", Code.SIM_LOCKED),
        ("sim_failure", Code.SIM_FAILURE),
        ("searching", Code.NOT_REGISTERED),
        ("denied", Code.REGISTRATION_DENIED),
    ):
        yield Kind(group="modem", name=fault, verdict=code, ask=asking(fault), draws=20)


def _printers() -> Iterator[Kind]:
    def asking(fault: str) -> Ask:
        def ask(rng: random.Random) -> str:
            printer = Printer(near_end_sensor=rng.random() < 0.5)
            printer.set(fault)
            return _word(_looked(escpos.driver(Device(kind="pos_printer", name="bar")), printer.receive))

        return ask

    for fault, code in (
        ("paper_end", Code.PAPER_END),
        ("cover_open", Code.COVER_OPEN),
        ("cutter_error", Code.CUTTER_ERROR),
        ("unrecoverable_error", Code.UNRECOVERABLE_ERROR),
        ("recoverable_error", Code.RECOVERABLE_ERROR),
        ("head_hot", Code.HEAD_HOT),
        ("silent", Code.NO_RESPONSE),
        ("garbled", Code.GARBLED_RESPONSE),
    ):
        yield Kind(group="printer", name=fault, verdict=code, ask=asking(fault), draws=20)


def _payment_devices() -> Iterator[Kind]:
    def asking(fault: str) -> Ask:
        def ask(rng: random.Random) -> str:
            del rng
            terminal = Terminal()
            terminal.set(fault)
            return _word(_looked(zvt.driver(Device(kind="pin_pad", name="1")), terminal.receive))

        return ask

    for fault, code in (
        ("initialisation_required", Code.SETUP_REQUIRED),
        ("reader_defective", Code.READER_FAILURE),
        ("pin_pad_defective", Code.PIN_PAD_FAILURE),
        ("out_of_order", Code.OUT_OF_ORDER),
        ("no_host", Code.HOST_UNREACHABLE),
    ):
        yield Kind(group="payment device", name=fault, verdict=code, ask=asking(fault), draws=5)


_COUNTER = (
    Part(component="printer", attachment=Attachment.SERIAL, seen=Seen.ANSWERS, socket="1-1.1"),
    Part(component="kitchen", attachment=Attachment.SERIAL, seen=Seen.ANSWERS, socket="1-1.2"),
    Part(component="scanner", attachment=Attachment.USB, seen=Seen.ANSWERS, socket="1-2.1"),
    Part(component="display", attachment=Attachment.USB, seen=Seen.ANSWERS, socket="1-2.2"),
    Part(component="bar", attachment=Attachment.TCP, seen=Seen.ANSWERS),
    Part(component="pin_pad", attachment=Attachment.TCP, seen=Seen.ANSWERS),
)


def _parts() -> Iterator[Kind]:
    """Break one thing of a counter: what hangs on it goes silent in the way that it would."""

    def asking(broken: dict[str, Seen]) -> Ask:
        def ask(rng: random.Random) -> str:
            # What stood there may lack a part that the fault does not touch.
            spare = rng.choice([part.component for part in _COUNTER])
            parts = [
                Part(
                    component=p.component,
                    attachment=p.attachment,
                    socket=p.socket,
                    seen=broken.get(p.component, p.seen),
                )
                for p in _COUNTER
                if p.component != spare or p.component in broken
            ]
            found = suspect(parts)
            return _named(found[0].culprits) if found else WELL

        return ask

    usb = _named((Culprit.CABLE, Culprit.POWER, Culprit.DEVICE))
    line = _named((Culprit.POWER, Culprit.CABLE, Culprit.SETTINGS, Culprit.DEVICE))
    hub = _named((Culprit.HUB, Culprit.CABLE, Culprit.POWER))
    silent, gone = Seen.SILENT, Seen.GONE
    for group, name, broken, verdict in (
        ("cable", "USB cable out", {"scanner": gone}, usb),
        ("power", "USB device without power", {"display": gone}, usb),
        ("cable", "serial cable out", {"printer": silent}, line),
        ("power", "serial printer without power", {"kitchen": silent}, line),
        ("cable", "adapter out", {"printer": gone}, _named((Culprit.CABLE, Culprit.DEVICE))),
        ("device", "USB device hangs", {"scanner": silent}, _named((Culprit.DEVICE,))),
        ("hub", "hub without power", {"scanner": gone, "display": gone}, hub),
        ("hub", "hub of adapters without power", {"printer": gone, "kitchen": gone}, hub),
        ("power", "strip of the printers off", {"printer": silent, "kitchen": silent}, _named((Culprit.POWER,))),
        (
            "power",
            "counter without power",
            {p.component: gone if p.attachment is Attachment.USB else silent for p in _COUNTER},
            _named((Culprit.POWER,)),
        ),
        (
            "shop network",
            "switch of the shop off",
            {"bar": silent, "pin_pad": silent},
            _named((Culprit.SHOP_NETWORK, Culprit.POWER)),
        ),
        ("settings", "another speed", {"printer": Seen.GARBLED}, _named((Culprit.SETTINGS, Culprit.DEVICE))),
        ("machine", "the till has the port", {"printer": Seen.BUSY}, _named((Culprit.OTHER_PROGRAM,))),
        ("machine", "no right to the port", {"printer": Seen.REFUSED}, _named((Culprit.RIGHTS,))),
    ):
        yield Kind(group=group, name=name, verdict=verdict, ask=asking(broken))


def _usb(folder: Path) -> Iterator[Kind]:
    """Look for a scanner in trees laid out as sysfs: none, or another one in its socket."""
    empty, other = folder / "empty", folder / "other"
    stand.usb_device(empty, "1-1", "04b8:0202")
    stand.usb_device(other, "1-2", "05e0:1701", serial="B")
    for name, sysfs in (("USB device detached", empty), ("another device in its socket", other)):
        wanted = Wanted(component="scanner:1", ids=UsbIds(vendor_id="05e0", product_id="1701", serial_number="A"))
        probe = UsbProbe(wanted=wanted, poll_s=1, sysfs=sysfs)
        yield Kind(group="usb", name=name, verdict=Code.NOT_ATTACHED, ask=_polling(probe), draws=5)
    in_socket = Wanted(component="scanner:1", ids=UsbIds(vendor_id="05e0", product_id="1701"), socket="1-1")
    probe = UsbProbe(wanted=in_socket, poll_s=1, sysfs=empty)
    name = "an unknown device in its socket"
    yield Kind(group="usb", name=name, verdict=Code.UNKNOWN_DEVICE, ask=_polling(probe), draws=5)


def _polling(probe: UsbProbe) -> Ask:
    return lambda _: _word(probe.poll()[0])


def _machines() -> Iterator[Kind]:
    def asking(row: machine.Threshold) -> Ask:
        def ask(rng: random.Random) -> str:
            past = rng.uniform(0, 5) if row.raise_at > row.clear_at else -rng.uniform(0, 5)
            return _word(machine.judge(_measures(rng) | {row.measure: row.raise_at + past}, frozenset()))

        return ask

    for row in THRESHOLDS:
        yield Kind(group="machine", name=row.measure, verdict=row.code, ask=asking(row))


def _measures(rng: random.Random) -> dict[str, float]:
    """Measures of a machine that is well."""
    return {
        "disk_free_pct": rng.uniform(10, 90),
        "memory_available_pct": rng.uniform(15, 80),
        "cpu_celsius": rng.uniform(30, 75),
    }


@contextmanager
def brokers(folder: Path) -> Iterator[tuple[Kind, ...]]:
    """Real brokers on loopback, each with its fault, and what the doctor says of them."""
    authority, stranger = Authority(folder / "ours"), Authority(folder / "strangers", "stranger")
    pem = {
        "certificate ended": authority.server("ended", begins=-20 * DAY, ends=-DAY),
        "certificate of another name": authority.server("other", begins=-DAY, ends=DAY, host="other.example"),
        "certificate of a stranger": stranger.server("strange", begins=-DAY, ends=DAY),
    }

    def told(port: int, *, tls: bool = True) -> str:
        broker = {"host": "localhost", "port": port} | ({"ca_file": str(authority.ca_file)} if tls else {})
        settings = config.parse({"terminal_id": "till-1", "state_dir": str(folder / "state"), "broker": broker})
        checks = doctor.check_ways_in(settings)
        return _of_broker(next((check for check in checks if _is_problem(check)), None))

    def certified(file: Path) -> Ask:
        def ask(_: random.Random) -> str:
            with stand.tcp_server(partial(_shake_hands, file)) as port:
                return told(port)

        return ask

    def plain(_: random.Random) -> str:
        with stand.tcp_server(lambda connection: connection.sendall(b"no TLS here")) as port:
            return told(port)

    def answering(connack: bytes) -> Ask:
        def ask(_: random.Random) -> str:
            with closing(BrokerByHand()) as broker, broker.answering(connack):
                return told(broker.port, tls=False)

        return ask

    def silent(_: random.Random) -> str:
        with stand.black_hole() as port:
            return told(port)

    rows = (
        ("broker off", "not reached", lambda _: told(stand.closed_port())),
        ("broker silent", "not reached", silent),
        ("plain text on the port", "no TLS", plain),
        *((name, "certificate", certified(file)) for name, file in pem.items()),
        ("wrong password", "login", answering(b"\x20\x02\x00\x04")),
        ("not allowed", "login", answering(b"\x20\x02\x00\x05")),
    )
    waited_s, doctor.BROKER_TIMEOUT_S = doctor.BROKER_TIMEOUT_S, SILENT_S
    try:
        yield tuple(
            Kind(group="broker", name=name, verdict=f"broker: {verdict}", ask=ask, draws=DRAWS_OF_SOCKETS)
            for name, verdict, ask in rows
        )
    finally:
        doctor.BROKER_TIMEOUT_S = waited_s


def _shake_hands(pem: Path, connection: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with context.wrap_socket(connection, server_side=True) as secured:
        secured.recv(1)


def _of_broker(check: Check | None) -> str:
    """Sort what the doctor advises about a broker."""
    if check is None:
        return WELL
    words = {"broker runs": "not reached", "speaks TLS": "no TLS", "broker.ca_file": "certificate"}
    by_advice = next((word for part, word in words.items() if part in (check.advice or "")), check.found)
    return f"broker: {'login' if check.name == 'broker.login' else by_advice}"


def _looked(driver: Driver, answer: Callable[[bytes], bytes]) -> Observation:
    return talk(driver, answer).seen


def _word(seen: Observation) -> str:
    """Tell a look by its first condition, else by why it is unknown; what is well, or nearly, is well."""
    if seen.health is Health.OK:
        return WELL
    return next((code for code in seen.true_codes if code != Code.OFFLINE), seen.reason or "offline")


def _named(culprits: tuple[Culprit, ...]) -> str:
    return " or ".join(culprits)


def _is_problem(check: Check) -> bool:
    return check.verdict is Verdict.PROBLEM


def matrix(every: tuple[Kind, ...], progress: Progress) -> list[dict[str, object]]:
    """Inject every kind as often as it is drawn; a row for each, with the verdicts and how often each came."""
    rows: list[dict[str, object]] = []
    for done, kind in enumerate(every):
        progress(done, len(every), f"{kind.group}: {kind.name}")
        rng = random.Random(f"{SEED}/{kind.group}/{kind.name}")
        verdicts = Counter(str(kind.ask(rng)) for _ in range(kind.draws))
        rows.append(
            {
                "group": kind.group,
                "fault": str(kind.name),
                "set": str(kind.verdict),
                "verdicts": dict(sorted(verdicts.items())),
            }
        )
    return rows


def bare() -> dict[str, float]:
    """Diagnose the ways out again, where nothing is configured but the acquirers: what the rest is worth."""
    shares, missed = [], 0
    for fault in Fault:
        rng = random.Random(f"{SEED}/bare/{fault}")
        ways_out = (Way(fault=fault, rng=rng, is_configured=False) for _ in range(DRAWS))
        verdicts = [verdict_of_way(way.evidence()) for way in ways_out]
        shares.append(verdicts.count(_SETS[fault]) / DRAWS)
        missed += verdicts.count(WELL)
    return {
        "diagnosis_bare_diagonal_pct": 100 * sum(shares) / len(shares),
        "diagnosis_bare_fault_as_healthy": missed,
    }


def healthy_as_fault(cases: int) -> int:
    """Look at so many shops that are well, each another; count those in which anything is said to fail."""
    rng = random.Random(SEED)
    printer, modem, terminal = Printer(), Modem(), Terminal()
    devices = (
        (escpos.driver(Device(kind="pos_printer", name="bar")), printer.receive),
        (at.driver(Device(kind="modem", name="0")), modem.receive),
        (zvt.driver(Device(kind="pin_pad", name="1")), terminal.receive),
    )
    wrong = 0
    for case in range(cases):
        evidence = Way(fault=None, rng=rng).evidence()
        said = [*diagnose(evidence), machine.judge(_measures(rng), frozenset())]
        if case % 20 == 0:  # their state does not change: more would only take time
            said += [_looked(*device) for device in devices]
        wrong += any(look.true_codes or look.health is not Health.OK for look in said) or bool(suspect(_COUNTER))
    return wrong


def diagnosis(progress: Progress) -> dict[str, float]:
    """Run all, write the matrix, and give the figures."""
    with tempfile.TemporaryDirectory() as name, brokers(Path(name)) as of_brokers:
        rows = matrix((*kinds(Path(name) / "sysfs"), *of_brokers), progress)
    FILE.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    progress(len(rows), len(rows), f"{HEALTHY} shops that are well")
    return {**figures_of(rows), "diagnosis_healthy_as_fault": healthy_as_fault(HEALTHY), **bare()}


def figures_of(rows: list[dict[str, object]]) -> dict[str, float]:
    """Count, each kind weighing the same."""
    shares, missed = [], 0
    for row in rows:
        verdicts = row["verdicts"]
        assert isinstance(verdicts, dict)
        shares.append(verdicts.get(row["set"], 0) / sum(verdicts.values()))
        missed += verdicts.get(WELL, 0)
    return {
        "diagnosis_kinds": len(rows),
        "diagnosis_sets": len({row["set"] for row in rows}),
        "diagnosis_diagonal_pct": 100 * sum(shares) / len(shares),
        "diagnosis_fault_as_healthy": missed,
    }


EXPERIMENTS = (
    Experiment(
        name="diagnosis",
        door="evidence",
        seed=SEED,
        run=diagnosis,
        figures=(
            Figure(
                name="diagnosis_kinds",
                unit="kinds",
                aim=40,
                at_most=False,
                says="of fault injected, from a printer's paper to a broker's certificate",
            ),
            Figure(name="diagnosis_sets", unit="sets", aim=None, says="of them that the evidence can tell apart"),
            Figure(
                name="diagnosis_diagonal_pct",
                unit="%",
                aim=98,
                at_most=False,
                says="of the cases, each kind weighing the same: the verdict was the fault's own set",
            ),
            Figure(
                name="diagnosis_fault_as_healthy", unit="cases", aim=0, says="of them in which nothing was said to fail"
            ),
            Figure(
                name="diagnosis_healthy_as_fault",
                unit="shops",
                aim=0,
                says=f"of {HEALTHY} that are well, in which something was said to fail",
            ),
            Figure(
                name="diagnosis_bare_diagonal_pct",
                unit="%",
                aim=None,
                says="of the faults of the way out, where no far target, known page or time server is configured",
            ),
            Figure(
                name="diagnosis_bare_fault_as_healthy",
                unit="cases",
                aim=0,
                says="of them in which nothing was said to fail",
            ),
        ),
    ),
)
