"""What is asked of the server for an item: preprocessing, outputs, sampling of clips, priority."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from vitower.messages import DTYPE_NUMBERS, PRIORITY_NUMBERS

DType = Literal["bf16", "fp16", "fp32"]
Priority = Literal["high", "normal", "low"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which frames of a clip are taken; unset fields keep the model's values.

    `fps` counts frames taken a second of clip and excludes `num_frames`; `start_seconds` and `end_seconds` bound the
    part of the clip that is sampled.
    """

    fps: float | None = None
    num_frames: int | None = None
    min_frames: int | None = None
    max_frames: int | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and self.num_frames is not None:
            raise ValueError("sampling: fps and num_frames exclude each other")

    def is_set(self) -> bool:
        return any(getattr(self, field.name) is not None for field in fields(Sampling))

    def fill(self, message: Any) -> None:
        """Copies what is set into a Sampling message, and marks that message as present."""
        message.SetInParent()
        for field in fields(Sampling):
            value = getattr(self, field.name)
            if value is not None:
                setattr(message, field.name, value)


@dataclass(frozen=True)
class Options:
    """Options of an item. Unset ones keep the server's values.

    Outputs: with nothing named (`tokens`, `deepstack`, `pooled`, `pooled_slices` unset) the tokens and every DeepStack
    level come. Otherwise exactly what is named: `deepstack` takes level numbers from 0 or "all"; "none" names nothing
    and, alone, leaves the tokens. `dtype` is what the values are sent in, by default the tower's own.

    `min_pixels` and `max_pixels` are areas of the resized image (of a clip: frames * height * width). `background` is
    an RGB colour under the transparent pixels of encoded images, `apply_exif` is about encoded images too. `sampling`
    is for clips that bring none of their own. Wrong values raise ValueError when the options are made.
    """

    tokens: bool | None = None
    deepstack: Sequence[int] | Literal["all", "none"] | None = None
    pooled: bool = False
    pooled_slices: bool = False
    l2_normalize: bool = False
    dtype: DType | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    do_resize: bool | None = None
    apply_exif: bool | None = None
    background: tuple[int, int, int] | None = None
    sampling: Sampling | None = None
    priority: Priority | None = None

    def __post_init__(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPE_NUMBERS:
            raise ValueError(f'dtype is "{self.dtype}": it must be one of {", ".join(DTYPE_NUMBERS)}')
        if self.priority is not None and self.priority not in PRIORITY_NUMBERS:
            raise ValueError(f'priority is "{self.priority}": it must be one of {", ".join(PRIORITY_NUMBERS)}')
        if isinstance(self.deepstack, str) and self.deepstack not in ("all", "none"):
            raise ValueError(f'deepstack is "{self.deepstack}": it must be level numbers, "all" or "none"')
        if self.background is not None and not _is_colour(self.background):
            raise ValueError(f"background is {self.background!r}: it must be three numbers from 0 to 255")
        if self.tokens is False and self._names_nothing() and self.deepstack is not None:
            raise ValueError('tokens=False, deepstack="none" and nothing pooled leave no output to send')

    def _names_nothing(self) -> bool:
        return (not self.tokens and (self.deepstack is None or len(self.deepstack) == 0 or self.deepstack == "none")
                and not self.pooled and not self.pooled_slices)

    def fill(self, item: Any, levels: int) -> None:
        """Copies what is set into an Item message. `levels`: how many DeepStack levels the model has."""
        self._fill_outputs(item.outputs, levels)
        for name in ("min_pixels", "max_pixels", "do_resize", "apply_exif"):
            value = getattr(self, name)
            if value is not None:
                setattr(item.preprocessing, name, value)
        if self.background is not None:
            colour = item.preprocessing.background
            colour.SetInParent()
            colour.red, colour.green, colour.blue = self.background
        if self.priority is not None:
            item.priority = PRIORITY_NUMBERS[self.priority]

    def _fill_outputs(self, outputs: Any, levels: int) -> None:
        if self.deepstack == "all":
            outputs.deepstack_levels.extend(range(levels))
        elif self.deepstack is not None and self.deepstack != "none":
            outputs.deepstack_levels.extend(int(level) for level in self.deepstack)
        if self._names_nothing():
            if self.tokens is False:  # every level, but no tokens
                outputs.deepstack_levels.extend(range(levels))
            elif self.deepstack is not None:
                outputs.tokens = True
        outputs.tokens = outputs.tokens or bool(self.tokens)
        outputs.pooled, outputs.pooled_slices = self.pooled, self.pooled_slices
        outputs.l2_normalize = self.l2_normalize
        if self.dtype is not None:
            outputs.dtype = DTYPE_NUMBERS[self.dtype]

    def override(self, **changes: Any) -> "Options":
        """The same options with some replaced; TypeError for a name that is none."""
        return replace(self, **changes) if changes else self


def _is_colour(value: Any) -> bool:
    try:
        return len(value) == 3 and all(0 <= int(part) <= 255 for part in value)
    except (TypeError, ValueError):
        return False
