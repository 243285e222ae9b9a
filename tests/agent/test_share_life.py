"""The life of a shared port: a device that vanishes, an agent that ends in any way, one that comes back."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.agent.conftest import until
from tests.agent.shop import Failing, Line, Till, configured, served, sharing

from tillwatch_agent import commands, port_holders, runtime, share, share_guard, till_side
from tillwatch_agent.config import AgentConfig
from tillwatch_agent.drivers.escpos import ALLOWED
from tillwatch_agent.outbox import Outbox
from tillwatch_agent.port_holders import Held
from tillwatch_agent.ports import PortBusy
from tillwatch_agent.probes import DeviceProbe, Probe
from tillwatch_agent.share import SharedPort
from tillwatch_protocol.vocabulary import ConditionCode, Health
from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.ports import PtyPort

ASK = b"\x10\x04\x01"
USES = 12
"""More uses of a port than one receipt and one look make."""


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with closing(Line(tmp_path / "printer")) as line:
        yield line


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "RETRY_S", 0.01)
    monkeypatch.setattr(share, "IDLE_LOOK_S", 0.01)


# --- the device


@pytest.mark.usefixtures("brisk", "line")
@pytest.mark.parametrize("use", range(1, USES))
def test_a_device_that_vanishes_at_any_read_or_write_comes_back_under_the_same_path(tmp_path: Path, use: int) -> None:
    port = Failing(name="p", allowed=ALLOWED, locate=lambda: tmp_path / "printer")
    port.left = use
    with sharing(configured(tmp_path), port) as (shared, probe):
        looking = threading.Thread(target=probe.poll)
        looking.start()
        for _ in range(USES):
            until(lambda: shared.trouble is None and (tmp_path / "receipt").exists(), "the path")
            till = Till(tmp_path / "receipt")
            till.write(b"\x1b@Total\n") if not till.is_hung_up() else None
            till.close()
        looking.join()
        port.left = 0
        until(lambda: shared.trouble is None, "the port to be back")
    assert (tmp_path / "receipt").readlink() == tmp_path / "printer"


@pytest.mark.usefixtures("brisk")
def test_a_pulled_cable_hangs_the_till_up_and_takes_its_path_away_until_it_is_back(tmp_path: Path) -> None:
    with PtyPort(Printer(), tmp_path / "printer") as printer, sharing(configured(tmp_path)) as (shared, probe):
        till = Till(tmp_path / "receipt")
        printer.set("unplugged")
        until(till.is_hung_up, "the till to be told")
        assert not (tmp_path / "receipt").is_symlink(), "as a port that is not there"
        assert probe.poll()[0].health is Health.ABSENT
        till.close()
        printer.clear("unplugged")
        served(shared)
        till = Till(tmp_path / "receipt")
        till.write(ASK)
        assert till.read(1) == b"\x12"
        assert probe.poll()[0].health is Health.OK
        till.close()


# --- the agent


def test_an_agent_that_ends_leaves_the_port_to_the_till(line: Line, tmp_path: Path) -> None:
    with sharing(configured(tmp_path)):
        till = Till(tmp_path / "receipt")
    assert till.is_hung_up()
    till.close()
    till = Till(tmp_path / "receipt")
    till.write(b"by itself\n")
    line.hears(b"by itself\n")
    till.close()


@pytest.mark.usefixtures("brisk")
def test_an_agent_that_comes_back_takes_nothing_from_a_till_that_has_the_port(line: Line, tmp_path: Path) -> None:
    with sharing(configured(tmp_path)) as (shared, _):
        served(shared)
    till = Till(tmp_path / "receipt")
    with sharing(configured(tmp_path)) as (shared, probe):
        until(lambda: isinstance(shared.trouble, PortBusy), "the share to wait")
        assert probe.poll()[0].reason == ConditionCode.PORT_BUSY
        till.write(ASK)
        line.hears(ASK)
        line.say(b"\x12")
        assert till.read(1) == b"\x12", "the share does not read what is the till's"
        till.close()
        till = Till(tmp_path / "receipt")
        till.write(b"shared\n")
        line.hears(ASK + b"shared\n")
        assert shared.trouble is None
        till.close()


@pytest.mark.usefixtures("brisk")
def test_a_port_that_somebody_else_keeps_is_not_waited_for_for_ever(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "TAKE_OVER_S", 0.05)

    class Busy(Failing):
        def open(self) -> None:
            raise PortBusy("somebody has it")

    till_side.note_direct(tmp_path / "receipt", tmp_path / "printer")
    till_side.lead(tmp_path / "receipt", str(tmp_path / "printer"))
    busy = Busy(name="p", allowed=ALLOWED, locate=lambda: tmp_path / "printer")
    with sharing(configured(tmp_path), busy) as (shared, _):
        until(lambda: isinstance(shared.trouble, PortBusy), "the share to wait")
        till = Till(tmp_path / "receipt")
        until(till.is_hung_up, "the till to be told")
        till.close()
    assert line.hear() == b""


@pytest.mark.usefixtures("brisk")
def test_a_port_that_was_given_away_and_is_gone_is_nobodys(line: Line, tmp_path: Path) -> None:
    till_side.note_direct(tmp_path / "receipt", tmp_path / "printer")
    till_side.lead(tmp_path / "receipt", str(tmp_path / "printer"))
    (tmp_path / "printer").rename(tmp_path / "elsewhere")
    with sharing(configured(tmp_path)) as (shared, probe):
        until(lambda: not (tmp_path / "receipt").is_symlink(), "the path to be taken back")
        until(lambda: probe.poll()[0].health is Health.ABSENT, "the printer to be absent")
        (tmp_path / "elsewhere").rename(tmp_path / "printer")
        served(shared)
    assert line.hear() == b""


def test_a_folder_that_is_not_there_is_told(line: Line, tmp_path: Path) -> None:
    with sharing(configured(tmp_path, share=str(tmp_path / "nowhere" / "receipt"))) as (shared, _):
        until(lambda: "expected a folder" in str(shared.trouble), "the share to say so")
    assert line.hear() == b""


RUN = """
import sys
from pathlib import Path
from tests.agent.shop import configured
from tillwatch_agent import share

