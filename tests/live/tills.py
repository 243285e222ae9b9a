"""Tills whose software is updated: a real agent beside each, its slots, its launcher, and a line that can be cut.

The software is a script that notes its start, with its activation, in a file that no release touches: what was started,
how often and in which order is read there, and from the slots on the disk, never from what anybody reports.
"""

import contextlib
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil
from tests.agent import packages
from tests.live.certificates import Papers
from tests.live.line import Exchange, Line
from tests.live.mosquitto import LOOPBACK, Mosquitto
from tests.live.stack import BIN, Process, as_installed

from tillwatch_agent.installer import launcher
from tillwatch_agent.installer.slots import Installed, Slots, Staging
from tillwatch_protocol.release import InstallerKind

PRODUCT: Final = "till"
AGENT: Final = "agent"
FACTORY: Final = "1.0.0"
"""What every till comes with."""

_PROGRAM = """\
#!/bin/sh
echo "$TILLWATCH_ACTIVATION_ID {version}" >> ../../../starts
{then}
"""
_RUNS, _CRASHES = "exec sleep 1000000", "exit 1"

_AGENT = """\
#!/bin/sh
exec "{bin}/tillwatch-agent" "$@"
"""
"""A release of the agent that brings none of its own: which one runs is told by its slot."""

_RESTART = """\
#!/bin/sh
cd "{folder}" || exit 1
exec 9> lock
flock 9
[ -f pid ] && kill -9 "$(cat pid)" 2> /dev/null
setsid "{python}" launcher.py "{root}" -- bin/till > till.log 2>&1 < /dev/null 9>&- &
echo $! > pid
"""
_HEALTH = """\
#!/bin/sh
cd "{folder}" && kill -0 "$(cat pid)" && [ -e "{root}/current/well" ]
"""

_SETTINGS = """\
terminal_id = "{name}"
interval_s = {interval_s}
state_dir = "{folder}/state"
{broker}
[network]
enabled = false
[machine]
enabled = false
[update]
metadata_url = "{web}/tuf/metadata"
targets_url = "{web}/tuf/targets"
trusted_root = "{root_file}"
spread_s = 2
[[update.products]]
name = "till"
installer = "bundle"
folder = "{root}"
restart = ["{folder}/restart"]
health = ["{folder}/health"]
guard_lock = "{folder}/sale"
confirm_s = {confirm_s}
[[update.products]]
name = "agent"
installer = "agent"
folder = "{agent_root}"
confirm_s = {confirm_s}
"""


def target(version: str, product: str = PRODUCT) -> str:
    """The path of a release."""
    return f"{product}/{product}-{version}.tar.gz"


def release(version: str, *, crashes: bool = False, well: bool = True) -> bytes:
    """Pack a version: one that runs, unless it crashes at its start or its health says no."""
    program = _PROGRAM.format(version=version, then=_CRASHES if crashes else _RUNS)
    return packages.plain({"bin/till": program, **({"well": "yes\n"} if well else {})})


def agent_release(version: str, *, runs: bool = True) -> bytes:
    """Pack a version of the agent; one that does not run ends at once."""
    program = _AGENT.format(bin=BIN) if runs else "#!/bin/sh\nexit 1\n"
    return packages.plain({"bin/agent": program, "version": version})


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """One start of the software."""

    activation_id: str
    version: str


class Till:
    """One till, its agent, and its line."""

    def __init__(self, folder: Path, name: str, exchange: Exchange, *, interval_s: int, confirm_s: int) -> None:
        folder.mkdir(parents=True)
        self.name = name
        self.folder = folder
        self.line: Line = exchange.line()
        self.root = folder / "root"
        self.config = folder / "agent.toml"
        self._interval_s, self._confirm_s = interval_s, confirm_s
        self._on = self._missed = False
        self.agent_root = folder / "agent-root"
        starter = (sys.executable, str(folder / "launcher.py"), "--confirm-within-s", str(2 * confirm_s))
        agent = (*starter, str(self.agent_root), "--", "bin/agent", "run", "--config", str(self.config))
        self.agent = Process(folder, "agent", *as_installed(folder.parent / "bytecode"), *agent)
        self._script("restart", _RESTART)
        self._script("health", _HEALTH)
        (folder / "sale").touch()
        shutil.copy(launcher.__file__, folder / "launcher.py")

    def configure(self, papers: Papers, broker: Mosquitto, web_port: int, root_file: Path) -> None:
        """Write the agent's settings; its own line leads to broker and web."""
        self.config.write_text(
            _SETTINGS.format(
                name=self.name,
                folder=self.folder,
                interval_s=self._interval_s,
                confirm_s=self._confirm_s,
                root=self.root,
                agent_root=self.agent_root,
                root_file=root_file,
                web=f"http://{LOOPBACK}:{self.line.to(web_port)}",
                broker=papers.table(broker, port=self.line.to(broker.port)),
            )
        )

    def install(self, version: str = FACTORY) -> None:
        """Come with a version of software and agent, as from the factory."""
        self._install(self.root, release(version), packages.staging(release(version), version))
        agent = agent_release(version)
        words = packages.staging(agent, version, target=target(version, AGENT), kind=InstallerKind.AGENT)
        self._install(self.agent_root, agent, replace(words, product=AGENT))

    def begin(self) -> None:
        """Switch on what is off: what a service manager starts at a boot."""
        self._on = True
        if not self.runs:
            self._start_software()
        if not self.agent.running:
            self.agent.start()

    def tend(self) -> None:
        """Start what ended by itself; software only when it is missing for the second time, since hooks restart it."""
        if not self._on:
            return
        if not self.agent.running:
            self.agent.start()
        missed, self._missed = self._missed, not self.runs
        if missed and self._missed:
            self._start_software()

    def kill_agent(self) -> None:
        """As the kernel kills it for want of memory; what it had started goes on."""
        self._on = False
        self.agent.kill()

    def cut_power(self) -> None:
        """End all of it at once."""
        self._on = False
        family = _family(self.agent.pid) if self.agent.running else []
        for process in (*family, *self._software()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.agent.kill()

    @property
    def starts(self) -> list[Started]:
        """What was started, in order."""
        noted = self.folder / "starts"
        lines = noted.read_text().splitlines() if noted.exists() else []
        return [Started(activation_id=words[0], version=words[1]) for line in lines if len(words := line.split()) == 2]

    @property
    def committed(self) -> Installed | None:
        return Slots(self.root).committed()

    @property
    def trial(self) -> Installed | None:
        return Slots(self.root).trial()

    @property
    def agents_slots(self) -> Slots:
        return Slots(self.agent_root)

    @property
    def runs(self) -> bool:
        """Whether its software does."""
        return bool(self._software())

    def _install(self, root: Path, content: bytes, words: Staging) -> None:
        archive = packages.stored(self.folder, content)
        slots = Slots(root)
        slots.stage(archive, words)
        slots.commit(slots.activate("factory"))
        archive.unlink()

    def _software(self) -> list[psutil.Process]:
        pid = self.folder / "pid"
        try:
            process = psutil.Process(int(pid.read_text()))
            return [] if process.status() == psutil.STATUS_ZOMBIE else [process]
        except (OSError, ValueError, psutil.NoSuchProcess):
            return []

    def _start_software(self) -> None:
        subprocess.run([self.folder / "restart"], check=True)

    def _script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text.format(folder=self.folder, root=self.root, python=sys.executable))
        path.chmod(0o755)


def _family(pid: int) -> list[psutil.Process]:
    """A process and all that it started and nobody else took over."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
