"""Fifty real tills through two rollouts: a good release while everything falls, and one that is sick, halted in its
first wave. `tests.live.rollouts` says how."""

import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.bench.figures import Experiment, Figure, Progress
from tests.live import tills
from tests.live.rollouts import Blow, Chain, astray, drawn, torment, wrongs

SEED = 20261121
TILLS = 50
GOOD, SICK = "2.0.0", "3.0.0"

LENGTH_S = 150.0
BLOWS = {
    Blow.AGENT: 60,
    Blow.POWER: 25,
    Blow.LINE: 25,
    Blow.DEAD_LINE: 15,
    Blow.COLLECTOR: 5,
    Blow.BROKER: 2,
    Blow.POSTGRESQL: 2,
}


def live_rollout(progress: Progress) -> dict[str, float]:
    """Bring the good one to all, then begin with the sick one; every till that is not as it must be is told."""
    rng = Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        chain = Chain(Path(folder), TILLS)
        progress(0, 1, f"{TILLS} tills are switched on")
        with chain.running():
            began_s = time.monotonic()
            chain.offer(GOOD, tills.release(GOOD))
            good = chain.roll_out(GOOD)
            state = torment(chain, good, drawn(list(chain.tills), BLOWS, LENGTH_S, rng), progress)
            took_s = time.monotonic() - began_s
            wrong = _expected(state, "completed") + wrongs(chain, good, GOOD)
            chain.offer(SICK, tills.release(SICK, well=False))
            sick = chain.roll_out(SICK)
            state = torment(chain, sick, [], progress)
            chain.settle(sick)
            wrong += _expected(state, "halted")
            wrong += [f"{name}: {said}" for name, till in chain.tills.items() for said in astray(till, GOOD, SICK)]
            touched = Counter(job["outcome"] for job in chain.jobs(sick).values())
    for said in wrong:
        progress(0, 0, said)
    return {
        "live_rollout_wrong_end": len({said.partition(":")[0] for said in wrong}),
        "live_rollout_blows": sum(BLOWS.values()),
        "live_rollout_s": round(took_s, 1),
        "live_rollout_sick_tried": touched["rolled_back"] + touched["failed"] + touched["silent"],
    }


def _expected(state: str, expected: str) -> list[str]:
    return [] if state == expected else [f"the rollout: expected {expected}, got {state}"]


EXPERIMENTS = (
    Experiment(
        name="live_rollout",
        door="evidence",
        seed=SEED,
        run=live_rollout,
        figures=(
            Figure(
                name="live_rollout_wrong_end",
                unit="tills",
                aim=0,
                says=f"of {TILLS} real ones over Mosquitto with TLS that a good release did not reach exactly once, or "
                "that a sick one left otherwise than it found them",
            ),
            Figure(
                name="live_rollout_blows",
                unit="blows",
                aim=None,
                says="meanwhile: agents killed, power and lines cut, collector, broker and PostgreSQL killed",
            ),
            Figure(name="live_rollout_s", unit="s", aim=None, says="for the good one, in three waves"),
            Figure(
                name="live_rollout_sick_tried",
                unit="tills",
                aim=None,
                says="that tried the sick one and went back, before it was halted in its first wave of 10",
            ),
        ),
    ),
)
