"""Items in flight on one or several streams: sending, answering, trying again, timing out."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

import grpc

from vitower import wire
from vitower.answer import Answer, read_answer
from vitower.connection import Connection, pause_after
from vitower.embedding import Embedding
from vitower.errors import CallError, CallStatus, ItemError, VitowerError
from vitower.info import ModelInfo
from vitower.stream_call import StreamCall

Outcome = Embedding | ItemError

_DEFAULT_CHUNK_BYTES = 3 << 20  # Below gRPC's default limit of a message, where the server does not tell its own.
_FINISH_SECONDS = 5.0  # For the server to end a stream on which nothing is left to do.


class Work:
    """An item on its way: as the message that carries it under its index as key, or as a serialised Item that is too
    large for one. `deadline` is in the loop's time, from when the engine takes it."""

    __slots__ = ("index", "id", "body", "in_parts", "deadline", "failures", "answer", "done")

    def __init__(self, index: int, id: str, body: bytes, in_parts: bool) -> None:
        self.index, self.id, self.body, self.in_parts = index, id, body, in_parts
        self.deadline = 0.0
        self.failures = 0
        self.answer: Answer | None = None
        self.done = False

    def messages(self, chunk_bytes: int) -> Iterator[bytes]:
        """What is to be sent; nothing where the item has been given up."""
        body = self.body  # before `done` is looked at: it is dropped after that is set
        if self.done:
            return
        if self.in_parts:
            yield from wire.part_requests(self.index, body, chunk_bytes)
        else:
            yield body


