"""A port that is shared: whose bytes go when, and whose answer came; under any bytes, any cut, any interleaving."""

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_agent import tee
from tillwatch_agent.drivers.escpos import ALLOWED
from tillwatch_agent.drivers.escpos_stream import Place, Reader
from tillwatch_agent.tee import (
    HELD_BYTES_MAX,
    HOLD_S,
    JOB_GAP_S,
    LATE_S,
    PAUSE_S,
    QUIET_S,
    TRANSITIONS,
    Event,
    Obstacle,
    Said,
    Shape,
    Standing,
    Tee,
)
from tillwatch_simulator.devices.escpos import Printer

ASK, PAPER, MODEL, TYPE = b"\x10\x04\x01", b"\x10\x04\x04", b"\x1d\x49\x43", b"\x1d\x49\x02"
ASB = b"\x10\x00\x00\x00"
IMAGE = b"\x1dv0\x00\x04\x00\x01\x00"


def passed(shared: Tee, now_s: float) -> bytes:
    """Let the printer take all that is due."""
    taken = b""
    while due := shared.due(now_s):
        shared.gone(len(due), now_s)
        taken += due
    return taken


def written(data: bytes) -> Tee:
    """A printer that took what the till wrote at 0."""
    shared = Tee(ALLOWED)
    shared.till_wrote(data, 0.0)
    passed(shared, 0.0)
    return shared


def asking(request: bytes = ASK, now_s: float = 10.0, shared: Tee | None = None) -> Tee:
    """One that was asked, with the question gone."""
    shared = shared or Tee(ALLOWED)
    shared.ask(request, now_s)
    assert passed(shared, now_s) == request
    return shared


# --- the machine


@pytest.mark.parametrize(("standing", "event"), list(product(Standing, Event)))
def test_every_event_has_a_row_or_is_refused(standing: Standing, event: Event) -> None:
    if (standing, event) in TRANSITIONS:
        assert tee.step(standing, event) in Standing
    else:
        with pytest.raises(KeyError):
            tee.step(standing, event)


# --- when we ask


@pytest.mark.parametrize(
    ("data", "obstacle"),
    [
        (b"", None),
        (b"Total\n", None),
        (b"Total", Obstacle.IN_LINE),
        (IMAGE, Obstacle.IN_COMMAND),
        (IMAGE + b"1234", None),
        (b"\x1bLpage", Obstacle.IN_PAGE),
        (b"\x1d:", Obstacle.IN_MACRO),
        (b"\x1b=\x02", Obstacle.ELSEWHERE),
        (b"\x1b\x07", Obstacle.LOST),
    ],
)
def test_nothing_is_asked_but_between_two_commands(data: bytes, obstacle: Obstacle | None) -> None:
    shared = written(data)
    assert shared.obstacle(ASK, LATE_S + QUIET_S) == obstacle
    if obstacle:
        with pytest.raises(AssertionError, match="cannot be asked"):
            shared.ask(ASK, LATE_S + QUIET_S)


def test_nothing_is_asked_until_the_till_has_been_quiet() -> None:
    shared = written(b"Total\n")
    assert shared.obstacle(ASK, QUIET_S - 0.01) is Obstacle.NOT_QUIET
    assert shared.obstacle(ASK, QUIET_S) is None


def test_nothing_is_asked_while_bytes_of_the_till_are_on_their_way() -> None:
    shared = Tee(ALLOWED)
    shared.till_wrote(b"Total\n", 0.0)
    assert shared.obstacle(ASK, 100.0) is Obstacle.TILL_WRITES
    shared.gone(6, 100.0)
    assert shared.obstacle(ASK, 100.0) is Obstacle.NOT_QUIET, "it is quiet from when the printer has it all"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [(ASK, b"\x12"), (b"\x1dr\x01", b"\x00"), (MODEL, b"\x5fTWS\x00"), (b"\x1dI\x01", b"\x20"), (b"\x1bv", b"\x03")],
)
def test_nothing_is_asked_while_the_till_waits_for_an_answer(asked: bytes, answer: bytes) -> None:
    shared = written(asked)
    assert shared.obstacle(ASK, QUIET_S) is Obstacle.TILL_WAITS
    assert shared.device_said(answer, QUIET_S) == Said(till=answer, agent=b"")
    assert shared.obstacle(ASK, QUIET_S) is None


