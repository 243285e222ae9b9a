"""What proves that a release runs and does no harm: it tells itself, and the till is no worse off than before.

A release may be blamed for some conditions and not for others: paper that ran out in the same minutes, an open cover, a
port that the till's own software holds say nothing about it. What else is true of a component after the switch and was
not before, does; so does a component that is not heard of any more. The collector's policy says the same of each code
(`attributable`); a code that nobody has heard of may be blamed on a release.

A change violates this when a release is kept although a component has a fault that it did not have before.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import MACHINE_CLOCK, ConditionCode, Health, Kind

Conditions = Mapping[str, tuple[str, ...]]
"""What is wrong with each component that is known, as far as a release may be blamed for it."""

NOT_ATTRIBUTABLE: Final = frozenset(
    {
        ConditionCode.PORT_BUSY,
        ConditionCode.PORT_REFUSED,
        ConditionCode.NOT_ATTACHED,
        ConditionCode.UNKNOWN_DEVICE,
        ConditionCode.PAPER_END,
        ConditionCode.PAPER_NEAR_END,
        ConditionCode.COVER_OPEN,
        ConditionCode.CUTTER_ERROR,
        ConditionCode.HEAD_HOT,
        ConditionCode.DRAWER_OPEN,
        ConditionCode.CERTIFICATE_EXPIRED,
        ConditionCode.CERTIFICATE_EXPIRING,
        ConditionCode.CPU_HOT,
        ConditionCode.CLOCK_WRONG,
        ConditionCode.REPLY_FAILURE,
        ConditionCode.CAPTIVE_PORTAL,
        ConditionCode.PAPER_JAM,
        ConditionCode.SIM_ABSENT,
        ConditionCode.SIM_LOCKED,
        ConditionCode.SIM_FAILURE,
        ConditionCode.REGISTRATION_DENIED,
        ConditionCode.SIGNAL_WEAK,
        ConditionCode.SECURITY_FAILURE,
        ConditionCode.HOST_UNREACHABLE,
        ConditionCode.CARD_LEFT,
        ConditionCode.SUPPLY_LOW,
        ConditionCode.ON_BATTERY,
        ConditionCode.BATTERY_LOW,
        ConditionCode.BATTERY_BAD,
    }
)
"""What people, paper and time do."""


def tells(readings: Iterable[Reading], product: str, facts: Mapping[str, str | None]) -> bool:
    """Say whether readings tell of a product that is well with all these facts."""
    component = f"{Kind.APPLICATION}:{product}"
    return any(
        reading.component == component
        and reading.health is Health.OK
        and all(value is not None and reading.facts.get(name) == value for name, value in facts.items())
        for reading in readings
    )


def conditions(readings: Iterable[Reading]) -> Conditions:
    """Gather what is wrong; products are looked at by `tells`, and the clock is nobody's fault."""
    return {
        reading.component: tuple(
            sorted(condition.code for condition in reading.conditions if condition.code not in NOT_ATTRIBUTABLE)
        )
        for reading in readings
        if reading.component != MACHINE_CLOCK and not reading.component.startswith(f"{Kind.APPLICATION}:")
    }


def worse(before: Conditions, after: Conditions) -> str | None:
    """Say what is worse than before; None where nothing is."""
    for component, codes in sorted(before.items()):
        if component not in after:
            return f"{component} was not looked at since"
        if brought := [code for code in after[component] if code not in codes]:
            return f"{component}: {', '.join(brought)}"
    return None
