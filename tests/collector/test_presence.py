"""Is a terminal there? Every branch, at a 60 s interval: grace 3 s, late at 63 s, silent at 183 s."""

from dataclasses import replace

import pytest

from tillwatch_collector.domain.presence import Reason, Said, Sight, State, assess, grace_s
from tillwatch_collector.domain.watching import Watch

HOLD_S = 10

HEARD = Sight(
    heard_s=1000,
    heard_since_anew=True,
    anew_s=0,
    unbroken_s=0,
    interval_s=60,
    connection=(1, 1),
    said=None,
    life_cycle="live",
    watch=Watch.WATCHED,
    watch_due_s=None,
)


def said(
    reason: str | None, at_s: float = 1005, connection: tuple[int, int] = (1, 1), *, outlived: bool = False
) -> Said:
    state = "offline" if reason else "online"
    return Said(connection=connection, state=state, reason=reason, at_s=at_s, outlived=outlived)


def closed(sight: Sight) -> Sight:
    return replace(sight, watch=Watch.CLOSED, watch_due_s=5000)


LOST = replace(HEARD, said=said("connection_lost"))
STOPPED = replace(HEARD, said=said("stopping"))
ANEW = replace(HEARD, heard_s=500, heard_since_anew=False, anew_s=1000, unbroken_s=1000)
GAP = replace(LOST, unbroken_s=1008)


