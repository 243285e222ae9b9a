"""A large fleet on a common day, as rows: made from a seed, a size and a moment, and from nothing else.

Some stores are cut off as a whole under one ticket; some terminals are silent, late, off or never heard; devices fail;
old faults have closed tickets; an upgrade is under way; some stores are in maintenance. A change violates this when
judge could not go on from the rows: a fault that stands has its condition and, but under an outage, its own ticket.
"""

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from tests.bench.frames import PRINTER, Measures, walk

from tillwatch_collector.store import tables
from tillwatch_collector.store.tables import Table
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import AGENT_SELF, MACHINE_SELF, NETWORK_UPLINK, Health, PowerState

Row = dict[str, Any]
Fault = tuple[str, str, str, str]
"""Component, code, severity, category."""

REGIONS = (
    "beijing", "shanghai", "guangzhou", "shenzhen", "chengdu", "wuhan", "hangzhou", "nanjing", "xian", "chongqing",
    "berlin", "hamburg", "muenchen", "koeln", "frankfurt", "wien", "zuerich", "lyon", "paris", "madrid",
)  # fmt: skip
ZONES = ("Asia/Shanghai",) * 10 + ("Europe/Berlin",) * 7 + ("Europe/Paris",) * 2 + ("Europe/Madrid",)
CARRIERS = ("unicom", "telecom", "mobile", "telekom", "orange")
MERCHANTS = ("Noodle House", "面馆", "Corner Bakery", "便利店", "Green Grocer", "药房")
MODELS = (("Epson", "TM-m30III"), ("Star", "mC-Print3"), ("Ingenico", "Desk/5000"), ("联迪", "A8"), ("Sunmi", "T2s"))
AGENTS = ("1.0.0",) * 14 + ("0.9.2",) * 5 + ("0.9.1",)
TILLS = ("2.1.0", "2.0.4", "2.0.4", "2.0.4")

FAULTS = (
    # component, code, severity, category
    (PRINTER, "paper_end", "major", "printing"),
    (PRINTER, "cover_open", "minor", "printing"),
    (PRINTER, "no_response", "major", "printing"),
    (NETWORK_UPLINK, "dns_failure", "critical", "network"),
    ("acquirer:main", "tls_failure", "critical", "payment"),
    (MACHINE_SELF, "disk_low", "minor", "machine"),
    (MACHINE_SELF, "clock_wrong", "major", "machine"),
)
SILENT = (AGENT_SELF, "silent", "critical", "availability")
_BEFORE = {"reported": None, "diagnosing": "reported", "resolved": "diagnosing"}
STATUSES = ("reported", "diagnosing", "repairing", "pending", "verifying")

