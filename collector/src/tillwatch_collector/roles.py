"""What a process of the collector does: all of it (`serve`), or one role alone beside others over one PostgreSQL.

| role | takes in | judges | pages and API |
| --- | --- | --- | --- |
| `serve` | everything | when elected | yes |
| `ingest` | its share of everything | never | no |
| `tick` | the retained word of agents that stopped | when elected | no |
| `web` | nothing | never | yes |

Every process but `web` has a name of its own on the broker, and a row that says what it hears. `ingest` shares one
subscription with its like: the broker hands each message to one of them. It hands retained messages to no shared
subscription, so `tick` asks for presence itself: a till that was switched off while nobody listened is not missed.
"""

from dataclasses import dataclass
from enum import StrEnum

from tillwatch_protocol import topics


class Role(StrEnum):
    """What a process is started as."""

    SERVE = "serve"
    INGEST = "ingest"
    TICK = "tick"
    WEB = "web"


@dataclass(frozen=True, kw_only=True, slots=True)
class Duties:
    """What belongs to a role."""

    subscriptions: tuple[str, ...] = ()
    """None: it has no link to the broker."""
    takes_in: bool = False
    """Whether heartbeats reach it, so that time that it does not hear counts toward nobody's silence."""
    shares: bool = False
    """Whether what it does not take in goes to others."""
    ticks: bool = False
    pages: bool = False
    """Whether it serves pages and API; the others serve health and metrics alone."""


DUTIES = {
    Role.SERVE: Duties(subscriptions=topics.INGEST_SUBSCRIPTIONS, takes_in=True, ticks=True, pages=True),
    Role.INGEST: Duties(subscriptions=topics.SHARED_SUBSCRIPTIONS, takes_in=True, shares=True),
    Role.TICK: Duties(subscriptions=topics.TICK_SUBSCRIPTIONS, ticks=True),
    Role.WEB: Duties(pages=True),
}
