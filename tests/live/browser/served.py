"""A collector as people meet it: its process with the embedded broker, a fleet of simulated terminals, signed releases.

Two merchants, three stores each. Every terminal speaks every second, and holds pass in a twentieth of their time, so
that what a test begins at a terminal is on a page some seconds later.
"""

import hashlib
import math
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from tests.collector import release_office
from tests.collector.persons import PASSWORD
from tests.live.rollouts import PLAN
from tests.live.stack import Collector, until

from tillwatch_collector import people, roster
from tillwatch_collector.config import WebConfig
from tillwatch_collector.console import cookies
from tillwatch_collector.domain.permission import EVERYWHERE, Role, Within
from tillwatch_collector.store.session import Store
from tillwatch_simulator.faults import PRINTER, What
from tillwatch_simulator.fleet import Fleet, embedded
from tillwatch_simulator.releases import Release, Signed
from tillwatch_simulator.scenario import Injection, Step
from tillwatch_simulator.updating import Between, Paces, Software

MERCHANTS: Final = {"noodle-house": "Noodle House", "golden-wok": "Golden Wok 金锅"}
STORES: Final = {
    "bund": ("noodle-house", "Bund 18", "east", "Asia/Shanghai"),
    "canton": ("noodle-house", "Canton Road", "south", "Asia/Hong_Kong"),
    "orchard": ("noodle-house", "Orchard", "overseas", "Asia/Singapore"),
    "harbour": ("golden-wok", "Harbour Road", "north", "Europe/Berlin"),
    "market": ("golden-wok", "Market Square", "north", "Europe/Berlin"),
    "station": ("golden-wok", "Station", "north", "Europe/Berlin"),
}
"""Merchant, name, region, time zone."""

STORE_TERMINALS: Final = 4
TERMINALS: Final = tuple(f"till-{number:03}" for number in range(1, len(STORES) * STORE_TERMINALS + 1))

INTERVAL_S: Final = 1
SEED: Final = 7
OLD, NEW = "2.0.0", "2.1.0"
TARGET: Final = f"till/till-{NEW}.tar.gz"

_PACES = Paces(fetch=Between(0.5, 1.0), stage=Between(0.1, 0.2), start=Between(0.2, 0.4), answer_s=0.05, busy_pct=0.0)


