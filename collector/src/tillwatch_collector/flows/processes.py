"""The roll of running processes: who bears which name, and what each proves to have heard.

A name belongs to the newest start that took it: after a kill a process comes back at once and finds its own row, and
of two that run under one name, by mistake, the older one notices at its next word, says so and ends. Otherwise both
would take the name from each other at the broker for ever.

A process that shares the work of taking in must also agree with the others on what time it is: what was heard when
decides who is silent, whoever heard it.
"""

from datetime import datetime

from tillwatch_collector.errors import ClockApart, ProcessNameTaken
from tillwatch_collector.store.processes import KeptProcess
from tillwatch_collector.store.repository import Repository

CLOCK_APART_S_MAX = 5.0
"""From the database's: machines that keep time differ by milliseconds, and two intervals of the quickest terminal are
not yet three."""


def keep(repository: Repository, process: KeptProcess) -> None:
    """Write a process's own row anew; raises `ProcessNameTaken` when another start bears its name."""
    if repository.processes.keep(process):
        return
    bearer = repository.processes.bearer(process.process)
    if bearer is not None:
        raise ProcessNameTaken(
            f"process: expected a name of its own for every process, got {process.process!r}, under which another "
            f"{bearer.role} was started at {bearer.started_at:%Y-%m-%d %H:%M:%S} UTC; this one, of "
            f"{process.started_at:%H:%M:%S}, ends"
        )
    # It was held for dead and removed while it could not say that it lives.
    repository.processes.begin(process)


def check_clock(repository: Repository, now: datetime) -> None:
    """Compare our clock with the database's; raises `ClockApart`."""
    reference = repository.processes.clock()
    apart_s = (now - reference).total_seconds() if reference else 0.0
    if abs(apart_s) > CLOCK_APART_S_MAX:
        raise ClockApart(
            f"expected this machine's clock within {CLOCK_APART_S_MAX:.0f} s of the database's, got {apart_s:+.1f} s: "
            f"nothing is taken in until they agree"
        )
