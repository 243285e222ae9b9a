"""ESC/POS receipt printers: the four real-time status answers, automatic status beside them, and who the printer is.

A look asks DLE EOT 1 to 4 (10 04 n), which a serial printer answers at once even when it is offline, out of paper or
its buffer is full (Epson TM-T88III specification, p. 82). Each answer is one byte whose fixed bits are checked; XON and
XOFF may come at any time and are skipped. All that can be expressed is in `Request`: nothing that recovers, clears,
prints or opens (DLE ENQ, DLE DC4; TM-H5000, p. 64).

What is decided here:
- **Silence is unknown, never ok.** A request without an answer judges nothing; a look without any is `no_response`.
- **Garbage is unknown.** One reply that is no status byte is forgiven as noise and asked again; the second ends the
  look as `garbled_response`. A byte off a line at the wrong speed passes the fixed bits once in sixteen, so a look that
  forgave more would sooner or later believe one. A Star in its own mode ends here: it takes 10 04 n for EOT and answers
  by another pattern (azmanual.top 142740, p. 186), and twice where n is itself an EOT; when all that came fits that
  pattern, the look says so.
- **A late answer is not another's answer.** After a missing answer the next question waits until `Timing.late_s` have
  passed since the last one, and a look asks on only to learn. What was learned while answers came late is not kept.
- **Automatic status is read and never asked for.** GS a would change what the till receives. Where a till has switched
  it on, four bytes may come at any time; they fill in what was not answered, an answer always outranks them.
- **Which n a printer answers is learned**, and the others are not asked: the Custom P80C answers only n = 2
  (easymanua, p. 59), the MOB-58 n = 1 and 4 (manualshive 1744413, p. 13). Silence forgets it: what comes back may be
  another printer. What its model does not tell at all is data (`escpos_limits`).
- **While the cover is open, paper is not judged**: its detection may be incorrect (Epson TM-T88, p. 44). Nor is the
  head's heat: the same bit means a cover opened while printing (TM-T88III, p. 84).
- **One cause, one condition.** `offline` is judged only when nothing that the printer tells explains it;
  `paper_near_end` is not judged when paper has ended. Power state is UnifiedPOS's: a printer that answers and says that
  it is offline is powered and not ready, `offline`; else `online`.

A change violates this when a printer that said nothing reads `ok`, or when a byte outside `Request` can be asked for.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Final

from tillwatch_agent.drivers import (
    Ask,
    Attachment,
    Device,
    Looked,
    Occasion,
    SettingsInvalid,
    Talk,
    Timing,
    Transport,
    excerpt,
    garbled,
    unanswered,
)
from tillwatch_agent.drivers.escpos_limits import NONE, Limit, limit_of
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode, Health, Kind, PowerState


class Request(Enum):
    """All that may ever be written to a printer."""

    PRINTER = b"\x10\x04\x01"
    OFFLINE_CAUSE = b"\x10\x04\x02"
    ERROR_CAUSE = b"\x10\x04\x03"
    PAPER = b"\x10\x04\x04"
    FIRMWARE = b"\x1d\x49\x41"
    MAKER = b"\x1d\x49\x42"
    MODEL = b"\x1d\x49\x43"
    SERIAL_NUMBER = b"\x1d\x49\x44"
    MODEL_ID = b"\x1d\x49\x01"
    TYPE_ID = b"\x1d\x49\x02"


ALLOWED: Final = frozenset(request.value for request in Request)
"""The allow-list that a printer's port is built with."""

STATUSES: Final = (Request.PRINTER, Request.OFFLINE_CAUSE, Request.ERROR_CAUSE, Request.PAPER)
IDENTITIES: Final = {
    Request.MAKER: "maker",
    Request.MODEL: "model",
    Request.FIRMWARE: "firmware",
    Request.SERIAL_NUMBER: "serial_number",
}
"""GS I n in the order asked, and the fact that each answer is (TM-J2000, p. 469)."""

