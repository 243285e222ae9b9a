"""What it costs to bring a release to many: the collector's memory, and the lines' bandwidth, however large the file.

A real collector serves releases that were really signed. Five hundred terminals run the whole program that fetches, a
thread each and clocks of their own, through a line that is cut for all of them once half is there. Ten run it as the
agent does, a process each, and every one is killed once. All end with the file, verified, or nothing is published.
"""

import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Self
from urllib.parse import urlsplit

import psutil
from tests.bench.figures import Experiment, Figure, Progress
from tests.bench.reconnecting import allow_files
from tests.collector.release_office import Desk, release
from tests.live.line import Cut, Exchange, Line
from tests.live.mosquitto import LOOPBACK
from tests.live.stack import Collector

from tillwatch_agent.installer import fetch, order
from tillwatch_agent.installer.fetch import Clocks
from tillwatch_agent.installer.order import Fetched, News, Order

SEED = 20261121
MB = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """A release, for how many, and how fast each may take it."""

    version: str
    file_bytes: int
    terminals: int
    bytes_per_s_max: int

    @property
    def target(self) -> str:
        return f"till/till-{self.version}.tar.gz"

    @property
    def least_s(self) -> float:
        return self.file_bytes / self.bytes_per_s_max


MANY = Load(version="1.0.0", file_bytes=4 * MB, terminals=500, bytes_per_s_max=125_000)
LARGE = Load(version="2.0.0", file_bytes=200 * MB, terminals=10, bytes_per_s_max=5 * MB)

RATE_OVER_S = 10.0
"""In so many seconds a terminal's rate is looked at."""

BANDWIDTH_PCT_MAX = 112.0
"""A download may catch up on one of these seconds, and the last sip may be counted whole."""

CUT_FOR_S = 3.0
KILLED_AT = (0.2, 0.8)
"""Of the file is there when a program is killed."""

SPREAD_S = 5.0
"""Over which the many begin; an agent spreads them over minutes."""

RSS_GROWTH_MIB_MAX = 80.0
"""What is on its way to 500 terminals at once: 64 KiB that wait for each one's line, 64 KiB that were read to follow,
and what a connection takes. Nothing that grows with the file."""

GIVE_UP_S = 600.0
LOOK_S = 0.1
FILES_SPARE = 500


@dataclass
class Download:
    """One terminal's: how much it had when, over all of its starts."""

    order: Order
    came: list[tuple[float, int]] = field(default_factory=list)
    fetched: Fetched | None = None
    said: str = "nothing"

    def hear(self, news: News) -> None:
        if isinstance(news, order.Progress):
            self.came.append((time.monotonic(), news.received_bytes))
        elif isinstance(news, Fetched):
            self.fetched = news
        else:
            self.said = news.said

    @property
    def received_bytes(self) -> int:
        return self.came[-1][1] if self.came else 0

    def rate_max(self) -> float:
        """Bytes a second, in the fastest stretch of `RATE_OVER_S`."""
        fastest, first = 0.0, 0
        for at_s, received in self.came:
            began_s, before = self.came[first]
            if at_s - began_s >= RATE_OVER_S:
                fastest = max(fastest, (received - before) / (at_s - began_s))
                first += 1
        return fastest


