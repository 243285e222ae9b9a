"""How soon the console answers over 50,000 terminals, what its first page weighs, and what fifty open pages cost.

A seeded fleet lies in a database of each kind; the console serves it in a process of its own, and what is measured is
what a browser waits for on loopback. Every page and fragment is asked in rounds that lie further apart than shared
answers are kept, in an order that changes: so each of them is sometimes the one that works an answer out for all. The
slowest one counts. Open pages ask again as their own `hx-trigger` says, and with what they had last.
"""

import asyncio
import hashlib
import os
import random
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import httpx2 as httpx
import psutil
from fastapi.routing import APIRoute
from sqlalchemy import select
from tests.bench.figures import Experiment, Figure, Progress
from tests.bench.probes import percentile
from tests.bench.seeded_fleet import ROLLOUT_ID, Size, merchant_of, store_of, terminal_of
from tests.bench.seeding import seed
from tests.live.postgres import Postgres

from tillwatch_collector import console, hosting, shared
from tillwatch_collector.config import WebConfig
from tillwatch_collector.console import cookies
from tillwatch_collector.domain.permission import Role, Within
from tillwatch_collector.domain.person import Person
from tillwatch_collector.store import tables
from tillwatch_collector.store.people import Session
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.tables import table_of

SEED = 1
TERMINALS = int(os.environ.get("PAGES_TERMINALS", "50000"))
ROUNDS = int(os.environ.get("PAGES_ROUNDS", "20"))
OPEN_PAGES = 50
OPEN_S = float(os.environ.get("PAGES_OPEN_S", "60"))
KEEPALIVE_S = hosting.KEEP_ALIVE_S - 5.0
"""A browser would notice that the server closed a connection which was idle for longer, and open another one."""
SETTLE_S = 10.0
"""Every open page has asked once."""
ROUND_S = shared.KEPT.total_seconds() + 0.5

BROWSER = {"Accept-Encoding": "gzip, deflate, br", "Accept-Language": "en", "Sec-Fetch-Site": "same-origin"}

NOT_PAGES = frozenset(
    {
        "/signin",  # nobody who is signed in sees it
        "/welcome/{key}",
        "/static/{name}",
        "/terminals.csv",  # files, as long as what they hold
        "/tickets.csv",
        "/tickets/{ticket_id}/attachments/{attachment_id}",
        "/admin/audit.csv",
    }
)
ANSWERED = frozenset({httpx.codes.OK, httpx.codes.UNPROCESSABLE_CONTENT})
"""A page that needs to be asked something says so, as a page."""
ALSO = (
    "/?region=berlin",
    "/?q=noodle",
    "/?state=critical",
    "/?version=0.9.1",
    "/?sort=store&offset=25000",
    "/live/picture?region=berlin",
    "/live/terminals?state=well&sort=-heard_at",
    "/tickets?status=all",
)
"""What a person also asks of them."""
OPEN = ("/",) * 3 + ("/tickets", "/terminals/{terminal_id}")
"""What is open, in turn."""


