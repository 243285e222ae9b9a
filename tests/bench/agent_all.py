"""What an agent costs with everything on, beside two agents that others wrote, on the same machine in the same minutes.

Two printers, a modem, a payment device by nexo and one by ZVT, three USB devices, five acquirers with TLS and a reply,
the way out and the machine: all are asked at their default pace, the devices being the simulator's. Prometheus
node_exporter is scraped, and zabbix_agent2 asked for the items of its own template for Linux, as often as our heartbeat
goes. They watch the machine alone, in Go; ours watches the counter, in Python: the figures say what that difference
costs, not who is better.
"""

import contextlib
import json
import socket
import ssl
import struct
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tests import parts
from tests.agent import stand
from tests.agent.authority import DAY, Authority
from tests.agent.till import Till
from tests.bench.agents import TERMINAL, our_agent
from tests.bench.figures import Experiment, Figure, Progress
from tests.bench.rig import Rig
from tests.live.mosquitto import Mosquitto, free_port
from tests.live.stack import Process, until

from tillwatch_agent.core import Received
from tillwatch_agent.publisher import Broker, Loop
from tillwatch_protocol import topics
from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.devices.modem import Modem
from tillwatch_simulator.devices.nexo import Terminal as NexoTerminal
from tillwatch_simulator.devices.zvt import Terminal as ZvtTerminal
from tillwatch_simulator.https_port import HttpsPort
from tillwatch_simulator.ports import PtyPort

WATCHED_S = 180
"""Three heartbeats, three looks at what is asked each minute, thirty-six at each printer."""
SETTLED_S = 15
"""A start is memory, and not what a day costs."""
INTERVAL_S = 60
STARTS = 5
"""The middle one of so many counts: a machine does something else now and then."""
ACQUIRERS = 5

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

ZABBIX_ITEMS = (
    "agent.hostname",
    "agent.ping",
    "agent.version",
    "kernel.maxfiles",
    "kernel.maxproc",
    "net.if.in[lo]",
    "net.if.out[lo]",
    "proc.num",
    "proc.num[,,run]",
    "system.boottime",
    "system.cpu.intr",
    "system.cpu.load[all,avg1]",
    "system.cpu.load[all,avg15]",
    "system.cpu.load[all,avg5]",
    "system.cpu.num",
    "system.cpu.switches",
    "system.cpu.util[,idle]",
    "system.cpu.util[,iowait]",
    "system.cpu.util[,system]",
    "system.cpu.util[,user]",
    "system.hostname",
    "system.localtime",
    "system.swap.size[,free]",
    "system.swap.size[,total]",
    "system.sw.arch",
    "system.uname",
    "system.uptime",
    "system.users.num",
    "vfs.file.cksum[/etc/passwd]",
    "vfs.fs.inode[/,pfree]",
    "vfs.fs.size[/,pused]",
    "vfs.fs.size[/,total]",
    "vm.memory.size[available]",
    "vm.memory.size[pavailable]",
    "vm.memory.size[total]",
)
"""Of "Linux by Zabbix agent", for one disk and one network interface."""


@dataclass(kw_only=True)
class Watched:
    """One program, what asks it each interval, and what it has used."""

    name: str
    process: psutil.Process
    ask: Callable[[], None] = lambda: None
    rss_bytes: int = 0
    cpu_s: float = field(init=False, default=0.0)

    def begin(self) -> None:
        self.cpu_s = -self._cpu_s()

    def look(self) -> None:
        self.rss_bytes = max(self.rss_bytes, self.process.memory_info().rss)

    def end(self) -> None:
        self.cpu_s += self._cpu_s()

    def _cpu_s(self) -> float:
        used = self.process.cpu_times()
        return used.user + used.system


