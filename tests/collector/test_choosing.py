"""A query chooses by what is known, and by nothing else; whom it chose is frozen with what stands against them."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.collector.release_office import release
from tests.collector.rollout_words import NOW, settings

from tillwatch_collector.domain.choosing import (
    CONDITIONS_MAX,
    QUERY_CHARS_MAX,
    FleetFact,
    QueryRefused,
    choose,
    earliest,
    freeze,
    parse_query,
    unfit,
)
from tillwatch_collector.domain.hours import Hours, parse_hours
from tillwatch_collector.domain.rollout import RolloutSettings
from tillwatch_collector.domain.waves import LeftOutReason, Plan, Selection, plan

EVERY_DAY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FLEET = (
    FleetFact(
        terminal_id="b1",
        store_id="berlin-1",
        merchant_id="markt",
        region="berlin",
        carrier="telco",
        brand="Epson",
        model="TM T88",
        presence="online",
        agent_version="1.2.0",
        products={"till": "2.0", "driver_tables": "7"},
    ),
    FleetFact(
        terminal_id="b2",
        store_id="berlin-1",
        merchant_id="markt",
        region="berlin",
        presence="silent",
        agent_version="0.9",
        products={"till": "2.10"},
    ),
    FleetFact(
        terminal_id="h1",
        store_id="hamburg-1",
        merchant_id="markt",
        region="hamburg",
        model="A920",
        life_cycle="spare",
        agent_version="1.0",
        products={"till": "2.1"},
    ),
    FleetFact(terminal_id="n1", merchant_id="noodle", agent_version="built by hand"),
)


def chosen(text: str, fleet: Iterable[FleetFact] = FLEET) -> list[str]:
    return [fact.terminal_id for fact in choose(parse_query(text), fleet, products=("kiosk",))]


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("all", ["b1", "b2", "h1", "n1"]),
        ("  all ", ["b1", "b2", "h1", "n1"]),
        ("merchant=markt", ["b1", "b2", "h1"]),
        # All conditions hold, of values one does.
        ("merchant=markt region=berlin,hamburg till<2.1", ["b1"]),
        ("region = hamburg , berlin", ["b1", "b2", "h1"]),
        ("terminal=n1,h1", ["h1", "n1"]),
        ("store!=berlin-1", ["h1"]),
        ("store!=berlin-1,hamburg-1", []),
        # Each fact has its name.
        ("carrier=telco brand=Epson presence=online", ["b1"]),
        ("life_cycle=spare", ["h1"]),
        # A star stands for any characters, none included; case counts.
        ("terminal=*1", ["b1", "h1", "n1"]),
        ("store=b*-1", ["b1", "b2"]),
        ("store=ber*rlin-1", []),
        ("store=*amb*1*", ["h1"]),
        ("store=*amb*berlin*", []),
        ("store=*x", []),
        ("region=*", ["b1", "b2", "h1"]),
        ("region=BERLIN", []),
        ('model="TM T88"', ["b1"]),
        ('model=A920,"TM*"', ["b1", "h1"]),
        # Versions are numbers: 2.10 is later than 2.1, and 1 is 1.0.
        ("till<2.1", ["b1"]),
        ("till <= 2.1", ["b1", "h1"]),
        ("till>2.1", ["b2"]),
        ("till>=2.1", ["b2", "h1"]),
        ("till=2.1.0.0,2", ["b1", "h1"]),
        ("till!=2.1", ["b1", "b2"]),
        ("agent>=1", ["b1", "h1"]),
        # What is not known meets nothing but `none`; what is no version is not known.
        ("region=none", ["n1"]),
        ("region!=none", ["b1", "b2", "h1"]),
        ("region=none,hamburg", ["h1", "n1"]),
        ("region!=none,hamburg", ["b1", "b2"]),
        ("model!=A920", ["b1"]),
        ("driver_tables=none", ["b2", "h1", "n1"]),
        ("driver_tables!=none", ["b1"]),
        ("driver_tables!=7", []),
        ("agent=none", ["n1"]),
        # Nobody runs it yet, and it is released.
        ("kiosk=none", ["b1", "b2", "h1", "n1"]),
        ("kiosk<3", []),
    ],
)
def test_a_query_chooses(text: str, who: list[str]) -> None:
    assert chosen(text) == who


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected conditions such as region=berlin till<2.1, or all, got nothing"),
        ("berlin", "region=berlin,hamburg or model=\"TM T88\", got 'berlin'"),
        ("region=berlin and till<2", "model=\"TM T88\", got 'and till<2'"),
        # a value with a space has quotes around it
        ("model=TM T88", "model=\"TM T88\", got 'T88'"),
        ("all region=berlin", "got 'all region=berlin'"),
        ("region=", "got 'region='"),
        ("region=a,,b", "got 'region=a,,b'"),
        ('model="TM', "got 'model=\"TM'"),
        ('model="TM"x', "got 'model=\"TM\"x'"),
        ("region==berlin", "got 'region==berlin'"),
        ("Region=berlin", "got 'Region=berlin'"),
        ("region<berlin", "region: expected = or != for a text, got <"),
        ("till<2.1,2.2", "till: expected one version after <, got '2.1,2.2'"),
        ("till>=none", "till: expected one version after >=, got 'none'"),
        ("till=2.1-rc1", "till: expected a version such as 2.1.0, or, for a text, one of terminal, store"),
        # A misspelt name reads like a product.
        ("regoin=berlin", "regoin: expected a version such as 2.1.0, or, for a text, one of terminal, store"),
        (
            "stoer!=1",
            "expected one of terminal, store, merchant, region, carrier, brand, model, life_cycle, presence, ",
        ),
        ("stoer=none", "agent, driver_tables, kiosk, till, got 'stoer'"),
        ("x=1 " * (CONDITIONS_MAX + 1), f"expected at most {CONDITIONS_MAX} conditions, got {CONDITIONS_MAX + 1}"),
        ("x" * (QUERY_CHARS_MAX + 1), f"expected at most {QUERY_CHARS_MAX} characters, got {QUERY_CHARS_MAX + 1}"),
    ],
)
def test_what_cannot_be_understood_chooses_nobody_and_says_why(text: str, said: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        chosen(text)
    assert str(refused.value).startswith("select: ")
    assert said in str(refused.value)


@given(st.text(max_size=200))
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    try:
        chosen(text)
    except QueryRefused as refused:
        assert "expected" in str(refused)  # noqa: PT017 - nothing else is raised


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_a_pattern_is_found_as_a_shell_finds_it(pattern: str, text: str) -> None:
    import fnmatch  # noqa: PLC0415 - the judge of this test alone

    fact = FleetFact(terminal_id="t", region=text)
    if pattern:
        assert bool(chosen(f'region="{pattern}"', [fact])) is fnmatch.fnmatchcase(text, pattern)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    fact = FleetFact(terminal_id="t", region="a" * 64)
    assert chosen(f"region={'*a' * 1_000}b", [fact]) == []


# --- frozen


def hours(**changed: Any) -> Hours:
    return parse_hours(dict.fromkeys(EVERY_DAY, (("08:00", "20:00"),)) | changed, "Europe/Berlin")


def frozen(fleet: Iterable[FleetFact] = FLEET, **said: Any) -> Selection:
    known = list(fleet)
    calendar = {"berlin-1": hours(), "hamburg-1": hours()}
    return freeze(known, known, release("2.2", **said), calendar, settings(), query="all", reason="ticket 12", now=NOW)


def test_whom_it_chose_is_frozen_with_store_tills_and_opening() -> None:
    found = frozen()
    assert (found.query, found.reason, found.taken_at) == ("all", "ticket 12", NOW)
    by_id = {one.terminal_id: one for one in found.terminals}
    assert list(by_id) == ["b1", "b2", "h1", "n1"]
    assert by_id["b1"].store_tills == 2
    assert by_id["h1"].store_tills == 0  # a spare is no till that stays open
    assert (by_id["b1"].model, by_id["b1"].region, by_id["n1"].region) == ("TM T88", "berlin", "")
    # 03:00 in Berlin: the shop is closed, and the settlement at 03:00 keeps it free until a quarter past.
    assert by_id["b1"].opens_at == NOW + timedelta(minutes=15)
    assert by_id["n1"].opens_at is None


def test_a_window_that_is_open_opens_now() -> None:
    fact = FleetFact(terminal_id="t", store_id="s")
    found = freeze(
        [fact],
        [fact],
        release("2.2"),
        {"s": hours()},
        settings(window={"settlement_at": []}),
        query="all",
        reason="",
        now=NOW,
    )
    assert found.terminals[0].opens_at == NOW


@pytest.mark.parametrize(
    ("facts", "said", "why"),
    [
        ({}, {}, None),
        # It shows what it runs.
        ({"products": {"till": "2.2.0"}}, {}, LeftOutReason.INSTALLED),
        ({"products": {"till": "2.3"}}, {}, LeftOutReason.DOWNGRADE),
        ({"products": {"till": "2.1"}}, {}, None),
        ({"products": {"till": "by hand"}}, {}, None),
        ({"products": {"kiosk": "9"}}, {}, None),
        # The release says whom it is for.
        ({"model": "A920"}, {"models": ["A920"]}, None),
        ({"model": "A80"}, {"models": ["A920"]}, LeftOutReason.MODEL),
        ({}, {"models": ["A920"]}, LeftOutReason.MODEL),
        ({"agent_version": "1.0"}, {"agent_version_min": "1.1"}, LeftOutReason.AGENT_TOO_OLD),
        ({"agent_version": "by hand"}, {"agent_version_min": "1.1"}, LeftOutReason.AGENT_TOO_OLD),
        ({"agent_version": "1.1"}, {"agent_version_min": "1.1"}, None),
        # Which machine it is, only the terminal knows.
        ({}, {"machines": ["aarch64"]}, None),
    ],
)
def test_what_is_known_to_stand_against_a_release(
    facts: dict[str, Any], said: dict[str, Any], why: LeftOutReason | None
) -> None:
    assert unfit(FleetFact(terminal_id="t", **facts), release("2.2", **said)) is why


def test_a_plan_leaves_out_who_cannot_take_the_release() -> None:
    stores = {f"s{number}": hours() for number in range(10)}
    fleet = [
        FleetFact(terminal_id=f"t{number}", store_id=f"s{number // 2}", products={"till": "2.2" if number < 3 else "2"})
        for number in range(20)
    ]
    stated = settings(gate={"executed_min": 1})
    found = plan("r1", freeze(fleet, fleet, release("2.2"), stores, stated, query="all", reason="", now=NOW), stated)
    assert dict(found.left_out) == dict.fromkeys(("t0", "t1", "t2"), LeftOutReason.INSTALLED)


def twenty(soak_s: float) -> tuple[Plan, dict[str, Hours], RolloutSettings]:
    """Plan 20 tills of ten stores in Berlin, at three in the morning."""
    stores = {f"s{number}": hours() for number in range(10)}
    fleet = [FleetFact(terminal_id=f"t{number:02}", store_id=f"s{number // 2}") for number in range(20)]
    stated = settings(gate={"executed_min": 1, "soak_s": soak_s})
    frozen_now = freeze(fleet, fleet, release("2.2"), stores, stated, query="all", reason="", now=NOW)
    return plan("r1", frozen_now, stated), stores, stated


@pytest.mark.parametrize(
    ("soak_h", "opens"),
    [
        # The settlement keeps it free until a quarter past three; each wave soaks for an hour.
        (1, ["20 03:15", "20 04:15", "20 05:15"]),
        # A shop that opens at eight is free again an hour after closing.
        (5, ["20 03:15", "20 21:00", "21 02:00"]),
    ],
)
def test_a_wave_opens_when_those_before_it_may_have_soaked(soak_h: float, opens: list[str]) -> None:
    found, stores, stated = twenty(soak_h * 3600)
    at = earliest(found, stores, stated)
    assert at.keys() == {one.terminal_id for wave in found.waves for one in wave.terminals}
    said = [{at[one.terminal_id] for one in wave.terminals} for wave in found.waves]
    zone = stores["s0"].zone
    assert [[f"{moment.astimezone(zone):%d %H:%M}" for moment in moments if moment] for moments in said] == [
        [moment] for moment in opens
    ]


def test_after_a_wave_that_has_no_time_nobody_has() -> None:
    found, _, stated = twenty(3600)
    at = earliest(found, {}, stated)
    never = [{at[one.terminal_id] is None for one in wave.terminals} for wave in found.waves]
    assert never == [{False}, {True}, {True}]
