"""What sharing a port costs the till: receipts through a real agent that asks for the status twice a second."""

import math
import os
import random
import select
import tempfile
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.agents import our_agent
from tests.bench.figures import Experiment, Figure, Progress
from tests.live.stack import until

from tillwatch_simulator.devices.escpos import Printer

SEED = 1
RECEIPTS = 60
LINES = 40
PAUSE_S = (0.5, 1.5)
"""From the end of a receipt to the next: it begins anywhere in a look, also while an answer is awaited."""
POLL_S = 0.5

CONFIG = """\
terminal_id = "till-1"
state_dir = "{state}"
[[printer]]
name = "receipt"
port = "{printer}"
share = "{share}"
poll_s = {poll_s}
[network]
enabled = false
"""


class Roll:
    """A printer behind the master of a pty, which answers while its paper is waited for."""

    def __init__(self) -> None:
        self._printer = Printer()
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self._slave = slave

    def serve(self, wait_s: float) -> bool:
        """Take what comes within a time; says whether something did."""
        if not select.select([self._master], [], [], max(wait_s, 0.0))[0]:
            return False
        answer = self._printer.receive(os.read(self._master, 65_536))
        if answer:
            os.write(self._master, answer)
        return True

    def serve_for(self, wait_s: float) -> None:
        until_s = time.monotonic() + wait_s
        while (left_s := until_s - time.monotonic()) > 0:
            self.serve(left_s)

    def took_ms(self, till: int, line: bytes) -> float:
        """Write a line as a till; returns how long it took until it was all printed."""
        printed = len(self._printer.printed) + len(line)
        began_s = time.perf_counter()
        os.write(till, line)
        while len(self._printer.printed) < printed:
            self.serve(1.0)
        return 1000 * (time.perf_counter() - began_s)

    def close(self) -> None:
        os.close(self._slave)
        os.close(self._master)


@contextmanager
def shared(folder: Path, roll: Roll) -> Iterator[Path]:
    """Let an agent share the printer; gives the till's path."""
    config, path = folder / "agent.toml", folder / "receipt"
    config.write_text(CONFIG.format(state=folder / "state", printer=roll.path, share=path, poll_s=POLL_S))
    agent = our_agent(folder, config)
    agent.start()
    try:
        until(lambda: path.exists() or None, "the shared path")
        yield path
    finally:
        agent.stop()


def tee(progress: Progress) -> dict[str, float]:
    """Print the same lines through the agent and straight, by turns; what the machine does else, it does to both."""
    rng = random.Random(SEED)
    through_ms: list[float] = []
    straight_ms: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        beside, alone = Roll(), Roll()
        with shared(Path(name), beside) as path:
            through, straight = (os.open(at, os.O_RDWR | os.O_NOCTTY) for at in (path, alone.path))
            for receipt in range(RECEIPTS):
                beside.serve_for(rng.uniform(*PAUSE_S))
                for number in range(LINES):
                    line = b"%2d espresso %20d.10\n" % (number, rng.randrange(100))
                    through_ms.append(beside.took_ms(through, line))
                    straight_ms.append(alone.took_ms(straight, line))
                progress(receipt + 1, RECEIPTS, "receipts through the tee")
            os.close(through)
            os.close(straight)
        beside.close()
        alone.close()
    return {"tee_added_ms_p99": round(_p99(through_ms) - _p99(straight_ms), 3)}


def _p99(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


EXPERIMENTS = (
    Experiment(
        name="tee",
        door="bench",
        seed=SEED,
        run=tee,
        figures=(
            Figure(
                name="tee_added_ms_p99",
                unit="ms",
                # A line of text takes 30 ms at 9600 baud, and a printer some 10 ms to print it.
                aim=5,
                says="by which a receipt's line takes longer through a shared port than straight (99 % of lines each), "
                "with the status asked for twice a second",
            ),
        ),
    ),
)
