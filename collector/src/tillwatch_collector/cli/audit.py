"""The audit log: list it, and verify that nobody altered it."""

from typing import Annotated

import typer

from tillwatch_collector.cli.options import ConfigOption, JsonOption, LimitOption, SearchOption, opened
from tillwatch_collector.cli.output import say, say_json, say_table, warn
from tillwatch_collector.errors import CallerError
from tillwatch_collector.store.audit import Anchor, Audit, AuditFilter, Misfit, Unfit

commands = typer.Typer(help="Who did what.", no_args_is_help=True, rich_markup_mode=None)

_SAID = {
    Unfit.ALTERED: "its digest is not its content's: it was altered",
    Unfit.PREVIOUS: "it does not follow on the line before: that one, or this one, was put there",
    Unfit.MISSING: "lines before it are gone",
    Unfit.BEGINNING: "the log does not begin where upkeep cut it: lines before it are gone",
    Unfit.CUT_OFF: "the log ends before it, and what was noted is later: its end is gone",
    Unfit.ANCHOR: "its digest is not the one that was noted: all of it was made anew",
}


class LogUnfit(CallerError):  # noqa: N818 - it names what is so
    """The log does not fit in itself, or not to what was noted."""


@commands.command("list")
def list_lines(
    *,
    who: Annotated[str | None, typer.Option("--actor", help="Who did it, such as person:ann.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="What was done, such as sign_in.")] = None,
    q: SearchOption = None,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the latest lines."""
    chosen = AuditFilter(actor=who, action=action, q=q)
    with opened(config) as store, store.reading() as connection:
        lines = Audit(connection).lines(chosen, limit)
    if as_json:
        say_json(lines)
        return
    columns = ("no", "at", "actor", "action", "subject")
    say_table(columns, ((line.audit_no, line.at, line.actor, line.action, line.subject) for line in lines))


@commands.command()
def verify(
    *,
    noted: Annotated[
        str | None, typer.Option("--noted", metavar="NO:DIGEST", help="What an earlier verification said.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold every line against its digest and the one before.

    It says the last line's number and digest: note them where whoever has this database has no hand. Held against them
    later, a log that lost its end, or was made anew, is found out, too.
    """
    anchor = None if noted is None else _anchor(noted)
    with opened(config) as store, store.reading() as connection:
        verified = Audit(connection).verify(anchor)
    if as_json:
        say_json(verified)
    if verified.misfit is not None:
        raise LogUnfit(_said(verified.misfit))
    if as_json:
        return
    say(f"{verified.lines} lines fit")
    if verified.last is not None:
        say(str(verified.last))
        warn("note this elsewhere, and hold the log against it next time: --noted")


def _anchor(text: str) -> Anchor:
    number, _, digest = text.strip().partition(":")
    try:
        return Anchor(audit_no=int(number), digest=digest)
    except ValueError:
        raise typer.BadParameter(f"expected NO:DIGEST, got {text!r}", param_hint="--noted") from None


def _said(misfit: Misfit) -> str:
    return f"line {misfit.audit_no}: {_SAID[misfit.why]}"
