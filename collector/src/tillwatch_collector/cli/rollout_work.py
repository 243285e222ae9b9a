"""Rollouts, worked on: a draft, its steps, whom to try again, a clone. Each names who does it and why, for the journal.

What a step leads to, the collector that ticks finds out at its next look, some seconds later.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tillwatch_collector import config as settings_of
from tillwatch_collector import plans
from tillwatch_collector.cli.options import ByOption, ConfigOption, JsonOption, ReasonOption, author, opened
from tillwatch_collector.cli.output import say, say_json
from tillwatch_collector.domain.rollout import Cloned, RolloutEvent
from tillwatch_collector.releases import Shelf
from tillwatch_collector.rollout_desk import Asked, RolloutDesk
from tillwatch_collector.store.queries import Queries

TargetArgument = Annotated[str, typer.Argument(help="The release, as `release list` shows it: till/till-2.1.0.tar.gz.")]
RolloutArgument = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Its id, as `rollout list` shows it.")]
PlanOption = Annotated[
    Path, typer.Option("--plan", help="How it goes out, a TOML or JSON file; `rollout example` writes one.")
]
SelectOption = Annotated[
    str,
    typer.Option("--select", metavar="QUERY", help="Whom it is for: 'merchant=markt region=berlin till<2.1', or all."),
]
NameOption = Annotated[str, typer.Option("--name", help="For people; by default product and version.")]


def create(
    target: TargetArgument,
    *,
    plan: PlanOption,
    select: SelectOption,
    reason: ReasonOption,
    name: NameOption = "",
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a draft, with its selection frozen. Nothing happens before it is started.

    Example: `rollout create till/till-2.1.0.tar.gz --plan nights.toml --select 'region=berlin till<2.1' --reason "new
    receipts, ticket 12"`.
    """
    asked = Asked(target=target, query=select, reason=reason, settings=plans.read(plan), name=name)
    with desk_of(config) as desk:
        _say_after(desk, desk.create(asked, author(by)), as_json=as_json)


def retry(
    rollout: RolloutArgument,
    *,
    terminal: Annotated[list[str], typer.Option("--terminal", help="Whom; give it again for more.")],
    reason: ReasonOption,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try terminals again, in the open wave, that failed, refused or rolled back: all of them, or none."""
    with desk_of(config) as desk:
        desk.retry(rollout, terminal, author(by), reason=reason)
        _say_after(desk, rollout, as_json=as_json)


def clone(
    rollout: RolloutArgument,
    *,
    whom: Annotated[Cloned, typer.Option("--whom", help="all; left: all not updated; failed: those that were tried.")],
    reason: ReasonOption,
    plan: Annotated[Path | None, typer.Option("--plan", help="How it goes out; by default as before.")] = None,
    by: ByOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draft the same release anew, with the terminals' facts as they are by now."""
    settings = None if plan is None else plans.read(plan)
    with desk_of(config) as desk:
        made = desk.clone(rollout, whom, author(by), reason=reason, settings=settings)
        _say_after(desk, made, as_json=as_json)


def _step(event: RolloutEvent, does: str) -> Callable[..., None]:
    """Make the command that takes one step of a rollout's table."""

    def step(
        rollout: RolloutArgument,
        *,
        reason: ReasonOption,
        by: ByOption = None,
        config: ConfigOption = None,
        as_json: JsonOption = False,
    ) -> None:
        with desk_of(config) as desk:
            desk.act(rollout, event, author(by), reason=reason)
            _say_after(desk, rollout, as_json=as_json)

    step.__name__, step.__doc__ = str(event), does
    return step


COMMANDS: tuple[Callable[..., None], ...] = (
    create,
    _step(RolloutEvent.START, "Let a draft go: to whoever must approve it, or at once."),
    _step(RolloutEvent.APPROVE, "Let a rollout run that waits for somebody else than its author."),
    _step(RolloutEvent.REFUSE, "End a rollout that waits for approval; a clone of it is another plan."),
    _step(RolloutEvent.PAUSE, "Offer nothing more and let nothing more switch; what is switching finishes."),
    _step(RolloutEvent.RESUME, "Let a paused rollout go on."),
    _step(RolloutEvent.ANSWER, "Answer for the evidence that the gate of the open wave lacks: it goes on without it."),
    _step(RolloutEvent.ABORT, "End a rollout: what is not switching is withdrawn, what is finishes or rolls back."),
    retry,
    clone,
)


@contextmanager
def desk_of(path: Path | None) -> Iterator[RolloutDesk]:
    """Open the database and the releases of the settings."""
    folder = settings_of.load(path).releases.folder
    with opened(path) as store:
        yield RolloutDesk(store=store, shelf=None if folder is None else Shelf(folder))


def _say_after(desk: RolloutDesk, rollout_id: str, *, as_json: bool) -> None:
    with desk.store.reading() as connection:
        shown = Queries(connection).rollout(rollout_id)
    if as_json or shown is None:
        say_json(shown)
        return
    left_out = f", {shown.left_out} left out" if shown.left_out else ""
    say(f"rollout {rollout_id}: {shown.state}, {shown.terminals} terminals in {shown.waves} waves{left_out}")
