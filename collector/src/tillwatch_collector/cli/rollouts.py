"""Rollouts, read: what one would do, the list, one with its waves, its terminals, its journal, and how it goes on.

What moves a rollout is in `rollout_work`.
"""

import json
import sys
import threading
from collections.abc import Iterator
from shutil import get_terminal_size
from typing import Annotated, Any

import typer

from tillwatch_collector import plans
from tillwatch_collector.cli import rollout_bars, rollout_work
from tillwatch_collector.cli.options import ConfigOption, JsonOption, LimitOption, SearchOption, now, opened
from tillwatch_collector.cli.output import say, say_json, say_models, say_table, warn
from tillwatch_collector.cli.rollout_work import (
    NameOption,
    PlanOption,
    RolloutArgument,
    SelectOption,
    TargetArgument,
    desk_of,
)
from tillwatch_collector.domain.granting import Wait
from tillwatch_collector.domain.rollout import ENDED, TO_COME, Outcome, RolloutState
from tillwatch_collector.domain.waves import SELECTED_MAX
from tillwatch_collector.errors import CallerError
from tillwatch_collector.rollout_desk import Asked
from tillwatch_collector.store.queries import Paging, Queries
from tillwatch_collector.store.rollout_queries import JobFilter, RolloutFilter, StepFilter
from tillwatch_collector.store.rollout_views import PlanView, RolloutDetail
from tillwatch_collector.store.rollouts import RolloutUnknown
from tillwatch_collector.store.session import Store

