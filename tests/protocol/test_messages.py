from typing import Any

import pytest
from pydantic import ValidationError
from tests.protocol.examples import AT, CONNECTION, STREAM, batch, event, heartbeat

from tillwatch_protocol.event import Event, SeqRange
from tillwatch_protocol.heartbeat import Connection, Presence, PresenceState
from tillwatch_protocol.process import Canary
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import EVENTS_IN_FLIGHT_MAX, Health

PAPER_END = Condition(code="paper_end", since=AT)


def reading(**changes: Any) -> Reading:
    values: dict[str, Any] = {"component": "pos_printer:1", "health": Health.OK}
    return Reading(**(values | changes))


CONTRADICTIONS = {
    "unknown without a reason": lambda: reading(health=Health.UNKNOWN),
    "absent without a reason": lambda: reading(health=Health.ABSENT),
    "a condition twice": lambda: reading(health=Health.FAULT, conditions=(PAPER_END, PAPER_END)),
    "true and not judged": lambda: reading(conditions=(PAPER_END,), undetermined=("paper_end",)),
    "a component twice": lambda: heartbeat(components=(reading(), reading())),
    "a raise without its code": lambda: event(1, code=None),
    "a drop without its ranges": lambda: event(3, kind="dropped", component=None, code=None),
    "a drop of numbers yet to come": lambda: event(3, kind="dropped", dropped=(SeqRange(first=2, last=3),)),
    "a job step without its report": lambda: event(1, kind="job"),
    "a range that ends before it begins": lambda: SeqRange(first=3, last=2),
    "events out of order": lambda: batch(event(2), event(1)),
    "an event twice": lambda: batch(event(2), event(2)),
    "an event below the oldest": lambda: batch(event(2), oldest_seq=3),
    "no events": batch,
    "more events than may be in flight": lambda: batch(*(event(n) for n in range(1, EVENTS_IN_FLIGHT_MAX + 2))),
    "offline without a reason": lambda: Presence(
        terminal_id="till-7", state=PresenceState.OFFLINE, connection=CONNECTION
    ),
    "a process without a dot": lambda: Canary(process="collector", start_id="s", canary_no=1),
}


@pytest.mark.parametrize("make", [*CONTRADICTIONS.values()], ids=[*CONTRADICTIONS])
def test_a_message_that_contradicts_itself_cannot_be_made(make: Any) -> None:
    with pytest.raises(ValidationError):
        make()


JUDGES = [
    # health, conditions, undetermined -> does it speak of paper_end?
    (Health.OK, (), (), True),  # looked at, and there is paper
    (Health.FAULT, (PAPER_END,), (), True),  # looked at, and there is none
    (Health.OK, (), ("paper_end",), False),  # the cover is open
    (Health.UNKNOWN, (), (), False),  # silence is not an answer
    (Health.ABSENT, (), (), False),
    (Health.UNKNOWN, (PAPER_END,), (), True),  # it says so in words
]


@pytest.mark.parametrize(("health", "conditions", "undetermined", "judges"), JUDGES)
def test_a_reading_judges_only_what_was_looked_at(
    health: Health, conditions: tuple[Condition, ...], undetermined: tuple[str, ...], judges: bool
) -> None:
    reason = "no_response" if health in {Health.UNKNOWN, Health.ABSENT} else None
    made = reading(health=health, reason=reason, conditions=conditions, undetermined=undetermined)
    assert made.judges("paper_end") is judges


def test_the_greater_connection_wins_within_a_stream_only() -> None:
    later = Connection(stream_id=STREAM, boot_epoch=4, connection_no=1)
    stranger = Connection(stream_id="f" * 32, boot_epoch=9, connection_no=9)
    assert later.supersedes(CONNECTION)
    assert not CONNECTION.supersedes(later)
    assert not later.supersedes(later)
    assert not stranger.supersedes(later)


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError):
        event(1).kind = "other"  # type: ignore[misc]


def test_an_event_of_an_unknown_kind_is_an_event() -> None:
    assert Event(event_seq=1, boot_epoch=1, kind="tamper_seen", happened_at=AT).kind == "tamper_seen"
