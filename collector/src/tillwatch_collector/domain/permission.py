"""What a person may do, and of which part of the fleet they see anything.

A role says what may be done, `Within` says of whom. Whoever is narrowed to some merchants or stores may do nothing that
reaches beyond them: no rollout, no approval, no administration.

A change violates this when a permission is asked for elsewhere than by `may`, or when one that nobody has put into the
table below is granted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """What a route asks for."""

    SEE = "see"
    WORK = "work"
    """Tickets, comments, files, reports."""
    COMMAND = "command"
    """Commands to terminals."""
    ARRANGE = "arrange"
    """Maintenance and inventory."""
    ROLL_OUT = "roll_out"
    APPROVE = "approve"
    """Let another person's rollout begin."""
    ADMINISTER = "administer"
    """People, tokens, the audit log, policy, quarantine."""


class Role(StrEnum):
    """What somebody is here."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"


_VIEWER = frozenset({Permission.SEE})
_OPERATOR = _VIEWER | {Permission.WORK, Permission.COMMAND, Permission.ARRANGE, Permission.ROLL_OUT}
_APPROVER = _OPERATOR | {Permission.APPROVE}

PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.APPROVER: _APPROVER,
    Role.ADMIN: frozenset(Permission),
}

FLEET_WIDE = frozenset({Permission.ROLL_OUT, Permission.APPROVE, Permission.ADMINISTER})
"""What reaches beyond any one merchant or store."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Within:
    """The part of the fleet that somebody sees: what stands in one of these merchants or stores; both empty: all."""

    merchant_ids: frozenset[str] = frozenset()
    store_ids: frozenset[str] = frozenset()

    @property
    def everywhere(self) -> bool:
        """Whether it is the whole fleet."""
        return not (self.merchant_ids or self.store_ids)


EVERYWHERE = Within()


def may(role: Role, within: Within, permission: Permission) -> bool:
    """Whether a role allows something to somebody with this part of the fleet."""
    return permission in PERMISSIONS[role] and (within.everywhere or permission not in FLEET_WIDE)