class Engine:
    """Sends items over a connection's channels, one stream each, and reports each item's outcome exactly once.

    Lives on one event loop: every method but post is called there. `on_done(index, outcome)` and `on_failed(error)` are
    called there too and must not block. After on_failed nothing more is reported. How many items are in flight is the
    caller's affair: each holds its bytes here until it is answered. `deadline` (loop time), where set, ends every item;
    otherwise each has the connection's timeout from its submission.
    """

    def __init__(self, connection: Connection, info: ModelInfo, on_done: Callable[[int, Outcome], None],
                 on_failed: Callable[[BaseException], None], deadline: float | None = None) -> None:
        self.connection, self.info = connection, info
        self.chunk_bytes = info.limits.stream_chunk_bytes or _DEFAULT_CHUNK_BYTES
        self.loop = asyncio.get_running_loop()
        self.deadline = deadline
        self.closed = False
        self.unanswered = 0
        self._on_done, self._on_failed = on_done, on_failed
        self._live: deque[Work] = deque()  # in order of deadline; answered ones leave at the front
        self._timer: asyncio.TimerHandle | None = None
        self._posted: deque[Work] = deque()
        self._called = False  # the loop has been told to look at what is posted
        self._lanes = [_Lane(self, channel) for channel in connection.channels]

    def post(self, work: Work) -> None:
        """Takes an item. From any thread; the loop is woken once for all that came since it last looked."""
        self._posted.append(work)
        if not self._called:
            self._called = True
            self.loop.call_soon_threadsafe(self._take_posted)

    def _take_posted(self) -> None:
        self._called = False  # first: what is posted from now on calls again
        while self._posted and not self.closed:
            self._submit(self._posted.popleft())

    def _submit(self, work: Work) -> None:
        work.deadline = self.deadline if self.deadline is not None else (
            self.loop.time() + self.connection.settings.timeout)
        self.unanswered += 1
        self._live.append(work)
        if self._timer is None:
            self._timer = self.loop.call_at(work.deadline, self._expire)
        self._assign(work)

    async def finish(self) -> None:
        """Ends the streams once every item has its outcome: tells the server so and lets it end them."""
        if not any(lane.load for lane in self._lanes):  # else the server would go on with what has timed out here
            finishing = [asyncio.ensure_future(lane.finish()) for lane in self._lanes]
            await asyncio.wait(finishing, timeout=_FINISH_SECONDS)
        await self.close()

    async def close(self) -> None:
        """Ends the streams at once; what is in flight is dropped and not reported. Idempotent."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*(lane.close() for lane in self._lanes))

    def answered(self, work: Work, answer: Answer) -> None:
        """A lane has a complete answer."""
        retry = self.connection.settings.retry
        error = answer.error(work.index, work.id)
        if error is None:
            self._finish(work, answer.embedding(work.index, work.id, self.info.fingerprint))
            return
        wait = answer.retry_after
        if error.code == "UNAVAILABLE":
            work.failures += 1
            wait = retry.pause(work.failures) if work.failures < retry.attempts else None
        if wait is None:
            self._finish(work, error)
        else:
            work.answer = None
            self.loop.call_later(retry.spread(wait), self._assign, work)

    def give_up(self, work: Work, code: str, message: str) -> None:
        """An item is not sent again."""
        self._finish(work, ItemError(code, message, work.id, work.index))

    def fail(self, error: BaseException) -> None:
        """Nothing more can be sent."""
        if not self.closed:
            self.closed = True
            self._on_failed(error)

    async def check_weights(self, channel: grpc.Channel) -> None:
        """CallError where a server that came back serves other weights: one run never mixes two models."""
        now = await self.connection.fetch_info(channel)
        if now.fingerprint != self.info.fingerprint:
            raise CallError("FAILED_PRECONDITION", f"the server now serves {now.name} with fingerprint "
                                                   f"{now.fingerprint}, not {self.info.fingerprint} as before")

    def _assign(self, work: Work) -> None:
        if not work.done and not self.closed:
            lanes = self._lanes
            (lanes[0] if len(lanes) == 1 else min(lanes, key=lambda lane: lane.load)).push(work)

    def _finish(self, work: Work, outcome: Outcome) -> None:
        if work.done or self.closed:
            return
        self.unanswered -= 1
        work.done, work.body, work.answer = True, b"", None
        while self._live and self._live[0].done:
            self._live.popleft()
        self._on_done(work.index, outcome)

    def _expire(self) -> None:
        self._timer = None
        while self._live and (self._live[0].done or self._live[0].deadline <= self.loop.time()):
            work = self._live.popleft()
            message = f"no answer within the timeout of {self.connection.settings.timeout:g} s"
            self.give_up(work, "DEADLINE_EXCEEDED", message)
        if self._live and not self.closed:
            self._timer = self.loop.call_at(self._live[0].deadline, self._expire)


class _Lane:
    """One channel's stream: opened when there is something to send, opened again when it breaks."""

    def __init__(self, engine: Engine, channel: grpc.Channel) -> None:
        self._engine, self._channel = engine, channel
        self._call: StreamCall | None = None
        self._waiting: deque[Work] = deque()  # for a stream
        self._sent: dict[int, Work] = {}
        self._wake = asyncio.Event()
        self._progress = False  # something was answered since the stream was opened
        self._finishing = False
        self._task = engine.loop.create_task(self._run())

    @property
    def load(self) -> int:
        return len(self._waiting) + len(self._sent)

    def push(self, work: Work) -> None:
        if self._call is not None:
            self._send(self._call, work)
        else:
            self._waiting.append(work)
            self._wake.set()

    async def finish(self) -> None:
        """Half-closes the stream and waits for the server to end it."""
        self._finishing = True
        if self._call is not None:
            self._call.done_writing()
        self._wake.set()
        await asyncio.gather(self._task, return_exceptions=True)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        wait: float | None = None  # until the stream is opened again
        try:
            while await self._something_to_send():
                if wait is not None:
                    await asyncio.sleep(wait)
                    await self._engine.check_weights(self._channel)
                self._progress = False
                status = await self._stream()
                self._take_back(status)
                failures = 0 if not self._waiting else 1 if self._progress else failures + 1
                wait = self._pause_after(status, failures)
                self._give_up(status)
        except VitowerError as error:
            self._engine.fail(error)
        except Exception as error:
            self._engine.fail(CallError("INTERNAL", f"{type(error).__name__}: {error}"))

    async def _something_to_send(self) -> bool:
        """Waits for it; False once there will be nothing more."""
        while not self._waiting and not self._finishing:
            self._wake.clear()
            await self._wake.wait()
        return bool(self._waiting)

    async def _stream(self) -> CallStatus:
        """Serves one stream until it ends."""
        engine = self._engine
        timeout = None if engine.deadline is None else max(engine.deadline - engine.loop.time(), 0) + 1
        self._call = call = engine.connection.open_stream(self._channel, timeout)
        try:
            while self._waiting:
                self._send(call, self._waiting.popleft())
            while True:
                messages, status = await call.receive()
                for message in messages:
                    self._receive(message)
                if status is not None:
                    return status
        finally:
            self._call = None
            call.cancel()
            await call.over()

    def _send(self, call: StreamCall, work: Work) -> None:
        self._sent[work.index] = work
        call.send(work.messages(self._engine.chunk_bytes))

    def _pause_after(self, status: CallStatus, failures: int) -> float:
        """Seconds until the stream is opened again; CallError where its failure is final."""
        retry = self._engine.connection.settings.retry
        if status.code != "OK":
            wait = pause_after(status, failures, retry)
            if wait is None:
                raise status.error()
            return wait
        if failures >= retry.attempts:
            raise CallError("UNAVAILABLE", "the server keeps ending the stream before it has answered")
        return retry.spread(retry.pause(failures))

    def _take_back(self, status: CallStatus) -> None:
        """What was sent and not answered is to be sent again, before the rest."""
        unanswered = [work for work in self._sent.values() if not work.done]
        for work in unanswered:
            work.answer = None
            work.failures += status.code != "RESOURCE_EXHAUSTED"  # a full server looked at none of them
        self._sent.clear()
        self._waiting.extendleft(reversed(unanswered))

    def _give_up(self, status: CallStatus) -> None:
        """Ends what has been sent as often as may be: it may be what breaks the streams."""
        attempts = self._engine.connection.settings.retry.attempts
        hopeless = [work for work in self._waiting if work.failures >= attempts]
        if not hopeless:
            return
        self._waiting = deque(work for work in self._waiting if work.failures < attempts)
        code = "UNAVAILABLE" if status.code == "OK" else status.code
        message = f"no answer on {attempts} streams, the last of which ended with {status.code}: {status.details}"
        for work in hopeless:
            self._engine.give_up(work, code, message)

    def _receive(self, message: bytes) -> None:
        key, answer, part = read_answer(message)
        work = self._sent.get(key)
        if work is None or work.done:  # timed out: its answer comes too late
            self._sent.pop(key, None)
            return
        if answer is not None:
            work.answer = answer
        elif part is not None and work.answer is not None:
            work.answer.add(*part)
        else:
            raise ValueError("a part of an answer before its result")
        if work.answer.complete:
            self._progress = True
            del self._sent[key]
            self._engine.answered(work, work.answer)
