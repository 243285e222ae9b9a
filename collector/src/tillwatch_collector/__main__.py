"""`tillwatch-collector`: the commands, and how errors end them."""

import sys
from collections.abc import Sequence

import typer

from tillwatch_collector.cli import inventory, serving, tickets, tokens
from tillwatch_collector.cli.output import warn
from tillwatch_collector.errors import CollectorError, OperatorError

commands = typer.Typer(
    help="The tillwatch collector: takes in what terminals say, judges it, and keeps the tickets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (serving.serve, serving.migrate, serving.ingest, serving.tick, serving.web):
    commands.command()(command)
commands.add_typer(tokens.commands, name="token")
commands.add_typer(inventory.commands, name="inventory")
commands.add_typer(tickets.commands, name="ticket")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 1 cannot be done, 2 the installation or the command line must change."""
    try:
        commands(args=list(arguments) if arguments is not None else None, prog_name="tillwatch-collector")
    except OperatorError as error:
        warn(f"error: {error}")
        return 2
    except CollectorError as error:
        warn(f"error: {error}")
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0


if __name__ == "__main__":
    sys.exit(main())
