"""The broker's stream: messages at QoS 0 are taken from it, all else is passed on as it came, in any cut."""

import random
from collections.abc import Callable, Iterable

import pytest
from tests.bench.frames import publish

from tillwatch_collector.packets import PIECE_BYTES, Packets, Published

PINGRESP = b"\xd0\x00"
SUBACK = b"\x90\x03\x00\x01\x00"


class Reader:
    """Reads like paho: the first byte, the length byte by byte, then the rest; `seen` is what came, in its order."""

    def __init__(self) -> None:
        self.packets = Packets()
        self.seen: list[Published | bytes] = []

    def read(self, pieces: Iterable[bytes]) -> list[Published | bytes]:
        for piece in pieces:
            self.packets.feed(piece)
            while self.packets.waiting:
                self.seen += self.packets.take()
                while self.packets.passing:
                    self._read_on(self.packets.pass_on(3))
        return self.seen

    def _read_on(self, portion: bytes) -> None:
        if self.seen and isinstance(self.seen[-1], bytes):
            self.seen[-1] += portion
        else:
            self.seen.append(portion)


def message(number: int, length: int = 20) -> bytes:
    return publish(f"t/{number}", b"x" * length)


def published(number: int, length: int = 20) -> Published:
    return Published(f"t/{number}", b"x" * length, retained=False)


STREAMS = [
    # nothing but heartbeats
    pytest.param([message(1), message(2)], [published(1), published(2)], id="messages"),
    # a payload of none, one whose length takes two bytes, one that takes three
    pytest.param(
        [message(1, 0), message(2, 200), message(3, 20_000)],
        [published(1, 0), published(2, 200), published(3, 20_000)],
        id="lengths",
    ),
    # what was retained says so
    pytest.param([b"\x31" + message(1)[1:]], [published(1)._replace(retained=True)], id="retained"),
    # the client's own packets, between messages and behind each other
    pytest.param(
        [message(1), SUBACK, PINGRESP, message(2), PINGRESP],
        [published(1), SUBACK + PINGRESP, published(2), PINGRESP],
        id="others between",
    ),
    # at QoS 1 a message is answered: that is the client's
    pytest.param(
        [message(1), publish("t/2", b"event", 7), message(3)],
        [published(1), publish("t/2", b"event", 7), published(3)],
        id="qos 1",
    ),
    # a repeated one at QoS 0 there is not: let the client say so
    pytest.param([b"\x38" + message(1)[1:]], [b"\x38" + message(1)[1:]], id="dup"),
    # a topic that reaches beyond its packet, and a packet that has no room for a topic
    pytest.param([b"\x30\x04\x00\x09ab", message(1)], [b"\x30\x04\x00\x09ab", published(1)], id="topic too long"),
    pytest.param([b"\x30\x00", message(1)], [b"\x30\x00", published(1)], id="no topic"),
    # a topic that is no UTF-8 is a message still: of nobody we know
    pytest.param([b"\x30\x03\x00\x01\xff"], [Published("\N{REPLACEMENT CHARACTER}", b"", retained=False)], id="utf-8"),
]


@pytest.mark.parametrize(("stream", "seen"), STREAMS)
@pytest.mark.parametrize("cut", [1, 2, 3, 7, 10**6])
def test_messages_are_taken_and_all_else_is_passed_on_in_order(
    stream: list[bytes], seen: list[Published | bytes], cut: int
) -> None:
    whole = b"".join(stream)
    assert Reader().read(whole[at : at + cut] for at in range(0, len(whole), cut)) == seen


def test_a_length_without_end_is_passed_on_for_the_client_to_refuse() -> None:
    assert Reader().read([b"\x30", b"\xff\xff", b"\xff\xff\xff"]) == [b"\x30\xff\xff\xff\xff\xff"]


def test_a_message_that_no_piece_holds_is_left_to_the_client() -> None:
    large = publish("t/1", b"x" * PIECE_BYTES)
    reader = Reader()
    assert reader.read([large[:100]]) == [large[:100]]
    assert reader.read([large[100:], message(2)]) == [large, published(2)]


def test_the_beginning_of_a_packet_is_nothing_to_wait_upon() -> None:
    reader = Reader()
    reader.read([message(1)[:9]])
    assert (reader.packets.waiting, reader.packets.passing) == (0, 0)


MAKERS: tuple[Callable[[int, random.Random], bytes], ...] = (
    lambda number, rng: message(number, rng.choice([0, 100, 126, 127, 128, 300])),
    lambda number, rng: publish(f"t/{number}", b"y" * rng.randrange(300), number % 0xFFFF + 1),
    lambda _, rng: rng.choice([PINGRESP, SUBACK]),
)


@pytest.mark.parametrize("seed", range(20))
def test_any_stream_is_seen_alike_in_any_cut(seed: int) -> None:
    rng = random.Random(seed)
    whole = b"".join(rng.choice(MAKERS)(number, rng) for number in range(60))
    places = sorted(rng.randrange(len(whole)) for _ in range(40))
    pieces = [whole[begin:end] for begin, end in zip([0, *places], [*places, len(whole)], strict=True)]
    assert Reader().read(pieces) == Reader().read([whole])
