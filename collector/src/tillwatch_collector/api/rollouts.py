"""Routes of rollouts: what one would do before it does anything, what people decide about it, and how far it is.

Each step answers with the rollout as it is then; a step that its state does not take is a conflict, and the answer
names those that it does. What it does next, the collector finds out at its next look, some seconds later.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tillwatch_collector.api.actor import By
from tillwatch_collector.api.context import Context, Reading, WebContext
from tillwatch_collector.api.narrowing import WHOLE_FLEET_TO_CHANGE
from tillwatch_collector.api.paging import PageQuery, QueryText, paging
from tillwatch_collector.api.problems import FieldError, Problem, missing
from tillwatch_collector.domain.choosing import QUERY_CHARS_MAX
from tillwatch_collector.domain.granting import Wait
from tillwatch_collector.domain.rollout import (
    WAVES_MAX,
    Cloned,
    Outcome,
    RolloutEvent,
    RolloutEventIllegal,
    RolloutSettings,
    RolloutState,
)
from tillwatch_collector.flows.rollouts import NAME_CHARS_MAX, REASON_CHARS_MAX
from tillwatch_collector.rollout_desk import Asked, RolloutDesk
from tillwatch_collector.store.queries import PAGE_ROWS_MAX, Paging, Queries
from tillwatch_collector.store.rollout_queries import JobFilter, RolloutFilter, StepFilter
from tillwatch_collector.store.rollout_views import (
    JobView,
    LeftOutView,
    PlanView,
    RolloutDetail,
    RolloutJournalView,
    RolloutView,
)
from tillwatch_collector.store.views import Page
from tillwatch_protocol.job import JobState
from tillwatch_protocol.release import TargetPath
from tillwatch_protocol.vocabulary import TerminalId

router = APIRouter(prefix="/api/v1/rollouts", tags=["rollouts"], dependencies=[WHOLE_FLEET_TO_CHANGE])

RETRIED_MAX = 500
"""Terminals of one request; more are a clone."""

RolloutId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=REASON_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$"),
]
"""Why; it stands in the journal."""
Step = Literal[
    RolloutEvent.START,
    RolloutEvent.APPROVE,
    RolloutEvent.REFUSE,
    RolloutEvent.PAUSE,
    RolloutEvent.RESUME,
    RolloutEvent.ANSWER,
    RolloutEvent.ABORT,
]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RolloutBody(_Body):
    """A release, whom it is for, why, and how it goes out."""

    target: TargetPath
    """The release's path, as the list of releases has it."""
    select: Annotated[str, Field(min_length=1, max_length=QUERY_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")]
    """Whom it is for: `merchant=markt region=berlin,hamburg till<2.1`, or `all`."""
    reason: Reason
    name: Annotated[str, Field(max_length=NAME_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    """For people; by default product and version."""
    settings: RolloutSettings

    def asked(self) -> Asked:
        """Return it as the desk takes it."""
        return Asked(
            target=self.target,
            query=self.select,
            reason=self.reason,
            settings=self.settings.model_dump_json(exclude_none=True),
            name=self.name,
        )


class ReasonBody(_Body):
    """Why it is done."""

    reason: Reason


class RetryBody(ReasonBody):
    """Whom to try again."""

    terminals: Annotated[tuple[TerminalId, ...], Field(min_length=1, max_length=RETRIED_MAX)]


class CloneBody(ReasonBody):
    """Whom the clone is for."""

    whom: Cloned
    settings: RolloutSettings | None = None
    """How it goes out; left out: as before."""


class _PartQuery(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=PAGE_ROWS_MAX)] = 50
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0


class _RolloutsQuery(PageQuery):
    state: RolloutState | None = None
    open: bool | None = None
    """Neither halted nor completed nor aborted."""
    target: QueryText | None = None
    product: QueryText | None = None
    q: QueryText | None = None
    """In name, target, query or reason."""


class _JobsQuery(PageQuery):
    terminal_id: QueryText | None = None
    store_id: QueryText | None = None
    wave: Annotated[int, Field(ge=1, le=WAVES_MAX)] | None = None
    outcome: Outcome | None = None
    state: JobState | None = None
    wait: Wait | None = None


class _JournalQuery(PageQuery):
    action: QueryText | None = None
    terminal_id: QueryText | None = None
    of_jobs: bool | None = None
    """Steps of its jobs; or its own."""


# --- before anything happens


@router.post("/plan")
def plan_rollout(context: Context, body: RolloutBody, asked: Annotated[_PartQuery, Query()]) -> PlanView:
    """Show who would be updated, when, in which wave, and who would not, and why; nothing is kept."""
    return _desk(context).plan(body.asked(), context.now(), Paging(limit=asked.limit, offset=asked.offset))


@router.post("", status_code=HTTPStatus.CREATED)
def create_rollout(context: Context, by: By, body: RolloutBody, response: Response) -> RolloutDetail:
    """Keep a draft: the selection is frozen, and nothing happens before it is started."""
    return _created(context, _desk(context).create(body.asked(), by), response)


# --- how far it is


@router.get("")
def list_rollouts(reading: Reading, asked: Annotated[_RolloutsQuery, Query()]) -> Page[RolloutView]:
    """List rollouts; `open=true` those that are not over, `sort=-created_at` the latest first."""
    chosen = RolloutFilter(**asked.model_dump(exclude={"limit", "offset", "sort"}))
    return reading.rollouts(chosen, paging(asked))


@router.get("/{rollout_id}")
def get_rollout(reading: Reading, rollout_id: RolloutId) -> RolloutDetail:
    """Show a rollout with its plan, the gate's last word, and how far each wave is."""
    return _found(reading, rollout_id)


@router.get("/{rollout_id}/jobs")
def list_jobs(reading: Reading, rollout_id: RolloutId, asked: Annotated[_JobsQuery, Query()]) -> Page[JobView]:
    """List the terminals of a rollout: what came of each, what it waits for, and what its agent says."""
    _expect(reading, rollout_id)
    chosen = JobFilter(**asked.model_dump(exclude={"limit", "offset", "sort"}))
    return reading.jobs(rollout_id, chosen, paging(asked))


@router.get("/{rollout_id}/left-out")
def list_left_out(reading: Reading, rollout_id: RolloutId, asked: Annotated[_PartQuery, Query()]) -> Page[LeftOutView]:
    """List who was selected and is in no wave, and why."""
    _expect(reading, rollout_id)
    return reading.left_out(rollout_id, Paging(limit=asked.limit, offset=asked.offset))


@router.get("/{rollout_id}/journal")
def list_journal(
    reading: Reading, rollout_id: RolloutId, asked: Annotated[_JournalQuery, Query()]
) -> Page[RolloutJournalView]:
    """List all that happened, the first first: who did it, why, and the numbers that it rests on."""
    _expect(reading, rollout_id)
    chosen = StepFilter(**asked.model_dump(exclude={"limit", "offset", "sort"}))
    return reading.rollout_journal(rollout_id, chosen, paging(asked))


# --- what people decide


@router.post("/{rollout_id}/actions/retry")
def retry_terminals(context: Context, by: By, rollout_id: RolloutId, body: RetryBody) -> RolloutDetail:
    """Try terminals again, in the open wave, that failed, refused or rolled back: all of them, or none."""
    with _taking(context, rollout_id, "retry"):
        _desk(context).retry(rollout_id, body.terminals, by, reason=body.reason)
    return _after(context, rollout_id)


@router.post("/{rollout_id}/actions/clone", status_code=HTTPStatus.CREATED)
def clone_rollout(
    context: Context, by: By, rollout_id: RolloutId, body: CloneBody, response: Response
) -> RolloutDetail:
    """Draft the same release anew: for `all`, for who is `left`, or for who `failed`."""
    settings = None if body.settings is None else body.settings.model_dump_json(exclude_none=True)
    made = _desk(context).clone(rollout_id, body.whom, by, reason=body.reason, settings=settings)
    return _created(context, made, response)


@router.post("/{rollout_id}/actions/{action}")
def take_step(context: Context, by: By, rollout_id: RolloutId, action: Step, body: ReasonBody) -> RolloutDetail:
    """Start, approve, refuse, pause, resume or abort a rollout, or answer for the evidence that its gate lacks."""
    with _taking(context, rollout_id, action):
        _desk(context).act(rollout_id, action, by, reason=body.reason)
    return _after(context, rollout_id)


def _desk(context: WebContext) -> RolloutDesk:
    return RolloutDesk(store=context.store, shelf=context.releases)


@contextmanager
def _taking(context: WebContext, rollout_id: str, action: str) -> Iterator[None]:
    """Say which actions a rollout takes where it does not take this one."""
    try:
        yield
    except RolloutEventIllegal as error:
        takes = ", ".join(_after(context, rollout_id).actions)
        wrong = FieldError(field="action", expected=f"one of {takes}", got=action)
        raise Problem(HTTPStatus.CONFLICT, str(error), (wrong,)) from None


def _created(context: WebContext, rollout_id: str, response: Response) -> RolloutDetail:
    response.headers["Location"] = f"{router.prefix}/{rollout_id}"
    return _after(context, rollout_id)


def _after(context: WebContext, rollout_id: str) -> RolloutDetail:
    with context.store.reading() as connection:
        return _found(Queries(connection), rollout_id)


def _found(queries: Queries, rollout_id: str) -> RolloutDetail:
    found = queries.rollout(rollout_id)
    if found is None:
        raise missing("rollout", rollout_id)
    return found


def _expect(queries: Queries, rollout_id: str) -> None:
    if not queries.has_rollout(rollout_id):
        raise missing("rollout", rollout_id)