class Served:
    """Everything that a page shows, and what a test may let happen to it."""

    def __init__(
        self, folder: Path, *, database_url: str | None = None, terminals: tuple[str, ...] = TERMINALS
    ) -> None:
        self.folder = folder
        self._database_url = database_url
        self.terminals = terminals
        self._desk = release_office.Desk(folder / "releases", now=datetime.now(UTC)).opened()
        content = b"till 2.1.0"
        self._desk.bring(NEW, content=content)
        self._software = Software(
            installed=_signed(OLD, b"till 2.0.0"),
            offered={TARGET: _signed(NEW, content)},
            spread_s=1.0,
            confirm_s=20.0,
            paces=_PACES,
        )
        tables = f'[releases]\nfolder = "{self._desk.folder}"\n[rollouts]\nlook_s = 1\n'
        settings = "" if database_url is None else f'database_url = "{database_url}"\n'
        self.collector = Collector(folder / "collector", settings=settings, tables=tables)
        self._stack = ExitStack()
        self._sessions: dict[tuple[Role, Within], str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self.collector)
            self._describe()
            self.fleet = undo.enter_context(
                Fleet(
                    terminal_ids=self.terminals,
                    interval_s=INTERVAL_S,
                    seed=SEED,
                    broker=embedded(self.collector.data / "embedded-broker.json"),
                    software=self._software,
                )
            )
            until(self._all_online, "everybody to be online")
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return self.collector.web_url

    def session_of(self, role: Role, within: Within = EVERYWHERE) -> tuple[str, str]:
        """Return the cookie of somebody with this role, who came in by a one-time link: its name and value."""
        if (role, within) not in self._sessions:
            self._sessions[role, within] = self._joined(role, within)
        return cookies.session_name(WebConfig()), self._sessions[role, within]

    def invite(self, role: Role, within: Within = EVERYWHERE) -> str:
        """Make a one-time link, as the command does; returns its path."""
        with closing(Store.open(self._url)) as store:
            invited = roster.invite(store, by="person:root", role=role, within=within, now=datetime.now(UTC))
        assert isinstance(invited, roster.Invited), invited
        return f"/welcome/{invited.key}"

    def begin(self, terminal_id: str, code: str, component: str = PRINTER) -> None:
        """Let a condition become true."""
        self._follow(terminal_id, What.CONDITION, component, code, begins=True)

    def end(self, terminal_id: str, code: str, component: str = PRINTER) -> None:
        """Let it end."""
        self._follow(terminal_id, What.CONDITION, component, code, begins=False)

    def kill(self, terminal_id: str) -> None:
        """Cut a terminal's power."""
        self._follow(terminal_id, What.DEAD, PRINTER, "", begins=True)

    def revive(self, terminal_id: str) -> None:
        self._follow(terminal_id, What.DEAD, PRINTER, "", begins=False)

    def ticket(self, terminal_id: str, code: str) -> dict[str, Any]:
        """Wait until a fault has its ticket."""
        return until(self._tickets(terminal_id, code), f"a ticket for {code} at {terminal_id}")[0]

    def roll_out(self, select: str = "all", **plan: Any) -> str:
        """Draft a rollout of the newest release."""
        body = {"target": TARGET, "select": select, "reason": "the new version", "settings": {**PLAN, **plan}}
        rollout_id: str = self.collector.post("/api/v1/rollouts", body)["rollout_id"]
        return rollout_id

    def _joined(self, role: Role, within: Within) -> str:
        key = self.invite(role, within).rpartition("/")[2]
        person_id = str(role) if within.everywhere else f"{role}.{len(self._sessions)}"
        with closing(Store.open(self._url)) as store:
            came = people.welcome(
                store, key=key, person_id=person_id, name=person_id.title(), password=PASSWORD, now=datetime.now(UTC)
            )
        assert isinstance(came, people.SignedIn), came
        return came.secret

    @property
    def _url(self) -> str:
        return self._database_url or f"sqlite:///{self.collector.data / 'collector.db'}"

    def _tickets(self, terminal_id: str, code: str) -> Callable[[], list[dict[str, Any]]]:
        return lambda: self.collector.tickets(subject_id=terminal_id, code=code, open="true")

    def _follow(self, terminal_id: str, what: What, component: str, code: str, *, begins: bool) -> None:
        injection = Injection(
            terminal_id=terminal_id, what=what, from_s=0.0, until_s=math.inf, component=component, code=code
        )
        self.fleet.follow(Step(at_s=0.0, begins=begins, injection=injection))

    def _describe(self) -> None:
        for merchant_id, name in MERCHANTS.items():
            self.collector.post("/api/v1/merchants", {"merchant_id": merchant_id, "name": name})
        for store_id, (merchant_id, name, region, time_zone) in STORES.items():
            store = {"store_id": store_id, "merchant_id": merchant_id, "name": name, "region": region}
            self.collector.post("/api/v1/stores", store | {"time_zone": time_zone, "carrier": "CityNet"})
        for number, terminal_id in enumerate(self.terminals):
            store_id = tuple(STORES)[number // STORE_TERMINALS % len(STORES)]
            self.collector.post("/api/v1/terminals", {"terminal_id": terminal_id, "store_id": store_id, "model": "T1"})

    def _all_online(self) -> bool:
        online: int = self.collector.get("/api/v1/fleet")["terminals_by_presence"].get("online", 0)
        return online >= len(self.terminals)


def _signed(version: str, content: bytes) -> Signed:
    return Signed(release=Release(product="till", version=version), digest=hashlib.sha256(content).hexdigest())
