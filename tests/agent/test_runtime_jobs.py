"""A job through the whole agent: a real broker, the fetching program, slots and a launcher; also across its ends."""

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.agent import till_release
from tests.agent.collecting import JOB, Collector, ended, facts_of
from tests.agent.conftest import WAIT_S, until
from tests.agent.release_site import Asked, Repository, Site

from tillwatch_agent import config, probes
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.core import Stop
from tillwatch_agent.publisher import Broker, Loop
from tillwatch_agent.runtime import EXIT_RESTART, Runtime
from tillwatch_protocol import topics
from tillwatch_protocol.job import JobMessage, JobMessageKind, JobState

LONG_S = 3 * WAIT_S


@pytest.fixture
def collector(broker_port: int) -> Iterator[Collector]:
    loop = Loop()
    loop.start()
    collector = Collector(loop, "collector", Broker(host="127.0.0.1", port=broker_port))
    collector.connect()
    collector.listen("tillwatch/v1/t/till-1/up/+")
    yield collector
    loop.stop(0)


@pytest.fixture
def repository() -> Repository:
    repository = Repository()
    till_release.add(repository, "2.0.0")
    till_release.add(repository, "2.1.0")
    return repository


Settings = Callable[..., AgentConfig]


@pytest.fixture
def settings(broker_port: int, tmp_path: Path, site: Site, repository: Repository) -> Settings:
    def made(**product: Any) -> AgentConfig:
        quick: dict[str, Any] = {"confirm_s": 60.0, "heartbeats": 2} | product
        document = {
            "terminal_id": "till-1",
            "interval_s": 1,
            "state_dir": str(tmp_path / "state"),
            "broker": {"port": broker_port, "keepalive_s": 5},
            "network": {"enabled": False},
            "machine": {"enabled": False},
            "update": till_release.update_table(tmp_path, site, repository, **quick),
        }
        return config.parse(document)

    return made


@contextlib.contextmanager
def running(settings: AgentConfig) -> Iterator[list[int]]:
    """Run an agent until the block ends; its exit code is in the list then."""
    codes: list[int] = []
    agent = Runtime(settings, probes.build(settings))
    thread = threading.Thread(target=lambda: codes.append(agent.run()))
    thread.start()
    try:
        yield codes
    finally:
        agent.put(Stop())
        thread.join(LONG_S)


@pytest.mark.timeout(180)
def test_a_release_is_offered_fetched_switched_proved_and_kept(collector: Collector, settings: Settings) -> None:
    with running(settings()):
        collector.drive(lambda beat: beat.job is None)
        collector.offer("2.0.0")
        beat = collector.drive(ended)
        assert beat.job is not None
        assert (beat.job.state, beat.job.reason) == (JobState.SUCCEEDED, None)
        first = facts_of(beat)
        assert first["version"] == "2.0.0"
        collector.offer("2.0.0", "r2-t1.1")  # what is installed is not installed again
        beat = collector.drive(lambda beat: ended(beat) and beat.job is not None and beat.job.job_id == "r2-t1.1")
        assert beat.job is not None
        assert (beat.job.state, beat.job.reason) == (JobState.REJECTED, "already_installed")
        collector.offer("2.1.0", "r3-t1.1")
        beat = collector.drive(lambda beat: ended(beat) and beat.job is not None and beat.job.job_id == "r3-t1.1")
        second = facts_of(beat)
        assert second["version"] == "2.1.0"
        assert second["activation_id"] != first["activation_id"]
    assert [state for state, _ in itertools.groupby(collector.told)][:8] == [
        JobState.ACCEPTED,
        JobState.DOWNLOADING,
        JobState.VERIFIED,
        JobState.STAGED,
        JobState.READY,
        JobState.SWITCHING,
        JobState.CONFIRMING,
        JobState.SUCCEEDED,
    ]


@pytest.mark.timeout(180)
def test_a_release_that_is_not_well_is_taken_back(collector: Collector, settings: Settings, tmp_path: Path) -> None:
    health = tmp_path / "health"
    health.write_text("#!/bin/sh\necho no card reader; test ! -e " + str(tmp_path / "ill") + "\n")
    health.chmod(0o700)
    with running(settings(health=[str(health)], confirm_s=8.0)):
        collector.drive(lambda beat: beat.job is None)
        collector.offer("2.0.0")
        collector.drive(ended)
        (tmp_path / "ill").touch()
        collector.offer("2.1.0", "r2-t1.1")
        beat = collector.drive(lambda beat: ended(beat) and beat.job is not None and beat.job.job_id == "r2-t1.1")
        assert beat.job is not None
        assert (beat.job.state, beat.job.reason) == (JobState.ROLLED_BACK, "unhealthy")
        collector.drive(lambda beat: facts_of(beat).get("version") == "2.0.0")


@pytest.mark.timeout(180)
def test_the_agents_own_release_is_started_by_its_launcher_and_kept_by_itself(
    collector: Collector, settings: Settings, repository: Repository, tmp_path: Path
) -> None:
    repository.targets.targets.clear()
    till_release.add(repository, "2.0.0", installer="agent")
    own = settings(installer="agent", restart=[], unguarded=False)
    with running(own) as codes:
        collector.drive(lambda beat: beat.job is None)
        collector.offer("2.0.0")
        collector.drive(lambda beat: beat.job is not None and beat.job.state is JobState.SWITCHING)
        until(lambda: bool(codes), "the process to end")
    assert codes == [EXIT_RESTART]
    page = json.loads((tmp_path / "state" / "update" / "job.json").read_text())
    assert page["job"]["state"] == "switching"
    till_release.launch(tmp_path / "till")
    with running(own):
        beat = collector.drive(ended)
        assert beat.job is not None
        assert (beat.job.state, beat.job.reason) == (JobState.SUCCEEDED, None)


def hanging(asked: Asked) -> None:
    asked.site.stopping.wait(WAIT_S)


@pytest.mark.timeout(180)
def test_a_withdrawn_job_ends_its_download(collector: Collector, settings: Settings, site: Site) -> None:
    site.tricks["/metadata/timestamp.json"] = [hanging]
    with running(settings()):
        collector.drive(lambda beat: beat.job is None)
        collector.offer("2.0.0")
        collector.drive(lambda beat: beat.job is not None and beat.job.state is JobState.DOWNLOADING)
        collector.send(topics.JOBS, JobMessage(terminal_id="till-1", kind=JobMessageKind.WITHDRAW, job_id=JOB))
        beat = collector.drive(ended)
        assert beat.job is not None
        assert beat.job.state is JobState.CANCELLED
