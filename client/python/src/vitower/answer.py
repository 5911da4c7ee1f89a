"""Putting an item's answer together: its result, and the parts of outputs that follow."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitower import wire
from vitower.embedding import Embedding, Times, array
from vitower.errors import ItemError, code_name
from vitower.messages import DTYPE_NAMES, Response, Result

_STAGES = {stage: f"{stage}_seconds"
           for stage in ("receive", "admit", "decode", "resize", "queue", "upload", "patch_embed", "position", "blocks",
                         "merger", "download")}
_SMALL_BYTES = 160 << 10  # Up to here copying values is cheaper than cutting the message into views.

Part = tuple[int, int, memoryview]  # A TensorPart: output, offset, data.


class Answer:
    """A Result and the values of its outputs, which may still be coming. ValueError for what breaks the protocol."""

    def __init__(self, result: Any, values: Iterable[memoryview]) -> None:
        self.result = result
        self._values: list[memoryview | NDArray[Any]] = list(values)
        self._joined: dict[int, NDArray[Any]] = {}  # values that come in several parts
        self._missing = 0
        self._ends: dict[int, int] = {}  # of outputs that come in parts: how many of their bytes are here
        for index, tensor in enumerate(result.outputs):
            if tensor.byte_count and not len(self._values[index]):
                self._ends[index] = 0
                self._missing += tensor.byte_count

    @property
    def complete(self) -> bool:
        return self._missing == 0

    def add(self, output: int, offset: int, data: memoryview) -> None:
        """The next part of an output. One that is a whole output is kept as it is, others are copied into place."""
        if self._ends.get(output) != offset or not len(data):
            raise ValueError(f"a part of output {output} at offset {offset} is not the next one")
        total = self.result.outputs[output].byte_count
        if offset + len(data) > total:
            raise ValueError(f"output {output} has parts of more than its {total} bytes")
        if len(data) == total:
            self._values[output] = data
        else:
            if offset == 0:
                self._values[output] = self._joined[output] = np.empty(total, np.uint8)
            self._joined[output][offset : offset + len(data)] = np.frombuffer(data, np.uint8)
        self._ends[output] += len(data)
        self._missing -= len(data)

    @property
    def retry_after(self) -> float | None:
        """Seconds after which a full server takes the item; None where this is not the answer, or it never will."""
        if code_name(self.result.status.code) != "RESOURCE_EXHAUSTED" or not self.result.retry_after_ms:
            return None
        return float(self.result.retry_after_ms) / 1000

    def error(self, index: int, id: str) -> ItemError | None:
        status = self.result.status
        return ItemError(code_name(status.code), status.message, id, index) if status.code else None

    def embedding(self, index: int, id: str, fingerprint: str) -> Embedding:
        result = self.result
        dtype = DTYPE_NAMES.get(result.dtype, "")
        raw = {tensor.name: array(values, DTYPE_NAMES.get(tensor.dtype, dtype), tuple(tensor.shape))
               for tensor, values in zip(result.outputs, self._values)}
        times = result.times
        return Embedding(
            index=index,
            id=id,
            grid_thw=(result.grid_thw.t, result.grid_thw.h, result.grid_thw.w),
            token_count=result.token_count,
            dtype=dtype,
            raw=raw,
            outputs_not_sent=tuple(result.outputs_not_sent),
            times=Times({stage: getattr(times, name) for stage, name in _STAGES.items()}, times.batch_items,
                        times.batch_patches),
            frame_indices=tuple(result.frame_indices),
            source_fps=result.source_fps if result.HasField("source_fps") else None,
            slice_timestamps=tuple(result.slice_timestamps),
            padded=result.padded,
            fingerprint=fingerprint,
        )


def read_answer(message: bytes) -> tuple[int, Answer | None, Part | None]:
    """(key, the answer that begins, or the next part of one) of a serialised EmbedStreamResponse."""
    if len(message) <= _SMALL_BYTES:
        response = Response.FromString(message)
        if response.HasField("result"):
            result = response.result
            return response.key, Answer(result, [memoryview(tensor.data) for tensor in result.outputs]), None
        part = response.part
        return response.key, None, (part.output, part.offset, memoryview(part.data))
    key, number, body = wire.split_answer(message)
    if number == wire.RESPONSE_RESULT:
        small, values = wire.split_result(body)
        return key, Answer(Result.FromString(small), values), None
    return key, None, wire.split_part(body)
