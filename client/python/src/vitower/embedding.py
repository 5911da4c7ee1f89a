"""One item's answer as numpy arrays or torch tensors."""

import ctypes
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitower.errors import OutputNotSentError

# bf16 has no numpy type: its values are held as the 16 bits they are.
_NUMPY: dict[str, np.dtype[Any]] = {"bf16": np.dtype("<u2"), "fp16": np.dtype("<f2"), "fp32": np.dtype("<f4")}


def bf16_to_float32(bits: NDArray[Any]) -> NDArray[Any]:
    """bf16 values, given as uint16, as float32 (exact: bf16 is the upper half of a float32)."""
    wide: NDArray[Any] = np.left_shift(bits, 16, dtype=np.uint32)
    return wide.view(np.float32)


@dataclass(frozen=True)
class Times:
    """How long the item's stages took on the server, in seconds; device stages are those of its whole batch."""

    seconds: dict[str, float]
    batch_items: int
    batch_patches: int

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True, eq=False)
class Embedding:
    """What the server answered for one item.

    `embedding["tokens"]` is a numpy array: float32 for fp32 and bf16 (widened, exact), float16 for fp16; so are
    `tokens`, `pooled`, `pooled_slices` and the list `deepstack`. `raw` holds the values as they came, bf16 as uint16.
    Arrays in `raw` may share memory with the message they came in; treat them as read-only. An output that was not
    sent raises OutputNotSentError (a KeyError).
    """

    index: int  # Of the item among those given, from 0.
    id: str
    grid_thw: tuple[int, int, int]  # In patches.
    token_count: int
    dtype: str  # "bf16", "fp16" or "fp32": of every output.
    raw: dict[str, NDArray[Any]]
    outputs_not_sent: tuple[str, ...]  # What the model has and was not asked for.
    times: Times
    frame_indices: tuple[int, ...] = ()  # Of a clip: which of its frames were taken,
    source_fps: float | None = None  # its rate where it is known,
    slice_timestamps: tuple[float, ...] = ()  # and the seconds of each temporal slice.
    padded: bool = False  # The last frame was repeated to fill the last slice.
    fingerprint: str = field(default="", repr=False)  # Of the weights.

    def __getitem__(self, name: str) -> NDArray[Any]:
        values = self._held(name)
        return bf16_to_float32(values) if self.dtype == "bf16" else values

    def __contains__(self, name: object) -> bool:
        return name in self.raw

    def keys(self) -> list[str]:
        """The names of the outputs held."""
        return list(self.raw)

    @property
    def tokens(self) -> NDArray[Any]:
        return self["tokens"]

    @property
    def pooled(self) -> NDArray[Any]:
        return self["pooled"]

    @property
    def pooled_slices(self) -> NDArray[Any]:
        return self["pooled_slices"]

    @property
    def deepstack(self) -> list[NDArray[Any]]:
        """Every DeepStack level, in order; use `["deepstack_1"]` where only some were asked for."""
        missing = [name for name in self.outputs_not_sent if name.startswith("deepstack_")]
        if missing:
            raise OutputNotSentError(missing[0], self.keys(), self.outputs_not_sent)
        levels = [name for name in self.raw if name.startswith("deepstack_")]
        return [self[name] for name in sorted(levels, key=lambda name: int(name.removeprefix("deepstack_")))]

    def to_torch(self, name: str = "tokens") -> Any:
        """An output as a torch tensor of its own dtype, bf16 included, without a copy: it shares memory with `raw`."""
        import torch

        values = self._held(name)
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[self.dtype]
        if not values.size:
            return torch.empty(values.shape, dtype=kind)
        return torch.frombuffer(_writable(values), dtype=kind).reshape(values.shape)

    def _held(self, name: str) -> NDArray[Any]:
        try:
            return self.raw[name]
        except KeyError:
            raise OutputNotSentError(name, self.keys(), self.outputs_not_sent) from None


def array(values: Any, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Raw little-endian values as an array of that shape, without a copy. ValueError where the sizes disagree."""
    kind = _NUMPY[dtype]
    if len(values) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{len(values)} bytes for {dtype} values of shape {list(shape)}")
    return np.frombuffer(values, kind).reshape(shape)


def _writable(values: NDArray[Any]) -> Any:
    """The array's memory as a buffer that torch takes without warning that it is read-only."""
    buffer = (ctypes.c_byte * values.nbytes).from_address(values.ctypes.data)
    buffer.owner = values  # type: ignore[attr-defined]  # torch holds the buffer, the buffer the array
    return buffer
