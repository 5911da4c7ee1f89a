"""The synchronous client."""

import asyncio
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, overload

from vitower import loop_thread
from vitower.connection import Connection, Settings, Tls
from vitower.embedding import Embedding
from vitower.engine import Engine, Outcome
from vitower.errors import CallError, ItemError
from vitower.info import ModelInfo
from vitower.inputs import is_slow, kept
from vitower.options import Options
from vitower.retry import DEFAULT_RETRY, Retry
from vitower.run import Ended, Event, Failed, OnError, Preparer, Sequencer, as_item, check_on_error

_PREPARE_THREADS = 4  # Reading files and converting pictures; both release the interpreter's lock.


class Client:
    """A client of one server (or of all replicas behind one name). Connects when first used.

    `target`: HOST:PORT or a gRPC name. `channels`: connections; items are spread over them. `token`: sent as a bearer
    token. `tls`: True for the roots that gRPC ships, or a Tls. `timeout`: seconds, of a call, and of each item of
    embed_stream from when it was taken until it is answered, tries included. `max_in_flight`: items taken and not yet
    handed out, which bounds the memory of a run: items and answers of so many. `retry`: see Retry.
    `allow_plain_text_token`: a token without tls is refused otherwise.

    Thread-safe: any number of calls may run at once. Not for a process forked after it was made (RuntimeError): make
    one in each worker; it may be pickled, which makes a new one from the same settings. Wrong values raise ValueError.
    """

    def __init__(self, target: str, *, channels: int = 1, token: str | None = None, tls: Tls | bool | None = None,
                 timeout: float = 300.0, max_in_flight: int = 64, retry: Retry = DEFAULT_RETRY,
                 allow_plain_text_token: bool = False) -> None:
        self._settings = Settings(target, channels, token, tls, timeout, max_in_flight, retry,
                                  allow_plain_text_token)
        self._loop = loop_thread.shared()
        self._pid = os.getpid()
        self._closed = False
        self._connection = self._loop.run(self._connect())
        self._pool = ThreadPoolExecutor(_PREPARE_THREADS, thread_name_prefix="vitower-prepare")

    async def _connect(self) -> Connection:
        return Connection(self._settings)

    def __reduce__(self) -> tuple[Any, tuple[Settings]]:
        return _remake, (self._settings,)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channels; runs that are under way fail. Idempotent."""
        if not self._closed and os.getpid() == self._pid:
            self._closed = True
            self._pool.shutdown(wait=False, cancel_futures=True)
            if not self._loop.stopped:
                self._loop.run(self._connection.close())

    def info(self) -> ModelInfo:
        """What the server serves, asked anew. CallError where it does not answer within the policy of `retry`."""
        self._check_usable()
        return self._loop.run(self._connection.fetch_info())

    def health(self) -> str:
        """The server's status: "SERVING", "NOT_SERVING", ... CallError where it cannot be reached; not tried again."""
        self._check_usable()
        return self._loop.run(self._connection.health())

    @overload
    def embed(self, images: Iterable[Any], *, on_error: Literal["raise"] = "raise",
              **options: Any) -> list[Embedding]: ...

    @overload
    def embed(self, images: Iterable[Any], *, on_error: Literal["return"],
              **options: Any) -> list[Embedding | ItemError]: ...

    def embed(self, images: Iterable[Any], *, on_error: OnError = "raise", **options: Any) -> Any:
        """The embeddings of some images or clips (see Item for what they may be), in their order.

        `options` are the fields of Options. The first item that is refused raises its ItemError, or with
        on_error="return" stands in its place. CallError where the call fails as a whole.
        """
        _check_many(images)
        deadline = time.monotonic() + self._settings.timeout
        return list(self._run(images, Options(**options), True, on_error, deadline))

    @overload
    def embed_stream(self, items: Iterable[Any], *, ordered: bool = False, on_error: Literal["raise"] = "raise",
                     **options: Any) -> Iterator[Embedding]: ...

    @overload
    def embed_stream(self, items: Iterable[Any], *, ordered: bool = False, on_error: Literal["return"],
                     **options: Any) -> Iterator[Embedding | ItemError]: ...

    def embed_stream(self, items: Iterable[Any], *, ordered: bool = False, on_error: OnError = "raise",
                     **options: Any) -> Any:
        """Embeds items as they come, `max_in_flight` at a time, and yields each as soon as it is done.

        `items` is read by a thread of its own, ahead of what is yielded; it may be endless. Which item an embedding is
        of say its `index` and `id`; `ordered` keeps the order of the items. `options` and `on_error` are as in embed.
        A CallError ends the run, also with on_error="return". Closing the iterator drops what is in flight.
        """
        _check_many(items)
        return self._run(items, Options(**options), ordered, on_error, None)

    def _run(self, items: Iterable[Any], options: Options, ordered: bool, on_error: OnError,
             deadline: float | None) -> Iterator[Outcome]:
        self._check_usable()
        check_on_error(on_error)
        return self._outcomes(items, options, Sequencer(ordered, on_error), deadline)

    def _outcomes(self, items: Iterable[Any], options: Options, sequencer: Sequencer,
                  deadline: float | None) -> Iterator[Outcome]:
        events: queue.SimpleQueue[list[Event]] = queue.SimpleQueue()
        engine = self._loop.run(self._start(events, deadline))
        prepare = Preparer(options, engine, lambda event: events.put([event]))
        feeder = _Feeder(items, self._settings.max_in_flight, prepare, self._pool, events)
        try:
            while not sequencer.finished:
                for event in events.get():
                    for outcome in sequencer.outcomes(event):
                        feeder.window.give_back()
                        yield outcome
            self._loop.run(engine.finish())
        finally:
            feeder.stop()
            self._loop.end(engine.close())

    async def _start(self, events: "queue.SimpleQueue[list[Event]]", deadline: float | None) -> Engine:
        info = await self._connection.info()
        batches = _Batches(events)
        batches.engine = Engine(self._connection, info, batches.add, batches.fail, deadline)
        return batches.engine

    def _check_usable(self) -> None:
        if self._closed:
            raise CallError("CANCELLED", "the client is closed")
        if os.getpid() != self._pid:
            raise RuntimeError("this vitower Client was made before the process forked: make one in each worker")


