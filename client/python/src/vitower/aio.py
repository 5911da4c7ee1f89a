"""The asyncio client: `vitower.aio.Client`."""

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Literal, overload

from vitower.connection import Connection, Settings, Tls
from vitower.embedding import Embedding
from vitower.engine import Engine, Outcome
from vitower.errors import CallError, ItemError
from vitower.info import ModelInfo
from vitower.inputs import is_slow, kept
from vitower.options import Options
from vitower.retry import DEFAULT_RETRY, Retry
from vitower.run import Ended, Event, Failed, OnError, Preparer, Sequencer, as_item, check_on_error

Items = Iterable[Any] | AsyncIterable[Any]


class Client:
    """The same as vitower.Client, for one event loop: made and used inside it. Files are read and pictures
    converted in the loop's thread pool; arrays, tensors and buffers are copied on the loop, a millisecond for some megabytes."""

    def __init__(self, target: str, *, channels: int = 1, token: str | None = None, tls: Tls | bool | None = None,
                 timeout: float = 300.0, max_in_flight: int = 64, retry: Retry = DEFAULT_RETRY,
                 allow_plain_text_token: bool = False) -> None:
        self._settings = Settings(target, channels, token, tls, timeout, max_in_flight, retry,
                                  allow_plain_text_token)
        self._connection: Connection | None = None
        self._closed = False

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channels; runs that are under way fail. Idempotent."""
        self._closed = True
        if self._connection is not None:
            await self._connection.close()

    async def info(self) -> ModelInfo:
        """What the server serves, asked anew. CallError where it does not answer within the policy of `retry`."""
        return await self._connected().fetch_info()

    async def health(self) -> str:
        """The server's status: "SERVING", "NOT_SERVING", ... CallError where it cannot be reached; not tried again."""
        return await self._connected().health()

    @overload
    async def embed(self, images: Items, *, on_error: Literal["raise"] = "raise",
                    **options: Any) -> list[Embedding]: ...

    @overload
    async def embed(self, images: Items, *, on_error: Literal["return"],
                    **options: Any) -> list[Embedding | ItemError]: ...

    async def embed(self, images: Items, *, on_error: OnError = "raise", **options: Any) -> Any:
        """As vitower.Client.embed."""
        deadline = asyncio.get_running_loop().time() + self._settings.timeout
        return [outcome async for outcome in self._run(images, Options(**options), True, on_error, deadline)]

    @overload
    def embed_stream(self, items: Items, *, ordered: bool = False, on_error: Literal["raise"] = "raise",
                     **options: Any) -> AsyncIterator[Embedding]: ...

    @overload
    def embed_stream(self, items: Items, *, ordered: bool = False, on_error: Literal["return"],
                     **options: Any) -> AsyncIterator[Embedding | ItemError]: ...

    def embed_stream(self, items: Items, *, ordered: bool = False, on_error: OnError = "raise", **options: Any) -> Any:
        """As vitower.Client.embed_stream, of an iterable or an async iterable; yields to `async for`.

        A plain iterable is read on the loop: it must not block.
        """
        return self._run(items, Options(**options), ordered, on_error, None)

    def _run(self, items: Items, options: Options, ordered: bool, on_error: OnError,
             deadline: float | None) -> AsyncIterator[Outcome]:
        if isinstance(items, (str, bytes, os.PathLike)):
            raise TypeError(f"a list of items is needed, not one {type(items).__name__}")
        check_on_error(on_error)
        return self._outcomes(items, options, Sequencer(ordered, on_error), deadline)

    async def _outcomes(self, items: Items, options: Options, sequencer: Sequencer,
                        deadline: float | None) -> AsyncIterator[Outcome]:
        events: asyncio.Queue[Event] = asyncio.Queue()
        connection = self._connected()
        engine = Engine(connection, await connection.info(), lambda index, outcome: events.put_nowait((index, outcome)),
                        lambda error: events.put_nowait(Failed(error)), deadline)
        window = asyncio.Semaphore(self._settings.max_in_flight)
        feeder = asyncio.ensure_future(_feed(items, options, window, engine, events))
        try:
            while not sequencer.finished:
                for outcome in sequencer.outcomes(await events.get()):
                    window.release()
                    yield outcome
            await engine.finish()
        finally:
            feeder.cancel()
            await engine.close()

    def _connected(self) -> Connection:
        if self._closed:
            raise CallError("CANCELLED", "the client is closed")
        if self._connection is None:
            self._connection = Connection(self._settings)
        return self._connection


async def _feed(items: Items, options: Options, window: asyncio.Semaphore, engine: Engine,
                events: "asyncio.Queue[Event]") -> None:
    """Takes items as the window allows and has them prepared."""
    loop = asyncio.get_running_loop()

    def report(event: Event) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    prepare = Preparer(options, engine, report)
    count = 0
    try:
        iterator = _iterate(items)
        while True:
            await window.acquire()
            try:
                item = as_item(await iterator.__anext__())
            except StopAsyncIteration:
                break
            if is_slow(item.source):
                loop.run_in_executor(None, prepare, count, kept(item))
            else:
                prepare(count, item)
            count += 1
        events.put_nowait(Ended(count))
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        events.put_nowait(Failed(error))


async def _iterate(items: Items) -> AsyncIterator[Any]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