def agent_all(progress: Progress) -> dict[str, float]:
    """Start each of the three, and let them work side by side."""
    parts.node_exporter()
    parts.zabbix_agent2()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as undo:
        folder = Path(name)
        rig = undo.enter_context(Rig(folder, "sqlite"))
        config = folder / "agent.toml"
        config.write_text(undo.enter_context(counter(folder, rig.broker)))
        agent = our_agent(folder, config)
        start_s = started_s(agent, rig.broker, progress)
        agent.start()
        undo.callback(agent.stop)
        until(lambda: rig.collector.streams(TERMINAL), "the agent to be heard")
        watched = (
            Watched(name="agent_all", process=psutil.Process(agent.pid)),
            undo.enter_context(node_exporter(folder)),
            undo.enter_context(zabbix_agent2(folder)),
        )
        time.sleep(SETTLED_S)
        spent_s = watch(watched, progress)
        every_component_is_well(rig)
    values = {"agent_start_s": start_s}
    for each in watched:
        values[f"{each.name}_rss_mib"] = round(each.rss_bytes / 2**20, 1)
        values[f"{each.name}_cpu_pct"] = round(100 * each.cpu_s / spent_s, 2)
    return values


def watch(watched: tuple[Watched, ...], progress: Progress) -> float:
    """Look at all once a second, and ask each once an interval; how long that took."""
    began_s = time.monotonic()
    for each in watched:
        each.begin()
    for second in range(WATCHED_S):
        for each in watched:
            if second % INTERVAL_S == 0:
                each.ask()
            each.look()
        time.sleep(1)
        progress(second + 1, WATCHED_S, "seconds of three agents' work")
    for each in watched:
        each.end()
    return time.monotonic() - began_s


