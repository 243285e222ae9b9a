"""The console's words: complete in each language, all of them found, none written into a template."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from jinja2 import nodes
from tests.collector.shell_fixtures import NOW

from tillwatch_collector import policies
from tillwatch_collector.console import rendering, texts
from tillwatch_collector.console.texts import Texts, WordsClash, catalogue, choose, joined
from tillwatch_collector.domain.permission import Role
from tillwatch_collector.domain.policy import Severity
from tillwatch_collector.domain.presence import State
from tillwatch_collector.domain.ticket import Status
from tillwatch_collector.people import Refusal
from tillwatch_protocol.vocabulary import ConditionCode

ENGLISH = Texts(language="en")
CHINESE = Texts(language="zh-CN")
PLURAL = {"one", "other"}

TEMPLATES = sorted(path.relative_to(rendering.TEMPLATES).as_posix() for path in rendering.TEMPLATES.rglob("*.html"))

UNTRANSLATED = {"tillwatch", "tillwatch-collector", "utc", "url", "id", "csv", "json", "toml", "sla", "ms"}
"""Names and units, which are the same in every language."""

SPOKEN = {"alt", "aria-label", "aria-description", "placeholder", "title", "data-confirm", "hx-confirm", "label"}
"""Attributes that somebody reads or hears."""


# --- the same words in each language


def test_every_language_has_the_same_words() -> None:
    english, *others = (set(keys(words)) for words in catalogue().values())
    assert others
    for other in others:
        assert other == english


def test_every_language_fills_in_the_same_values() -> None:
    for key in keys(catalogue()["en"]):
        wanted = values_of(sentence("en", key))
        assert all(values_of(sentence(language, key)) == wanted for language in texts.LANGUAGES), key


def test_nothing_is_left_empty_or_in_the_other_language() -> None:
    for key in keys(catalogue()["en"]):
        assert all(sentence(language, key).strip() for language in texts.LANGUAGES), key
        assert not re.search(r"[\u4e00-\u9fff]", sentence("en", key)) or key == ("language",), key


def test_two_areas_cannot_have_the_same_key() -> None:
    with pytest.raises(WordsClash, match="en: close"):
        joined([{"en": {"close": "Close"}}, {"en": {"close": "Shut", "open": "Open"}}])


def test_every_code_that_we_know_has_words() -> None:
    codes = {value for name, value in vars(ConditionCode).items() if name.isupper()} | set(policies.load(None).code)
    for words in catalogue().values():
        assert codes <= set(words["conditions"])
        assert set(Severity) <= set(words["severities"])
        assert set(Status) <= set(words["statuses"])
        assert set(State) <= set(words["presences"])
        assert set(Role) <= set(words["roles"])


def test_every_refusal_of_a_link_has_words() -> None:
    by_a_link = set(Refusal) - {Refusal.WRONG, Refusal.WAIT, Refusal.LAST_ADMIN}
    assert {f"welcome_{refusal}" for refusal in by_a_link} <= texts.KEYS


def test_what_a_page_says_after_something_was_done_is_among_the_words() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(texts.__file__).parent.glob("*.py")]
    said = {key for source in sources for key in re.findall(r'said="(\w+)"', source)}
    assert said
    assert said <= texts.KEYS


# --- the templates


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_says_nothing_that_is_not_among_the_words(template: str) -> None:
    reader = Reader()
    reader.feed("".join(outline(parsed(template))))
    assert reader.said - UNTRANSLATED == set()


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_key_in_a_template_is_among_the_words(template: str) -> None:
    english = catalogue()["en"]
    for call in parsed(template).find_all(nodes.Call):
        named = call.args[0].value if call.args and isinstance(call.args[0], nodes.Const) else None
        match call.node:
            case nodes.Name(name="t") if named is not None:
                assert isinstance(english.get(named), str) or is_plural(english.get(named)), named
            case nodes.Getattr(node=nodes.Name(name="t"), attr="word") if named is not None:
                assert isinstance(english.get(named), dict), named
            case _:
                pass


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_neither_trusts_a_value_nor_styles_or_runs_anything_in_itself(template: str) -> None:
    tree = parsed(template)
    assert not [one.name for one in tree.find_all(nodes.Filter) if one.name == "safe"]
    assert not list(tree.find_all(nodes.ScopedEvalContextModifier))
    reader = Reader()
    reader.feed("".join(outline(tree)))
    assert reader.inline == []


def parsed(template: str) -> nodes.Template:
    return rendering.templates.parse((rendering.TEMPLATES / template).read_text(encoding="utf-8"))


def outline(node: nodes.Node) -> Iterator[str]:
    """A template's own text in order, with a number wherever a value is filled in."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.Output):
            for part in child.nodes:
                yield part.data if isinstance(part, nodes.TemplateData) else "0"
        else:
            yield from outline(child)


