"""An agent in its slots, started as its unit says, upgrades itself by the archive that people make of it."""

import hashlib
import os
import shlex
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.agent import own_release, packages
from tests.agent.collecting import Collector, ended, facts_of
from tests.agent.release_site import Repository, Site

from tillwatch_agent import pack
from tillwatch_agent.installer.launcher import ATTEMPTS_MAX
from tillwatch_agent.installer.slots import Slots
from tillwatch_agent.pack import Packed
from tillwatch_agent.publisher import Broker, Loop
from tillwatch_agent.runtime import EXIT_RESTART
from tillwatch_protocol.job import JobState

COMPONENT = "application:agent"
EXIT_SETTINGS = 2


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    folder = tmp_path_factory.mktemp("made")
    return pack.pack(own_release.fill(folder / "lib"), folder, own_release.HERE)


@dataclass(frozen=True)
class Machine:
    """A till's machine: what a technician brought, in one folder."""

    folder: Path
    codes: list[int] = field(default_factory=list)
    """How each start of the agent ended."""

    @property
    def root(self) -> Path:
        return self.folder / "agent"

    @property
    def slots(self) -> Slots:
        return Slots(self.root)

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of ours: what is missing in an archive is not found elsewhere."""
        return {"PATH": os.defpath}

    def command(self) -> list[str]:
        """Read the unit's command, with the places of this machine."""
        (said,) = [
            line for line in own_release.UNIT.read_text(encoding="utf-8").splitlines() if line.startswith("ExecStart=")
        ]
        places = {
            "/usr/bin/python3": sys.executable,
            "/usr/local/lib/tillwatch-agent": str(self.folder / "lib"),
            "/var/lib/tillwatch-agent/agent": str(self.root),
            "/etc/tillwatch-agent": str(self.folder),
        }
        for place, here in places.items():
            said = said.replace(place, here)
        return shlex.split(said.removeprefix("ExecStart="))

    def by_hand(self, archive: Path, version: str) -> None:
        """Do as the guide says: unpack, and let the archive bring itself into its slot, and the launcher."""
        brought = self.folder / "brought"
        with tarfile.open(archive) as opened:
            opened.extractall(brought, filter="data")
        self.run(brought, "slots", "init", "agent", str(archive), "--version", version)
        self.run(brought, "slots", "launcher", str(self.folder / "lib" / "launcher.py"))

    def run(self, folder: Path, *words: str) -> str:
        config = ["--config", str(self.folder / "agent.toml")]
        command = [str(folder / pack.PROGRAM), *words, *config]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start what is to run whenever it ends, as systemd does by `Restart=always`."""
        stopping = threading.Event()
        alive: list[subprocess.Popen[bytes]] = []

        def keep() -> None:
            while not stopping.is_set():
                with (
                    (self.folder / "log").open("ab") as log,
                    subprocess.Popen(self.command(), env=self.environment, stdout=log, stderr=log) as process,
                ):
                    alive[:] = [process]
                    if stopping.is_set():
                        process.kill()
                    self.codes.append(process.wait())

        thread = threading.Thread(target=keep)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            with suppress(IndexError, ProcessLookupError):
                alive[0].kill()
            thread.join()


@pytest.fixture
def repository() -> Repository:
    return Repository()


@pytest.fixture
def machine(tmp_path: Path, broker_port: int, site: Site, repository: Repository) -> Machine:
    (tmp_path / "state").mkdir()
    (tmp_path / "root.json").write_bytes(repository.first_root)
    (tmp_path / "agent.toml").write_text(
        f"""
terminal_id = "till-1"
interval_s = 1
state_dir = "state"
broker = {{ port = {broker_port}, keepalive_s = 5 }}
network = {{ enabled = false }}
machine = {{ enabled = false }}
[update]
metadata_url = "{site.url("metadata")}"
targets_url = "{site.url("targets")}"
trusted_root = "root.json"
spread_s = 0
[[update.products]]
name = "agent"
installer = "agent"
folder = "agent"
confirm_s = 60
start_s = 60
heartbeats = 2
""",
        encoding="utf-8",
    )
    return Machine(tmp_path)


@pytest.fixture
def collector(broker_port: int) -> Iterator[Collector]:
    loop = Loop()
    loop.start()
    collector = Collector(loop, "collector", Broker(host="127.0.0.1", port=broker_port))
    collector.connect()
    collector.listen("tillwatch/v1/t/till-1/up/+")
    yield collector
    loop.stop(0)


def sign(repository: Repository, archive: Path, version: str, **words: Any) -> str:
    target = f"agent/{archive.name}"
    custom = {"product": "agent", "version": version, "installer": "agent"} | words
    repository.add(target, archive.read_bytes(), custom)
    repository.publish()
    return target


@pytest.mark.timeout(240)
def test_an_agent_in_a_slot_upgrades_itself_and_takes_back_what_does_not_start(
    collector: Collector, machine: Machine, packed: Packed, repository: Repository, tmp_path: Path
) -> None:
    machine.by_hand(packed.path, packed.version)
    newer = own_release.renamed(packed, "9.0", tmp_path)
    broken = packages.stored(tmp_path, packages.plain({"bin/none": ""}), "tillwatch-agent-9.1.tar.gz")
    refusing = packages.file(pack.PROGRAM, f"#!/bin/sh\nexit {EXIT_SETTINGS}\n".encode(), 0o755)
    unlucky = packages.stored(tmp_path, packages.tar(refusing), "tillwatch-agent-9.2.tar.gz")
    with machine.running():
        beat = collector.drive(lambda beat: beat.job is None and "version" in facts_of(beat, COMPONENT))
        assert (beat.agent_version, facts_of(beat, COMPONENT)["version"]) == (packed.version, packed.version)

        collector.offer_target(sign(repository, newer, "9.0", installed_bytes=packed.installed_bytes), "r1.1")
        beat = collector.drive(lambda beat: ended(beat, "r1.1"))
        assert beat.job is not None
        assert (beat.job.state, beat.job.reason) == (JobState.SUCCEEDED, None)
        assert beat.agent_version == "9.0"
        facts = facts_of(beat, COMPONENT)
        assert (facts["version"], facts["slot"]) == ("9.0", "b")
        assert facts["digest"] == hashlib.sha256(newer.read_bytes()).hexdigest()
        assert machine.codes == [EXIT_RESTART]

        for no, (archive, version) in enumerate([(broken, "9.1"), (unlucky, "9.2")], start=2):
            collector.offer_target(sign(repository, archive, version), f"r{no}.1")
            beat = collector.drive(partial(ended, job_id=f"r{no}.1"))
            assert beat.job is not None
            assert (beat.job.state, beat.job.reason) == (JobState.ROLLED_BACK, "boot_failed")
            beat = collector.drive(lambda beat: "version" in facts_of(beat, COMPONENT))
            assert (beat.agent_version, facts_of(beat, COMPONENT)["version"]) == ("9.0", "9.0")
    assert machine.codes[1:-1] == [EXIT_RESTART, EXIT_RESTART, *[EXIT_SETTINGS] * ATTEMPTS_MAX]
    committed = machine.slots.committed()
    assert committed is not None
    assert committed.version == "9.0"
    assert list(machine.root.rglob("__pycache__/*.tmp")) == []
