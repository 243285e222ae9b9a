"""Tickets, worked on: reports, steps, comments, files. Each command names who does it and why, for the journal."""

import mimetypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tillwatch_collector import config as settings_of
from tillwatch_collector import policies, routing
from tillwatch_collector.cli.options import ByOption, ConfigOption, JsonOption, ReasonOption, author, now, opened
from tillwatch_collector.cli.output import say, say_json
from tillwatch_collector.desk import Desk
from tillwatch_collector.domain.attachment import FILE_BYTES_MAX
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.ticket import (
    NO_COMPONENT,
    REPORTED_CODE,
    Action,
    Origin,
    PendingOn,
    RepairMode,
)
from tillwatch_collector.errors import AttachmentRefused
from tillwatch_collector.flows import notices
from tillwatch_collector.flows.changes import Move, TicketChange
from tillwatch_collector.flows.tickets import Report
from tillwatch_collector.store.queries import Queries
from tillwatch_collector.store.session import Store


def report(
    title: Annotated[str, typer.Argument(help="What is wrong, in a line.")],
    *,
    terminal: Annotated[str | None, typer.Option("--terminal", help="What it is about: this,")] = None,
    store_id: Annotated[str | None, typer.Option("--store", help="or a whole store.")] = None,
    component: Annotated[
        str, typer.Option("--component", help="Such as pos_printer:kitchen; left out: the whole, or nobody knows.")
    ] = NO_COMPONENT,
    code: Annotated[str, typer.Option("--code", help="Such as paper_end, where it is known.")] = REPORTED_CODE,
    severity: Annotated[Severity | None, typer.Option("--severity", help="By default the policy's.")] = None,
    origin: Annotated[Origin, typer.Option("--origin", help="phone or web.")] = Origin.PHONE,
    description: Annotated[str, typer.Option("--description", help="All that was said.")] = "",
    contact: Annotated[str | None, typer.Option("--contact", help="Whom to call, and when.")] = None,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report what somebody tells of a terminal or a store.

    It opens a ticket, or is noted on the open one that is about the same.
    Example: `ticket report "the till is dead" --terminal t-1 --contact "Ms Li, 021 5555 0101"`.
    """
    if (terminal is None) is (store_id is None):
        raise typer.BadParameter("expected either --terminal or --store")
    if origin is Origin.MACHINE:
        raise typer.BadParameter("expected phone or web: machines report by themselves", param_hint="--origin")
    told = Report(
        origin=origin,
        subject_kind="store" if terminal is None else "terminal",
        subject_id=terminal or store_id or "",
        component=component,
        code=code,
        severity=severity,
        title=title,
        description=description,
        contact=contact,
    )
    with _desk(config) as desk:
        change = desk.report(told, author(by))
        said = "opened" if change.move is Move.OPENED else f"is about it already: {change.title}"
        _say_after(desk.store, change, said, as_json=as_json)


def repair(
    ticket_id: int,
    *,
    mode: Annotated[RepairMode, typer.Option("--mode", help="How it is mended.")],
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin the repair."""
    with _desk(config) as desk:
        change = desk.act(ticket_id, Action.REPAIR, author(by), reason=reason, mode=mode)
        _say_after(desk.store, change, change.status, as_json=as_json)


def pend(
    ticket_id: int,
    *,
    pending_on: Annotated[PendingOn, typer.Option("--on", help="What is waited for.")],
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait for parts, the merchant or a provider: the clocks stand meanwhile."""
    with _desk(config) as desk:
        change = desk.act(ticket_id, Action.PEND, author(by), reason=reason, pending_on=pending_on)
        _say_after(desk.store, change, change.status, as_json=as_json)


def merge(
    ticket_id: int,
    *,
    into: Annotated[int, typer.Option("--into", min=1, help="The ticket as which it goes on.")],
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a ticket that is the same as another one."""
    with _desk(config) as desk:
        change = desk.merge(ticket_id, into, author(by), reason=reason)
        _say_after(desk.store, change, f"goes on as {into}", as_json=as_json)


def parent(
    ticket_id: int,
    *,
    of: Annotated[int | None, typer.Option("--of", min=1, help="What it is part of; left out: of nothing.")] = None,
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a ticket part of a larger one, or of none."""
    with _desk(config) as desk:
        change = desk.set_parent(ticket_id, of, author(by), reason=reason)
        _say_after(desk.store, change, f"part of {of}" if of else "part of nothing", as_json=as_json)


def assign(
    ticket_id: int,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="KIND:ID", help="Such as person:ann; left out: nobody.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the journal.")] = "",
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a ticket to somebody, or to nobody."""
    with _desk(config) as desk:
        change = desk.assign(ticket_id, to, author(by), reason=reason)
        _say_after(desk.store, change, f"assigned to {to or 'nobody'}", as_json=as_json)


def watch(
    ticket_id: int,
    who: Annotated[str | None, typer.Argument(metavar="[KIND:ID]", help="Such as person:ann; left out: you.")] = None,
    *,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Let somebody be told of a ticket."""
    me = author(by)
    with _desk(config) as desk:
        desk.watch(ticket_id, who or me.actor, me)
    say(f"ticket {ticket_id}: watched by {who or me.actor}")


def unwatch(
    ticket_id: int,
    who: Annotated[str | None, typer.Argument(metavar="[KIND:ID]", help="Such as person:ann; left out: you.")] = None,
    *,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Tell somebody no more of a ticket."""
    me = author(by)
    with _desk(config) as desk:
        desk.unwatch(ticket_id, who or me.actor, me)
    say(f"ticket {ticket_id}: no longer watched by {who or me.actor}")


def comment(
    ticket_id: int,
    text: str,
    *,
    internal: Annotated[bool, typer.Option("--internal", help="Not for the merchant's eyes.")] = False,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Say something on a ticket."""
    with _desk(config) as desk:
        comment_id = desk.comment(ticket_id, text, author(by), internal=internal)
    say(f"ticket {ticket_id}: comment {comment_id}")


def attach(
    ticket_id: int,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    *,
    media_type: Annotated[
        str | None, typer.Option("--media-type", help="Such as image/jpeg; by default as the file is called.")
    ] = None,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a file to a ticket: a picture, a PDF, or text in UTF-8."""
    if file.stat().st_size > FILE_BYTES_MAX:
        raise AttachmentRefused(f"{file}: expected at most {FILE_BYTES_MAX} bytes, got {file.stat().st_size}")
    kind = media_type or mimetypes.guess_type(file.name)[0] or "text/plain"
    with _desk(config) as desk:
        attachment_id = desk.attach(ticket_id, file.name, kind, file.read_bytes(), author(by))
    say(f"ticket {ticket_id}: attachment {attachment_id}")


def _step(action: Action, does: str) -> Callable[..., None]:
    """Make the command that takes one step which needs nothing but its reason."""

    def step(
        ticket_id: int,
        *,
        reason: ReasonOption,
        by: ByOption = None,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        with _desk(config) as desk:
            change = desk.act(ticket_id, action, author(by), reason=reason)
            _say_after(desk.store, change, change.status, as_json=as_json)

    step.__name__, step.__doc__ = str(action), does
    return step


COMMANDS: tuple[Callable[..., None], ...] = (
    report,
    _step(Action.DIAGNOSE, "Look for the cause."),
    repair,
    pend,
    _step(Action.RESUME, "Go on with the repair: what was waited for is there."),
    _step(Action.VERIFY, "Try whether it is mended; the terminal's own proof resolves it."),
    _step(Action.CLOSE, "Say that the work of a ticket is done."),
    _step(Action.CANCEL, "Say that there was nothing to do."),
    _step(Action.REOPEN, "Say that it is not mended, whatever the terminal says."),
    merge,
    parent,
    assign,
    watch,
    unwatch,
    comment,
    attach,
)


@contextmanager
def _desk(path: Path | None) -> Iterator[Desk]:
    used = settings_of.load(path)
    routes = routing.load(used.notify.routes_file)
    with opened(path) as store:
        yield Desk(
            store=store,
            policy=policies.load(used.judge.policy_file),
            tell=lambda repository, changes, at: notices.tell(repository, changes, routes, at),
        )


def _say_after(store: Store, change: TicketChange, said: str, *, as_json: bool) -> None:
    if not as_json:
        say(f"ticket {change.ticket_id}: {said}")
        return
    with store.reading() as connection:
        say_json(Queries(connection).ticket(change.ticket_id, now()))
