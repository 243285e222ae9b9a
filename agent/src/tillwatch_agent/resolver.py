"""Names to addresses within a limit: the system's resolver, which knows none.

`getaddrinfo` is what the till's software uses, hosts file and all, so it is what is asked; it can block for half a
minute, so it is asked in a thread of its own that is left behind when time is up. Such threads end by themselves; there
are never more than `LOOKUPS_MAX`, and who gets none in time has no answer.
"""

import contextlib
import ipaddress
import queue
import socket
import threading
from dataclasses import dataclass
from enum import StrEnum

LOOKUPS_MAX = 8
"""As many stuck lookups as a broken resolver gathers in four polls of a few names; each costs a thread's stack."""

ADDRESSES_MAX = 3
"""Addresses of one name that are worth trying within one look."""


class Lookup(StrEnum):
    """How a question for a name ended."""

    FOUND = "found"
    NO_SUCH_NAME = "no_such_name"
    """The resolver answered: there is none (EAI_NONAME, EAI_NODATA)."""
    NO_ANSWER = "no_answer"
    """Server failure, refusal and silence look alike from here (all EAI_AGAIN), as does a lookup past its time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The addresses of a name, most preferred first; none unless `lookup` is `found`."""

    lookup: Lookup
    addresses: tuple[str, ...] = ()


_slots = threading.BoundedSemaphore(LOOKUPS_MAX)


def resolve(host: str, timeout_s: float) -> Found:
    """Look a name up in at most twice `timeout_s`: for a thread, then for the answer. An address is its own answer."""
    if is_address(host):
        return Found(lookup=Lookup.FOUND, addresses=(host,))
    if not _slots.acquire(timeout=timeout_s):
        return Found(lookup=Lookup.NO_ANSWER)
    answer: queue.SimpleQueue[Found] = queue.SimpleQueue()
    threading.Thread(target=_look_up, args=(host, answer, _slots), name=f"resolve {host}", daemon=True).start()
    try:
        return answer.get(timeout=timeout_s)
    except queue.Empty:
        return Found(lookup=Lookup.NO_ANSWER)


def is_address(host: str) -> bool:
    """Whether this is an address already."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


def _look_up(host: str, answer: "queue.SimpleQueue[Found]", slots: threading.BoundedSemaphore) -> None:
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = tuple(dict.fromkeys(str(info[4][0]) for info in infos))
        answer.put(Found(lookup=Lookup.FOUND, addresses=addresses[:ADDRESSES_MAX]))
    except socket.gaierror as error:
        unknown = error.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
        answer.put(Found(lookup=Lookup.NO_SUCH_NAME if unknown else Lookup.NO_ANSWER))
    except (OSError, UnicodeError):
        answer.put(Found(lookup=Lookup.NO_SUCH_NAME))
    finally:
        slots.release()
