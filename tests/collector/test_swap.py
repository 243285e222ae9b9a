"""What serial numbers say: every verdict, with the condition that comes of it and the reason a person reads."""

from typing import Any

import pytest

from tillwatch_collector.domain.inventory import LifeCycle
from tillwatch_collector.domain.swap import CODES, Known, Swap, SwapCode, Told, judge, plain, told
from tillwatch_collector.policies import load
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import Health

MACHINE, PRINTER, PIN_PAD = "machine:self", "pos_printer:1", "pin_pad:counter"


def reading(component: str, serial: str | None = None, *, health: Health = Health.OK) -> Reading:
    reason = "no_response" if health in {Health.UNKNOWN, Health.ABSENT} else None
    facts = {} if serial is None else {"serial_number": serial}
    return Reading(component=component, health=health, reason=reason, facts=facts)


def known(life_cycle: str = "live", terminal_id: str = "till-9", store_id: str | None = "s-9") -> tuple[Known, ...]:
    return (Known(terminal_id=terminal_id, life_cycle=life_cycle, store_id=store_id),)


# --- what is told


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        ([], Told()),
        ([reading(MACHINE)], Told()),
        ([reading(MACHINE, " m1 ")], Told(machine="M1", serials=("M1",))),
        # the machine's first, whatever its name
        ([reading(PRINTER, "A1"), reading(MACHINE, "M1")], Told(machine="M1", serials=("M1", "A1"))),
        ([reading(PRINTER, "P1")], Told(serials=("P1",))),
        ([reading(MACHINE, "X"), reading(PRINTER, "X")], Told(machine="X", serials=("X",))),
        # who gives no usable answer may have one; who told it before is not waited for
        (
            [reading(MACHINE, "M1"), reading(PIN_PAD, health=Health.UNKNOWN)],
            Told(machine="M1", serials=("M1",), complete=False),
        ),
        (
            [reading(MACHINE, "M1"), reading(PIN_PAD, health=Health.ABSENT)],
            Told(machine="M1", serials=("M1",), complete=False),
        ),
        ([reading(PIN_PAD, "P1", health=Health.UNKNOWN)], Told(serials=("P1",))),
        ([reading(PRINTER, health=Health.FAULT)], Told()),  # it answered, and told none
    ],
)
def test_the_serial_numbers_of_a_terminal_are_gathered(readings: list[Reading], said: Told) -> None:
    assert told(readings) == said


# --- what they show

M1 = Told(machine="M1", serials=("M1",))
NO_MACHINE = Told(serials=("P1",))


