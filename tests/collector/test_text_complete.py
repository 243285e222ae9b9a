"""Whoever reads the console in one language reads all of it: every text, every code, and nothing left untranslated."""

import ast
import re
import string
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.collector import template_words

from tillwatch_collector import console, policies
from tillwatch_collector.console import texts
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.presence import State
from tillwatch_collector.domain.ticket import Status
from tillwatch_protocol.vocabulary import ConditionCode, Health, Kind

CONSOLE = Path(console.__file__).parent
TEMPLATES = sorted((CONSOLE / "templates").rglob("*.html"))
SOURCES = sorted(path for path in CONSOLE.rglob("*.py"))
LANGUAGES = ("en", "zh-CN")


def named(path: Path) -> str:
    return path.relative_to(CONSOLE).as_posix()


PLURALS = {"zero", "one", "two", "few", "many", "other"}


def is_sentence(words: Any) -> bool:
    """Whether it is what `t(key)` says: a sentence, or its forms by number, of which languages have their own."""
    return isinstance(words, str) or (isinstance(words, Mapping) and "other" in words and set(words) <= PLURALS)


def plain(words: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in words.items():
        if is_sentence(inner):
            yield f"{prefix}{name}", inner if isinstance(inner, str) else inner["other"]
        else:
            yield from plain(inner, f"{prefix}{name}.")


def said_in(language: str) -> dict[str, str]:
    return dict(plain(texts.catalogue()[language]))


# --- the words


def test_there_are_two_languages() -> None:
    assert tuple(texts.catalogue()) == LANGUAGES


def test_both_languages_have_the_same_keys() -> None:
    one, other = (set(said_in(language)) for language in LANGUAGES)
    assert one == other


@pytest.mark.parametrize("path", sorted((CONSOLE / "words").glob("*.toml")), ids=named)
def test_each_file_has_the_same_keys_in_both_languages_and_in_the_same_order(path: Path) -> None:
    one, other = (list(dict(plain(words))) for words in tomllib.loads(path.read_text(encoding="utf-8")).values())
    assert one == other


def test_both_languages_fill_in_the_same_values() -> None:
    english, chinese = (said_in(language) for language in LANGUAGES)
    different = {key: (english[key], chinese[key]) for key in english if holes(english[key]) != holes(chinese[key])}
    assert different == {}


def holes(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_chinese_is_chinese() -> None:
    """What is the same in both languages is a name, a unit or a format."""
    english, chinese = (said_in(language) for language in LANGUAGES)
    same = {key: text for key, text in chinese.items() if text == english[key] and re.search(r"[a-z]{3,}", prose(text))}
    assert {key: text for key, text in same.items() if not re.search(SAID_ALIKE, text)} == {}


SAID_ALIKE = re.compile(r"tillwatch|English|中文|CSV|DNS|TLS|TCP|USB|RSRP|SHA|RSSI|HTTP|Wi-Fi|UTC|JSON|TOML|IANA|MQTT")


def prose(text: str) -> str:
    return re.sub(r"\{[^}]*\}", "", text)


def test_no_text_is_empty() -> None:
    empty = [(language, key) for language in LANGUAGES for key, text in said_in(language).items() if not text.strip()]
    assert empty == []


# --- the codes


@pytest.mark.parametrize(
    ("vocabulary", "codes"),
    [
        (
            "conditions",
            {value for name, value in vars(ConditionCode).items() if name.isupper()} | set(policies.load(None).code),
        ),
        ("kinds", {value for name, value in vars(Kind).items() if name.isupper()}),
        ("healths", set(Health)),
        ("severities", set(Severity)),
        ("statuses", set(Status)),
        ("presences", set(State)),
    ],
)
def test_every_code_that_we_know_has_words(vocabulary: str, codes: set[str]) -> None:
    for language in LANGUAGES:
        assert codes - set(texts.catalogue()[language][vocabulary]) == set(), language


# --- the templates


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_no_text_stands_in_a_template(path: Path) -> None:
    assert template_words.read(path).literals == []


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_every_key_that_a_template_asks_for_is_there(path: Path) -> None:
    read = template_words.read(path)
    words = texts.catalogue()["en"]
    assert {key for key in read.keys if not is_sentence(words.get(key))} == set()
    assert {name for name in read.vocabularies if not isinstance(words.get(name), Mapping)} == set()


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_every_key_that_code_asks_for_is_there(path: Path) -> None:
    words = texts.catalogue()["en"]
    asked = set(asked_in(ast.parse(path.read_text(encoding="utf-8"))))
    assert {key for key in asked if not is_sentence(words.get(key))} == set()


def asked_in(tree: ast.AST) -> Iterator[str]:
    """Yield the keys of `words("key")`, `visit.words("key")` and `said="key"`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"words", "t"} and node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)
            said = [one.value for one in node.keywords if one.arg == "said"]
            yield from (one.value for one in said if isinstance(one, ast.Constant) and isinstance(one.value, str))


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_no_template_calls_data_markup(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape\s+false|Markup\(", source)
    markup = template_words.read(path).markup
    assert not re.search(r"<[^>]*\s(?:style|on\w+|hx-on\S*)\s*=", markup), "no inline style, no inline script"
    assert not re.search(r"<(?:script|style)>", markup)
    assert not re.search(r'(?:href|src|action)="(?:https?:)?//', markup), "nothing from elsewhere"


# --- how a template is read

LITERAL = """\
<p title="{{ t('a') }}">{{ t("b", n=2) }} · {{ "10" }} times</p>
<button aria-label="Close">x</button>
{# a comment #}<code>tillwatch-collector serve</code>
<b>{{ "yes" if x else t("no") }}{{ t.word("statuses", s) }}</b>
<i class="{{ 'wide' if x }}">{{ card("Open tickets", "open") }}</i>
"""


def test_a_literal_is_found_wherever_people_read_it(tmp_path: Path) -> None:
    path = tmp_path / "t.html"
    path.write_text(LITERAL)
    read = template_words.read(path)
    assert [literal.partition(": ")[2] for literal in read.literals] == [
        "·   times",
        "Close",
        "x",
        "yes",
        "Open tickets",
    ]
    assert read.keys == {"a", "b", "no"}
    assert read.vocabularies == {"statuses"}
