"""What a collector notes of itself when its database was put back from a backup.

Agents tell a restored collector of the epoch they have seen, and so it finds out by itself, but not when no process was
started between the backup and the loss: then it counts on from where it stood, and nothing looks odd. So whoever puts
a backup back says so at once, in the same transaction: the epoch rises above the backup's, all rollouts are paused,
since terminals may be further than it knows, and the one ticket for it is opened, or noted on if agents' word had
opened it already.

The audit log goes on from the backup's last line, with one that says what happened.

A change violates this when a restored database can be served without its ticket, or drives a rollout that nobody has
resumed.
"""

from dataclasses import dataclass
from datetime import datetime

from tillwatch_collector.domain.policy import Policy
from tillwatch_collector.flows import epochs, rollouts, tickets
from tillwatch_collector.flows.judge import RESTORED, RESTORED_REASON
from tillwatch_collector.flows.tickets import TicketChange, Why
from tillwatch_collector.store.repository import Repository

MACHINE = "machine:restore"


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """What came of it."""

    collector_epoch: int
    ticket: TicketChange | None
    """None where the policy wants no ticket for it."""


def note_restored(repository: Repository, policy: Policy, *, made_at: datetime, salt: int, now: datetime) -> Restored:
    """Raise the epoch, pause all rollouts, open the ticket; `salt` is random, of `process.EPOCH_SALT_BITS`."""
    epoch_then = repository.epoch()
    risen = epochs.rise_above(repository, epoch_then, salt, now)
    detail = {"backup_made_at": made_at, "epoch_then": epoch_then}
    repository.audit.record(now, actor=MACHINE, action="restored", subject="database", detail=detail)
    rollouts.pause_all(repository, RESTORED_REASON, {"backup_made_at": made_at.isoformat()}, now)
    rule = policy.rule(RESTORED.code)
    if not rule.ticket:
        return Restored(collector_epoch=risen, ticket=None)
    why = Why(
        actor=MACHINE,
        reason=f"the database was put back from a backup of {made_at:%Y-%m-%d %H:%M} UTC: what came after it is gone",
        evidence={"backup_made_at": made_at.isoformat(), "backup_epoch": epoch_then, "epoch": risen},
    )
    ticket = tickets.open_or_recur(repository, RESTORED, rule, why, now)
    return Restored(collector_epoch=risen, ticket=ticket)
