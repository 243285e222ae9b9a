"""Commands to terminals: taken from whoever may ask, said by judge's tick, answered by events that ingest takes in.

Asking writes a row and a line of the audit log in one transaction, and sends nothing: the one process that ticks says
what waits, after its commit. A change violates this when a command leaves that nobody is on record for.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from tillwatch_collector.domain import command
from tillwatch_collector.domain.command import CommandRefused, Kept, Next, Why
from tillwatch_collector.domain.permission import EVERYWHERE, Within
from tillwatch_collector.store.repository import Repository
from tillwatch_protocol.command import Command, CommandKind

ACTION = "command"
"""What the audit log calls it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asker:
    """Who asks: `kind:id`, whether they may give commands, and which terminals they see."""

    actor: str
    may_command: bool = True
    within: Within = EVERYWHERE


def ask(
    repository: Repository,
    terminal_id: str,
    kind: CommandKind,
    by: Asker,
    now: datetime,
    *,
    lifetime_s: int = command.LIFETIME_S,
) -> str:
    """Take down a command; returns its id. Raises `CommandRefused`, and then nothing changed."""
    rows = repository.commands
    if not by.may_command:
        raise CommandRefused(Why.NOT_ALLOWED, f"{by.actor} may not give commands to terminals")
    if not rows.hold_terminal(terminal_id, by.within):
        raise CommandRefused(Why.TERMINAL_UNKNOWN, f"there is no terminal {terminal_id}")
    since = now - timedelta(seconds=command.SPAN_S)
    command.check(
        terminal_id=terminal_id, waiting=rows.waiting(terminal_id), asked_lately=rows.asked_since(by.actor, since)
    )
    command_id = f"c-{secrets.token_hex(8)}"
    rows.add(command_id, terminal_id=terminal_id, kind=kind, lifetime_s=lifetime_s, asked_by=by.actor, asked_at=now)
    detail = {"command_id": command_id, "kind": kind, "lifetime_s": lifetime_s}
    repository.audit.record(now, actor=by.actor, action=ACTION, subject=f"terminal:{terminal_id}", detail=detail)
    return command_id


def take_turn(repository: Repository, now: datetime) -> list[Command]:
    """Note what is said now and what has lapsed; returns what to say after the commit."""
    steps = [(kept, command.next_of(kept, now)) for kept in repository.commands.open()]
    said = [kept for kept, step in steps if step is Next.SAY]
    repository.commands.said([kept.command_id for kept in said], now)
    repository.commands.lapsed([kept.command_id for kept, step in steps if step is Next.LAPSE])
    return [_message(kept, now) for kept in said]


def _message(kept: Kept, now: datetime) -> Command:
    return Command(
        terminal_id=kept.terminal_id,
        command_id=kept.command_id,
        kind=CommandKind(kept.kind),
        lifetime_s=kept.left_s(now),
    )
