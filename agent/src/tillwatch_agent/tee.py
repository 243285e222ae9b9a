"""A printer's port that is shared with the till's own software: whose bytes go when, and whose answer came.

Two talk to one printer that does not know it. The till's bytes pass unchanged and in their order. Our questions go
between its jobs, and what answers them is taken out of what the printer says; everything else that it says is the
till's. Automatic status, which a till may have switched on, is the till's, and told to us as well.

What is decided here:
- **When we ask.** All that the till wrote is with the printer, or the printer holds the rest off; `QUIET_S` have passed
  since; the printer stands between two commands (`escpos_stream`); no answer to the till is awaited, and none to us.
- **The till waits while we are answered, and never longer than `HOLD_S`.** So at most one of us is answered at a time,
  and nobody's answer can be another's. A printer answers at once: the till that begins just then waits for some
  milliseconds.
- **An answer that comes later is still ours**, for `LATE_S`, until the till asks: from then on what comes is the
  till's. So a till can be told an answer of ours only by a printer that took longer than `HOLD_S` over one byte.
- **Flow control is obeyed here.** Where the till's line has XON/XOFF switched on, the printer's 11 and 13 are not
  handed on, as a serial line would not either; they stop and start the till's bytes. A question in real time passes a
  line that is held off, as the printer takes it all the same (TM-T88III specification, p. 82).
- **What is held is bounded.** What the till writes beyond `HELD_BYTES_MAX` is not read from it (`room`): its own
  writing then waits, as at a printer that is slow.

Fixed bits of what a printer sends: TM-T88III specification, appendix G, p. 173, and p. 144-145 for automatic status.

A change violates this when a byte of the till's is changed, lost, or sent out of its order; or when a question of ours
can go where `Tee.obstacle` names one.
"""

from collections import deque
from collections.abc import Container
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from tillwatch_agent.drivers import escpos_stream
from tillwatch_agent.drivers.escpos_stream import Place, Question, Reader

QUIET_S: Final = 0.5
"""A till writes a receipt in one go or piece by piece as it makes it; half a second is the end of a piece."""
HOLD_S: Final = 0.25
"""An answer takes 5 ms on a slow line and some 50 over a network; a cashier does not notice a quarter of a second."""
LATE_S: Final = 3.0
"""How late an answer can come; the longest that others wait."""
JOB_GAP_S: Final = 1.0
"""ESC @ after such a pause begins a job, whatever stood before it."""
HELD_BYTES_MAX: Final = 8192
"""Two of a printer's buffers; with it and the kernel's own, a till's writing hardly ever waits where it did not."""
PAUSE_S: Final = 0.5
"""Within an answer of several bytes there is no such pause: what began so was noise."""
REPLY_BYTES_MAX: Final = 64
"""The longest answer is a name of some twenty characters."""
TILL_QUESTIONS_MAX: Final = 64
"""A printer queues six (TM-J2000, p. 308); the oldest of more are forgotten."""

_XON, _XOFF, _NUL = 0x11, 0x13, 0x00
_FLOW_CONTROL: Final = frozenset({_XON, _XOFF})
_FIXED, _STATUS, _AUTOMATIC = 0x93, 0x12, 0x10
_LATER_FIXED, _HEADED = 0x90, 0x10
_IDENTITY_HEADER: Final = 0x5F
_NEVER: Final = 0x80
"""No printer's answer has bit 7 (appendix G): it is noise."""


class Obstacle(StrEnum):
    """Why nothing can be asked now."""

    ASKED = "a question is not answered yet"
    TILL_WRITES = "the till is printing"
    TILL_WAITS = "the till waits for an answer"
    NOT_QUIET = "the till has just printed"
    HELD_OFF = "the printer takes nothing now"
    IN_LINE = "the till left a line unfinished"
    IN_COMMAND = "the till left a command unfinished"
    IN_PAGE = "the till left the printer in page mode"
    IN_MACRO = "the till left a macro unfinished"
    ELSEWHERE = "the till talks to another device at this port"
    LOST = "the till sent a command of unknown length"


_BY_PLACE: Final = {
    Place.BOUNDARY: None,
    Place.TEXT: Obstacle.IN_LINE,
    Place.COMMAND: Obstacle.IN_COMMAND,
    Place.PAGE: Obstacle.IN_PAGE,
    Place.MACRO: Obstacle.IN_MACRO,
    Place.ELSEWHERE: Obstacle.ELSEWHERE,
    Place.LOST: Obstacle.LOST,
}


class Standing(Enum):
    """How our question stands."""

    NONE = "none"
    """There is none; the till's bytes go."""
    GOING = "going"
    """It is being written; the till's bytes wait."""
    AWAITED = "awaited"
    """Its answer is awaited; the till's bytes wait."""


class Event(Enum):
    """What happens to our question."""

    ASKED = "asked"
    GONE = "gone"
    ANSWERED = "answered"
    OVERDUE = "overdue"


