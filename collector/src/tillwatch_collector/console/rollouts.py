"""Rollouts: the list, a plan with its preview, how far one is, and what people decide about it.

What would happen is shown before anything is kept, and what is kept starts nothing: a draft is started, and where its
plan says so approved by somebody else. Each step is asked for with its reason, which stands in the journal. The rules
are `rollout_desk`'s; what it refuses is told on the page that asked, and nothing that was typed is lost.
"""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Path, Query, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tillwatch_collector import plans
from tillwatch_collector.api.problems import missing
from tillwatch_collector.console import plan_form, ticket_page
from tillwatch_collector.console.pictures import bar, progress
from tillwatch_collector.console.reasons import told
from tillwatch_collector.console.sharing import shared
from tillwatch_collector.console.visit import Forbidden, Visit, visiting
from tillwatch_collector.domain.choosing import QUERY_CHARS_MAX
from tillwatch_collector.domain.permission import Permission
from tillwatch_collector.domain.rollout import (
    BAD,
    CLONE,
    ENDED,
    RETRY,
    Cloned,
    Outcome,
    RolloutEvent,
    RolloutEventIllegal,
    RolloutRefused,
    RolloutSettings,
    RolloutState,
    parse_settings,
)
from tillwatch_collector.errors import CallerError
from tillwatch_collector.flows.rollouts import NAME_CHARS_MAX, REASON_CHARS_MAX
from tillwatch_collector.release_rules import ReleasesUnusable
from tillwatch_collector.releases import ReleaseView
from tillwatch_collector.rollout_desk import Asked, RolloutDesk
from tillwatch_collector.store.people import People
from tillwatch_collector.store.queries import Paging
from tillwatch_collector.store.rollout_queries import JobFilter, RolloutFilter, StepFilter, causes
from tillwatch_collector.store.rollout_views import PlanView, RolloutDetail, RolloutJournalView
from tillwatch_protocol.vocabulary import INTEGER_MAX

router = APIRouter(prefix="/rollouts", include_in_schema=False)

LIST_ROWS, PREVIEW_ROWS, JOB_ROWS, STEP_ROWS = 25, 50, 50, 50
LATEST_STEPS = 10
"""What a person reads beside the bars; the journal has all."""
RETRIED_SHOWN_MAX = 100
"""Terminals to choose from for another try; more are a clone."""

Seeing = Annotated[Visit, visiting(Permission.SEE)]
RollingOut = Annotated[Visit, visiting(Permission.ROLL_OUT)]
RolloutId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Offset = Annotated[int, Field(ge=0, le=INTEGER_MAX)]
WaveNumber = Annotated[int, Field(ge=1, le=INTEGER_MAX)]
Words = Annotated[str, Field(max_length=200)]

Step = Literal["start", "approve", "refuse", "pause", "resume", "answer", "abort", "retry", "clone"]
_OF_AN_APPROVER = frozenset({RolloutEvent.APPROVE, RolloutEvent.REFUSE})


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ListAsked(_Asked):
    """Which rollouts, as the address says."""

    q: Words = ""
    state: RolloutState | Literal["", "open"] = "open"
    sort: Words = "-created_at"
    offset: Offset = 0


class JobsAsked(_Asked):
    """Which terminals of a rollout, as the address says."""

    wave: Annotated[WaveNumber | None, BeforeValidator(lambda typed: typed or None)] = None
    """Empty, as a form sends it: all."""
    outcome: Words = ""
    reason: Words = ""
    wait: Words = ""
    terminal_id: Words = ""
    sort: Words = "job_id"
    offset: Offset = 0


class StepsAsked(_Asked):
    """Which part of the journal."""

    jobs: bool = False
    terminal_id: Words = ""
    offset: Offset = 0


class PlanTyped(BaseModel):
    """What a person wants to roll out, as typed; the plan's own fields are `plan_form`'s."""

    model_config = ConfigDict(frozen=True, extra="allow")

    target: Annotated[str, Field(max_length=300)] = ""
    query: Annotated[str, Field(max_length=QUERY_CHARS_MAX)] = ""
    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    name: Annotated[str, Field(max_length=NAME_CHARS_MAX)] = ""
    offset: Offset = 0

    def asked(self) -> Asked:
        """Return it as the desk takes it; raises `RolloutRefused` for a plan that cannot stand."""
        settings = plan_form.stated(self.fields())
        parse_settings(settings)
        return Asked(target=self.target, query=self.query, reason=self.reason, name=self.name, settings=settings)

    def fields(self) -> dict[str, str]:
        """Return what was typed into the plan's fields."""
        return {name: value for name, value in (self.model_extra or {}).items() if isinstance(value, str)}


