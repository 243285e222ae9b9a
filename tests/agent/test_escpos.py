"""The ESC/POS driver against printers that are tables: request in, bytes out."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_agent.drivers import Ask, Attachment, Timing, escpos
from tillwatch_agent.drivers.escpos import ALLOWED, IDENTITIES, RELEARN_LOOKS, STATUSES, Look, Memory, Request, Trouble
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health, PowerState

HEALTHY = bytes.fromhex("12 12 12 12")
WHO = {Request.MAKER: b"_EPSON\0", Request.MODEL: b"_TM-T88III\0", Request.FIRMWARE: b"_1.08\0"}


@dataclass(kw_only=True)
class Talk:
    """A look run to its end, with what was asked on the way."""

    seen: Look
    asks: list[Ask] = field(default_factory=list)

    @property
    def requests(self) -> list[Request]:
        return [Request(ask.request) for ask in self.asks]


def run(answer: Callable[[Request], bytes], memory: Memory | None = None) -> Talk:
    talk: Generator[Ask, bytes, Look] = escpos.look(memory or Memory())
    asks: list[Ask] = []
    received: bytes | None = None
    while True:
        try:
            ask = next(talk) if received is None else talk.send(received)
        except StopIteration as stop:
            return Talk(seen=stop.value, asks=asks)
        asks.append(ask)
        received = answer(Request(ask.request))


def statuses(answers: bytes, *silent: Request) -> Callable[[Request], bytes]:
    """A printer that answers DLE EOT 1 to 4 with four bytes, and nothing else."""
    table = dict(zip(STATUSES, answers, strict=True))
    return lambda request: b"" if request in silent or request not in table else bytes([table[request]])


def printer_of(seen: Look, attachment: Attachment = Attachment.SERIAL) -> Observation:
    return escpos.observe(seen, name="bar", attachment=attachment)[0]


def observed(answers: str) -> Observation:
    return printer_of(run(statuses(bytes.fromhex(answers))).seen)


@dataclass(kw_only=True)
class LateAnswer:
    """A byte on its way."""

    due_s: float
    status: int


class LateLine:
    """A line in virtual time, to a printer that answers all that it is asked, each time `late_s` later."""

    def __init__(self, answers: dict[Request, int], late_s: float) -> None:
        self.now_s = 0.0
        self._answers = answers
        self._late_s = late_s
        self._coming: list[LateAnswer] = []
        self._written_at_s = 0.0

    def look(self, memory: Memory) -> Look:
        """Run a look as `probes.converse` does."""
        talk = escpos.look(memory)
        try:
            ask = next(talk)
            while True:
                self._drain(TIMING.late_s if ask.may_be_preceded else 0.0)
                self._write(Request(ask.request))
                received = self._read(TIMING.reply_s)
                ask = talk.send(received + self._read(TIMING.settle_s) if received else b"")
        except StopIteration as stop:
            seen: Look = stop.value
            return seen

    def _write(self, request: Request) -> None:
        self._written_at_s = self.now_s
        if request in self._answers:
            self._coming.append(LateAnswer(due_s=self.now_s + self._late_s, status=self._answers[request]))

    def _drain(self, late_s: float) -> None:
        until_s = self._written_at_s + late_s
        while self._read(max(until_s - self.now_s, 0.0)) or self.now_s < until_s:
            pass

    def _read(self, timeout_s: float) -> bytes:
        """Take the next byte that comes in time, or let the time pass."""
        if self._coming and self._coming[0].due_s <= self.now_s + timeout_s:
            answer = self._coming.pop(0)
            self.now_s = max(self.now_s, answer.due_s)
            return bytes([answer.status])
        self.now_s += timeout_s
        return b""


TIMING = Timing()
NOT_PAPER = frozenset({Code.PAPER_END, Code.PAPER_NEAR_END})


@pytest.mark.parametrize(
    ("answers", "true", "undetermined", "power"),
    [
        # online, nothing the matter
        ("12 12 12 12", set(), set(), PowerState.ONLINE),
        # online, the drawer's pin is high: wiring, nothing of the printer's
        ("16 12 12 12", set(), set(), PowerState.ONLINE),
        # cover open: paper is not to be judged, and being offline is explained
        ("1A 16 12 12", {Code.COVER_OPEN}, {Code.OFFLINE, *NOT_PAPER}, PowerState.OFFLINE),
        # paper end: near end goes without saying
        ("1A 32 12 7E", {Code.PAPER_END}, {Code.OFFLINE, Code.PAPER_NEAR_END}, PowerState.OFFLINE),
        # paper end at a printer without a near-end sensor
        ("1A 32 12 72", {Code.PAPER_END}, {Code.OFFLINE, Code.PAPER_NEAR_END}, PowerState.OFFLINE),
        # near end only: it prints
        ("12 12 12 1E", {Code.PAPER_NEAR_END}, set(), PowerState.ONLINE),
        # the cutter is jammed
        ("1A 52 1A 12", {Code.CUTTER_ERROR}, {Code.OFFLINE}, PowerState.OFFLINE),
        # the head is hot
        ("1A 52 52 12", {Code.HEAD_HOT}, {Code.OFFLINE}, PowerState.OFFLINE),
        # a cover opened while printing sets the same bit as a hot head
        ("1A 56 52 12", {Code.COVER_OPEN}, {Code.OFFLINE, Code.HEAD_HOT, *NOT_PAPER}, PowerState.OFFLINE),
        # an error that goes by itself, and one that never does
        ("1A 52 16 12", {Code.RECOVERABLE_ERROR}, {Code.OFFLINE}, PowerState.OFFLINE),
        ("1A 52 32 12", {Code.UNRECOVERABLE_ERROR}, {Code.OFFLINE}, PowerState.OFFLINE),
        # two at once
        ("1A 72 1A 72", {Code.CUTTER_ERROR, Code.PAPER_END}, {Code.OFFLINE, Code.PAPER_NEAR_END}, PowerState.OFFLINE),
        # offline, and nothing says why; then fed by the button; then by an error without a name
        ("1A 12 12 12", {Code.OFFLINE}, set(), PowerState.OFFLINE),
        ("1A 1A 12 12", {Code.OFFLINE}, set(), PowerState.OFFLINE),
        ("1A 52 12 12", {Code.OFFLINE}, set(), PowerState.OFFLINE),
        # one bit of a pair that only ever comes as a pair
        ("12 12 12 32", set(), {Code.PAPER_END}, PowerState.ONLINE),
        ("12 12 12 16", set(), {Code.PAPER_NEAR_END}, PowerState.ONLINE),
    ],
)
def test_four_answers_become_conditions(
    answers: str, true: set[str], undetermined: set[str], power: PowerState
) -> None:
    seen = observed(answers)
    assert set(seen.true_codes) == true
    assert seen.undetermined == undetermined
    assert seen.power_state is power
    assert seen.health is (Health.FAULT if true - {Code.PAPER_NEAR_END} else Health.OK)


@pytest.mark.parametrize(
    ("answers", "detail"),
    [
        ("1A 1A 12 12", "paper is being fed by the button"),
        ("1A 52 12 12", "an error that it does not name"),
        ("1A 12 12 12", None),
    ],
)
def test_an_unexplained_offline_says_what_little_there_is(answers: str, detail: str | None) -> None:
    assert observed(answers).true_codes == {Code.OFFLINE: detail}


def test_nothing_but_status_and_identity_can_be_written() -> None:
    assert {bytes([0x10, 4, n]) for n in (1, 2, 3, 4)} | {
        bytes([0x1D, 0x49, n]) for n in (65, 66, 67, 68, 1, 2)
    } == ALLOWED


@given(st.dictionaries(st.sampled_from(list(Request)), st.binary(max_size=8)))
def test_whatever_comes_only_allowed_bytes_are_asked_and_the_talk_ends(table: dict[Request, bytes]) -> None:
    talk = run(lambda request: table.get(request, b""))
    assert {ask.request for ask in talk.asks} <= ALLOWED
    assert len(talk.asks) <= len(STATUSES) + escpos.RETRIES_MAX + len(IDENTITIES)
    seen = printer_of(talk.seen)
    assert seen.health is not Health.OK or talk.seen.answers


@pytest.mark.parametrize(
    ("attachment", "power"),
    [
        (Attachment.USB, PowerState.OFFLINE),  # its node is there: it has power
        (Attachment.SERIAL, PowerState.OFF_OFFLINE),  # the line cannot tell
        (Attachment.TCP, PowerState.OFFLINE),  # it took the connection
    ],
)
def test_a_silent_printer_is_unknown_and_never_ok(attachment: Attachment, power: PowerState) -> None:
    seen = printer_of(run(lambda _: b"").seen, attachment)
    assert (seen.health, seen.reason, seen.power_state) == (Health.UNKNOWN, Code.NO_RESPONSE, power)
    assert set(seen.true_codes) == {Code.NO_RESPONSE}


def test_a_silent_printer_costs_four_tries() -> None:
    assert run(lambda _: b"").requests == [Request.PRINTER] * 3 + [Request.OFFLINE_CAUSE]


@pytest.mark.parametrize("received", [b"", b"\x13", b"\x11\x13\x11"])
def test_flow_control_alone_is_no_answer(received: bytes) -> None:
    assert run(lambda _: received).seen.trouble is Trouble.NO_RESPONSE


@pytest.mark.parametrize(
    "received",
    [
        b"\x12",  # plain
        b"\x13\x12",  # XOFF before it
        b"\x12\x11",  # XON after it
        b"\x10\x00\x00\x00\x12",  # automatic status before it
        b"\x12\x18\x00\x13\x0c\x00",  # automatic status after it, with an XOFF inside
        b"\x12\x10\x00",  # automatic status that has just begun
    ],
)
def test_a_status_is_found_among_what_may_come_beside_it(received: bytes) -> None:
    reply = escpos.read_reply(received, Request.PRINTER)
    assert (reply.kind, reply.status) == (escpos.ReplyKind.STATUS, 0x12)


@pytest.mark.parametrize(
    "received",
    [
        b"\x10\x04\x01",  # our own echo
        b"\xff",  # a line at another speed
        b"\x92",  # bit 7 set
        b"\x02",  # bit 4 missing
        b"\x12\xff",  # a status, and noise
        b"\x12\x12",  # two answers to one question
        b"\x12\x1a",
        b"\x10\x00",  # half an automatic status
        b"\x10\x12\x00\x00",  # a status inside automatic status, where only XOFF may stand
        b"\x80" * 64,
    ],
)
def test_what_is_not_one_status_byte_is_garbage(received: bytes) -> None:
    assert escpos.read_reply(received, Request.PRINTER).kind is escpos.ReplyKind.GARBLED


def test_every_byte_is_judged_by_its_fixed_bits() -> None:
    kinds = {byte: escpos.read_reply(bytes([byte]), Request.PRINTER).kind for byte in range(256)}
    assert {byte for byte, kind in kinds.items() if kind is escpos.ReplyKind.STATUS} == {
        byte for byte in range(256) if byte & 0b10010011 == 0b00010010
    }
    assert {byte for byte, kind in kinds.items() if kind is escpos.ReplyKind.SILENT} == {0x11, 0x13}


def test_an_answer_is_complete_at_its_byte_and_not_before() -> None:
    ask = next(escpos.look(Memory()))
    received = b"\x13\x10\x00\x00\x00\x12"
    assert [ask.is_answered(received[:end]) for end in range(len(received) + 1)] == [False] * 6 + [True]
    assert ask.is_answered(b"\xff" * escpos.REPLY_BYTES_MAX)


def test_garbage_is_unknown_after_one_reply_forgiven() -> None:
    talk = run(lambda _: b"\xff\xfe")
    seen = printer_of(talk.seen)
    assert (seen.health, seen.reason, seen.power_state) == (Health.UNKNOWN, Code.GARBLED_RESPONSE, PowerState.UNKNOWN)
    assert seen.true_codes == {Code.GARBLED_RESPONSE: "expected one status byte, got 2 bytes: ff fe"}
    assert len(talk.asks) == 2


def test_one_burst_of_noise_is_forgiven() -> None:
    replies = iter([b"\xf8", *([b"\x12"] * 4)])
    talk = run(lambda request: next(replies) if request in STATUSES else b"")
    assert printer_of(talk.seen).health is Health.OK
    assert talk.asks[1].may_be_preceded, "what is left of the noise must pass first"


def test_what_garbage_says_is_cut_short_of_a_card_number() -> None:
    seen = printer_of(run(lambda _: bytes.fromhex("4111111111111111")).seen)
    assert "41 11 11 11" in str(seen.true_codes)
    assert "41 11 11 11 11" not in str(seen.true_codes)


def test_an_echoing_line_is_named() -> None:
    seen = printer_of(run(lambda request: request.value).seen)
    assert seen.true_codes == {Code.GARBLED_RESPONSE: "the line echoes what is sent"}


@pytest.mark.parametrize(
    "eot",
    [
        b"\x10",  # all well, by its pattern ***1***0: it looks like the beginning of automatic status
        b"\x18",
        b"\x54",
    ],
)
def test_a_star_in_its_own_mode_is_garbled_and_never_ok(eot: bytes) -> None:
    seen = printer_of(run(lambda request: eot * request.value.count(4)).seen)
    assert (seen.health, seen.reason) == (Health.UNKNOWN, Code.GARBLED_RESPONSE)


def test_a_star_whose_byte_passes_for_a_status_is_betrayed_by_answering_twice() -> None:
    seen = run(lambda request: b"\x12" * request.value.count(4) if request in STATUSES else b"").seen
    assert (seen.trouble, dict(seen.answers)) == (Trouble.GARBLED_RESPONSE, {})


def test_a_lost_answer_is_asked_for_again() -> None:
    replies = iter([b"", b"\x12", b"\x12", b"\x12", b"\x12"])
    talk = run(lambda request: next(replies) if request in STATUSES else b"")
    assert talk.requests == [Request.PRINTER, *STATUSES]
    assert printer_of(talk.seen).health is Health.OK


def test_after_a_lost_answer_the_line_must_fall_quiet_before_the_next_question() -> None:
    replies = iter([b"", b"\x12", b"\x12", b"\x12", b"\x12"])
    talk = run(lambda request: next(replies) if request in STATUSES else b"")
    quiet = [ask.may_be_preceded for ask in talk.asks]
    # the second try takes a late answer to the first; the next question must not
    assert quiet == [False, False, True, False, False]


def test_a_look_begins_quiet_when_the_last_one_was_left_unanswered() -> None:
    silent = run(lambda _: b"").seen
    assert run(statuses(HEALTHY), silent.memory).asks[0].may_be_preceded
    assert not run(statuses(HEALTHY)).asks[0].may_be_preceded


LESSER = [
    # Custom P80C: n = 2 only
    ({Request.OFFLINE_CAUSE}, {Code.OFFLINE, Code.RECOVERABLE_ERROR, Code.CUTTER_ERROR, Code.UNRECOVERABLE_ERROR,
                               Code.HEAD_HOT, Code.PAPER_NEAR_END}),
    # MOB-58: n = 1 and 4
    ({Request.PRINTER, Request.PAPER}, {Code.COVER_OPEN, Code.RECOVERABLE_ERROR, Code.CUTTER_ERROR,
                                        Code.UNRECOVERABLE_ERROR, Code.HEAD_HOT}),
]  # fmt: skip


@pytest.mark.parametrize(("answering", "never_judged"), LESSER)
def test_what_a_lesser_printer_cannot_say_is_never_judged(answering: set[Request], never_judged: set[str]) -> None:
    silent = [request for request in STATUSES if request not in answering]
    seen = printer_of(run(statuses(HEALTHY, *silent)).seen)
    assert seen.health is Health.OK
    assert seen.undetermined == never_judged


@pytest.mark.parametrize(("answering", "never_judged"), LESSER)
def test_a_lesser_printer_is_asked_only_for_what_it_answers(answering: set[Request], never_judged: set[str]) -> None:
    silent = [request for request in STATUSES if request not in answering]
    memory = run(statuses(HEALTHY, *silent)).seen.memory
    talk = run(statuses(HEALTHY, *silent), memory)
    assert set(talk.requests) == answering
    assert printer_of(talk.seen).undetermined == never_judged


def test_paper_end_at_a_printer_with_offline_causes_only_is_believed_by_its_consequence() -> None:
    others = [request for request in STATUSES if request is not Request.OFFLINE_CAUSE]
    memory = run(statuses(HEALTHY, *others)).seen.memory
    ended = run(statuses(bytes.fromhex("12 32 12 12"), *others), memory).seen
    assert set(printer_of(ended).true_codes) == {Code.PAPER_END}
    unnamed = run(statuses(bytes.fromhex("12 52 12 12"), *others), memory).seen
    assert printer_of(unnamed).true_codes == {Code.OFFLINE: "an error that it does not name"}


def test_a_lesser_printer_is_asked_for_everything_again_after_its_time() -> None:
    others = [request for request in STATUSES if request is not Request.OFFLINE_CAUSE]
    memory = run(statuses(HEALTHY, *others)).seen.memory
    assert memory.looks_left == RELEARN_LOOKS
    memory = run(statuses(HEALTHY, *others), replace(memory, looks_left=1)).seen.memory
    assert run(statuses(HEALTHY), memory).seen.memory.statuses == STATUSES


ERRORS = {Code.RECOVERABLE_ERROR, Code.CUTTER_ERROR, Code.UNRECOVERABLE_ERROR, Code.HEAD_HOT}


@pytest.mark.parametrize(
    ("lost", "not_judged"),
    [
        (Request.OFFLINE_CAUSE, {Code.COVER_OPEN, *ERRORS, *NOT_PAPER}),
        (Request.ERROR_CAUSE, {*ERRORS, *NOT_PAPER}),
        (Request.PAPER, NOT_PAPER),
    ],
)
def test_a_code_whose_answer_is_missing_this_time_is_undetermined(lost: Request, not_judged: set[str]) -> None:
    memory = run(statuses(HEALTHY)).seen.memory
    talk = run(statuses(HEALTHY, lost), memory)
    assert printer_of(talk.seen).undetermined == not_judged
    assert talk.requests[-1] is lost, "whose the next answer would be is not sure any more"
    assert talk.seen.memory.statuses == STATUSES, "one lost answer unlearns nothing"


def test_a_known_printer_that_lets_the_first_question_go_is_silent() -> None:
    memory = run(statuses(HEALTHY)).seen.memory
    talk = run(statuses(HEALTHY, Request.PRINTER), memory)
    assert (talk.seen.trouble, talk.requests) == (Trouble.NO_RESPONSE, [Request.PRINTER] * 3)


@pytest.mark.parametrize("late_s", [tenth / 10 for tenth in range(31)])
@pytest.mark.parametrize("is_known", [True, False])
def test_an_answer_up_to_3_s_late_is_not_taken_for_anothers(late_s: float, is_known: bool) -> None:
    """Looks close upon each other, at a printer whose four answers differ."""
    answers = dict(zip(STATUSES, b"\x12\x32\x1a\x7e", strict=True))
    memory = Memory(statuses=STATUSES, is_identified=True) if is_known else Memory()
    line = LateLine(answers, late_s)
    for _ in range(20):
        memory = (seen := line.look(memory)).memory
        assert dict(seen.answers).items() <= answers.items()
        line.now_s += 0.2


def test_nothing_is_learned_while_answers_come_late() -> None:
    replies = iter([b"", b"\x12", b"", b"", b""])
    talk = run(lambda _: next(replies, b""))
    assert talk.seen.answers == {Request.PRINTER: 0x12}
    assert talk.seen.memory.statuses == ()


def test_silence_forgets_what_was_learned() -> None:
    memory = run(lambda request: WHO.get(request, b"\x12" if request in STATUSES else b"")).seen.memory
    assert memory.facts
    assert run(lambda _: b"", memory).seen.memory == Memory(is_owed=True)


def test_a_full_printer_is_asked_once_who_it_is() -> None:
    def answer(request: Request) -> bytes:
        return WHO.get(request, b"\x12" if request in STATUSES else b"")

    first = run(answer)
    assert first.requests == [*STATUSES, *IDENTITIES, Request.MODEL_ID]
    assert first.seen.memory.facts == {"maker": "EPSON", "model": "TM-T88III", "firmware": "1.08"}
    second = run(answer, first.seen.memory)
    assert second.requests == list(STATUSES)
    assert printer_of(second.seen).facts == first.seen.memory.facts


def test_a_printer_that_says_all_of_who_it_is_owes_nothing() -> None:
    who = WHO | {Request.SERIAL_NUMBER: b"_S123\0", Request.MODEL_ID: b"\x20", Request.TYPE_ID: b"\x02"}
    seen = run(lambda request: who.get(request, b"\x12")).seen
    assert seen.memory.facts["serial_number"] == "S123"
    assert not seen.memory.is_owed


def test_a_printer_that_does_not_say_who_it_is_is_not_asked_again() -> None:
    first = run(statuses(HEALTHY))
    assert first.requests == [*STATUSES, Request.MAKER, Request.MODEL_ID]
    assert run(statuses(HEALTHY), first.seen.memory).requests == list(STATUSES)


def test_an_offline_printer_is_not_asked_who_it_is_before_it_is_back() -> None:
    offline = run(statuses(bytes.fromhex("1A 16 12 12")))
    assert offline.requests == list(STATUSES)
    assert Request.MAKER in run(statuses(HEALTHY), offline.seen.memory).requests


@pytest.mark.parametrize(
    ("received", "text"),
    [
        (b"_TM-T88III\0", "TM-T88III"),
        (b"\x13_1.08\0", "1.08"),  # XOFF before it
        (b"_\0", None),  # Bixolon: 0 to 15 characters
        (b"TM-T88III\0", None),  # no header
        (b"_TM-T88", None),  # cut short
        (b"_\xff\xfe\0", None),  # not ASCII
        (b"_a\x07b\0", None),  # a control character
        (b"", None),
    ],
)
def test_an_identity_is_a_text_in_its_frame(received: bytes, text: str | None) -> None:
    assert escpos.read_identity(received) == text


@pytest.mark.parametrize(
    ("level", "status", "is_open"),
    [("high", 0x16, True), ("high", 0x12, False), ("low", 0x16, False), ("low", 0x12, True)],
)
def test_a_drawer_is_open_by_its_configured_level(level: str, status: int, is_open: bool) -> None:
    seen = run(statuses(bytes([status, 0x12, 0x12, 0x12]))).seen
    _, drawer = escpos.observe(seen, name="1", attachment=Attachment.SERIAL, drawer_open_level=level)
    assert drawer.component == "cash_drawer:1"
    assert drawer.health is Health.OK
    assert set(drawer.true_codes) == ({Code.DRAWER_OPEN} if is_open else set())


def test_without_a_configured_level_there_is_no_drawer() -> None:
    assert len(escpos.observe(run(statuses(HEALTHY)).seen, name="1", attachment=Attachment.SERIAL)) == 1


def test_a_drawer_at_a_silent_printer_is_unknown_and_raises_nothing_of_its_own() -> None:
    seen = run(lambda _: b"").seen
    _, drawer = escpos.observe(seen, name="1", attachment=Attachment.SERIAL, drawer_open_level="high")
    assert (drawer.health, drawer.reason, drawer.true_codes) == (Health.UNKNOWN, Code.NO_RESPONSE, {})


def test_a_drawer_at_a_printer_that_does_not_answer_for_it_is_unknown() -> None:
    seen = run(statuses(HEALTHY, Request.PRINTER)).seen
    _, drawer = escpos.observe(seen, name="1", attachment=Attachment.SERIAL, drawer_open_level="high")
    assert (drawer.health, drawer.reason) == (Health.UNKNOWN, Code.NO_RESPONSE)
