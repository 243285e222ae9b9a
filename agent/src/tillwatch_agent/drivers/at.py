"""Cellular modems by AT commands: SIM, registration, technology, operator, signal (3GPP TS 27.007).

Only questions are in `Question`, none of which sets anything: no echo is turned off, no error report turned on, no
PIN entered. So answers are taken as the modem happens to be set: with or without echo, with errors by number, by word
or bare, and with unsolicited lines before, between and after.

What is decided here:
- **An answer is what stands between its question and a final code** (OK, ERROR, +CME ERROR). Of the lines there,
  those with the question's own prefix count, the last one the most; for a registration the one that has the shape of an
  answer (`n,stat`) rather than of an unsolicited report (`stat` alone, or `stat,"lac"`), which has the same prefix.
- **Registered means for data**: state 1, 5, 9 or 10 of packet or EPS registration; SMS-only and emergency (6 to 8, 11)
  are not. `registration_denied` only where the carrier says so and nothing else is registered.
- **The SIM comes first.** Without one, registration and signal are not judged: one cause, one condition.
- **Signal** is +CESQ where it has a number, else +CSQ, each in dBm or dB by the tables of TS 27.007, 8.5 and 8.69;
  `signal_pct` is ModemManager's, of +CSQ. Its condition has two thresholds, so that a value that hovers at one does not
  turn it.
- **Silence is unknown, never ok**, and ends the look at its first question, asked twice; a line of noise is garbled; a
  modem that answers and tells nothing of its SIM or its registration is unknown, `not_told`.

A change violates this when a command that sets, dials or sends can be asked for, or when a number of the subscriber or
of the equipment is read.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tillwatch_agent.drivers import (
    Ask,
    Attachment,
    Device,
    Looked,
    Occasion,
    Talk,
    Timing,
    Transport,
    excerpt,
    garbled,
    unanswered,
)
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState


class Question(Enum):
    """All that may ever be written to a modem."""

    ATTENTION = b"AT\r"
    SIM = b"AT+CPIN?\r"
    EPS_REGISTRATION = b"AT+CEREG?\r"
    PACKET_REGISTRATION = b"AT+CGREG?\r"
    CIRCUIT_REGISTRATION = b"AT+CREG?\r"
    OPERATOR = b"AT+COPS?\r"
    SIGNAL = b"AT+CSQ\r"
    SIGNAL_EXTENDED = b"AT+CESQ\r"
    MAKER = b"AT+CGMI\r"
    MODEL = b"AT+CGMM\r"
    FIRMWARE = b"AT+CGMR\r"


ALLOWED: Final = frozenset(question.value for question in Question)

REPLY_BYTES_MAX = 4096
"""The longest answer has some hundred characters; a modem that wakes up may send a few dozen lines beside it."""

TRIES_MAX = 2
"""For the first question: a modem that sleeps may swallow it."""

SIGNAL_WEAK_DBM: Final[Mapping[str, tuple[float, float]]] = {
    # (raise at or below, clear above); near the edge of a cell, where payments begin to time out
    "rsrp_dbm": (-118, -113),
    "rscp_dbm": (-108, -103),
    "rssi_dbm": (-105, -101),
}
"""In the order of trust: of the first that was measured the condition is judged."""

_FINAL = re.compile(r"^(OK|ERROR|\+CM[ES] ERROR: ?(?P<error>.*)|MODEM ERROR: ?.*|COMMAND NOT SUPPORT)$")
"""What can end a question. NO CARRIER, BUSY and CONNECT end a call: beside a question they are somebody else's."""
_PROMPT = re.compile(r"^(\+[A-Z0-9]+:|[A-Z][A-Z ]+$|\^|\*)")
"""What an unsolicited line looks like, beside which an identity is told in plain text."""

_DATA_STATES: Final = frozenset({1, 5, 9, 10})
_HOME, _DENIED, _ROAMING = frozenset({1, 9}), 3, frozenset({5, 10})
_TECHNOLOGIES: Final = {
    0: "GSM",
    2: "UMTS",
    3: "EDGE",
    4: "HSDPA",
    5: "HSUPA",
    6: "HSPA",
    7: "LTE",
    8: "EC-GSM",
    9: "NB-IoT",
    10: "LTE",
    11: "NR",
    12: "NR",
    13: "EN-DC",
}
"""AcT of +CREG and +COPS (TS 27.007, 7.2 and 7.3)."""

_SIM_ERRORS: Final = {
    10: ConditionCode.SIM_ABSENT,
    11: ConditionCode.SIM_LOCKED,
    12: ConditionCode.SIM_LOCKED,
    13: ConditionCode.SIM_FAILURE,
    15: ConditionCode.SIM_FAILURE,
}
"""+CME ERROR by number (TS 27.007, 9.2)."""
_SIM_ERROR_WORDS: Final = {
    "sim not inserted": 10,
    "sim pin required": 11,
    "sim puk required": 12,
    "sim failure": 13,
    "sim busy": 14,
    "sim wrong": 15,
}
_SIM_BUSY = 14

