"""How a rollout is told while it goes."""

from typing import Any

from tillwatch_simulator.progress import COUNTS_EVERY_S, Progress, halted_wave, is_over


def rollout(state: str = "running", wave: int = 1, *, verdict: Any = None, **outcomes: int) -> dict[str, Any]:
    opened = {"wave": wave, "terminals": 40, "outcomes": outcomes, "waits": {"preparing": outcomes.get("waiting", 0)}}
    later = {"wave": wave + 1, "terminals": 60, "outcomes": {"cancelled": 60}, "waits": {}}
    return {
        "state": state,
        "wave": wave,
        "waves": 3,
        "terminals": 100,
        "updated": outcomes.get("succeeded", 0),
        "progress": [opened, later] if wave else [],
        "verdict": verdict,
    }


def verdict(kind: str, *reasons: str) -> dict[str, Any]:
    return {"wave": 1, "kind": kind, "reasons": list(reasons), "numbers": {"p": 0.000123, "executed": 40.0}}


def told(*shown: tuple[float, dict[str, Any]]) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    progress = Progress(lambda said, more: lines.append((said, more)))
    for now_s, one in shown:
        progress.look(one, now_s)
    return lines


def test_nothing_is_told_before_a_wave_begins() -> None:
    assert told((0.0, rollout(wave=0))) == []


def test_a_wave_is_told_with_its_bar_and_counts_not_too_often() -> None:
    lines = told(
        (10.0, rollout(waiting=40)),
        (11.0, rollout(waiting=30, running=10)),  # too soon
        (10.0 + COUNTS_EVERY_S, rollout(waiting=20, running=10, succeeded=8, failed=2)),
        (30.0, rollout(waiting=20, running=10, succeeded=8, failed=2)),  # as before
    )
    assert lines == [
        ("wave 1 of 3 begins", "40 terminals"),
        ("wave 1 [........................]", "40 waiting (40 preparing)"),
        ("wave 1 [####x>>>>>>.............]", "20 waiting, 10 running, 8 succeeded, 2 failed (20 preparing)"),
    ]


def test_the_gate_is_told_when_it_has_decided_and_once() -> None:
    undecided = rollout(succeeded=40, verdict=verdict("hold", "soaking"))
    held = rollout(succeeded=40, verdict=verdict("hold", "too_few_controls"))
    lines = told((0.0, undecided), (1.0, held), (2.0, held))
    assert lines[2:] == [("gate of wave 1: hold", "too_few_controls; p 0.000123")]


def test_its_end_is_told_once_with_the_last_counts() -> None:
    halted = rollout("halted", succeeded=40, verdict=verdict("halt", "harm"))
    lines = told((0.0, rollout(waiting=1, succeeded=39)), (1.0, halted), (2.0, halted))
    assert lines[2:] == [
        ("wave 1 [########################]", "40 succeeded (0 preparing)"),
        ("gate of wave 1: halt", "harm; p 0.000123"),
        ("rollout halted", "40 of 100 updated"),
    ]


def test_it_is_over_when_nothing_more_is_to_come() -> None:
    assert not is_over(rollout(succeeded=40))
    assert not is_over(rollout("halted", running=1, succeeded=39))
    assert is_over(rollout("halted", succeeded=40))


def test_only_a_halted_one_was_halted_in_a_wave() -> None:
    assert halted_wave(rollout("halted", wave=2)) == 2
    assert halted_wave(rollout("completed", wave=3)) is None
