"""Tells what is injected and what becomes of it, in lines that stand under each other. Pure.

It is shown each step as it is taken, and tickets and outages as the API lists them; it tells what has changed since.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any

from tillwatch_simulator import scenario
from tillwatch_simulator.account import MACHINE, RELEASE, TERMINAL, Account, Cause
from tillwatch_simulator.inventory import Inventory
from tillwatch_simulator.scenario import Injection, Step

Tell = Callable[[str], None]
Record = dict[str, Any]
"""A ticket or an outage, as the API has it."""

ALTERNATIVES_MAX = 3
"""Other places that a line names."""


class Narrator:
    """The account of one demonstration, told as it grows.

    `now_s` says how long it has been played, `last_reason` what a ticket's journal gives for its last step. `harmful`
    names the releases in which harm hides, as tickets about them do: a rollout of another that is halted is a mistake.
    """

    def __init__(
        self,
        tell: Tell,
        now_s: Callable[[], float],
        inventory: Inventory,
        last_reason: Callable[[int], str],
        harmful: Collection[str] = (),
    ) -> None:
        self._tell = tell
        self._now_s = now_s
        self._inventory = inventory
        self._last_reason = last_reason
        self._harmful = harmful
        self._account = Account(inventory)
        self._together: object = None
        self._known: dict[int, tuple[str, int]] = {}
        self._outages: dict[int, bool] = {}
        """Of each that was told of: whether it had ended."""
        self.false_tickets: set[int] = set()

    @property
    def lasting(self) -> tuple[Injection, ...]:
        """What has begun and not ended."""
        return self._account.lasting

    @property
    def outages_opened(self) -> int:
        """How many outages were seen."""
        return len(self._outages)

    def step(self, step: Step, now: datetime) -> None:
        """Tell that a trouble begins or ends, and remember it; what befalls a place is told once for all of it."""
        injection = step.injection
        change = self._account.begin if step.begins else self._account.end
        change(injection, now)
        together = injection.place and (injection.place, step.begins, step.at_s)
        if injection.place is None:
            self.line(injection.terminal_id, scenario.narrated(step), "")
        elif together != self._together:
            count = len(self._inventory.within(injection.place))
            detail = f"all {count} terminals of this {injection.place.kind} at once" if step.begins else ""
            self.line(injection.place.place_id, f"line is {'cut' if step.begins else 'back'}", detail)
        self._together = together

    def look(self, tickets: Iterable[Record], outages: Iterable[Record]) -> None:
        """Tell what has changed since the last look."""
        for ticket in sorted(tickets, key=lambda one: str(one["updated_at"])):
            state = (str(ticket["status"]), int(ticket["recurrences"]))
            if self._known.get(ticket["ticket_id"]) != state:
                self._ticket(ticket, is_new=ticket["ticket_id"] not in self._known)
                self._known[ticket["ticket_id"]] = state
        for outage in sorted(outages, key=lambda one: int(one["outage_id"])):
            self._outage(outage)

    def _ticket(self, ticket: Record, *, is_new: bool) -> None:
        cause = self._account.cause(ticket)
        what = f"{ticket['component']} {ticket['code']}"
        if ticket["origin"] != MACHINE:
            what = f"{ticket['title']}, as a person told"
        elif cause is None and is_new and not self._is_of_harm(ticket):
            self.false_tickets.add(ticket["ticket_id"])
            what += "  FALSE: nothing was injected that explains it"
        said = "opened" if is_new and not ticket["resolved_at"] else str(ticket["status"])
        subject = str(ticket["subject_id"])
        if ticket["subject_kind"] != TERMINAL:
            said += f", for the whole {ticket['subject_kind']}"
        self.line(subject, f"ticket {ticket['ticket_id']} {said}", what + _after(ticket, cause, is_new=is_new))

    def _outage(self, outage: Record) -> None:
        outage_id, has_ended = int(outage["outage_id"]), outage["ended_at"] is not None
        if outage_id not in self._outages:
            self._evidence(outage)
        if has_ended and not self._outages.get(outage_id):
            self.line(outage["node_id"], f"outage {outage_id} is over", self._last_reason(outage["ticket_id"]))
        self._outages[outage_id] = has_ended

    def _evidence(self, outage: Record) -> None:
        """Say in words why many have one cause, and why it lies there."""
        evidence = outage["evidence"]
        others = ", ".join(map(_share, evidence["alternatives"][:ALTERNATIVES_MAX]))
        self.line(
            outage["node_id"],
            f"outage {outage['outage_id']}: one cause, one ticket",
            f"{outage['code']} at {_share(evidence['node'])}, all within {evidence['span_s']:.1f} s",
        )
        if others:
            self.line(outage["node_id"], f"outage {outage['outage_id']}: less like it", others)

    def _is_of_harm(self, ticket: Record) -> bool:
        return ticket["subject_kind"] == RELEASE and ticket["subject_id"] in self._harmful

    def line(self, subject: str, said: str, detail: str) -> None:
        """Tell one thing about a subject, at this moment."""
        self._tell(f"{self._now_s():7.1f} s  {subject:<10} {said:<38} {detail}".rstrip())


def _after(ticket: Record, cause: Cause | None, *, is_new: bool) -> str:
    if ticket["resolved_at"] and cause and cause.ended_at:
        return f", {_seconds(cause.ended_at, ticket['resolved_at'])} after its end"
    if is_new and cause:
        return f", {_seconds(cause.began_at, ticket['opened_at'])} after its beginning"
    return ""


def _share(node: Record) -> str:
    where = "the fleet" if node["kind"] == node["id"] else f"{node['kind']} {node['id']}"
    return f"{where} ({node['hit']} of {node['total']} terminals)"


def _seconds(since: datetime, until: str) -> str:
    return f"{(datetime.fromisoformat(until) - since).total_seconds():.1f} s"