with share.serving(configured(Path(sys.argv[1]))) as shared:
    print(*shared, flush=True)
    sys.stdin.read()
"""


def started(folder: Path) -> "subprocess.Popen[str]":
    """Share in a process of its own, with its guard."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "pos_printer:receipt\n"
    until((folder / "receipt").exists, "the path")
    return process


def ended(process: "subprocess.Popen[str]", number: signal.Signals | None = None) -> None:
    if number is not None:
        process.send_signal(number)
    process.communicate()


def test_after_sigkill_the_path_leads_to_the_port_and_a_till_that_opens_it_again_prints(
    line: Line, tmp_path: Path
) -> None:
    process = started(tmp_path)
    till = Till(tmp_path / "receipt")
    till.write(b"shared\n")
    line.hears(b"shared\n")
    ended(process, signal.SIGKILL)
    until(till.is_hung_up, "the till to be told")
    with pytest.raises(OSError, match="Input/output error"):
        os.write(till.fd, b"lost\n")
    till.close()
    until(lambda: (tmp_path / "receipt").readlink() == tmp_path / "printer", "the guard")
    till = Till(tmp_path / "receipt")
    till.write(b"by itself\n")
    line.hears(b"shared\nby itself\n")
    till.close()


def test_an_orderly_end_needs_no_guard_and_ends_it(line: Line, tmp_path: Path) -> None:
    process = started(tmp_path)
    ended(process)
    assert process.returncode == 0
    assert (tmp_path / "receipt").readlink() == tmp_path / "printer"
    assert line.hear() == b""


