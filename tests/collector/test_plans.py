"""A plan file is checked as a whole, and says what is wrong with it by file and key."""

import json
from pathlib import Path

import pytest
from tests.collector.rollout_words import SETTINGS

from tillwatch_collector import plans
from tillwatch_collector.domain.gate import Primary
from tillwatch_collector.domain.rollout import SETTINGS_BYTES_MAX, RolloutRefused, parse_settings


def test_the_example_is_a_plan_with_a_word_on_each_setting() -> None:
    found = parse_settings(plans.settings_text(plans.example()))
    assert found.gate.primary is Primary.ATTRIBUTABLE_FAULT
    assert found.approval
    settings = [line for line in plans.example().splitlines() if " = " in line and not line.startswith(("#", " "))]
    assert [line for line in settings if "#" not in line] == ["waves = ["]


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    as_json, as_toml = tmp_path / "plan.json", tmp_path / "plan.toml"
    as_toml.write_text(plans.example())
    as_json.write_text(plans.read(as_toml))
    assert parse_settings(plans.read(as_json)) == parse_settings(plans.read(as_toml))
    as_json.write_text(json.dumps(SETTINGS))
    assert json.loads(plans.read(as_json)) == SETTINGS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("waves = [", "expected TOML, got: "),
        ("", "waves: expected a value, got none"),
        (plans.example().replace("alpha", "alfa"), "gate.alfa: unknown key; gate.alpha: expected a value, got none"),
        (
            plans.example().replace("exposed_max = 50", "exposed_max = '50'"),
            "limits.exposed_max: expected a valid integer, got",
        ),
        (plans.example().replace("2027-01-02", "2026-01-02"), "expected last not before first"),
        # A local time and a moment are no date.
        (plans.example().replace("2026-12-18", "07:00:00"), "expected a date such as 2025-03-31"),
        (plans.example().replace("2026-12-18", "2026-12-18T00:00:00Z"), "expected a date such as 2025-03-31"),
        ("#" * (SETTINGS_BYTES_MAX + 1), f"expected at most {SETTINGS_BYTES_MAX} bytes"),
    ],
)
def test_what_is_wrong_is_said_by_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(RolloutRefused) as refused:
        plans.read(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RolloutRefused, match="expected a readable file"):
        plans.read(tmp_path / "nothing.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(RolloutRefused, match="expected a readable file"):
        plans.read(tmp_path / "latin.toml")