NUMBERS: Final = (Request.MODEL_ID, Request.TYPE_ID)
"""GS I n of one byte, which older printers answer as well (TM-T81, p. 110)."""


REPLY_BYTES_MAX = 64
"""The longest answer is a name of some twenty characters; what sends more than this is not a printer."""

RETRIES_MAX = 2
"""Second tries in one look, over all its requests: a silent printer costs seconds, not a multiple of them."""

GARBLED_MAX = 1
"""Replies that make no sense, forgiven in one look."""

RELEARN_LOOKS = 720
"""A printer that answered not all of n is asked for the rest again after so many looks: an hour, at one in 5 s."""

_FIXED, _STATUS, _AUTOMATIC, _LATER_FIXED = 0x93, 0x12, 0x10, 0x90
_DRAWER_HIGH, _OFFLINE = 0x04, 0x08  # n = 1
_FED_BY_BUTTON, _PAPER_STOP, _ERROR = 0x08, 0x20, 0x40  # n = 2
_NEAR_END, _END = 0x0C, 0x60  # n = 4; of each pair of bits both are set or none
_HAS_CUTTER = 0x02  # GS I 2

_BITS: Final = (
    (Request.OFFLINE_CAUSE, 0x04, ConditionCode.COVER_OPEN),
    (Request.ERROR_CAUSE, 0x04, ConditionCode.RECOVERABLE_ERROR),  # Citizen: a black-mark error (CT-S2000, p. 57)
    (Request.ERROR_CAUSE, 0x08, ConditionCode.CUTTER_ERROR),
    (Request.ERROR_CAUSE, 0x20, ConditionCode.UNRECOVERABLE_ERROR),
    (Request.ERROR_CAUSE, 0x40, ConditionCode.HEAD_HOT),
)
"""Conditions that are one bit of one answer (TM-T88III, p. 82-84)."""

CAUSES: Final = frozenset({code for _, _, code in _BITS} | {ConditionCode.PAPER_END})
"""What explains that a printer is offline."""

CODES: Final = CAUSES | {ConditionCode.PAPER_NEAR_END, ConditionCode.OFFLINE}


class ReplyKind(StrEnum):
    """What came in answer to DLE EOT n."""

    SILENT = "silent"
    """Nothing, or flow control only."""
    STATUS = "status"
    """One status byte, its fixed bits right."""
    GARBLED = "garbled"
    """Anything else, a half automatic status among it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What came in answer to one request."""

    kind: ReplyKind
    status: int = 0
    detail: str | None = None
    automatic: bytes = b""
    """The newest whole automatic status that came beside it: four bytes, or none."""


class Trouble(StrEnum):
    """Why a look gave nothing to judge by; each is the condition of the same name."""

    NO_RESPONSE = ConditionCode.NO_RESPONSE
    GARBLED_RESPONSE = ConditionCode.GARBLED_RESPONSE


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What earlier looks taught of one printer; a new `Memory` knows nothing."""

    statuses: tuple[Request, ...] = ()
    """Those of `STATUSES` that it answers; none: not known yet."""
    facts: Mapping[str, str] = field(default_factory=dict)
    is_identified: bool = False
    """It was asked who it is, and is not asked again."""
    looks_left: int = 0
    """Looks until a partial set is learned anew."""
    is_owed: bool = False
    """The last look ended with a question unanswered: the answer may come yet."""

    @property
    def is_learning(self) -> bool:
        """Whether the next look asks for everything."""
        return not self.statuses or (self.statuses != STATUSES and self.looks_left == 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one look gave: status bytes by request, or the trouble that left none; and what to remember."""

    answers: Mapping[Request, int]
    memory: Memory
    trouble: Trouble | None = None
    detail: str | None = None
    limit: Limit = NONE


