"""Which tickets have a cause that was injected. Pure.

What befalls one terminal brings a ticket about that terminal; what befalls a whole place at once brings one about a
place in which those who are hit stand, and none about each of them. Any other ticket is false. How long a trouble must
last before it is worth a ticket is the collector's policy, not known here.

A change violates this when a ticket is excused by what the collector says, or when one cause excuses a hundred tickets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tillwatch_simulator.faults import TicketIdentity
from tillwatch_simulator.inventory import Inventory, Place
from tillwatch_simulator.scenario import PLACE_TERMINALS_MIN, Injection

TERMINAL = "terminal"
"""What a ticket is about that is not about a place."""
MACHINE = "machine"
"""Who reported a ticket that no person did."""
RELEASE = "release"
"""What a ticket is about that says a rollout was halted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """A trouble that was injected, and when it began and ended, on the wall clock that tickets are dated by."""

    injection: Injection
    began_at: datetime
    ended_at: datetime | None = None


class Account:
    """Every trouble so far, and which of them a ticket is due to."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._causes: list[Cause] = []

    @property
    def lasting(self) -> tuple[Injection, ...]:
        """What has begun and not ended."""
        return tuple(cause.injection for cause in self._causes if cause.ended_at is None)

    def begin(self, injection: Injection, now: datetime) -> None:
        """Remember that a trouble has begun."""
        self._causes.append(Cause(injection=injection, began_at=now))

    def end(self, injection: Injection, now: datetime) -> None:
        """Remember that it has ended."""
        self._causes = [
            replace(cause, ended_at=now) if cause.injection == injection and cause.ended_at is None else cause
            for cause in self._causes
        ]

    def cause(self, ticket: Mapping[str, Any]) -> Cause | None:
        """Find the newest trouble that may have brought a ticket, as the API tells it; None: it is false."""
        kind, subject_id = str(ticket["subject_kind"]), str(ticket["subject_id"])
        symptom = str(ticket["component"]), str(ticket["code"])
        if kind != TERMINAL:
            return self._common(Place(kind, subject_id), *symptom)
        identity = TicketIdentity(terminal_id=subject_id, component=symptom[0], code=symptom[1])
        return next((cause for cause in reversed(self._causes) if identity in cause.injection.tickets), None)

    def _common(self, place: Place, component: str, code: str) -> Cause | None:
        """Find what many terminals of a place have in common: rather what befell a place than one of them."""
        within = self._inventory.within(place)
        found = [cause for cause in self._causes if _shows(cause.injection, component, code) & within]
        if len({cause.injection.terminal_id for cause in found}) < PLACE_TERMINALS_MIN:
            return None
        return next((cause for cause in reversed(found) if cause.injection.place), found[-1])


def _shows(injection: Injection, component: str, code: str) -> frozenset[str]:
    """Name the terminal that a trouble befalls, if it can show so."""
    return frozenset(one.terminal_id for one in injection.symptoms if (one.component, one.code) == (component, code))