class StepTyped(BaseModel):
    """What a person decides."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    whom: Cloned = Cloned.LEFT
    terminals: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=RETRIED_SHOWN_MAX)] = []


# --- the list


@router.get("")
def overview(visit: Seeing, asked: Annotated[ListAsked, Query()]) -> Response:
    """Show the rollouts."""
    return visit.page("rollouts/list.html", **_listed(visit, asked), states=tuple(RolloutState))


@router.get("/rows")
def rows(visit: Seeing, asked: Annotated[ListAsked, Query()]) -> Response:
    """Show the list's rows."""
    return visit.part("rollouts/rows.html", **_listed(visit, asked))


def _listed(visit: Visit, asked: ListAsked) -> dict[str, Any]:
    is_open = True if asked.state == "open" else None
    state = asked.state if asked.state not in {"", "open"} else None
    chosen = RolloutFilter(q=asked.q or None, open=is_open, state=state)
    with visit.reading() as queries:
        page = queries.rollouts(chosen, Paging(limit=LIST_ROWS, offset=asked.offset, sort=asked.sort))
    bars = {
        one.rollout_id: bar.segments(_overall(one.terminals, one.updated, one.bad), progress.KINDS)
        for one in page.items
    }
    return {
        "rollouts": page,
        "asked": asked,
        "bars": bars,
        "bar_width": bar.WIDTH,
        "address_of": _address_of(asked),
        "person": _names(visit),
    }


def _overall(terminals: int, updated: int, bad: int) -> dict[str, int]:
    return {"updated": updated, "bad": bad, "to_come": terminals - updated - bad}


# --- a plan


@router.get("/new")
def write(visit: RollingOut, rollout: Words = "") -> Response:
    """Show the form of a plan: the packaged one, or that of another rollout."""
    before = _found(visit, rollout) if rollout else None
    settings = plans.settings_text(plans.example()) if before is None else before.settings
    typed = PlanTyped() if before is None else PlanTyped(target=before.target, query=before.query, name=before.name)
    return visit.page("rollouts/new.html", **_form(visit, typed, _fields_of(settings)))


@router.post("/preview")
def preview(visit: RollingOut, typed: Annotated[PlanTyped, Form()]) -> Response:
    """Show who would be updated, when, and in which wave, and who would not, and why; nothing is kept."""
    shown = _previewed(visit, typed)
    if visit.request.headers.get("hx-request"):
        return visit.part("rollouts/preview.html", **shown)
    status = HTTPStatus.OK if shown["wrong"] is None else HTTPStatus.UNPROCESSABLE_ENTITY
    return visit.refuse("rollouts/new.html", status, **_form(visit, typed, typed.fields()) | shown)


@router.post("")
def create(visit: RollingOut, typed: Annotated[PlanTyped, Form()]) -> Response:
    """Keep a draft: the selection is frozen, and nothing happens before it is started."""
    try:
        made = _desk(visit).create(typed.asked(), visit.author)
    except (CallerError, ReleasesUnusable) as error:
        return visit.refuse("rollouts/new.html", **_form(visit, typed, typed.fields()) | _wrong(visit, error))
    return visit.back(f"/rollouts/{made}", said="rollout_drafted")


def _form(visit: Visit, typed: PlanTyped, fields: Mapping[str, str]) -> dict[str, Any]:
    return {
        "typed": typed,
        "fields": {field.name: fields.get(field.name, "") for field in plan_form.FIELDS},
        "groups": {group: [one for one in plan_form.FIELDS if one.group == group] for group in plan_form.GROUPS},
        "releases": _releases(visit),
        "has_releases": visit.context.releases is not None,
        "plan": None,
        "wrong": None,
    }


def _fields_of(settings: str) -> dict[str, str]:
    """Return the fields of a plan that a rollout keeps; one that can no longer be read has none."""
    try:
        return plan_form.typed(parse_settings(settings))
    except RolloutRefused:
        return {}


def _releases(visit: Visit) -> tuple[ReleaseView, ...]:
    """Return the releases that may be rolled out, the latest of each product first."""
    try:
        found = () if visit.context.releases is None else visit.context.releases.look()
    except ReleasesUnusable:
        return ()
    return tuple(one for one in reversed(found) if not one.revoked)


def _previewed(visit: Visit, typed: PlanTyped) -> dict[str, Any]:
    try:
        paging = Paging(limit=PREVIEW_ROWS, offset=typed.offset)
        shown = _desk(visit).plan(typed.asked(), visit.now, paging)
    except (CallerError, ReleasesUnusable) as error:
        return _wrong(visit, error)
    return {"plan": shown, "wrong": None, "wave_bars": _wave_bars(shown), "bar_width": bar.WIDTH}


def _wave_bars(shown: PlanView) -> dict[int, float]:
    """Return how wide each wave's bar is: the largest takes all."""
    most = max((wave.terminals for wave in shown.waves), default=1)
    return {wave.wave: round(bar.WIDTH * wave.terminals / most, 1) for wave in shown.waves}


