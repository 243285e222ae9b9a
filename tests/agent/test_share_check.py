"""What the doctor says of a port that is shared, in both languages."""

# ruff: noqa: RUF001 - Chinese has punctuation of its own

import json
import os
import re
from contextlib import closing
from pathlib import Path

import pytest
from tests.agent.shop import Line, configured

from tillwatch_agent import doctor, till_side
from tillwatch_agent.checks import Check, Verdict, blamed
from tillwatch_agent.culprit import parts
from tillwatch_agent.doctor import Beside
from tillwatch_agent.health import Observation
from tillwatch_agent.probes import lines
from tillwatch_agent.share_check import NOT_LOOKED_AT, SHARED_NOW, check_shares
from tillwatch_agent.words import Language, Words
from tillwatch_protocol.vocabulary import ConditionCode, Health

CHINESE = Words(Language.CHINESE)


def check(folder: Path, **printer: object) -> Check:
    (only,) = check_shares(configured(folder, **printer))  # type: ignore[arg-type]
    assert only.name == "share.receipt"
    for text in CHINESE.check(only)[1:]:
        left = re.sub(
            r"[\w./-]*/[\w./-]*|share|tillwatch-agent|sudo systemctl daemon-reload|d/share.conf", "", text or ""
        )
        assert not re.search("[a-z]{4}", left), text
    return only


def test_it_says_where_the_path_leads(tmp_path: Path) -> None:
    link = tmp_path / "receipt"
    absent = check(tmp_path)
    assert (absent.verdict, absent.found) == (
        Verdict.WARNING,
        f"{link}: not there; it is while the agent runs and has the port",
    )
    assert str(absent.advice).endswith(f"let the till's software open {link} in place of {tmp_path / 'printer'}")
    with closing(Line(tmp_path / "printer")) as line:
        till_side.lead(link, os.ttyname(line._slave))
        shared = check(tmp_path)
        assert (shared.verdict, shared.advice) == (Verdict.OK, None)
        assert "shared; let the till's software open" in shared.found
    till_side.lead(link, str(tmp_path / "printer"))
    given = check(tmp_path)
    assert given.verdict is Verdict.WARNING
    assert "has alone" in given.found
    link.unlink()
    link.write_text("mine")
    assert check(tmp_path).verdict is Verdict.PROBLEM
    nowhere = check(tmp_path, share=str(tmp_path / "nowhere" / "receipt"))
    assert nowhere.verdict is Verdict.PROBLEM
    assert "share.conf" in str(nowhere.advice)


@pytest.mark.parametrize(("beside", "verdict"), [(Beside.AGENT, Verdict.UNTESTED), (Beside.NOBODY, Verdict.PROBLEM)])
def test_a_port_that_the_agent_holds_to_share_it_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: Beside, verdict: Verdict
) -> None:
    monkeypatch.setattr(doctor, "look_beside", lambda _: beside)
    busy = Observation(
        component="pos_printer:receipt",
        health=Health.UNKNOWN,
        reason=ConditionCode.PORT_BUSY,
        true_codes={ConditionCode.PORT_BUSY: "held"},
    )
    told = doctor.check_component(busy, configured(tmp_path))
    assert told.verdict is verdict
    assert (told.advice == SHARED_NOW) is (beside is Beside.AGENT)


def test_what_the_running_agent_has_is_told_as_not_looked_at_and_never_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "look_beside", lambda _: Beside.AGENT)
    settings = configured(tmp_path)
    busy = Observation(
        component="pos_printer:receipt",
        health=Health.UNKNOWN,
        reason=ConditionCode.PORT_BUSY,
        true_codes={ConditionCode.PORT_BUSY: "held"},
    )
    told = blamed([doctor.check_component(busy, settings)], parts(lines(settings), [busy]))
    assert doctor.table(told).splitlines() == [
        f"untested pos_printer:receipt  {NOT_LOOKED_AT}",
        f"                              -> {SHARED_NOW}",
        "1 not looked at",
    ]
    assert doctor.table(told, CHINESE).endswith("\n1 项未检查")
    problem = Check(name="broker", verdict=Verdict.PROBLEM, found="x")
    assert doctor.table([problem, *told]).endswith("\n1 problem, 1 not looked at")
    assert doctor.table([problem, *told], CHINESE).endswith("\n1 个问题，1 项未检查")
    assert json.loads(doctor.as_json("t", told))["not_looked_at"] == 1
    step = doctor.next_step(settings, tmp_path / "agent.toml", told)
    assert "look at the collector" in step
    assert CHINESE.said(step) != step


def test_the_doctor_looks_at_shares(tmp_path: Path) -> None:
    settings = configured(tmp_path).model_copy(update={"state_dir": tmp_path})
    assert "share.receipt" in {each.name for each in doctor.examine(settings, ())}
