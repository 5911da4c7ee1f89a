"""Putting an item's answer together: its result, and the parts of outputs that follow."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitower import wire
from vitower.embedding import Embedding, Times, array
from vitower.errors import ItemError, code_name
from vitower.messages import DTYPE_NAMES, Result

_STAGES = {stage: f"{stage}_seconds"
           for stage in ("receive", "admit", "decode", "resize", "queue", "upload", "patch_embed", "position", "blocks",
                         "merger", "download")}
_SMALL_BYTES = 32 << 10  # Below this copying values is cheaper than cutting the message into views.


class Answer:
    """A Result whose values may still be coming. ValueError for what breaks the protocol."""

    def __init__(self, serialised: memoryview) -> None:
        if len(serialised) < _SMALL_BYTES:
            self.result: Any = Result.FromString(serialised)
            values = [memoryview(tensor.data) for tensor in self.result.outputs]
        else:
            small, values = wire.split_result(serialised)
            self.result = Result.FromString(small)
        self._values: list[memoryview | NDArray[Any]] = list(values)
        self._joined: dict[int, NDArray[Any]] = {}  # values that come in several parts
        self._missing = 0
        self._ends: dict[int, int] = {}  # of outputs that come in parts: how many of their bytes are here
        for index, tensor in enumerate(self.result.outputs):
            if tensor.byte_count and not len(values[index]):
                self._ends[index] = 0
                self._missing += tensor.byte_count

    @property
    def complete(self) -> bool:
        return self._missing == 0

    def add(self, part: memoryview) -> None:
        """The next part of an output. One that is a whole output is kept as it is, others are copied into place."""
        output, offset, data = wire.split_part(part)
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