INTERVAL_S = 60
OPEN = {day: [["08:00", "22:00"]] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
ROLLOUT_ID = "r-till-2-1-0"
WALK = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much there is."""

    terminals: int = 50_000
    stores: int = 5_000
    old_faults: float = 2.0
    """Of each terminal, in the past month."""
    events: int = 4
    """Of each terminal."""
    cut_off_share: float = 0.004
    """Of the stores."""
    failing_share: float = 0.015
    """Of the terminals that report."""

    @property
    def merchants(self) -> int:
        return max(1, self.stores // 25)


class Stands(NamedTuple):
    """How a terminal stands on the day."""

    presence: str
    reason: str
    since: datetime
    heard_at: datetime | None


@dataclass(kw_only=True)
class SeededFleet:
    """The rows of every table, in the order in which they may be inserted."""

    size: Size
    seed: int
    now: datetime
    rows: dict[type[Table], list[Row]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._walk = tuple(walk(random.Random(self.seed)))[:WALK]
        self._ticket_id = 0
        self._outage_of: dict[str, int] = {}
        """The ticket of a store that is cut off."""
        self._places()
        self._outages()
        for number in range(self.size.terminals):
            self._terminal(number)
        self._maintenances()
        self._rollout()

    def add(self, row: type[Table], **values: Any) -> None:
        self.rows[row].append(values)

    def ago(self, **span: float) -> datetime:
        return self.now - timedelta(**span)

    # --- places

    def _places(self) -> None:
        for number in range(self.size.merchants):
            name = f"{MERCHANTS[number % len(MERCHANTS)]} {number + 1}"
            self.add(tables.MerchantRow, merchant_id=merchant_of(number), name=name, created_at=self.ago(days=400))
        for number in range(self.size.stores):
            merchant, region = number % self.size.merchants, number * 7 % len(REGIONS)
            self.add(
                tables.StoreRow,
                store_id=store_of(number),
                merchant_id=merchant_of(merchant),
                name=f"{MERCHANTS[merchant % len(MERCHANTS)]} {REGIONS[region]} {number + 1}",
                address=f"{number % 300 + 1} Market Street, {REGIONS[region]}",
                region=REGIONS[region],
                time_zone=ZONES[region],
                opening_hours=OPEN,
                carrier=CARRIERS[number % len(CARRIERS)],
                watch="opening_hours" if number % 3 == 0 else "always",
                holidays={},
                contract=None,
                created_at=self.ago(days=390),
            )

    def _outages(self) -> None:
        for number in self._rng.sample(range(self.size.stores), int(self.size.stores * self.size.cut_off_share)):
            began = self.ago(minutes=self._rng.uniform(10, 180))
            hit = self.size.terminals // self.size.stores
            ticket_id = self._ticket(
                ("store", store_of(number)), SILENT, began, "diagnosing", number, title="Store is cut off"
            )
            self._outage_of[store_of(number)] = ticket_id
            self.add(
                tables.OutageRow,
                node_kind="store",
                node_id=store_of(number),
                component=SILENT[0],
                code=SILENT[1],
                ticket_id=ticket_id,
                began_at=began,
                detected_at=began + timedelta(minutes=2),
                ended_at=None,
                terminals_hit=hit,
                terminals_total=hit,
                evidence={"why": "every terminal of the store fell silent at once"},
            )

    # --- a terminal

    def _terminal(self, number: int) -> None:
        rng, name = self._rng, terminal_of(number)
        store = number % self.size.stores if rng.random() > 0.002 else None
        brand, model = MODELS[number // self.size.stores % len(MODELS)]
        life = rng.choices(("live", "in_repair", "spare", "retired"), (97, 1, 1.5, 0.5))[0]
        self.add(
            tables.TerminalRow,
            terminal_id=name,
            store_id=None if store is None else store_of(store),
            brand=brand,
            model=model,
            serial_number=f"SN{number * 7919 % 10_000_000:07d}",
            purchase_date=(self.now - timedelta(days=rng.randrange(30, 1500))).date(),
            life_cycle=life,
            created_at=self.ago(days=380),
        )
        cut_off = self._outage_of.get(store_of(store)) if store is not None else None
        stands = self._stands(life, cut_off)
        failing = self._failing(stands)
        self._heard(number, stands, failing)
        if stands.presence == "silent":
            self._fault(number, store, SILENT, stands.since, cut_off)
        for fault in failing:
            self._fault(number, store, fault, self.ago(minutes=rng.uniform(2, 2_000)), None)
        self._past(number, store)

    def _stands(self, life: str, cut_off: int | None) -> Stands:
        rng = self._rng
        if cut_off is not None:
            since = self.ago(minutes=rng.uniform(3, 8))
            return Stands("silent", "missed_three", since, since - timedelta(seconds=3 * INTERVAL_S))
        weights = (97, 0.6, 0.5, 1.2, 0.7) if life == "live" else (2, 0, 0, 90, 8)
        presence = rng.choices(("online", "late", "silent", "off", "unknown"), weights)[0]
        since = self.ago(hours=rng.uniform(0.2, 400))
        if presence == "unknown":
            return Stands("unknown", "listening_anew", since, None)
        if presence == "late":
            since = self.ago(seconds=rng.uniform(1, 50))
        heard = {"online": self.ago(seconds=rng.uniform(0, INTERVAL_S)), "late": since - timedelta(seconds=70)}
        reason = {"online": "heard", "late": "missed_one", "silent": "missed_three", "off": "closed"}
        return Stands(presence, reason[presence], since, heard.get(presence, since - timedelta(seconds=180)))

    def _failing(self, stands: Stands) -> tuple[Fault, ...]:
        if stands.presence not in {"online", "late"} or self._rng.random() > self.size.failing_share:
            return ()
        return tuple(self._rng.sample(FAULTS, 2 if self._rng.random() < 0.1 else 1))

    def _heard(self, number: int, stands: Stands, failing: tuple[Fault, ...]) -> None:
        name, stream = terminal_of(number), f"{number + 1:032x}"
        if stands.heard_at is None:
            return
        self.add(
            tables.StandingRow,
            terminal_id=name,
            presence=stands.presence,
            reason=stands.reason,
            since=stands.since,
            clock_offset_s=round(self._rng.gauss(0, 0.4), 3),
        )
        key = {"terminal_id": name, "stream_id": stream}
        self.add(tables.SightingRow, terminal_id=name, heard_at=stands.heard_at, stream_id=stream, marked=False)
        self.add(
            tables.StreamRow,
            **key,
            stream_no=number + 1,
            prefix_seq=self.size.events,
            accounted=[],
            oldest_seq=self.size.events + 1,
            event_seq_last=self.size.events,
            first_heard_at=self.ago(days=380),
        )
        self.add(
            tables.PresenceRow,
            **key,
            boot_epoch=3,
            connection_no=2,
            state="offline" if stands.presence == "off" else "online",
            reason="stopping" if stands.presence == "off" else None,
            received_at=stands.since,
        )
        self._level(number, key, stands.heard_at, failing)
        self._events(key)

    def _level(self, number: int, key: Row, heard_at: datetime, failing: tuple[Fault, ...]) -> None:
        found = tuple((component, code) for component, code, _, _ in failing)
        components = _readings(self._walk[number % WALK], found, TILLS[number % len(TILLS)], heard_at)
        self.add(
            tables.LevelRow,
            **key,
            boot_epoch=3,
            beat_no=number + 1_000,
            connection_no=2,
            interval_s=INTERVAL_S,
            event_seq_last=self.size.events,
            host_boot_id=f"boot-{number}",
            agent_version=AGENTS[number % len(AGENTS)],
            collector_epoch_seen=1,
            sent_at=heard_at,
            received_at=heard_at,
            components=components,
            job=None,
            digest=f"{number:016x}",
            judged_digest=f"{number:016x}",
        )

    def _events(self, key: Row) -> None:
        for seq in range(1, self.size.events + 1):
            component, code, _, _ = self._rng.choice(FAULTS)
            happened = self.ago(days=30 - 29 * seq / self.size.events, minutes=self._rng.uniform(0, 600))
            self.add(
                tables.EventRow,
                **key,
                event_seq=seq,
                boot_epoch=3,
                kind="condition_raised" if seq % 2 else "condition_cleared",
                component=component,
                code=code,
                detail=None,
                job=None,
                happened_at=happened,
                received_at=happened + timedelta(seconds=1),
                digest=f"{seq:016x}",
            )

    # --- faults and tickets

    def _fault(self, number: int, store: int | None, fault: Fault, raised: datetime, cut_off: int | None) -> None:
        """One that stands, with its condition and its ticket."""
        component, code, severity, _ = fault
        status = self._rng.choice(STATUSES)
        ticket_id = cut_off or self._ticket(("terminal", terminal_of(number)), fault, raised, status, store)
        name = {"terminal_id": terminal_of(number), "component": component, "code": code, "happened_at": raised}
        if code != SILENT[1]:
            self.add(tables.ConditionRow, **name, phase="raised", phase_since=raised, detail=None)
        self.add(tables.FaultRow, **name, severity=severity, raised_at=raised, cleared_at=None, ticket_id=ticket_id)

    def _past(self, number: int, store: int | None) -> None:
        """What is over."""
        mean = self.size.old_faults
        for _ in range(int(mean) + (self._rng.random() < mean % 1)):
            fault = self._rng.choice(FAULTS)
            raised = self.ago(days=self._rng.uniform(2, 30))
            cleared = raised + timedelta(minutes=self._rng.uniform(2, 900))
            ticket_id = self._ticket(("terminal", terminal_of(number)), fault, raised, "closed", store, ended=cleared)
            self.add(
                tables.FaultRow,
                terminal_id=terminal_of(number),
                component=fault[0],
                code=fault[1],
                severity=fault[2],
                happened_at=raised,
                raised_at=raised,
                cleared_at=cleared,
                ticket_id=ticket_id,
            )

    def _ticket(
        self,
        subject: tuple[str, str],
        fault: Fault,
        opened: datetime,
        status: str,
        store: int | None,
        *,
        ended: datetime | None = None,
        title: str = "",
    ) -> int:
        self._ticket_id += 1
        component, code, severity, category = fault
        responded = None if status == "reported" else min(opened + timedelta(minutes=20), self.now)
        runs = ended is None and status != "pending"
        technician = f"person:tech-{self._ticket_id % 40}"
        self.add(
            tables.TicketRow,
            ticket_id=self._ticket_id,
            subject_kind=subject[0],
            subject_id=subject[1],
            component=component,
            code=code,
            status=status,
            severity=severity,
            category=category,
            origin="machine",
            title=title,
            description="",
            watchers=[],
            assignee=technician if responded else None,
            store_id=None if store is None else store_of(store),
            merchant_id=None if store is None else merchant_of(store % self.size.merchants),
            repair="complex",
            pending_on="parts" if status == "pending" else None,
            opened_at=opened,
            updated_at=ended or responded or opened,
            responded_at=responded,
            resolved_at=ended,
            closed_at=ended,
            respond_due_at=opened + timedelta(hours=1) if runs and responded is None else None,
            resolve_due_at=opened + timedelta(hours=8) if runs else None,
            escalation_step=0,
            recurrences=0,
        )
        self._journal(opened, "machine:judge", "open", "reported", code)
        if responded:
            self._journal(responded, technician, "diagnose", "diagnosing", "")
        if ended:
            self._journal(ended, "machine:judge", "prove", "resolved", "healthy for the hold")
        return self._ticket_id

    def _journal(self, at: datetime, actor: str, action: str, status: str, reason: str) -> None:
        self.add(
            tables.JournalRow,
            ticket_id=self._ticket_id,
            at=at,
            actor=actor,
            action=action,
            from_status=_BEFORE[status],
            to_status=status,
            reason=reason,
            evidence={},
        )

    # --- what people have under way

    def _maintenances(self) -> None:
        for number in range(0, self.size.stores, max(1, self.size.stores // 40)):
            of_terminal = number % 3 == 0
            self.add(
                tables.MaintenanceRow,
                scope_kind="terminal" if of_terminal else "store",
                scope_id=terminal_of(number) if of_terminal else store_of(number),
                starts_at=self.ago(hours=2),
                ends_at=self.ago(hours=-2),
                weekly=None,
                reason="inspection",
                created_by="person:ann",
                created_at=self.ago(days=1),
            )

    def _rollout(self) -> None:
        """A release that has reached its first tenth; some terminals have it under way."""
        settings = json.dumps({"version": 1, "seeded": True})
        self.add(
            tables.RolloutRow,
            rollout_id=ROLLOUT_ID,
            name="Till 2.1.0",
            target="till/till-2.1.0.tar.gz",
            product="till",
            version="2.1.0",
            digest="ab" * 32,
            query="all",
            reason="security",
            taken_at=self.ago(days=1),
            settings=settings,
            left_out=[],
            author="person:ann",
            state="paused",
            waves=2,
            wave=1,
            answered=[],
            wave_opened_at=self.ago(hours=5),
            created_at=self.ago(days=1),
            updated_at=self.ago(hours=1),
        )
        for number in range(self.size.terminals // 10):
            active = number % 100 == 0
            self.add(
                tables.RolloutJobRow,
                job_id=f"{ROLLOUT_ID}-{number + 1}",
                rollout_id=ROLLOUT_ID,
                terminal_id=terminal_of(number),
                store_id=store_of(number % self.size.stores),
                model=MODELS[number // self.size.stores % len(MODELS)][1],
                region=REGIONS[number * 7 % len(REGIONS)],
                wave=1 + number % 2,
                granted="go" if active else "planned",
                state="switching" if active else None,
                outcome="waiting",
                active=active,
                settled=False,
            )


def terminal_of(number: int) -> str:
    return f"till-{number + 1:06d}"


def store_of(number: int) -> str:
    return f"store-{number + 1:05d}"


def merchant_of(number: int) -> str:
    return f"merchant-{number + 1:04d}"


def _readings(
    measures: Measures, failing: tuple[tuple[str, str], ...], till: str, at: datetime
) -> list[dict[str, Any]]:
    (answer, gateway, dns, tls_main, tls_backup, cpu, memory, disk, load) = measures
    parts: tuple[tuple[str, dict[str, float], dict[str, str]], ...] = (
        (PRINTER, {"answer_ms": answer}, {"firmware": "3.02"}),
        ("cash_drawer:1", {}, {}),
        (NETWORK_UPLINK, {"gateway_ms": gateway, "dns_ms": dns}, {}),
        ("acquirer:main", {"tls_ms": tls_main}, {}),
        ("acquirer:backup", {"tls_ms": tls_backup}, {}),
        (MACHINE_SELF, {"cpu_pct": cpu, "memory_available_pct": memory, "disk_free_pct": disk, "load_1m": load}, {}),
        ("application:till", {}, {"version": till}),
    )
    wrong = dict(failing)
    return [
        _well(component, tuple(values.items()), tuple(facts.items()))
        if component not in wrong
        else _ill(component, wrong[component], at)
        for component, values, facts in parts
    ]


@cache
def _well(component: str, measures: tuple[tuple[str, float], ...], facts: tuple[tuple[str, str], ...]) -> Row:
    return Reading(
        component=component,
        health=Health.OK,
        power_state=PowerState.ONLINE,
        conditions=(),
        measures=dict(measures),
        facts=dict(facts),
    ).model_dump(mode="json")


def _ill(component: str, code: str, at: datetime) -> Row:
    return Reading(
        component=component,
        health=Health.FAULT,
        power_state=PowerState.ONLINE,
        conditions=(Condition(code=code, since=at),),
        measures={},
        facts={},
    ).model_dump(mode="json")
