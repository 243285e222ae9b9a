"""What people read of tickets that a route is told of: a title and a few lines, the worst first.

It is short enough for the narrowest service, says how many more there are, and holds neither a card number nor a
character that would break a line. The words come from outside, by vocabulary and key: `notices` has the sentences.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

from tillwatch_collector.domain.notification import Item, Said, Ticket, Word, rank
from tillwatch_protocol.scrub import scrubbed

LINES_MAX = 20
"""Nobody reads more in a chat; the console has the rest."""

TEXT_BYTES_MAX = 1_900
"""Of title and body in UTF-8: WeCom's robots take 2,048, the least of all services, and apprise adds a little."""

TITLE_CHARACTERS_MAX = 120
LINE_CHARACTERS_MAX = 300


class Words(Protocol):
    """One language's words."""

    def word(self, vocabulary: str, code: str, /) -> str:
        """Name a code of a vocabulary."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What is sent: plain text, lines apart by a newline."""

    title: str
    body: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How a route's people read."""

    words: Words
    zone: ZoneInfo
    base_url: str | None = None
    """Where the console is, without a slash at its end; None: no link."""

    def say(self, key: str, **values: object) -> str:
        """Fill a sentence in."""
        return self.words.word("notices", key).format(**values)


def worst_first(items: Sequence[Item]) -> list[tuple[int, Word]]:
    """Return each ticket once, by its last word, the worst first, else in the order in which they came."""
    last = {item.ticket_id: item.word for item in items}
    return sorted(last.items(), key=lambda told: -rank(told[1].severity))


def compose(items: Sequence[Item], tickets: Mapping[int, Ticket], style: Style) -> Message:
    """Write a message; `tickets` are those of the first `LINES_MAX` of `worst_first`, as they stand."""
    told = worst_first(items)
    lines = [_line(tickets[ticket_id], word, style) for ticket_id, word in told[:LINES_MAX] if ticket_id in tickets]
    if len(told) == 1 and lines:
        ticket_id, word = told[0]
        return _fitted(_title_of_one(tickets[ticket_id], word, style), lines, 1, _link(style, ticket_id), style)
    return _fitted(_title_of_many(told, style), lines, len(told), _link(style, None), style)


def _title_of_one(ticket: Ticket, word: Word, style: Style) -> str:
    severity = style.words.word("severities", word.severity)
    return style.say("title_one", said=_said(word, style), severity=severity, what=_what(ticket, style))


def _title_of_many(told: Sequence[tuple[int, Word]], style: Style) -> str:
    counts = Counter(word.said for _, word in told)
    parts = [f"{counts[said]} {style.say(said)}" for said in Said if counts[said]]
    worst = style.words.word("severities", told[0][1].severity)
    return style.say("title_many", count=len(told), worst=worst, parts=", ".join(parts))


def _line(ticket: Ticket, word: Word, style: Style) -> str:
    since = f"{ticket.opened_at.astimezone(style.zone):%Y-%m-%d %H:%M}"
    parts = (
        f"#{ticket.ticket_id} {_said(word, style)}",
        style.words.word("severities", word.severity),
        _what(ticket, style),
        *_where(ticket),
        style.say("since", time=since),
    )
    return _plain(" · ".join(parts), LINE_CHARACTERS_MAX)


def _said(word: Word, style: Style) -> str:
    if word.said is Said.ESCALATED:
        return style.say("escalated_to", step=word.escalation_step)
    return style.say(word.said)


def _what(ticket: Ticket, style: Style) -> str:
    return ticket.title or style.words.word("conditions", ticket.code)


def _where(ticket: Ticket) -> list[str]:
    subject = ticket.subject_id if ticket.subject_kind == "terminal" else f"{ticket.subject_kind} {ticket.subject_id}"
    component = ticket.component if not ticket.component.endswith(":self") else None
    store = ticket.store_name or ticket.place.store_id
    return [part for part in (component, subject, store, ticket.place.region) if part]


def _link(style: Style, ticket_id: int | None) -> str | None:
    if style.base_url is None:
        return None
    return f"{style.base_url}/" if ticket_id is None else f"{style.base_url}/#ticket-{ticket_id}"


def _fitted(title: str, lines: Sequence[str], total: int, link: str | None, style: Style) -> Message:
    """Keep as many lines as fit."""
    title = _plain(title, TITLE_CHARACTERS_MAX)
    kept = list(lines)
    while True:
        more = [style.say("and_more", count=total - len(kept))] if total > len(kept) else []
        body = "\n".join([*kept, *more, *([link] if link else [])])
        if not kept or len(f"{title}\n{body}".encode()) <= TEXT_BYTES_MAX:
            return Message(title=title, body=body)
        kept.pop()


def _plain(text: str, characters_max: int) -> str:
    text = "".join(character if character.isprintable() else " " for character in scrubbed(text))
    return text if len(text) <= characters_max else f"{text[: characters_max - 1]}…"
