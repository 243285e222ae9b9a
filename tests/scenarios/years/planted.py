"""More mistakes that somebody could make, in what makes tickets of silences and faults: see `tests.scenarios.planted`.

Each is planted into one decision; a dense world in which it is planted must break a rule within a few seeds.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.scenarios.planted import Mistake

from tillwatch_collector.domain import condition, flapping, hours, notification, outage, presence
from tillwatch_collector.domain.condition import Course, Holds, Phase
from tillwatch_collector.domain.hours import Hours
from tillwatch_collector.domain.naming import Group
from tillwatch_collector.domain.notification import ENDINGS, Change, Said, Ticket
from tillwatch_collector.domain.notification import Word as WordOfRoute
from tillwatch_collector.domain.outage import Finding, Node, Outage, Shown, Symptom
from tillwatch_collector.domain.outage import Sign as OutageSign
from tillwatch_collector.domain.pattern import Patterns
from tillwatch_collector.domain.presence import LIVE, Sight, Verdict
from tillwatch_collector.domain.presence import Said as SaidOfPresence
from tillwatch_collector.domain.signs import Key, Word
from tillwatch_collector.domain.ticket import TicketIdentity
from tillwatch_collector.flows import notices, tickets
from tillwatch_collector.flows.changes import MACHINE, TicketChange, Why
from tillwatch_collector.flows.outages import Claim, Outages
from tillwatch_collector.flows.remembered import Case, Followed, Owed
from tillwatch_collector.flows.sitting import Sitting
from tillwatch_collector.flows.steps import Hand
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.tickets import KeptTicket
from tillwatch_protocol.heartbeat import PresenceReason


def _everyone_counts(patch: pytest.MonkeyPatch) -> None:
    """Half of a shop's terminals are half of all that it has."""

    def group(self: Patterns, node: Node, symptom: Symptom, hits: set[str]) -> Group:  # noqa: ARG001 - its shape
        total = sum(node in terminal.places for terminal in self._terminals.values())
        return Group(hits=frozenset(hits), total=total, threshold=self._settings.threshold(node.kind, total))

    patch.setattr(Patterns, "_group", group)


def _children_are_nobodys(patch: pytest.MonkeyPatch) -> None:
    """A fault is a fault: it has a ticket."""
    patch.setattr(Outages, "claims", lambda *_: Claim())


def _over_for_everybody(patch: pytest.MonkeyPatch) -> None:
    """An outage that is over is over: who is still silent then is silent."""
    right = outage.silence

    def silence(**known: Any) -> Shown:
        return replace(right(**known), own_s=0.0)

    patch.setattr("tillwatch_collector.flows.sitting.silence", silence)


def _forget_who_is_left(patch: pytest.MonkeyPatch) -> None:
    """What was part of an outage ends with it."""

    def let_go(self: Patterns, over: Outage, now_s: float) -> None:
        over.over_s = now_s + max(over.hold_s, over.own_s)
        for terminal_id in sorted(over.hits):
            terminal = self._terminal(terminal_id)
            self._uncount(terminal, over.symptom)
            self._leave(terminal, over.symptom)
            del terminal.hits[over.symptom]

    patch.setattr(Patterns, "_let_go", let_go)


def _until_the_last(patch: pytest.MonkeyPatch) -> None:
    """An outage lasts until everybody is back."""
    right = Outage.sign

    def sign(self: Outage, now_s: float) -> OutageSign:
        return OutageSign.MANY if self.hits else right(self, now_s)

    patch.setattr(Outage, "sign", sign)


def _every_contact_counts(patch: pytest.MonkeyPatch) -> None:
    """What flaps is counted, and its end is judged as ever."""
    patch.setattr(flapping, "clear_s", lambda _flap, clear_s, _rule: clear_s)


def _lost_in_maintenance(patch: pytest.MonkeyPatch) -> None:
    """Who was muted when it failed is told of the next time."""
    right = Sitting._pay

    def pay(self: Sitting, case: Case, key: Key, word: Word, followed: Followed) -> None:
        if followed.owed is Owed.MAINTENANCE and case.muted is None:
            followed.owed = None
        right(self, case, key, word, followed)

    patch.setattr(Sitting, "_pay", pay)


def _again_after_maintenance(patch: pytest.MonkeyPatch) -> None:
    """A fault that was muted is told as long as it stands."""
    right = Sitting._pay

    def pay(self: Sitting, case: Case, key: Key, word: Word, followed: Followed) -> None:
        muted = followed.owed is Owed.MAINTENANCE
        right(self, case, key, word, followed)
        followed.owed = Owed.MAINTENANCE if muted else followed.owed

    patch.setattr(Sitting, "_pay", pay)


def _holidays_are_weekdays(patch: pytest.MonkeyPatch) -> None:
    """Opening hours are those of the weekday."""
    patch.setattr(Hours, "on", lambda self, day: self.week[day.weekday()])


def _one_offset(patch: pytest.MonkeyPatch) -> None:
    """A time zone is so many hours: as they were in the summer in which it was entered."""

    def instant(zone: ZoneInfo, day: date, minutes: int) -> datetime:
        offset = datetime(2026, 7, 1, tzinfo=zone).utcoffset()
        assert offset is not None
        return datetime.combine(day, time(), tzinfo=UTC) + timedelta(minutes=minutes) - offset

    patch.setattr(hours, "_instant", instant)


