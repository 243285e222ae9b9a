"""The life of a ticket: the whole product of statuses and actions."""

from itertools import product

import pytest

from tillwatch_collector.domain.ticket import FINAL, TICKET_TABLE, Action, Status, step
from tillwatch_collector.errors import TicketActionIllegal
from tillwatch_collector.store.tables import OPEN_TICKET

EXPECTED = {
    # what the machine does
    (Status.REPORTED, Action.PROVE): Status.RESOLVED,
    (Status.REPORTED, Action.RECUR): Status.REPORTED,
    (Status.RESOLVED, Action.RECUR): Status.REPORTED,
    (Status.RESOLVED, Action.EXPIRE): Status.CLOSED,
    # how a person ends it
    (Status.REPORTED, Action.CLOSE): Status.CLOSED,
    (Status.RESOLVED, Action.CLOSE): Status.CLOSED,
    (Status.REPORTED, Action.CANCEL): Status.CANCELLED,
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
