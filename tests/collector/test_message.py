"""What people read: titles and lines in two languages, bounded and scrubbed."""

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tillwatch_collector.console.texts import LANGUAGES, Texts, catalogue
from tillwatch_collector.domain.message import LINES_MAX, TEXT_BYTES_MAX, Message, Style, compose
from tillwatch_collector.domain.notification import Item, Language, Place, Said, Ticket, Word
from tillwatch_collector.domain.policy import Severity

OPENED_AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CARD = "4111 1111 1111 1111"


def style(language: str = "en", **more: Any) -> Style:
    return Style(words=Texts(language=language), zone=ZoneInfo("Asia/Shanghai"), **more)


def ticket(ticket_id: int = 7, **more: Any) -> Ticket:
    made: dict[str, Any] = {
        "ticket_id": ticket_id,
        "subject_kind": "terminal",
        "subject_id": "t-1",
        "component": "pos_printer:kitchen",
        "code": "paper_end",
        "severity": Severity.MAJOR,
        "category": "supplies",
        "opened_at": OPENED_AT,
        "place": Place(merchant_id="m-1", store_id="s-1", region="east"),
        "store_name": "Noodles",
    }
    return Ticket(**made | more)


def item(ticket_id: int = 7, said: Said = Said.OPENED, severity: Severity = Severity.MAJOR, step: int = 0) -> Item:
    return Item(ticket_id=ticket_id, word=Word(said=said, severity=severity, escalation_step=step))


def written(*items: Item, tickets: dict[int, Ticket] | None = None, in_style: Style | None = None) -> Message:
    there = {one.ticket_id: ticket(one.ticket_id) for one in items} if tickets is None else tickets
    return compose(items, there, in_style or style())


@pytest.mark.parametrize(
    ("language", "title", "body"),
    [
        (
            "en",
            "opened (major): Out of paper",
            "#7 opened · major · Out of paper · pos_printer:kitchen · t-1 · Noodles · east · since 2026-11-21 20:00",
        ),
        (
            "zh-CN",
            "新开（严重）：缺纸",  # noqa: RUF001 - Chinese has its own punctuation
            "#7 新开 · 严重 · 缺纸 · pos_printer:kitchen · t-1 · Noodles · east · 开立于 2026-11-21 20:00",
        ),
    ],
)
def test_one_ticket_is_told_whole_in_the_routes_language_and_zone(language: str, title: str, body: str) -> None:
    assert written(item(), in_style=style(language)) == Message(title=title, body=body)


def test_many_are_counted_in_the_title_and_listed_the_worst_first() -> None:
    items = (item(1), item(2, severity=Severity.CRITICAL), item(3, Said.RESOLVED, Severity.MINOR), item(4))
    message = written(*items)
    assert message.title == "4 tickets, at worst critical: 3 opened, 1 resolved"
    assert [line.split(" ")[0] for line in message.body.splitlines()] == ["#2", "#1", "#4", "#3"]


def test_a_ticket_that_opened_and_ended_is_one_line_that_says_how_it_stands() -> None:
    message = written(item(), item(said=Said.RESOLVED))
    assert message.title == "resolved (major): Out of paper"
    assert len(message.body.splitlines()) == 1


def test_what_a_person_reported_is_told_in_his_words_and_an_outage_by_its_node() -> None:
    reported = ticket(title="Nothing prints", component="", store_name=None)
    line = written(item(), tickets={7: reported}).body
    assert line == "#7 opened · major · Nothing prints · t-1 · s-1 · east · since 2026-11-21 20:00"
    outage = ticket(
        subject_kind="carrier", subject_id="telco-1", component="agent:self", place=Place(), store_name=None
    )
    assert " · carrier telco-1 · since" in written(item(), tickets={7: outage}).body


def test_a_step_of_escalation_has_its_number() -> None:
    assert written(item(said=Said.ESCALATED, step=2)).body.startswith("#7 escalated, step 2 · ")


def test_links_lead_to_the_ticket_or_to_the_console() -> None:
    linked = style(base_url="https://tillwatch.example.org")
    assert written(item(), in_style=linked).body.endswith("\nhttps://tillwatch.example.org/#ticket-7")
    assert written(item(1), item(2), in_style=linked).body.endswith("\nhttps://tillwatch.example.org/")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_storm_is_a_few_lines_and_the_number_of_the_others(language: str) -> None:
    message = written(*(item(number) for number in range(1, 10_001)), in_style=style(language))
    lines = message.body.splitlines()
    assert 5 < len(lines) <= LINES_MAX + 1
    assert str(10_000 - (len(lines) - 1)) in lines[-1]
    assert len(f"{message.title}\n{message.body}".encode()) <= TEXT_BYTES_MAX


def test_one_ticket_with_the_longest_of_everything_still_fits() -> None:
    long = ticket(
        title="长" * 200, subject_id="s" * 64, component="c" * 97, store_name="店" * 200, place=Place(region="r" * 64)
    )
    message = written(item(), tickets={7: long}, in_style=style("zh-CN", base_url=f"https://a.example/{'x' * 150}"))
    assert len(f"{message.title}\n{message.body}".encode()) <= TEXT_BYTES_MAX
    assert message.body.startswith("#7 ")
    assert message.title.endswith("…")


def test_no_card_number_and_no_break_reaches_a_message() -> None:
    nasty = ticket(title=f"card {CARD}\nfor free\x00", store_name=f"Shop\r\n{CARD}")
    message = written(item(), tickets={7: nasty})
    text = f"{message.title}{message.body}"
    assert "1111 1111" not in text
    assert len(message.body.splitlines()) == 1
    assert text.isprintable()


def test_a_ticket_that_is_no_longer_kept_is_counted_only() -> None:
    assert written(item(), tickets={}).body == "and 1 more"


def test_every_language_has_every_sentence_with_the_same_values() -> None:
    assert set(Language) == set(LANGUAGES)
    english = catalogue()["en"]["notices"]
    assert set(Said) <= set(english)
    for words in catalogue().values():
        assert set(words["notices"]) == set(english)
        for key, text in english.items():
            assert set(re.findall(r"\{(\w+)\}", words["notices"][key])) == set(re.findall(r"\{(\w+)\}", text)), key
