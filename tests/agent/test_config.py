"""The configuration: what it takes, and what it says of what it does not take."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tillwatch_agent import config
from tillwatch_agent.config import ConfigError, DrawerLevel, Parity
from tillwatch_agent.plugging import UsbIds
from tillwatch_protocol.release import InstallerKind

EXAMPLE = Path(__file__).parents[2] / "agent" / "agent.example.toml"


TILL = {"name": "till", "installer": "bundle", "folder": "/x", "restart": ["true"], "unguarded": True}
OWN = {"installer": "agent", "restart": [], "unguarded": False}
PRODUCT_KEYS = tuple(config.ProductConfig.model_fields)
ONE_GUARD = "expected one of guard_lock, guard_command, unguarded = true"


def update_of(*products: dict[str, Any]) -> dict[str, Any]:
    """[update] with products that differ from TILL."""
    urls = {"metadata_url": "https://x/m", "targets_url": "https://x/t", "trusted_root": "/r"}
    return {"update": urls | {"products": [TILL | product for product in products]}}


def said(document: dict[str, Any]) -> list[str]:
    """The problems of a document, one a line."""
    with pytest.raises(ConfigError) as caught:
        config.parse({"terminal_id": "till-1", **document}, named="agent.toml")
    first, *problems = str(caught.value).splitlines()
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    assert first == f"agent.toml: {count}"
    return [problem.strip() for problem in problems]


def test_the_example_is_a_whole_configuration_with_every_key(tmp_path: Path) -> None:
    loaded = config.load(EXAMPLE)
    text = EXAMPLE.read_text()
    line = {"name": "a", "protocol": "b", "port": "/c"}
    tables = [
        config.ModemConfig.model_construct(port="/c"),
        config.PaymentDeviceConfig.model_construct(**line),  # type: ignore[arg-type]  # one table of several types
        config.DeviceConfig.model_construct(**line),  # type: ignore[arg-type]  # as above
        loaded,
        loaded.broker,
        loaded.printer[0],
        loaded.usb_device[0],
        loaded.network,
        loaded.acquirer[0],
        loaded.machine,
        loaded.update,
        config.ProductConfig.model_construct(name="till", installer=InstallerKind.BUNDLE, folder=Path()),
    ]
    for table in tables:
        for key in type(table).model_fields:
            assert key in text, f"{key} is not explained in the example"
    lines = text.splitlines()
    everything = "\n".join(line.removeprefix("# ") if "= " in line or line[:3] == "# [" else line for line in lines)
    (tmp_path / "all.toml").write_text(everything)
    loaded = config.load(tmp_path / "all.toml")
    assert [product.name for product in loaded.update.products] == ["till", "agent"]
    assert [line.protocol for line in loaded.lines] == ["escpos", "at", "nexo", "acme_scale"]


def test_the_least_configuration_is_a_terminal_id() -> None:
    least = config.parse({"terminal_id": "till-1"})
    assert (least.interval_s, least.broker.host, least.broker.port, least.broker.keepalive_s) == (
        60,
        "127.0.0.1",
        1883,
        30,
    )
    assert least.network.enabled
    assert least.machine.enabled
    assert not least.printer


def test_a_printer_has_defaults_that_fit_most() -> None:
    (printer,) = config.parse({"terminal_id": "t", "printer": [{"name": "bar", "port": "/dev/ttyUSB0"}]}).printer
    assert (printer.baud_rate, printer.parity, printer.stop_bits, printer.poll_s) == (9600, Parity.NONE, 1, 5.0)
    assert printer.components == ("pos_printer:bar",)
    assert printer.usb_ids is None


def test_a_drawer_is_a_component_beside_its_printer() -> None:
    table = {"name": "bar", "port": "tcp://10.0.0.9:9100", "drawer_open_level": "low"}
    (printer,) = config.parse({"terminal_id": "t", "printer": [table]}).printer
    assert printer.drawer_open_level is DrawerLevel.LOW
    assert printer.components == ("pos_printer:bar", "cash_drawer:bar")


@pytest.mark.parametrize("vendor", ["04b8", "0x04B8", "04B8", 0x04B8])
def test_usb_ids_are_taken_as_people_write_them(vendor: str | int) -> None:
    table = {"name": "s", "kind": "scanner", "vendor_id": vendor, "product_id": "0202"}
    (device,) = config.parse({"terminal_id": "t", "usb_device": [table]}).usb_device
    assert device.usb_ids == UsbIds(vendor_id="04b8", product_id="0202")
    assert device.component == "scanner:s"


def test_a_broker_with_tls_has_the_port_of_tls_unless_told() -> None:
    def port(**broker: object) -> int:
        return config.parse({"terminal_id": "t", "broker": broker}).broker.port

    assert (port(), port(ca_file="ca.pem"), port(ca_file="ca.pem", port=443)) == (1883, 8883, 443)


def test_relative_paths_start_at_the_files_own_folder(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('terminal_id = "t"\nstate_dir = "state"\n[broker]\nca_file = "/etc/ca.pem"\n')
    loaded = config.load(tmp_path / "agent.toml")
    assert loaded.state_dir == tmp_path / "state"
    assert loaded.broker.ca_file == Path("/etc/ca.pem")


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            {"terminal_id": "till.1"},
            "terminal_id: expected 1 to 64 letters, digits, - or _ (no dot), got text 'till.1'",
        ),
        ({"interval_s": "60"}, "interval_s: expected a whole number, got text '60'"),
        ({"interval_s": 0}, "interval_s: expected greater than or equal to 1, got 0"),
        ({"network": {"enabled": 1}}, "network.enabled: expected true or false, got 1"),
        ({"broker": {"keepalive_s": True}}, "broker.keepalive_s: expected a whole number, got true"),
        ({"broker": {"host": ""}}, "broker.host: expected a host name or an address, got text ''"),
        ({"broker": {"host": "b" * 254}}, "broker.host: expected 253 characters at most, got 254"),
        (
            {"network": {"portal_url": "http://" + "b" * 502}},
            "network.portal_url: expected 508 characters at most, got 509",
        ),
        ({"broker": 3}, "broker: expected a table [broker], got 3"),
        ({"printer": [3]}, "printer[0]: expected a table [[printer]], got 3"),
        ({"network": {"dns_name": 4}}, "network.dns_name: expected text, got 4"),
        ({"network": {"poll_s": "fast"}}, "network.poll_s: expected a number, got text 'fast'"),
        ({"machine": {"disk_path": 3}}, "machine.disk_path: expected a path as text, got 3"),
        (
            {"printer": [{"name": "bar", "port": "COM1"}]},
            "printer[0].port: expected a path such as /dev/ttyUSB0, or tcp://host:port, got text 'COM1'",
        ),
        ({"printer": [{"name": "bar"}]}, "printer[0].port: expected a value, got none"),
        (
            {"printer": [{"name": "bar", "port": "/dev/ttyS0", "parity": "mark"}]},
            "printer[0].parity: expected 'none', 'even' or 'odd', got text 'mark'",
        ),
        (
            {"printer": {"name": "bar"}},
            "printer: expected a list of tables, each under its own name in double brackets, got a table",
        ),
        ({"printers": []}, "printers: unknown key; expected perhaps printer"),
        ({"broker": {"password": "hunter2"}}, "broker.password: unknown key; expected perhaps password_file"),
        ({"machine": {"zzz": 1}}, "machine.zzz: unknown key; expected one of enabled, poll_s, disk_path"),
        (
            {"usb_device": [{"name": "s", "vendor_id": "4b8", "product_id": "0202"}]},
            "usb_device[0].vendor_id: expected four hexadecimal digits such as \"04b8\", got text '4b8'",
        ),
        (
            {"printer": [{"name": "b", "port": "/dev/ttyS0", "vendor_id": "04b8"}]},
            "printer[0]: expected vendor_id and product_id together, got one of them",
        ),
        (
            {"printer": [{"name": "b", "port": "tcp://a:9100", "vendor_id": "04b8", "product_id": "0202"}]},
            "printer[0]: expected no vendor_id: a network port has no USB device",
        ),
        ({"broker": {"cert_file": "a"}}, "broker: expected cert_file and key_file together, got one of them"),
        (
            {"broker": {"cert_file": "a", "key_file": "b"}},
            "broker: expected ca_file beside cert_file: a certificate is shown over TLS only",
        ),
        ({"broker": {"password_file": "a"}}, "broker: expected username beside password_file"),
        (
            {"printer": [{"name": "b", "port": "/dev/ttyS0"}, {"name": "b", "port": "/dev/ttyS1"}]},
            "the file: expected each component once, got pos_printer:b more than once",
        ),
        (
            {"acquirer": [{"name": "a", "host": "h", "port": 443}], "network": {"enabled": False}},
            "the file: expected network.enabled = true, since acquirers are reached by the network's probe",
        ),
        (
            {"printer": [{"name": f"p{n}", "port": "/dev/ttyS0"} for n in range(62)]},
            "the file: expected at most 61 components, got 62",
        ),
        (
            {"update": {"metadata_url": "ftp://x/m"}},
            "update.metadata_url: expected a URL such as https://collector.example.org/tuf/metadata, got text 'ftp://x/m'",
        ),
        ({"update": {"product": []}}, "update.product: unknown key; expected perhaps products"),
        ({"update": {"products": [3]}}, "update.products[0]: expected a table [[update.products]], got 3"),
        (update_of(OWN | {"confirm_s": 1800}), "update.products[0]: expected confirm_s of the agent of at most 1500"),
        (update_of({"mood": 1}), "update.products[0].mood: unknown key; expected one of " + ", ".join(PRODUCT_KEYS)),
        ({"update": {"products": [TILL]}}, "update: expected metadata_url, targets_url, trusted_root beside products"),
        (update_of({"guard_lock": "/x"}), f"update.products[0]: {ONE_GUARD}"),
        (update_of({"unguarded": False}), f"update.products[0]: {ONE_GUARD}"),
        (
            update_of({"restart": []}),
            "update.products[0]: expected restart: the command by which the till's software starts anew",
        ),
        (
            update_of({"installer": "agent"}),
            "update.products[0]: expected no guard, restart or health of the agent: it is its own",
        ),
        (update_of({}, {"folder": "/y"}), "update: expected each product's name once"),
        (update_of({}, {"name": "scale"}), "update: expected each product's folder once"),
        (
            update_of(OWN | {"name": "a", "folder": "/a"}, OWN | {"name": "b", "folder": "/b"}),
            "update: expected one product of installer agent at most",
        ),
        (
            update_of({"confirm_s": 200}),
            "the file: expected update.products.till.confirm_s of at least 240 for 3 heartbeats",
        ),
    ],
)
def test_a_problem_names_its_key_what_was_expected_and_what_came(document: dict[str, Any], problem: str) -> None:
    assert said(document) == [problem]


def test_all_problems_are_told_at_once() -> None:
    problems = said(
        {"interval_s": 0, "broker": {"port": 0}, "printer": [{"name": "b", "port": "/dev/ttyS0", "baud": 1}]}
    )
    assert [problem.split(":")[0] for problem in problems] == ["interval_s", "broker.port", "printer[0].baud"]


def test_the_value_of_an_unknown_key_is_not_repeated() -> None:
    assert "hunter2" not in "".join(said({"broker": {"password": "hunter2"}}))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"terminal_id = ", "expected TOML, got: Invalid value"),
        (b"\xff\xfe", "in UTF-8, got other bytes"),
        (b"#" * (config.FILE_BYTES_MAX + 1), "of at most 262144 bytes, got more"),
    ],
)
def test_a_file_that_is_no_toml_is_told_as_such(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "agent.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        config.load(tmp_path / "agent.toml")


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a TOML file, got: No such file or directory"):
        config.load(tmp_path / "agent.toml")


def test_a_secret_is_one_line_without_its_end(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("correct horse\n")
    assert config.read_secret(path) == "correct horse"


@pytest.mark.parametrize("content", ["", "\n", "two\nlines\n"])
def test_what_is_no_secret_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "password"
    path.write_text(content)
    with pytest.raises(ConfigError, match="expected a password on one line"):
        config.read_secret(path)


def test_a_secret_that_others_can_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.touch()
    seen = []
    for mode in (0o600, 0o640, 0o644):
        os.chmod(path, mode)  # noqa: PTH101 - beside the table above it reads best
        seen.append(config.is_open_to_others(path))
    assert seen == [False, False, True]


def test_a_product_has_a_component_and_terms_that_fit_most() -> None:
    loaded = config.parse({"terminal_id": "t", **update_of({})})
    (product,) = loaded.update.products
    assert loaded.components == ("application:till", "network:uplink", "machine:self")
    assert (product.heartbeats, product.start_s, product.confirm_s, product.busy_s_max) == (3, 120.0, 900.0, 86_400.0)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        # a name would depend on the name service that is to be told from the line
        ({"wan_targets": ["dns.example:53"]}, "expected an address and a port, such as 192.0.2.1:443"),
        ({"wan_targets": ["192.0.2.1"]}, "expected an address and a port"),
        ({"wan_targets": ["192.0.2.1:0"]}, "expected a port from 1 to 65535"),
        ({"wan_targets": [53]}, "expected an address and a port"),
        ({"wan_targets": ["192.0.2.1:53"] * 5}, "network.wan_targets"),
        # over TLS no portal can answer in its place
        ({"portal_url": "https://page.example/"}, "network.portal_url"),
        ({"portal_says": "success"}, "expected portal_url beside portal_says"),
    ],
)
def test_far_targets_and_the_known_page_are_what_they_must_be(network: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        config.parse({"terminal_id": "t", "network": network})


def test_far_targets_may_be_of_either_family() -> None:
    targets = ["192.0.2.1:443", "[2001:db8::1]:53"]
    assert config.parse({"terminal_id": "t", "network": {"wan_targets": targets}}).network.wan_targets == tuple(targets)
