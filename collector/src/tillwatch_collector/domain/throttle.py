"""How often somebody may try to sign in: so many at once, then one in so long.

Counted per login and per address, before the password is looked at, so that tries made side by side are counted too.
What is kept is one moment: when all tries will be back (the generic cell rate algorithm). A sign-in that succeeds
gives its try back to the address, and all of them to the login. A one-time link is not a try: whoever is kept out by
another's guessing gets in by one.

A change violates this when a login that nobody has is answered otherwise, or sooner, than one that exists.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv6Address, ip_address


class Counted(StrEnum):
    """What tries are counted by, in the order in which their rows are locked."""

    ADDRESS = "address"
    LOGIN = "login"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """So many tries at once, then one every `every_s`."""

    at_once: int
    every_s: float

    @property
    def whole(self) -> timedelta:
        """How long it takes until all tries are back."""
        return timedelta(seconds=self.at_once * self.every_s)

    @property
    def one(self) -> timedelta:
        """How long it takes until one try is back."""
        return timedelta(seconds=self.every_s)


LIMITS = {
    # Some three hundred guesses a day; who has forgotten a password has given up, or asked for a link, before ten.
    Counted.LOGIN: Limit(at_once=10, every_s=300),
    # An office behind one address comes to work at the same minute; only tries that fail count.
    Counted.ADDRESS: Limit(at_once=30, every_s=20),
}

IPV6_PREFIX = 64
"""Whoever has one address of such a network has them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether a try may be made, and what is kept of it."""

    back_at: datetime
    """When all tries will be back."""
    wait_s: float = 0.0
    """How long until the next one; 0: it may be made now."""

    @property
    def allowed(self) -> bool:
        """Whether it may be made now."""
        return self.wait_s == 0


def tried(limit: Limit, back_at: datetime | None, now: datetime) -> Verdict:
    """Count a try, or say how long to wait; `back_at` is what was kept, None: nothing."""
    before = now if back_at is None else max(back_at, now)
    after = before + limit.one
    wait = after - limit.whole - now
    if wait > timedelta():
        return Verdict(back_at=before, wait_s=wait.total_seconds())
    return Verdict(back_at=after)


def given_back(limit: Limit, back_at: datetime) -> datetime:
    """Return what is kept once a try has turned out right."""
    return back_at - limit.one


def of_address(address: str) -> str:
    """Name whom an address stands for: itself, or its IPv6 network; what is no address is one as it is written."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    network = int(parsed) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX)
    return f"{IPv6Address(network)}/{IPV6_PREFIX}"