def _wrong(visit: Visit, error: Exception) -> dict[str, Any]:
    said = visit.words("rollout_releases_unusable") if isinstance(error, ReleasesUnusable) else str(error)
    return {"plan": None, "wrong": said}


# --- one rollout


@router.get("/{rollout_id}")
def one(visit: Seeing, rollout_id: RolloutId) -> Response:
    """Show a rollout, and what may be decided about it."""
    return visit.page("rollouts/rollout.html", **_shown(visit, rollout_id))


@router.get("/{rollout_id}/live")
def live(visit: Seeing, rollout_id: RolloutId, state: Words = "") -> Response:
    """Show how far it is; where its state is another than the page's, the page is loaded anew for its other buttons."""
    shown = _progress(visit, rollout_id)
    if state and shown["rollout"].state != state:
        return Response(status_code=HTTPStatus.OK, headers={"HX-Refresh": "true", "Cache-Control": "no-store"})
    return visit.part("rollouts/live.html", **shown)


@router.get("/{rollout_id}/jobs")
def jobs(visit: Seeing, rollout_id: RolloutId, asked: Annotated[JobsAsked, Query()]) -> Response:
    """Show the terminals of a rollout: what came of each, and why."""
    chosen = JobFilter(
        wave=asked.wave,
        outcome=asked.outcome or None,
        reason=asked.reason or None,
        wait=asked.wait or None,
        terminal_id=asked.terminal_id or None,
    )
    with visit.reading() as queries:
        found = queries.rollout(rollout_id)
        paging = Paging(limit=JOB_ROWS, offset=asked.offset, sort=asked.sort)
        page = queries.jobs(rollout_id, chosen, paging)
    if found is None:
        raise missing("rollout", rollout_id)
    values = {"rollout": found, "jobs": page, "asked": asked, "address_of": _address_of(asked)}
    return visit.page("rollouts/jobs.html", **values, outcomes=tuple(Outcome))


@router.get("/{rollout_id}/left-out")
def left_out(visit: Seeing, rollout_id: RolloutId, offset: Offset = 0) -> Response:
    """Show who was selected and is in no wave, and why."""
    found = _found(visit, rollout_id)
    with visit.reading() as queries:
        page = queries.left_out(rollout_id, Paging(limit=JOB_ROWS, offset=offset))
    return visit.page("rollouts/left_out.html", rollout=found, left_out=page)


@router.get("/{rollout_id}/journal")
def journal(visit: Seeing, rollout_id: RolloutId, asked: Annotated[StepsAsked, Query()]) -> Response:
    """Show all that happened, the latest first, with the numbers that it rests on."""
    found = _found(visit, rollout_id)
    of_jobs = None if asked.jobs or asked.terminal_id else False
    chosen = StepFilter(of_jobs=of_jobs, terminal_id=asked.terminal_id or None)
    with visit.reading() as queries:
        paging = Paging(limit=STEP_ROWS, offset=asked.offset, sort="-journal_id")
        page = queries.rollout_journal(rollout_id, chosen, paging)
    written = {one.journal_id: json.dumps(one.evidence, ensure_ascii=False, indent=2) for one in page.items}
    values = {"rollout": found, "steps": page, "asked": asked, "evidence": written, "address_of": _address_of(asked)}
    return visit.page("rollouts/journal.html", in_words=_teller(visit), person=_names(visit), **values)


@router.post("/{rollout_id}/steps/{step}")
def take_step(visit: RollingOut, rollout_id: RolloutId, step: Step, typed: Annotated[StepTyped, Form()]) -> Response:
    """Do what a person decided, or say why it cannot be done."""
    if step in _OF_AN_APPROVER and not visit.may(Permission.APPROVE):
        raise Forbidden(Permission.APPROVE)
    _found(visit, rollout_id)
    try:
        onward = _taken(visit, rollout_id, step, typed)
    except (CallerError, ReleasesUnusable) as error:
        status = HTTPStatus.CONFLICT if isinstance(error, RolloutEventIllegal) else HTTPStatus.UNPROCESSABLE_ENTITY
        values = _shown(visit, rollout_id) | {"reason": typed.reason, "wrong": _wrong(visit, error)["wrong"]}
        return visit.refuse("rollouts/rollout.html", status, **values)
    return visit.back(f"/rollouts/{onward}", said=f"rollout_did_{step}")


def _taken(visit: Visit, rollout_id: str, step: str, typed: StepTyped) -> str:
    """Take a step; returns the rollout that one looks at next."""
    desk = _desk(visit)
    if step == RETRY:
        desk.retry(rollout_id, typed.terminals, visit.author, reason=typed.reason)
    elif step == CLONE:
        return desk.clone(rollout_id, typed.whom, visit.author, reason=typed.reason)
    else:
        desk.act(rollout_id, RolloutEvent(step), visit.author, reason=typed.reason)
    return rollout_id


