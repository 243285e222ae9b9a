"""All that the page of one terminal shows: how it stands and on what evidence, its way out, its plots, its story.

A heartbeat's readings are shown as they came, with the time at which they came: what is old says so, and is never drawn
as if it were now. A change violates this when a component's health is shown without its age, or `unknown` without why.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from tillwatch_collector.api.problems import missing
from tillwatch_collector.console.pictures import chain, plot
from tillwatch_collector.console.pictures.chain import Chain
from tillwatch_collector.console.pictures.plot import Befell, Frame, Plot, Row, Sample, Series
from tillwatch_collector.console.reasons import told
from tillwatch_collector.console.texts import Texts
from tillwatch_collector.console.ticket_page import names
from tillwatch_collector.console.visit import Visit
from tillwatch_collector.domain import plot as history
from tillwatch_collector.domain.command import State
from tillwatch_collector.domain.history import HELD_S
from tillwatch_collector.domain.maintenance import Scope
from tillwatch_collector.domain.measures import unit_of
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.domain.plot import PlotRefused, Point
from tillwatch_collector.store.command_queries import CommandQueries
from tillwatch_collector.store.maintenance import MaintenanceFilter
from tillwatch_collector.store.people import People
from tillwatch_collector.store.plots import KnownSeries, Plots
from tillwatch_collector.store.queries import Paging
from tillwatch_collector.store.queue import Queue
from tillwatch_collector.store.terminal_story import Cursor, TerminalStory
from tillwatch_collector.store.views import CommandView, MaintenanceView, TerminalDetail
from tillwatch_protocol.command import CommandKind
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import Health, Kind

TIMELINE_ROWS = 40
COMMANDS_SHOWN = 8
SPANS_SHOWN = 5
"""Of maintenance, for each scope."""
OPEN = frozenset({"online", "late"})
"""Presences at which the newest heartbeat tells what is now."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400

SPANS: Mapping[str, tuple[int, int]] = {
    "hour": (_HOUR_S, _MINUTE_S),
    "day": (_DAY_S, 10 * _MINUTE_S),
    "week": (7 * _DAY_S, _HOUR_S),
    "month": (30 * _DAY_S, 6 * _HOUR_S),
}
"""What can be plotted: how long, and in which steps; a hundred points or so."""

LATENCIES = ("gateway_ms", "dns_ms", "wan_ms", "portal_ms", "tcp_ms", "tls_ms", "reply_ms")
"""The phases of the way out and of an acquirer, in the order in which they are passed."""
LATENCY_PLOTS_MAX = 4
"""The way out, and the first acquirers; the API has all."""

OTHER_REASONS = frozenset(
    {"uplink_down", "not_asked", "misconfigured", "not_installed", "not_started", "asked_in_vain"}
    | {"behind_failure", "not_configured", "no_icmp_right", "no_answer"}
)
"""Why a component is not known, where that is no condition's name."""

