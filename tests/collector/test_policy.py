"""The policy file: the packaged one, and what is said of a wrong one."""

from pathlib import Path

import pytest

from tillwatch_collector import policies
from tillwatch_collector.domain.policy import POLICY_BYTES_MAX, parse_policy
from tillwatch_collector.errors import PolicyInvalid
from tillwatch_protocol.vocabulary import ConditionCode

DEFAULT = """
version = 1
[default]
severity = "minor"
category = "other"
raise_s = 60
clear_s = 30
repair = "complex"
attributable = true
ticket = true
close_after_s = 86400
"""


def test_the_packaged_policy_speaks_of_every_known_code() -> None:
    policy = policies.load()
    known = {value for name, value in vars(ConditionCode).items() if name.isupper()}
    assert known - set(policy.code) == set()
    assert policy.rule("silent").raise_s == 0
    assert not policy.rule("port_busy").ticket
    assert not policy.rule("paper_end").attributable


def test_an_unknown_code_is_judged_by_the_default() -> None:
    policy = parse_policy(DEFAULT)
    assert policy.rule("never_heard_of") == policy.default


def test_a_code_states_only_what_differs() -> None:
    rule = parse_policy(DEFAULT + '[code.paper_end]\nseverity = "major"').rule("paper_end")
    assert (rule.severity, rule.category, rule.holds.raise_s, rule.holds.clear_s) == ("major", "other", 60, 30)


def test_holds_are_scaled_and_nothing_else() -> None:
    scaled = parse_policy(DEFAULT + "[code.paper_end]\nraise_s = 10").scaled(0.1)
    assert (scaled.default.raise_s, scaled.default.clear_s, scaled.default.close_after_s) == (6, 3, 86400)
    assert scaled.rule("paper_end").raise_s == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # not TOML
        ("version =", "expected TOML"),
        # of another version
        (DEFAULT.replace("version = 1", "version = 2"), "version: .*less than or equal to 1, got 2"),
        # without a default
        ("version = 1", "default: expected a value, got none"),
        # a default that leaves something open
        (DEFAULT.replace("ticket = true", ""), "default.ticket: expected a value, got none"),
        # a severity nobody knows
        (DEFAULT.replace('"minor"', '"bad"'), "default.severity: .*'critical', 'major', 'minor' or 'info', got 'bad'"),
        # a hold that runs backwards
        (DEFAULT + "[code.paper_end]\nraise_s = -1", "code.paper_end.raise_s: .*greater than or equal to 0, got -1"),
        # a hold that never ends
        (DEFAULT + "[code.paper_end]\nraise_s = inf", "code.paper_end.raise_s: .*, got inf"),
        # a key that does not exist
        (DEFAULT + "[code.paper_end]\nraises = 1", "code.paper_end.raises: unknown key"),
        # a code that is none
        (DEFAULT + '[code."Paper End"]\nraise_s = 1', "code.Paper End"),
        # a code that is no table
        (DEFAULT + "[code]\npaper_end = 1", "code.paper_end: .*, got 1"),
        # two mistakes
        (
            DEFAULT + "[code.paper_end]\nraise_s = -1\nclear_s = -1",
            r"raise_s: expected .*; code.paper_end.clear_s: expected",
        ),
        # larger than any policy
        ("#" * (POLICY_BYTES_MAX + 1), "expected at most"),
    ],
)
def test_a_wrong_policy_names_the_key_what_was_expected_and_what_came(text: str, said: str) -> None:
    with pytest.raises(PolicyInvalid, match=said):
        parse_policy(text)


def test_an_operators_policy_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(DEFAULT, encoding="utf-8")
    assert policies.load(path) == parse_policy(DEFAULT)
    path.write_text("version =", encoding="utf-8")
    with pytest.raises(PolicyInvalid, match=r"policy\.toml: expected TOML"):
        policies.load(path)
    with pytest.raises(PolicyInvalid, match=r"absent\.toml: expected a readable file"):
        policies.load(tmp_path / "absent.toml")