TRANSITIONS: Final = {
    (Standing.NONE, Event.ASKED): Standing.GOING,
    (Standing.NONE, Event.ANSWERED): Standing.NONE,  # late
    (Standing.GOING, Event.GONE): Standing.AWAITED,
    (Standing.GOING, Event.ANSWERED): Standing.GOING,  # an earlier one's, late
    (Standing.GOING, Event.OVERDUE): Standing.NONE,  # not a byte of it has gone, or `step` is not asked
    (Standing.AWAITED, Event.ANSWERED): Standing.NONE,
    (Standing.AWAITED, Event.OVERDUE): Standing.NONE,
}
"""No row for a second question beside one, nor for what goes or is overdue where none is."""


def step(standing: Standing, event: Event) -> Standing:
    """Say how our question stands after an event; raises `KeyError` where there is no such row."""
    return TRANSITIONS[standing, event]


class Shape(Enum):
    """What answers a question of ours."""

    STATUS = "one byte 0**1**10"
    NUMBER = "one byte 0**0****"
    TEXT = "5F text 00"


def shape_of(request: bytes) -> Shape:
    """Say what answers DLE EOT n or GS I n."""
    if request[0] == escpos_stream.DLE:
        return Shape.STATUS
    return Shape.TEXT if request[2] >= ord("A") else Shape.NUMBER


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What the printer said, by who is to hear it."""

    till: bytes
    agent: bytes


@dataclass(frozen=True, slots=True)
class _Asked:
    shape: Shape
    at_s: float


@dataclass(frozen=True, slots=True)
class _TillAsked:
    question: Question
    at_s: float


class Tee:
    """One printer that is shared, from when its port is opened until it is closed; all times are monotonic seconds."""

    def __init__(self, allowed: Container[bytes]) -> None:
        """Let nothing be asked but what is allowed."""
        self.has_software_flow = False
        """Whether the till's line has XON/XOFF switched on."""
        self._allowed = allowed
        self._reader = Reader()
        self._held = bytearray()
        self._is_job_over = False
        self._wrote_at_s = self._gone_at_s = self._heard_at_s = float("-inf")
        self._till_asked: deque[_TillAsked] = deque(maxlen=TILL_QUESTIONS_MAX)
        self._standing = Standing.NONE
        self._question = b""
        self._question_left = b""
        self._asked_at_s = float("-inf")
        self._asked: deque[_Asked] = deque()
        self._is_held_off = False
        self._automatic_left = 0
        self._text_left = 0
        self._is_text_ours = False

    @property
    def room(self) -> int:
        """How many bytes may be taken from the till."""
        return max(HELD_BYTES_MAX - len(self._held), 0)

    @property
    def is_clear(self) -> bool:
        """Whether nothing is under way in either direction that a new connection would lose."""
        at_rest = self._reader.place is Place.BOUNDARY and self._standing is Standing.NONE
        return at_rest and not self._held and not self._till_asked

    @property
    def is_asking(self) -> bool:
        """Whether the till waits for us."""
        return self._standing is not Standing.NONE

    @property
    def has_asked(self) -> bool:
        """Whether the whole of the last question has gone."""
        return not self._question_left

    def till_wrote(self, data: bytes, now_s: float) -> None:
        """Take what the till wrote."""
        if not self._held and now_s - self._wrote_at_s >= JOB_GAP_S and data.startswith(escpos_stream.INITIALIZE):
            self._reader.begin()
        self._is_job_over = False
        self._held += data
        self._wrote_at_s = now_s

    def till_left(self) -> None:
        """Take note that the till closed its side: it waits for nothing, and its next job will be another."""
        self._till_asked.clear()
        self._is_held_off = False  # a line that is opened anew is not held off
        self._is_job_over = True
        self._end_job()

    def obstacle(self, request: bytes, now_s: float) -> Obstacle | None:
        """Say why a question cannot be asked now."""
        self._forget(now_s)
        if self._standing is not Standing.NONE:
            return Obstacle.ASKED
        if self._held and not self._is_held_off:
            return Obstacle.TILL_WRITES
        if self._till_asked:
            return Obstacle.TILL_WAITS
        if now_s - (self._gone_at_s if self._is_held_off else self._wrote_at_s) < QUIET_S:
            return Obstacle.NOT_QUIET
        if self._is_held_off and shape_of(request) is not Shape.STATUS:
            return Obstacle.HELD_OFF
        return _BY_PLACE[self._reader.place]

    def ask(self, request: bytes, now_s: float) -> None:
        """Ask, where there is no obstacle."""
        obstacle = self.obstacle(request, now_s)
        if obstacle is not None or request not in self._allowed:
            raise AssertionError(f"{request.hex(' ')} cannot be asked: {obstacle or 'it is not allowed'}")
        self._standing = step(self._standing, Event.ASKED)
        self._question = self._question_left = request
        self._asked_at_s = now_s

    def due(self, now_s: float) -> bytes:
        """Say what is to be written to the printer now; `gone` is told how much of it was."""
        self._end_hold(now_s)
        if self._standing is Standing.GOING:
            return self._question_left
        is_stopped = self._standing is Standing.AWAITED or self._is_held_off
        return b"" if is_stopped else bytes(self._held)

    def gone(self, count: int, now_s: float) -> None:
        """Take note that the printer's line took the first bytes of what was due."""
        if self._standing is Standing.GOING:
            self._question_left = self._question_left[count:]
            if not self._question_left:
                self._standing = step(self._standing, Event.GONE)
                self._asked.append(_Asked(shape_of(self._question), now_s))
            return
        passed = bytes(self._held[:count])
        del self._held[:count]
        self._wrote_at_s = self._gone_at_s = now_s
        for question in self._reader.feed(passed):
            self._asked.clear()
            self._till_asked.append(_TillAsked(question, now_s))
        self._end_job()

    def device_said(self, data: bytes, now_s: float) -> Said:
        """Take what the printer said; returns it by who is to hear it."""
        self._forget(now_s)
        if now_s - self._heard_at_s >= PAUSE_S:
            self._automatic_left = self._text_left = 0
        self._heard_at_s = now_s
        till, agent = bytearray(), bytearray()
        for byte in data:
            is_tills, is_ours = self._whose(byte)
            if is_tills:
                till.append(byte)
            if is_ours:
                agent.append(byte)
        return Said(till=bytes(till), agent=bytes(agent))

    def next_due_s(self, now_s: float) -> float | None:
        """Say in how many seconds the till need not wait for us any more; None where it does not."""
        if self._standing is Standing.NONE or self._is_begun:
            return None
        return max(self._asked_at_s + HOLD_S - now_s, 0.0)

    @property
    def _is_begun(self) -> bool:
        """Whether some of our question has gone, and some has not: then it is first brought to its end."""
        return self._standing is Standing.GOING and self._question_left != self._question

    def _end_job(self) -> None:
        """Once all that a till wrote that went away is with the printer, its next job is another."""
        if self._is_job_over and not self._held:
            self._is_job_over = False
            self._reader.begin()

    def _end_hold(self, now_s: float) -> None:
        is_overdue = self._standing is not Standing.NONE and now_s - self._asked_at_s >= HOLD_S
        if is_overdue and not self._is_begun:
            self._standing = step(self._standing, Event.OVERDUE)

    def _forget(self, now_s: float) -> None:
        """Await no longer what will not come."""
        while self._asked and now_s - self._asked[0].at_s >= LATE_S:
            self._asked.popleft()
        while self._till_asked and now_s - self._till_asked[0].at_s >= LATE_S:
            self._till_asked.popleft()

    def _whose(self, byte: int) -> tuple[bool, bool]:
        """Say whether a byte is the till's, and whether it is ours."""
        if byte in _FLOW_CONTROL and not self._text_left:
            return self._flow(byte)
        if self._text_left:
            return self._within_text(byte)
        if self._automatic_left and byte & _LATER_FIXED == 0:
            self._automatic_left -= 1
            return True, True
        self._automatic_left = 0
        if byte & _FIXED == _AUTOMATIC:
            self._automatic_left = 3
            return True, True
        if byte & _LATER_FIXED == _HEADED and byte & _FIXED != _STATUS:
            return self._text_begins(byte)
        if self._asked:
            return self._while_ours_is_asked(byte)
        self._answer_till(Question.STATUS if byte & _FIXED == _STATUS else Question.NUMBER)
        return True, False

    def _flow(self, byte: int) -> tuple[bool, bool]:
        if self.has_software_flow:
            self._is_held_off = byte == _XOFF
        return not self.has_software_flow, False

    def _while_ours_is_asked(self, byte: int) -> tuple[bool, bool]:
        shape = self._asked[0].shape
        is_status = byte & _FIXED == _STATUS and shape is Shape.STATUS
        is_number = byte & _LATER_FIXED == 0 and shape is Shape.NUMBER
        if is_status or is_number:
            self._answered()
            return False, True
        return not byte & _NEVER, bool(byte & _NEVER)

    def _text_begins(self, byte: int) -> tuple[bool, bool]:
        """Begin an answer of several bytes, which ends with NUL: ours, if it has the header of what we asked."""
        is_ours = bool(self._asked) and self._asked[0].shape is Shape.TEXT and byte == _IDENTITY_HEADER
        self._text_left, self._is_text_ours = REPLY_BYTES_MAX, is_ours
        return not is_ours, is_ours

    def _within_text(self, byte: int) -> tuple[bool, bool]:
        self._text_left -= 1
        if byte == _NUL:
            self._text_left = 0
        if self._text_left == 0 and self._is_text_ours and self._asked:
            self._answered()
        elif self._text_left == 0 and not self._is_text_ours:
            self._answer_till(Question.OTHER)
        return not self._is_text_ours, self._is_text_ours

    def _answered(self) -> None:
        self._asked.popleft()
        self._standing = step(self._standing, Event.ANSWERED)

    def _answer_till(self, question: Question) -> None:
        """Take note that the till has its answer to one question of a kind."""
        found = next((asked for asked in self._till_asked if asked.question in {question, Question.OTHER}), None)
        if found is not None:
            self._till_asked.remove(found)
