"""One of several processes that raise, prove and end the same faults at once, to be killed at any moment.

    python -m tests.live.raising URL SEED FAULTS

It says on standard output how many faults each committed transaction raised. What it does is what judge and people do,
through the same flows; that several judge at once is what the lease forbids and what the tickets must survive anyway.
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from random import Random

from tillwatch_collector import policies
from tillwatch_collector.domain.policy import Rule
from tillwatch_collector.domain.ticket import Action, TicketIdentity
from tillwatch_collector.errors import StoreUnavailable, TicketActionIllegal
from tillwatch_collector.flows import tickets
from tillwatch_collector.flows.tickets import Why
from tillwatch_collector.store.repository import Repository
from tillwatch_collector.store.session import Store

TERMINALS = 100
"""Few enough that several are at the same fault all the time."""
CODES = ("paper_end", "cover_open", "no_response")
STEPS = 4
"""In one transaction, in the order of what they are about: who locks in one order waits for nobody in a circle."""

BEGAN = datetime(2026, 11, 2, tzinfo=UTC)

PAUSE_S = 0.002
"""After a commit: else who has just had SQLite's one place has it again."""

_WHY = Why(actor="machine:judge", reason="it was so", evidence={})


def main() -> None:
    url, seed, faults = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng, store, raised = Random(seed), Store.open(url), 0
    rule = policies.load().rule("paper_end")
    while raised < faults:
        try:
            with store.transaction() as repository:
                in_this = _steps(repository, rule, rng)
        except StoreUnavailable:  # SQLite hands its one place to whoever asks at the right moment, not in turn
            continue
        raised += in_this
        sys.stdout.write(f"{in_this}\n")
        sys.stdout.flush()
        time.sleep(PAUSE_S)
    store.close()


def _steps(repository: Repository, rule: Rule, rng: Random) -> int:
    raised = 0
    wanted = sorted({(f"t{rng.randrange(TERMINALS)}", rng.choice(CODES)) for _ in range(STEPS)})
    for terminal_id, code in wanted:
        identity = TicketIdentity(
            subject_kind="terminal", subject_id=terminal_id, component="pos_printer:kitchen", code=code
        )
        now = BEGAN + timedelta(seconds=rng.randrange(86_400))
        if rng.random() < 0.6:
            tickets.open_or_recur(repository, identity, rule, _WHY, now)
            raised += 1
        else:
            _end(repository, identity, rng, now)
    return raised


def _end(repository: Repository, identity: TicketIdentity, rng: Random, now: datetime) -> None:
    proved = tickets.prove(repository, identity, _WHY, now)
    if proved is None or rng.random() < 0.5:
        return
    try:
        tickets.act(repository, proved.ticket_id, Action.CLOSE, actor="person:ann", reason="seen to", now=now)
    except TicketActionIllegal:
        raise AssertionError("a ticket that was resolved in this transaction could not be closed") from None


if __name__ == "__main__":
    main()
