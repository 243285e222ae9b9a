"""What people do with maintenance: plan a span, end it before its time, each with its line in the audit log.

A change violates this when something is muted, and no line says by whom.
"""

from datetime import datetime

from tillwatch_collector.domain.maintenance import Maintenance
from tillwatch_collector.store.repository import Repository


def add(repository: Repository, maintenance: Maintenance, *, actor: str, now: datetime) -> int:
    """Keep a span; returns its number. Raises `MaintenanceRefused` and `UnknownReference`."""
    added = repository.maintenance.add(maintenance, actor=actor, now=now)
    detail = maintenance.model_dump(mode="json", exclude_none=True)
    repository.audit.record(now, actor=actor, action="maintenance_added", subject=f"maintenance:{added}", detail=detail)
    return added


def cancel(repository: Repository, maintenance_id: int, *, actor: str, reason: str, now: datetime) -> None:
    """End a span; raises `MaintenanceUnknown` and `MaintenanceOver`."""
    repository.maintenance.cancel(maintenance_id, actor=actor, reason=reason, now=now)
    subject, detail = f"maintenance:{maintenance_id}", {"reason": reason}
    repository.audit.record(now, actor=actor, action="maintenance_cancelled", subject=subject, detail=detail)