def test_a_till_that_is_never_answered_is_waited_for_no_longer_than_an_answer_takes() -> None:
    shared = written(ASK)
    assert shared.obstacle(ASK, LATE_S - 0.01) is Obstacle.TILL_WAITS
    assert shared.obstacle(ASK, LATE_S) is None


def test_one_question_is_asked_at_a_time() -> None:
    assert asking().obstacle(PAPER, 10.0) is Obstacle.ASKED


@pytest.mark.parametrize("request_bytes", [b"\x10\x05\x02", b"\x10\x14\x01\x00\x01", b"\x1b@", b"hello"])
def test_what_is_not_allowed_is_not_asked(request_bytes: bytes) -> None:
    with pytest.raises(AssertionError, match="not allowed"):
        Tee(ALLOWED).ask(request_bytes, 0.0)


def test_a_stream_that_was_lost_is_found_when_a_job_begins_after_a_pause() -> None:
    shared = written(b"\x1b\x07")
    shared.till_wrote(b"\x1b@", JOB_GAP_S - 0.01)
    passed(shared, JOB_GAP_S - 0.01)
    assert shared.obstacle(ASK, 10.0) is Obstacle.LOST, "it may be the data of what is not known"
    shared.till_wrote(b"\x1b@Total\n", 20.0)
    passed(shared, 20.0)
    assert shared.obstacle(ASK, 30.0) is None


def test_a_stream_that_was_lost_is_found_when_the_till_closes_and_all_it_wrote_is_printed() -> None:
    shared = written(b"\x1b\x07")
    shared.till_wrote(b"more", 0.1)
    shared.till_left()
    assert shared.obstacle(ASK, 0.2) is Obstacle.TILL_WRITES
    passed(shared, 0.3)
    assert shared.obstacle(ASK, 10.0) is None


def test_a_till_that_closes_within_an_image_leaves_the_printer_within_it() -> None:
    shared = written(IMAGE)
    shared.till_left()
    assert shared.obstacle(ASK, 10.0) is Obstacle.IN_COMMAND


def test_a_till_that_closed_waits_for_nothing() -> None:
    shared = written(ASK)
    shared.till_left()
    assert shared.obstacle(ASK, QUIET_S) is None


# --- what the till's bytes wait for


def test_the_till_waits_while_we_are_answered_and_goes_on_at_once_then() -> None:
    shared = asking()
    shared.till_wrote(b"Total\n", 10.01)
    assert shared.due(10.01) == b""
    assert shared.next_due_s(10.01) == pytest.approx(HOLD_S - 0.01)
    shared.device_said(b"\x12", 10.02)
    assert shared.due(10.02) == b"Total\n"
    assert shared.next_due_s(10.02) is None


def test_the_till_waits_for_a_silent_printer_no_longer_than_it_may() -> None:
    shared = asking()
    shared.till_wrote(b"Total\n", 10.0)
    assert shared.due(10.0 + HOLD_S - 0.01) == b""
    assert shared.due(10.0 + HOLD_S) == b"Total\n"


def test_a_question_that_no_byte_has_gone_of_is_taken_back_and_one_that_has_begun_is_ended() -> None:
    shared, begun = Tee(ALLOWED), Tee(ALLOWED)
    for one in (shared, begun):
        one.ask(ASK, 10.0)
        one.till_wrote(b"Total\n", 10.0)
    begun.gone(1, 10.0)
    assert begun.next_due_s(10.0) is None
    assert shared.due(10.0 + HOLD_S) == b"Total\n"
    assert not shared.has_asked
    assert not shared.is_asking
    assert begun.due(10.0 + HOLD_S) == ASK[1:], "half a question would become a part of what the till wrote"
    begun.gone(2, 10.0 + HOLD_S)
    assert begun.has_asked
    assert begun.due(10.0 + HOLD_S) == b"Total\n"


def test_what_the_till_writes_is_bounded() -> None:
    shared = Tee(ALLOWED)
    shared.till_wrote(bytes(HELD_BYTES_MAX - 1), 0.0)
    assert shared.room == 1
    shared.till_wrote(b"..", 0.0)
    assert shared.room == 0