@dataclass(kw_only=True, slots=True)
class _Line:
    """How the talk has gone so far."""

    is_owed: bool
    retries_left: int = RETRIES_MAX
    garbled: int = 0
    unanswered: int = 0
    is_prompt: bool = True
    """Every answer came at the first try."""
    is_star_like: bool = True
    """All garbage so far is what a Star in line mode answers."""
    automatic: bytes = b""
    detail: str | None = None

    @property
    def is_lost(self) -> bool:
        return self.garbled > GARBLED_MAX

    def missed(self, reply: Reply) -> None:
        self.is_owed = True
        self.garbled += reply.kind is ReplyKind.GARBLED
        self.detail = reply.detail or self.detail


@dataclass(frozen=True, kw_only=True, slots=True)
class EscPos:
    """One printer; see `Driver`."""

    name: str
    component: str
    drawer_open_level: str | None = None
    """`high`, `low`, or None: no drawer."""
    model: str | None = None
    """What its label says; for a printer that does not say it of itself."""

    transport = Transport.BYTES
    allowed = ALLOWED
    timing = Timing()

    @property
    def components(self) -> tuple[str, ...]:
        """Name the printer, and the drawer at it."""
        drawer = (f"{Kind.CASH_DRAWER}:{self.name}",) if self.drawer_open_level else ()
        return (self.component, *drawer)

    def look(self, memory: Memory | None, occasion: Occasion) -> Talk:
        """Talk to the printer once."""
        known = memory or Memory()
        seen = yield from look(known, limit_of(known.facts, self.model))
        told = observe(seen, name=self.name, attachment=occasion.attachment, drawer_open_level=self.drawer_open_level)
        return Looked(observations=told, memory=seen.memory)


def driver(device: Device) -> EscPos:
    """Make the driver of one printer; raises `SettingsInvalid`."""
    device.knows_only("drawer_open_level", "model")
    level = device.text("drawer_open_level")
    if level not in {None, "high", "low"}:
        raise SettingsInvalid(f"{device.component}: drawer_open_level: expected high or low, got {level!r}")
    return EscPos(
        name=device.name,
        component=device.component,
        drawer_open_level=level,
        model=device.text("model"),
    )


def look(memory: Memory, limit: Limit = NONE) -> Generator[Ask, bytes, Look]:
    """Talk to a printer once: yields what to ask, is sent what came, returns what the look gave."""
    line = _Line(is_owed=memory.is_owed)
    answers: dict[Request, int] = {}
    for request in STATUSES if memory.is_learning else memory.statuses:
        status = yield from _asked(request, line)
        if status is not None:
            answers[request] = status
        if line.is_lost or (status is None and not _may_go_on(memory, answers, line)):
            break
    unasked = read_automatic(line.automatic) if line.automatic and limit.is_automatic_plain else {}
    if line.is_lost or not (answers or unasked):
        return _failed(line)
    learned = _learned(memory, answers, line)
    if not learned.is_identified and _may_identify(answers, line):
        learned = yield from _identified(learned)
    return Look(answers={**unasked, **answers}, memory=learned, limit=limit)


def read_reply(received: bytes, request: Request) -> Reply:
    """Tell what came: one status byte, nothing, or garbage.

    Status is (b & 93) == 12; automatic status begins with (b & 93) == 10 and has three more of (b & 90) == 0
    (TM-T88III, appendix G, p. 173); only XOFF may stand inside it (p. 144-145). Two status bytes are no answer: one
    request was outstanding, so one of them answers something else.
    """
    if received.startswith(request.value):
        return Reply(kind=ReplyKind.GARBLED, detail="the line echoes what is sent")
    statuses: list[int] = []
    automatic_left = 0
    automatic = b""
    for byte in received:
        if byte in _FLOW_CONTROL:
            continue
        if automatic_left and byte & _LATER_FIXED == 0:
            automatic_left -= 1
            automatic += bytes([byte])
        elif automatic_left or byte & _FIXED not in {_STATUS, _AUTOMATIC}:
            return _garbled(received)
        elif byte & _FIXED == _AUTOMATIC:
            automatic_left = 3
            automatic = bytes([byte])
        else:
            statuses.append(byte)
    whole = b"" if automatic_left else automatic
    if len(statuses) == 1:
        return Reply(kind=ReplyKind.STATUS, status=statuses[0], automatic=whole)
    return _garbled(received) if statuses or automatic_left else Reply(kind=ReplyKind.SILENT, automatic=whole)


