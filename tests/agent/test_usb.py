"""USB presence, on a sysfs tree laid out as Linux does."""

import shutil
from pathlib import Path

from tests.agent import stand

from tillwatch_agent import usb
from tillwatch_agent.plugging import UsbIds, Wanted
from tillwatch_agent.usb import UsbProbe
from tillwatch_protocol.vocabulary import ConditionCode, Health, PowerState

SCANNER = UsbIds(vendor_id="05e0", product_id="1701")


def probe(sysfs: Path, ids: UsbIds = SCANNER) -> UsbProbe:
    return UsbProbe(wanted=Wanted(component="scanner:1", ids=ids), poll_s=10, sysfs=sysfs)


def test_an_attached_device_is_ok_and_says_what_it_is(tmp_path: Path) -> None:
    stand.usb_device(tmp_path, "1-1.4", "05e0:1701", serial="S1")
    (seen,) = probe(tmp_path).poll()
    assert (seen.component, seen.health, seen.power_state) == ("scanner:1", Health.OK, PowerState.ONLINE)
    assert seen.facts == {
        "usb_ids": "05e0:1701",
        "location": "1-1.4",
        "maker": "Maker",
        "model": "Model",
        "serial_number": "S1",
    }


def test_a_device_that_is_not_attached_is_absent_and_off(tmp_path: Path) -> None:
    stand.usb_device(tmp_path, "1-1", "04b8:0202")
    (seen,) = probe(tmp_path).poll()
    assert (seen.health, seen.reason, seen.power_state) == (Health.ABSENT, "not_attached", PowerState.OFF)
    assert seen.true_codes == {ConditionCode.NOT_ATTACHED: "no USB device 05e0:1701"}


def test_a_device_comes_and_goes(tmp_path: Path) -> None:
    watching = probe(tmp_path)
    said = [watching.poll()[0].health]
    device = stand.usb_device(tmp_path, "1-1", "05e0:1701")
    said.append(watching.poll()[0].health)
    shutil.rmtree(device)
    said.append(watching.poll()[0].health)
    assert said == [Health.ABSENT, Health.OK, Health.ABSENT]


def test_of_several_alike_the_serial_number_tells(tmp_path: Path) -> None:
    stand.usb_device(tmp_path, "1-1", "05e0:1701", serial="S1")
    assert probe(tmp_path, UsbIds(vendor_id="05e0", product_id="1701", serial_number="S1")).poll()[0].facts
    (other,) = probe(tmp_path, UsbIds(vendor_id="05e0", product_id="1701", serial_number="S2")).poll()
    assert other.true_codes == {ConditionCode.NOT_ATTACHED: "no USB device 05e0:1701 number S2"}


def test_a_machine_without_usb_has_no_devices(tmp_path: Path) -> None:
    assert usb.attached(tmp_path) == ()


def test_nodes_are_those_of_the_device_above_them(tmp_path: Path) -> None:
    stand.usb_device(tmp_path, "1-1", "05e0:1701", tty_name="ttyACM0")
    stand.usb_device(tmp_path, "1-2", "04b8:0202", lp="lp3")
    assert usb.nodes(SCANNER, "tty", tmp_path) == (Path("/dev/ttyACM0"),)
    assert usb.nodes(SCANNER, "usbmisc", tmp_path) == ()
    assert usb.nodes(UsbIds(vendor_id="04b8", product_id="0202"), "usbmisc", tmp_path) == (Path("/dev/usb/lp3"),)


def test_a_node_whose_device_vanishes_belongs_to_none(tmp_path: Path) -> None:
    shutil.rmtree(stand.usb_device(tmp_path, "1-1", "05e0:1701", tty_name="ttyACM0"))
    assert usb.nodes(SCANNER, "tty", tmp_path) == ()


def test_a_node_that_is_no_usb_devices_belongs_to_none(tmp_path: Path) -> None:
    (tmp_path / "class/tty/ttyS0").mkdir(parents=True)
    (tmp_path / "class/tty/ttyS0/uevent").write_text("DEVNAME=ttyS0\n")
    (tmp_path / "class/tty/ttyS0/device").symlink_to(tmp_path)
    assert usb.nodes(SCANNER, "tty", tmp_path) == ()


def test_forgetting_and_closing_change_nothing(tmp_path: Path) -> None:
    watching = probe(tmp_path)
    watching.forget()
    watching.close()
    assert watching.poll()[0].health is Health.ABSENT


def test_a_listing_in_short_tells_an_enumeration_from_another(tmp_path: Path) -> None:
    device = stand.usb_device(tmp_path, "1-1", "05e0:1701")
    (device / "devnum").write_text("7\n")
    before = usb.listing(tmp_path)
    (device / "devnum").write_text("8\n")
    assert (before, usb.listing(tmp_path)) == (frozenset({("1-1", "7")}), frozenset({("1-1", "8")}))


def test_a_socket_that_is_known_by_its_controller_is_named_by_its_bus(tmp_path: Path) -> None:
    for bus, controller in ((1, "0000:00:14.0"), (2, "0000:00:14.0"), (3, "0000:00:1a.0")):
        root = tmp_path / "devices/pci0000:00" / controller / f"usb{bus}"
        root.mkdir(parents=True)
        (tmp_path / "bus/usb/devices").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"bus/usb/devices/usb{bus}").symlink_to(root)
    (tmp_path / "bus/usb/devices/usb4").symlink_to(tmp_path / "gone")
    assert usb.location_of("0000:00:14.0", "1.2", tmp_path) == "1-1.2"
    assert usb.location_of("0000:00:1a.0", "4", tmp_path) == "3-4"
    assert usb.location_of("0000:00:1b.0", "4", tmp_path) is None


def test_the_owner_of_a_node_is_found_by_any_link_to_it(tmp_path: Path) -> None:
    stand.usb_device(tmp_path, "1-1.4", "05e0:1701", tty_name="ttyACM0")
    link = tmp_path / "by-id"
    link.symlink_to(tmp_path / "dev/ttyACM0")
    owner = usb.owner(link, tmp_path)
    assert owner is not None
    assert owner.location == "1-1.4"
    assert usb.owner(Path("/dev/ttyS0"), tmp_path) is None