def test_it_is_clear_when_a_new_connection_would_lose_nothing() -> None:
    shared = Tee(ALLOWED)
    assert shared.is_clear
    assert not asking().is_clear
    assert not written(IMAGE).is_clear
    assert not written(ASK).is_clear
    shared.till_wrote(b"Total\n", 0.0)
    assert not shared.is_clear


# --- flow control


def test_flow_control_is_obeyed_where_the_till_has_it_on_and_else_handed_on() -> None:
    shared = Tee(ALLOWED)
    assert shared.device_said(b"\x13\x11", 0.0) == Said(till=b"\x13\x11", agent=b"")
    shared.has_software_flow = True
    shared.till_wrote(b"Total\n", 0.0)
    assert shared.device_said(b"\x13", 0.0) == Said(till=b"", agent=b"")
    assert shared.due(0.0) == b""
    assert shared.device_said(b"\x11", 1.0) == Said(till=b"", agent=b"")
    assert shared.due(1.0) == b"Total\n"


def test_a_printer_that_holds_the_line_off_is_asked_in_real_time_between_two_commands() -> None:
    shared = Tee(ALLOWED)
    shared.has_software_flow = True
    shared.till_wrote(b"Total\n" + IMAGE, 0.0)
    shared.gone(6, 0.0)
    shared.device_said(b"\x13", 0.0)
    assert shared.obstacle(ASK, QUIET_S - 0.01) is Obstacle.NOT_QUIET
    assert shared.obstacle(MODEL, QUIET_S) is Obstacle.HELD_OFF
    shared.ask(ASK, QUIET_S)
    assert passed(shared, QUIET_S) == ASK
    assert shared.device_said(b"\x1a", QUIET_S) == Said(till=b"", agent=b"\x1a")
    assert shared.due(QUIET_S) == b""
    shared.till_left()
    assert shared.due(QUIET_S) == IMAGE, "a line that is opened anew is not held off"


# --- whose answer


@pytest.mark.parametrize(
    ("request_bytes", "said", "till", "agent"),
    [
        (ASK, b"\x12", b"", b"\x12"),
        (ASK, b"\x12\x16", b"\x16", b"\x12"),  # one was asked
        (ASK, ASB, ASB, ASB),  # it is the till's, and tells us as well
        (ASK, ASB + b"\x12", ASB, ASB + b"\x12"),
        (ASK, b"\x10\x13\x00\x00\x00\x12", b"\x10\x13\x00\x00\x00", ASB + b"\x12"),  # XOFF within
        (ASK, b"\x10\x00\x12", b"\x10\x00", b"\x10\x00\x12"),  # broken off
        (ASK, b"\x00", b"\x00", b""),  # what nobody asked is the till's
        (ASK, b"\x81", b"", b"\x81"),  # noise, and only we asked
        (ASK, b"\x5fTWS\x00\x12", b"\x5fTWS\x00", b"\x12"),  # a text that nobody asked
        (ASK, b"\x37\x22200\x00\x12", b"\x37\x22200\x00", b"\x12"),  # "printed": 30 and 32 in it are no status
        (TYPE, b"\x02", b"", b"\x02"),
        (TYPE, b"\x12", b"\x12", b""),
        (MODEL, b"\x5fTWS-80\x00", b"", b"\x5fTWS-80\x00"),
        (MODEL, b"\x37\x22\x00", b"\x37\x22\x00", b""),
        (MODEL, b"\x5f" + b"A" * 64 + b"\x12", b"\x12", b"\x5f" + b"A" * 64),  # it has an end, whatever comes
    ],
)
def test_what_answers_us_is_ours_and_all_else_the_tills(
    request_bytes: bytes, said: bytes, till: bytes, agent: bytes
) -> None:
    assert asking(request_bytes).device_said(said, 10.0) == Said(till=till, agent=agent)
    cut = asking(request_bytes)
    pieces = [cut.device_said(bytes([byte]), 10.0) for byte in said]
    assert b"".join(piece.till for piece in pieces) == till
    assert b"".join(piece.agent for piece in pieces) == agent


def test_all_is_the_tills_while_we_ask_nothing() -> None:
    said = b"\x12\x00\x81\x5fA\x00" + ASB
    told = Tee(ALLOWED).device_said(said, 0.0)
    assert told.till == said


