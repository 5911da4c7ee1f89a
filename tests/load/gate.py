"""A gate between clients and a server that hurts their connections: a TCP proxy whose fault can be changed at any time."""

import asyncio
import contextlib
import socket
import struct
import threading

FAULTS = ("delay", "cut", "reset", "half-open", "slow-reader")
_CHUNK = 1 << 16
_LINGER_NONE = struct.pack("ii", 1, 0)  # close() sends RST


class Gate:
    """Listens on `port` of 127.0.0.1 and forwards to `target` ((host, port)). Faults, for all connections at once:

    delay: every chunk 20 ms late; cut: connections are closed after 256 KiB; reset: likewise, with RST; half-open:
    nothing is forwarded and nothing closed, and when the fault is over the connections that had it are reset;
    slow-reader: answers reach the client at 256 KiB a second. As a context it runs on a thread of its own.
    """

    def __init__(self, target):
        self.target, self.port, self.connections = target, 0, 0
        self._fault = None
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *ignored):
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def fault(self, name):
        """The fault holds until left."""
        assert name in FAULTS, name
        self._call(self._set(name))
        try:
            yield
        finally:
            self._call(self._set(None))

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _set(self, name):
        self._fault = name
        self._changed.set()  # whoever is held up looks again
        self._changed = asyncio.Event()

    async def _close(self):
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader, writer):
        self.connections += 1
        try:
            onward = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        both = [asyncio.create_task(self._forward(reader, onward[1], answers=False)),
                asyncio.create_task(self._forward(onward[0], writer, answers=True))]
        with contextlib.suppress(asyncio.CancelledError):  # the gate closes
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        for end in (writer, onward[1]):
            end.close()

    async def _forward(self, reader, writer, answers):
        """Until either side closes or a fault ends the connection."""
        since_fault = 0
        while chunk := await reader.read(_CHUNK):
            if self._fault == "half-open":
                await self._hold_up(writer)
                return
            if self._fault == "delay":
                await asyncio.sleep(0.02)
            if self._fault == "slow-reader" and answers:
                await asyncio.sleep(len(chunk) / (256 << 10))
            since_fault = since_fault + len(chunk) if self._fault in ("cut", "reset") else 0
            writer.write(chunk)
            await writer.drain()
            if since_fault > 256 << 10:
                if self._fault == "reset":
                    self._reset(writer)
                return

    async def _hold_up(self, writer):
        while self._fault == "half-open":
            await self._changed.wait()
        self._reset(writer)

    @staticmethod
    def _reset(writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