@pytest.mark.parametrize(
    ("sight", "now_s", "state", "reason", "due_s"),
    [
        # heard in time
        (HEARD, 1000, State.ONLINE, Reason.HEARD, 1063),
        (HEARD, 1062.9, State.ONLINE, Reason.HEARD, 1063),
        # heard after the last proof that we listen
        (HEARD, 990, State.ONLINE, Reason.HEARD, 1063),
        # one missed
        (HEARD, 1063, State.LATE, Reason.MISSED_ONE, 1183),
        (HEARD, 1182.9, State.LATE, Reason.MISSED_ONE, 1183),
        # three missed
        (HEARD, 1183, State.SILENT, Reason.MISSED_THREE, None),
        # not heard since we began to listen: its timer starts there
        (ANEW, 1001, State.UNKNOWN, Reason.LISTENING_ANEW, 1063),
        (ANEW, 1063, State.LATE, Reason.MISSED_ONE, 1183),
        (ANEW, 1183, State.SILENT, Reason.MISSED_THREE, None),
        # a will of the current connection: only after the hold
        (LOST, 1006, State.ONLINE, Reason.HEARD, 1015),
        (LOST, 1015, State.SILENT, Reason.CONNECTION_LOST, 1075),
        # a will that comes when one was missed already
        (replace(HEARD, said=said("connection_lost", 1070)), 1072, State.LATE, Reason.MISSED_ONE, 1080),
        # three missed say more than a will
        (LOST, 1183, State.SILENT, Reason.MISSED_THREE, None),
        # a will of before we began to listen shortens nothing: its terminal may wait for the same broker that we did
        (replace(ANEW, said=said("connection_lost", 600)), 1020, State.UNKNOWN, Reason.LISTENING_ANEW, 1063),
        (replace(ANEW, said=said("connection_lost", 1000)), 1020, State.UNKNOWN, Reason.LISTENING_ANEW, 1063),
        # a gap in the hold: who came back meanwhile was not heard, and has until its next heartbeat
        (GAP, 1016, State.ONLINE, Reason.HEARD, 1063),
        (replace(GAP, heard_s=1004), 1068, State.LATE, Reason.MISSED_ONE, 1071),
        (replace(GAP, heard_s=1004), 1071, State.SILENT, Reason.CONNECTION_LOST, 1131),
        # a will that comes late, after a gap in which its terminal may have come back
        (replace(LOST, unbroken_s=1003), 1016, State.ONLINE, Reason.HEARD, 1063),
        (replace(LOST, unbroken_s=1003, heard_s=1010), 1066, State.SILENT, Reason.CONNECTION_LOST, 1126),
        # a gap after the hold changes nothing any more
        (replace(LOST, unbroken_s=1015), 1016, State.SILENT, Reason.CONNECTION_LOST, 1076),
        # a will of the current connection, and a heartbeat of it after: it lives
        (
            replace(HEARD, heard_s=1006, said=said("connection_lost", outlived=True)),
            1050,
            State.ONLINE,
            Reason.HEARD,
            1069,
        ),
        # a will of an old connection does not count
        (replace(LOST, connection=(1, 2)), 1050, State.ONLINE, Reason.HEARD, 1063),
        (replace(LOST, connection=(2, 1)), 1050, State.ONLINE, Reason.HEARD, 1063),
        # a will of a connection that no heartbeat has told of yet is the current one's
        (
            replace(HEARD, said=said("connection_lost", connection=(1, 2))),
            1050,
            State.SILENT,
            Reason.CONNECTION_LOST,
            1110,
        ),
        # a late heartbeat of the connection before does not save it
        (
            replace(HEARD, heard_s=1006, said=said("connection_lost", connection=(1, 2), outlived=True)),
            1050,
            State.SILENT,
            Reason.CONNECTION_LOST,
            1110,
        ),
        # a terminal that has sent no heartbeat that could be read
        (replace(LOST, connection=None), 1050, State.SILENT, Reason.CONNECTION_LOST, 1110),
        # online says nothing that hearing does not
        (replace(HEARD, said=said(None)), 1063, State.LATE, Reason.MISSED_ONE, 1183),
        # it said that it stops: off, and a late heartbeat of that connection changes nothing
        (STOPPED, 1006, State.OFF, Reason.STOPPING, None),
        (STOPPED, 9999, State.OFF, Reason.STOPPING, None),
        (replace(HEARD, heard_s=1006, said=said("stopping", outlived=True)), 1050, State.OFF, Reason.STOPPING, None),
        # and came back
        (replace(STOPPED, connection=(2, 1)), 1050, State.ONLINE, Reason.HEARD, 1063),
        # a shop has just opened, and we listened all the time: who is silent then is dead
        (replace(HEARD, was_off=True), 9000, State.SILENT, Reason.MISSED_THREE, None),
        # or we were blind until a moment ago: who was switched on meanwhile has until its next heartbeat
        (replace(HEARD, was_off=True, unbroken_s=8990), 9000, State.OFF, Reason.OPENING, 9053),
        (replace(HEARD, was_off=True, unbroken_s=8990), 9053, State.SILENT, Reason.MISSED_THREE, None),
        (replace(LOST, was_off=True, unbroken_s=1010), 1073, State.SILENT, Reason.CONNECTION_LOST, 1133),
        (replace(HEARD, was_off=True, unbroken_s=1050), 1055, State.ONLINE, Reason.HEARD, 1063),
        (replace(ANEW, was_off=True), 1001, State.UNKNOWN, Reason.LISTENING_ANEW, 1063),
        # closed: not missed, looked at again when it may open
        (closed(HEARD), 1063, State.OFF, Reason.CLOSED, 5000),
        (closed(HEARD), 1183, State.OFF, Reason.CLOSED, 5000),
        (closed(LOST), 1015, State.OFF, Reason.CLOSED, 5000),
        (closed(ANEW), 1001, State.OFF, Reason.CLOSED, 5000),
        # closed, and on nevertheless
        (closed(HEARD), 1050, State.ONLINE, Reason.HEARD, 1063),
        # just opened: people are still switching things on
        (replace(HEARD, watch=Watch.OPENING, watch_due_s=1900), 1183, State.OFF, Reason.OPENING, 1900),
        # never opens again
        (replace(HEARD, watch=Watch.CLOSED), 1183, State.OFF, Reason.CLOSED, None),
        # in repair, spare, swapped, retired: not missed, and its bench is not the shop
        (replace(HEARD, life_cycle="in_repair"), 1050, State.OFF, Reason.NOT_LIVE, None),
        (replace(LOST, life_cycle="retired"), 1050, State.OFF, Reason.NOT_LIVE, None),
    ],
)
def test_the_verdict(sight: Sight, now_s: float, state: State, reason: Reason, due_s: float | None) -> None:
    verdict = assess(sight, now_s, lost_hold_s=HOLD_S)
    assert (verdict.state, verdict.reason, verdict.due_s) == (state, reason, due_s)


@pytest.mark.parametrize("sight", [HEARD, ANEW, LOST, STOPPED, closed(LOST)])
def test_the_next_look_lies_ahead(sight: Sight) -> None:
    for now_s in range(990, 1300):
        due_s = assess(sight, now_s, lost_hold_s=HOLD_S).due_s
        assert due_s is None or due_s > now_s


@pytest.mark.parametrize(("interval_s", "expected_s"), [(1, 1), (5, 1), (40, 2), (60, 3), (3600, 3)])
def test_the_grace_is_a_twentieth_of_the_interval_within_bounds(interval_s: float, expected_s: float) -> None:
    assert grace_s(interval_s) == expected_s