def _off_is_silent(patch: pytest.MonkeyPatch) -> None:
    """Who says nothing is silent, whatever it said last."""
    right = presence._offline

    def offline(sight: Sight) -> SaidOfPresence | None:
        said = right(sight)
        return None if said is not None and said.reason == PresenceReason.STOPPING else said

    patch.setattr(presence, "_offline", offline)


def _missed_in_repair(patch: pytest.MonkeyPatch) -> None:
    """Every terminal that is known is watched."""
    right = presence.assess

    def assess(sight: Sight, now_s: float, *, lost_hold_s: float) -> Verdict:
        return right(replace(sight, life_cycle=LIVE), now_s, lost_hold_s=lost_hold_s)

    patch.setattr("tillwatch_collector.flows.sitting.assess", assess)


def _children_are_told(patch: pytest.MonkeyPatch) -> None:
    """Each terminal of an outage has a ticket under its parent's, of which people are told as of any."""
    right, concerned = Outages._take, notices._concerned

    def take(self: Outages, repository: Repository, finding: Finding, now: datetime) -> list[TicketChange]:
        changes = right(self, repository, finding, now)
        why = Why(actor=MACHINE, reason="part of an outage", evidence={})
        component, code = finding.symptom
        children = [
            TicketIdentity(subject_kind="terminal", subject_id=terminal_id, component=component, code=code)
            for terminal_id in sorted(finding.chosen.hits)
        ]
        rule, parent_id = self._policy.rule(code), changes[0].ticket_id
        opened = [tickets.open_or_recur(repository, each, rule, why, now, parent_id=parent_id) for each in children]
        return [*changes, *opened]

    def orphans(repository: Repository, changes: Sequence[TicketChange]) -> list[Change]:
        return [replace(change, parent=None) for change in concerned(repository, changes)]

    patch.setattr(Outages, "_take", take)
    patch.setattr(notices, "_concerned", orphans)


def _each_end_is_told(patch: pytest.MonkeyPatch) -> None:
    """Whoever knows of a ticket is told of its end: that it is resolved, and that it is closed."""
    right = notification._news

    def news(said: Said | None, ticket: Ticket, knows: WordOfRoute | None, *, concerned: bool) -> Said | None:
        if said in ENDINGS:
            return said if knows is not None else None
        return right(said, ticket, knows, concerned=concerned)

    patch.setattr(notification, "_news", news)


def _one_heartbeat_proves(patch: pytest.MonkeyPatch) -> None:
    """A terminal that says that it is well is well."""
    right = condition._held

    def held(course: Course, sign: condition.Sign, now_s: float, beat_s: float, holds: Holds) -> bool:
        return course.phase is Phase.CLEARING or right(course, sign, now_s, beat_s, holds)

    patch.setattr(condition, "_held", held)


def _a_call_is_a_ticket(patch: pytest.MonkeyPatch) -> None:
    """Who telephones has something new to say."""
    patch.setattr(tickets, "met_by_report", lambda *_: None)


def _only_steps_are_journaled(patch: pytest.MonkeyPatch) -> None:
    """A journal tells of statuses; who has a ticket in hand stands in its row."""

    def note(self: Hand, ticket: KeptTicket, _action: str, **values: Any) -> None:
        self.repository.tickets.change(ticket.ticket_id, self.now, **values)

    patch.setattr(Hand, "note", note)


def _comments_are_ours(patch: pytest.MonkeyPatch) -> None:
    """Card numbers come from customers; who comments is one of us."""
    right = tickets._text

    def kept(field: str, said: str, chars_max: int, *, needed: bool = True) -> str:
        return said.strip() if field == "text" else right(field, said, chars_max, needed=needed)

    patch.setattr(tickets, "_text", kept)


PLANTED = (
    Mistake(name="who is not missed counts toward an outage", plant=_everyone_counts),
    Mistake(name="a child of an open outage gets a ticket", plant=_children_are_nobodys),
    Mistake(name="after an outage nobody has an interval", plant=_over_for_everybody),
    Mistake(name="who stays silent after an outage is forgotten", plant=_forget_who_is_left),
    Mistake(name="an outage lasts until the last is back", plant=_until_the_last),
    Mistake(name="flapping does not grow the hold", plant=_every_contact_counts),
    Mistake(name="what fails in a maintenance is lost", plant=_lost_in_maintenance),
    Mistake(name="what failed in a maintenance is told at every look", plant=_again_after_maintenance),
    Mistake(name="holidays are ignored", plant=_holidays_are_weekdays),
    Mistake(name="a time zone is a fixed offset", plant=_one_offset),
    Mistake(name="off is silent", plant=_off_is_silent),
    Mistake(name="who is in repair is missed", plant=_missed_in_repair),
    Mistake(name="routes are told of children", plant=_children_are_told),
    Mistake(name="an end is told twice", plant=_each_end_is_told),
    Mistake(name="one heartbeat is proof", plant=_one_heartbeat_proves),
    Mistake(name="a call does not meet the machine's ticket", plant=_a_call_is_a_ticket),
    Mistake(name="what is no step is not journaled", plant=_only_steps_are_journaled),
    Mistake(name="comments are not scrubbed", plant=_comments_are_ours),
)
