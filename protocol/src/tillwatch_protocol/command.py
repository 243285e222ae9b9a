"""Typed commands from a closed list: what a collector may ask an agent to do. There is no shell.

A change violates this when a command carries something that the terminal executes.
"""

from enum import StrEnum

from tillwatch_protocol.vocabulary import PROTOCOL_VERSION, Frozen, Identifier, LifetimeS, TerminalId


class CommandKind(StrEnum):
    """The closed list."""

    REPORT = "report"
    """Send a heartbeat now."""
    REPROBE = "reprobe"
    """Forget what was learned of the devices' capabilities and ask them again."""


class Command(Frozen):
    """`dn/commands`: done at most once per `command_id`, and not after `lifetime_s` from its arrival."""

    v: int = PROTOCOL_VERSION
    terminal_id: TerminalId
    command_id: Identifier
    kind: CommandKind
    lifetime_s: LifetimeS
