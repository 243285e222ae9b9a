"""What every simulated device shares: which faults are set, and what they make of its cable and its pace.

Each device names its own faults; `slow` and `unplugged` are among them and mean the same everywhere. A device that says
something unasked when a fault begins or ends says it in `_change`.
"""

from enum import StrEnum
from typing import Generic, TypeVar

from tillwatch_simulator.errors import FaultUnknown

F = TypeVar("F", bound=StrEnum)


class Faulty(Generic[F]):
    """A device with its faults."""

    def __init__(self, known: type[F], *, slow_answer_s: float) -> None:
        """Have none of `known`; an answer that is slow is later than its host waits, so that it meets the next one."""
        self._known = known
        self._slow_answer_s = slow_answer_s
        self._faults: frozenset[F] = frozenset()

    @property
    def faults(self) -> frozenset[str]:
        """The faults that are set now."""
        return frozenset(str(fault) for fault in self._faults)

    @property
    def unplugged(self) -> bool:
        """Whether its cable is pulled."""
        return "unplugged" in self._faults

    @property
    def answer_delay_s(self) -> float:
        """How long an answer takes beyond the device's own time."""
        return self._slow_answer_s if "slow" in self._faults else 0.0

    def set(self, fault: str) -> bytes:
        """Let a fault begin; returns what the device says of it unasked. Raises `FaultUnknown`."""
        return self._change(self._faults | {self._fault(fault)})

    def clear(self, fault: str) -> bytes:
        """Let a fault end; returns what the device says of it unasked. Raises `FaultUnknown`."""
        return self._change(self._faults - {self._fault(fault)})

    def _change(self, faults: frozenset[F]) -> bytes:
        self._faults = faults
        return b""

    def _fault(self, name: str) -> F:
        try:
            return self._known(name)
        except ValueError:
            raise FaultUnknown(f"expected one of {', '.join(self._known)}; got {name!r}") from None
