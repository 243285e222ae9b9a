"""A scenario: which trouble befalls which terminals, from when and for how long. A TOML file is one.

    terminals = 100                 # simulated ones, numbered from 1
    agents = 3                      # real agents beside simulated printers, numbered from 1; the demonstration's
    interval_s = 5                  # heartbeat
    length_s = 80                   # one round; the next may begin then

    [[merchant]]                    # where they stand; without one, nowhere
    merchant_id = "golden-wok"
    name = "Golden Wok"

    [[merchant.store]]
    store_id = "golden-wok-1"
    name = "Golden Wok, Harbour Road"
    region = "north"
    carrier = "CityNet"
    time_zone = "Asia/Shanghai"
    terminals = 6                   # simulated ones; without it, its share of those that are left, and of the agents

    [[happening]]
    at_s = 10
    what = "condition"              # of one component; also: device, dead, stopped, cut
    component = "pos_printer:receipt"
    code = "paper_end"
    some = 3                        # this many at random, or: terminals = [7, 12], or: agents = [1]
    for_s = 20                      # then it ends by itself; without it, it lasts to the end of the round

    [[happening]]
    at_s = 30
    what = "cut"                    # everybody of a place at once, by one cause
    carrier = "CityNet"             # or: merchant = "golden-wok", or: store = "golden-wok-1"

    [installed]                     # with rollouts: what the simulated ones run at first
    product = "till"
    version = "2.0"

    [[release]]                     # signed when it begins; with the harm that hides in it
    product = "till"
    version = "2.1"
    harm = { share_pct = 20.0, from_s = 30.0, until_s = 40.0, component = "pin_pad:counter", code = "no_response" }

    [[rollout]]                     # one after the other, each when the one before is over
    version = "2.1"
    select = "till<2.1"
    reason = "why they get it"

    [plan]                          # how: `tillwatch-collector rollout example`

`drawn` turns it into injections; the same scenario and the same chance always give the same ones. No terminal that is
drawn at random has another trouble at that time, so that each ticket has one cause.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tillwatch_protocol.release import Version
from tillwatch_protocol.vocabulary import Code, Component, IntervalS
from tillwatch_simulator.devices.escpos import Fault
from tillwatch_simulator.errors import ScenarioInvalid
from tillwatch_simulator.faults import COMPONENTS, PRINTER, TicketIdentity, What, tickets_of
from tillwatch_simulator.inventory import MERCHANTS_MAX, Inventory, Merchant, Place, PlaceKind
from tillwatch_simulator.releases import Release

TERMINALS_MAX = 5_000
"""One process and one loopback address: more than this run out of descriptors before they prove anything."""
AGENTS_MAX = 9
"""Real agents are processes of some 40 MB each."""
HAPPENINGS_MAX = 1_000
PLACE_TERMINALS_MIN = 5
"""Fewer that fail together are no less likely as many faults: they are named one by one."""
LENGTH_S_MAX = 86_400.0
ROLLOUTS_MAX = 10
"""One after the other, each of some minutes."""

Number = Annotated[int, Field(ge=1)]
Offset = Annotated[float, Field(ge=0, le=LENGTH_S_MAX)]
Duration = Annotated[float, Field(gt=0, le=LENGTH_S_MAX)]
PlaceName = Annotated[str, Field(min_length=1, max_length=64)]


class Chance(Protocol):
    """Where the choice comes from: `random.Random`, seeded by the caller."""

    def sample(self, population: Sequence[int], k: int) -> list[int]:
        """Return `k` different members."""
        ...


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Happening(_Table):
    """One trouble, at one or many terminals."""

    at_s: Offset
    what: Annotated[What, Field(strict=False)]
    for_s: Duration | None = None
    component: Component | None = None
    code: Code | None = None
    fault: Annotated[Fault | None, Field(strict=False)] = None
    terminals: Annotated[tuple[Number, ...], Field(strict=False, max_length=TERMINALS_MAX)] = ()
    agents: Annotated[tuple[Number, ...], Field(strict=False, max_length=AGENTS_MAX)] = ()
    some: Annotated[int, Field(ge=0, le=TERMINALS_MAX)] = 0
    store: PlaceName | None = None
    merchant: PlaceName | None = None
    carrier: PlaceName | None = None

    @property
    def place(self) -> Place | None:
        """What it befalls as a whole."""
        named = {PlaceKind.STORE: self.store, PlaceKind.MERCHANT: self.merchant, PlaceKind.CARRIER: self.carrier}
        return next((Place(kind, place_id) for kind, place_id in named.items() if place_id is not None), None)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        subjects = (self.terminals, self.agents, self.some, self.store, self.merchant, self.carrier)
        if sum(map(bool, subjects)) != 1:
            raise ValueError("expected exactly one of terminals, agents, some, store, merchant and carrier")
        if self.place and self.what is not What.CUT:
            raise ValueError(f"expected cut for a whole {self.place.kind}, got {self.what}")
        if (self.what is What.CONDITION) is not (self.component is not None and self.code is not None):
            raise ValueError("expected component and code with a condition, and only there")
        if (self.what is What.DEVICE) is not (self.fault is not None):
            raise ValueError("expected fault with a device, and only there")
        if self.agents and self.what in {What.CONDITION, What.CUT}:
            raise ValueError(f"expected device, dead or stopped for a real agent, got {self.what}")
        if self.what is What.DEVICE and not self.agents:
            raise ValueError("expected agents for a device: simulated terminals have conditions")
        if self.component is not None and self.component not in COMPONENTS:
            raise ValueError(f"expected one of {', '.join(COMPONENTS)}, got {self.component}")
        return self


class Rollout(_Table):
    """A release to a selection of the terminals."""

    version: Version
    select: Annotated[str, Field(min_length=1, max_length=4_000)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Scenario(_Table):
    """A fleet, what befalls it in one round, and what it is to run."""

    terminals: Annotated[int, Field(ge=0, le=TERMINALS_MAX)] = 100
    agents: Annotated[int, Field(ge=0, le=AGENTS_MAX)] = 0
    interval_s: IntervalS = 5
    length_s: Duration = 60.0
    merchant: Annotated[tuple[Merchant, ...], Field(strict=False, max_length=MERCHANTS_MAX)] = ()
    happening: Annotated[tuple[Happening, ...], Field(strict=False, max_length=HAPPENINGS_MAX)] = ()
    installed: Release | None = None
    release: Annotated[tuple[Release, ...], Field(strict=False, max_length=ROLLOUTS_MAX)] = ()
    rollout: Annotated[tuple[Rollout, ...], Field(strict=False, max_length=ROLLOUTS_MAX)] = ()
    plan: dict[str, Any] = Field(default_factory=dict)
    """Of every rollout; the collector says what makes sense in it."""

    def release_of(self, rollout: Rollout) -> Release:
        """Find what a rollout brings."""
        return next(one for one in self.release if one.version == rollout.version)

    @model_validator(mode="after")
    def _signable(self) -> Self:
        if (self.release or self.rollout) and self.installed is None:
            raise ValueError("expected what is installed beside releases, got none")
        versions = [one.version for one in self.release]
        for rollout in self.rollout:
            if versions.count(rollout.version) != 1:
                raise ValueError(f"expected one release of version {rollout.version}, as a rollout has it")
        others = [one for one in self.release if self.installed and one.product != self.installed.product]
        if others:
            raise ValueError(f"expected releases of the product that is installed, got {others[0].product}")
        return self

    @model_validator(mode="after")
    def _placed(self) -> Self:
        stores = [store for merchant in self.merchant for store in merchant.store]
        for ids in ([merchant.merchant_id for merchant in self.merchant], [store.store_id for store in stores]):
            if twice := sorted({each for each in ids if ids.count(each) > 1}):
                raise ValueError(f"expected each merchant_id and store_id once, got {', '.join(twice)} again")
        if (wanted := sum(store.terminals or 0 for store in stores)) > self.terminals:
            raise ValueError(f"expected at least the {wanted} terminals that the stores have, got {self.terminals}")
        return self

    @model_validator(mode="after")
    def _within(self) -> Self:
        for happening in self.happening:
            if happening.at_s + (happening.for_s or 0) > self.length_s:
                raise ValueError(
                    f"expected all to end within length_s = {self.length_s:g}, got at_s = {happening.at_s:g}"
                )
            if max(happening.terminals, default=happening.some) > self.terminals:
                raise ValueError(f"expected terminals from 1 to {self.terminals} at at_s = {happening.at_s:g}")
            if max(happening.agents, default=0) > self.agents:
                raise ValueError(f"expected agents from 1 to {self.agents} at at_s = {happening.at_s:g}")
        return self

    @model_validator(mode="after")
    def _befallen(self) -> Self:
        inventory = inventory_of(self)
        known = {place for places in inventory.places.values() for place in places}
        for place in filter(None, (happening.place for happening in self.happening)):
            if place not in known:
                others = sorted(other.place_id for other in known if other.kind == place.kind)
                raise ValueError(f"expected one of the {place.kind}s {', '.join(others)}, got {place.place_id}")
            hit = inventory.within(place)
            if agents := sorted(hit.intersection(inventory.agent_ids)):
                raise ValueError(f"expected simulated terminals in {place.kind} {place.place_id}, got {agents[0]}, too")
            if len(hit) < PLACE_TERMINALS_MIN:
                raise ValueError(
                    f"expected at least {PLACE_TERMINALS_MIN} terminals in {place.kind} {place.place_id}, "
                    f"got {len(hit)}: name them as terminals"
                )
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Injection:
    """One trouble at one terminal, from `from_s` until `until_s` after the start."""

    terminal_id: str
    what: What
    from_s: float
    until_s: float
    component: str = PRINTER
    code: str = ""
    """The condition's, or the device fault's name; empty for what befalls the whole terminal."""
    place: Place | None = None
    """Of whose common trouble it is part."""

    @property
    def symptoms(self) -> frozenset[TicketIdentity]:
        """What its terminal may show."""
        return tickets_of(self.what, self.terminal_id, self.component, self.code)

    @property
    def tickets(self) -> frozenset[TicketIdentity]:
        """Every ticket that it may bring about its terminal: what befalls a whole place brings none about each."""
        return frozenset() if self.place else self.symptoms


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """An injection begins or ends."""

    at_s: float
    begins: bool
    injection: Injection


def terminal_id(number: int) -> str:
    """Name a simulated terminal."""
    return f"sim-{number:04d}"


def agent_id(number: int) -> str:
    """Name the terminal of a real agent."""
    return f"till-{number}"


def inventory_of(scenario: Scenario) -> Inventory:
    """Say who stands where."""
    return Inventory(
        merchants=scenario.merchant,
        agent_ids=tuple(agent_id(number) for number in range(1, scenario.agents + 1)),
        terminal_ids=tuple(terminal_id(number) for number in range(1, scenario.terminals + 1)),
    )


def parse(text: str, **overrides: Any) -> Scenario:
    """Read a scenario; `overrides` stand above the file. Raises `ScenarioInvalid`, which tells every problem."""
    try:
        scenario = Scenario.model_validate(tomllib.loads(text) | overrides)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioInvalid(f"expected TOML, got: {error}") from None
    except ValidationError as error:
        raise ScenarioInvalid("; ".join(map(_said, error.errors()))) from None
    drawn(scenario, First())  # whether there are enough terminals does not depend on which ones are drawn
    return scenario


def drawn(scenario: Scenario, chance: Chance, start_s: float = 0.0) -> tuple[Injection, ...]:
    """Turn one round, begun at `start_s`, into injections in the order of their beginning."""
    injections: list[Injection] = []
    for happening in sorted(scenario.happening, key=lambda one: (bool(one.some), one.at_s)):
        from_s, until_s = _span(scenario, happening, start_s)
        subjects = _subjects(scenario, happening, chance, _busy(injections, from_s, until_s))
        injections.extend(_injection(happening, subject, from_s, until_s) for subject in subjects)
    return tuple(sorted(injections, key=lambda one: (one.from_s, one.terminal_id)))


def steps(injections: Iterable[Injection]) -> tuple[Step, ...]:
    """Order all beginnings and ends; what ends at a moment ends before what begins then."""
    edges = [
        Step(at_s=at_s, begins=begins, injection=injection)
        for injection in injections
        for at_s, begins in ((injection.from_s, True), (injection.until_s, False))
    ]
    return tuple(sorted(edges, key=lambda step: (step.at_s, step.begins, step.injection.terminal_id)))


def rounds(scenario: Scenario, chance: Chance) -> Iterator[Step]:
    """Play one round after the other, without end; each draws anew."""
    start_s = 0.0
    while scenario.happening:
        yield from steps(drawn(scenario, chance, start_s))
        start_s += scenario.length_s


def narrated(step: Step) -> str:
    """Say a step in words."""
    injection = step.injection
    match injection.what, step.begins:
        case What.DEVICE, True:
            return f"printer: {injection.code}"
        case What.DEVICE, False:
            return f"printer: no more {injection.code}"
        case What.CONDITION, True:
            return f"{injection.component}: {injection.code}"
        case What.CONDITION, False:
            return f"{injection.component}: no more {injection.code}"
        case What.DEAD, True:
            return "dies without a word"
        case What.STOPPED, True:
            return "stops, and says so"
        case What.CUT, True:
            return "uplink is cut"
        case What.CUT, False:
            return "uplink is back"
        case _:
            return "starts again"


def caused(injections: Iterable[Injection]) -> frozenset[TicketIdentity]:
    """Name every ticket that has an injected cause; any other is false."""
    return frozenset(ticket for injection in injections for ticket in injection.tickets)


def expected(injections: Iterable[Injection], hold_s: Mapping[str, float]) -> frozenset[TicketIdentity]:
    """Name the tickets that must come, given how long each code must last; a code without a hold brings none."""
    return frozenset(
        ticket
        for injection in injections
        for ticket in injection.tickets
        if ticket.code in hold_s and injection.until_s - injection.from_s > hold_s[ticket.code]
    )


class First:
    """No chance: always the first ones."""

    def sample(self, population: Sequence[int], k: int) -> list[int]:
        """Return the first `k`."""
        return list(population[:k])


def _injection(happening: Happening, subject: str, from_s: float, until_s: float) -> Injection:
    return Injection(
        terminal_id=subject,
        what=happening.what,
        from_s=from_s,
        until_s=until_s,
        component=happening.component or PRINTER,
        code=happening.code or happening.fault or "",
        place=happening.place,
    )


def _span(scenario: Scenario, happening: Happening, start_s: float) -> tuple[float, float]:
    end_s = scenario.length_s if happening.for_s is None else happening.at_s + happening.for_s
    return start_s + happening.at_s, start_s + end_s


def _busy(injections: Iterable[Injection], from_s: float, until_s: float) -> frozenset[str]:
    return frozenset(one.terminal_id for one in injections if one.from_s <= until_s and from_s <= one.until_s)


def _subjects(scenario: Scenario, happening: Happening, chance: Chance, busy: frozenset[str]) -> tuple[str, ...]:
    if happening.agents:
        return tuple(map(agent_id, happening.agents))
    if happening.terminals:
        return tuple(map(terminal_id, happening.terminals))
    if happening.place:
        return tuple(sorted(inventory_of(scenario).within(happening.place)))
    free = [number for number in range(1, scenario.terminals + 1) if terminal_id(number) not in busy]
    if len(free) < happening.some:
        raise ScenarioInvalid(
            f"happening at {happening.at_s:g} s: expected {happening.some} terminals without another trouble, "
            f"got {len(free)} of {scenario.terminals}"
        )
    return tuple(terminal_id(number) for number in sorted(chance.sample(free, happening.some)))


def _said(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the whole"
    message = str(problem["msg"]).removeprefix("Value error, ")
    came = "" if isinstance(problem["input"], dict) else f"; got {problem['input']!r}"
    return f"{where}: {message}{came}"
