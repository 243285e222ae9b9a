"""The owner of one publisher, as the runtime is one: it says and hears what a test wants."""

import threading
from typing import TypeVar

from tests.agent.conftest import WAIT_S

from tillwatch_agent.core import Connect, Connected, Effect, Input, Outgoing, Publish, Received, Subscribe
from tillwatch_agent.publisher import Broker, Loop, Publisher

I = TypeVar("I", bound=Input)  # noqa: E741 - one input


class Till:
    """The owner of one publisher."""

    def __init__(self, loop: Loop, name: str, broker: Broker) -> None:
        self.name = name
        self._happened = threading.Event()
        self.publisher = Publisher(loop, broker, name, self._happened.set)

    def do(self, *effects: Effect) -> None:
        for effect in effects:
            self.publisher.carry_out(effect)

    def connect(self) -> None:
        self.do(Connect(self.outgoing("will")))
        self.wait_for(Connected)

    def outgoing(self, text: str, *, qos: int = 1) -> Outgoing:
        return Outgoing(f"shop/{self.name}", text.encode(), qos, retain=False)

    def say(self, text: str, *, qos: int = 1) -> None:
        self.do(Publish(self.outgoing(text, qos=qos)))

    def listen(self, topic: str) -> None:
        """Subscribe, and wait until a message of our own proves it."""
        self.do(Subscribe((topic, f"shop/{self.name}")))
        self.say("listening")
        self.hear("listening")

    def hear(self, text: str) -> Received:
        """Wait for a message, passing over others."""
        while (received := self.wait_for(Received)).payload != text.encode():
            pass
        return received

    def wait_for(self, kind: type[I]) -> I:
        """Wait for the next input, which is of this kind."""
        while True:
            self._happened.clear()
            if (happened := next(self.publisher.take(), None)) is not None:
                assert isinstance(happened, kind), happened
                return happened
            assert self._happened.wait(WAIT_S), f"waited in vain for {kind.__name__}"
