"""What a terminal's newest heartbeat and its presence say of each condition, at one look.

Readings speak only while the terminal is online and its heartbeat fresh; a component that stands in no reading any more
has nobody to speak for it. What the collector alone can see of a terminal (`silent`, `identity_shared`, on
`agent:self`) is not taken from its readings. A change violates this when a terminal that is not heard can raise or
clear something.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from tillwatch_collector.domain.condition import Sign
from tillwatch_collector.domain.presence import Reason, State, Verdict
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import AGENT_SELF, ConditionCode

Key = tuple[str, str]
"""(component, code)."""

SILENT: Key = (AGENT_SELF, ConditionCode.SILENT)
SHARED: Key = (AGENT_SELF, ConditionCode.IDENTITY_SHARED)
OWN = frozenset({SILENT, SHARED})

_SILENT_SIGNS: dict[State, Sign] = {
    State.SILENT: Sign.ASSERTED,
    State.ONLINE: Sign.ABSENT,
    State.LATE: Sign.INDETERMINATE,
    State.UNKNOWN: Sign.INDETERMINATE,
    State.OFF: Sign.WITHDRAWN,
}


class Word(NamedTuple):
    """What is said of one condition."""

    sign: Sign
    happened_at: datetime | None = None
    """Since when it is so, on the terminal's clock."""
    detail: str | None = None


def words(
    verdict: Verdict, *, readings: Sequence[Reading] | None, fresh: bool, shared: bool, followed: Collection[Key]
) -> dict[Key, Word]:
    """Say what is known of every condition that is true or followed; `readings` None where none had to be read."""
    said = _of_components(verdict, readings, set(followed) - OWN) if fresh else _of_nobody(verdict, set(followed) - OWN)
    if verdict.state is State.SILENT or SILENT in followed:
        said[SILENT] = Word(_own_sign(_SILENT_SIGNS[verdict.state], fresh=fresh))
    if shared or SHARED in followed:
        sign = Sign.ASSERTED if shared else Sign.ABSENT if verdict.state is State.ONLINE else Sign.INDETERMINATE
        said[SHARED] = Word(_own_sign(sign, fresh=fresh))
    return said


def _own_sign(sign: Sign, *, fresh: bool) -> Sign:
    """Health is proved by heartbeats, not by other signs of life."""
    return Sign.INDETERMINATE if sign is Sign.ABSENT and not fresh else sign


def _of_nobody(verdict: Verdict, followed: Collection[Key]) -> dict[Key, Word]:
    sign = Sign.WITHDRAWN if verdict.reason is Reason.NOT_LIVE else Sign.INDETERMINATE
    return {key: Word(sign) for key in followed}


def _of_components(verdict: Verdict, readings: Sequence[Reading] | None, followed: Collection[Key]) -> dict[Key, Word]:
    if verdict.state is not State.ONLINE or readings is None:
        return _of_nobody(verdict, followed)
    by_component = {reading.component: reading for reading in readings}
    said = {
        (reading.component, condition.code): Word(Sign.ASSERTED, condition.since, condition.detail)
        for reading in readings
        for condition in reading.conditions
        if (reading.component, condition.code) not in OWN
    }
    for component, code in followed:
        if (component, code) not in said:
            said[component, code] = Word(_denied(by_component.get(component), code))
    return said


def _denied(reading: Reading | None, code: str) -> Sign:
    if reading is None:
        return Sign.WITHDRAWN
    return Sign.ABSENT if reading.judges(code) else Sign.INDETERMINATE
