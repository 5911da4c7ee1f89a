"""One EmbedStream call, of raw messages.

grpc.aio and the streams of grpc each wake several threads for every message, which for messages of some tens of kilobytes
takes longer than the message. QueueCall works straight on gRPC's completion queue: one thread does all that gRPC asks
for, and the event loop is woken once for all that has come since it last looked. It uses what the grpc package is itself
built on and does not promise to keep; where a grpc is made otherwise, PublicCall does the same in three times the CPU.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import grpc

from vitower.errors import CallStatus


class StreamCall:
    """A call that is under way. Made and used on one event loop, whose thread it never blocks; ends when the server ends
    it or after `cancel`. How much is sent and received ahead is bounded by the caller only."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._messages: deque[bytes] = deque()
        self._status: CallStatus | None = None
        self._told = False  # the loop knows that something has come
        self._over = asyncio.Event()

    def send(self, messages: Iterator[bytes]) -> None:
        """Sends them one after the other, behind what is being sent; each is asked for when its turn comes, on whatever
        thread. Lost where the call has ended."""
        raise NotImplementedError

    def done_writing(self) -> None:
        """Half-closes the call once all is sent."""
        raise NotImplementedError

    def cancel(self) -> None:
        raise NotImplementedError

    async def receive(self) -> tuple[list[bytes], CallStatus | None]:
        """Waits for messages; with the last of them, if any, comes how the call ended."""
        await self._ready.wait()
        self._ready.clear()
        self._told = False  # first: what comes from now on tells again
        status = self._status
        count = len(self._messages)
        return [self._messages.popleft() for _ in range(count)], status

    async def over(self) -> None:
        """Waits until the call has ended and its thread needs nothing more of it; soon after cancel."""
        await self._over.wait()

    def _received(self, message: bytes) -> None:
        self._messages.append(message)
        self._tell()

    def _ended(self, status: CallStatus) -> None:
        self._status = status
        self._tell()
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._over.set)

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._ready.set)


class QueueCall(StreamCall):
    """AttributeError, ImportError or TypeError where this grpc is made otherwise."""

    def __init__(self, channel: grpc.Channel, method: str, timeout: float | None,
                 metadata: list[tuple[str, str]]) -> None:
        from grpc._cython import cygrpc

        super().__init__()
        self._grpc = cygrpc
        self._lock = threading.Lock()
        # Under _lock.
        self._outbox: deque[Iterator[bytes]] = deque()
        self._writing = False  # a thread is in _write, or gRPC has a message
        self._closing = False
        operations = (((cygrpc.SendInitialMetadataOperation(tuple(metadata), 0),
                        cygrpc.ReceiveStatusOnClientOperation(0)), "status"),
                      ((cygrpc.ReceiveInitialMetadataOperation(0),), "metadata"), ((cygrpc.ReceiveMessageOperation(0),), "read"))
        self._due = len(operations)  # that gRPC has not finished; the status is the last or nearly so
        deadline = None if timeout is None else time.time() + timeout
        self._call = channel._channel.segregated_call(cygrpc.PropagationConstants.GRPC_PROPAGATE_DEFAULTS,
                                                      method.encode(), None, deadline, tuple(metadata), None, operations)
        threading.Thread(target=self._main, name="vitower-stream", daemon=True).start()

    def send(self, messages: Iterator[bytes]) -> None:
        with self._lock:
            self._outbox.append(messages)
        self._write(again=False)

    def done_writing(self) -> None:
        with self._lock:
            self._closing = True
        self._write(again=False)

    def cancel(self) -> None:
        self._call.cancel(grpc.StatusCode.CANCELLED.value[0], "the client cancelled the stream")

    def _main(self) -> None:
        """Sees every operation through, also once the call has ended: with the last one gRPC lets go of it."""
        status = CallStatus("INTERNAL", "gRPC's queue broke off")
        try:
            while self._due:
                event = self._call.next_event()
                if event.tag == "read":
                    self._take(event.batch_operations[0].message())
                elif event.tag == "status":
                    end = event.batch_operations[1]
                    status = CallStatus.of(end.code(), end.details(), end.trailing_metadata())
                elif event.tag == "write" and event.success:
                    self._write(again=True)
                with self._lock:
                    self._due -= 1
        finally:
            self._ended(status)

    def _take(self, message: bytes | None) -> None:
        if message is None:
            return
        with self._lock:
            self._start(self._grpc.ReceiveMessageOperation(0), "read")
        self._received(message)

    def _write(self, again: bool) -> None:
        """Gives gRPC the next message, unless it has one; `again`: the one that it had is sent."""
        with self._lock:
            if self._writing and not again:
                return
            self._writing = True
        while True:
            with self._lock:
                messages = self._outbox[0] if self._outbox else None
                if messages is None:
                    self._writing = self._closing and self._start(self._grpc.SendCloseFromClientOperation(0), "close")
                    return
            message = next(messages, None)
            with self._lock:
                if message is not None:
                    self._start(self._grpc.SendMessageOperation(message, 0), "write")
                    return
                self._outbox.popleft()

    def _start(self, operation: Any, tag: str) -> bool:
        """Under _lock. False once the call has ended. An operation holds what gRPC works on: never the same one twice."""
        started = bool(self._call.operate((operation,), tag))
        self._due += started
        return started


class PublicCall(StreamCall):
    """By the public interface of grpc alone."""

    def __init__(self, channel: grpc.Channel, method: str, timeout: float | None,
                 metadata: list[tuple[str, str]]) -> None:
        super().__init__()
        self._outbox: queue.SimpleQueue[Iterator[bytes] | None] = queue.SimpleQueue()
        self._call = channel.stream_stream(method)(self._requests(), timeout=timeout, metadata=metadata)
        threading.Thread(target=self._main, name="vitower-stream", daemon=True).start()

    def send(self, messages: Iterator[bytes]) -> None:
        self._outbox.put(messages)

    def done_writing(self) -> None:
        self._outbox.put(None)

    def cancel(self) -> None:
        self._call.cancel()

    def _requests(self) -> Iterator[bytes]:
        while (messages := self._outbox.get()) is not None:
            yield from messages

    def _main(self) -> None:
        try:
            for message in self._call:
                self._received(message)
        except grpc.RpcError:
            pass
        finally:
            self._outbox.put(None)  # lets the thread end that waits in _requests
            self._ended(CallStatus.of(self._call.code().value[0], self._call.details(),
                                      self._call.trailing_metadata()))


def open_call(channel: grpc.Channel, method: str, timeout: float | None, metadata: list[tuple[str, str]]) -> StreamCall:
    """A new call of raw messages in both directions."""
    try:
        return QueueCall(channel, method, timeout, metadata)
    except (AttributeError, ImportError, TypeError):
        return PublicCall(channel, method, timeout, metadata)
