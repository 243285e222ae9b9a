"""The words of the console, and numbers and times as each language writes them.

Each area has a catalogue file, with the same keys in every language. A key is a sentence, or a table `{one = "...",
other = "..."}` from which the value `n` chooses. A vocabulary is a table of words by code. The areas' files are joined,
and a key that stands in two of them is a mistake that is found here.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.dates import format_skeleton, get_datetime_format
from babel.numbers import format_decimal, format_percent, format_scientific
from babel.units import format_unit

DEFAULT = "en"

WORDS = Path(__file__).parent / "words"

_HUGE = 1e15
"""Longer than anybody reads, and soon more digits than decimals hold; a terminal may send what it likes."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400

Catalogue = Mapping[str, Mapping[str, Any]]
"""By language and key."""


class WordsClash(Exception):  # noqa: N818 - our own mistake: it ends the import
    """Two areas have the same key."""


def joined(files: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Join catalogues; raises `WordsClash`."""
    whole: dict[str, dict[str, Any]] = {}
    for file in files:
        for language, words in file.items():
            kept = whole.setdefault(language, {})
            if twice := kept.keys() & words.keys():
                raise WordsClash(f"{language}: {', '.join(sorted(twice))}")
            kept.update(words)
    return whole


_CATALOGUE = joined(tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(WORDS.glob("*.toml")))

LANGUAGES = tuple(_CATALOGUE)

KEYS = frozenset(key for key, words in _CATALOGUE[DEFAULT].items() if isinstance(words, str))
"""The sentences."""

LANGUAGES_NAMED = tuple((language, str(words["language"])) for language, words in _CATALOGUE.items())
"""Each by its own name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """One language's words, and the time zone in which moments are told."""

    language: str
    zone: tzinfo = UTC

    def __call__(self, key: str, /, **values: object) -> str:
        """Say `key` with its values filled in; `n` is a count, which chooses the form and is written as a number."""
        words = _CATALOGUE[self.language][key]
        count = values.get("n")
        if isinstance(count, int | float):
            values["n"] = self.number(count)
            words = words if isinstance(words, str) else words.get(self._locale.plural_form(count), words["other"])
        return str(words).format(**values)

    def word(self, vocabulary: str, code: str) -> str:
        """Name a code of an open vocabulary; one that has no words yet is shown as it is written."""
        words: Mapping[str, str] = _CATALOGUE[self.language][vocabulary]
        return words.get(code, code.replace("_", " "))

    def component(self, code: str) -> str:
        """Name a component (`kind:name`): what it is, and which; the only one of its kind is `self`."""
        kind, _, name = code.partition(":")
        said = self.word("kinds", kind)
        return said if name in {"", "self"} else f"{said} {name}"

    def ago(self, then: datetime | None, now: datetime) -> str:
        """Say how long ago, in one unit."""
        if then is None:
            return self("never")
        seconds = max(0, int((now - then).total_seconds()))
        if seconds < 2 * _MINUTE_S:
            return self("seconds_ago", count=seconds)
        if seconds < 2 * _HOUR_S:
            return self("minutes_ago", count=seconds // _MINUTE_S)
        if seconds < 2 * _DAY_S:
            return self("hours_ago", count=seconds // _HOUR_S)
        return self("days_ago", count=seconds // _DAY_S)

    def date(self, moment: datetime, zone: tzinfo | None = None) -> str:
        """Write a moment to the minute, in `zone` or the one of these words."""
        local = moment.astimezone(zone or self.zone)
        joined_as = str(get_datetime_format("medium", locale=self._locale))
        return joined_as.format(f"{local:%H:%M}", self.day(moment, zone))

    def exact(self, moment: datetime, zone: tzinfo | None = None) -> str:
        """Write a moment to the second."""
        joined_as = str(get_datetime_format("medium", locale=self._locale))
        return joined_as.format(self.clock(moment, zone), self.day(moment, zone))

    def day(self, moment: datetime, zone: tzinfo | None = None) -> str:
        """Write a moment's day."""
        return format_skeleton("yMMMd", moment.astimezone(zone or self.zone), locale=self._locale)

    def clock(self, moment: datetime, zone: tzinfo | None = None) -> str:
        """Write a moment's time of day, to the second."""
        return moment.astimezone(zone or self.zone).strftime("%H:%M:%S")

    def number(self, number: float, digits: int = 1) -> str:
        """Write a number, with at most so many digits behind its point; a huge one by its power of ten."""
        if abs(number) >= _HUGE:
            return format_scientific(number, "0.###E0", locale=self._locale)
        return format_decimal(round(number, digits), locale=self._locale, decimal_quantization=False)

    def share(self, share: float) -> str:
        """Write a share of one as per cent."""
        return format_percent(share, locale=self._locale)

    def duration(self, seconds: float) -> str:
        """Write a span in its two largest units: `2 d 3 h`, `5 min 10 s`."""
        left = max(0, round(seconds))
        parts: list[tuple[str, int]] = []
        for unit, width in _UNITS:
            count, left = divmod(left, width)
            if count or (parts and len(parts) < _DURATION_UNITS):
                parts.append((unit, count))
            if len(parts) == _DURATION_UNITS:
                break
        shown = [(unit, count) for unit, count in parts if count] or [("second", 0)]
        return " ".join(format_unit(count, f"duration-{unit}", "short", locale=self._locale) for unit, count in shown)

    @property
    def _locale(self) -> Locale:
        return _locale_of(self.language)


_DURATION_UNITS = 2
_UNITS = (("day", _DAY_S), ("hour", _HOUR_S), ("minute", _MINUTE_S), ("second", 1))


@cache
def _locale_of(language: str) -> Locale:
    try:
        return Locale.parse(language, sep="-")
    except UnknownLocaleError:
        return Locale.parse(DEFAULT)


def choose(*wanted: str | None) -> Texts:
    """Choose the language: the first that we have; the last of `wanted` is an Accept-Language header. Else English."""
    *named, accepted = wanted
    for tag in (*named, *_preferred(accepted or "")):
        language = _known(tag or "")
        if language is not None:
            return Texts(language=language)
    return Texts(language=DEFAULT)


def _known(tag: str) -> str | None:
    """Find the language of a tag: `zh`, `zh-Hans-CN` and `zh_CN` are all Chinese here."""
    primary = tag.strip().lower().replace("_", "-").partition("-")[0]
    return next((language for language in LANGUAGES if language.lower().partition("-")[0] == primary), None)


def _preferred(accepted: str) -> list[str]:
    """Order the tags of an Accept-Language header; what cannot be read comes last."""
    weighed: list[tuple[float, str]] = []
    for part in accepted.split(",")[:20]:
        tag, _, quality = part.partition(";q=")
        try:
            weight = float(quality) if quality else 1.0
        except ValueError:
            weight = 0.0
        weighed.append((-weight, tag))
    return [tag for _, tag in sorted(weighed, key=lambda pair: pair[0])]


def catalogue() -> Catalogue:
    """Show the whole catalogue."""
    return _CATALOGUE
