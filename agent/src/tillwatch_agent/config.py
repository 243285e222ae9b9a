"""The agent's settings: one TOML file, read once, frozen.

Unknown keys are refused: a misspelt one would silently watch nothing. All problems are told at once, each with its key,
what was expected and what came; the value of an unknown key is not repeated, since it may be a password in the wrong
place. Secrets stand in files of their own, named here. Relative paths start at the file's own folder.
"""

import difflib
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import ErrorDetails

from tillwatch_agent.errors import OperatorError
from tillwatch_agent.usb import UsbIds
from tillwatch_protocol.vocabulary import (
    COMPONENTS_MAX,
    MACHINE_SELF,
    NETWORK_UPLINK,
    Code,
    IntervalS,
    Kind,
    TerminalId,
)

FILE_BYTES_MAX = 256 * 1024
"""A generous file for a full counter has some 10 KB; what is larger is not a configuration."""
SECRET_BYTES_MAX = 4096
ACQUIRERS_MAX = 16
"""All are asked at once, each by a thread; a shop has two or three."""
POLL_S_MIN, POLL_S_MAX = 0.5, 3600.0


class ConfigError(OperatorError):
    """The file cannot be used; the message names every problem: key, what was expected, what came."""


def _path(value: Any, info: ValidationInfo) -> Any:
    base = (info.context or {}).get("base", Path())
    return base / Path(value).expanduser() if isinstance(value, str) and value else value


def _usb_id(value: Any) -> Any:
    """Take 0x04b8 as well as "04b8" and "0x04B8"."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFF:  # noqa: PLR2004 - 16 bits
        return f"{value:04x}"
    return value.lower().removeprefix("0x") if isinstance(value, str) else value


FilePath = Annotated[Path, BeforeValidator(_path), Field(strict=False)]
UsbId = Annotated[str, BeforeValidator(_usb_id), Field(pattern=r"^[0-9a-f]{4}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,48}$")]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,253}$")]
TcpPortNumber = Annotated[int, Field(ge=1, le=65535)]
PollS = Annotated[float, Field(ge=POLL_S_MIN, le=POLL_S_MAX)]
PortName = Annotated[str, Field(pattern=r"^(/\S{1,250}|tcp://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5})$")]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Parity(StrEnum):
    """The parity bit of a serial line."""

    NONE = "none"
    EVEN = "even"
    ODD = "odd"


class DrawerLevel(StrEnum):
    """The level of a drawer's switch at the printer's connector."""

    HIGH = "high"
    LOW = "low"


class BrokerConfig(_Table):
    """[broker]: where the heartbeats go; TLS when `ca_file` is given."""

    host: HostName = "127.0.0.1"
    username: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    password_file: FilePath | None = None
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    port: TcpPortNumber = Field(default_factory=lambda data: 8883 if data.get("ca_file") else 1883)
    """Stands below `ca_file`, on which its default depends."""
    keepalive_s: Annotated[int, Field(ge=5, le=600)] = 30

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("expected cert_file and key_file together, got one of them")
        if self.cert_file and not self.ca_file:
            raise ValueError("expected ca_file beside cert_file: a certificate is shown over TLS only")
        if self.password_file and not self.username:
            raise ValueError("expected username beside password_file")
        return self


class PrinterConfig(_Table):
    """[[printer]]: one ESC/POS printer, and the cash drawer at it where `drawer_open_level` is given."""

    name: Name
    port: PortName
    baud_rate: Annotated[int, Field(ge=1200, le=921_600)] = 9600
    parity: Annotated[Parity, Field(strict=False)] = Parity.NONE
    stop_bits: Annotated[int, Field(ge=1, le=2)] = 1
    poll_s: PollS = 5.0
    drawer_open_level: Annotated[DrawerLevel, Field(strict=False)] | None = None
    vendor_id: UsbId | None = None
    product_id: UsbId | None = None

    @model_validator(mode="after")
    def _ids_are_of_a_node(self) -> Self:
        if (self.vendor_id is None) != (self.product_id is None):
            raise ValueError("expected vendor_id and product_id together, got one of them")
        if self.vendor_id and self.port.startswith("tcp://"):
            raise ValueError("expected no vendor_id: a TCP port has no USB device")
        return self

    @property
    def usb_ids(self) -> UsbIds | None:
        """The ids that the printer's node must have, if any are configured."""
        if self.vendor_id is None or self.product_id is None:
            return None
        return UsbIds(vendor_id=self.vendor_id, product_id=self.product_id)

    @property
    def components(self) -> tuple[str, ...]:
        """The names of what this table has watched."""
        drawer = (f"{Kind.CASH_DRAWER}:{self.name}",) if self.drawer_open_level else ()
        return (f"{Kind.POS_PRINTER}:{self.name}", *drawer)