def test_a_late_answer_is_ours_until_the_till_asks() -> None:
    late, overtaken, too_late = asking(), asking(), asking()
    late.due(10.0 + HOLD_S)
    assert late.device_said(b"\x12", 10.0 + LATE_S - 0.01) == Said(till=b"", agent=b"\x12")
    overtaken.till_wrote(PAPER, 11.0)
    assert passed(overtaken, 11.0) == PAPER
    assert overtaken.device_said(b"\x1e", 11.0) == Said(till=b"\x1e", agent=b"")
    assert too_late.device_said(b"\x12", 10.0 + LATE_S) == Said(till=b"\x12", agent=b"")


def test_a_late_answer_may_come_while_the_next_question_goes() -> None:
    shared = asking()
    shared.due(10.0 + HOLD_S)
    shared.ask(PAPER, 11.0)
    assert shared.device_said(b"\x12", 11.0) == Said(till=b"", agent=b"\x12")
    assert shared.due(11.0) == PAPER


def test_a_text_that_breaks_off_hides_nothing_for_long() -> None:
    shared = Tee(ALLOWED)
    shared.device_said(b"\x5fTWS", 9.0)
    asking(ASK, 10.0, shared)
    assert shared.device_said(b"\x12", 9.0 + PAUSE_S + 1.0) == Said(till=b"", agent=b"\x12")


def test_more_questions_than_a_printer_queues_are_forgotten() -> None:
    shared = written(ASK * 1000)
    assert len(shared._till_asked) == tee.TILL_QUESTIONS_MAX


def test_each_request_has_its_shape() -> None:
    shapes = {request: tee.shape_of(request) for request in ALLOWED}
    assert {request for request, shape in shapes.items() if shape is Shape.STATUS} == {
        bytes([16, 4, n]) for n in range(1, 5)
    }
    assert shapes[TYPE] is Shape.NUMBER
    assert shapes[MODEL] is Shape.TEXT


# --- any bytes, any cut, any interleaving

JOBS = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [b"\x1b@", b"Total\n", IMAGE, b"1234", b"\x1dV\x00", ASK, PAPER, b"\x1dr\x01", MODEL, b"\x1bL", b"\x0c"]
        ),
    ),
    max_size=8,
)
MOVES = st.one_of(
    st.tuples(st.just("till"), st.binary(max_size=12) | st.sampled_from([b"\x1b@Total\n", IMAGE, b"1234", ASK, MODEL])),
    st.tuples(st.just("line"), st.integers(1, 40)),
    st.tuples(st.just("ask"), st.sampled_from(sorted(ALLOWED))),
    st.tuples(st.just("answer"), st.integers(1, 40)),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.1, HOLD_S, QUIET_S, JOB_GAP_S, LATE_S, 60.0])),
    st.tuples(st.just("leave"), st.none()),
)


@dataclass
class World:
    """A till, a printer that answers all questions, and the line between; the oracle of what must hold.

    The printer executes DLE EOT wherever it stands, and other questions between two commands. Each of its answers is
    another (by the bits that are free), so that it is known whose question it answers.
    """

    shared: Tee = field(default_factory=lambda: Tee(ALLOWED))
    now_s: float = 0.0
    written: bytes = b""
    arrived: bytes = b""
    """The till's bytes at the printer."""
    reader: Reader = field(default_factory=Reader)
    answers: list[tuple[str, bytes]] = field(default_factory=list)
    question: bytes = b""

    def till(self, data: bytes) -> None:
        taken = data[: self.shared.room]
        self.written += taken
        self.shared.till_wrote(taken, self.now_s)

    def line_takes(self, count: int) -> None:
        due = self.shared.due(self.now_s)[:count]
        is_ours = self.shared.is_asking and not self.shared.has_asked
        if not due:
            return
        self.shared.gone(len(due), self.now_s)
        if is_ours:
            assert self.question.startswith(due)
            self.question = self.question[len(due) :]
            if not self.question:
                self.answers.append(("agent", b"\x16"))
        else:
            assert len(self.question) in {0, 3}, "nothing of the till's goes into a question of ours"
            self.question = b""  # one of which nothing went was taken back
            self.arrived += due
            self.answers += [("till", b"\x12")] * sum(q == "status" for q in self.reader.feed(due))

    def ask(self, request: bytes) -> None:
        """Ask where it may be; only what a printer answers at once, since this one answers nothing else."""
        if request[0] != 0x10 or self.shared.obstacle(request, self.now_s) is not None:
            return
        assert self.reader.place in {Place.BOUNDARY, Place.LOST}, "never within a command"
        assert self.arrived == self.written, "never before all that the till wrote"
        self.shared.ask(request, self.now_s)
        self.question = request

    def answer(self, count: int) -> None:
        said, self.answers = self.answers[:count], self.answers[count:]
        told = self.shared.device_said(b"".join(byte for _, byte in said), self.now_s)
        assert told.till == b"".join(byte for who, byte in said if who == "till")
        assert told.agent == b"".join(byte for who, byte in said if who == "agent")


