"""The words of the console: one catalogue file, the same keys in every language."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

DEFAULT = "en"

_CATALOGUE: Mapping[str, Mapping[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "texts.toml").read_text(encoding="utf-8")
)

LANGUAGES = tuple(_CATALOGUE)

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """One language's words."""

    language: str

    def __call__(self, key: str, /, **values: object) -> str:
        """Say `key` with its values filled in."""
        text: str = _CATALOGUE[self.language][key]
        return text.format(**values)

    def word(self, vocabulary: str, code: str) -> str:
        """Name a code of an open vocabulary; one that has no words yet is shown as it is written."""
        words: Mapping[str, str] = _CATALOGUE[self.language][vocabulary]
        return words.get(code, code.replace("_", " "))

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


def choose(asked: str | None, kept: str | None, accepted: str | None) -> Texts:
    """Choose the language: what the address asks for, what was kept from before, what the browser prefers, English."""
    for wanted in (asked, kept, *_preferred(accepted or "")):
        language = _known(wanted or "")
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


def catalogue() -> Mapping[str, Mapping[str, Any]]:
    """Show the whole catalogue."""
    return _CATALOGUE
