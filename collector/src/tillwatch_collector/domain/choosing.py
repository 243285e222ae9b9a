"""Whom a rollout is for: a query over the fleet's facts, and what it chose, frozen with its reason.

A query is conditions with spaces between, all of which must hold:

    merchant=markt region=berlin,hamburg till<2.1 agent>=1.0 model="TM T88" store!=S1

`terminal`, `store`, `merchant`, `region`, `carrier`, `brand`, `model`, `life_cycle` and `presence` are compared as
texts, with `=` and `!=`; a `*` stands for any characters. `agent`, and every product by its name, are versions, and
take `<`, `<=`, `>`, `>=` as well. Of values with commas between, one must hold; `none` stands for what is not known.
`all`, alone, is everyone: who means the whole fleet says so.

What is not known of a terminal meets no other condition, neither `=` nor `!=`: nobody is chosen by what nobody knows.
Whoever is chosen and cannot take the release, by what is known, stays in the selection with the reason, so that a plan
shows it. Which machine it is, only the terminal knows. A change violates this when a misspelt name chooses anyone.
"""

import operator
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tillwatch_collector.domain import window
from tillwatch_collector.domain.hours import Hours
from tillwatch_collector.domain.inventory import LifeCycle
from tillwatch_collector.domain.rollout import RolloutRefused, RolloutSettings
from tillwatch_collector.domain.waves import LeftOutReason, Plan, Selected, Selection
from tillwatch_protocol.release import Fitting, Release, Unfit, misfit, version_key

QUERY_CHARS_MAX = 4_000
"""A hundred terminals by name; longer lists are what stores, regions and versions are for."""
CONDITIONS_MAX = 32

EVERYONE = "all"
UNKNOWN = "none"
"""Stands for what is not known."""


class QueryRefused(RolloutRefused):
    """A query cannot be understood, or names what nobody has."""


class Sign(StrEnum):
    """How a condition compares."""

    IS = "="
    IS_NOT = "!="
    BELOW = "<"
    AT_MOST = "<="
    ABOVE = ">"
    AT_LEAST = ">="


