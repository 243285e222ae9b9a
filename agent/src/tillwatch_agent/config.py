"""The agent's settings: one TOML file, read once, frozen.

Unknown keys are refused: a misspelt one would silently watch nothing. All problems are told at once, each with its key,
what was expected and what came; the value of an unknown key is not repeated, since it may be a password in the wrong
place. Secrets stand in files of their own, named here. Relative paths start at the file's own folder.
"""

import itertools
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails

from tillwatch_agent.config_values import (
    EXPECTED,
    AddressAndPort,
    Arguments,
    DevicePortName,
    FilePath,
    HookS,
    HostName,
    Name,
    PollS,
    PortName,
    Socket,
    TcpPortNumber,
    Url,
    UsbId,
    shown,
)
from tillwatch_agent.errors import OperatorError
from tillwatch_agent.plugging import UsbIds, Wanted, are_told_apart
from tillwatch_protocol.release import InstallerKind
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
WAN_TARGETS_MAX = 4
"""Two that are independent are enough; more may be named for shops on several lines."""
PRODUCTS_MAX = 8
"""The till's software, its settings, the agent, and some."""
SHARED_PROTOCOL = "escpos"
"""Whose commands we know the lengths of, so that nothing is asked within one."""
AGENT_CONFIRM_S_MAX = 1500.0
"""An agent on trial is ended by its launcher after the 1800 s of its unit, unless it has kept itself by then."""


class ConfigError(OperatorError):
    """The file cannot be used; the message names every problem: key, what was expected, what came."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)
    """`defer_build`: a table is validated within its file alone, and needs no validator of its own in memory."""


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


class LineConfig(_Table):
    """What every device that is spoken to has: a name, the protocol, and the way to it."""

    KIND: ClassVar[str]
    name: Name
    protocol: Code
    port: DevicePortName
    baud_rate: Annotated[int, Field(ge=1200, le=921_600)] = 9600
    parity: Annotated[Parity, Field(strict=False)] = Parity.NONE
    stop_bits: Annotated[int, Field(ge=1, le=2)] = 1
    poll_s: PollS = 5.0
    vendor_id: UsbId | None = None
    product_id: UsbId | None = None
    socket: Socket | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    """The driver's own, which it checks itself."""

    @model_validator(mode="after")
    def _ids_are_of_a_node(self) -> Self:
        if (self.vendor_id is None) != (self.product_id is None):
            raise ValueError("expected vendor_id and product_id together, got one of them")
        if self.vendor_id and not self.port.startswith("/"):
            raise ValueError("expected no vendor_id: a network port has no USB device")
        if self.socket and not self.vendor_id:
            raise ValueError("expected vendor_id and product_id beside socket")
        return self

    @property
    def usb_ids(self) -> UsbIds | None:
        """The ids that the device's node must have, if any are configured."""
        if self.vendor_id is None or self.product_id is None:
            return None
        return UsbIds(vendor_id=self.vendor_id, product_id=self.product_id)

    @property
    def wanted(self) -> Wanted | None:
        """The USB device that its node must belong to, if any is configured."""
        return Wanted(component=self.components[0], ids=self.usb_ids, socket=self.socket) if self.usb_ids else None

    @property
    def component_kind(self) -> str:
        """What its component is."""
        return self.KIND

    @property
    def components(self) -> tuple[str, ...]:
        """The names of what this table has watched."""
        return (f"{self.component_kind}:{self.name}",)

    @property
    def driver_settings(self) -> dict[str, Any]:
        """All that the driver is told beside the name."""
        return self.settings


