"""Families by entry point: ours, one that a separate package brings, and those that cannot be used."""

import json
import os
import socket
import subprocess
import sys
import zipfile
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from tests.agent import stand
from tests.agent.talks import TablePort

from tillwatch_agent import families, probes
from tillwatch_agent.drivers import GROUP, Device, Driver
from tillwatch_agent.families import FamilyUnusable
from tillwatch_protocol.vocabulary import Health

SCALE = '''
"""A scale of another maker: W is answered by a weight in grams and a line end."""

from dataclasses import dataclass

from tillwatch_agent.drivers import Ask, Looked, Timing, Transport, garbled, unanswered
from tillwatch_agent.health import Observation
from tillwatch_protocol.vocabulary import Health, PowerState


@dataclass(frozen=True, kw_only=True)
class Scale:
    components: tuple[str, ...]
    limit_g: int
    transport = Transport.BYTES
    allowed = frozenset({b"W\\n"})
    timing = Timing(reply_s=2.0)

    def look(self, memory, occasion):
        received = yield Ask(request=b"W\\n", is_answered=lambda got: got.endswith(b"\\n"))
        name = self.components[0]
        if not received:
            return Looked(observations=(unanswered(name, occasion.attachment),))
        if not received.strip().isdigit():
            return Looked(observations=(garbled(name, "no weight"),))
        grams = int(received)
        over = {"overweight": f"{grams} g"} if grams > self.limit_g else {}
        seen = Observation(
            component=name,
            health=Health.FAULT if over else Health.OK,
            power_state=PowerState.ONLINE,
            true_codes=over,
            measures={"weight_g": grams},
        )
        return Looked(observations=(seen,))


def driver(device):
    device.knows_only("limit_g")
    return Scale(components=(device.component,), limit_g=device.settings["limit_g"])
'''


def installed(folder: Path) -> Path:
    """Pack a package of its own as a wheel, and install it: a wheel of plain Python is unpacked, and no more."""
    wheel = folder / "acme_scale-1.0-py3-none-any.whl"
    info = "acme_scale-1.0.dist-info"
    files = {
        "acme_scale.py": SCALE,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: acme-scale\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[{GROUP}]\nacme_scale = acme_scale:driver\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    site = folder / "site"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    return site


def test_our_own_families_are_found_by_their_names() -> None:
    assert {"at", "escpos", "nexo", "star", "usb_printer", "zvt"} <= set(families.names())
    made: Driver = families.driver("zvt", Device(kind="pin_pad", name="1"))
    assert made.components == ("pin_pad:1",)


def test_a_package_that_is_installed_beside_us_brings_its_device(tmp_path: Path) -> None:
    site = installed(tmp_path)

    def weigh(connection: socket.socket) -> None:
        while connection.recv(2):
            connection.sendall(b"3200\r\n")

    with stand.tcp_server(weigh) as tcp_port:
        (tmp_path / "agent.toml").write_text(
            'terminal_id = "t"\n[network]\nenabled = false\n[machine]\nenabled = false\n'
            f'[[device]]\nname = "counter"\nkind = "scale"\nprotocol = "acme_scale"\nport = "tcp://127.0.0.1:{tcp_port}"\n'
            "settings = { limit_g = 3000 }\n"
        )
        told = subprocess.run(
            [sys.executable, "-m", "tillwatch_agent", "probe", "--json", "--config", str(tmp_path / "agent.toml")],
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=True,
        )
    scale = next(part for part in json.loads(told.stdout)["components"] if part["component"] == "scale:counter")
    assert (scale["health"], scale["measures"]) == ("fault", {"weight_g": 3200})
    assert [condition["code"] for condition in scale["conditions"]] == ["overweight"]


def test_without_the_package_the_agent_says_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(
        'terminal_id = "t"\n[[device]]\nname = "c"\nkind = "scale"\nprotocol = "acme_scale"\nport = "/dev/ttyS0"\n'
    )
    told = subprocess.run(
        [sys.executable, "-m", "tillwatch_agent", "probe", "--config", str(tmp_path / "agent.toml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 2
    assert "scale:c: protocol: expected one of at, escpos, nexo, star, usb_printer, zvt, or a package" in told.stderr


def test_a_protocol_that_nobody_brings_is_refused_with_the_list() -> None:
    with pytest.raises(FamilyUnusable, match=r"scale:1: protocol: expected one of at, escpos, .* got 'tomorrow'"):
        families.driver("tomorrow", Device(kind="scale", name="1"))


def entries(*values: str) -> EntryPoints:
    return EntryPoints(EntryPoint(name="acme", value=value, group=GROUP) for value in values)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (entries("a:driver", "b:driver"), "protocol 'acme': expected one package, got a:driver, b:driver"),
        (entries("no_such_module:driver"), "no_such_module:driver: No module named 'no_such_module'"),
        (entries("json:no_such_name"), "json:no_such_name: module 'json' has no attribute"),
    ],
)
def test_a_family_that_cannot_be_used_says_why(found: EntryPoints, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "entry_points", lambda **_: found)
    with pytest.raises(FamilyUnusable, match=said):
        families.driver("acme", Device(kind="scale", name="1"))


def test_a_name_that_is_found_twice_and_means_the_same_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = entries("tillwatch_agent.drivers.at:driver", "tillwatch_agent.drivers.at:driver")
    monkeypatch.setattr(families, "entry_points", lambda **_: twice)
    assert families.driver("acme", Device(kind="modem", name="0")).components == ("modem:0",)


class Mistaken:
    """A driver whose author did not think of this answer."""

    components = ("scale:1", "scale:2")
    transport, allowed, timing = None, frozenset({b"W"}), None

    def look(self, *_: object) -> None:
        raise ZeroDivisionError("division by zero")


def test_a_drivers_mistake_is_told_of_its_device_alone() -> None:
    port = TablePort(lambda _: b"", {b"W"})
    probe = probes.DeviceProbe(Mistaken(), port, poll_s=1.0)  # type: ignore[arg-type]  # that is the point
    first, second = probe.poll()
    assert (first.health, first.reason) == (Health.UNKNOWN, "driver_failed")
    assert first.true_codes == {"driver_failed": "ZeroDivisionError: division by zero"}
    assert (second.component, second.reason) == ("scale:2", "driver_failed")
    assert not port.is_open
