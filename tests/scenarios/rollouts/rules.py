"""The rules of a rollout in a world: what is never so at any till at any moment, and what is so at the end.

The measure is what the tills did (`Installation.switches`), when their stores were closed by the plan's own words, and
plain SQL over the store; never what drives the rollout.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.scenarios.checkers import Checker
from tests.scenarios.rollouts.estate import Estate
from tests.scenarios.terminal import Terminal

from tillwatch_collector.flows.judge import JudgeEffects
from tillwatch_protocol.job import JobMessage, JobMessageKind, JobState

if TYPE_CHECKING:
    from tests.scenarios.world import World

SWITCHES = frozenset({JobState.SWITCHING, JobState.CONFIRMING, JobState.ROLLING_BACK})
"""States in which a till does not serve for certain."""


class RolloutRule(Checker):
    """One rule, about the tills of an estate."""

    def __init__(self, world: "World", estate: Estate) -> None:
        super().__init__(world)
        self.estate = estate
        self.numbers = {name: number for number, name in enumerate(world.terminals)}

    def store_of(self, terminal_id: str) -> int:
        """In which store a terminal stands."""
        return self.estate.store_of(self.numbers[terminal_id])


class InsideWindow(RolloutRule):
    """A till begins to run a release only while its store is closed, after the margin, and away from settlement."""

    def __init__(self, world: "World", estate: Estate) -> None:
        super().__init__(world, estate)
        self._seen: Counter[str] = Counter()

    def handled(self, terminal: Terminal) -> None:
        """Look at what it began to run since."""
        assert terminal.installation
        switches, name = terminal.installation.switches, terminal.terminal_id
        region = self.estate.region_of(self.store_of(name))
        for switch in switches[self._seen[name] :]:
            if switch.version != "2.0":  # back it goes at any time
                at = self.world.clock.at(switch.at_s)
                self.require(region.is_free(at), f"{name} of {region.name} began {switch.version} at {at:%H:%M:%S} UTC")
        self._seen[name] = len(switches)


class NeverAllTills(RolloutRule):
    """At no moment more tills are being switched than the plan says, of all or of one store; never all of a store."""

    def __init__(self, world: "World", estate: Estate) -> None:
        super().__init__(world, estate)
        self._switching: dict[str, int] = {}
        self._of_store: Counter[int] = Counter()
        self.most = 0

    def handled(self, terminal: Terminal) -> None:
        """Count again."""
        name, store = terminal.terminal_id, self.store_of(terminal.terminal_id)
        now = int(_state(terminal) in SWITCHES)
        before = self._switching.get(name, 0)
        if now == before:
            return
        self._switching[name] = now
        self._of_store[store] += now - before
        self.most = max(self.most, total := self._of_store.total())
        at_once, estate = self._of_store[store], self.estate
        self.require(at_once <= estate.per_store_max, f"{at_once} tills of store {store} are switched at once")
        self.require(at_once < estate.tills, f"all tills of store {store} are switched at once")
        self.require(total <= estate.exposed_max, f"{total} tills are switched at once")


class OnlyWithGo(RolloutRule):
    """A till switches only for a job that got its go, and each job gets one at a time."""

    def __init__(self, world: "World", estate: Estate) -> None:
        super().__init__(world, estate)
        self._goes: set[tuple[str, str]] = set()

    def judged(self, effects: JudgeEffects) -> None:
        """Remember every go, and see that nobody is withdrawn after one."""
        for message in effects.jobs:
            self._hear(message)

    def _hear(self, message: JobMessage) -> None:
        key = message.terminal_id, message.job_id
        if message.kind is JobMessageKind.GO:
            self._goes.add(key)

    def handled(self, terminal: Terminal) -> None:
        """See that what is switched was allowed."""
        status = terminal.life.core.jobs.status() if terminal.life and terminal.life.core.jobs else None
        if status is not None and status.state in SWITCHES | {JobState.SUCCEEDED}:
            allowed = (terminal.terminal_id, status.job_id) in self._goes
            self.require(allowed, f"{terminal.terminal_id} switched {status.job_id} without a go")


class RightEnd(RolloutRule):
    """In the end what is written of each till is what it runs, and who had no go runs what it ran."""

    def finish(self) -> None:
        """Compare."""
        rows = self.rows("SELECT terminal_id, outcome, granted FROM rollout_job")
        self.require(len(rows) == len(self.numbers), f"{len(rows)} jobs of {len(self.numbers)} terminals")
        for terminal_id, outcome, granted in rows:
            installation = self.world.terminals[str(terminal_id)].installation
            assert installation
            runs_it, said = installation.version == "2.1", f"{terminal_id} is {outcome} and runs {installation.version}"
            self.require(runs_it == (outcome in {"succeeded", "late"}), said)
            self.require(granted == "go" or not installation.switches, f"{said}, without a go")


def rollout_rules(world: "World", estate: Estate) -> Sequence[RolloutRule]:
    """Every rule of rollouts."""
    return (
        InsideWindow(world, estate),
        NeverAllTills(world, estate),
        OnlyWithGo(world, estate),
        RightEnd(world, estate),
    )


def _state(terminal: Terminal) -> JobState | None:
    status = terminal.life.core.jobs.status() if terminal.life and terminal.life.core.jobs else None
    return None if status is None else status.state