class PrinterConfig(LineConfig):
    """[[printer]]: one printer, and the cash drawer at it where `drawer_open_level` is given."""

    KIND = Kind.POS_PRINTER
    protocol: Code = "escpos"
    port: PortName
    drawer_open_level: Annotated[DrawerLevel, Field(strict=False)] | None = None
    model: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    share: FilePath | None = None
    """The path that the till's software opens in place of the port."""
    share_group: Name | None = None
    """Who may open it, where that is not the port's own group."""

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        if self.share is None and self.share_group is not None:
            raise ValueError("expected share beside share_group")
        if self.share is not None and self.protocol != SHARED_PROTOCOL:
            raise ValueError(f"expected protocol = {SHARED_PROTOCOL!r} beside share: no other is known well enough")
        if self.share is not None and not self.port.startswith("/") and self.share_group is None:
            raise ValueError("expected share_group beside share: a network port has no group of its own")
        if self.share is not None and self.share == Path(self.port):
            raise ValueError("expected a share that is not the port itself: the till's software opens it instead")
        return self

    @property
    def components(self) -> tuple[str, ...]:
        """The printer, and the drawer at it."""
        drawer = (f"{Kind.CASH_DRAWER}:{self.name}",) if self.drawer_open_level else ()
        return (*super().components, *drawer)

    @property
    def driver_settings(self) -> dict[str, Any]:
        """The drawer's level and the model, beside the driver's own."""
        level = self.drawer_open_level and self.drawer_open_level.value
        own = {"drawer_open_level": level, "model": self.model}
        return {key: value for key, value in own.items() if value is not None} | self.settings


class ModemConfig(LineConfig):
    """[modem]: the cellular modem of the uplink."""

    KIND = Kind.MODEM
    name: Name = "0"
    protocol: Code = "at"
    port: PortName
    baud_rate: Annotated[int, Field(ge=1200, le=921_600)] = 115_200
    poll_s: PollS = 60.0


class PaymentDeviceConfig(LineConfig):
    """[[payment_device]]: one payment device at the till, that runs no agent of its own."""

    KIND = Kind.PIN_PAD
    stop_bits: Annotated[int, Field(ge=1, le=2)] = 2
    poll_s: PollS = 60.0
    ca_file: FilePath | None = None
    server_name: HostName | None = None
    password_file: FilePath | None = None


class DeviceConfig(LineConfig):
    """[[device]]: one device of any other kind, by a driver that some package brought."""

    kind: Code

    @property
    def component_kind(self) -> str:
        """The configured kind."""
        return self.kind


class UsbDeviceConfig(_Table):
    """[[usb_device]]: one USB device whose presence is watched."""

    name: Name
    kind: Code = Kind.USB_DEVICE
    vendor_id: UsbId
    product_id: UsbId
    serial_number: Annotated[str, Field(min_length=1, max_length=126)] | None = None
    socket: Socket | None = None
    poll_s: PollS = 10.0

    @property
    def usb_ids(self) -> UsbIds:
        """What it is known by."""
        return UsbIds(vendor_id=self.vendor_id, product_id=self.product_id, serial_number=self.serial_number)

    @property
    def wanted(self) -> Wanted:
        """What is looked for."""
        return Wanted(component=self.component, ids=self.usb_ids, socket=self.socket)

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
    wan_targets: Annotated[tuple[AddressAndPort, ...], Field(strict=False, max_length=WAN_TARGETS_MAX)] = ()
    portal_url: Annotated[Url, Field(pattern=r"^http://")] | None = None
    portal_says: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    time_server: HostName | None = None

    @model_validator(mode="after")
    def _portal_is_asked(self) -> Self:
        if self.portal_says and not self.portal_url:
            raise ValueError("expected portal_url beside portal_says")
        return self


class AcquirerConfig(_Table):
    """[[acquirer]]: one payment host that must be reachable."""

    name: Name
    host: HostName
    port: TcpPortNumber
    tls: bool = True
    ca_file: FilePath | None = None
    reply_path: Annotated[str, Field(max_length=256, pattern=r"^/[!-~]*$")] | None = None

    @property
    def component(self) -> str:
        """The name of what this table has watched."""
        return f"{Kind.ACQUIRER}:{self.name}"


class MachineConfig(_Table):
    """[machine]: the computer beside the till."""

    enabled: bool = True
    poll_s: PollS = 30.0
    disk_path: FilePath = Path("/")