commands = typer.Typer(
    help="Rollouts: a release to a selection of terminals, in waves, with a gate between them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for command in rollout_work.COMMANDS:
    commands.command()(command)

_COLUMNS = ("rollout_id", "name", "state", "wave", "waves", "terminals", "updated", "bad", "author", "created_at")
_JOB_COLUMNS = ("terminal_id", "store_id", "wave", "outcome", "wait", "state", "reason", "try_no", "ended_at")
_STEP_COLUMNS = ("at", "actor", "action", "terminal_id", "from_state", "to_state", "reason")
_PLANNED_COLUMNS = ("wave", "terminal_id", "store_id", "model", "region", "opens_at_store", "time_zone", "left_out")

_UP_AND_CLEAR = "\x1b[{lines}F\x1b[J"
"""ECMA-48: cursor to the beginning of an earlier line (CPL), and nothing behind it (ED)."""

_never = threading.Event()


class RolloutEnded(CallerError):  # noqa: N818 - it names what is so
    """It is over, and not completed."""


# --- before anything happens


@commands.command()
def example() -> None:
    """Write a plan with a word on each of its settings: `rollout example > plan.toml`."""
    say(plans.example().rstrip())


@commands.command()
def plan(
    target: TargetArgument,
    *,
    plan: PlanOption,
    select: SelectOption,
    reason: Annotated[str, typer.Option("--reason", help="Why they.")] = "a look",
    name: NameOption = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=SELECTED_MAX, help="Terminals to show.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who would be updated, when in store time, in which wave, and who would not, and why. Nothing is kept.

    `create` with the same words makes this plan. Example: `rollout plan till/till-2.1.0.tar.gz --plan nights.toml
    --select 'region=berlin till<2.1'`.
    """
    asked = Asked(target=target, query=select, reason=reason, settings=plans.read(plan), name=name)
    with desk_of(config) as desk:
        found = desk.plan(asked, now(), Paging(limit=limit))
    if as_json:
        say_json(found)
        return
    _say_plan(found)


# --- how far it is


@commands.command("list")
def list_rollouts(
    *,
    q: SearchOption = None,
    ended_too: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    state: Annotated[RolloutState | None, typer.Option("--state")] = None,
    product: Annotated[str | None, typer.Option("--product")] = None,
    sort: Annotated[str, typer.Option("--sort", help="A column; after a minus, the greatest first.")] = "-created_at",
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List rollouts that are not over, the latest first."""
    anything = ended_too or state is not None
    chosen = RolloutFilter(q=q, state=state, product=product, open=None if anything else True)
    with opened(config) as store, store.reading() as connection:
        page = Queries(connection).rollouts(chosen, Paging(limit=limit, sort=sort))
    say_models(_COLUMNS, page.items, as_json=as_json, total=page.total)


@commands.command()
def show(rollout: RolloutArgument, *, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show a rollout: its plan, its waves, the gate's last word, who was left out, what may be done with it."""
    with opened(config) as store, store.reading() as connection:
        queries = Queries(connection)
        found = _found(queries, rollout)
        left_out = queries.left_out(rollout, Paging(limit=SELECTED_MAX)).items
    if as_json:
        say_json({**found.model_dump(), "who_is_left_out": left_out})
        return
    _say_rollout(found)
    if left_out:
        say("")
        say_models(("terminal_id", "reason"), left_out, as_json=False)
    say("")
    say(_indented(found.settings))


@commands.command()
def jobs(
    rollout: RolloutArgument,
    *,
    wave: Annotated[int | None, typer.Option("--wave", min=1)] = None,
    outcome: Annotated[Outcome | None, typer.Option("--outcome", help="What came of it.")] = None,
    wait: Annotated[Wait | None, typer.Option("--wait", help="Why nothing is done for it.")] = None,
    store_id: Annotated[str | None, typer.Option("--store")] = None,
    terminal: Annotated[str | None, typer.Option("--terminal")] = None,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a rollout's terminals: what came of each, what it waits for, what its agent says."""
    chosen = JobFilter(wave=wave, outcome=outcome, wait=wait, store_id=store_id, terminal_id=terminal)
    with opened(config) as store, store.reading() as connection:
        _found(Queries(connection), rollout)
        page = Queries(connection).jobs(rollout, chosen, Paging(limit=limit))
    say_models(_JOB_COLUMNS, page.items, as_json=as_json, total=page.total)


@commands.command()
def journal(
    rollout: RolloutArgument,
    *,
    jobs_too: Annotated[bool, typer.Option("--jobs", help="The steps of its terminals, too.")] = False,
    terminal: Annotated[str | None, typer.Option("--terminal", help="Only the steps of this one.")] = None,
    limit: LimitOption = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what happened to a rollout, the last first: who did it, and why; in JSON with the numbers, too."""
    chosen = StepFilter(terminal_id=terminal, of_jobs=None if jobs_too or terminal else False)
    with opened(config) as store, store.reading() as connection:
        _found(Queries(connection), rollout)
        page = Queries(connection).rollout_journal(rollout, chosen, Paging(limit=limit, sort="-journal_id"))
    say_models(_STEP_COLUMNS, page.items, as_json=as_json, total=page.total)


@commands.command()
def watch(
    rollout: RolloutArgument,
    *,
    every_s: Annotated[float, typer.Option("--every-s", min=0.2, max=3600, help="How often to look.")] = 2.0,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a change, for scripts.")] = False,
) -> None:
    """Follow a rollout until it is over: a bar for each wave, drawn anew in its place; elsewhere a block a change.

    Exit code 0 when it completed, 1 when it was halted or aborted.
    """
    drawn = 0
    last: RolloutDetail | None = None
    with opened(config) as store:
        if not as_json:
            say(rollout_bars.LEGEND)
        for shown in _changes(store, rollout, every_s):
            drawn = _say_change(shown, drawn, as_json=as_json)
            last = shown
    if last is not None and last.state != RolloutState.COMPLETED:
        raise RolloutEnded(f"expected rollout {rollout} to complete, got one that is {last.state}")


def _changes(store: Store, rollout_id: str, every_s: float) -> Iterator[RolloutDetail]:
    """Look until nothing more comes, and hand on what changed."""
    before: RolloutDetail | None = None
    while before is None or not _over(before):
        if before is not None:
            _never.wait(every_s)
        with store.reading() as connection:
            shown = _found(Queries(connection), rollout_id)
        if shown != before:
            yield shown
        before = shown


def _over(shown: RolloutDetail) -> bool:
    to_come = sum(wave.outcomes.get(outcome, 0) for wave in shown.progress for outcome in TO_COME)
    return shown.state in ENDED and not to_come


def _say_change(shown: RolloutDetail, drawn: int, *, as_json: bool) -> int:
    """Write what is shown, on a screen in the place of the `drawn` lines before; returns how many lines it takes."""
    if as_json:
        say(json.dumps({"at": now().isoformat(), **_told(shown)}, ensure_ascii=False))
        return 0
    lines = rollout_bars.lines(shown)
    if not sys.stdout.isatty():
        lines = [f"{now():%Y-%m-%d %H:%M:%S} UTC", *lines]
    else:
        # A line that the screen breaks is two, and would not be found again.
        lines = [line[: get_terminal_size().columns - 1] for line in lines]
        typer.echo(_UP_AND_CLEAR.format(lines=drawn) if drawn else "", nl=False)
    for line in lines:
        say(line)
    return len(lines)


def _told(shown: RolloutDetail) -> dict[str, Any]:
    told = ("rollout_id", "state", "wave", "waves", "terminals", "updated", "bad", "ticket_id", "progress", "verdict")
    return shown.model_dump(mode="json", include=set(told))


def _found(queries: Queries, rollout_id: str) -> RolloutDetail:
    found = queries.rollout(rollout_id)
    if found is None:
        raise RolloutUnknown(f"there is no rollout {rollout_id}")
    return found


def _say_rollout(found: RolloutDetail) -> None:
    for line in (*rollout_bars.lines(found), rollout_bars.LEGEND, ""):
        say(line)
    # In lines of their own, since a cell would cut them.
    for name in ("query", "reason", "digest"):
        say(f"{name}: {getattr(found, name)}")
    say("")
    fields = found.model_dump(exclude={"settings", "progress", "verdict", "name", "query", "reason", "digest"})
    fields |= {"actions": ", ".join(found.actions), "answered": ", ".join(map(str, found.answered)) or None}
    say_table(("field", "value"), ((name, value) for name, value in fields.items() if value is not None))


def _indented(settings: str) -> str:
    """Lay a plan out for reading; one that is no JSON stays as it is."""
    try:
        return json.dumps(json.loads(settings), ensure_ascii=False, indent=2)
    except ValueError:
        return settings


def _say_plan(found: PlanView) -> None:
    say(f"{found.target} ({found.version}) to {found.terminals} terminals in {len(found.waves)} waves")
    say("")
    say_models(("wave", "terminals", "stores", "controls", "opens_at"), found.waves, as_json=False)
    if found.left_out:
        say("")
        say_table(("left out because", "terminals"), found.left_out.items())
    say("")
    say_models(_PLANNED_COLUMNS, found.planned.items, as_json=False, total=found.planned.total)
    warn("times are the earliest: a wave waits for the gate of the one before. Nothing of this is kept: see `create`")
