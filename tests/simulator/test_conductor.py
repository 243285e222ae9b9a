"""A scenario's rollouts, brought about one after the other, and what is held against them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tillwatch_simulator import scenario
from tillwatch_simulator.conductor import APPROVER, AUTHOR, Conductor, Rolled, newly_harmed, outside_window
from tillwatch_simulator.fleet import Harmed, Switched

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
PLAYED = scenario.parse("""
terminals = 2
[installed]
product = "till"
version = "2.0"
[[release]]
product = "till"
version = "2.1"
[[release]]
product = "till"
version = "2.2"
[[rollout]]
version = "2.1"
select = "till<2.1"
reason = "new functions"
[[rollout]]
version = "2.2"
select = "till<2.2"
reason = "faster"
[plan]
approval = true
[[merchant]]
merchant_id = "markt"
name = "Markt"
[[merchant.store]]
store_id = "early"
name = "Early"
terminals = 1
closes_in_s = -3600
[[merchant.store]]
store_id = "late"
name = "Late"
terminals = 1
closes_in_s = 3600
""")


class Desk:
    """A collector of which the test says how its rollouts stand; they end when it says so."""

    def __init__(self, *, approval: bool = True) -> None:
        self.asked: list[tuple[str, str]] = []
        self.state = "running"
        self.after_start = "awaiting_approval" if approval else "running"
        self._drafts: list[dict[str, Any]] = []

    def get(self, path: str, **query: object) -> Any:
        assert not query
        return self._shown(path.rpartition("/")[2], self.state)

    def act(self, path: str, body: dict[str, Any], *, actor: str) -> Any:
        self.asked.append((path.removeprefix("/api/v1/rollouts"), actor))
        if path.endswith("/plan"):
            assert body["settings"] == {"approval": True}
            return {"waves": [{"terminals": 1}, {"terminals": 1}]}
        if path.endswith("/rollouts"):
            self._drafts.append(body)
            return {"rollout_id": f"r{len(self._drafts)}"}
        rollout_id = path.split("/")[-3]
        return self._shown(rollout_id, self.after_start if path.endswith("/start") else "running")

    def _shown(self, rollout_id: str, state: str) -> dict[str, Any]:
        draft = self._drafts[int(rollout_id[1:]) - 1]
        ended = state != "running"
        return {
            "rollout_id": rollout_id,
            "name": draft["name"],
            "state": state,
            "wave": 1,
            "waves": 2,
            "terminals": 2,
            "updated": 2 if ended else 0,
            "bad": 0,
            "progress": [
                {
                    "wave": 1,
                    "terminals": 2,
                    "outcomes": {"succeeded": 2} if ended else {"running": 2},
                    "waits": {},
                }
            ],
            "verdict": None,
        }


def conductor(desk: Desk) -> tuple[Conductor, list[tuple[str, str, str]]]:
    lines: list[tuple[str, str, str]] = []
    return Conductor(desk, PLAYED, lambda *said: lines.append(said), lambda: 0.0), lines


def test_a_rollout_is_planned_drafted_let_go_and_approved_by_another() -> None:
    desk = Desk()
    ours, lines = conductor(desk)
    ours.look()
    assert desk.asked == [
        ("/plan", AUTHOR),
        ("", AUTHOR),
        ("/r1/actions/start", AUTHOR),
        ("/r1/actions/approve", APPROVER),
    ]
    assert lines[0] == ("till 2.1", "plan: 2 waves", "1 + 1 terminals; new functions")
    assert not ours.is_over


def test_what_needs_no_approval_gets_none() -> None:
    desk = Desk(approval=False)
    conductor(desk)[0].look()
    assert [path for path, _ in desk.asked][-1] == "/r1/actions/start"


def test_the_next_begins_when_the_one_before_is_over_and_all_are_counted() -> None:
    desk = Desk()
    ours, _ = conductor(desk)
    ours.look()
    ours.look()
    assert len(desk.asked) == 4
    desk.state = "completed"
    ours.look()
    desk.state = "running"
    ours.look()
    assert [path for path, _ in desk.asked].count("") == 2
    desk.state = "halted"
    ours.look()
    assert ours.is_over
    first, second = ours.rolled
    assert first == Rolled(
        release="till 2.1", state="completed", waves=2, terminals=2, updated=2, bad=0, halted_wave=None
    )
    assert (second.state, second.halted_wave) == ("halted", 1)


def test_a_scenario_without_rollouts_is_never_over_by_them() -> None:
    none = scenario.parse("terminals = 1")
    ours = Conductor(Desk(), none, lambda *_: None, lambda: 0.0)
    ours.look()
    assert not ours.is_over
    assert ours.rolled == ()


def test_a_switch_in_an_open_store_is_counted() -> None:
    inventory = scenario.inventory_of(PLAYED)
    late = timedelta(hours=1, minutes=2)
    switched = [
        Switched(terminal_id="sim-0001", version="2.1", at=NOW),  # closed an hour ago
        Switched(terminal_id="sim-0002", version="2.1", at=NOW),  # closes in an hour
        Switched(terminal_id="sim-0002", version="2.2", at=NOW + late),  # has closed
        Switched(terminal_id="elsewhere", version="2.1", at=NOW),
    ]
    assert outside_window(switched, inventory, NOW) == 1


def test_each_harm_is_new_once() -> None:
    known: set[Harmed] = set()
    one, other = (
        Harmed(terminal_id=name, component="pin_pad:counter", code="no_response", version="2.2") for name in "ba"
    )
    assert newly_harmed([one], known) == [one]
    assert newly_harmed([one, other], known) == [other]
    assert newly_harmed([one, other], known) == []
