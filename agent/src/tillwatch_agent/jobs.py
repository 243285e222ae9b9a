"""The newest job as the core has it: the machine joined with the page on the disk.

What a step changes is written before anything of it is told or done; where the disk refuses, the step has not happened,
and what led to it is handed in again. So a start after any cut finds on the page where to go on, and nothing is done of
which the page does not know.

A page that cannot be read is forgotten, with a line in the log: what is on trial in nobody's name is then taken back,
and the collector counts its terminal as silent.

A change violates this when an effect leaves before its page is on the disk.
"""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from tillwatch_agent import job_record, update
from tillwatch_agent.errors import AgentError
from tillwatch_agent.job_record import Page
from tillwatch_agent.job_standing import Update, UpdateSettings
from tillwatch_agent.job_work import Beaten, Effect, Result
from tillwatch_agent.moment import Moment
from tillwatch_agent.update import Rng
from tillwatch_protocol.job import JobMessage, JobReport, JobState, JobStatus
from tillwatch_protocol.reading import Reading

WRITE_AGAIN_S: Final = 10.0
"""A full disk is not emptied by asking more often."""

_logger = logging.getLogger(__name__)


class Store(Protocol):
    """Where the page lies."""

    def read(self) -> bytes | None:
        """Read it; None where there is none. Raises `AgentError`."""
        ...

    def write(self, content: bytes) -> None:
        """Write it whole; it is on the disk on return. Raises `AgentError`."""
        ...


class MemoryStore:
    """A page that ends with the process: for machines that are simulated."""

    def __init__(self, content: bytes | None = None) -> None:
        self.content = content

    def read(self) -> bytes | None:
        """Read it."""
        return self.content

    def write(self, content: bytes) -> None:
        """Keep it."""
        self.content = content


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a step leads to: tell the reports, then carry out the effects."""

    effects: tuple[Effect, ...] = ()
    reports: tuple[JobReport, ...] = ()
    turned: bool = False
    """Whether the heartbeat says something else of the job."""


_NOTHING: Final = Outcome()


class Jobs:
    """The newest job of one terminal, in one start of its agent."""

    def __init__(self, settings: UpdateSettings, store: Store, rng: Rng, moment: Moment) -> None:
        """Go on from the page that is stored."""
        self._settings = settings
        self._store = store
        self._rng = rng
        self._stored, page = self._read()
        self._update = update.begin(page, settings, moment, rng)
        self._refused_until_s = -math.inf
        self._refuses = False
        self._late: Result | None = None
        """A result of which the disk did not take the step."""
        self._beaten_for: str | None = None
        """The nonce for which a heartbeat was wanted."""

    @property
    def standing(self) -> Update:
        """Where the newest job stands."""
        return self._update

    @property
    def is_open(self) -> bool:
        """Whether there is a job that is not over."""
        record = self._update.page.job
        return record is not None and not record.over

    def status(self) -> JobStatus | None:
        """Say in a heartbeat where the newest job stands."""
        return update.status(self._update)

    def ask_anew(self, moment: Moment) -> None:
        """Make an ask fresh for the heartbeat that is about to tell it."""
        self._update = update.ask_anew(self._update, moment, self._rng)

    def wants_beat(self, moment: Moment) -> bool:
        """Say whether an ask became so old that a heartbeat is wanted for it; once."""
        if moment.monotonic_s < self._asks_at_s():
            return False
        self._beaten_for = self._update.nonce
        return True

    def due_s(self) -> float:
        """Say when `handle` has something to do if nothing comes; infinity for never."""
        due_s = -math.inf if self._late is not None else update.due_s(self._update)
        return max(min(due_s, self._asks_at_s()), self._refused_until_s)

    @staticmethod
    def beaten(readings: Iterable[Reading], acknowledged_at_s: float) -> Beaten:
        """Say to the job that a heartbeat left, as `handle` takes it."""
        return Beaten(readings=tuple(readings), acknowledged_at_s=acknowledged_at_s)

    def handle(self, said: JobMessage | Result | Beaten | None, moment: Moment) -> Outcome:
        """Take what came, or that time went by."""
        if moment.monotonic_s < self._refused_until_s:
            self._keep(said)
            return _NOTHING
        late, self._late = self._late, None
        before = self._step(late, moment) if late is not None else _NOTHING
        if said is None and late is not None:
            return before
        if moment.monotonic_s < self._refused_until_s:
            self._keep(said)
            return before
        after = self._step(said, moment)
        return Outcome(
            effects=before.effects + after.effects,
            reports=before.reports + after.reports,
            turned=before.turned or after.turned,
        )

    def _step(self, said: JobMessage | Result | Beaten | None, moment: Moment) -> Outcome:
        before = self.status()
        stepped = update.step(self._update, said, self._settings, moment, self._rng)
        page = _kept(stepped.update.page)
        if page != self._stored and not self._wrote(page, moment):
            self._keep(said)
            return _NOTHING
        self._update = stepped.update
        return Outcome(effects=stepped.effects, reports=stepped.reports, turned=self.status() != before)

    def _wrote(self, page: Page, moment: Moment) -> bool:
        try:
            self._store.write(job_record.written(page))
        except AgentError as error:
            if not self._refuses:
                _logger.error("a job waits: its page cannot be written: %s", error)  # noqa: TRY400 - the disk's word
            self._refuses = True
            self._refused_until_s = moment.monotonic_s + WRITE_AGAIN_S
            return False
        self._refuses = False
        self._stored = page
        return True

    def _keep(self, said: JobMessage | Result | Beaten | None) -> None:
        """Hand a result in again later; messages and heartbeats repeat themselves."""
        if said is not None and not isinstance(said, JobMessage | Beaten):
            self._late = said

    def _read(self) -> tuple[Page | None, Page]:
        """Return what is stored, as far as it can be read, and where to go on."""
        try:
            content = self._store.read()
            page = Page() if content is None else job_record.read(content)
        except AgentError as error:
            _logger.error("the page of the newest job is forgotten: %s", error)  # noqa: TRY400 - as above
            return None, Page()
        return page, page

    def _asks_at_s(self) -> float:
        return update.asks_at_s(self._update) if self._update.nonce != self._beaten_for else math.inf


def _kept(page: Page) -> Page:
    """Return a page as it is stored: an ask ends with the start that made it."""
    if page.job is None or page.job.state is not JobState.READY:
        return page
    return page.model_copy(update={"job": page.job.model_copy(update={"state": JobState.STAGED})})
