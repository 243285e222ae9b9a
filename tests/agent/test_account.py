"""The account of a diagnosis: what it says of the way out and of components, and what it leaves out."""

import pytest

from tillwatch_agent.account import account
from tillwatch_agent.diagnosis import judge
from tillwatch_agent.evidence import Domain, Evidence, Gateway
from tillwatch_protocol import codec, topics
from tillwatch_protocol.command import FINDINGS_MAX, FOUND_CHARS_MAX, CommandReport, Diagnosis
from tillwatch_protocol.event import Event, EventBatch, EventKind
from tillwatch_protocol.reading import Condition, Reading
from tillwatch_protocol.vocabulary import COMPONENTS_MAX, EARLIEST, Health


def reading(name: str, health: Health = Health.OK, *codes: str, detail: str | None = None) -> Reading:
    conditions = tuple(Condition(code=code, since=EARLIEST, detail=detail) for code in codes)
    return Reading(component=name, health=health, reason="asked_in_vain", conditions=conditions, age_s=1.26)


def test_the_way_out_is_told_stretch_by_stretch_with_what_was_not_tested() -> None:
    evidence = Evidence(
        has_link=True,
        has_address=True,
        has_route=True,
        gateway=Gateway.DEAD,
        details={Domain.GATEWAY: "192.168.1.1 card 4111111111111111\n"},
    )
    told = account(judge(evidence), ())
    assert (told.failing, told.confidence) == ("gateway_unreachable", "proved")
    assert [(one.name, one.outcome, one.codes) for one in told.findings] == [
        ("link", "passed", ()),
        ("address", "passed", ()),
        ("route", "passed", ()),
        ("gateway", "failed", ("gateway_unreachable",)),
        ("names", "untested", ("behind_failure",)),
        ("wan", "untested", ("behind_failure",)),
        ("portal", "untested", ("behind_failure",)),
    ]
    found = told.findings[3].found
    assert found is not None
    assert found.startswith("192.168.1.1 card")
    assert "4111111111111111" not in found


def test_where_the_way_out_is_not_watched_nothing_is_said_of_it() -> None:
    assert account(None, ()) == Diagnosis()


@pytest.mark.parametrize(
    ("one", "codes", "found"),
    [
        # what is true, and the first thing that explains it
        (
            reading("pos_printer:1", Health.FAULT, "cover_open", "paper_end", detail="lid"),
            ("cover_open", "paper_end"),
            "lid",
        ),
        # why nothing is known
        (reading("scanner:1", Health.UNKNOWN), ("asked_in_vain",), None),
    ],
)
def test_a_component_is_told_with_its_age(one: Reading, codes: tuple[str, ...], found: str | None) -> None:
    (told,) = account(None, (one,)).findings
    assert (told.name, told.outcome, told.codes, told.found, told.age_s) == (
        one.component,
        one.health,
        codes,
        found,
        1.3,
    )


def test_those_that_are_well_are_left_out_first() -> None:
    well = [reading(f"scanner:{number}") for number in range(COMPONENTS_MAX - 1)]
    told = account(None, [*well, reading("pos_printer:1", Health.FAULT, "paper_end")])
    assert told.findings[0].name == "pos_printer:1"
    assert (len(told.findings), told.left_out) == (FINDINGS_MAX, COMPONENTS_MAX - FINDINGS_MAX)


def test_the_longest_account_in_any_script_fits_into_one_message() -> None:
    worst = [reading(f"scanner:{number}", Health.FAULT, *CODES, detail="纸" * 512) for number in range(COMPONENTS_MAX)]
    report = CommandReport(command_id="c" * 64, kind="diagnose", diagnosis=account(None, worst))
    assert {len(one.found or "") for one in account(None, worst).findings} == {FOUND_CHARS_MAX}
    event = Event(event_seq=1, boot_epoch=1, kind=EventKind.COMMAND_DONE, happened_at=EARLIEST, command=report)
    batch = EventBatch(terminal_id="t", stream_id="0" * 32, oldest_seq=1, events=(event,))
    assert codec.decode(topics.EVENTS.of("t"), codec.encode(batch)) == batch


CODES = tuple(f"{letter * 48}" for letter in "abcdefghijklmnop")