class UsbDeviceConfig(_Table):
    """[[usb_device]]: one USB device whose presence is watched."""

    name: Name
    kind: Code = Kind.USB_DEVICE
    vendor_id: UsbId
    product_id: UsbId
    serial_number: Annotated[str, Field(min_length=1, max_length=126)] | None = None
    poll_s: PollS = 10.0

    @property
    def usb_ids(self) -> UsbIds:
        """What it is known by."""
        return UsbIds(vendor_id=self.vendor_id, product_id=self.product_id, serial_number=self.serial_number)

    @property
    def component(self) -> str:
        """The name of what this table has watched."""
        return f"{self.kind}:{self.name}"


class NetworkConfig(_Table):
    """[network]: the way out of the shop."""

    enabled: bool = True
    poll_s: PollS = 30.0
    dns_name: HostName | None = None
    gateway: HostName | None = None


class AcquirerConfig(_Table):
    """[[acquirer]]: one payment host that must be reachable."""

    name: Name
    host: HostName
    port: TcpPortNumber
    tls: bool = True
    ca_file: FilePath | None = None

    @property
    def component(self) -> str:
        """The name of what this table has watched."""
        return f"{Kind.ACQUIRER}:{self.name}"


class MachineConfig(_Table):
    """[machine]: the computer beside the till."""

    enabled: bool = True
    poll_s: PollS = 30.0
    disk_path: FilePath = Path("/")


class AgentConfig(_Table):
    """The whole file."""

    terminal_id: TerminalId
    interval_s: IntervalS = 60
    state_dir: FilePath = Path("/var/lib/tillwatch-agent")
    broker: BrokerConfig = BrokerConfig()
    printer: Annotated[tuple[PrinterConfig, ...], Field(strict=False)] = ()
    usb_device: Annotated[tuple[UsbDeviceConfig, ...], Field(strict=False)] = ()
    network: NetworkConfig = NetworkConfig()
    acquirer: Annotated[tuple[AcquirerConfig, ...], Field(strict=False, max_length=ACQUIRERS_MAX)] = ()
    machine: MachineConfig = MachineConfig()

    OWN_COMPONENTS: ClassVar[int] = 3
    """machine:self, machine:clock, network:uplink."""

    @property
    def components(self) -> tuple[str, ...]:
        """The names of all that probes are to look at."""
        network = (NETWORK_UPLINK,) if self.network.enabled else ()
        machine = (MACHINE_SELF,) if self.machine.enabled else ()
        return (*self._named, *network, *machine)

    @property
    def _named(self) -> tuple[str, ...]:
        printers = (component for printer in self.printer for component in printer.components)
        devices = (device.component for device in self.usb_device)
        return (*printers, *devices, *(acquirer.component for acquirer in self.acquirer))

    @model_validator(mode="after")
    def _components_differ(self) -> Self:
        names = self._named
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected each component once, got {', '.join(twice)} more than once")
        if len(names) > COMPONENTS_MAX - self.OWN_COMPONENTS:
            raise ValueError(f"expected at most {COMPONENTS_MAX - self.OWN_COMPONENTS} components, got {len(names)}")
        if self.acquirer and not self.network.enabled:
            raise ValueError("expected network.enabled = true, since acquirers are reached by the network's probe")
        return self


def load(path: Path) -> AgentConfig:
    """Read a file; raises `ConfigError`."""
    text = _read(path, FILE_BYTES_MAX, "a TOML file")
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: expected TOML, got: {error}") from None
    return parse(document, base=path.absolute().parent, named=str(path))


