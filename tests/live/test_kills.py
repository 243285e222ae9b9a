"""Kills of every part under a beating fleet, in short; `make evidence` has the long run (`tests.bench.killing`)."""

from pathlib import Path
from random import Random

import pytest
from tests.live.outages import Backend, torment

CASES: list[tuple[Backend, tuple[str, ...], dict[str, int]]] = [
    # database, roles, kills
    ("sqlite", ("serve",), {"serve.1": 1, "broker": 1}),
    ("postgresql", ("ingest", "ingest", "tick", "tick"), {"ingest.1": 1, "tick.3": 1, "postgresql": 1}),
]


@pytest.mark.parametrize(("backend", "roles", "kills"), CASES, ids=[f"{b}-{r[0]}" for b, r, _ in CASES])
def test_kills_lose_and_double_no_event_and_open_no_ticket(
    backend: Backend, roles: tuple[str, ...], kills: dict[str, int], tmp_path: Path
) -> None:
    outcome = torment(tmp_path, backend, roles, kills, terminals=30, rng=Random(7), progress=lambda *_: None)
    assert outcome.said == ()
    assert outcome.events >= 30
