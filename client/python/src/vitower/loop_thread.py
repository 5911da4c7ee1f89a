"""The event loop on which every synchronous client of the process runs, in a thread of its own."""

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a daemon thread. `run` may be called from any other thread and blocks until its end."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._stopped = False
        self._ending: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly
        self._thread = threading.Thread(target=self._main, name="vitower-loop", daemon=True)
        self._thread.start()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def end(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """For cleaning up in a finaliser, which the garbage collector may run on any thread and in the middle of anything,
        and when the interpreter has already stopped the loop: does not wait. `stop` does."""
        if self._stopped:
            coroutine.close()
        else:
            self.loop.call_soon_threadsafe(self._begin_end, coroutine)

    def stop(self) -> None:
        self._stopped = True
        with contextlib.suppress(TimeoutError, concurrent.futures.TimeoutError):
            asyncio.run_coroutine_threadsafe(self._all_ended(), self.loop).result(timeout=5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)

    def _begin_end(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._ending.add(task := self.loop.create_task(coroutine))
        task.add_done_callback(self._ending.discard)

    async def _all_ended(self) -> None:
        while self._ending:
            await asyncio.wait(self._ending)

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


_lock = threading.Lock()
_shared: LoopThread | None = None


def shared() -> LoopThread:
    """The process's loop, started on first use and stopped at exit."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = LoopThread()
        return _shared


def _stop() -> None:
    if _shared is not None:
        _shared.stop()


def _forget() -> None:
    """In a forked child the thread is gone."""
    global _shared, _lock
    _shared, _lock = None, threading.Lock()


atexit.register(_stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
