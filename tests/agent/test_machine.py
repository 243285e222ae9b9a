"""The machine: thresholds with two ends, and what psutil does not tell."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tillwatch_agent import machine
from tillwatch_agent.config import MachineConfig
from tillwatch_agent.machine import THRESHOLDS, MachineProbe, judge
from tillwatch_protocol.vocabulary import ConditionCode, Health

WELL = {"disk_free_pct": 50.0, "memory_available_pct": 50.0, "cpu_celsius": 45.0}


@pytest.mark.parametrize(
    ("measure", "values", "code", "raised"),
    [
        # from full to free: raised at 5 %, held up to 8 %
        ("disk_free_pct", [9, 5.1, 5, 7.9, 4, 8, 7.9], ConditionCode.DISK_LOW, [0, 0, 1, 1, 1, 0, 0]),
        ("memory_available_pct", [6, 5, 9.9, 10], ConditionCode.MEMORY_LOW, [0, 1, 1, 0]),
        ("cpu_celsius", [89, 90, 81, 80, 89], ConditionCode.CPU_HOT, [0, 1, 1, 0, 0]),
    ],
)
def test_a_condition_is_raised_at_one_value_and_cleared_at_a_better_one(
    measure: str, values: list[float], code: str, raised: list[int]
) -> None:
    before: frozenset[str] = frozenset()
    said = []
    for value in values:
        seen = judge(WELL | {measure: value}, before)
        before = frozenset(seen.true_codes)
        said.append(int(code in before))
        assert seen.health is (Health.FAULT if before else Health.OK)
    assert said == raised


def test_every_threshold_leaves_room_between_its_ends() -> None:
    assert all(row.raise_at != row.clear_at for row in THRESHOLDS)


def test_what_is_not_measured_is_not_judged() -> None:
    seen = judge({"disk_free_pct": 50.0}, frozenset())
    assert seen.undetermined == {ConditionCode.MEMORY_LOW, ConditionCode.CPU_HOT}


def test_a_condition_says_its_measure() -> None:
    assert judge(WELL | {"disk_free_pct": 4.5}, frozenset()).true_codes == {ConditionCode.DISK_LOW: "disk_free_pct 4.5"}


def test_this_machine_is_measured(tmp_path: Path) -> None:
    measures = machine.measure(tmp_path)
    assert {"load_1m", "memory_available_pct", "uptime_s", "disk_free_pct"} <= set(measures)
    assert 0 <= measures["disk_free_pct"] <= 100


def test_the_processor_s_share_is_of_a_span_of_a_second_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    shares, seconds = iter([0.0, 7.5]), iter([10.0, 10.9, 11.0])
    monkeypatch.setattr(psutil, "cpu_percent", lambda: next(shares))
    probe = MachineProbe(MachineConfig(), clock=lambda: next(seconds))
    looks = [probe.poll()[0].measures.get("cpu_pct") for _ in range(3)]
    assert looks == [None, None, 7.5]


def test_a_disk_that_is_not_there_has_no_measure(tmp_path: Path) -> None:
    assert "disk_free_pct" not in machine.measure(tmp_path / "gone")


@pytest.mark.parametrize(
    ("sensors", "celsius"),
    [
        ({}, None),
        ({"nvme": [SimpleNamespace(current=70.0)]}, None),  # not a processor's
        ({"coretemp": [SimpleNamespace(current=51.0), SimpleNamespace(current=60.25)]}, 60.2),  # the hottest core
        ({"acpitz": [SimpleNamespace(current=40.0)], "cpu_thermal": [SimpleNamespace(current=55.0)]}, 55.0),
    ],
)
def test_the_temperature_is_the_processors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sensors: dict[str, list[SimpleNamespace]], celsius: float | None
) -> None:
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors)
    assert machine.measure(tmp_path).get("cpu_celsius") == celsius


def test_the_probe_remembers_what_it_raised_until_it_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([4.0, 7.0, 7.0])
    monkeypatch.setattr(machine, "measure", lambda _: WELL | {"disk_free_pct": next(measured)})
    probe = MachineProbe(MachineConfig())
    said = [set(probe.poll()[0].true_codes), set(probe.poll()[0].true_codes)]
    probe.forget()
    said.append(set(probe.poll()[0].true_codes))
    probe.close()
    assert said == [{ConditionCode.DISK_LOW}, {ConditionCode.DISK_LOW}, set()]


def test_the_boot_is_named_by_the_kernel(tmp_path: Path) -> None:
    assert machine.host_boot_id(tmp_path) == "unknown"
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("0f9bbf3b-925a\n")
    assert machine.host_boot_id(tmp_path) == "0f9bbf3b-925a"


# --- its serial number

PRODUCT, BOARD, TREE = (
    "class/dmi/id/product_serial",
    "class/dmi/id/board_serial",
    "firmware/devicetree/base/serial-number",
)


def written(sys: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (sys / name).parent.mkdir(parents=True, exist_ok=True)
        (sys / name).write_bytes(content)
    return sys


@pytest.mark.parametrize(
    ("files", "serial"),
    [
        ({}, None),  # a container, or a kernel that does not say
        ({PRODUCT: b"MJ0ABCDE\n", BOARD: b"L1HF123\n"}, "MJ0ABCDE"),  # the computer's before its board's
        ({PRODUCT: b"To be filled by O.E.M.\n", BOARD: b"L1HF123\n"}, "L1HF123"),
        ({TREE: b"10000000a1b2c3d4\0"}, "10000000a1b2c3d4"),  # a Raspberry Pi's ends with a NUL
        ({PRODUCT: b"VMware-56 4d 3c\n"}, "VMware-56 4d 3c"),
    ],
)
def test_the_serial_number_is_read_where_the_kernel_has_it(
    tmp_path: Path, files: dict[str, bytes], serial: str | None
) -> None:
    assert machine.serial_number(written(tmp_path, files)) == serial


@pytest.mark.parametrize(
    "placeholder",
    [
        b"",
        b"\n",
        b"None\n",
        b"N/A\n",
        b"Not Specified\n",
        b"Default string\n",
        b"System Serial Number\n",
        b"To Be Filled By O.E.M.\n",
        b"0\n",
        b"0000000000\n",
        b"00:00:00\n",
        b"123456789\n",
        b"xxxxxxxxxx\n",
        b"............\n",
        b"\xff\xff\xff\xff\n",  # erased flash
        b"AB\x01CD\n",
        b"x1" * 1000,
    ],
)
def test_what_a_maker_never_filled_in_is_no_serial_number(tmp_path: Path, placeholder: bytes) -> None:
    assert machine.serial_number(written(tmp_path, {PRODUCT: placeholder})) is None


def test_a_number_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / PRODUCT).mkdir(parents=True)
    assert machine.serial_number(tmp_path) is None
    assert MachineProbe(MachineConfig(), sys=tmp_path).poll()[0].facts == {}


def test_the_probe_tells_the_number_at_every_look(tmp_path: Path) -> None:
    probe = MachineProbe(MachineConfig(), sys=written(tmp_path, {BOARD: b"L1HF123\n"}))
    assert [probe.poll()[0].facts for _ in range(2)] == [{"serial_number": "L1HF123"}] * 2


def test_this_machine_s_own_number_is_one_or_none() -> None:
    serial = machine.serial_number()
    assert serial is None or serial.strip()
