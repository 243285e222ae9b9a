"""Batteries and supplies: what sysfs says of them, and what is made of it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillwatch_agent import power
from tillwatch_agent.drivers import power_supply
from tillwatch_agent.drivers.power_supply import Supply
from tillwatch_agent.health import Observation
from tillwatch_agent.power import PowerProbe
from tillwatch_protocol.vocabulary import ConditionCode as Code
from tillwatch_protocol.vocabulary import Health
from tillwatch_simulator.devices.battery import Machine

WELL = Supply(kind="Battery", status="Full", charge_pct=96, health="Good", capacity_pct=90.0)


def written(sysfs: Path, machine: Machine) -> Path:
    for name, text in machine.uevents().items():
        (sysfs / "class/power_supply" / name).mkdir(parents=True, exist_ok=True)
        (sysfs / "class/power_supply" / name / "uevent").write_text(text)
    return sysfs


def observed(*supplies: Supply, raised: frozenset[str] = frozenset()) -> Observation:
    seen = power_supply.observe(supplies, raised)
    assert seen
    return seen


def test_a_laptops_battery_is_read_whole(tmp_path: Path) -> None:
    (seen,) = PowerProbe(poll_s=30.0, sysfs=written(tmp_path, Machine())).poll()
    assert (seen.component, seen.health, seen.undetermined) == ("pos_power:self", Health.OK, frozenset())
    assert seen.measures == {
        "battery_pct": 96,
        "battery_capacity_pct": 90.0,
        "battery_volts": 11.85,
        "battery_celsius": 28.7,
    }
    assert seen.facts == {"maker": "TILLWATCH", "model": "TWB-50"}


@pytest.mark.parametrize(
    ("machine", "true"),
    [
        (Machine(charge_pct=40), set()),
        (Machine(is_plugged=False), {Code.ON_BATTERY}),
        (Machine(is_plugged=False, charge_pct=20), {Code.ON_BATTERY, Code.BATTERY_LOW}),
        (Machine(health="Dead"), {Code.BATTERY_BAD}),
        (Machine(full_uwh=20_000_000), {Code.BATTERY_BAD}),
    ],
)
def test_what_befalls_the_simulated_machine_is_told(tmp_path: Path, machine: Machine, true: set[str]) -> None:
    (seen,) = PowerProbe(poll_s=30.0, sysfs=written(tmp_path, machine)).poll()
    assert set(seen.true_codes) == true
    assert seen.health is (Health.FAULT if true else Health.OK)


def test_low_is_cleared_well_above_where_it_is_raised(tmp_path: Path) -> None:
    probe = PowerProbe(poll_s=30.0, sysfs=tmp_path)
    said = []
    for charge_pct in (21, 20, 25, 30, 31, 25):
        written(tmp_path, Machine(charge_pct=charge_pct))
        said.append(Code.BATTERY_LOW in probe.poll()[0].true_codes)
    assert said == [False, True, True, True, False, False]
    written(tmp_path, Machine(charge_pct=20))
    probe.poll()
    probe.forget()
    written(tmp_path, Machine(charge_pct=25))
    assert probe.poll()[0].health is Health.OK
    probe.close()


def test_a_machine_without_a_battery_has_no_component_and_one_that_is_taken_out_is_absent(tmp_path: Path) -> None:
    probe = PowerProbe(poll_s=30.0, sysfs=tmp_path)
    assert probe.poll() == ()
    written(tmp_path, Machine())
    probe.poll()
    shutil.rmtree(tmp_path / "class/power_supply/BAT0")
    (seen,) = probe.poll()
    assert (seen.health, seen.reason) == (Health.ABSENT, Code.NOT_ATTACHED)


@pytest.mark.parametrize(
    ("uevent", "supply"),
    [
        (b"POWER_SUPPLY_TYPE=UPS\nPOWER_SUPPLY_CAPACITY=50", Supply(kind="UPS", charge_pct=50)),
        (b"POWER_SUPPLY_TYPE=Mains\nPOWER_SUPPLY_ONLINE=1", Supply(kind="Mains", is_online=True)),
        (b"POWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_TEMP=-50", Supply(kind="Battery", celsius=-5.0)),
        (b"POWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_CAPACITY=much", Supply(kind="Battery")),
        (
            b"POWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_CHARGE_FULL=3\nPOWER_SUPPLY_CHARGE_FULL_DESIGN=0",
            Supply(kind="Battery"),
        ),
        (
            b"POWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_CHARGE_FULL=3\nPOWER_SUPPLY_CHARGE_FULL_DESIGN=4",
            Supply(kind="Battery", capacity_pct=75.0),
        ),
        (b"POWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_SCOPE=Device", None),  # a mouse
        (b"POWER_SUPPLY_TYPE=Battery\nPOWER_SUPPLY_PRESENT=0", None),  # an empty bay
        (b"POWER_SUPPLY_NAME=x", None),
        (b"\xff\xfe", None),
        (b"", None),
    ],
)
def test_a_supply_is_what_its_file_says(uevent: bytes, supply: Supply | None) -> None:
    assert power_supply.read_supply(uevent) == supply


@pytest.mark.parametrize(
    ("changes", "code", "held"),
    [
        ({"status": "Discharging"}, Code.ON_BATTERY, True),
        ({"status": None}, Code.ON_BATTERY, None),
        ({"status": "Unknown"}, Code.ON_BATTERY, None),
        ({"charge_pct": None}, Code.BATTERY_LOW, None),
        ({"charge_pct": None, "level": "Normal"}, Code.BATTERY_LOW, False),
        ({"level": "Critical"}, Code.BATTERY_LOW, True),
        ({"health": "Unknown", "capacity_pct": None}, Code.BATTERY_BAD, None),
        ({"health": "Good", "capacity_pct": None}, Code.BATTERY_BAD, False),
    ],
)
def test_what_a_supply_does_not_tell_is_undetermined(changes: dict[str, Any], code: str, held: bool | None) -> None:
    seen = observed(replace(WELL, **changes))
    assert (code in seen.true_codes, code in seen.undetermined) == (bool(held), held is None)


def test_a_ups_without_a_state_is_judged_by_the_mains() -> None:
    ups = Supply(kind="UPS", charge_pct=80)
    assert Code.ON_BATTERY in observed(ups, Supply(kind="Mains", is_online=False)).true_codes
    assert Code.ON_BATTERY not in observed(ups, Supply(kind="Mains", is_online=True)).true_codes


def test_of_two_batteries_the_worse_one_counts() -> None:
    seen = observed(WELL, replace(WELL, charge_pct=10, celsius=50.0))
    assert seen.true_codes == {Code.BATTERY_LOW: "96 %, 10 %"}
    assert (seen.measures["battery_pct"], seen.measures["battery_celsius"]) == (10, 50.0)


def test_a_battery_that_tells_nothing_is_unknown_and_mains_alone_are_nothing() -> None:
    seen = observed(Supply(kind="Battery"))
    assert (seen.health, seen.reason, seen.undetermined) == (Health.UNKNOWN, "not_told", power_supply.CODES)
    assert power_supply.observe([Supply(kind="Mains", is_online=True)], frozenset()) is None


@given(st.binary(max_size=4096))
def test_no_file_makes_reading_fail(uevent: bytes) -> None:
    supply = power_supply.read_supply(uevent)
    assert supply is None or supply.kind


def test_a_supply_that_goes_while_it_is_read_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "class/power_supply/BAT0").mkdir(parents=True)
    assert power.supplies(tmp_path) == ()