class Reader(HTMLParser):
    """Collects what a person reads, and what a browser with our policy would not run."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()
        self.inline: list[str] = []
        self._mute = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._mute = tag in {"code", "kbd", "pre"} or given.get("class") == "code"
        self.inline += [f"{tag} {name}" for name, _ in attrs if name == "style" or name.startswith(("on", "hx-on"))]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        for name, value in attrs:
            if name in SPOKEN:
                self.handle_data(value or "")

    def handle_endtag(self, _tag: str) -> None:
        self._mute = False

    def handle_data(self, data: str) -> None:
        if not self._mute:
            prose = re.sub(r"/\S*", " ", data)  # an address is no sentence
            self.said |= {word.lower() for word in re.findall(r"[^\W\d_][\w-]+", prose)}


# --- the language


@pytest.mark.parametrize(
    ("chosen", "kept", "accepted", "language"),
    [
        (None, None, None, "en"),
        (None, None, "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        (None, None, "de,en;q=0.5,zh;q=0.7", "zh-CN"),
        (None, None, "fr;q=x, ,;", "en"),
        (None, "zh-CN", "en", "zh-CN"),
        ("en", "zh-CN", "zh", "en"),
        ("zh_TW", None, None, "zh-CN"),
        ("tlh", None, "zh", "zh-CN"),
    ],
)
def test_the_language_is_what_was_chosen_or_kept_or_is_preferred(
    chosen: str | None, kept: str | None, accepted: str | None, language: str
) -> None:
    assert choose(chosen, kept, accepted).language == language


def test_a_code_that_nobody_has_heard_of_is_shown_as_it_is_written() -> None:
    assert ENGLISH.word("conditions", "coin_jam") == "coin jam"


# --- numbers and times


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0 s ago"),  # a clock that was put back
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7_199, "119 min ago"),
        (7_200, "2 h ago"),
        (172_800, "2 d ago"),
    ],
)
def test_how_long_ago_is_told_in_one_unit(seconds: int, said: str) -> None:
    assert ENGLISH.ago(NOW - timedelta(seconds=seconds), NOW) == said


def test_what_never_was_is_told() -> None:
    assert ENGLISH.ago(None, NOW) == "never"


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0, "0 sec", "0秒"),
        (-3, "0 sec", "0秒"),
        (59.6, "1 min", "1分钟"),
        (3_600, "1 hr", "1小时"),
        (3_600 + 61, "1 hr 1 min", "1小时 1分钟"),
        (86_400 + 59, "1 day", "1天"),  # its two largest units, of which the second is nothing
        (3 * 86_400 + 7_300, "3 days 2 hr", "3天 2小时"),
    ],
)
def test_a_span_is_told_in_its_two_largest_units(seconds: float, english: str, chinese: str) -> None:
    assert (ENGLISH.duration(seconds), CHINESE.duration(seconds)) == (english, chinese)


def test_a_moment_is_told_in_a_zone_and_as_its_language_writes_it() -> None:
    moment = datetime(2026, 11, 21, 16, 5, 9, tzinfo=UTC)
    shanghai = ZoneInfo("Asia/Shanghai")
    assert ENGLISH.date(moment) == "Nov 21, 2026, 16:05"
    assert CHINESE.date(moment, shanghai) == "2026年11月22日 00:05"
    assert Texts(language="zh-CN", zone=shanghai).day(moment) == "2026年11月22日"
    assert Texts(language="en", zone=shanghai).clock(moment) == "00:05:09"


def test_numbers_and_shares_are_written_as_the_language_does() -> None:
    assert ENGLISH.number(50_000) == "50,000"
    assert ENGLISH.number(1.26) == "1.3"
    assert ENGLISH.share(0.25) == "25%"


def test_a_count_chooses_the_form_of_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"en": {"rows": {"one": "{n} row", "other": "{n} rows"}}, "zh-CN": {"rows": {"other": "{n} 行"}}}
    monkeypatch.setattr(texts, "_CATALOGUE", words)
    assert [ENGLISH("rows", n=n) for n in (0, 1, 1_000)] == ["0 rows", "1 row", "1,000 rows"]
    assert CHINESE("rows", n=1) == "1 行"


# --- pieces


def is_plural(words: object) -> bool:
    return isinstance(words, dict) and "other" in words and set(words) <= PLURAL


def keys(words: object, *above: str) -> Iterator[tuple[str, ...]]:
    """Every key of a catalogue; the forms of a plural are one."""
    if not isinstance(words, dict) or is_plural(words):
        yield above
        return
    for name, inner in words.items():
        yield from keys(inner, *above, name)


def sentence(language: str, key: tuple[str, ...]) -> str:
    """The words of a key; of a plural its general form."""
    found = catalogue()[language]
    for name in key:
        found = found[name]
    return str(found["other"] if is_plural(found) else found)


def values_of(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))