def read_automatic(block: bytes) -> dict[Request, int]:
    """Say four bytes of automatic status as the four answers to DLE EOT would (Epson programming guide, p. 318-320)."""
    printer, errors, paper, _ = block
    causes = (0x04 if printer & 0x20 else 0) | (0x08 if printer & 0x40 else 0)
    causes |= (_PAPER_STOP if paper & 0x0C else 0) | (_ERROR if errors & 0x6C else 0)
    ended = (_NEAR_END if paper & 0x03 else 0) | (_END if paper & 0x0C else 0)
    return {
        Request.PRINTER: _STATUS | printer & (_DRAWER_HIGH | _OFFLINE),
        Request.OFFLINE_CAUSE: _STATUS | causes,
        Request.ERROR_CAUSE: _STATUS | errors & 0x6C,
        Request.PAPER: _STATUS | ended,
    }


def read_identity(received: bytes) -> str | None:
    """Read the text of a GS I answer, 5F text 00; None when it is not one."""
    plain = bytes(byte for byte in received if byte not in _FLOW_CONTROL)
    if not (plain.startswith(b"_") and plain.endswith(b"\x00")):
        return None
    text = plain[1:-1]
    return text.decode("ascii").strip() or None if text.isascii() and text.decode("ascii").isprintable() else None


def read_number(received: bytes) -> int | None:
    """Read a GS I answer of one byte, 0**0****; None when it is not one."""
    plain = bytes(byte for byte in received if byte not in _FLOW_CONTROL)
    return plain[0] if len(plain) == 1 and plain[0] & _LATER_FIXED == 0 else None


def observe(
    seen: Look, *, name: str, attachment: Attachment, drawer_open_level: str | None = None
) -> tuple[Observation, ...]:
    """Turn a look into observations of the printer and, where its polarity is configured, of the cash drawer at it.

    The protocol reports the level of pin 3 of the drawer connector; whether open is high or low is wiring
    (TM-T88III, p. 82), so `drawer_open_level` is "high", "low", or None: no drawer.
    """
    printer = _printer(seen, f"{Kind.POS_PRINTER}:{name}", attachment)
    if drawer_open_level is None:
        return (printer,)
    return printer, _drawer(seen, printer, f"{Kind.CASH_DRAWER}:{name}", is_open_high=drawer_open_level == "high")


def _drawer_unknown(printer: Observation, component: str) -> Observation:
    """Say of a drawer whose printer cannot be asked: unknown, for the printer's reason."""
    return Observation(component=component, health=Health.UNKNOWN, reason=printer.reason or ConditionCode.NO_RESPONSE)


_FLOW_CONTROL = b"\x11\x13"
_STAR_FIXED, _STAR_EOT, _EOT = 0x11, 0x10, 4
_STAR_LIKE = 'it answers as a Star in line mode does: protocol = "star"'


def _garbled(received: bytes) -> Reply:
    return Reply(kind=ReplyKind.GARBLED, detail=f"expected one status byte, got {excerpt(received)}")


def _is_star_like(received: bytes, request: Request) -> bool:
    """Whether each EOT that was sent has one answer of a Star's pattern, ***1***0 (azmanual.top 142740, p. 186)."""
    answers = [byte for byte in received if byte & _STAR_FIXED == _STAR_EOT]
    return len(answers) == len(received) == request.value.count(_EOT)