def pages(progress: Progress) -> dict[str, float]:
    """Measure over both databases; the worse counts."""
    measured = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Postgres(folder / "postgresql"))
        for kind, url in (("sqlite", f"sqlite:///{folder / 'fleet.db'}"), ("postgresql", server.create("fleet"))):
            progress(0, ROUNDS, f"{kind}: seeding")
            with _console(url) as served:
                pid = server.pid if kind == "postgresql" else None
                measured.append(_measure(served, kind, pid, progress))
    return {name: max(one[name] for one in measured) for name in measured[0]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A console that answers, and what its addresses are filled in with."""

    base_url: str
    pid: int
    cookies: tuple[dict[str, str], ...]
    """Of the persons who are signed in; the first sees and may do everything."""
    subjects: dict[str, str]


@contextmanager
def _console(url: str) -> Iterator[Served]:
    store = Store.open(url)
    try:
        store.migrate()
        seed(store, Size(terminals=TERMINALS, stores=max(1, TERMINALS // 10)), SEED, datetime.now(UTC))
        signed_in = tuple(_sign_in(store, within) for within in (Within(), Within(), _narrow()))
        subjects = _subjects(store)
    finally:
        store.close()
    command = [sys.executable, "-m", "tests.bench.page_server", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            yield Served(base_url=address, pid=process.pid, cookies=signed_in, subjects=subjects)
        finally:
            process.terminate()


def _narrow() -> Within:
    return Within(merchant_ids=frozenset(map(merchant_of, range(3))))


def _sign_in(store: Store, within: Within) -> dict[str, str]:
    secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
    name = f"p-{secrets.token_hex(4)}"
    with store.transaction() as repository:
        repository.people.add(Person(person_id=name, name="Ann", role=Role.ADMIN, within=within), None, now)
        session = Session(
            session_id=secrets.token_hex(8),
            person_id=name,
            started_at=now,
            seen_at=now,
            address="127.0.0.1",
            user_agent="a bench",
        )
        repository.people.begin(session, hashlib.sha256(secret.encode()).hexdigest())
    return {cookies.session_name(WebConfig()): secret}


def _subjects(store: Store) -> dict[str, str]:
    fault = table_of(tables.FaultRow)
    with store.reading() as connection:
        failing = connection.execute(
            select(fault.c.terminal_id, fault.c.ticket_id)
            .where(fault.c.cleared_at.is_(None))
            .order_by(fault.c.fault_id)
        ).first()
        person = connection.execute(select(table_of(tables.PersonRow).c.person_id)).scalars().first()
    assert failing is not None
    return {
        # the first terminals have a month of measures
        "terminal_id": terminal_of(0),
        "ticket_id": str(failing.ticket_id),
        "store_id": store_of(0),
        "merchant_id": merchant_of(0),
        "rollout_id": ROLLOUT_ID,
        "person_id": str(person),
    }


# --- every page


def _measure(served: Served, kind: str, database_pid: int | None, progress: Progress) -> dict[str, float]:
    with httpx.Client(base_url=served.base_url, headers=BROWSER, cookies=served.cookies[0], timeout=60) as browser:
        took = _rounds(browser, _addresses(served.subjects), kind, progress)
        first_load = _first_load(browser)
    p95 = {path: percentile(times, 0.95) for path, times in took.items()}
    for path, slowest in sorted(p95.items(), key=lambda one: -one[1]):
        progress(ROUNDS, ROUNDS, f"{kind}: p95 {slowest:6.1f} ms, p50 {percentile(took[path], 0.5):6.1f} ms  {path}")
    cpu_pct = asyncio.run(_hold_open(served, database_pid))
    progress(ROUNDS, ROUNDS, f"{kind}: {OPEN_PAGES} open pages cost {cpu_pct:.1f} % of a core")
    return {
        "page_p95_ms": round(max(p95.values()), 1),
        "first_load_kib": round(first_load / 1024, 1),
        "pages_cpu_pct": round(cpu_pct, 1),
    }


def _addresses(subjects: dict[str, str]) -> list[str]:
    """Name every page and fragment that the console has, by its routes."""
    paths = {
        route.path
        for router in console.ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    }
    filled = (path.format(**subjects) for path in sorted(paths - NOT_PAGES) if not _unfilled(path, subjects))
    return [*filled, *ALSO]


def _unfilled(path: str, subjects: dict[str, str]) -> bool:
    """Whether it is about something of which a fleet has none, such as a command that was sent."""
    return not set(re.findall(r"{(\w+)", path)) <= subjects.keys()


def _rounds(browser: httpx.Client, addresses: list[str], kind: str, progress: Progress) -> dict[str, list[float]]:
    took: dict[str, list[float]] = defaultdict(list)
    order = random.Random(SEED)
    for path in addresses:  # what is loaded and compiled once is not what a page costs
        answer = browser.get(path)
        assert answer.status_code in ANSWERED, f"{path}: {answer.status_code} {answer.text[:500]}"
    for number in range(ROUNDS):
        time.sleep(ROUND_S)
        for path in order.sample(addresses, len(addresses)):
            began = time.perf_counter()
            browser.get(path)
            took[path].append((time.perf_counter() - began) * 1000)
        progress(number + 1, ROUNDS, f"{kind}: {len(addresses)} pages and fragments")
    return took


# --- the first load


class _Linked(HTMLParser):
    """What a page has a browser fetch, and what it asks for again by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []
        self.live: dict[str, float] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in {"link", "script", "img"} and (file := given.get("href") or given.get("src")):
            self.files.append(file)
        every = re.match(r"every (\d+)s", given.get("hx-trigger", ""))
        if every:
            self.live[given["hx-get"]] = float(every[1])


def _read(html: str) -> _Linked:
    linked = _Linked()
    linked.feed(html)
    return linked


def _first_load(browser: httpx.Client) -> int:
    """Count the bytes of the fleet's page and of all that it needs, heads included."""
    page = browser.get("/")
    answers = [page, *(browser.get(file) for file in _read(page.text).files)]
    return sum(answer.num_bytes_downloaded + _head_bytes(answer) for answer in answers)


def _head_bytes(answer: httpx.Response) -> int:
    return sum(len(name) + len(value) + 4 for name, value in answer.headers.raw)


# --- open pages


async def _hold_open(served: Served, database_pid: int | None) -> float:
    """Return how much of a core the console takes, and its database, while pages stand open."""
    limits = httpx.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_S)
    async with httpx.AsyncClient(base_url=served.base_url, headers=BROWSER, timeout=60, limits=limits) as browser:
        rng = random.Random(SEED)
        tasks = [
            asyncio.create_task(_stay(browser, served, number, rng.uniform(0, SETTLE_S)))
            for number in range(OPEN_PAGES)
        ]
        await asyncio.sleep(2 * SETTLE_S)
        began, spent = time.monotonic(), _cpu_s(served.pid, database_pid)
        await asyncio.sleep(OPEN_S)
        share = (_cpu_s(served.pid, database_pid) - spent) / (time.monotonic() - began)
        for task in tasks:
            assert not task.done(), task.result()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return 100 * share


