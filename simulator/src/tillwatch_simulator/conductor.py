"""Brings a scenario's rollouts about, one after the other, as people do: planned, drafted, let go, approved by another.

They are asked of the collector's API, and what it shows of them is told. Whether terminals were changed inside their
windows is not the collector's word: each switch is held against the hours of its store.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from tillwatch_simulator.fleet import Harmed, Switched
from tillwatch_simulator.inventory import Inventory
from tillwatch_simulator.progress import Progress, halted_wave, is_over
from tillwatch_simulator.scenario import Rollout, Scenario

AUTHOR: Final = "person:ann"
APPROVER: Final = "person:ben"
"""Whoever wrote a plan does not approve it."""

ROLLOUTS: Final = "/api/v1/rollouts"

Line = Callable[[str, str, str], None]
"""Tells one thing about a subject."""


class Desk(Protocol):
    """The collector, as people reach it."""

    def get(self, path: str, **query: object) -> Any:
        """Ask it."""
        ...

    def act(self, path: str, body: dict[str, Any], *, actor: str) -> Any:
        """Have somebody ask it to do something."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Rolled:
    """What came of one rollout."""

    release: str
    state: str
    waves: int
    terminals: int
    updated: int
    bad: int
    """Failed, rejected, rolled back or silent after their go."""
    halted_wave: int | None


class Conductor:
    """The rollouts of one scenario; `look` at them often."""

    def __init__(self, desk: Desk, played: Scenario, line: Line, now_s: Callable[[], float]) -> None:
        self._desk = desk
        self._played = played
        self._line = line
        self._now_s = now_s
        self._left = list(played.rollout)
        self._shown: list[Any] = []
        """Every rollout that was begun, as it was shown last."""
        self._progress: Progress | None = None

    @property
    def is_over(self) -> bool:
        """Whether all have come to their end; never where there is none to wait for."""
        return bool(self._shown) and not self._left and is_over(self._shown[-1])

    @property
    def rolled(self) -> tuple[Rolled, ...]:
        """Say what came of each by now."""
        return tuple(
            Rolled(
                release=shown["name"],
                state=shown["state"],
                waves=shown["waves"],
                terminals=shown["terminals"],
                updated=shown["updated"],
                bad=shown["bad"],
                halted_wave=halted_wave(shown),
            )
            for shown in self._shown
        )

    def look(self) -> None:
        """Begin what is to be begun, and tell how far it is."""
        if self._left and (not self._shown or is_over(self._shown[-1])):
            self._begin(self._left.pop(0))
        if self._shown and self._progress:
            shown = self._desk.get(f"{ROLLOUTS}/{self._shown[-1]['rollout_id']}")
            self._shown[-1] = shown
            self._progress.look(shown, self._now_s())

    def _begin(self, rollout: Rollout) -> None:
        release = self._played.release_of(rollout)
        name = f"{release.product} {release.version}"

        def say(said: str, more: str) -> None:
            self._line(name, said, more)

        asked = {
            "target": release.target,
            "select": rollout.select,
            "reason": rollout.reason,
            "name": name,
            "settings": self._played.plan,
        }
        plan = self._desk.act(f"{ROLLOUTS}/plan", asked, actor=AUTHOR)
        waves = " + ".join(str(wave["terminals"]) for wave in plan["waves"])
        say(f"plan: {len(plan['waves'])} waves", f"{waves} terminals; {rollout.reason}")
        draft = self._desk.act(ROLLOUTS, asked, actor=AUTHOR)
        where = f"{ROLLOUTS}/{draft['rollout_id']}/actions"
        shown = self._desk.act(f"{where}/start", {"reason": "drafted as planned"}, actor=AUTHOR)
        say(f"started by {AUTHOR}", str(shown["state"]).replace("_", " "))
        if shown["state"] == "awaiting_approval":
            shown = self._desk.act(f"{where}/approve", {"reason": "read the plan"}, actor=APPROVER)
            say(f"approved by {APPROVER}", str(shown["state"]))
        self._shown.append(shown)
        self._progress = Progress(say)


def outside_window(switched: Collection[Switched], inventory: Inventory, began_at: datetime) -> int:
    """Count the switches that were made while their store was open."""
    return sum(
        store.is_open(one.at, began_at)
        for one in switched
        if (store := inventory.stores.get(one.terminal_id)) is not None
    )


def newly_harmed(harmed: Collection[Harmed], known: set[Harmed]) -> list[Harmed]:
    """Return whom a release has harmed since the last look, and remember them."""
    found = [one for one in harmed if one not in known]
    known.update(found)
    return sorted(found, key=lambda one: one.terminal_id)