def _asked(request: Request, line: _Line) -> Generator[Ask, bytes, int | None]:
    """Ask for one status, and again while tries are left. A late answer to the first try answers the second as well."""
    is_first_try = may_be_preceded = True
    while True:
        received = yield Ask(
            request=request.value,
            is_answered=lambda got: read_reply(got, request).kind is ReplyKind.STATUS or len(got) >= REPLY_BYTES_MAX,
            may_be_preceded=line.is_owed and may_be_preceded,
        )
        reply = read_reply(received, request)
        line.automatic = reply.automatic or line.automatic
        if reply.kind is ReplyKind.STATUS:
            line.is_owed = not is_first_try
            line.is_prompt = line.is_prompt and is_first_try
            return reply.status
        is_first_try, may_be_preceded = False, reply.kind is ReplyKind.GARBLED
        if reply.kind is ReplyKind.GARBLED:
            line.is_star_like = line.is_star_like and _is_star_like(received, request)
        line.missed(reply)
        if line.is_lost or line.retries_left == 0:
            line.unanswered += 1
            return None
        line.retries_left -= 1


def _may_go_on(memory: Memory, answers: Mapping[Request, int], line: _Line) -> bool:
    """Whether to ask on after a missing answer: only to learn, of a line on which what does come comes at once.

    Every printer known answers n = 1 or n = 2: after two missing answers and no other there is nobody to ask.
    """
    return memory.is_learning and line.is_prompt and (bool(answers) or line.unanswered == 1)


def _failed(line: _Line) -> Look:
    trouble = Trouble.GARBLED_RESPONSE if line.is_lost else Trouble.NO_RESPONSE
    detail = _STAR_LIKE if line.is_lost and line.is_star_like else line.detail
    return Look(answers={}, memory=Memory(is_owed=True), trouble=trouble, detail=detail)


def _learned(memory: Memory, answers: Mapping[Request, int], line: _Line) -> Memory:
    if not memory.is_learning:
        return replace(memory, looks_left=max(memory.looks_left - 1, 0), is_owed=line.is_owed)
    if not line.is_prompt:
        return Memory(is_owed=line.is_owed)
    statuses = tuple(request for request in STATUSES if request in answers)
    return Memory(statuses=statuses, looks_left=RELEARN_LOOKS, is_owed=line.is_owed)


def _may_identify(answers: Mapping[Request, int], line: _Line) -> bool:
    """Only one that is online and answers all at once: GS I waits in the buffer, and a lesser printer may print it."""
    is_online = not answers.get(Request.PRINTER, _OFFLINE) & _OFFLINE
    return len(answers) == len(STATUSES) and line.is_prompt and is_online


def _identified(learned: Memory) -> Generator[Ask, bytes, Memory]:
    """Ask who it is, once each, by texts and then by numbers.

    A printer that lets one go unanswered has said what it will in that way (Bixolon has no n = 68).
    """
    facts: dict[str, str] = {}
    is_owed = False
    for request, fact in IDENTITIES.items():
        received = yield Ask(
            request=request.value, is_answered=lambda got: got.endswith(b"\x00") or len(got) >= REPLY_BYTES_MAX
        )
        text = read_identity(received)
        if text is None:
            is_owed = True
            break
        facts[fact] = text
    for request in NUMBERS:
        received = yield Ask(request=request.value, is_answered=_is_number, may_be_preceded=is_owed)
        number = read_number(received)
        is_owed = number is None
        if number is None:
            break
        facts |= _number_facts(request, number)
    return replace(learned, facts=facts, is_identified=True, is_owed=is_owed)


def _is_number(received: bytes) -> bool:
    return read_number(received) is not None or len(received) >= REPLY_BYTES_MAX


def _number_facts(request: Request, number: int) -> dict[str, str]:
    if request is Request.MODEL_ID:
        return {"model_id": f"0x{number:02x}"}
    return {"cutter": "yes" if number & _HAS_CUTTER else "no"}


