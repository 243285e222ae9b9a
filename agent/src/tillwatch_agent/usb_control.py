"""Control transfers to a printer's node, /dev/usb/lp*, as the kernel's usblp makes them.

Two of them have an ioctl: GET_PORT_STATUS is LPGETSTATUS, GET_DEVICE_ID is LPIOC_GET_DEVICE_ID
(drivers/usb/class/usblp.c). usblp lets one in at a time, EBUSY else; a transfer that fails or that the printer leaves
unanswered for 5 s is EIO, which is silence; ENODEV is a cable that was pulled.

A change violates this when an ioctl that is not one of these two can be made.
"""

import array
import errno
import fcntl
from collections.abc import Callable, Container
from pathlib import Path
from typing import Final

from tillwatch_agent.drivers.usb_printer import DEVICE_ID, DEVICE_ID_BYTES_MAX, PORT_STATUS
from tillwatch_agent.ports import PortLost, UsbPrinterPort

LPGETSTATUS: Final = 0x060B
"""linux/lp.h."""
LPIOC_GET_DEVICE_ID: Final = 2 << 30 | DEVICE_ID_BYTES_MAX << 16 | ord("P") << 8 | 1
"""_IOC(_IOC_READ, 'P', 1, bytes)."""

_TRANSFERS: Final = {PORT_STATUS: (LPGETSTATUS, 4), DEVICE_ID: (LPIOC_GET_DEVICE_ID, DEVICE_ID_BYTES_MAX)}
"""The ioctl of a SETUP packet, and the bytes that it fills: a C int for the status."""

Ioctl = Callable[[int, int, "array.array[int]"], int]


class UsbControlPort(UsbPrinterPort):
    """The same node as a printer's data, for what its class tells beside them."""

    def __init__(
        self,
        *,
        name: str,
        allowed: Container[bytes],
        locate: Callable[[], Path],
        ioctl: Ioctl = fcntl.ioctl,
    ) -> None:
        super().__init__(name=name, allowed=allowed, locate=locate)
        self._ioctl = ioctl
        self._answer = b""

    def read(self, timeout_s: float) -> bytes:
        """Give what the last transfer brought, once."""
        del timeout_s
        answer, self._answer = self._answer, b""
        return answer

    def drain(self, late_s: float = 0.0) -> int:
        """Nothing is owed: a transfer has its own answer."""
        del late_s
        return len(self.read(0.0))

    def _send(self, data: bytes) -> None:
        number, length = _TRANSFERS[data]
        buffer = array.array("B", bytes(length))
        try:
            self._ioctl(self._fileno(), number, buffer)
        except OSError as error:
            if error.errno != errno.EIO:
                raise PortLost(f"{self.name}: {error.strerror}") from error
            return
        filled = buffer.tobytes()
        is_status = data == PORT_STATUS
        self._answer = filled[:1] if is_status else filled[: int.from_bytes(filled[:2], "big")]
