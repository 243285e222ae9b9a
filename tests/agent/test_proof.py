"""What proves a release: it tells itself, and no component is worse off for which it may be blamed."""

from pathlib import Path

import pytest
from tests.agent.job_words import ACTIVATION, DIGEST, PRINTER, RUNNING, broken

from tillwatch_agent import proof
from tillwatch_collector import policies
from tillwatch_collector.domain.policy import parse_policy
from tillwatch_protocol.vocabulary import ConditionCode, Health

POLICY = Path(policies.__file__).with_name("policy.toml")


def test_the_agent_blames_a_release_for_what_the_collectors_policy_does() -> None:
    policy = parse_policy(POLICY.read_text(encoding="utf-8"))
    codes = {value for name, value in vars(ConditionCode).items() if name.isupper()}
    spared = {code for code in codes if not policy.rule(code).attributable}
    seen_by_the_collector = {ConditionCode.IDENTITY_SHARED}
    assert spared - seen_by_the_collector == proof.NOT_ATTRIBUTABLE


def test_what_people_paper_and_time_do_is_left_out() -> None:
    readings = (broken("pos_printer:1", "paper_end", "no_response"), broken("machine:clock", "clock_wrong"), RUNNING)
    assert proof.conditions(readings) == {"pos_printer:1": ("no_response",)}


WORSE = {
    # nothing changed
    "same": (("no_response",), ("no_response",), None),
    # it was repaired meanwhile
    "better": (("no_response",), (), None),
    "worse": ((), ("no_response",), "pos_printer:1: no_response"),
    "otherwise": (("offline",), ("no_response",), "pos_printer:1: no_response"),
}


@pytest.mark.parametrize(("before", "after", "said"), WORSE.values(), ids=WORSE)
def test_what_is_worse(before: tuple[str, ...], after: tuple[str, ...], said: str | None) -> None:
    assert proof.worse({"pos_printer:1": before}, {"pos_printer:1": after}) == said


def test_a_component_that_is_not_heard_of_any_more_is_worse_and_another_one_is_not() -> None:
    assert proof.worse({"pos_printer:1": ()}, {}) == "pos_printer:1 was not looked at since"
    assert proof.worse({}, {"pos_printer:1": ("no_response",)}) is None


def test_a_product_tells_itself_by_all_its_facts() -> None:
    facts = {"activation_id": ACTIVATION, "digest": DIGEST}
    assert proof.tells((PRINTER, RUNNING), "till", facts)
    assert not proof.tells((PRINTER, RUNNING), "scale", facts)
    assert not proof.tells((PRINTER, RUNNING), "till", {**facts, "digest": None})
    assert not proof.tells((PRINTER, RUNNING.model_copy(update={"health": Health.FAULT})), "till", facts)
