"""What is told of a file that people wrote wrongly."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from tillwatch_collector.domain import mistakes


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    soak_s: float
    url: str = ""


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    gate: Part
    a: int = 0
    b: int = 0
    c: int = 0


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"gate": {"sook_s": 3}}, "gate.sook_s: unknown key; gate.soak_s: expected a value, got none"),
        ({"gate": {"soak_s": "3"}}, "gate.soak_s: expected a valid number, got '3'"),
        ({"gate": {"soak_s": 3, "url": 4}}, "gate.url: expected a valid string"),
        (
            {"gate": {"soak_s": 3}, "a": "x", "b": "y", "c": "z", "d": 1},
            "d: unknown key; a: expected a valid integer, got 'x'; b: expected a valid integer, got 'y'; and 1 more",
        ),
        ({}, "gate: expected a value, got none"),
        (3, "the file: expected a valid dictionary or instance of Whole, got 3"),
    ],
)
def test_each_mistake_is_told_by_its_key_and_a_secret_is_not_repeated(said: object, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(said)
    assert mistakes.told(caught.value, "the file", secret={"url"}) == told