@pytest.mark.parametrize(
    ("entered", "said", "inventory", "swap", "code"),
    [
        # nothing to hold against each other
        (None, Told(), {}, Swap.NOT_TOLD, None),
        ("M1", Told(), {}, Swap.NOT_TOLD, None),
        (None, NO_MACHINE, {}, Swap.NOT_TOLD, None),  # a printer's number is not the terminal's
        ("M1", NO_MACHINE, {}, Swap.NOT_TOLD, None),  # nor does it deny it
        # as it should be: by the machine, by a device on its counter, however it is spelt
        ("M1", M1, {"M1": known(terminal_id="till-1")}, Swap.AS_KNOWN, None),
        (" m1", M1, {}, Swap.AS_KNOWN, None),
        ("P1", Told(machine="M1", serials=("M1", "P1")), {}, Swap.AS_KNOWN, None),
        ("P1", Told(machine="M1", serials=("M1", "P1"), complete=False), {}, Swap.AS_KNOWN, None),
        # another bears it, too: its own comes first
        ("M1", M1, {"M1": known()}, Swap.AS_KNOWN, None),
        # the inventory has none
        (None, M1, {}, Swap.LEARNED, None),
        ("", M1, {}, Swap.LEARNED, None),
        (None, M1, {"M1": known(terminal_id="till-1")}, Swap.LEARNED, None),
        (None, Told(machine="M1", serials=("M1",), complete=False), {}, Swap.LEARNED, None),
        (None, M1, {"M1": known("spare")}, Swap.SWAPPED_WITH_SPARE, SwapCode.SWAPPED),
        (None, M1, {"M1": known()}, Swap.MOVED, SwapCode.SERIAL_MOVED),
        # another stands there
        ("M0", M1, {"M1": known("spare")}, Swap.SWAPPED_WITH_SPARE, SwapCode.SWAPPED),
        ("M0", M1, {"M1": known("in_repair")}, Swap.SWAPPED_WITH_SPARE, SwapCode.SWAPPED),
        ("M0", M1, {"M1": known("swapped")}, Swap.SWAPPED_WITH_SPARE, SwapCode.SWAPPED),
        ("M0", M1, {"M1": known("live")}, Swap.MOVED, SwapCode.SERIAL_MOVED),
        ("M0", M1, {"M1": known("retired")}, Swap.MOVED, SwapCode.SERIAL_MOVED),
        ("M0", M1, {"M1": known("of_the_future")}, Swap.MOVED, SwapCode.SERIAL_MOVED),
        ("M0", M1, {}, Swap.UNKNOWN, SwapCode.SERIAL_UNKNOWN),
        # a device on its counter that the inventory has elsewhere, beside a machine that it has nowhere
        (
            "P0",
            Told(machine="M1", serials=("M1", "P1")),
            {"P1": known("spare")},
            Swap.SWAPPED_WITH_SPARE,
            SwapCode.SWAPPED,
        ),
        ("P0", NO_MACHINE, {"P1": known()}, Swap.MOVED, SwapCode.SERIAL_MOVED),
        # while the one that may have the number is silent, nothing is said
        ("M0", Told(machine="M1", serials=("M1",), complete=False), {}, Swap.UNHEARD, None),
        ("M0", Told(machine="M1", serials=("M1",), complete=False), {"M1": known()}, Swap.UNHEARD, None),
    ],
)
def test_what_stands_there(
    entered: str | None, said: Told, inventory: dict[str, Any], swap: Swap, code: SwapCode | None
) -> None:
    verdict = judge("till-1", entered, said, inventory)
    assert (verdict.swap, verdict.code) == (swap, code)
    assert verdict.decided is (swap not in {Swap.NOT_TOLD, Swap.UNHEARD})
    assert verdict.reason


@pytest.mark.parametrize(
    ("entered", "inventory", "reason"),
    [
        ("M0", {}, "M1 stands here, in the place of M0; the inventory has it nowhere"),
        (
            "M0",
            {"M1": known()},
            "M1 stands here, in the place of M0; the inventory has it as till-9 of store s-9, live",
        ),
        (None, {"M1": known("spare", store_id=None)}, "M1 stands here; the inventory has it as till-9, spare"),
    ],
)
def test_a_ticket_can_say_what_is_odd(entered: str | None, inventory: dict[str, Any], reason: str) -> None:
    verdict = judge("till-1", entered, M1, inventory)
    assert (verdict.reason, verdict.serial) == (reason, "M1")


def test_of_several_that_bear_a_number_the_first_is_named_and_oneself_is_none_of_them() -> None:
    owners = (*known(terminal_id="till-1"), *known("spare", terminal_id="till-2"), *known(terminal_id="till-3"))
    assert "till-2" in judge("till-1", "M0", M1, {"M1": owners}).reason


def test_every_life_cycle_of_another_place_makes_a_condition() -> None:
    for life_cycle in LifeCycle:
        assert judge("till-1", "M0", M1, {"M1": known(life_cycle)}).code is not None


def test_every_condition_has_its_own_rule_in_the_policy() -> None:
    policy = load()
    assert set(CODES.values()) == set(SwapCode)
    assert {policy.rule(code).category for code in SwapCode} == {"identity"}
    assert not any(policy.rule(code).attributable for code in SwapCode)


def test_a_number_is_compared_without_its_spelling() -> None:
    assert plain(" sn-01a\n") == "SN-01A"