def _shown(visit: Visit, rollout_id: str) -> dict[str, Any]:
    values = _progress(visit, rollout_id)
    rollout: RolloutDetail = values["rollout"]
    return values | {
        "buttons": _buttons(visit, rollout),
        "may_clone": CLONE in rollout.actions and visit.may(Permission.ROLL_OUT),
        "whom": tuple(Cloned),
        "again": _to_try_again(visit, rollout),
        "settings": _settings_of(rollout),
        "fields": _fields_of(rollout.settings),
        "groups": {group: [one for one in plan_form.FIELDS if one.group == group] for group in plan_form.GROUPS},
        "reason": "",
        "wrong": None,
    }


def _teller(visit: Visit) -> Callable[[RolloutJournalView], str]:
    """Return what says a step's reason in the visitor's words."""
    return lambda step: told(visit.words, step.actor, step.reason)


def _names(visit: Visit) -> Callable[[str], str]:
    """Return how whoever acted is called."""
    people = shared(visit, "people", lambda queries: People(queries.connection).all())
    return ticket_page.names(visit, people.value)


def _progress(visit: Visit, rollout_id: str) -> dict[str, Any]:
    with visit.reading() as queries:
        found = queries.rollout(rollout_id)
        if found is None:
            raise missing("rollout", rollout_id)
        why = causes(queries.connection, rollout_id, queries.within)
        latest = Paging(limit=LATEST_STEPS, sort="-journal_id")
        steps = queries.rollout_journal(rollout_id, StepFilter(of_jobs=False), latest)
    whole = {outcome: 0 for wave in found.progress for outcome in wave.outcomes}
    for wave in found.progress:
        for outcome, count in wave.outcomes.items():
            whole[outcome] += count
    return {
        "rollout": found,
        "is_over": found.state in ENDED,
        "counts": progress.counts(whole),
        "kinds": progress.KINDS,
        "whole": progress.segments(whole),
        "bars": {wave.wave: progress.segments(wave.outcomes) for wave in found.progress},
        "by_kind": {wave.wave: progress.counts(wave.outcomes) for wave in found.progress},
        "bar_width": bar.WIDTH,
        "causes": why,
        "steps": steps,
        "in_words": _teller(visit),
        "person": _names(visit),
    }


def _buttons(visit: Visit, rollout: RolloutDetail) -> tuple[str, ...]:
    """Return the steps that this person may take now; nobody approves what they wrote themselves."""
    if not visit.may(Permission.ROLL_OUT):
        return ()
    steps = [step for step in rollout.actions if step not in {RETRY, CLONE}]
    if not visit.may(Permission.APPROVE):
        steps = [step for step in steps if step not in _OF_AN_APPROVER]
    if rollout.author == visit.author.actor:
        steps = [step for step in steps if step != RolloutEvent.APPROVE]
    if rollout.verdict is None or rollout.verdict.kind != "hold":
        steps = [step for step in steps if step != RolloutEvent.ANSWER]
    return tuple(steps)


def _to_try_again(visit: Visit, rollout: RolloutDetail) -> tuple[str, ...]:
    """Return the terminals of the open wave that failed, for somebody who may have them tried again."""
    if RETRY not in rollout.actions or not visit.may(Permission.ROLL_OUT):
        return ()
    failed = sorted(BAD - {Outcome.SILENT})
    with visit.reading() as queries:
        pages = [
            queries.jobs(
                rollout.rollout_id, JobFilter(wave=rollout.wave, outcome=outcome), Paging(limit=RETRIED_SHOWN_MAX)
            )
            for outcome in failed
        ]
    return tuple(job.terminal_id for page in pages for job in page.items)[:RETRIED_SHOWN_MAX]


def _settings_of(rollout: RolloutDetail) -> RolloutSettings | None:
    try:
        return parse_settings(rollout.settings)
    except RolloutRefused:
        return None


def _found(visit: Visit, rollout_id: str) -> RolloutDetail:
    with visit.reading() as queries:
        found = queries.rollout(rollout_id)
    if found is None:
        raise missing("rollout", rollout_id)
    return found


def _desk(visit: Visit) -> RolloutDesk:
    return RolloutDesk(store=visit.context.store, shelf=visit.context.releases)


def _address_of(asked: BaseModel) -> Any:
    """Return what makes the address of the same list with something else changed."""
    stated = asked.model_dump(mode="json", exclude_none=True)
    return lambda **changes: urlencode(
        {name: said for name, said in {**stated, **changes}.items() if said not in {None, 0}}
    )
