"""Heartbeats at a given rate from a process of its own, which is not the bottleneck of what it measures.

One raw connection carries all terminals in large writes; what a broker spends on many connections is not in its figure.
A round-robin over the terminals makes each of them beat at its interval, also while the rate rises and they become
more. When the broker pushes back, TCP makes us
wait, and the report says how many heartbeats were due and how many were sent: what never left must not be counted.

`Load` is the process as its starter sees it. The process takes one JSON object a line, `{"rate", "seconds", "rise_s"}`,
and answers each with a `Report`.
"""

import json
import resource
import select
import socket
import subprocess
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from tests.bench.frames import TERMINALS_MAX, FleetFrames, connect, instant, is_troubled

INTERVAL_S = 5
"""Every terminal beats this often: a rate needs so many times as many terminals."""

CHUNK_S = 0.02
"""What is due after so much time leaves in one write."""

CHUNK_FRAMES_MAX = 400
"""Some 500 KB; a longer write would carry times that are no longer true."""

ROOT = Path(__file__).parents[2]

_PUBACK = b"\x40\x02"
_CONNACK_ACCEPTED = b"\x20\x02\x00\x00"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was sent at one rate; events go beside the heartbeats and are counted apart."""

    rate: float
    seconds: float
    due: int
    heartbeats: int
    events: int
    cpu_us: float
    """Of CPU for each heartbeat, the generator's own."""
    payload_bytes: int


class Load:
    """The generator's process."""

    def __init__(self, host: str, port: int, *, seed: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.load", host, str(port), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def begin(self, *, rate: float, seconds: float, rise_s: float) -> None:
        """Send for so long, from the rate of the order before on for `rise_s` ever more; `end` waits for it."""
        order = {"rate": rate, "seconds": seconds, "rise_s": rise_s}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def end(self) -> Report:
        """Wait for the end of what was begun."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the load generator ended with {self._process.wait()}"
        return Report(**json.loads(line))


@dataclass(frozen=True, slots=True)
class Rise:
    """A rate that rises evenly from one to another, and stays there."""

    from_rate: float
    to_rate: float
    seconds: float

    def rate(self, at_s: float) -> float:
        """How many a second at a time."""
        share = min(1.0, at_s / self.seconds) if self.seconds else 1.0
        return self.from_rate + share * (self.to_rate - self.from_rate)

    def due(self, at_s: float) -> float:
        """How many until a time."""
        rising_s = min(at_s, self.seconds)
        return (self.from_rate + self.rate(rising_s)) / 2 * rising_s + self.to_rate * (at_s - rising_s)


class Sender:
    """The generator itself: a connection, and how often each terminal has beaten."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self._frames = FleetFrames(seed, INTERVAL_S)
        self._beats = array("l", bytes(8 * TERMINALS_MAX))
        self._socket = socket.create_connection((host, port))
        self._socket.sendall(connect(f"load-{seed}"))
        assert self._socket.recv(4) == _CONNACK_ACCEPTED, "expected the broker to let anyone in"
        self._events = 0
        self._next = 0
        """The terminal whose turn it is."""
        self._rate = 0.0

    def send(self, rate: float, seconds: float, rise_s: float) -> Report:
        """Send what is due, until the time is over."""
        events, cpu_s, began_s = self._events, _cpu_s(), time.monotonic()
        rise = Rise(self._rate, rate, rise_s)
        sent, due_last = 0, round(rise.due(seconds))
        while sent < due_last and (elapsed_s := time.monotonic() - began_s) < seconds + CHUNK_S:
            due = min(due_last, int(rise.due(elapsed_s)), sent + CHUNK_FRAMES_MAX)
            if due == sent:
                time.sleep(CHUNK_S)
                continue
            self._socket.sendall(b"".join(self._chunk(due - sent, max(1, round(rise.rate(elapsed_s) * INTERVAL_S)))))
            self._discard()
            sent = due
        self._rate = rate
        return Report(
            rate=rate,
            seconds=time.monotonic() - began_s,
            due=due_last,
            heartbeats=sent,
            events=self._events - events,
            cpu_us=(_cpu_s() - cpu_s) / max(sent, 1) * 1e6,
            payload_bytes=self._frames.payload_bytes,
        )

    def _chunk(self, size: int, terminals: int) -> list[bytes]:
        """Frames of the next terminals, all of one moment."""
        now = datetime.now(UTC)
        sent_at, quiet, beats, number = instant(now), self._frames.quiet, self._beats, self._next
        frames: list[bytes] = []
        for _ in range(size):
            number = number + 1 if number + 1 < terminals else 0
            beat = beats[number]
            if is_troubled(number):
                troubled = self._frames.troubled(number, beat, now, self._events % 0xFFFF + 1)
                self._events += len(troubled) - 1
                frames += troubled
            else:
                frames.append(quiet(number, beat, sent_at))
            beats[number] = beat + 1
        self._next = number
        return frames

    def _discard(self) -> None:
        """Read the broker's acknowledgements, so that it is not held up; nobody waits for them."""
        while select.select([self._socket], [], [], 0)[0]:
            assert self._socket.recv(65536), "the broker has closed the connection"


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    host, port, seed = sys.argv[1:]
    sender = Sender(host, int(port), int(seed))
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        sys.stdout.write(json.dumps(asdict(sender.send(**order))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
