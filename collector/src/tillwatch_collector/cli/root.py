"""All commands under one name, and how errors end them."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from tillwatch_collector.cli import (
    audit,
    backup,
    commanding,
    inventory,
    maintenance,
    notify,
    outages,
    people,
    pki,
    releases,
    rollouts,
    serving,
    tickets,
    tokens,
)
from tillwatch_collector.cli.output import say, warn
from tillwatch_collector.errors import CollectorError, OperatorError

_DISTRIBUTION = "tillwatch-collector"

commands = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
for command in (serving.serve, serving.migrate, serving.ingest, serving.tick, serving.web):
    commands.command()(command)
commands.command()(backup.backup)
commands.command()(backup.restore)
commands.command()(commanding.command)
commands.add_typer(pki.commands, name="pki")
commands.add_typer(people.commands, name="person")
commands.add_typer(tokens.commands, name="token")
commands.add_typer(inventory.commands, name="inventory")
commands.add_typer(tickets.commands, name="ticket")
commands.add_typer(outages.commands, name="outage")
commands.add_typer(maintenance.commands, name="maintenance")
commands.add_typer(notify.commands, name="notify")
commands.add_typer(releases.commands, name="release")
commands.add_typer(rollouts.commands, name="rollout")
commands.add_typer(audit.commands, name="audit")


def _say_version(wanted: bool) -> None:  # noqa: FBT001 - typer hands a flag over by position
    if wanted:
        say(f"{_DISTRIBUTION} {version(_DISTRIBUTION)}")
        raise typer.Exit


@commands.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take in what terminals say, judge it, and keep the tickets.

    Exit codes: 0 done; 1 it cannot be done, or rows were refused; 2 the installation or the command line must change.
    """


def run(arguments: Sequence[str] | None) -> int:
    """Run a command; the exit code."""
    try:
        commands(args=list(arguments) if arguments is not None else None, prog_name=_DISTRIBUTION)
    except OperatorError as error:
        warn(f"error: {error}")
        return 2
    except CollectorError as error:
        warn(f"error: {error}")
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0