_ORDERS: Mapping[Sign, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    Sign.BELOW: operator.lt,
    Sign.AT_MOST: operator.le,
    Sign.ABOVE: operator.gt,
    Sign.AT_LEAST: operator.ge,
}
"""Signs of versions alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetFact:
    """What is known of one terminal; None: not known."""

    terminal_id: str
    store_id: str | None = None
    merchant_id: str | None = None
    region: str | None = None
    carrier: str | None = None
    brand: str | None = None
    model: str | None = None
    life_cycle: str = LifeCycle.LIVE
    presence: str = "unknown"
    agent_version: str | None = None
    products: Mapping[str, str] = field(default_factory=dict)
    """Versions by product, as its newest heartbeat shows them."""

    def text(self, name: str) -> str | None:
        """Return what a condition on a text compares with."""
        known: str | None = getattr(self, TEXTS[name])
        return known

    def version(self, name: str) -> tuple[int, ...] | None:
        """Return what a condition on a version compares with; what is no version is not known."""
        return _version(self.agent_version if name == AGENT else self.products.get(name))


AGENT = "agent"
TEXTS: Mapping[str, str] = {
    "terminal": "terminal_id",
    "store": "store_id",
    "merchant": "merchant_id",
    "region": "region",
    "carrier": "carrier",
    "brand": "brand",
    "model": "model",
    "life_cycle": "life_cycle",
    "presence": "presence",
}
"""Names in a query, and the facts that they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextCondition:
    """A condition on a text: one of some values, or none of them."""

    name: str
    sign: Sign
    values: tuple[str, ...]

    def holds(self, fact: FleetFact) -> bool:
        """Whether it is so for a terminal."""
        known = fact.text(self.name)
        if known is None:
            return self.sign is Sign.IS and UNKNOWN in self.values
        among = any(_is_like(known, value) for value in self.values if value != UNKNOWN)
        return among is (self.sign is Sign.IS)


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionCondition:
    """A condition on the version of the agent, or of a product."""

    name: str
    sign: Sign
    values: tuple[tuple[int, ...] | None, ...]
    """As they are compared; None: not known. One alone where versions are ordered."""

    def holds(self, fact: FleetFact) -> bool:
        """Whether it is so for a terminal."""
        known = fact.version(self.name)
        if known is None:
            return self.sign is Sign.IS and None in self.values
        if self.sign in _ORDERS:
            return all(value is not None and _ORDERS[self.sign](known, value) for value in self.values)
        return (known in self.values) is (self.sign is Sign.IS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Conditions that must all hold; none: everyone."""

    text: str
    conditions: tuple[TextCondition | VersionCondition, ...]

    @property
    def products(self) -> frozenset[str]:
        """Products that it names."""
        return frozenset(one.name for one in self.conditions if isinstance(one, VersionCondition)) - {AGENT}


_VALUE = r'(?:"[^"]*"|[^\s",<>=!]+)'
_CONDITION = re.compile(rf"\s*([a-z][a-z0-9_]*)\s*(<=|>=|!=|=|<|>)\s*({_VALUE}(?:\s*,\s*{_VALUE})*)(?=\s|$)")
_VALUES = re.compile(_VALUE)


def parse_query(text: str) -> Query:
    """Read a query; raises `QueryRefused`, which says where it cannot be read."""
    if len(text) > QUERY_CHARS_MAX:
        raise QueryRefused(f"select: expected at most {QUERY_CHARS_MAX} characters, got {len(text)}")
    stated = text.strip()
    if stated == EVERYONE:
        return Query(text=stated, conditions=())
    if not stated:
        raise QueryRefused(f"select: expected conditions such as region=berlin till<2.1, or {EVERYONE}, got nothing")
    conditions: list[TextCondition | VersionCondition] = []
    at = 0
    while at < len(stated):
        found = _CONDITION.match(stated, at)
        if found is None:
            came = stated[at:].strip()
            raise QueryRefused(
                f'select: expected conditions such as region=berlin,hamburg or model="TM T88", got {came[:60]!r}'
            )
        conditions.append(_condition(*found.groups()))
        at = found.end()
    if len(conditions) > CONDITIONS_MAX:
        raise QueryRefused(f"select: expected at most {CONDITIONS_MAX} conditions, got {len(conditions)}")
    return Query(text=stated, conditions=tuple(conditions))


def choose(query: Query, fleet: Iterable[FleetFact], products: Collection[str] = ()) -> tuple[FleetFact, ...]:
    """Return whom a query chooses, by id; raises `QueryRefused` for a product that neither `products` nor anyone has.

    So a misspelt name, which reads like a product that nobody has, is refused.
    """
    known = list(fleet)
    shown = {product for fact in known for product in fact.products} | set(products)
    if strange := sorted(query.products - shown):
        names = ", ".join([*TEXTS, AGENT, *sorted(shown)])
        raise QueryRefused(f"select: expected one of {names}, got {strange[0]!r}")
    chosen = (fact for fact in known if all(condition.holds(fact) for condition in query.conditions))
    return tuple(sorted(chosen, key=lambda fact: fact.terminal_id))


def freeze(
    chosen: Iterable[FleetFact],
    fleet: Iterable[FleetFact],
    release: Release,
    hours: Mapping[str, Hours],
    settings: RolloutSettings,
    *,
    query: str,
    reason: str,
    now: datetime,
) -> Selection:
    """Return the selection as it stands at `now`: whom, where, and when each may first be changed.

    `fleet` holds at least all terminals of the chosen ones' stores, `hours` those of each store.
    """
    tills = Counter(fact.store_id for fact in fleet if fact.life_cycle == LifeCycle.LIVE)
    opening = _Openings(hours, settings, now)
    terminals = tuple(
        Selected(
            terminal_id=fact.terminal_id,
            store_id=fact.store_id,
            store_tills=tills[fact.store_id],
            model=fact.model or "",
            region=fact.region or "",
            live=fact.life_cycle == LifeCycle.LIVE,
            opens_at=opening.of(fact.store_id),
            unfit=unfit(fact, release),
        )
        for fact in sorted(chosen, key=lambda fact: fact.terminal_id)
    )
    return Selection(query=query, reason=reason, taken_at=now, terminals=terminals)


def unfit(fact: FleetFact, release: Release) -> LeftOutReason | None:
    """Say why a terminal would not take a release, as far as it is known here."""
    installed = fact.products.get(release.product)
    own, agent = _version(installed), _version(fact.agent_version)
    if own is not None and own == version_key(release.version):
        return LeftOutReason.INSTALLED
    found = misfit(
        release,
        Fitting(
            product=release.product,
            machine=next(iter(release.machines), None),
            model=fact.model,
            agent_version=None if agent is None else fact.agent_version,
            installed_version=None if own is None else installed,
        ),
    )
    return None if found is None else _UNFIT[found.unfit]


_UNFIT: Mapping[Unfit, LeftOutReason] = {
    Unfit.MODEL: LeftOutReason.MODEL,
    Unfit.AGENT: LeftOutReason.AGENT_TOO_OLD,
    Unfit.DOWNGRADE: LeftOutReason.DOWNGRADE,
    # MACHINE, PRODUCT: what is asked for there is given
}


def earliest(plan: Plan, hours: Mapping[str, Hours], settings: RolloutSettings) -> dict[str, datetime | None]:
    """Return when each terminal of a plan may be changed at the earliest; None: no time for it is known.

    A wave waits until all of the one before may have been changed, and have soaked. It takes longer where many wait for
    each other, for a till that is busy, or for the gate.
    """
    found: dict[str, datetime | None] = {}
    begins_at: datetime | None = None
    for wave in plan.waves:
        if begins_at is None:
            opens = {one.terminal_id: one.opens_at if wave.number == 1 else None for one in wave.terminals}
        else:
            opening = _Openings(hours, settings, begins_at)
            opens = {one.terminal_id: opening.of(one.store_id) for one in wave.terminals}
        found |= opens
        known = [opens_at for opens_at in opens.values() if opens_at is not None]
        begins_at = max(known) + timedelta(seconds=settings.gate.soak_s) if len(known) == len(opens) else None
    return found


class _Openings:
    """When stores may be changed; worked out once for all that keep the same hours."""

    def __init__(self, hours: Mapping[str, Hours], settings: RolloutSettings, now: datetime) -> None:
        self._hours, self._settings, self._now = hours, settings, now
        self._found: dict[object, datetime | None] = {}

    def of(self, store_id: str | None) -> datetime | None:
        """Return the next moment at which a terminal there may be changed; None: none is known."""
        own = None if store_id is None else self._hours.get(store_id)
        if own is None:
            return None
        key = (own.zone.key, own.week, tuple(sorted(own.holidays.items())))
        if key not in self._found:
            self._found[key] = self._look(own)
        return self._found[key]

    def _look(self, own: Hours) -> datetime | None:
        opening = window.look(self._settings.window, own, self._now, self._settings.job.deadline_s)
        return self._now if opening.fits else opening.until


def _condition(name: str, said: str, values: str) -> TextCondition | VersionCondition:
    sign, stated = Sign(said), tuple(value.strip('"') for value in _VALUES.findall(values))
    if name not in TEXTS:
        return VersionCondition(name=name, sign=sign, values=_versions(name, sign, stated))
    if sign in _ORDERS:
        raise QueryRefused(f"select: {name}: expected = or != for a text, got {sign}")
    return TextCondition(name=name, sign=sign, values=stated)


def _versions(name: str, sign: Sign, stated: Sequence[str]) -> tuple[tuple[int, ...] | None, ...]:
    if sign in _ORDERS and (len(stated) > 1 or UNKNOWN in stated):
        raise QueryRefused(f"select: {name}: expected one version after {sign}, got {','.join(stated)[:40]!r}")
    versions = tuple(_version(value) for value in stated)
    for value, version in zip(stated, versions, strict=True):
        if version is None and value != UNKNOWN:
            texts = ", ".join(TEXTS)
            said = f"expected a version such as 2.1.0, or, for a text, one of {texts}, got {value[:40]!r}"
            raise QueryRefused(f"select: {name}: {said}")
    return versions


def _is_like(known: str, pattern: str) -> bool:
    """Say whether a text is what a pattern says, in which a star stands for any characters."""
    first, *rest = pattern.split("*")
    if not rest:
        return known == first
    *middle, last = rest
    if not known.startswith(first):
        return False
    at = len(first)
    for part in middle:
        found = known.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(known) - len(last) >= at and known.endswith(last)


def _version(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else version_key(text)
    except ValueError:
        return None
