"""The device's side of each protocol, written from the manuals; nothing here has seen an agent's driver.

A device is pure: bytes in, bytes out, and faults that are set and cleared. What carries the bytes is in `ports`.
"""

from typing import Protocol


class Device(Protocol):
    """What a port can serve."""

    @property
    def faults(self) -> frozenset[str]:
        """The faults that are set now."""

    @property
    def unplugged(self) -> bool:
        """Whether its cable is pulled: then the port is gone, not only silent."""

    @property
    def answer_delay_s(self) -> float:
        """How long an answer takes from the request's last byte."""

    def receive(self, data: bytes) -> bytes:
        """Take what a host sent, in pieces of any size; return what the device answers."""

    def set(self, fault: str) -> bytes:
        """Let a fault begin; return what the device sends unasked. Raises `FaultUnknown`."""

    def clear(self, fault: str) -> bytes:
        """Let a fault end; return what the device sends unasked. Raises `FaultUnknown`."""

    def describe(self) -> str:
        """Say in one line, for people, what state the device is in."""
