"""Versions as numbers, the words of a release, and which terminal takes it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tillwatch_protocol.release import Fitting, Release, TargetPath, Unfit, misfit, version_key

TILL: dict[str, Any] = {"product": "till", "version": "2.1.0", "installer": "bundle"}
numbers = st.lists(st.integers(0, 999_999_999), min_size=1, max_size=4)


def written(parts: list[int]) -> str:
    return ".".join(map(str, parts))


@given(numbers, numbers)
def test_versions_are_compared_as_numbers(one: list[int], other: list[int]) -> None:
    padded = [(parts + [0] * 4)[:4] for parts in (one, other)]
    assert (version_key(written(one)) < version_key(written(other))) == (padded[0] < padded[1])


@pytest.mark.parametrize(
    ("lesser", "greater"), [("2.9", "2.10"), ("2.1", "2.1.0.1"), ("0.9.9", "1"), ("1.0.0.999999999", "1.0.1")]
)
def test_a_later_version_is_later(lesser: str, greater: str) -> None:
    assert version_key(lesser) < version_key(greater)
    assert version_key("2") == version_key("2.0.0.0")


@pytest.mark.parametrize(
    "text", ["", "v2", "2.1-rc1", "2..1", "2.", ".1", "1.2.3.4.5", "02", "1.9999999999", "٢", "2\n"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected one to four numbers"):
        version_key(text)
    with pytest.raises(ValidationError):
        Release.model_validate(TILL | {"version": text})


@pytest.mark.parametrize(
    ("release", "terminal", "unfit"),
    [
        ({}, {}, None),
        ({}, {"product": "agent"}, Unfit.PRODUCT),
        ({"machines": ["x86_64", "aarch64"]}, {"machine": "aarch64"}, None),
        ({"machines": ["x86_64"]}, {"machine": "aarch64"}, Unfit.MACHINE),
        ({"machines": ["x86_64"]}, {}, Unfit.MACHINE),  # what is not known meets nothing
        ({"models": ["A920"]}, {"model": "A920"}, None),
        ({"models": ["A920"]}, {"model": "A80"}, Unfit.MODEL),
        ({"models": ["A920"]}, {}, Unfit.MODEL),
        ({"agent_version_min": "1.2"}, {"agent_version": "1.2.0"}, None),
        ({"agent_version_min": "1.2"}, {"agent_version": "1.1.9"}, Unfit.AGENT),
        ({"agent_version_min": "1.2"}, {}, Unfit.AGENT),
        ({}, {"installed_version": "2.0.9"}, None),
        ({}, {"installed_version": "2.1"}, None),
        ({}, {"installed_version": "2.1.0.1"}, Unfit.DOWNGRADE),
    ],
)
def test_a_terminal_takes_what_is_for_it(
    release: dict[str, Any], terminal: dict[str, Any], unfit: Unfit | None
) -> None:
    found = misfit(Release.model_validate(TILL | release), Fitting(**({"product": "till"} | terminal)))
    assert (found and found.unfit) == unfit
    assert found is None or "expected" in str(found)


@pytest.mark.parametrize(
    "change",
    [
        {"product": "Till"},
        {"installer": "firmware"},
        {"machines": ["x"] * 65},
        {"models": ["a b"]},
        {"notes": "two\nlines"},
        {"installed_bytes": -1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_words_beyond_their_limits_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Release.model_validate(TILL | change)


def test_a_release_reads_as_it_was_written() -> None:
    release = Release.model_validate(TILL | {"machines": ["x86_64"], "models": ["A920"], "agent_version_min": "1"})
    assert Release.model_validate(release.model_dump(mode="json")) == release
    assert Release.model_validate_json(release.model_dump_json()) == release
    assert Release.model_validate(TILL | {"later": "words of a newer collector"}).product == "till"


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("till/till-2.1.0.tar.gz", True),
        ("till/sub/x", True),
        ("till", False),
        ("/till/x", False),
        ("till/../x", False),
        ("till/.x", False),
        ("till//x", False),
        ("till/x/", False),
        ("a/b/c/d", False),
        ("till/x y", False),
        ("till/x\\y", False),
    ],
)
def test_a_targets_path_leads_down_only(path: str, taken: bool) -> None:
    adapter = TypeAdapter(TargetPath)
    if taken:
        assert adapter.validate_python(path) == path
        return
    with pytest.raises(ValidationError):
        adapter.validate_python(path)