def parse(document: dict[str, Any], *, base: Path = Path(), named: str = "the configuration") -> AgentConfig:
    """Check what a file says; raises `ConfigError` with every problem it has."""
    try:
        return AgentConfig.model_validate(document, context={"base": base})
    except ValidationError as error:
        problems = [_said(detail) for detail in error.errors(include_url=False)]
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError("\n  ".join([f"{named}: {count}", *problems])) from None


def read_secret(path: Path) -> str:
    """Read a password from its file, without the line's end; raises `ConfigError`."""
    secret = _read(path, SECRET_BYTES_MAX, "a file with a password on one line").rstrip("\r\n")
    if not secret or "\n" in secret:
        raise ConfigError(
            f"{path}: expected a password on one line, got {'nothing' if not secret else 'several lines'}"
        )
    return secret


def is_open_to_others(path: Path) -> bool:
    """Whether any user of this machine can read a file that holds a secret; raises `OSError`."""
    return bool(path.stat().st_mode & 0o004)


def _read(path: Path, bytes_max: int, expected: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
        if len(data) > bytes_max:
            raise ConfigError(f"{path}: expected {expected} of at most {bytes_max} bytes, got more")
        return data.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: expected {expected}, got: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected {expected} in UTF-8, got other bytes") from None


def _said(detail: ErrorDetails) -> str:
    """Turn one of pydantic's problems into ours: key, expected, came."""
    key = _dotted(detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; expected {_known_keys(detail['loc'])}"
    if detail["type"] == "missing":
        return f"{key}: expected a value, got none"
    if detail["type"] == "value_error":
        return f"{key or 'the file'}: {detail['msg'].removeprefix('Value error, ')}"
    if detail["type"] == "model_type":
        return f"{key}: expected a table {_header(detail['loc'])}, got {_shown(detail['input'])}"
    expected = _EXPECTED.get(_pattern(detail) or detail["type"], detail["msg"].removeprefix("Input should be "))
    return f"{key}: expected {expected[:1].lower()}{expected[1:]}, got {_shown(detail['input'])}"


_EXPECTED = {
    "tuple_type": "a list of tables, each under its own name in double brackets",
    "bool_type": "true or false",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "path_type": "a path as text",
    "string_type": "text",
    r"^[A-Za-z0-9_-]{1,64}$": "1 to 64 letters, digits, - or _ (no dot)",
    r"^[A-Za-z0-9_-]{1,48}$": "1 to 48 letters, digits, - or _",
    r"^[0-9a-f]{4}$": 'four hexadecimal digits such as "04b8"',
    r"^[A-Za-z0-9._:-]{1,253}$": "a host name or an address",
    r"^[a-z][a-z0-9_]{0,47}$": "a lower-case word such as scanner",
    get_args(PortName)[1].metadata[0].pattern: "a path such as /dev/ttyUSB0, or tcp://host:port",
}
"""What each pattern, and a type that is not named as people name it, means in words."""


def _pattern(detail: ErrorDetails) -> str:
    return str(detail.get("ctx", {}).get("pattern", ""))


def _header(location: tuple[int | str, ...]) -> str:
    """`[broker]`, or `[[printer]]` for one of many."""
    return f"[[{location[0]}]]" if isinstance(location[-1], int) else f"[{location[0]}]"


def _dotted(location: tuple[int | str, ...]) -> str:
    """`printer[0].port`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"text {value[:60]!r}"
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    return str(value).lower()[:60] if isinstance(value, bool) else str(value)[:60]


def _known_keys(location: tuple[int | str, ...]) -> str:
    """Name the nearest known key of the table that an unknown one stands in, or all of them."""
    table: type[BaseModel] = AgentConfig
    for part in location[:-1]:
        if isinstance(part, str) and part in _TABLES:
            table = _TABLES[part]
    known = list(table.model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"perhaps {near[0]}" if near else f"one of {', '.join(known)}"


_TABLES: dict[str, type[BaseModel]] = {
    "broker": BrokerConfig,
    "printer": PrinterConfig,
    "usb_device": UsbDeviceConfig,
    "network": NetworkConfig,
    "acquirer": AcquirerConfig,
    "machine": MachineConfig,
}
