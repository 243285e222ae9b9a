"""The doctor's table in Chinese: whole, and with every path and address as it was."""

# ruff: noqa: RUF001 - Chinese has punctuation of its own

import re
import tomllib
from importlib import resources

import pytest

from tillwatch_agent import checks, doctor
from tillwatch_agent.checks import Check, Verdict
from tillwatch_agent.doctor import ADVICE
from tillwatch_agent.recognise import Family
from tillwatch_agent.words import ENGLISH, Language, Words, language_of, padded
from tillwatch_protocol.vocabulary import ConditionCode, Health

CHINESE = Words(Language.CHINESE)
CATALOGUE = tomllib.loads(resources.files("tillwatch_agent").joinpath("words.zh-CN.toml").read_text(encoding="utf-8"))


def is_chinese(text: str) -> bool:
    return bool(re.search(r"[\u4e00-\u9fff]", text))


def test_whatever_the_doctor_says_by_a_table_is_said_in_chinese() -> None:
    codes = {value for name, value in vars(ConditionCode).items() if name.isupper()}
    said = {*codes, *ADVICE, *ADVICE.values(), *Health, *Verdict, *doctor.Beside}
    said |= {*checks.WHY_UNTESTED.values(), *checks.HOW_SURE.values(), *checks.SUSPECTED.values()}
    said |= {family.value for family in Family}
    collectors_own = {ConditionCode.SILENT, ConditionCode.IDENTITY_SHARED}
    assert {text for text in said - collectors_own if not is_chinese(CHINESE.said(text))} == set()


def test_every_sentence_has_as_many_holes_on_both_sides() -> None:
    unequal = [
        english for english, chinese in CATALOGUE["sentences"].items() if english.count("{}") != chinese.count("{}")
    ]
    assert unequal == []


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        # a code with a detail of a device's own words
        ("fault: paper_end (tray 2), cover_open", "故障：缺纸（tray 2），上盖打开"),
        # advices that are joined, one of which has the joint within it
        (
            "let the print head cool; it goes on by itself; suspected: its cable or its power (together with a, b)",
            "等打印头冷却；它会自行恢复；怀疑：它的线缆 或 它的电源（与 a, b 同时）",
        ),
        ("fault: paper_end (a), cover_open (b)", "故障：缺纸（a），上盖打开（b）"),
        ("eth0 has no carrier; proved", "eth0 没有载波；已证实"),
        # what is no language comes out as it went in
        ("10.0.0.1:8883 by TLSv1.3", "10.0.0.1:8883，TLSv1.3"),
        (
            "the agent is running; offline since 2026-11-22 09:30 UTC",
            "代理程序正在运行；自 2026-11-22 09:30 UTC 起离线",
        ),
        ("/var/lib/x will be made", "将创建 /var/lib/x"),
        (
            "absent: not_attached (/dev/x: No such file or directory)",
            "未连接：未接入（/dev/x: No such file or directory）",
        ),
        # what nobody has translated
        ("a sentence of tomorrow", "a sentence of tomorrow"),
    ],
)
def test_a_text_is_said_by_its_templates(english: str, chinese: str) -> None:
    assert CHINESE.said(english) == chinese
    assert ENGLISH.said(english) == english


def test_a_table_is_aligned_though_a_chinese_character_takes_two_columns() -> None:
    rows = [
        Check(name="broker", verdict=Verdict.OK, found="x without TLS", took_ms=1.5),
        Check(name="pos_printer:bar", verdict=Verdict.PROBLEM, found="fault: paper_end", advice="load paper"),
    ]
    assert doctor.table(rows, CHINESE).splitlines() == [
        "正常     broker           x，没有 TLS (1.5 ms)",
        "问题     pos_printer:bar  故障：缺纸",
        "                          -> 装纸",
        "1 个问题",
    ]
    assert padded("未测", 8) == "未测    "


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, Language.CHINESE),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, Language.ENGLISH),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_TW.UTF-8", "LC_ALL": ""}, Language.CHINESE),
        ({}, Language.ENGLISH),
    ],
)
def test_the_language_is_that_of_the_locale(environment: dict[str, str], language: Language) -> None:
    assert language_of(environment) is language