# Threads that wake each other for every item take more time than the item: they do it for some at a time.
_BATCH = 8
_BATCH_SECONDS = 0.001


class _Batches:
    """Hands outcomes from the loop to the thread that yields them: some at a time while more are sure to come soon."""

    engine: Engine

    def __init__(self, events: "queue.SimpleQueue[list[Event]]") -> None:
        self._events = events
        self._waiting: list[Event] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, index: int, outcome: Outcome) -> None:
        self._waiting.append((index, outcome))
        if len(self._waiting) >= _BATCH or self.engine.unanswered < _BATCH:
            self._flush()
        elif self._timer is None:
            self._timer = self.engine.loop.call_later(_BATCH_SECONDS, self._flush)

    def fail(self, error: BaseException) -> None:
        self._flush()
        self._events.put([Failed(error)])

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._events.put(self._waiting)
            self._waiting = []


class _Window:
    """How many items may be in flight. One thread takes, one gives back; the taker is woken for some at a time, which is
    safe: as long as less than that is given back, something is in flight whose end will give back more."""

    def __init__(self, size: int) -> None:
        self._free = size  # of the taker
        self._back = 0  # of the giver
        self._batch = max(1, min(_BATCH, size // 4))
        self._given: queue.SimpleQueue[int] = queue.SimpleQueue()

    def take(self) -> None:
        while self._free == 0:
            self._free = self._given.get()
        self._free -= 1

    def give_back(self) -> None:
        self._back += 1
        if self._back >= self._batch:
            self.flush()

    def flush(self) -> None:
        self._given.put(self._back)
        self._back = 0


class _Feeder:
    """A thread that takes items as the window allows and has them prepared."""

    def __init__(self, items: Iterable[Any], max_in_flight: int, prepare: Preparer, pool: ThreadPoolExecutor,
                 events: "queue.SimpleQueue[list[Event]]") -> None:
        self.window = _Window(max_in_flight)
        self._items, self._prepare, self._pool, self._events = items, prepare, pool, events
        self._stopped = False
        threading.Thread(target=self._main, name="vitower-feeder", daemon=True).start()

    def stop(self) -> None:
        """No item is taken from now on; one that is being waited for is not sent."""
        self._stopped = True
        self.window.give_back()
        self.window.flush()

    def _main(self) -> None:
        try:
            self._events.put([Ended(self._feed())])
        except BaseException as error:
            self._events.put([Failed(error)])

    def _feed(self) -> int:
        iterator, count = iter(self._items), 0
        while True:
            self.window.take()
            if self._stopped:
                return count
            try:
                item = as_item(next(iterator))
            except StopIteration:
                return count
            if is_slow(item.source):
                self._pool.submit(self._prepare, count, kept(item))
            else:
                self._prepare(count, item)
            count += 1


def _check_many(items: Any) -> None:
    if isinstance(items, (str, bytes, os.PathLike)):
        raise TypeError(f"a list of items is needed, not one {type(items).__name__}")


def _remake(settings: Settings) -> Client:
    return Client(**vars(settings))  # its fields are the arguments