def _printer(seen: Look, component: str, attachment: Attachment) -> Observation:
    if seen.trouble is Trouble.NO_RESPONSE:
        return unanswered(component, attachment, seen.detail)
    if seen.trouble:
        return garbled(component, seen.detail or "")
    verdicts = _verdicts(seen)
    faults = {code for code, is_true in verdicts.items() if is_true} - {ConditionCode.PAPER_NEAR_END}
    said_offline = seen.answers.get(Request.PRINTER, 0) & _OFFLINE
    return Observation(
        component=component,
        health=Health.FAULT if faults else Health.OK,
        power_state=PowerState.OFFLINE if said_offline or faults else PowerState.ONLINE,
        true_codes={code: _detail(code, seen) for code, is_true in verdicts.items() if is_true},
        undetermined=frozenset(code for code, is_true in verdicts.items() if is_true is None),
        facts=dict(seen.memory.facts),
    )


def _verdicts(seen: Look) -> dict[str, bool | None]:
    """Each code: true, not so, or (None) not judged by this look."""
    verdicts: dict[str, bool | None] = dict.fromkeys(sorted(CODES))
    for request, mask, code in _BITS:
        if request in seen.answers and code not in seen.limit.never_told:
            verdicts[code] = bool(seen.answers[request] & mask)
    if verdicts[ConditionCode.COVER_OPEN]:
        verdicts[ConditionCode.HEAD_HOT] = None if verdicts[ConditionCode.HEAD_HOT] else False
    else:
        verdicts[ConditionCode.PAPER_END] = _paper_end(seen)
        verdicts[ConditionCode.PAPER_NEAR_END] = None if verdicts[ConditionCode.PAPER_END] else _near_end(seen)
    verdicts[ConditionCode.OFFLINE] = _offline(seen, is_explained=any(verdicts[code] for code in CAUSES))
    return verdicts


def _paper_end(seen: Look) -> bool | None:
    """By the sensor (n = 4) or by its consequence (n = 2); a printer without n = 4 is believed on n = 2 alone."""
    stop = seen.answers.get(Request.OFFLINE_CAUSE)
    if stop is not None and stop & _PAPER_STOP:
        return True
    if Request.PAPER in seen.answers:
        return _pair(seen.answers[Request.PAPER], _END)
    if stop is None or Request.PAPER in seen.memory.statuses or not seen.memory.statuses:
        return None
    return False


def _near_end(seen: Look) -> bool | None:
    return _pair(seen.answers[Request.PAPER], _NEAR_END) if Request.PAPER in seen.answers else None


def _pair(status: int, mask: int) -> bool | None:
    """Two bits that the manuals only ever show together; apart they say nothing."""
    return {0: False, mask: True}.get(status & mask)


def _offline(seen: Look, *, is_explained: bool) -> bool | None:
    cause = seen.answers.get(Request.OFFLINE_CAUSE, 0)
    if Request.PRINTER in seen.answers:
        is_offline = bool(seen.answers[Request.PRINTER] & _OFFLINE)
    elif cause & _ERROR:
        is_offline = True
    else:
        return None
    return None if is_offline and is_explained else is_offline


def _detail(code: str, seen: Look) -> str | None:
    if code != ConditionCode.OFFLINE:
        return None
    cause = seen.answers.get(Request.OFFLINE_CAUSE, 0)
    if cause & _ERROR:
        return "an error that it does not name"
    return "paper is being fed by the button" if cause & _FED_BY_BUTTON else None


def _drawer(seen: Look, printer: Observation, component: str, *, is_open_high: bool) -> Observation:
    status = seen.answers.get(Request.PRINTER)
    if status is None or ConditionCode.DRAWER_OPEN in seen.limit.never_told:
        return _drawer_unknown(printer, component)
    is_open = bool(status & _DRAWER_HIGH) is is_open_high
    return Observation(
        component=component,
        health=Health.OK,
        power_state=PowerState.ONLINE,
        true_codes={ConditionCode.DRAWER_OPEN: None} if is_open else {},
    )
