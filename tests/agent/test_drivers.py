"""What every driver survives: bytes one at a time or lost, noise, another family, a port that vanishes anywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest
from tests.agent.talks import Answer, TablePort, losses, talk

from tillwatch_agent.drivers import Attachment, Device, Driver, at, escpos, nexo, star, usb_printer, zvt
from tillwatch_agent.probes import DeviceProbe
from tillwatch_protocol.vocabulary import Health
from tillwatch_simulator.devices import Device as Simulated
from tillwatch_simulator.devices import nexo as simulated_nexo
from tillwatch_simulator.devices import star as simulated_star
from tillwatch_simulator.devices import usb_printer as simulated_usb
from tillwatch_simulator.devices.escpos import Printer
from tillwatch_simulator.devices.modem import Modem
from tillwatch_simulator.devices.zvt import Terminal

NOISE_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """A family with a healthy device of its own."""

    driver: Driver
    simulated: Callable[[], Simulated]
    attachment: Attachment = Attachment.SERIAL

    def answer(self) -> Answer:
        simulated = self.simulated()
        return simulated.answer if isinstance(simulated, simulated_nexo.Terminal) else simulated.receive


FAMILIES = {
    "escpos": Row(driver=escpos.driver(Device(kind="pos_printer", name="bar")), simulated=Printer),
    "star": Row(driver=star.driver(Device(kind="pos_printer", name="bar")), simulated=simulated_star.Printer),
    "at": Row(driver=at.driver(Device(kind="modem", name="0")), simulated=Modem),
    "zvt": Row(driver=zvt.driver(Device(kind="pin_pad", name="1")), simulated=Terminal),
    "zvt over TCP": Row(
        driver=zvt.driver(Device(kind="pin_pad", name="1")),
        simulated=lambda: Terminal(over_tcp=True),
        attachment=Attachment.TCP,
    ),
    "usb_printer": Row(
        driver=usb_printer.driver(Device(kind="pos_printer", name="bar")),
        simulated=simulated_usb.Printer,
        attachment=Attachment.USB,
    ),
    "nexo": Row(
        driver=nexo.driver(
            Device(
                kind="pin_pad", name="1", settings={"sale_id": "till-1", "poi_id": "P400-1"}, started_s=1_790_000_000
            )
        ),
        simulated=simulated_nexo.Terminal,
        attachment=Attachment.TCP,
    ),
}

each = pytest.mark.parametrize("family", FAMILIES)


@each
@pytest.mark.parametrize("bytewise", [True, False])
def test_a_healthy_device_is_well_however_its_bytes_are_cut(family: str, bytewise: bool) -> None:
    row = FAMILIES[family]
    answer, memory = row.answer(), None
    for look_no in range(3):
        looked = talk(row.driver, answer, memory, row.attachment, bytewise=bytewise, look_no=look_no).looked
        assert looked.observations[0].health is Health.OK, looked
        assert tuple(seen.component for seen in looked.observations) == row.driver.components
        memory = looked.memory


@each
def test_silence_is_unknown(family: str) -> None:
    row = FAMILIES[family]
    seen = talk(row.driver, lambda _: b"", attachment=row.attachment).seen
    assert (seen.health, seen.reason) == (Health.UNKNOWN, "no_response")


@each
def test_a_megabyte_of_noise_is_unknown_and_bounded(family: str) -> None:
    row = FAMILIES[family]
    noise = Random(6).randbytes(NOISE_BYTES)
    port = TablePort(lambda _: noise, row.driver.allowed, attachment=row.attachment)
    (seen, *_) = DeviceProbe(row.driver, port, poll_s=1.0).poll()
    assert (seen.health, seen.reason) == (Health.UNKNOWN, "garbled_response")
    assert len(str(seen.true_codes)) < 600


@each
@pytest.mark.parametrize("seed", range(20))
def test_a_line_that_loses_and_turns_bytes_never_makes_a_talk_fail(family: str, seed: int) -> None:
    row = FAMILIES[family]
    rng = Random(seed)
    answer = row.answer()

    def worn(request: bytes) -> bytes:
        kept = (byte for byte in answer(request) if rng.random() > 0.2)
        return bytes(byte ^ (1 << rng.randrange(8)) if rng.random() < 0.2 else byte for byte in kept)

    memory = None
    for _ in range(10):
        looked = talk(row.driver, worn, memory, row.attachment).looked
        assert looked.observations[0].health in set(Health)
        memory = looked.memory


@each
def test_another_familys_device_is_never_well(family: str) -> None:
    row = FAMILIES[family]
    for other, stranger in FAMILIES.items():
        if other != family:
            seen = talk(row.driver, stranger.answer(), attachment=row.attachment).seen
            assert seen.health is Health.UNKNOWN, f"a {other} device looks well to {family}: {seen}"


@each
def test_a_port_that_vanishes_at_any_read_or_write_is_told_and_closed(family: str) -> None:
    row = FAMILIES[family]
    cases = 0
    for operation, probe in losses(row.driver, row.answer, row.attachment):
        (seen, *_) = probe.poll()
        assert seen.health is Health.UNKNOWN, f"lost at operation {operation}: {seen}"
        assert isinstance(probe._port, TablePort)
        assert not probe._port.is_open
        cases += 1
    assert cases > 2
