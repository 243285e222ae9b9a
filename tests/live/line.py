"""The line between terminals and their collector, as TCP that can be cut: on loopback nothing breaks by itself.

Each `Line` is one site's: it may lead to several places, and is cut for all of them at once. A cut is of either kind
that sites know: the connections end (a router restarts), or they stay and carry nothing (a modem lost its cell), until
the line is mended. What is carried is counted, bytes towards the terminal.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from enum import Enum
from typing import Final, Self

from tests.live.mosquitto import LOOPBACK

PIECE_BYTES: Final = 64 * 1024
"""Held on the way, too: loopback would hold megabytes, which no terminal asked for and a cut throws away."""

END_S: Final = 30.0


class Cut(Enum):
    """How a line is cut."""

    ENDED = "ended"
    """Connections are reset, others refused."""
    DEAD = "dead"
    """Connections are open, and nothing comes through."""


class Exchange:
    """Holds all lines; one thread carries for all of them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lines")
        self._lines: list[Line] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(END_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def line(self) -> "Line":
        """Return another line, which leads nowhere yet."""
        line = Line(self._loop)
        self._lines.append(line)
        return line

    async def _end(self) -> None:
        for line in self._lines:
            line.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Line:
    """One site's line."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.carried_bytes = 0
        self._loop = loop
        self._cut: Cut | None = None
        self._mended = asyncio.Event()
        self._mended.set()
        self._doors: list[asyncio.Server] = []
        self._open: set[asyncio.StreamWriter] = set()

    def to(self, port: int) -> int:
        """Lead to a port of loopback; returns the one to connect to."""
        return asyncio.run_coroutine_threadsafe(self._lead(port), self._loop).result(END_S)

    def cut(self, how: Cut) -> None:
        """Cut it until `mend`."""
        self._loop.call_soon_threadsafe(self._set, how)

    def mend(self) -> None:
        """Let it carry again; what was open is gone."""
        self._loop.call_soon_threadsafe(self._set, None)

    def close(self) -> None:
        """End it, within the loop."""
        for door in self._doors:
            door.close()
        self._reset()

    def _set(self, how: Cut | None) -> None:
        self._cut = how
        if how is Cut.DEAD:
            self._mended.clear()
            return
        self._reset()
        self._mended.set()

    def _reset(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _lead(self, port: int) -> int:
        door = await asyncio.start_server(lambda *ends: self._carry(port, *ends), LOOPBACK, limit=PIECE_BYTES)
        self._doors.append(door)
        taken: int = door.sockets[0].getsockname()[1]
        return taken

    async def _carry(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE_BYTES)
        try:
            await self._mended.wait()
            if self._cut or writer.transport.is_closing():
                return
            there, back = await asyncio.open_connection(LOOPBACK, port, limit=PIECE_BYTES)
            self._open.add(back)
            try:
                await asyncio.gather(self._pass(reader, back), self._pass(there, writer, counted=True))
            finally:
                self._open.discard(back)
                back.transport.abort()
        except OSError:
            """Nobody is there, or somebody has gone."""
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool = False) -> None:
        while piece := await source.read(PIECE_BYTES):
            await self._mended.wait()
            sink.write(piece)
            await sink.drain()
            if counted:
                self.carried_bytes += len(piece)
        with suppress(OSError):
            sink.write_eof()
