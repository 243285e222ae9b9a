"""Commands to terminals: ask for one, wait for its answer, show what a diagnosis found."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from tillwatch_collector.cli.options import ByOption, ConfigOption, JsonOption, author, opened
from tillwatch_collector.cli.output import say, say_json, say_table, warn
from tillwatch_collector.domain.command import ANSWER_S, LIFETIME_S, LIFETIME_S_MAX, State
from tillwatch_collector.errors import CollectorError
from tillwatch_collector.flows import commands
from tillwatch_collector.flows.commands import Asker
from tillwatch_collector.store.command_queries import CommandQueries
from tillwatch_collector.store.session import Store
from tillwatch_collector.store.views import CommandView
from tillwatch_protocol.command import CommandKind

LOOK_S = 0.5
"""Between two looks for the answer."""

_OPEN = frozenset({State.WAITING, State.SENT})


class CommandUndone(CollectorError):  # noqa: N818 - it names what is so
    """The terminal refused a command, or gave no answer in time."""


def command(
    terminal_id: Annotated[str, typer.Argument(metavar="TERMINAL")],
    kind: Annotated[CommandKind, typer.Argument(help="What it is asked to do.")],
    *,
    lifetime_s: Annotated[
        int, typer.Option("--lifetime", min=1, max=LIFETIME_S_MAX, help="Seconds in which it may be begun.")
    ] = LIFETIME_S,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the answer.")] = True,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a terminal to do something, and tell what came of it.

    `report`: send a heartbeat now. `reprobe`: ask its devices anew. `diagnose`: look at the network and every
    component now, and tell what was found. `restart_agent`: end the agent; its supervisor starts it again.
    """
    asker = author(by)
    with opened(config) as store:
        with store.transaction() as repository:
            asked = Asker(actor=asker.actor)
            command_id = commands.ask(repository, terminal_id, kind, asked, asker.now, lifetime_s=lifetime_s)
        found = _seen(store, terminal_id, command_id)
        if wait:
            found = _answered(store, found, time.monotonic, time.sleep)
    if as_json:
        say_json(found)
    else:
        _tell(found)
    if found.state in {State.REFUSED, State.LAPSED}:
        raise CommandUndone(f"{terminal_id}: {kind} was not done: {found.reason or 'no answer came in time'}")


def _answered(
    store: Store, asked: CommandView, monotonic_s: Callable[[], float], sleep: Callable[[float], None]
) -> CommandView:
    """Look until there is an answer, or none can come any more; the process that ticks says which."""
    give_up_s = monotonic_s() + asked.lifetime_s + ANSWER_S
    found = asked
    while found.state in _OPEN and monotonic_s() < give_up_s:
        sleep(LOOK_S)
        found = _seen(store, asked.terminal_id, asked.command_id)
    return found


def _seen(store: Store, terminal_id: str, command_id: str) -> CommandView:
    with store.reading() as connection:
        found = CommandQueries(connection).one(terminal_id, command_id)
    assert found is not None  # noqa: S101 - commands are not removed while somebody waits for them
    return found


def _tell(found: CommandView) -> None:
    say(f"{found.command_id}: {found.kind} of {found.terminal_id}: {found.state}")
    if found.state in _OPEN:
        warn("it has no answer yet: does the collector run, and is the terminal online?")
    if found.diagnosis is not None:
        _tell_diagnosis(found.diagnosis)


def _tell_diagnosis(diagnosis: dict[str, Any]) -> None:
    failing, confidence = diagnosis.get("failing"), diagnosis.get("confidence")
    if confidence is not None:
        say(f"way out: {failing or 'nothing is proved to fail'} ({confidence})")
    rows = [
        (one["name"], one["outcome"], ", ".join(one.get("codes", ())), one.get("found"), one.get("took_ms"))
        for one in diagnosis.get("findings", ())
    ]
    say_table(("name", "outcome", "codes", "found", "took_ms"), rows)
