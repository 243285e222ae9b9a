"""A broker's stream of bytes, in large pieces: what most of it is, is taken out here; the rest is left as it came.

A fleet's heartbeats are PUBLISH packets at QoS 0, which nobody answers (MQTT 3.1.1, 3.3): between their first byte and
their last there is nothing to keep account of. `Packets` takes them from the stream as messages. All else (answers,
pings, messages at QoS 1, what is malformed) it passes on, byte for byte and packet by packet, to the client that the
connection belongs to, which never sees the others. The order is kept: a packet is passed on when all before it was
taken, and nothing behind it is looked at until it was read.

A change violates this when the bytes passed on are not whole packets, one after the other, as they came.
"""

from typing import NamedTuple

PIECE_BYTES = 256 * 1024
"""Read at once: some two hundred heartbeats, and what a kernel's buffer usually holds."""

_RETAINED = 0x31
_QOS_0 = (0x30, _RETAINED)
"""First bytes of a PUBLISH at QoS 0 (MQTT 3.1.1, 3.3.1)."""

_LENGTH_BYTES_MAX = 4
"""Of the remaining length, seven bits in each; the eighth says that another follows (2.2.3)."""


class Published(NamedTuple):
    """A message at QoS 0."""

    topic: str
    payload: bytes
    retained: bool


class Packets:
    """What was read and is neither taken nor passed on: at most a piece, and before it the beginning of a packet."""

    def __init__(self) -> None:
        self._piece = b""
        self._place = 0
        self._passing = 0
        """Bytes of the packet at hand that are still to be passed on."""
        self._seen = True
        """Whether what is left is the beginning of a packet and no more."""

    @property
    def passing(self) -> int:
        """How many bytes are there to be passed on."""
        return min(self._passing, len(self._piece) - self._place)

    @property
    def waiting(self) -> int:
        """How many bytes may be more than the beginning of a packet."""
        return self.passing if self._seen else len(self._piece) - self._place

    def feed(self, piece: bytes) -> None:
        """Add what was read."""
        self._piece = self._piece[self._place :] + piece
        self._place = 0
        self._seen = False

    def take(self) -> list[Published]:
        """Take the messages up to the next packet that is passed on, or up to the last that is whole."""
        taken: list[Published] = []
        piece, place, end = self._piece, self._place, len(self._piece)
        while not self._passing and place < end:
            length, body = _measured(piece, place)
            if body > end:
                break
            kind, after = piece[place], body + length
            if kind in _QOS_0 and length <= PIECE_BYTES:
                if after > end:
                    break
                payload = body + 2 + int.from_bytes(piece[body : body + 2], "big")
                if payload <= after:
                    topic = piece[body + 2 : payload].decode(errors="replace")
                    taken.append(Published(topic, piece[payload:after], kind == _RETAINED))
                    place = after
                    continue
            self._passing = after - place
        self._place = place
        self._seen = True
        return taken

    def pass_on(self, bytes_max: int) -> bytes:
        """Return the next bytes of the packet that is passed on."""
        portion = self._piece[self._place : self._place + min(bytes_max, self._passing)]
        self._place += len(portion)
        self._passing -= len(portion)
        self._seen = bool(self._passing)
        return portion


def _measured(piece: bytes, place: int) -> tuple[int, int]:
    """Return a packet's remaining length, and where what it counts begins.

    That lies beyond the end of the piece while the length itself is not here. A length of too many bytes is passed on
    with all of them: the client refuses it.
    """
    length = 0
    for at in range(place + 1, min(place + 1 + _LENGTH_BYTES_MAX, len(piece))):
        byte = piece[at]
        length |= (byte & 0x7F) << 7 * (at - place - 1)
        if not byte & 0x80:
            return length, at + 1
    return length, place + 2 + _LENGTH_BYTES_MAX
