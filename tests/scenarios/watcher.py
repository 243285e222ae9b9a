"""What can be watched in a world, and how a broken rule is told."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.scenarios.broker import Packet
from tests.scenarios.model import Look

from tillwatch_collector.flows.ingest import Delivery
from tillwatch_collector.flows.judge import JudgeEffects

if TYPE_CHECKING:
    from tests.scenarios.terminal import Terminal


class RuleBroken(AssertionError):  # noqa: N818 - what happened, not an error of the program that says so
    """A rule does not hold in this world."""


class Watcher:
    """Sees everything, changes nothing."""

    def looked(self, terminal: "Terminal", looks: Sequence[Look]) -> None:
        """The agent is about to be told what its probes saw."""

    def sending(self, terminal: "Terminal", packet: Packet) -> None:
        """The agent wants this sent, connected or not."""

    def handled(self, terminal: "Terminal") -> None:
        """The core took an input and its effects are carried out."""

    def ingested(self, batch: Sequence[Delivery]) -> None:
        """A batch was committed."""

    def acknowledging(self, packet: Packet) -> None:
        """An acknowledgement is about to leave."""

    def judged(self, effects: JudgeEffects) -> None:
        """A tick was committed."""

    def finish(self) -> None:
        """The world came to its end."""


class Watchers(Watcher):
    """Several as one, in their order."""

    def __init__(self, *watchers: Watcher) -> None:
        self.each = list(watchers)

    def looked(self, terminal: "Terminal", looks: Sequence[Look]) -> None:
        """Tell each."""
        for watcher in self.each:
            watcher.looked(terminal, looks)

    def sending(self, terminal: "Terminal", packet: Packet) -> None:
        """Tell each."""
        for watcher in self.each:
            watcher.sending(terminal, packet)

    def handled(self, terminal: "Terminal") -> None:
        """Tell each."""
        for watcher in self.each:
            watcher.handled(terminal)

    def ingested(self, batch: Sequence[Delivery]) -> None:
        """Tell each."""
        for watcher in self.each:
            watcher.ingested(batch)

    def acknowledging(self, packet: Packet) -> None:
        """Tell each."""
        for watcher in self.each:
            watcher.acknowledging(packet)

    def judged(self, effects: JudgeEffects) -> None:
        """Tell each."""
        for watcher in self.each:
            watcher.judged(effects)

    def finish(self) -> None:
        """Tell each."""
        for watcher in self.each:
            watcher.finish()