def started_s(agent: Process, broker: Mosquitto, progress: Progress) -> float:
    """Time from start to first heartbeat at the broker; the first start compiles, and is left out."""
    loop = Loop()
    loop.start()
    try:
        till = Till(loop, "witness", Broker(host=broker.host, port=broker.port))
        till.connect()
        till.listen(topics.HEARTBEAT.of(TERMINAL))
        took_s = []
        for start in range(STARTS + 1):
            began_s = time.monotonic()
            agent.start()
            till.wait_for(Received)
            took_s.append(time.monotonic() - began_s)
            agent.stop()
            while next(till.publisher.take(), None):
                pass
            progress(start + 1, STARTS + 1, "starts of the agent")
    finally:
        loop.stop(0)
    return round(sorted(took_s[1:])[STARTS // 2], 2)


def every_component_is_well(rig: Rig) -> None:
    """What is measured must have worked: of the counter's parts only the USB devices may be absent."""
    seen = rig.collector.get(f"/api/v1/terminals/{TERMINAL}")["level"]["components"]
    health = {each["component"]: each["health"] for each in seen}
    lines = [name for name in health if name.startswith(("pos_printer:", "modem:", "pin_pad:", "acquirer:"))]
    assert len(lines) == 2 + 1 + 2 + ACQUIRERS, health
    assert all(health[name] == "ok" for name in lines), health


@contextlib.contextmanager
def counter(folder: Path, broker: Mosquitto) -> Iterator[str]:
    """Serve every device and acquirer; give the configuration that names them, at its defaults."""
    authority = Authority(folder / "authority")
    certificate = authority.server("payments", begins=-DAY, ends=90 * DAY)
    with contextlib.ExitStack() as undo:
        printers = [undo.enter_context(PtyPort(Printer(), folder / f"printer-{no}")) for no in (1, 2)]
        modem = undo.enter_context(PtyPort(Modem(), folder / "modem"))
        zvt = undo.enter_context(PtyPort(ZvtTerminal(), folder / "zvt"))
        nexo = undo.enter_context(
            HttpsPort(NexoTerminal(acquirers=("main",)), 0, certificate=certificate, key=certificate)
        )
        acquirers = [undo.enter_context(acquirer(certificate)) for _ in range(ACQUIRERS)]
        tables: list[str] = [
            _table("broker", host=broker.host, port=broker.port),
            *(_table("[printer]", name=f"p{no}", port=port.address) for no, port in enumerate(printers)),
            _table("modem", port=modem.address),
            _table("[payment_device]", name="zvt", protocol="zvt", port=zvt.address),
            _table("[payment_device]", name="nexo", protocol="nexo", port=nexo.address, ca_file=str(authority.ca_file))
            + 'settings = { sale_id = "till-1", poi_id = "P400-1", acquirers = ["main"] }\n',
            *(_table("[usb_device]", name=f"u{no}", vendor_id="05e0", product_id=f"170{no}") for no in range(3)),
            *(
                _table(
                    "[acquirer]",
                    name=f"a{no}",
                    host="127.0.0.1",
                    port=port,
                    ca_file=str(authority.ca_file),
                    reply_path="/",
                )
                for no, port in enumerate(acquirers)
            ),
        ]
        head = f'terminal_id = "{TERMINAL}"\ninterval_s = {INTERVAL_S}\nstate_dir = "{folder / "state"}"\n'
        yield head + "".join(tables)


def _table(header: str, /, **values: str | int) -> str:
    return f"[{header}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def acquirer(certificate: Path) -> contextlib.AbstractContextManager[int]:
    """Serve a payment host: TLS and one short page a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            asked = b""
            while b"\r\n\r\n" not in asked and (more := secured.recv(4096)):
                asked += more
            secured.sendall(PAGE)

    return stand.tcp_server(serve)


@contextlib.contextmanager
def node_exporter(folder: Path) -> Iterator[Watched]:
    """Start Prometheus's agent, to be scraped."""
    port = free_port()
    process = Process(folder, "node_exporter", str(parts.node_exporter()), f"--web.listen-address=127.0.0.1:{port}")
    process.start()

    def scrape() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert b"node_cpu_seconds_total" in answer.read()

    try:
        until(lambda: _is_answered(scrape), "node_exporter to serve")
        yield Watched(name="node_exporter", process=psutil.Process(process.pid), ask=scrape)
    finally:
        process.stop()


@contextlib.contextmanager
def zabbix_agent2(folder: Path) -> Iterator[Watched]:
    """Start Zabbix's agent, to be asked item by item (its passive checks)."""
    port = free_port()
    config = folder / "zabbix.conf"
    config.write_text(
        f"LogType=console\nPidFile={folder}/zabbix.pid\nControlSocket={folder}/zabbix.sock\n"
        f"Server=127.0.0.1\nListenIP=127.0.0.1\nListenPort={port}\nHostname={TERMINAL}\n"
    )
    process = Process(folder, "zabbix_agent2", str(parts.zabbix_agent2()), "--foreground", "--config", str(config))
    process.start()

    def ask_for(key: str) -> bytes:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(b"ZBXD\x01" + struct.pack("<II", len(key), 0) + key.encode())
            came = b""
            while more := connection.recv(4096):
                came += more
        return came[13:]

    def ask() -> None:
        for key in ZABBIX_ITEMS:
            assert ask_for(key), key

    try:
        until(lambda: _is_answered(lambda: ask_for("agent.ping")), "zabbix_agent2 to serve")
        yield Watched(name="zabbix_agent2", process=psutil.Process(process.pid), ask=ask)
    finally:
        process.stop()


def _is_answered(ask: Callable[[], object]) -> bool:
    with contextlib.suppress(OSError):
        ask()
        return True
    return False


EXPERIMENTS = (
    Experiment(
        name="agent_all",
        door="bench",
        seed=None,
        run=agent_all,
        figures=(
            Figure(
                name="agent_all_rss_mib",
                unit="MiB",
                aim=45,
                says="memory of an agent at its most with all drivers on: two printers, modem, nexo and ZVT payment "
                "devices, USB watch, five acquirers, machine",
            ),
            Figure(
                name="agent_all_cpu_pct",
                unit="%",
                aim=1,
                says="its CPU, of one core, at one heartbeat a minute",
            ),
            Figure(
                name="agent_start_s",
                unit="s",
                aim=1,
                says=f"from the start of its process to its first heartbeat at the broker: the middle of {STARTS}",
            ),
            Figure(
                name="node_exporter_rss_mib",
                unit="MiB",
                aim=None,
                says="beside it, for comparison: memory of Prometheus node_exporter, which watches a machine",
            ),
            Figure(
                name="node_exporter_cpu_pct", unit="%", aim=None, says="its CPU, of one core, at one scrape a minute"
            ),
            Figure(
                name="zabbix_agent2_rss_mib",
                unit="MiB",
                aim=None,
                says="beside it, for comparison: memory of zabbix_agent2, which watches a machine",
            ),
            Figure(
                name="zabbix_agent2_cpu_pct",
                unit="%",
                aim=None,
                says=f"its CPU, of one core, asked for {len(ZABBIX_ITEMS)} items a minute",
            ),
        ),
    ),
)
