"""What one real agent costs beside a till: memory and CPU, with its printer, network and machine probes at work."""

import sys
import tarfile
import tempfile
import time
from pathlib import Path

import psutil
from tests.agent import own_release
from tests.bench.figures import Experiment, Figure, Progress
from tests.bench.rig import Rig
from tests.live.stack import Process, until

from tillwatch_agent import pack
from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.ports import PtyPort

WATCHED_S = 120
"""Two heartbeats, 24 looks at the printer, four at network and machine."""

SETTLED_S = 15
"""A start imports and connects, which happens once a day at most: it is memory, and not what a day costs."""

TERMINAL = "till-1"

CONFIG = """\
terminal_id = "{terminal_id}"
interval_s = 60
state_dir = "{state}"
[broker]
host = "{host}"
port = {port}
[[printer]]
name = "receipt"
port = "{printer}"
[[acquirer]]
name = "main"
host = "{host}"
port = {port}
tls = false
"""


_OF_THE_SYSTEM = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
_INTERPRETER = str(_OF_THE_SYSTEM) if _OF_THE_SYSTEM.exists() else sys.executable
"""A till has its system's; another build takes half a MiB more or less."""


def our_agent(folder: Path, config: Path) -> Process:
    """Install the agent as a till has it: a release of its own, unpacked, with what its unit sets."""
    slot = folder / "slot"
    packed = pack.pack(own_release.fill(folder / "lib"), folder, pack.Till(interpreter=_INTERPRETER))
    with tarfile.open(packed.path) as archive:
        archive.extractall(slot, filter="data")
    sets = [
        line.removeprefix("Environment=")
        for line in own_release.UNIT.read_text(encoding="utf-8").splitlines()
        if line.startswith("Environment=")
    ]
    return Process(folder, TERMINAL, "env", *sets, str(slot / pack.PROGRAM), "run", "--config", str(config))


def agent(progress: Progress) -> dict[str, float]:
    """Let it work for two minutes as it is installed, everything else at its default."""
    with (
        tempfile.TemporaryDirectory() as name,
        Rig(Path(name), "sqlite") as rig,
        PtyPort(Printer(), Path(name) / "printer") as printer,
    ):
        folder = Path(name)
        config = folder / "agent.toml"
        config.write_text(
            CONFIG.format(
                terminal_id=TERMINAL,
                state=folder / "state",
                host=rig.broker.host,
                port=rig.broker.port,
                printer=printer.address,
            )
        )
        process = our_agent(folder, config)
        process.start()
        try:
            until(lambda: rig.collector.streams(TERMINAL), "the agent to be heard")
            process.stop()
            process.start()
            time.sleep(SETTLED_S)
            return _watch(psutil.Process(process.pid), progress)
        finally:
            process.stop()


def _watch(process: psutil.Process, progress: Progress) -> dict[str, float]:
    rss, began_s, cpu_s = [process.memory_info().rss], time.monotonic(), _cpu_s(process)
    for second in range(WATCHED_S):
        time.sleep(1)
        rss.append(process.memory_info().rss)
        progress(second + 1, WATCHED_S, "seconds of an agent's work")
    spent = (_cpu_s(process) - cpu_s) / (time.monotonic() - began_s)
    return {"agent_rss_mib": round(max(rss) / 2**20, 1), "agent_cpu_pct": round(100 * spent, 2)}


def _cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system


EXPERIMENTS = (
    Experiment(
        name="agent",
        door="bench",
        seed=None,
        run=agent,
        figures=(
            Figure(
                name="agent_rss_mib",
                unit="MiB",
                aim=45,
                says="memory of an agent at its most, without a job: printer, network, an acquirer, machine",
            ),
            Figure(
                name="agent_cpu_pct",
                unit="%",
                aim=0.5,
                says="its CPU, of one core, at one heartbeat a minute and a look at the printer every 5 s",
            ),
        ),
    ),
)