def test_run_shares_what_is_configured_so(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "receipt"
    (tmp_path / "agent.toml").write_text(
        f'terminal_id = "t"\nstate_dir = "{tmp_path / "state"}"\n'
        f'[[printer]]\nname = "r"\nport = "{tmp_path / "printer"}"\nshare = "{link}"\n'
    )

    def run(_: AgentConfig, probes: Sequence[Probe], outbox: Outbox) -> int:
        assert outbox.boot_epoch == 1
        until(link.exists, "the path")
        assert link.readlink() != tmp_path / "printer"
        assert isinstance(next(probe for probe in probes if isinstance(probe, DeviceProbe))._port, SharedPort)
        return 7

    monkeypatch.setattr(runtime, "run", run)
    assert commands.main(["run", "--config", str(tmp_path / "agent.toml")]) == 7
    assert link.readlink() == tmp_path / "printer"
    assert line.hear() == b""


AGENT = """
import sys
from tillwatch_agent import commands

sys.exit(commands.main(["run", "--config", sys.argv[1]]))
"""


def test_a_second_agent_with_the_same_configuration_touches_nothing_of_the_first(line: Line, tmp_path: Path) -> None:
    settings = tmp_path / "agent.toml"
    link = tmp_path / "receipt"
    settings.write_text(
        f'terminal_id = "t"\nstate_dir = "{tmp_path / "state"}"\n'
        '[broker]\nhost = "127.0.0.1"\nport = 9\n[network]\nenabled = false\n[machine]\nenabled = false\n'
        f'[[printer]]\nname = "receipt"\nport = "{tmp_path / "printer"}"\nshare = "{link}"\n'
    )
    command = [sys.executable, "-c", AGENT, str(settings)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as first:
        try:
            until(link.exists, "the path")
            led = link.readlink()
            till = Till(link)
            second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert second.returncode == 2
            assert "expected to be alone" in second.stderr
            assert link.readlink() == led
            till.write(b"still shared\n")
            until(lambda: b"still shared\n" in line.hear(), "the receipt")
            till.close()
        finally:
            first.terminate()
    assert link.readlink() == tmp_path / "printer"


# --- the path


def test_a_path_that_is_led_elsewhere_is_mended_and_told_once(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(share, "PATH_LOOK_S", 0.01)
    link = tmp_path / "receipt"
    with sharing(configured(tmp_path)) as (shared, _):
        served(shared)
        ours = link.readlink()
        till_side.lead(link, str(tmp_path / "printer"))
        until(lambda: link.readlink() == ours, "the path to be mended")
        (tmp_path / "a person's").touch()
        (tmp_path / "a person's").replace(link)
        until(lambda: "cannot be mended" in caplog.text, "it to be told")
        looked_s = shared._path_due_s
        until(lambda: shared._path_due_s > looked_s + 0.05, "some more looks")
        link.unlink()
        until(link.is_symlink, "the path to be mended")
        till = Till(link)
        till.write(b"shared\n")
        line.hears(b"shared\n")
        till.close()
    told = [record.getMessage() for record in caplog.records]
    assert sum("it is mended" in text and str(tmp_path / "printer") in text for text in told) == 1
    assert sum("cannot be mended" in text for text in told) == 1, "what it is at each look is told once"


@pytest.mark.usefixtures("brisk", "line")
def test_who_has_no_port_leaves_a_path_that_another_agent_serves(tmp_path: Path) -> None:
    with sharing(configured(tmp_path)) as (shared, _):
        served(shared)
        ours = (tmp_path / "receipt").readlink()
        with sharing(configured(tmp_path)) as (other, _):
            until(lambda: isinstance(other.trouble, PortBusy), "the other to find the port taken")
        assert (tmp_path / "receipt").readlink() == ours


@pytest.mark.usefixtures("brisk")
def test_a_port_that_surely_nobody_has_is_taken_at_once_after_a_start(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "HELD_LOOK_S", 0.01)
    held = [Held.UNTOLD]
    monkeypatch.setattr(port_holders, "look", lambda _: held[0])
    with sharing(configured(tmp_path)) as (shared, _):
        served(shared)
    with sharing(configured(tmp_path)) as (shared, _):
        until(lambda: "waiting for that to open" in str(shared.trouble), "who waits to say for whom")
        assert "another program" not in str(shared.trouble)
        held[0] = Held.SOMEBODY
        until(lambda: "another program has it" in str(shared.trouble), "the other program to be told")
        held[0] = Held.NOBODY
        served(shared)
    assert line.hear() == b""


@pytest.mark.usefixtures("brisk")
def test_a_printers_own_node_is_asked_by_opening_it(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "HELD_LOOK_S", 0.01)
    is_busy = [True]

    class OpensForOne(Failing):
        opens_for_one = True
        left = 0

        def open(self) -> None:
            if is_busy[0]:
                raise PortBusy("EBUSY")
            super().open()

    till_side.note_direct(tmp_path / "receipt", tmp_path / "printer")
    till_side.lead(tmp_path / "receipt", str(tmp_path / "printer"))
    port = OpensForOne(name="p", allowed=ALLOWED, locate=lambda: tmp_path / "printer")
    with sharing(configured(tmp_path), port) as (shared, _):
        until(lambda: "another program has it" in str(shared.trouble), "the other program to be told")
        is_busy[0] = False
        served(shared)
    assert line.hear() == b""


def test_nothing_is_started_where_nothing_is_shared(tmp_path: Path) -> None:
    settings = configured(tmp_path)
    alone = settings.model_copy(update={"printer": ()})
    with share.serving(alone) as shared:
        assert shared == {}


# --- the guard


def test_the_guard_leads_a_dead_path_to_the_port_and_leaves_a_living_one(line: Line, tmp_path: Path) -> None:
    link = tmp_path / "receipt"
    with pytest.raises(FileNotFoundError):
        share_guard.release(str(link))
    till_side.note_direct(link, tmp_path / "printer")
    share_guard.release(str(link))
    assert link.readlink() == tmp_path / "printer", "one that is not there is made"
    (tmp_path / ".receipt.guard").symlink_to("left over")
    living = os.ttyname(line._slave)
    till_side.lead(link, living)
    share_guard.release(str(link))
    assert str(link.readlink()) == living
    fcntl.ioctl(line._slave, termios.TIOCEXCL)
    share_guard.release(str(link))
    assert str(link.readlink()) == living, "a till's mark says that it lives"
    line.close()
    share_guard.release(str(link))
    assert link.readlink() == tmp_path / "printer"


def test_the_guard_is_run_once_by_a_service_manager(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.direct").symlink_to("/dev/ttyS9")
    paths = [str(tmp_path / name) for name in ("a", "none", "b")]
    command = [sys.executable, "-I", "-S", str(share_guard.__file__), *paths]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=60)
    assert [(tmp_path / name).readlink() for name in ("a", "b")] == [Path("/dev/ttyS9")] * 2
    assert not (tmp_path / "none").is_symlink()


def test_the_guard_waits_for_the_agents_end_and_not_for_a_signal(tmp_path: Path) -> None:
    (tmp_path / "a.direct").symlink_to("/dev/ttyS9")
    command = [sys.executable, "-I", "-S", share_guard.__file__, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as guard:
        status = Path(f"/proc/{guard.pid}/status")
        until(lambda: is_deaf(status, signal.SIGTERM), "the guard to be deaf to what is said to all")
        guard.send_signal(signal.SIGTERM)
        assert not (tmp_path / "a").is_symlink()
        guard.communicate()
    assert guard.returncode == 0
    assert (tmp_path / "a").readlink() == Path("/dev/ttyS9")


def is_deaf(status: Path, number: signal.Signals) -> bool:
    ignored = next(line for line in status.read_text().splitlines() if line.startswith("SigIgn"))
    return bool(int(ignored.split()[1], 16) >> (number - 1) & 1)