NOT_TOLD: Final = "not_told"
"""Reason of a modem that answers, and says nothing by which it can be judged."""

SIM_CODES: Final = frozenset(_SIM_ERRORS.values())
CODES: Final = SIM_CODES | {
    ConditionCode.NOT_REGISTERED,
    ConditionCode.REGISTRATION_DENIED,
    ConditionCode.SIGNAL_WEAK,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What stood between a question and its final code."""

    lines: tuple[str, ...]
    is_ok: bool
    error: str | None = None
    """What +CME ERROR says; None where the modem said no more than that it is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """One registration: its state (TS 27.007, 7.2), and the technology where it is told."""

    state: int
    technology: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """What earlier looks taught of one modem."""

    facts: Mapping[str, str]
    is_weak: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Modem:
    """One modem; see `Driver`."""

    component: str

    transport = Transport.BYTES
    allowed = ALLOWED
    timing = Timing(reply_s=2.0)
    """TS 27.007 has no limit; most answer in 0.3 s, +COPS? and +CPIN? of a modem that starts take longer."""

    @property
    def components(self) -> tuple[str, ...]:
        """Name the modem."""
        return (self.component,)

    def look(self, memory: Memory | None, occasion: Occasion) -> Talk:
        """Talk to the modem once."""
        answers: dict[Question, Answer] = {}
        failed = yield from _woken(self.component, occasion.attachment)
        if failed:
            return Looked(observations=(failed,))
        facts = dict(memory.facts) if memory else (yield from _identity())
        for question in _ASKED:
            received = yield _ask(question)
            answer = read_answer(received, question)
            if answer is None:
                break  # whose the next answer would be is not sure any more
            answers[question] = answer
        seen = _observed(self.component, answers, facts, was_weak=memory is not None and memory.is_weak)
        is_weak = ConditionCode.SIGNAL_WEAK in seen.true_codes
        return Looked(observations=(seen,), memory=Memory(facts=facts, is_weak=is_weak))


def driver(device: Device) -> Modem:
    """Make the driver of one modem; raises `SettingsInvalid`."""
    device.knows_only()
    return Modem(component=device.component)


def read_answer(received: bytes, question: Question) -> Answer | None:
    """Find the lines that answer a question; None while no final code ends them."""
    before: list[str] = []
    echo = question.value.decode("ascii").strip()
    for line in _lines(received):
        final = _FINAL.match(line)
        if final is None:
            before = [] if line == echo else [*before, line]
            continue
        return Answer(lines=tuple(before), is_ok=line == "OK", error=final["error"])
    return None


def read_sim(answer: Answer) -> str | None:
    """Say the condition of the SIM: None where it is ready, or busy and not to be judged (see `is_sim_known`)."""
    said = _last(answer, "+CPIN:")
    if said is not None:
        return None if said.strip('" ') == "READY" else ConditionCode.SIM_LOCKED
    number = _error_number(answer)
    if number == _SIM_BUSY:
        return None
    return _SIM_ERRORS.get(number, ConditionCode.SIM_FAILURE) if number is not None else ConditionCode.SIM_FAILURE


def is_sim_known(answer: Answer) -> bool:
    """Whether the answer says how the SIM is: one that is busy does not."""
    return _last(answer, "+CPIN:") is not None or (not answer.is_ok and _error_number(answer) != _SIM_BUSY)


def read_registration(answer: Answer, prefix: str) -> Registration | None:
    """Read `+CREG: n,stat[,lac,ci[,AcT...]]`; a line of another shape is an unsolicited one, and counts only alone."""
    told = [_fields(line.removeprefix(prefix)) for line in answer.lines if line.startswith(prefix)]
    solicited = [fields for fields in told if _is_solicited(fields)]
    if solicited:
        fields = solicited[-1]
        return Registration(state=int(fields[1]), technology=_technology(fields[4:]))
    plain = [fields for fields in told if fields and fields[0].isdecimal()]
    return Registration(state=int(plain[-1][0])) if plain else None


def read_operator(answer: Answer) -> tuple[str | None, str | None]:
    """Read `+COPS: mode[,format,"oper"[,AcT]]`: the operator and the technology, where they are told."""
    fields = _fields(_last(answer, "+COPS:") or "")
    operator = fields[2] if len(fields) > 2 else None  # noqa: PLR2004 - the place of the name
    return operator or None, _technology(fields[3:])


def read_signal(answer: Answer) -> dict[str, float]:
    """Read `+CSQ: rssi,ber`; what is not known has no measure (TS 27.007, 8.5)."""
    numbers = _numbers(_last(answer, "+CSQ:"))
    if len(numbers) != 2:  # noqa: PLR2004 - rssi and ber
        return {}
    rssi, _ = numbers
    if rssi <= 31:  # noqa: PLR2004 - -51 dBm or more
        return {"rssi_dbm": -113 + 2 * rssi, "signal_pct": round(100 * rssi / 31)}
    is_td_scdma = 100 <= rssi <= 191  # noqa: PLR2004 - Quectel EC25, AT commands, p. 79
    return {"rscp_dbm": -116 + rssi - 100} if is_td_scdma else {}


def read_signal_extended(answer: Answer) -> dict[str, float]:
    """Read `+CESQ: rxlev,ber,rscp,ecno,rsrq,rsrp`; what is not known has no measure (TS 27.007, 8.69)."""
    numbers = _numbers(_last(answer, "+CESQ:"))
    if len(numbers) != len(_CESQ):
        return {}
    return {
        row.name: row.origin + row.step * value
        for row, value in zip(_CESQ, numbers, strict=True)
        if row.name and value <= row.most
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scale:
    """How a number of +CESQ becomes a measure; more than `most` is not known."""

    name: str
    origin: float = 0.0
    step: float = 1.0
    most: int = 0


_CESQ: Final = (
    _Scale(name="rssi_dbm", origin=-111, most=63),
    _Scale(name=""),
    _Scale(name="rscp_dbm", origin=-121, most=96),
    _Scale(name="ecio_db", origin=-24.5, step=0.5, most=49),
    _Scale(name="rsrq_db", origin=-20, step=0.5, most=34),
    _Scale(name="rsrp_dbm", origin=-141, most=97),
)

_REGISTRATIONS: Final = {
    Question.EPS_REGISTRATION: "+CEREG:",
    Question.PACKET_REGISTRATION: "+CGREG:",
    Question.CIRCUIT_REGISTRATION: "+CREG:",
}
_ASKED: Final = (
    Question.SIM,
    *_REGISTRATIONS,
    Question.OPERATOR,
    Question.SIGNAL,
    Question.SIGNAL_EXTENDED,
)
_IDENTITIES: Final = {Question.MAKER: "maker", Question.MODEL: "model", Question.FIRMWARE: "firmware"}


def _ask(question: Question, *, may_be_preceded: bool = False) -> Ask:
    return Ask(
        request=question.value,
        is_answered=lambda got: read_answer(got, question) is not None or len(got) >= REPLY_BYTES_MAX,
        may_be_preceded=may_be_preceded,
    )


def _woken(component: str, attachment: Attachment) -> Generator[Ask, bytes, Observation | None]:
    """Ask for attention; None when it is given, else what is to be said."""
    received = b""
    for no in range(TRIES_MAX):
        came = yield _ask(Question.ATTENTION, may_be_preceded=no > 0)
        answer = read_answer(came, Question.ATTENTION)
        if answer is not None and answer.is_ok:
            return None
        received = came or received
    if received.strip() == Question.ATTENTION.value.strip():
        return garbled(component, "the line echoes what is sent, and says no more")
    said = f"expected OK, got {excerpt(received)}"
    return garbled(component, said) if received else unanswered(component, attachment)


def _identity() -> Generator[Ask, bytes, dict[str, str]]:
    facts: dict[str, str] = {}
    for question, fact in _IDENTITIES.items():
        answer = read_answer((yield _ask(question)), question)
        plain = [line for line in answer.lines if not _PROMPT.match(line)] if answer and answer.is_ok else []
        texts = plain or [line for line in (answer.lines if answer and answer.is_ok else ()) if ":" not in line]
        if texts:
            facts[fact] = texts[0]
    return facts


def _observed(
    component: str, answers: Mapping[Question, Answer], facts: dict[str, str], *, was_weak: bool
) -> Observation:
    sim = _sim_verdict(answers.get(Question.SIM))
    measures = _measures(answers)
    verdicts: dict[str, bool | None] = dict.fromkeys(sorted(CODES))
    if sim is not None:
        verdicts |= {code: code == sim for code in SIM_CODES}
    if sim is None or sim in SIM_CODES:
        registrations: list[Registration] = []
    else:
        registrations = _registrations(answers)
        verdicts |= _registration_verdicts(registrations)
        verdicts[ConditionCode.SIGNAL_WEAK] = _is_weak(measures, was_weak=was_weak)
    faults = {code for code, held in verdicts.items() if held}
    is_told = sim in SIM_CODES or bool(registrations)
    health = Health.FAULT if faults - {ConditionCode.SIGNAL_WEAK} else Health.OK
    return Observation(
        component=component,
        health=health if is_told else Health.UNKNOWN,
        reason=None if is_told else NOT_TOLD,
        power_state=PowerState.ONLINE,
        true_codes={code: _detail(code, answers, measures) for code in sorted(faults)},
        undetermined=frozenset(code for code, held in verdicts.items() if held is None),
        measures=dict(measures),
        facts=facts | _network_facts(answers, registrations),
    )


_READY = "ready"


def _sim_verdict(answer: Answer | None) -> str | None:
    """Say the SIM's condition, `_READY`, or None: not known."""
    if answer is None or not is_sim_known(answer):
        return None
    return read_sim(answer) or _READY


def _registrations(answers: Mapping[Question, Answer]) -> list[Registration]:
    """List what was told; circuit registration only where neither of the others was."""
    told = {
        question: read
        for question, prefix in _REGISTRATIONS.items()
        if question in answers and (read := read_registration(answers[question], prefix))
    }
    data = [read for question, read in told.items() if question is not Question.CIRCUIT_REGISTRATION]
    return data or list(told.values())


def _registration_verdicts(registrations: Sequence[Registration]) -> dict[str, bool | None]:
    if not registrations:
        return {}
    states = {registration.state for registration in registrations}
    is_registered = bool(states & _DATA_STATES)
    is_denied = not is_registered and _DENIED in states
    return {
        ConditionCode.REGISTRATION_DENIED: is_denied,
        ConditionCode.NOT_REGISTERED: None if is_denied else not is_registered,
    }


def _is_weak(measures: Mapping[str, float], *, was_weak: bool) -> bool | None:
    for name, (raise_at, clear_at) in SIGNAL_WEAK_DBM.items():
        if name in measures:
            return measures[name] <= (clear_at if was_weak else raise_at)
    return None


def _measures(answers: Mapping[Question, Answer]) -> dict[str, float]:
    plain = read_signal(answers[Question.SIGNAL]) if Question.SIGNAL in answers else {}
    extended = read_signal_extended(answers[Question.SIGNAL_EXTENDED]) if Question.SIGNAL_EXTENDED in answers else {}
    if any(name in extended for name in ("rsrp_dbm", "rscp_dbm")):
        plain.pop("rssi_dbm", None)  # on LTE some makers put RSRP into it (u-blox SARA-R4, p. 41)
    return plain | extended


def _network_facts(answers: Mapping[Question, Answer], registrations: Sequence[Registration]) -> dict[str, str]:
    operator, technology = read_operator(answers[Question.OPERATOR]) if Question.OPERATOR in answers else (None, None)
    technology = technology or next((read.technology for read in registrations if read.technology), None)
    states = {registration.state for registration in registrations}
    place = "home" if states & _HOME else "roaming" if states & _ROAMING else None
    known = {"operator": operator, "technology": technology, "registration": place}
    return {name: value for name, value in known.items() if value}


def _detail(code: str, answers: Mapping[Question, Answer], measures: Mapping[str, float]) -> str | None:
    if code in SIM_CODES:
        answer = answers[Question.SIM]
        said = _last(answer, "+CPIN:") or answer.error
        return said.strip('" ') if said else "the modem says no more than ERROR"
    if code == ConditionCode.SIGNAL_WEAK:
        return next(f"{name} {measures[name]:g}" for name in SIGNAL_WEAK_DBM if name in measures)
    return None


def _lines(received: bytes) -> list[str]:
    """Split what came into whole lines; the last counts only when it has ended."""
    text = received.decode("ascii", errors="replace")
    whole = re.split(r"[\r\n]+", text)[:-1]
    return [line.strip() for line in whole if line.strip()]


def _last(answer: Answer, prefix: str) -> str | None:
    told = [line.removeprefix(prefix).strip() for line in answer.lines if line.startswith(prefix)]
    return told[-1] if told else None


def _fields(text: str) -> list[str]:
    return [field.strip().strip('"').strip() for field in text.split(",")] if text.strip() else []


def _is_solicited(fields: Sequence[str]) -> bool:
    """`n,stat...`: n is 0 to 5, stat a number of at most two digits; `stat,"lac"` has four hexadecimal digits there."""
    if len(fields) < 2 or not fields[0].isdecimal() or not fields[1].isdecimal():  # noqa: PLR2004 - n and stat
        return False
    return int(fields[0]) <= 5 and len(fields[1]) <= 2  # noqa: PLR2004 - as above


def _technology(fields: Sequence[str]) -> str | None:
    return _TECHNOLOGIES.get(int(fields[0])) if fields and fields[0].isdecimal() else None


def _numbers(text: str | None) -> list[int]:
    fields = _fields(text or "")
    return [int(field) for field in fields] if all(field.isdecimal() for field in fields) else []


def _error_number(answer: Answer) -> int | None:
    if not answer.error:
        return None
    number, _, text = answer.error.partition("|")
    said = number.strip()
    return int(said) if said.isdecimal() else _SIM_ERROR_WORDS.get((text or said).strip().lower())
