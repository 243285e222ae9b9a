"""Programs of the till: how they end, what they are told, and that none can hold a job."""

import os
from pathlib import Path

import pytest

from tillwatch_agent.installer import hooks
from tillwatch_agent.installer.hooks import SAID_CHARS_MAX, Hook, Outcome


def ran(script: str, timeout_s: float = 30.0, **words: str) -> Outcome:
    return hooks.run(Hook(arguments=("/bin/sh", "-c", script), timeout_s=timeout_s), words)


@pytest.mark.parametrize(
    ("script", "exit_code", "said"),
    [
        ("echo fine", 0, "fine"),
        ("", 0, ""),
        ("echo; echo '  second '", 0, "second"),
        ("echo not well >&2; exit 3", 3, "not well"),
        ("kill -9 $$", -9, ""),
        ("printf 'a\\tb\\033c\\n'", 0, "a b c"),
        ("printf '\\377'", 0, "\ufffd"),
    ],
)
def test_its_end_and_its_first_line_are_told(script: str, exit_code: int, said: str) -> None:
    assert ran(script) == Outcome(exit_code=exit_code, said=said)
    assert ran(script).is_well is (exit_code == 0)


def test_it_reads_its_words_and_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLWATCH_TOKEN", "secret")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert ran("echo $TILLWATCH_SLOT-$TILLWATCH_TOKEN-$PATH", slot="b").said == "b--/usr/bin:/bin"


def test_no_shell_reads_its_arguments() -> None:
    assert hooks.run(Hook(arguments=("/bin/echo", "$HOME; exit 1"))).said == "$HOME; exit 1"


@pytest.mark.parametrize("program", ["/missing", "/etc/passwd", "/bin/\0"])
def test_what_cannot_be_started_is_said(program: str) -> None:
    outcome = hooks.run(Hook(arguments=(program,)))
    assert (outcome.exit_code, outcome.is_missing, outcome.is_well) == (None, True, False)
    assert outcome.said.startswith("expected to start")


def test_what_is_late_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    outcome = ran(f"(sleep 600; touch {tmp_path}/late) & echo $!; sleep 600", timeout_s=0.2)
    assert outcome == Outcome(exit_code=None, said="expected an end within 0.2 s")


def test_a_program_that_it_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    """A restart may start the till's software as its own child, which holds its output."""
    outcome = ran(f"sleep 600 & echo $! > {tmp_path}/pid; echo started")
    assert outcome == Outcome(exit_code=0, said="started")
    os.kill(int((tmp_path / "pid").read_text()), 9)


def test_much_output_neither_blocks_it_nor_us() -> None:
    outcome = ran("yes | head -c 3000000; exit 4")
    assert (outcome.exit_code, outcome.said) == (4, "y")


def test_a_long_line_is_cut() -> None:
    assert ran("yes | tr -d '\\n' | head -c 100000").said == "y" * SAID_CHARS_MAX


def test_one_that_closes_its_output_is_still_waited_for() -> None:
    assert ran("exec >&- 2>&-; sleep 0.3; exit 5").exit_code == 5
