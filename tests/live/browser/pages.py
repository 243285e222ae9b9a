"""Every page and part of the console with something on it, by its route; and the scene that is on them."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.live.browser.served import Served
from tests.live.stack import until

from tillwatch_simulator.faults import PIN_PAD, PRINTER

WHOLE: Final = {
    "/": "/",
    "/stores/{store_id}": "/stores/bund",
    "/merchants/{merchant_id}": "/merchants/noodle-house",
    "/regions": "/regions",
    "/terminals/{terminal_id}": "/terminals/{failing}",
    "/terminals/{terminal_id}/plots": "/terminals/{failing}/plots",
    "/terminals/{terminal_id}/timeline": "/terminals/{failing}/timeline",
    "/tickets": "/tickets",
    "/tickets/{ticket_id}": "/tickets/{ticket_id}",
    "/tickets/{ticket_id}/order": "/tickets/{ticket_id}/order",
    "/tickets/{ticket_id}/merge": "/tickets/{ticket_id}/merge?into={other_id}",
    "/tickets/{ticket_id}/parent": "/tickets/{ticket_id}/parent?parent_id={other_id}",
    "/report": "/report?terminal_id={failing}",
    "/rollouts": "/rollouts",
    "/rollouts/new": "/rollouts/new",
    "/rollouts/{rollout_id}": "/rollouts/{rollout_id}",
    "/rollouts/{rollout_id}/jobs": "/rollouts/{rollout_id}/jobs",
    "/rollouts/{rollout_id}/journal": "/rollouts/{rollout_id}/journal",
    "/rollouts/{rollout_id}/left-out": "/rollouts/{rollout_id}/left-out",
    "/admin/people": "/admin/people",
    "/admin/people/{person_id}": "/admin/people/admin",
    "/admin/tokens": "/admin/tokens",
    "/admin/inventory": "/admin/inventory",
    "/admin/inventory/import": "/admin/inventory/import",
    "/admin/inventory/{what}": "/admin/inventory/merchants",
    "/admin/inventory/{what}/new": "/admin/inventory/stores/new",
    "/admin/inventory/{what}/{name}": "/admin/inventory/terminals/{failing}",
    "/admin/policy": "/admin/policy",
    "/admin/quarantine": "/admin/quarantine",
    "/admin/audit": "/admin/audit",
    "/account": "/account",
}
"""Pages that one opens, by route: the address with names of the scene in it."""

FOR_NOBODY: Final = {"/signin": "/signin", "/welcome/{key}": "{invitation}"}
"""Pages that one sees before signing in."""

PARTS: Final = {
    "/live/fleet": "/live/fleet",
    "/live/picture": "/live/picture",
    "/live/terminals": "/live/terminals",
    "/terminals/{terminal_id}/live": "/terminals/{failing}/live",
    "/terminals/{terminal_id}/plots": "/terminals/{failing}/plots",
    "/terminals/{terminal_id}/timeline": "/terminals/{failing}/timeline",
    "/terminals/{terminal_id}/commands": "/terminals/{failing}/commands",
    "/stores/{store_id}/live": "/stores/bund/live",
    "/report/meets": "/report/meets?terminal_id={failing}",
    "/rollouts/rows": "/rollouts/rows",
    "/tickets/rows": "/tickets/rows",
    "/tickets/{ticket_id}/live": "/tickets/{ticket_id}/live",
    "/rollouts/{rollout_id}/live": "/rollouts/{rollout_id}/live",
}
"""What pages ask for again and again; some are pages, too, for whoever has no script."""

FILES: Final = {
    "/terminals.csv",
    "/tickets.csv",
    "/static/{name}",
    "/tickets/{ticket_id}/attachments/{attachment_id}",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What is shown: terminals in trouble, and what came of it."""

    failing: str
    """Its printer's cover is open."""
    silent: str
    """Its power is cut."""
    ticket_id: int
    other_id: int
    """A ticket of another one's."""
    rollout_id: str
    invitation: str
    """The path of a one-time link."""

    def fill(self, address: str) -> str:
        """Put the scene's names into an address."""
        return address.format(**{one.name: getattr(self, one.name) for one in fields(self)})


def set_up(served: Served, invitation: str) -> Scene:
    """Let some trouble begin, which lasts; report one by hand; mute a store; draft a rollout."""
    failing, silent, mute = served.terminals[0], served.terminals[2], served.terminals[1]
    served.begin(failing, "cover_open", PRINTER)
    served.begin(mute, "no_response", PIN_PAD)
    served.kill(silent)
    ticket_id = served.ticket(failing, "cover_open")["ticket_id"]
    other_id = served.ticket(mute, "no_response")["ticket_id"]
    served.ticket(silent, "silent")
    comment: dict[str, Any] = {"text": "The shop says that the cover does not close."}
    served.collector.post(f"/api/v1/tickets/{ticket_id}/comments", comment)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    works = {"scope_kind": "store", "scope_id": "canton", "reason": "a new line", "ends_at": tomorrow}
    served.collector.post("/api/v1/maintenance", works)
    rollout_id = served.roll_out()
    until(lambda: served.collector.get(f"/api/v1/rollouts/{rollout_id}"), "the rollout")
    return Scene(
        failing=failing,
        silent=silent,
        ticket_id=ticket_id,
        other_id=other_id,
        rollout_id=rollout_id,
        invitation=invitation,
    )