class ProductConfig(_Table):
    """[[update.products]]: one product that releases are made of, and how it is switched on this machine."""

    name: Code
    installer: Annotated[InstallerKind, Field(strict=False)]
    folder: FilePath
    restart: Arguments = ()
    restart_s: HookS = 60.0
    health: Arguments = ()
    health_s: HookS = 20.0
    guard_lock: FilePath | None = None
    guard_command: Arguments = ()
    guard_s: HookS = 10.0
    unguarded: bool = False
    busy_s_max: Annotated[float, Field(ge=60, le=30 * 86_400)] = 86_400.0
    start_s: Annotated[float, Field(ge=5, le=3600)] = 120.0
    confirm_s: Annotated[float, Field(ge=5, le=86_400)] = 900.0
    heartbeats: Annotated[int, Field(ge=1, le=100)] = 3

    @model_validator(mode="after")
    def _switchable(self) -> Self:
        guards = [bool(self.guard_lock), bool(self.guard_command), self.unguarded]
        if self.installer is InstallerKind.AGENT:
            if any(guards) or self.restart or self.health:
                raise ValueError("expected no guard, restart or health of the agent: it is its own")
            if self.confirm_s > AGENT_CONFIRM_S_MAX:
                raise ValueError(f"expected confirm_s of the agent of at most {AGENT_CONFIRM_S_MAX:g}")
        elif sum(guards) != 1:
            raise ValueError("expected one of guard_lock, guard_command, unguarded = true")
        if self.installer is InstallerKind.BUNDLE and not self.restart:
            raise ValueError("expected restart: the command by which the till's software starts anew")
        return self

    @property
    def component(self) -> str:
        """The name of what runs."""
        return f"{Kind.APPLICATION}:{self.name}"


class UpdateConfig(_Table):
    """[update]: where releases come from, and what they may be of; none are taken where no product is named."""

    metadata_url: Url | None = None
    targets_url: Url | None = None
    trusted_root: FilePath | None = None
    ca_file: FilePath | None = None
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$")] | None = None
    bytes_per_s_max: Annotated[int, Field(ge=1024, le=10**9)] | None = None
    spread_s: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    download_s: Annotated[int, Field(ge=60, le=7 * 86_400)] = 86_400
    products: Annotated[tuple[ProductConfig, ...], Field(strict=False, max_length=PRODUCTS_MAX)] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = {"metadata_url": self.metadata_url, "targets_url": self.targets_url, "trusted_root": self.trusted_root}
        if self.products and (lacking := [name for name, value in needed.items() if value is None]):
            raise ValueError(f"expected {', '.join(lacking)} beside products")
        for what in ("name", "folder"):
            values = [getattr(product, what) for product in self.products]
            if len(set(values)) != len(values):
                raise ValueError(f"expected each product's {what} once")
        if sum(product.installer is InstallerKind.AGENT for product in self.products) > 1:
            raise ValueError("expected one product of installer agent at most")
        return self


def _empty() -> Any:
    """Give a table that is not there: it is read as if its header stood there alone."""
    return {}


class AgentConfig(_Table):
    """The whole file."""

    terminal_id: TerminalId
    interval_s: IntervalS = 60
    state_dir: FilePath = Path("/var/lib/tillwatch-agent")
    broker: BrokerConfig = Field(default_factory=_empty, validate_default=True)
    printer: Annotated[tuple[PrinterConfig, ...], Field(strict=False)] = ()
    modem: ModemConfig | None = None
    payment_device: Annotated[tuple[PaymentDeviceConfig, ...], Field(strict=False)] = ()
    device: Annotated[tuple[DeviceConfig, ...], Field(strict=False)] = ()
    usb_device: Annotated[tuple[UsbDeviceConfig, ...], Field(strict=False)] = ()
    network: NetworkConfig = Field(default_factory=_empty, validate_default=True)
    acquirer: Annotated[tuple[AcquirerConfig, ...], Field(strict=False, max_length=ACQUIRERS_MAX)] = ()
    machine: MachineConfig = Field(default_factory=_empty, validate_default=True)
    update: UpdateConfig = Field(default_factory=_empty, validate_default=True)

    OWN_COMPONENTS: ClassVar[int] = 3
    """machine:self, machine:clock, network:uplink."""

    @property
    def lines(self) -> tuple[LineConfig, ...]:
        """Every device that is spoken to."""
        modems = (self.modem,) if self.modem else ()
        return (*self.printer, *modems, *self.payment_device, *self.device)

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """Every USB device that is named by its ids."""
        lines = (wanted for line in self.lines if (wanted := line.wanted))
        return (*lines, *(device.wanted for device in self.usb_device))

    @property
    def components(self) -> tuple[str, ...]:
        """The names of all that probes are to look at."""
        network = (NETWORK_UPLINK,) if self.network.enabled else ()
        machine = (MACHINE_SELF,) if self.machine.enabled else ()
        return (*self._named, *network, *machine)

    @property
    def _named(self) -> tuple[str, ...]:
        lines = (component for line in self.lines for component in line.components)
        devices = (device.component for device in self.usb_device)
        products = (product.component for product in self.update.products)
        return (*lines, *devices, *(acquirer.component for acquirer in self.acquirer), *products)

    @model_validator(mode="after")
    def _components_differ(self) -> Self:
        names = self._named
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected each component once, got {', '.join(twice)} more than once")
        if alike := _alike(self.usb_device):
            raise ValueError(
                f"expected serial_number or socket of each of {alike}, which are of the same ids: nothing else tells "
                "them apart"
            )
        if len(names) > COMPONENTS_MAX - self.OWN_COMPONENTS:
            raise ValueError(f"expected at most {COMPONENTS_MAX - self.OWN_COMPONENTS} components, got {len(names)}")
        if self.acquirer and not self.network.enabled:
            raise ValueError("expected network.enabled = true, since acquirers are reached by the network's probe")
        return self

    @model_validator(mode="after")
    def _shares_differ(self) -> Self:
        shares = [printer.share for printer in self.printer if printer.share is not None]
        if len(set(shares)) < len(shares):
            raise ValueError("expected each printer's share once")
        return self

    @model_validator(mode="after")
    def _products_have_time(self) -> Self:
        for product in self.update.products:
            needed_s = (product.heartbeats + 1) * self.interval_s
            if product.confirm_s < needed_s:
                said = f"{needed_s} for {product.heartbeats} heartbeats"
                raise ValueError(f"expected update.products.{product.name}.confirm_s of at least {said}")
        return self