_WORST_FIRST = (Health.FAULT, Health.UNKNOWN, Health.ABSENT, Health.OK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Software:
    """What a component says of what runs."""

    component: str
    version: str | None
    digest: str | None
    activation_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One picture of the plots: its title's key, what it is of, its unit, what is drawn and the same in figures."""

    group: str
    component: str | None
    unit: str
    labels: tuple[str, ...]
    picture: Plot
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """What all pictures of a page share."""

    frame: Frame
    befell: tuple[Befell, ...]
    zone: tzinfo


def found(story: TerminalStory, terminal_id: str) -> TerminalDetail:
    """Return a terminal that the person sees, or say that there is none."""
    terminal = story.terminal(terminal_id)
    if terminal is None:
        raise missing("terminal", terminal_id)
    return terminal


def page(visit: Visit, story: TerminalStory, terminal: TerminalDetail) -> dict[str, Any]:
    """Return what the whole page shows, but for the plots, which come after it."""
    store = Queue(story.connection, story.within).store(terminal.store_id) if terminal.store_id else None
    return (
        live(visit, terminal)
        | commands(visit, story, terminal)
        | timeline(visit, story, terminal, Cursor(at=visit.now))
        | {
            "store": store,
            "software": [one for reading in readings_of(terminal) if (one := _software(reading)) is not None],
            "jobs": story.upgrades(terminal.terminal_id),
            "maintenance": _maintenance(visit, story, terminal),
            "kinds": tuple(CommandKind),
            "spans": tuple(SPANS),
            "wrong": None,
        }
    )


def live(visit: Visit, terminal: TerminalDetail) -> dict[str, Any]:
    """Return how it stands: presence, way out, components."""
    readings = readings_of(terminal)
    worst_first = sorted(readings, key=lambda one: (_WORST_FIRST.index(one.health), one.component))
    return {
        "terminal": terminal,
        "level": terminal.level,
        "is_current": terminal.presence in OPEN,
        "chain": drawn_chain(readings, terminal.presence),
        "readings": worst_first,
        "unit": lambda measure: unit_of(measure).symbol,
        "why": lambda code: why(visit.words, code),
    }


def commands(visit: Visit, story: TerminalStory, terminal: TerminalDetail) -> dict[str, Any]:
    """Return what it was asked to do lately."""
    asked = CommandQueries(story.connection, story.within).list(terminal.terminal_id, limit=COMMANDS_SHOWN)
    return {
        "terminal": terminal,
        "asked": asked,
        "awaited": any(one.state in {State.WAITING, State.SENT} for one in asked.items),
        "person": names(visit, People(story.connection).all()),
        "why": lambda code: why(visit.words, code),
        "chain_of": chain_of,
    }


def timeline(visit: Visit, story: TerminalStory, terminal: TerminalDetail, cursor: Cursor) -> dict[str, Any]:
    """Return a page of what befell it."""
    audited = visit.may(Permission.ADMINISTER)
    befell = story.timeline(terminal.terminal_id, cursor, TIMELINE_ROWS, audited=audited)
    zone = zone_of(visit, story, terminal)
    return {
        "terminal": terminal,
        "entries": befell.entries,
        "following": befell.following,
        "zone": zone,
        "zone_name": str(zone),
        "told": lambda one: told(visit.words, one.actor or "", one.detail),
        "person": names(visit, People(story.connection).all()),
        "why": lambda code: why(visit.words, code),
    }


def plots(visit: Visit, story: TerminalStory, terminal: TerminalDetail, span: str) -> dict[str, Any]:
    """Return the pictures of a span that ends now, each over the same axis."""
    zone = zone_of(visit, story, terminal)
    span_s, step_s = SPANS[span]
    since = visit.now - timedelta(seconds=span_s)
    window = history.window(from_at=since, to_at=visit.now, step_s=step_s, samples_since=None, now=visit.now)
    frame = Frame(from_s=window.from_s, to_s=window.to_s, step_s=window.step_s, held_s=HELD_S)
    befell = befallen(visit.words, story, terminal.terminal_id, since, visit.now)
    axis = Axis(frame=frame, befell=befell, zone=zone)
    groups = grouped(Plots(story.connection).series(terminal.terminal_id))
    wanted = [one.series_id for group in groups for one in group.series]
    try:
        points = Plots(story.connection).points(wanted, window) if wanted else {}
    except PlotRefused:
        points = {}
    return {
        "terminal": terminal,
        "span": span,
        "spans": tuple(SPANS),
        "drawn": [_drawn(visit.words, group, points, axis) for group in groups],
        "befell": sorted(befell, key=lambda one: one.at, reverse=True),
        "zone": zone,
        "zone_name": str(zone),
        "width": plot.WIDTH,
        "height": plot.HEIGHT,
    }


# --- what is known


def readings_of(terminal: TerminalDetail) -> tuple[Reading, ...]:
    """Return the readings of the newest heartbeat; they were checked when they came in."""
    if terminal.level is None:
        return ()
    return tuple(Reading.model_validate(one, strict=False) for one in terminal.level.components)


def drawn_chain(readings: Sequence[Reading], presence: str) -> Chain | None:
    """Draw the way out; None of a terminal that never told of any."""
    return chain.chain(readings, presence) if readings else None


def chain_of(command: CommandView) -> Chain | None:
    """Draw what a diagnosis found of the way out."""
    findings = (command.diagnosis or {}).get("findings", ())
    return chain.told(findings) if findings else None


def why(words: Texts, code: str) -> str:
    """Say why something is not known, or what is true of it."""
    return words.word("component_reasons" if code in OTHER_REASONS else "conditions", code)


def zone_of(visit: Visit, story: TerminalStory, terminal: TerminalDetail) -> tzinfo:
    """Return the time zone of its store; of one that stands nowhere, the person's."""
    store = Queue(story.connection, story.within).store(terminal.store_id) if terminal.store_id else None
    return ZoneInfo(store.time_zone) if store else visit.words.zone


def _software(reading: Reading) -> Software | None:
    facts = reading.facts
    if not reading.component.startswith(f"{Kind.APPLICATION}:") and "digest" not in facts:
        return None
    return Software(
        component=reading.component,
        version=facts.get("version"),
        digest=facts.get("digest"),
        activation_id=facts.get("activation_id"),
    )


def _maintenance(visit: Visit, story: TerminalStory, terminal: TerminalDetail) -> tuple[MaintenanceView, ...]:
    """Return the spans that are not over and cover it."""
    scopes = {
        Scope.TERMINAL: terminal.terminal_id,
        Scope.STORE: terminal.store_id,
        Scope.MERCHANT: terminal.merchant_id,
        Scope.ALL: "",
    }
    return tuple(
        span
        for scope, scope_id in scopes.items()
        if scope_id is not None
        for span in story.maintenances(
            MaintenanceFilter(now=visit.now, scope_kind=scope, scope_id=scope_id or None, current=True),
            Paging(limit=SPANS_SHOWN),
        ).items
    )


# --- plots


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Series of one unit that are drawn together."""

    name: str
    component: str | None
    """None: of several components."""
    series: tuple[KnownSeries, ...]


def grouped(known: Iterable[KnownSeries]) -> tuple[Group, ...]:
    """Put what is plotted into pictures: latency by component, then loss, signal, temperature, load."""
    all_known = tuple(known)
    latency = sorted({one.component for one in all_known if one.measure in LATENCIES}, key=_network_first)
    groups = [
        Group(name="latency", component=name, series=_phases(all_known, name)) for name in latency[:LATENCY_PLOTS_MAX]
    ]
    for name, endings in _BY_ENDING.items():
        series = tuple(one for one in all_known if one.measure.endswith(endings))[: plot.LINES_MAX]
        components = {one.component for one in series}
        if series:
            groups.append(Group(name=name, component=components.pop() if len(components) == 1 else None, series=series))
    return tuple(groups)


_BY_ENDING: Mapping[str, tuple[str, ...]] = {
    "loss": ("_loss_pct",),
    "signal": ("_dbm",),
    "temperature": ("_celsius",),
    "load": ("cpu_pct", "memory_available_pct", "disk_free_pct"),
}


def _network_first(component: str) -> tuple[bool, str]:
    return not component.startswith("network:"), component


def _phases(known: Iterable[KnownSeries], component: str) -> tuple[KnownSeries, ...]:
    mine = {one.measure: one for one in known if one.component == component}
    return tuple(mine[measure] for measure in LATENCIES if measure in mine)[: plot.LINES_MAX]


def befallen(
    words: Texts, story: TerminalStory, terminal_id: str, from_at: datetime, to_at: datetime
) -> tuple[Befell, ...]:
    """Return what befell a terminal in a span: faults, upgrades, restarts."""
    faults = (
        Befell(
            kind="fault",
            at=fault.raised_at,
            until=fault.cleared_at,
            is_open=fault.cleared_at is None,
            said=f"{words.word('conditions', fault.code)} · {words.component(fault.component)}",
        )
        for fault in story.faults(terminal_id, from_at, to_at)
    )
    upgrades = (
        Befell(kind="upgrade", at=job.go_at, until=job.ended_at, said=f"{job.product} {job.version}")
        for job in story.upgrades(terminal_id)
        if job.go_at is not None and job.go_at < to_at and (job.ended_at or job.go_at) >= from_at
    )
    restarts = (
        Befell(kind="restart", at=at, said=words("terminal_restarted"))
        for at in story.restarts(terminal_id, from_at, to_at)
    )
    return (*faults, *upgrades, *restarts)


def _drawn(words: Texts, group: Group, points: Mapping[int, Sequence[Point]], axis: Axis) -> Drawn:
    series = [Series(name=one.name, samples=_samples(points.get(one.series_id, ()))) for one in group.series]
    return Drawn(
        group=group.name,
        component=group.component,
        unit=group.series[0].unit,
        labels=tuple(_label(words, one, alone=group.component is not None) for one in group.series),
        picture=plot.plot(series, axis.frame, axis.befell, axis.zone),
        rows=plot.rows(series, axis.frame),
    )


def _label(words: Texts, series: KnownSeries, *, alone: bool) -> str:
    measure = words.word("measures", series.measure)
    return measure if alone else f"{words.component(series.component)} {measure}"


def _samples(points: Iterable[Point]) -> tuple[Sample, ...]:
    return tuple(Sample(at_s=one.at_s, min=one.min, mean=one.mean, max=one.max) for one in points)