@given(st.lists(MOVES, max_size=60))
def test_what_the_till_writes_arrives_unchanged_and_each_answer_reaches_who_asked(moves: list[tuple[str, Any]]) -> None:
    world = World()
    for what, how in moves:
        if what == "till":
            world.till(how)
        elif what == "line":
            world.line_takes(how)
        elif what == "ask":
            world.ask(how)
        elif what == "answer":
            world.answer(how)
        elif what == "leave":
            world.shared.till_left()
        else:
            world.answer(len(world.answers))  # a printer answers at once: nothing is late here
            world.now_s += how
        assert world.written.startswith(world.arrived), "unchanged, and in its order"
    world.answer(len(world.answers))
    while world.shared.due(world.now_s + HOLD_S):
        world.now_s += HOLD_S
        world.line_takes(1000)
        world.answer(1000)
    assert world.arrived == world.written, "and all of it"


WHOLE = [
    bytes.fromhex(row)
    for row in (
        "1B40 1B4501 1B6403 1B2A 21 0100 100401 1B44 0800 1B2841 0200 3001 1B70 00 32 FA",  # and so on, one by one
        "1D7630 00 0200 0200 1D5600FF",
        "1D286B 0300 313051",
        "1D384C 05000000 3070304141",
        "1D6B 04 2A31322A00",
        "1D6B 49 04 7B423132",
        "1D56 42 10",
        "1B4C 1B57 0000 0000 0002 0002 48 0C",  # page mode
        "1D7630 00 0500 0100 1004011D49",  # an image that looks like questions
    )
] + [b"Total 5.00\n", b"\x82\xa0\n"]


@given(st.lists(st.sampled_from(WHOLE), max_size=6).map(b"".join), st.lists(st.integers(1, 30), max_size=20), st.data())
def test_a_printer_prints_the_same_whatever_is_asked_between(job: bytes, cuts: list[int], data: st.DataObject) -> None:
    alone, beside, shared, now_s = Printer(), Printer(), Tee(ALLOWED), 0.0
    alone.receive(job)
    for count in [*cuts, len(job)]:
        piece, job = job[:count], job[count:]
        shared.till_wrote(piece, now_s)
        beside.receive(passed(shared, now_s))
        now_s += data.draw(st.sampled_from([0.0, QUIET_S, LATE_S]))
        request = data.draw(st.sampled_from(sorted(ALLOWED)))
        if shared.obstacle(request, now_s) is None:
            shared.ask(request, now_s)
            told = shared.device_said(beside.receive(passed(shared, now_s)), now_s)
            assert told.till == b""
            assert told.agent
    assert beside.printed == alone.printed


@given(st.lists(JOBS.map(b"".join), max_size=6), st.lists(st.binary(max_size=8), max_size=12), st.booleans())
def test_any_noise_of_a_printer_reaches_somebody_and_is_never_added_to(
    jobs: list[bytes], noise: list[bytes], flow: bool
) -> None:
    shared = Tee(ALLOWED)
    shared.has_software_flow = flow
    for at_s, job in enumerate(jobs):
        shared.till_wrote(job, float(at_s))
        passed(shared, float(at_s))
    for at_s, said in enumerate(noise, start=10):
        if shared.obstacle(ASK, float(at_s)) is None:
            shared.ask(ASK, float(at_s))
            passed(shared, float(at_s))
        told = shared.device_said(said, float(at_s))
        kept = bytes(byte for byte in said if not flow or byte not in b"\x11\x13")
        assert len(told.till) + len(told.agent) >= len(kept)
        assert bytes(byte for byte in kept if byte in told.till or byte in told.agent) == kept
