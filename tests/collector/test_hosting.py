import asyncio
import socket

from tillwatch_collector import hosting
from tillwatch_collector.config import WebConfig


def test_an_answer_leaves_at_once_and_waits_for_no_acknowledgement() -> None:
    """Otherwise whatever is sent in two parts takes forty milliseconds longer, each page and each answer of the API."""

    async def accepted() -> int:
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def met(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            told.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with hosting.bound(WebConfig(port=0)) as listener:
            async with await asyncio.start_server(met, sock=listener):
                _, writer = await asyncio.open_connection(*listener.getsockname())
                delays_not = await told
                writer.close()
        return delays_not

    assert asyncio.run(accepted())
