"""What a ticket's evidence says, in a person's words: each piece with its name, and with where it leads.

Evidence is what judge, clocks and people wrote into the journal, in an open vocabulary: what this table knows is said
as what it is (a moment, a share, a terminal), and what it does not know as it is written, cut to `TEXT_CHARS_MAX`. What
terminals sent is text and nothing else. A change violates this when evidence is left out because nobody knows its name.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any
from urllib.parse import quote

from tillwatch_collector.console.texts import Texts

TEXT_CHARS_MAX = 300
"""Of a value that nobody knows: a line or two."""
LIST_MAX = 20
"""Of a list of values: as many as an outage names of its terminals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """A piece of evidence, as it is read."""

    name: str
    said: str
    href: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Teller:
    """Whose words, and in whose time."""

    words: Texts
    zone: tzinfo | None
    person: Callable[[str], str]
    """The name of who stands behind `kind:id`."""

    def facts(self, evidence: Mapping[str, Any]) -> tuple[Fact, ...]:
        """Say all of it, in its order; what is empty, or not so, says nothing."""
        said = {name: value for name, value in evidence.items() if value or type(value) in {int, float}}
        return tuple(self._fact(name, value) for name, value in said.items())

    def _fact(self, name: str, value: Any) -> Fact:
        say = _KNOWN.get(name, _text)
        try:
            said = say(self, value)
        except (AttributeError, KeyError, TypeError, ValueError):
            said = _text(self, value)
        return Fact(name=self.words.word("evidence", name), said=said, href=_leads(name, value))


def _leads(name: str, value: Any) -> str | None:
    """Say where a piece of evidence leads."""
    if name in {"ticket_id", "parent_id", "into", "goes_on_as"} and isinstance(value, int):
        return f"/tickets/{value}"
    below = {"terminal_id": "/terminals", "rollout_id": "/rollouts"}.get(name)
    return f"{below}/{quote(value, safe='')}" if below and isinstance(value, str) else None


def _text(_teller: Teller, value: Any) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return said if len(said) <= TEXT_CHARS_MAX else f"{said[: TEXT_CHARS_MAX - 1]}…"


def _moment(teller: Teller, value: Any) -> str:
    return teller.words.date(datetime.fromisoformat(value), teller.zone)


def _seconds(teller: Teller, value: Any) -> str:
    seconds = float(value)
    return f"{'-' if round(seconds) < 0 else ''}{teller.words.duration(abs(seconds))}"


def _share(teller: Teller, value: Any) -> str:
    return teller.words.share(float(value))


def _percent(teller: Teller, value: Any) -> str:
    return teller.words.share(float(value) / 100)


def _number(teller: Teller, value: Any) -> str:
    return teller.words.number(value)


def _ticket(_teller: Teller, value: Any) -> str:
    return f"#{int(value)}"


def _who(teller: Teller, value: Any) -> str:
    return teller.person(value)


def _before(teller: Teller, value: Any) -> str:
    """Say what was before a change: whoever had it, the number of a ticket, or several values."""
    if isinstance(value, Mapping):
        return _inner(teller, value)
    return _ticket(teller, value) if isinstance(value, int) else _who(teller, value)


def _yes(teller: Teller, value: Any) -> str:
    return teller.words("evidence_yes") if value is True else _text(teller, value)


def _list(teller: Teller, value: Any) -> str:
    said = [_text(teller, one) for one in value[:LIST_MAX]]
    more = len(value) - len(said)
    return ", ".join([*said, *([teller.words("evidence_more", count=more)] if more > 0 else [])])


def _heartbeats(teller: Teller, value: Any) -> str:
    return _list(teller, [beat for beat in value if beat])


def _node(teller: Teller, value: Any) -> str:
    where = f"{teller.words.word('ticket_subjects', value['kind'])} {value['id']}"
    if "hit" not in value:
        return where
    return teller.words("evidence_node", where=where, hit=value["hit"], total=value["total"])


def _nodes(teller: Teller, value: Any) -> str:
    return "; ".join(_node(teller, one) for one in value[:LIST_MAX])


def _reading(teller: Teller, value: Any) -> str:
    facts = value.get("facts") or {}
    said = [teller.words.word("healths", value["health"]), *(f"{name} {fact}" for name, fact in facts.items())]
    return _text(teller, ", ".join(said))


def _inner(teller: Teller, value: Any) -> str:
    """Say evidence within evidence on one line."""
    colon = teller.words("evidence_colon")
    return "; ".join(f"{fact.name}{colon}{fact.said}" for fact in teller.facts(value))


def _word(vocabulary: str) -> Callable[[Teller, Any], str]:
    def say(teller: Teller, value: Any) -> str:
        return teller.words.word(vocabulary, value)

    return say


def _words(vocabulary: str) -> Callable[[Teller, Any], str]:
    def say(teller: Teller, value: Sequence[str]) -> str:
        return ", ".join(teller.words.word(vocabulary, one) for one in value[:LIST_MAX])

    return say


_KNOWN: Mapping[str, Callable[[Teller, Any], str]] = {
    **dict.fromkeys(
        (
            "happened_at",
            "heard_at",
            "healthy_since",
            "first_at",
            "last_at",
            "due_at",
            "go_at",
            "ended_at",
            "backup_made_at",
        ),
        _moment,
    ),
    **dict.fromkeys(("clock_offset_s", "span_s"), _seconds),
    **dict.fromkeys(("raises", "back", "jobs"), _number),
    **dict.fromkeys(("ticket_id", "parent_id", "into", "goes_on_as"), _ticket),
    **dict.fromkeys(("assignee", "watcher"), _who),
    **dict.fromkeys(("node", "widened_from"), _node),
    **dict.fromkeys(("update", "after", "numbers"), _inner),
    "before": _before,
    "internal": _yes,
    "share": _share,
    "share_pct": _percent,
    "alternatives": _nodes,
    "sample": _list,
    "heartbeats": _heartbeats,
    "reading": _reading,
    "presence": _word("ticket_presence_reasons"),
    "code": _word("conditions"),
    "severity": _word("severities"),
    "origin": _word("ticket_origins"),
    "mode": _word("ticket_repair_modes"),
    "pending_on": _word("ticket_waits"),
    "clock": _word("ticket_promises"),
}
"""How each name that we write ourselves is said."""
