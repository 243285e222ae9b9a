"""Pages of what the collector goes by and what it has written down: the policy, the quarantine, the audit log.

A policy that is pasted or uploaded here is held against the one in force, and never applied: that is for whoever has
the machine. A change violates this when a page can alter what it shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Response, UploadFile

from tillwatch_collector.console.visit import Visit, visiting
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.domain.policy import POLICY_BYTES_MAX, Policy, Rule, parse_policy
from tillwatch_collector.errors import PolicyInvalid
from tillwatch_collector.store.audit import Anchor, Audit, AuditFilter, Verified
from tillwatch_collector.store.queries import Paging
from tillwatch_protocol.vocabulary import INTEGER_MAX

router = APIRouter(include_in_schema=False, prefix="/admin")

Administering = Annotated[Visit, visiting(Permission.ADMINISTER)]
Sought = Annotated[str, Query(max_length=200)]

ROWS = 50


# --- the policy


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What another policy says otherwise of one code."""

    code: str
    """Empty: of all codes that have no rule of their own."""
    changes: tuple[tuple[str, Any, Any], ...]
    """Field, as it is, as it would be; None: there is no such rule."""


@router.get("/policy")
def show_policy(visit: Administering) -> Response:
    """Show what each condition is worth."""
    return visit.page("administration/policy.html", **_policy(visit.context.desk.policy), tried=None, wrong="")


@router.post("/policy")
def try_policy(
    visit: Administering,
    text: Annotated[str, Form(max_length=POLICY_BYTES_MAX + 1)] = "",
    file: UploadFile | None = None,
) -> Response:
    """Say what another policy would change; nothing is applied."""
    in_force = visit.context.desk.policy
    content = file.file.read(POLICY_BYTES_MAX + 1).decode("utf-8", errors="replace") if file and file.size else text
    _record(visit, "policy_tried", "policy", {"characters": len(content)})
    try:
        other = parse_policy(content)
    except PolicyInvalid as error:
        wrong = str(error)
        return visit.refuse("administration/policy.html", **_policy(in_force, content), tried=None, wrong=wrong)
    tried = differences(in_force, other)
    return visit.page("administration/policy.html", **_policy(in_force, content), tried=tried, wrong="")


def differences(before: Policy, after: Policy) -> tuple[Difference, ...]:
    """Say what two policies say otherwise, code by code."""
    codes = sorted(before.code.keys() | after.code.keys())
    rules: list[tuple[str, Rule | None, Rule | None]] = [("", before.default, after.default)]
    rules += [(code, before.code.get(code), after.code.get(code)) for code in codes]
    found = [Difference(code=code, changes=_changes(old, new)) for code, old, new in rules]
    return tuple(one for one in found if one.changes)


def _changes(old: Rule | None, new: Rule | None) -> tuple[tuple[str, Any, Any], ...]:
    one = old.model_dump(mode="json") if old else {}
    other = new.model_dump(mode="json") if new else {}
    return tuple(
        (name, one.get(name), other.get(name)) for name in Rule.model_fields if one.get(name) != other.get(name)
    )


def _policy(policy: Policy, text: str = "") -> Mapping[str, Any]:
    return {"default": policy.default, "rules": sorted(policy.code.items()), "text": text}


# --- the quarantine


@router.get("/quarantine")
def show_quarantine(
    visit: Administering,
    terminal_id: Sought = "",
    offset: Annotated[int, Query(ge=0, le=INTEGER_MAX)] = 0,
) -> Response:
    """Show messages that could not be used, the latest first."""
    with visit.reading() as queries:
        page = queries.quarantine(
            Paging(limit=ROWS, offset=offset, sort="-quarantine_id"), terminal_id=_plain(terminal_id) or None
        )
    return visit.page(
        "administration/quarantine.html",
        page=page,
        terminal_id=terminal_id,
        href=lambda start: f"/admin/quarantine?{urlencode({'terminal_id': terminal_id, 'offset': start})}",
    )


# --- the audit log


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which lines somebody wants to see."""

    actor: str = ""
    action: str = ""
    q: str = ""
    before: int | None = None

    @property
    def chosen(self) -> AuditFilter:
        """As the log is asked."""
        return AuditFilter(
            actor=_plain(self.actor) or None,
            action=_plain(self.action) or None,
            q=_plain(self.q) or None,
            before_no=self.before,
        )

    def older(self, before: int) -> str:
        """Write the address of the lines before one."""
        named = {"actor": self.actor, "action": self.action, "q": self.q}
        return "/admin/audit?" + urlencode({name: value for name, value in named.items() if value} | {"before": before})


@router.get("/audit")
def show_audit(
    visit: Administering,
    actor: Sought = "",
    action: Sought = "",
    q: Sought = "",
    before: Annotated[int | None, Query(ge=1, le=INTEGER_MAX)] = None,
) -> Response:
    """Show the latest lines of the log."""
    return _audit(visit, Asked(actor=actor, action=action, q=q, before=before))


@router.post("/audit/verify")
def verify_audit(visit: Administering, noted: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Hold every line against its digest, and the log against what was noted."""
    anchor = _anchor(noted)
    if noted.strip() and anchor is None:
        return _audit(visit, Asked(), noted=noted, noted_wrong=True)
    with visit.context.store.reading() as connection:
        verified = Audit(connection).verify(anchor)
    detail = {"lines": verified.lines, "misfit": verified.misfit.audit_no if verified.misfit else None}
    _record(visit, "audit_verified", "audit", detail)
    return _audit(visit, Asked(), noted=noted, verified=verified)


def _audit(
    visit: Visit, asked: Asked, *, noted: str = "", noted_wrong: bool = False, verified: Verified | None = None
) -> Response:
    with visit.context.store.reading() as connection:
        log = Audit(connection)
        lines = log.lines(asked.chosen, ROWS + 1)
        actions = log.actions()
    show = visit.refuse if noted_wrong else visit.page
    return show(
        "administration/audit.html",
        lines=lines[:ROWS],
        older=asked.older(lines[ROWS - 1].audit_no) if len(lines) > ROWS else None,
        actions=actions,
        asked=asked,
        noted=noted,
        noted_wrong=noted_wrong,
        verified=verified,
    )


def _anchor(noted: str) -> Anchor | None:
    """Read a number and its digest as a verification shows them."""
    number, _, digest = noted.strip().partition(":")
    if not (number.isascii() and number.isdigit() and len(number) <= len(str(INTEGER_MAX)) and digest.strip()):
        return None
    return Anchor(audit_no=int(number), digest=digest.strip())


def _record(visit: Visit, action: str, subject: str, detail: Mapping[str, Any]) -> None:
    with visit.context.store.transaction() as repository:
        repository.audit.record(visit.now, actor=visit.person.actor, action=action, subject=subject, detail=detail)


def _plain(sought: str) -> str:
    """Seek nothing that no database takes."""
    return sought.strip() if sought.isprintable() else ""