class Site:
    """The collector, its releases, and a line to it."""

    def __init__(self, folder: Path, collector: Collector, line: Line, desk: Desk) -> None:
        self.line = line
        self.process = psutil.Process(collector.process.pid)
        self._folder = folder
        self._desk = desk
        port = urlsplit(collector.web_url).port
        assert port is not None
        self._url = f"http://{LOOPBACK}:{line.to(port)}"

    def offer(self, load: Load, rng: Random) -> None:
        file = self._folder / Path(load.target).name
        with file.open("wb") as out:
            for _ in range(load.file_bytes // MB):
                out.write(rng.randbytes(MB))
        self._desk.releases.add(file, load.target, release(load.version), datetime.now(UTC))
        self._desk.sign("alice")
        self._desk.publish()

    def order(self, load: Load, name: str) -> Order:
        till = self._folder / "tills" / name
        return Order(
            metadata_dir=till / "trust",
            metadata_url=f"{self._url}/tuf/metadata",
            target=load.target,
            target_url=f"{self._url}/tuf/targets",
            target_dir=till / "downloads",
            product="till",
            agent_version="1.0",
            trusted_root=self._desk.folder / "metadata" / "1.root.json",
            bytes_per_s_max=load.bytes_per_s_max,
        )


class Memory:
    """How much a process holds, from when it is entered: its growth at the most."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory")
        self._at_first = self._at_most = 0

    def __enter__(self) -> Self:
        self._at_first = self._at_most = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth_mib(self) -> float:
        return (self._at_most - self._at_first) / 2**20

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self._at_most = max(self._at_most, self._process.memory_info().rss)


def downloads(progress: Progress) -> dict[str, float]:
    """Bring both releases to all; whatever does not arrive is an error."""
    allow_files(2 * MANY.terminals + FILES_SPARE)
    rng = Random(SEED)
    with tempfile.TemporaryDirectory() as name, Exchange() as exchange:
        folder = Path(name)
        desk = Desk(folder / "releases", now=datetime.now(UTC)).opened()
        tables = f'[releases]\nfolder = "{desk.folder}"\n'
        with Collector(folder / "collector", hold_scale=1.0, judge="", tables=tables) as collector:
            site = Site(folder, collector, exchange.line(), desk)
            many = _measured(site, MANY, _by_threads, rng, progress)
            large = _measured(site, LARGE, _by_processes, rng, progress)
    return {
        "download_rss_growth_mib": round(max(many.rss_growth_mib, large.rss_growth_mib), 1),
        "download_many_rss_growth_mib": round(many.rss_growth_mib, 1),
        "download_large_rss_growth_mib": round(large.rss_growth_mib, 1),
        "download_bandwidth_pct": round(100 * max(many.bandwidth_share, large.bandwidth_share), 1),
        "download_carried_pct": round(100 * max(many.carried_share, large.carried_share), 1),
        "download_many_s": round(many.took_s, 1),
        "download_large_s": round(large.took_s, 1),
        "download_unfinished": many.unfinished + large.unfinished,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one load showed."""

    took_s: float
    rss_growth_mib: float
    bandwidth_share: float
    """Of the fastest terminal's rate in what it was allowed."""
    carried_share: float
    """Of what came over the line in what was asked for."""
    unfinished: int


Bring = Callable[[Site, Load, Sequence[Download], Random, Progress], None]


def _measured(site: Site, load: Load, bring: Bring, rng: Random, progress: Progress) -> Outcome:
    site.offer(load, rng)
    _warm(site, load)
    tills = [Download(order=site.order(load, f"{load.version}-{no}")) for no in range(load.terminals)]
    before, began_s = site.line.carried_bytes, time.monotonic()
    with Memory(site.process) as memory:
        bring(site, load, tills, rng, progress)
    took_s = time.monotonic() - began_s
    unfinished = [till for till in tills if till.fetched is None or till.fetched.total_bytes != load.file_bytes]
    for till in unfinished[:3]:
        progress(0, 0, f"{till.order.target_dir.parent.name} has {till.received_bytes} bytes and said: {till.said}")
    return Outcome(
        took_s=took_s,
        rss_growth_mib=memory.growth_mib,
        bandwidth_share=max(till.rate_max() for till in tills) / load.bytes_per_s_max,
        carried_share=(site.line.carried_bytes - before) / (load.file_bytes * load.terminals),
        unfinished=len(unfinished),
    )


def _warm(site: Site, load: Load) -> None:
    """One download that counts for nothing: what the server loads once is no growth."""
    first = Download(order=replace(site.order(load, f"{load.version}-first"), bytes_per_s_max=None))
    _fetch(first)
    assert first.fetched is not None, first.said


def _by_threads(site: Site, load: Load, tills: Sequence[Download], rng: Random, progress: Progress) -> None:
    def later(till: Download, wait_s: float) -> None:
        time.sleep(wait_s)
        _fetch(till)

    with ThreadPoolExecutor(len(tills)) as pool:
        running = [pool.submit(later, till, rng.uniform(0, SPREAD_S)) for till in tills]
        _watch(running, load, tills, progress, until=0.5)
        site.line.cut(Cut.ENDED)
        time.sleep(CUT_FOR_S)
        site.line.mend()
        _watch(running, load, tills, progress)


def _by_processes(_site: Site, load: Load, tills: Sequence[Download], rng: Random, progress: Progress) -> None:
    with ThreadPoolExecutor(len(tills)) as pool:
        running = [pool.submit(_killed_once, till, rng.uniform(*KILLED_AT) * load.file_bytes) for till in tills]
        _watch(running, load, tills, progress)


def _watch(
    running: Sequence[Future[None]], load: Load, tills: Sequence[Download], progress: Progress, *, until: float = 1.0
) -> None:
    """Show how far they are until that share is there, or all have ended; what one raised is raised."""
    gives_up_s = time.monotonic() + GIVE_UP_S
    while not all(one.done() for one in running):
        assert time.monotonic() < gives_up_s, f"downloads do not end in {GIVE_UP_S:.0f} s"
        came = sum(till.received_bytes for till in tills)
        progress(came // MB, load.file_bytes * len(tills) // MB, f"MB to {len(tills)} terminals")
        if until < 1 and came >= until * load.file_bytes * len(tills):
            return
        time.sleep(LOOK_S)
    for one in running:
        one.result()


def _fetch(till: Download) -> None:
    """Run the program in this thread, by its own arguments."""
    fetch.run(order.arguments(till.order), till.hear, Clocks(now=lambda: datetime.now(UTC), now_s=time.monotonic))


def _killed_once(till: Download, at_bytes: float) -> None:
    """Run the program as the agent does, kill it when so much is there, and run it again."""
    for killed in (True, False):
        with subprocess.Popen(order.command(till.order), stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            for line in program.stdout:
                if news := order.heard(line):
                    till.hear(news)
                if killed and till.received_bytes >= at_bytes:
                    program.kill()


EXPERIMENTS = (
    Experiment(
        name="downloads",
        door="evidence",
        seed=SEED,
        run=downloads,
        figures=(
            Figure(
                name="download_rss_growth_mib",
                unit="MiB",
                aim=RSS_GROWTH_MIB_MAX,
                says="by which the collector grows at most while it serves 4 MB to 500 terminals at once, or 200 MB "
                "to 10",
            ),
            Figure(name="download_many_rss_growth_mib", unit="MiB", aim=None, says="of it with the 500"),
            Figure(name="download_large_rss_growth_mib", unit="MiB", aim=None, says="of it with the 200 MB"),
            Figure(
                name="download_bandwidth_pct",
                unit="%",
                aim=BANDWIDTH_PCT_MAX,
                says=f"of its bandwidth that the fastest terminal took over {RATE_OVER_S:.0f} s",
            ),
            Figure(
                name="download_carried_pct",
                unit="%",
                aim=110,
                says="of the files that the line carried, though it was cut for the 500 in their midst, and each of "
                "the 10 killed: who goes on brings little twice",
            ),
            Figure(
                name="download_unfinished", unit="terminals", aim=0, says="without the whole file, verified, at the end"
            ),
            Figure(
                name="download_many_s",
                unit="s",
                aim=None,
                says=f"for the 500; at their bandwidth it takes {MANY.least_s:.0f}, beside 5 in which they begin and "
                "3 in which the line is cut",
            ),
            Figure(
                name="download_large_s",
                unit="s",
                aim=None,
                says=f"for the 10; at their bandwidth it takes {LARGE.least_s:.0f}",
            ),
        ),
    ),
)