def _alike(devices: tuple[UsbDeviceConfig, ...]) -> str:
    """Name two devices that one attached device could both be; empty where there are none."""
    pairs = itertools.combinations(devices, 2)
    found = next((pair for pair in pairs if not are_told_apart(pair[0].wanted, pair[1].wanted)), ())
    return " and ".join(device.component for device in found)


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
        # An adapter of its own: what validates is large, and a file is read once.
        return TypeAdapter(AgentConfig).validate_python(document, context={"base": base})
    except ValidationError as error:
        # A default that depends on what is wrong is no problem of its own.
        details = (one for one in error.errors(include_url=False) if one["type"] != "default_factory_not_called")
        problems = [_said(detail) for detail in details]
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
    if detail["type"] == "string_too_long":
        return f"{key}: expected {detail['ctx']['max_length']} characters at most, got {len(detail['input'])}"
    if detail["type"] == "model_type":
        return f"{key}: expected a table {_header(detail['loc'])}, got {shown(detail['input'])}"
    expected = EXPECTED.get(_pattern(detail) or detail["type"], detail["msg"].removeprefix("Input should be "))
    return f"{key}: expected {expected[:1].lower()}{expected[1:]}, got {shown(detail['input'])}"


def _pattern(detail: ErrorDetails) -> str:
    return str(detail.get("ctx", {}).get("pattern", ""))


def _header(location: tuple[int | str, ...]) -> str:
    """`[broker]`, or `[[printer]]` for one of many."""
    name = ".".join(part for part in location if isinstance(part, str))
    return f"[[{name}]]" if isinstance(location[-1], int) else f"[{name}]"


def _dotted(location: tuple[int | str, ...]) -> str:
    """`printer[0].port`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def _known_keys(location: tuple[int | str, ...]) -> str:
    """Name the nearest known key of the table that an unknown one stands in, or all of them."""
    table: type[BaseModel] = AgentConfig
    for part in location[:-1]:
        if isinstance(part, str) and part in _TABLES:
            table = _TABLES[part]
    import difflib  # noqa: PLC0415 - for a mistake's advice alone

    known = list(table.model_fields)
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"perhaps {near[0]}" if near else f"one of {', '.join(known)}"


_TABLES: dict[str, type[BaseModel]] = {
    "broker": BrokerConfig,
    "printer": PrinterConfig,
    "modem": ModemConfig,
    "payment_device": PaymentDeviceConfig,
    "device": DeviceConfig,
    "usb_device": UsbDeviceConfig,
    "network": NetworkConfig,
    "acquirer": AcquirerConfig,
    "machine": MachineConfig,
    "update": UpdateConfig,
    "products": ProductConfig,
}
