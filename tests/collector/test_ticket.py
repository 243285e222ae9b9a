"""The life of a ticket: the whole product of statuses and actions."""

from itertools import product

import pytest

from tillwatch_collector.domain.ticket import (
    FINAL,
    PERSONS_ACTIONS,
    TICKET_TABLE,
    Action,
    Status,
    actions_of,
    check_actor,
    step,
)
from tillwatch_collector.errors import TicketActionIllegal, TicketRefused
from tillwatch_collector.store.tables import OPEN_TICKET

S, A = Status, Action

EXPECTED = {
    # the terminal itself is healthy, whoever works on the ticket
    (S.REPORTED, A.PROVE): S.RESOLVED,
    (S.DIAGNOSING, A.PROVE): S.RESOLVED,
    (S.REPAIRING, A.PROVE): S.RESOLVED,
    (S.PENDING, A.PROVE): S.RESOLVED,
    (S.VERIFYING, A.PROVE): S.RESOLVED,
    # the fault comes back: what is worked on goes on, what was thought mended is not
    (S.REPORTED, A.RECUR): S.REPORTED,
    (S.DIAGNOSING, A.RECUR): S.DIAGNOSING,
    (S.REPAIRING, A.RECUR): S.REPAIRING,
    (S.PENDING, A.RECUR): S.PENDING,
    (S.VERIFYING, A.RECUR): S.REPAIRING,
    (S.RESOLVED, A.RECUR): S.REPORTED,
    # only what is proved ends by itself
    (S.RESOLVED, A.EXPIRE): S.CLOSED,
    # the cause is sought, at first or again
    (S.REPORTED, A.DIAGNOSE): S.DIAGNOSING,
    (S.REPAIRING, A.DIAGNOSE): S.DIAGNOSING,
    (S.PENDING, A.DIAGNOSE): S.DIAGNOSING,
    (S.VERIFYING, A.DIAGNOSE): S.DIAGNOSING,
    # it is mended, at once or in another way than before
    (S.REPORTED, A.REPAIR): S.REPAIRING,
    (S.DIAGNOSING, A.REPAIR): S.REPAIRING,
    (S.REPAIRING, A.REPAIR): S.REPAIRING,
    (S.PENDING, A.REPAIR): S.REPAIRING,
    (S.VERIFYING, A.REPAIR): S.REPAIRING,
    # work waits, and goes on
    (S.DIAGNOSING, A.PEND): S.PENDING,
    (S.REPAIRING, A.PEND): S.PENDING,
    (S.PENDING, A.PEND): S.PENDING,
    (S.PENDING, A.RESUME): S.REPAIRING,
    # it is tried
    (S.DIAGNOSING, A.VERIFY): S.VERIFYING,
    (S.REPAIRING, A.VERIFY): S.VERIFYING,
    (S.PENDING, A.VERIFY): S.VERIFYING,
    # how a person ends it
    (S.REPORTED, A.CLOSE): S.CLOSED,
    (S.DIAGNOSING, A.CLOSE): S.CLOSED,
    (S.REPAIRING, A.CLOSE): S.CLOSED,
    (S.PENDING, A.CLOSE): S.CLOSED,
    (S.VERIFYING, A.CLOSE): S.CLOSED,
    (S.RESOLVED, A.CLOSE): S.CLOSED,
    (S.REPORTED, A.CANCEL): S.CANCELLED,
    (S.DIAGNOSING, A.CANCEL): S.CANCELLED,
    (S.REPAIRING, A.CANCEL): S.CANCELLED,
    (S.PENDING, A.CANCEL): S.CANCELLED,
    (S.VERIFYING, A.CANCEL): S.CANCELLED,
    (S.REPORTED, A.MERGE): S.MERGED,
    (S.DIAGNOSING, A.MERGE): S.MERGED,
    (S.REPAIRING, A.MERGE): S.MERGED,
    (S.PENDING, A.MERGE): S.MERGED,
    (S.VERIFYING, A.MERGE): S.MERGED,
    # a person does not believe the proof
    (S.RESOLVED, A.REOPEN): S.REPORTED,
}


@pytest.mark.parametrize(("status", "action"), list(product(Status, Action)))
def test_every_status_and_action(status: Status, action: Action) -> None:
    if (status, action) in EXPECTED:
        assert step(status, action) is EXPECTED[status, action]
        return
    with pytest.raises(TicketActionIllegal, match=f"a ticket that is {status} takes .*; got {action}"):
        step(status, action)


def test_every_status_can_be_reached() -> None:
    assert {Status.REPORTED, *TICKET_TABLE.values()} == set(Status)


def test_what_is_final_is_not_open_to_the_database() -> None:
    for status in Status:
        assert (f"'{status}'" in str(OPEN_TICKET)) is (status in FINAL)


def test_what_is_final_takes_nothing_and_everything_else_can_end() -> None:
    for status in Status:
        assert bool(actions_of(status)) is (status not in FINAL)
        assert (Action.CLOSE in actions_of(status)) is (status not in FINAL)


def test_no_person_can_prove() -> None:
    assert {Action.PROVE, Action.RECUR, Action.EXPIRE}.isdisjoint(PERSONS_ACTIONS)
    assert Status.RESOLVED not in {TICKET_TABLE[key] for key in TICKET_TABLE if key[1] in PERSONS_ACTIONS}


@pytest.mark.parametrize(
    ("who", "right"),
    [
        ("person:ann", True),
        ("provider:acme-1", True),
        ("person:\u5b89", True),
        ("ann", False),  # no kind
        ("person:", False),  # nobody
        ("Person:ann", False),  # kinds are written small
        ("person:ann lee", False),  # no spaces
        ("person:" + "x" * 90, False),  # longer than its column
        ("person:ann\n", False),  # no line ends
    ],
)
def test_who_does_something_is_a_kind_and_an_id(who: str, right: bool) -> None:
    if right:
        check_actor("assignee", who)
        return
    with pytest.raises(TicketRefused, match="assignee: expected kind:id"):
        check_actor("assignee", who)
