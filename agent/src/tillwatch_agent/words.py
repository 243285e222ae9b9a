"""The doctor's table in the installer's language: what is said in English, said again by a catalogue of templates.

Inside, in logs and in `--json`, checks are told in English, so that one text can be searched for wherever it turns up;
only the table that a person reads is put into another language. A template has holes for what is not language (paths,
addresses, an operating system's own words), whose content is looked up as well, and stays as it is when it is not
known. A sentence that no template fits is shown in English: an advice that is not translated is better than none.

A change violates this when a path, a code or an address comes out other than it went in.
"""

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from importlib import resources
from typing import Final

from tillwatch_agent.checks import Check

_HOLE: Final = "{}"


class Language(StrEnum):
    """What the table can be told in."""

    ENGLISH = "en"
    CHINESE = "zh-CN"


def language_of(environment: Mapping[str, str]) -> Language:
    """Choose by the locale, as other programs do: LC_ALL, then LC_MESSAGES, then LANG."""
    locale = next(filter(None, map(environment.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return Language.CHINESE if locale.lower().startswith("zh") else Language.ENGLISH


class Words:
    """All that is said in one language."""

    def __init__(self, language: Language) -> None:
        self._sentences: dict[str, str] = {}
        self._joints: dict[str, str] = {}
        self._templates: list[tuple[re.Pattern[str], str]] = []
        if language is not Language.ENGLISH:
            self._read(resources.files(__package__).joinpath(f"words.{language}.toml").read_text(encoding="utf-8"))

    def said(self, text: str) -> str:
        """Say a text, as far as the catalogue goes."""
        if text in self._sentences:
            return self._sentences[text]
        return (
            self._joined(text, "; ")
            or self._filled(text)
            or self._joined(text, " or ")
            or self._joined(text, ", ")
            or text
        )

    def check(self, check: Check) -> tuple[str, str, str | None]:
        """Say a check: its verdict, what was found, what to do."""
        return self.said(check.verdict), self.said(check.found), check.advice and self.said(check.advice)

    def _joined(self, text: str, joint: str) -> str | None:
        """Say joined sentences one by one; one that has the joint within it is taken whole."""
        parts, said = text.split(joint), []
        if len(parts) == 1 or joint not in self._joints:
            return None
        while parts:
            taken = next((n for n in range(len(parts), 1, -1) if joint.join(parts[:n]) in self._sentences), 1)
            said.append(self.said(joint.join(parts[:taken])))
            parts = parts[taken:]
        # An operating system's own words are left as they are.
        return None if joint.join(said) == text else self._joints[joint].join(said)

    def _filled(self, text: str) -> str | None:
        """Fill the template that fits."""
        for pattern, template in self._templates:
            if found := pattern.fullmatch(text):
                holes = [*map(self.said, found.groups()), ""]
                return "".join(f"{part}{hole}" for part, hole in zip(template.split(_HOLE), holes, strict=True))
        return None

    def _read(self, text: str) -> None:
        catalogue = tomllib.loads(text)
        self._joints = catalogue["joints"]
        for english, said in catalogue["sentences"].items():
            if _HOLE in english:
                self._templates.append((_pattern(english), said))
            else:
                self._sentences[english] = said
        # Where two fit, the one that says more itself is meant.
        self._templates.sort(key=lambda entry: len(entry[0].pattern), reverse=True)


ENGLISH: Final = Words(Language.ENGLISH)


def padded(text: str, columns: int) -> str:
    """Fill up to a width on a screen, where a Chinese character takes two columns (Unicode, annex 11)."""
    taken = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
    return text + " " * (columns - taken)


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile("(.+)".join(map(re.escape, template.split(_HOLE))))
