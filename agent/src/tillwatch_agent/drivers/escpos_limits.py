"""What some ESC/POS printers do not tell, or tell otherwise, as data.

Which requests a printer answers is learned by asking (`escpos.Memory`); a bit that a model leaves undefined answers all
the same, and only its manual says that it means nothing. A row is chosen by what the printer says of itself (GS I), or
by the `model` of the configuration where it says nothing.

A change violates this when a row makes a printer tell more than its manual does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tillwatch_protocol.vocabulary import ConditionCode


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """What one model cannot tell."""

    models: tuple[str, ...] = ()
    """Beginnings of the model's name; capitals and small letters are one."""
    never_told: frozenset[str] = frozenset()
    """Codes whose bits mean nothing here."""
    is_automatic_plain: bool = True
    """Its automatic status has the bits of Epson's."""


NONE: Final = Limit()

LIMITS: Final = (
    # n = 3, bit 2 is undefined (TM-T88III specification, p. 84)
    Limit(models=("TM-T88III",), never_told=frozenset({ConditionCode.RECOVERABLE_ERROR})),
    # no sensor of the cover, no connector for a drawer (PPU-231II manual, p. 13)
    Limit(models=("PPU-231",), never_told=frozenset({ConditionCode.COVER_OPEN, ConditionCode.DRAWER_OPEN})),
    # its automatic status has no online bit
    Limit(models=("ZJ-58",), is_automatic_plain=False),
    # Citizen's panel mechanisms give the four bytes another meaning (manualsdump 148738, p. 53)
    Limit(models=("PMU",), is_automatic_plain=False),
    # some bits of automatic status are left out (SRP-350, p. 8)
    Limit(models=("SRP-350",), is_automatic_plain=False),
)


def limit_of(facts: Mapping[str, str], configured: str | None) -> Limit:
    """Choose the row of a printer; a printer of no row tells all that the protocol has."""
    model = facts.get("model", configured or "").casefold()
    return next((row for row in LIMITS if model.startswith(tuple(name.casefold() for name in row.models))), NONE)
