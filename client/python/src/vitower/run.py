"""What the synchronous and the asyncio client share of a run over many items."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from vitower import wire
from vitower.engine import Engine, Outcome, Work
from vitower.errors import ItemError
from vitower.inputs import InputError, Item, Video, item_buffers, options_body
from vitower.options import Options

OnError = Literal["raise", "return"]


@dataclass(frozen=True)
class Ended:
    """All items were taken: there are `count`."""

    count: int


@dataclass(frozen=True)
class Failed:
    """The run ends with this error."""

    error: BaseException


# What comes to the one who waits for answers: an item's index and outcome, or how the run ends.
Event = tuple[int, Outcome] | Ended | Failed


def as_item(value: Any) -> Item:
    """The value as an Item; a path becomes its own id."""
    item = value if isinstance(value, Item) else Item(value)
    if item.id:
        return item
    path = item.source.data if isinstance(item.source, Video) else item.source
    return Item(item.source, os.fspath(path), item.options) if isinstance(path, (str, os.PathLike)) else item


def check_on_error(on_error: str) -> None:
    if on_error not in ("raise", "return"):
        raise ValueError(f'on_error is "{on_error}": it must be "raise" or "return"')


class Preparer:
    """Turns items into messages and hands them to the engine, or reports why not. Thread-safe."""

    def __init__(self, options: Options, engine: Engine, report: Callable[[Event], Any]) -> None:
        self._options, self._engine, self._report = options, engine, report
        self._levels = len(engine.info.deepstack_visual_indexes)
        self._head = options_body(options, self._levels)

    def __call__(self, index: int, item: Item) -> None:
        try:
            options = item.options or self._options
            head = self._head if item.options is None else options_body(options, self._levels)
            buffers = item_buffers(item, options, head)
            if wire.size(buffers) <= self._engine.chunk_bytes:
                self._engine.post(Work(index, item.id, wire.item_request(index, buffers), in_parts=False))
            else:
                self._engine.post(Work(index, item.id, b"".join(buffers), in_parts=True))
        except InputError as error:
            self._report((index, ItemError(error.code, str(error), item.id, index)))
        except BaseException as error:
            self._report(Failed(error))


class Sequencer:
    """Turns events into outcomes, in their order of arrival or in that of the items; knows when all have come."""

    def __init__(self, ordered: bool, on_error: OnError) -> None:
        self._ordered, self._raise = ordered, on_error == "raise"
        self._early: dict[int, Outcome] = {}
        self._next = 0  # in order of the items
        self._yielded = 0
        self._count: int | None = None

    @property
    def finished(self) -> bool:
        return self._count is not None and self._yielded == self._count

    def outcomes(self, event: Event) -> Iterator[Outcome]:
        """What is due now that the event has come. Raises the run's error, or an item's where those are raised."""
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Ended):
            self._count = event.count
            return
        index, outcome = event
        self._early[index] = outcome
        while self._early:
            due = self._next if self._ordered else next(iter(self._early))
            if due not in self._early:
                return
            outcome = self._early.pop(due)
            if self._raise and isinstance(outcome, ItemError):
                raise outcome
            self._next += 1
            self._yielded += 1
            yield outcome

