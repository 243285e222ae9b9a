"""What a look says of each condition; deadlines; and two speakers under one name."""

from datetime import datetime

import pytest
from tests.collector.words import PRINTER, START, at, printer

from tillwatch_collector.domain.condition import Sign
from tillwatch_collector.domain.deadlines import Deadlines
from tillwatch_collector.domain.identity import SWITCHES, Sighting, heard, shared, switched
from tillwatch_collector.domain.presence import Reason, State, Verdict
from tillwatch_collector.domain.signs import SHARED, SILENT, Key, words
from tillwatch_protocol.reading import Reading
from tillwatch_protocol.vocabulary import AGENT_SELF, Health

PAPER: Key = (PRINTER, "paper_end")
COVER: Key = (PRINTER, "cover_open")
NONE: frozenset[Key] = frozenset()


def verdict(state: State, reason: Reason = Reason.HEARD) -> Verdict:
    return Verdict(state=state, reason=reason, due_s=None)


ONLINE = verdict(State.ONLINE)


def signs(
    said: Verdict, *readings: Reading, fresh: bool = True, shared: bool = False, followed: frozenset[Key] = NONE
) -> dict[Key, Sign]:
    some = words(said, readings=readings, fresh=fresh, shared=shared, followed=followed)
    return {key: word.sign for key, word in some.items()}


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        # it says so
        (printer("paper_end"), Sign.ASSERTED),
        # it was looked at and is not so
        (printer(), Sign.ABSENT),
        (printer("cover_open"), Sign.ABSENT),
        # it could not be judged: the cover is open
        (printer("cover_open", undetermined=["paper_end"]), Sign.INDETERMINATE),
        # the printer does not answer
        (printer(health=Health.UNKNOWN), Sign.INDETERMINATE),
        (printer(health=Health.ABSENT), Sign.INDETERMINATE),
        # nobody speaks of the printer any more
        (None, Sign.WITHDRAWN),
    ],
)
def test_what_a_reading_says_of_a_followed_condition(reading: Reading | None, expected: Sign) -> None:
    readings = [reading] if reading else []
    assert signs(ONLINE, *readings, followed=frozenset({PAPER}))[PAPER] is expected


def test_a_condition_that_is_true_is_said_with_its_time_and_detail() -> None:
    said = words(ONLINE, readings=[printer("paper_end")], fresh=True, shared=False, followed=())
    assert said[PAPER] == (Sign.ASSERTED, START, None)


@pytest.mark.parametrize("state", [State.LATE, State.SILENT, State.UNKNOWN, State.OFF])
def test_who_is_not_online_says_nothing_of_components(state: State) -> None:
    said = signs(verdict(state), printer("paper_end"), followed=frozenset({COVER}))
    assert (said.get(PAPER), said[COVER]) == (None, Sign.INDETERMINATE)


def test_an_old_heartbeat_and_one_that_was_not_read_say_nothing() -> None:
    assert signs(ONLINE, printer("paper_end"), fresh=False, followed=frozenset({COVER})) == {COVER: Sign.INDETERMINATE}
    said = words(ONLINE, readings=None, fresh=True, shared=False, followed=frozenset({COVER}))
    assert said[COVER].sign is Sign.INDETERMINATE


def test_who_is_not_missed_has_nobody_to_speak_for_it() -> None:
    said = signs(verdict(State.OFF, Reason.NOT_LIVE), printer(), followed=frozenset({PAPER, SILENT}))
    assert said == {PAPER: Sign.WITHDRAWN, SILENT: Sign.WITHDRAWN}


@pytest.mark.parametrize(
    ("state", "fresh", "expected"),
    [
        (State.SILENT, False, Sign.ASSERTED),
        (State.ONLINE, True, Sign.ABSENT),
        # heard, but no heartbeat: a sign of life is not a sign of health
        (State.ONLINE, False, Sign.INDETERMINATE),
        (State.LATE, False, Sign.INDETERMINATE),
        (State.UNKNOWN, False, Sign.INDETERMINATE),
        (State.OFF, False, Sign.WITHDRAWN),
    ],
)
def test_what_presence_says_of_silence(state: State, fresh: bool, expected: Sign) -> None:
    assert signs(verdict(state), fresh=fresh, followed=frozenset({SILENT}))[SILENT] is expected


def test_silence_is_said_without_being_followed_and_health_is_not() -> None:
    assert signs(verdict(State.SILENT)) == {SILENT: Sign.ASSERTED}
    assert signs(ONLINE) == {}


def test_a_terminal_cannot_call_itself_silent() -> None:
    liar = printer("silent", "identity_shared").model_copy(update={"component": AGENT_SELF})
    assert signs(ONLINE, liar) == {}


@pytest.mark.parametrize(
    ("state", "two", "expected"),
    [
        (State.ONLINE, True, Sign.ASSERTED),
        (State.ONLINE, False, Sign.ABSENT),
        (State.LATE, False, Sign.INDETERMINATE),
    ],
)
def test_what_is_said_of_a_shared_identity(state: State, two: bool, expected: Sign) -> None:
    assert signs(verdict(state), shared=two, followed=frozenset({SHARED}))[SHARED] is expected


def sighted(*switches_s: float) -> Sighting:
    sighting = Sighting(heard_at=at(0))
    for moment in switches_s:
        sighting = switched(sighting, at(moment), 60)
    return sighting


@pytest.mark.parametrize(
    ("switches_s", "now_s", "expected"),
    [
        # a late message, a repaired disk
        ((0,), 0, False),
        ((0, 60, 120), 120, False),
        # two that speak in turn
        ((0, 60, 120, 180), 180, True),
        ((0, 600, 1200, 1800), 2400, True),
        # too long ago
        ((0, 60, 120, 180), 781, False),
        # too far apart to be one story
        ((0, 601, 1202, 1803), 1803, False),
    ],
)
def test_two_speak_under_one_name(switches_s: tuple[float, ...], now_s: float, expected: bool) -> None:
    assert len(switches_s) <= SWITCHES
    assert shared(sighted(*switches_s), at(now_s), 60) is expected


@pytest.mark.parametrize(
    ("before", "moment", "expected"), [(None, at(5), at(5)), (at(3), at(5), at(5)), (at(7), at(5), at(7))]
)
def test_the_last_time_it_was_heard_never_goes_back(
    before: datetime | None, moment: datetime, expected: datetime
) -> None:
    assert heard(Sighting(heard_at=before) if before else None, moment).heard_at == expected


def test_a_key_has_one_deadline_and_is_taken_once() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.arm("a", 10)
    deadlines.arm("b", 5)
    deadlines.arm("a", 20)
    assert deadlines.take_due(4, 9) == []
    assert deadlines.take_due(15, 9) == ["b"]
    assert deadlines.take_due(99, 9) == ["a"]
    assert len(deadlines) == 0


def test_only_so_many_are_taken_at_once() -> None:
    deadlines: Deadlines[int] = Deadlines()
    for key in range(5):
        deadlines.arm(key, key)
    assert deadlines.take_due(9, 3) == [0, 1, 2]
    assert deadlines.take_due(9, 3) == [3, 4]


def test_deadlines_that_move_for_ever_take_no_more_room() -> None:
    deadlines: Deadlines[int] = Deadlines()
    for due in range(10_000):
        deadlines.arm(due % 3, due)
    assert len(deadlines._heap) < 200
    assert sorted(deadlines.take_due(10_000, 9)) == [0, 1, 2]
