"""A driver's look run against anything that answers bytes with bytes, over a port of no time and every misfortune."""

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from typing import Any

from tillwatch_agent.drivers import Attachment, Driver, Looked, Occasion
from tillwatch_agent.health import Observation
from tillwatch_agent.ports import ANSWER_BYTES_MAX, Port, PortLost
from tillwatch_agent.probes import DeviceProbe

Answer = Callable[[bytes], bytes]


@dataclass(kw_only=True)
class Talk:
    """A look run to its end, with what was asked on the way."""

    looked: Looked
    requests: list[bytes] = field(default_factory=list)
    owed: list[bool] = field(default_factory=list)
    """Whether each of them waited for what may still come."""

    @property
    def seen(self) -> Observation:
        return self.looked.observations[0]


def talk(
    driver: Driver,
    answer: Answer,
    memory: Any = None,
    attachment: Attachment = Attachment.SERIAL,
    *,
    bytewise: bool = True,
    look_no: int = 0,
) -> Talk:
    """Run one look; each answer comes byte by byte, or whole."""
    look = driver.look(memory, Occasion(attachment=attachment, look_no=look_no))
    requests: list[bytes] = []
    owed: list[bool] = []
    received: bytes | None = None
    while True:
        try:
            ask = next(look) if received is None else look.send(received)
        except StopIteration as stop:
            return Talk(looked=stop.value, requests=requests, owed=owed)
        assert ask.request in driver.allowed, f"{ask.request.hex(' ')} is not allowed"
        assert len(requests) < 64, "a look must end"
        requests.append(ask.request)
        owed.append(ask.may_be_preceded)
        received = gathered(answer(ask.request), ask.is_answered, 1 if bytewise else 4096)


def gathered(answer: bytes, is_answered: Callable[[bytes], bool], piece_bytes: int) -> bytes:
    """Gather as `Port.ask` does: until it is enough, or no more comes; with what came in the same piece."""
    received = b""
    while answer and len(received) < ANSWER_BYTES_MAX and not is_answered(received):
        received, answer = received + answer[:piece_bytes], answer[piece_bytes:]
    return received


class TablePort(Port):
    """A port to whatever answers; it is lost at the operations that it is told, counted from 0."""

    def __init__(
        self,
        answer: Answer,
        allowed: Container[bytes],
        *,
        attachment: Attachment = Attachment.SERIAL,
        lost_at: Container[int] = (),
    ) -> None:
        super().__init__(name="table", allowed=allowed)
        self.attachment = attachment
        self.operations = 0
        self.is_open = False
        self._answer = answer
        self._lost_at = lost_at
        self._coming = b""

    def open(self) -> None:
        self._turn()
        self.is_open = True

    def close(self) -> None:
        self.is_open = False
        self._coming = b""

    def read(self, timeout_s: float) -> bytes:
        del timeout_s
        self._turn()
        head, self._coming = self._coming[:1000], self._coming[1000:]
        return head

    def drain(self, late_s: float = 0.0) -> int:
        del late_s
        drained, self._coming = len(self._coming), b""
        return drained

    def _fileno(self) -> int:
        raise AssertionError("nothing is selected on")

    def _send(self, data: bytes) -> None:
        self._turn()
        self._coming += self._answer(data)

    def _turn(self) -> None:
        self.operations += 1
        if self.operations - 1 in self._lost_at:
            raise PortLost("table: unplugged")


def losses(driver: Driver, answer: Callable[[], Answer], attachment: Attachment) -> Iterator[tuple[int, DeviceProbe]]:
    """A probe for each operation of a whole look, whose port is lost there and at every one after it."""
    whole = TablePort(answer(), driver.allowed, attachment=attachment)
    DeviceProbe(driver, whole, poll_s=1.0).poll()
    for at in range(whole.operations):
        port = TablePort(answer(), driver.allowed, attachment=attachment, lost_at=range(at, 10**6))
        yield at, DeviceProbe(driver, port, poll_s=1.0)