async def _stay(browser: httpx.AsyncClient, served: Served, number: int, wait_s: float) -> None:
    """Open a page, and ask for its live parts as a browser does."""
    await asyncio.sleep(wait_s)
    language = ("en", "zh-CN")[number % 2]
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in _jar(served, number).items())}
    headers |= {"Accept-Language": language}
    page = await browser.get(OPEN[number % len(OPEN)].format(**served.subjects), headers=headers)
    assert page.status_code == httpx.codes.OK, page.text[:500]
    live = _read(page.text).live
    assert live, f"{page.url} has nothing that is live"
    await asyncio.gather(*(_poll(browser, path, every_s, headers) for path, every_s in live.items()))


def _jar(served: Served, number: int) -> dict[str, str]:
    return served.cookies[number % len(served.cookies)] if OPEN[number % len(OPEN)] == "/" else served.cookies[0]


async def _poll(browser: httpx.AsyncClient, path: str, every_s: float, headers: dict[str, str]) -> None:
    tag = ""
    while True:
        await asyncio.sleep(every_s)
        answer = await browser.get(path, headers=headers | ({"If-None-Match": tag} if tag else {}))
        assert answer.status_code in {httpx.codes.OK, httpx.codes.NOT_MODIFIED}, f"{path}: {answer.status_code}"
        tag = answer.headers.get("etag", "")


def _cpu_s(pid: int, database_pid: int | None) -> float:
    processes = [psutil.Process(pid)]
    if database_pid is not None:
        parent = psutil.Process(database_pid)
        processes += [parent, *parent.children(recursive=True)]
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


EXPERIMENTS = (
    Experiment(
        name="pages",
        door="bench",
        seed=SEED,
        run=pages,
        options=("PAGES_TERMINALS", "PAGES_ROUNDS", "PAGES_OPEN_S"),
        figures=(
            Figure(
                name="page_p95_ms",
                unit="ms",
                aim=200,
                says=f"for the slowest page or fragment over {TERMINALS:,} terminals, on the slower database",
            ),
            Figure(
                name="first_load_kib",
                unit="KiB",
                aim=60,
                says="that a browser fetches for the fleet's page the first time: page, style, scripts",
            ),
            Figure(
                name="pages_cpu_pct",
                unit="%",
                aim=10,
                says=f"of a core for {OPEN_PAGES} open pages there, the database's own processes included",
            ),
        ),
    ),
)
