"""The values that stand in the agent's settings: what each may be, and how it is called where it is not. Pure."""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Final, get_args

from pydantic import BeforeValidator, Field, ValidationInfo

ARGUMENTS_MAX = 32
POLL_S_MIN, POLL_S_MAX = 0.5, 3600.0


def _path(value: Any, info: ValidationInfo) -> Any:
    base = (info.context or {}).get("base", Path())
    return base / Path(value).expanduser() if isinstance(value, str) and value else value


def _usb_id(value: Any) -> Any:
    """Take 0x04b8 as well as "04b8" and "0x04B8"."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFF:  # noqa: PLR2004 - 16 bits
        return f"{value:04x}"
    return value.lower().removeprefix("0x") if isinstance(value, str) else value


def _address_and_port(value: Any) -> Any:
    """Take 192.0.2.1:443 and [2001:db8::1]:443."""
    address, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    try:
        ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError("expected an address and a port, such as 192.0.2.1:443") from None
    if not (colon and port.isdecimal() and 1 <= int(port) <= 65_535):  # noqa: PLR2004 - 16 bits
        raise ValueError("expected a port from 1 to 65535 behind the address")
    return value


FilePath = Annotated[Path, BeforeValidator(_path), Field(strict=False)]
UsbId = Annotated[str, BeforeValidator(_usb_id), Field(pattern=r"^[0-9a-f]{4}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,48}$")]
HostName = Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]
TcpPortNumber = Annotated[int, Field(ge=1, le=65535)]
PollS = Annotated[float, Field(ge=POLL_S_MIN, le=POLL_S_MAX)]
HookS = Annotated[float, Field(ge=1, le=600)]
Argument = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
Arguments = Annotated[tuple[Argument, ...], Field(strict=False, max_length=ARGUMENTS_MAX)]
"""A command as a list; no shell reads it."""
AddressAndPort = Annotated[str, BeforeValidator(_address_and_port)]
"""An address, not a name: what is asked far out must not depend on the name service."""
Socket = Annotated[str, Field(pattern=r"^[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}$")]
"""Where a USB device sits, as sysfs names it: the bus, and the ports from hub to hub (USB has five hubs in a row)."""
Url = Annotated[str, Field(max_length=508, pattern=r"^https?://[^\s?#]+$")]
"""Length is not the pattern's: one that counts characters of all scripts takes half a megabyte wherever it is used."""
PortName = Annotated[
    str, Field(max_length=300, pattern=r"^(/\S+|tcp://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5})$")
]
DevicePortName = Annotated[
    str,
    Field(max_length=500, pattern=r"^(/\S+|(tcp|https)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}(/[!-~]*)?)$"),
]


EXPECTED: Final = {
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
    r"^[A-Za-z0-9._:-]+$": "a host name or an address",
    r"^[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}$": "a socket such as 1-1.4, as lsusb -t or doctor has it",
    r"^[a-z][a-z0-9_]{0,47}$": "a lower-case word such as scanner",
    r"^https?://[^\s?#]+$": "a URL such as https://collector.example.org/tuf/metadata",
    get_args(PortName)[1].metadata[-1].pattern: "a path such as /dev/ttyUSB0, or tcp://host:port",
    get_args(DevicePortName)[1]
    .metadata[-1]
    .pattern: "a path such as /dev/ttyUSB0, tcp://host:port, or https://host:port",
}
"""What each pattern, and a type that is not named as people name it, means in words."""


def shown(value: Any) -> str:
    """Show what came, as TOML calls it, and not all of it."""
    if isinstance(value, str):
        return f"text {value[:60]!r}"
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    return str(value).lower()[:60] if isinstance(value, bool) else str(value)[:60]
