"""Commands as the collector follows them: how many may wait, when one is said, when it is over."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_collector.domain import command
from tillwatch_collector.domain.command import (
    ANSWER_S,
    ASKED_MAX,
    SAID_AGAIN_S,
    WAITING_MAX,
    CommandRefused,
    Kept,
    Next,
    State,
    Why,
)
from tillwatch_protocol.command import CommandKind

ASKED_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIFETIME_S = 60


def after(seconds: float) -> datetime:
    return ASKED_AT + timedelta(seconds=seconds)


def kept(kind: str = CommandKind.REPORT, *, said_s: float | None = None) -> Kept:
    return Kept(
        command_id="c-1",
        terminal_id="t-1",
        kind=kind,
        lifetime_s=LIFETIME_S,
        asked_at=ASKED_AT,
        sent_at=None if said_s is None else after(said_s),
    )


@pytest.mark.parametrize(
    ("one", "now_s", "expected"),
    [
        # what was never said is said, as long as it lives
        (kept(), 0, Next.SAY),
        (kept(), LIFETIME_S - 0.1, Next.SAY),
        (kept(), LIFETIME_S, Next.WAIT),
        # and again, for a terminal that was away
        (kept(said_s=1), SAID_AGAIN_S, Next.WAIT),
        (kept(said_s=1), 1 + SAID_AGAIN_S, Next.SAY),
        (kept(said_s=50), 59, Next.WAIT),
        # a restart is said once
        (kept(CommandKind.RESTART_AGENT), 0, Next.SAY),
        (kept(CommandKind.RESTART_AGENT, said_s=1), 50, Next.WAIT),
        # an answer has its time after the lifetime
        (kept(said_s=50), LIFETIME_S + ANSWER_S - 0.1, Next.WAIT),
        (kept(said_s=50), LIFETIME_S + ANSWER_S, Next.LAPSE),
        # nobody ticked for a day
        (kept(), 86_400, Next.LAPSE),
        # the clock was set back: it is as if it had just been asked for
        (kept(), -3_600, Next.SAY),
    ],
)
def test_what_is_to_be_done_with_a_command_that_has_no_answer(one: Kept, now_s: float, expected: Next) -> None:
    assert command.next_of(one, after(now_s)) is expected


@given(st.sampled_from(CommandKind), st.lists(st.floats(0, 30), max_size=100))
def test_it_is_said_in_its_lifetime_and_a_restart_once(kind: CommandKind, waits_s: list[float]) -> None:
    now_s, said_s = 0.0, list[float]()
    for wait_s in waits_s:
        now_s += wait_s
        if command.next_of(kept(kind, said_s=said_s[-1] if said_s else None), after(now_s)) is Next.SAY:
            said_s.append(now_s)
    assert all(said < LIFETIME_S for said in said_s)
    assert len(said_s) <= (1 if kind is CommandKind.RESTART_AGENT else 1 + LIFETIME_S / SAID_AGAIN_S)


def test_more_than_so_many_are_refused_each_with_its_reason() -> None:
    command.check(terminal_id="t-1", waiting=WAITING_MAX - 1, asked_lately=ASKED_MAX - 1)
    with pytest.raises(CommandRefused, match="at most 4 commands to wait") as refused:
        command.check(terminal_id="t-1", waiting=WAITING_MAX, asked_lately=0)
    assert refused.value.why is Why.TOO_MANY_WAITING
    with pytest.raises(CommandRefused, match="in 60 s") as refused:
        command.check(terminal_id="t-1", waiting=0, asked_lately=ASKED_MAX)
    assert refused.value.why is Why.TOO_OFTEN


@pytest.mark.parametrize(
    ("outcome", "said_s", "expected"),
    [(None, None, State.WAITING), (None, 1, State.SENT), ("done", 1, State.DONE), ("lapsed", None, State.LAPSED)],
)
def test_where_a_command_stands(outcome: str | None, said_s: float | None, expected: State) -> None:
    assert command.state_of(outcome, None if said_s is None else after(said_s)) is expected
