"""What the API and the command line show of rollouts: the shapes, without a rule in them."""

from datetime import datetime
from typing import Any

from tillwatch_collector.store.views import Page, View


class RolloutView(View):
    """A rollout as a list shows it."""

    rollout_id: str
    name: str
    target: str
    """The release's path."""
    product: str
    version: str
    query: str
    """Whom it is for, as a person wrote it."""
    reason: str
    author: str
    state: str
    waves: int
    """How many are planned."""
    wave: int
    """The one that is open; 0: none yet."""
    terminals: int
    """In its waves."""
    updated: int
    bad: int
    """Failed, rejected, rolled back, or silent after their `go`."""
    ticket_id: int | None
    """Of its halt."""
    cloned_from: str | None
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None


class VerdictView(View):
    """What the gate last said."""

    at: datetime
    wave: int
    kind: str
    """`pass`, `hold` or `halt`."""
    reasons: tuple[str, ...]
    numbers: dict[str, float]
    """What it rests on; `domain.gate` says what each is."""
    looks_done: int


class WaveView(View):
    """How far a wave is."""

    wave: int
    terminals: int
    outcomes: dict[str, int]
    """How many of what came of it: `succeeded`, `waiting`, `running`, ..."""
    waits: dict[str, int]
    """Why nothing is done for the others, at the last look."""


class RolloutDetail(RolloutView):
    """A rollout with its plan and its waves."""

    digest: str
    """SHA-256 of the release's file, in hexadecimal: what must run in the end."""
    taken_at: datetime
    """When the selection was frozen."""
    settings: str
    """The plan, in JSON, as its author stated it."""
    left_out: int
    """Selected, and in no wave."""
    wave_opened_at: datetime | None
    answered: tuple[int, ...]
    """Waves for whose missing evidence a person answered."""
    restored_at: datetime | None
    """When it was found in a database restored from a backup."""
    verdict: VerdictView | None
    progress: tuple[WaveView, ...]
    actions: tuple[str, ...]
    """What its state takes from a person."""


class LeftOutView(View):
    """Who was selected and is in no wave."""

    terminal_id: str
    reason: str


class JobView(View):
    """One terminal's part of a rollout, as last known."""

    job_id: str
    terminal_id: str
    store_id: str
    model: str
    region: str
    """These three when it was planned; empty: not known."""
    wave: int
    outcome: str
    """What came of it, as judged at the last look."""
    wait: str | None
    """Why nothing was done for it at the last look."""
    state: str | None
    """As its agent says; None: nothing yet."""
    reason: str | None
    """Why it came to that, by the agent's code."""
    granted: str
    """What it was allowed: `planned`, `offered`, `go`, `withdrawn`."""
    try_no: int
    attempts: int
    """Tries that count."""
    offered_at: datetime | None
    go_at: datetime | None
    not_before: datetime | None
    """Of a try that backs off."""
    ended_at: datetime | None
    withdrawn_for: str | None
    excused: bool
    """Whether an outage that is not the release's explains what came of it."""


class CauseView(View):
    """Why some of a rollout's terminals came to nothing good."""

    outcome: str
    reason: str | None
    """By the agent's code; None: it said nothing, or fell silent."""
    state: str | None
    """Where its agent was last."""
    terminals: int
    first: str
    """One of them, by id."""


class RolloutJournalView(View):
    """One step of a rollout or of one of its jobs."""

    journal_id: int
    at: datetime
    actor: str
    action: str
    from_state: str | None
    to_state: str | None
    reason: str
    job_id: str | None
    terminal_id: str | None
    evidence: dict[str, Any]
    """The numbers that it rests on."""


class PlannedWaveView(View):
    """A wave before it begins."""

    wave: int
    terminals: int
    stores: int
    controls: int
    """Terminals of later waves that it can be compared with, by model and region."""
    opens_at: datetime | None
    """When the first of it may be changed at the earliest: the waves before have soaked, and their gates passed."""


class PlannedView(View):
    """One terminal of a plan."""

    terminal_id: str
    store_id: str | None
    model: str
    region: str
    wave: int | None
    """None: it is left out."""
    opens_at: datetime | None
    """When it may be changed at the earliest; of who is left out, were it its turn."""
    time_zone: str | None
    opens_at_store: str | None
    """The same in its store's time, such as `2026-11-23 23:30`."""
    left_out: str | None
    """Why it is in no wave."""


class PlanView(View):
    """What a rollout would do: nothing of it is kept."""

    target: str
    version: str
    query: str
    taken_at: datetime
    terminals: int
    """In its waves."""
    waves: tuple[PlannedWaveView, ...]
    left_out: dict[str, int]
    """How many are in no wave, by the reason."""
    planned: Page[PlannedView]
    """By wave and id, those that are left out last."""
