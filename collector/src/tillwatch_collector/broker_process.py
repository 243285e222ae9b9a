"""The embedded broker's own process, `python -m tillwatch_collector.broker_process`: the one file that imports amqtt.

One line of JSON comes on standard input (host, port, process, passwords), one goes to standard output (`{"port": N}`
once it accepts, or `{"error": ...}`); it ends when standard input does.

The access list: a user is its client id. A terminal writes below its own `up/`, reads its own `dn/` and the
collector's state; the process writes and reads everything below the root. What amqtt does not ask a plugin about is
closed here: the topic of a last will, retained messages for a client that has only just connected, and the session of
a name that somebody merely claims.
"""

import asyncio
import hmac
import json
import logging
import os
import re
import sys
from dataclasses import dataclass
from typing import Any

from amqtt.adapters import ReaderAdapter, StreamReaderAdapter, StreamWriterAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext, BrokerConfig, ListenerConfig
from amqtt.errors import AMQTTError, BrokerError, MQTTError, NoDataError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from tillwatch_protocol.topics import ROOT

CONNECTIONS_MAX = 1500
"""amqtt looks at every filter for every message: beyond this a trial is slow, not instructive."""

PACKET_BYTES_MAX = 256 * 1024
"""The protocol's longest message fits many times; amqtt alone would hold whatever a client announces."""

_TERMINAL = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Who may connect, and who may write and read what."""

    process: str
    terminal_password: str
    process_password: str

    def admits(self, username: str | None, client_id: str | None, password: str | None) -> bool:
        """Whether these credentials connect; the client id must be the user's own."""
        if not username or username != client_id or password is None:
            return False
        if username == self.process:
            return hmac.compare_digest(password.encode(), self.process_password.encode())
        is_terminal = _TERMINAL.fullmatch(username) is not None
        return is_terminal and hmac.compare_digest(password.encode(), self.terminal_password.encode())

    def may_write(self, username: str, topic: str) -> bool:
        """Whether the user may publish there."""
        if username == self.process:
            return topic.startswith(f"{ROOT}/")
        return topic.startswith(f"{ROOT}/t/{username}/up/")

    def may_read(self, username: str, topic_filter: str) -> bool:
        """Whether the user may subscribe to this filter, or be handed a message of this topic."""
        if username == self.process:
            return topic_filter.startswith(f"{ROOT}/")
        own = topic_filter.startswith(f"{ROOT}/t/{username}/dn/")
        return own or re.fullmatch(rf"{ROOT}/c/[^/#]+/state", topic_filter) is not None


class _Plugin:
    """What both plugins are configured with."""

    @dataclass
    class Config:
        """As amqtt fills it from the broker's configuration."""

        process: str
        terminal_password: str
        process_password: str

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)  # type: ignore[call-arg]  # amqtt's class is next in the order, and takes it
        config: Any = context.config
        self._access = Access(
            process=config.process,
            terminal_password=config.terminal_password,
            process_password=config.process_password,
        )


class AuthPlugin(_Plugin, BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Admits users by password, and their last wills by topic."""

    async def authenticate(self, *, session: Session) -> bool | None:
        """Say whether this session may connect."""
        if not self._access.admits(session.username, session.client_id, session.password):
            return False
        return not session.will_flag or self._access.may_write(session.username or "", session.will_topic or "")


class TopicPlugin(_Plugin, BaseTopicPlugin):  # type: ignore[misc]  # amqtt has no types
    """Applies the access list."""

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        """Say whether this session may do this with this topic."""
        username = (session.username if session else None) or ""
        if action == Action.PUBLISH:
            return self._access.may_write(username, topic or "")
        return self._access.may_read(username, topic or "")


class _PacketTooLong(AMQTTError):  # type: ignore[misc]  # noqa: N818 - amqtt has no types; it names what is so
    """A client announced more than it may send; amqtt closes its connection."""


class _BoundedReader(StreamReaderAdapter):  # type: ignore[misc]  # amqtt has no types
    """Reads packets of a bounded size: amqtt asks for a message's whole payload at once."""

    async def read(self, n: int = -1) -> bytes:
        """Read exactly `n` bytes; raises `_PacketTooLong` rather than waiting for too many."""
        if n > PACKET_BYTES_MAX:
            raise _PacketTooLong(f"expected at most {PACKET_BYTES_MAX} bytes, got {n}")
        read: bytes = await super().read(n)
        return read


class _TrialBroker(Broker):  # type: ignore[misc]  # amqtt has no types
    """amqtt, where its ways would let one client harm another."""

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Take a connection, and bound what it sends."""
        await self._client_connected(listener_name, _BoundedReader(reader), StreamWriterAdapter(writer))

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, _remote_address: str, _remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        """Ask for the password first: amqtt would by then have taken away the session of the name that is claimed.

        Every session begins clean, since this broker keeps nothing.
        """
        try:
            handler, session = await BrokerProtocolHandler.init_from_connect(reader, writer, self.plugins_manager)
            await self._expect_admitted(session, writer)
        except (AMQTTError, MQTTError, NoDataError):
            await writer.close()
            raise
        await self._delete_session(session.client_id)
        session.clean_session = True
        session.parent = 0
        return handler, session

    async def _expect_admitted(self, session: Session, writer: WriterAdapter) -> None:
        if not await self._authenticate(session, self.listeners_config["default"]):
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
            raise MQTTError(f"{session.client_id} is not admitted")

    async def _handle_message_delivery(
        self, client_session: Session, handler: BrokerProtocolHandler, wait_deliver: asyncio.Future[Any]
    ) -> bool:
        """End the connection of a client that amqtt stops to serve: else it stands open, and nobody reads it."""
        if not await super()._handle_message_delivery(client_session, handler, wait_deliver):
            await handler.handle_connection_closed()
        return True

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Hand a new client the retained messages of its own subscriptions; amqtt takes everybody's."""
        if any(holder is session for holder, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)


async def serve(order: dict[str, Any]) -> int:
    """Run until standard input ends; the exit code.

    It then ends at once: it keeps nothing, and amqtt's own shutdown waits for clients that are gone.
    """
    try:
        broker = _TrialBroker(_configuration(order))
        await broker.start()
    except BrokerError as error:
        _answer({"error": str(error)})
        return 1
    _answer({"port": _port_of(broker)})
    await _end_of_input()
    os._exit(0)


def _configuration(order: dict[str, Any]) -> BrokerConfig:
    names = ("process", "terminal_password", "process_password")
    secrets = {name: order[name] for name in names}
    return BrokerConfig(
        listeners={"default": ListenerConfig(bind=f"{order['host']}:{order['port']}", max_connections=CONNECTIONS_MAX)},
        plugins={f"{__name__}.AuthPlugin": secrets, f"{__name__}.TopicPlugin": secrets},
    )


def _port_of(broker: Broker) -> int:
    server = broker._servers["default"].instance  # noqa: SLF001 - amqtt tells the port it was given nowhere else
    return int(server.sockets[0].getsockname()[1])


def _answer(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


async def _end_of_input() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass


def main() -> int:
    """Read the order and serve it."""
    # amqtt logs every coming and going, with tracebacks for what is ordinary; the collector tells what matters.
    for noisy in ("amqtt", "transitions", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL + 1)
    order = json.loads(sys.stdin.readline())
    return asyncio.run(serve(order))


if __name__ == "__main__":
    sys.exit(main())
