"""What can be embedded, and how each kind becomes the source of an Item message."""

import errno
import os
import pathlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from vitower import wire
from vitower.messages import DTYPE_NUMBERS, EncodedVideo, FrameList, PatchRows, RawRgb
from vitower.messages import Item as ItemMessage
from vitower.options import Options, Sampling

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif")
VIDEO_EXTENSIONS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")

# What is wrong with a path and not with the disk, the network or the process: the same the next time.
_FINAL_ERRORS = (errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)

Path = Union[str, "os.PathLike[str]"]
Encoded = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview]


class InputError(ValueError):
    """An input that cannot be sent; `code` is the gRPC status name that its ItemError carries."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def unreadable(path: str, error: Exception) -> InputError:
    """Why a file has no content: its own fault, or UNAVAILABLE, which may be over the next time."""
    if isinstance(error, FileNotFoundError):
        return InputError("NOT_FOUND", f"{path}: no such file")
    if isinstance(error, OSError) and error.errno is not None:  # else a library's word for damaged content
        code = "INVALID_ARGUMENT" if error.errno in _FINAL_ERRORS else "UNAVAILABLE"
        return InputError(code, f"{path}: {error.strerror}")
    return InputError("INVALID_ARGUMENT", f"{path}: {error}")


@dataclass(frozen=True)
class Video(Sampling):
    """A clip in a container (mp4, mov, mkv, webm, avi, or an animated GIF), as a path or as bytes.

    `fps` or `num_frames` and the others are the clip's own Sampling; with none of them set the sampling of the call's
    options holds, and without that the model's own.
    """

    data: Encoded

    def sampling(self) -> Sampling | None:
        return self if self.is_set() else None


@dataclass(frozen=True)
class Frames:
    """A clip as a list of frames in order of time, all of one size: encoded (paths or bytes), or PIL images, or uint8
    arrays or tensors [H, W, 3].

    `fps` is the rate of the list, for timestamps. Every frame is taken unless `sampling` is set. `images` is read when this
    is made: the list may change afterwards.
    """

    images: Sequence[Any]
    fps: float | None = None
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", tuple(self.images))


@dataclass(frozen=True)
class Patches:
    """What the reference processor hands out: `pixel_values` rows [t*h*w, values] in fp32, fp16 or (a torch tensor)
    bf16, and their grid (t, h, w), also as the processor's [1, 3] array."""

    pixel_values: Any
    grid_thw: Any


@dataclass(frozen=True)
class Item:
    """An input with a name of its own and, where `options` is set, options instead of the call's.

    `source`: a path, encoded bytes, a PIL image, a uint8 array or torch tensor [H, W, 3] or [T, H, W, 3], or a Video,
    Frames or Patches. `id` comes back with the embedding. An InputError as the source is that item's error.
    """

    source: Any
    id: str = ""
    options: Options | None = None


def is_slow(source: Any) -> bool:
    """Whether preparing the source may wait for a disk or take milliseconds, so that a thread should do it."""
    if isinstance(source, Frames):
        return any(is_slow(image) for image in source.images)
    if isinstance(source, Video):
        return is_slow(source.data)
    return not isinstance(source, (bytes, Patches)) and not _is_reused(source)


def kept(item: Item) -> Item:
    """The item as a thread may read it later: what its owner may use again meanwhile is copied."""
    if not isinstance(item.source, Frames):
        return item
    return replace(item, source=replace(item.source, images=[_kept(image) for image in item.source.images]))


def _kept(image: Any) -> Any:
    if isinstance(image, (bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, np.ndarray):
        return image.copy()
    return image.clone() if _is_tensor(image) else image


def _is_reused(value: Any) -> bool:
    """Whether it is memory that may be filled anew once it was taken."""
    return isinstance(value, (bytearray, memoryview, np.ndarray)) or _is_tensor(value)


def options_body(options: Options, levels: int) -> bytes:
    """The fields of an Item message that come from the options. `levels`: DeepStack levels of the model."""
    head = ItemMessage()
    options.fill(head, levels)
    return bytes(head.SerializeToString())


def item_buffers(item: Item, options: Options, head: bytes) -> list[wire.Buffer]:
    """The serialised Item message in pieces, `head` being options_body of the options. Payloads are not copied.

    InputError for an input that cannot be read or is not of a usable shape; TypeError for what is no input at all.
    """
    try:
        id = item.id.encode()
    except UnicodeEncodeError:  # a file's name may be any bytes
        raise InputError("INVALID_ARGUMENT", f"the id {ascii(item.id)} is not Unicode: give the item another") from None
    # The server refuses longer ids, and needs none to answer.
    name = wire.bytes_field(1, [id]) if 0 < len(id) <= 1024 else []
    return [head, *name, *_source(item.source, options)]


def _source(source: Any, options: Options) -> list[wire.Buffer]:
    """The field of Item's oneof that holds the source."""
    if isinstance(source, InputError):
        raise source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return wire.bytes_field(2, [_flat(source)])
    if isinstance(source, (str, os.PathLike)):
        if pathlib.PurePath(source).suffix.lower() in VIDEO_EXTENSIONS:
            return _video(Video(source), options)
        return wire.bytes_field(2, [_read(source)])
    if isinstance(source, Video):
        return _video(source, options)
    if isinstance(source, Frames):
        return _frames(source, options)
    if isinstance(source, Patches):
        return _patches(source)
    pixels = _pixels(source, options)
    clip = pixels.ndim == 4
    return _rgb([pixels], pixels.shape[0] if clip else 0, pixels.shape[-3:-1], None, options.sampling if clip else None)


def _read(path: Path) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: no path at all, as with a zero byte
        raise unreadable(os.fspath(path), error) from None


def _flat(data: bytes | bytearray | memoryview) -> wire.Buffer:
    return data.cast("B") if isinstance(data, memoryview) else data


def _encoded(data: Encoded) -> wire.Buffer:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return _flat(data)
    if isinstance(data, (str, os.PathLike)):
        return _read(data)
    raise TypeError(f"a path or bytes is needed, not {type(data).__name__}")


def _video(video: Video, options: Options) -> list[wire.Buffer]:
    rest = EncodedVideo()
    sampling = video.sampling() or options.sampling
    if sampling is not None:
        sampling.fill(rest.sampling)
    return wire.bytes_field(3, [*wire.bytes_field(1, [_encoded(video.data)]), rest.SerializeToString()])


def _frames(frames: Frames, options: Options) -> list[wire.Buffer]:
    if not len(frames.images):
        raise InputError("INVALID_ARGUMENT", "Frames: an empty list")
    sampling = frames.sampling or options.sampling
    encoded = [isinstance(image, (str, os.PathLike, bytes, bytearray, memoryview)) for image in frames.images]
    if all(encoded):
        rest = FrameList()
        if frames.fps is not None:
            rest.fps = frames.fps
        if sampling is not None:
            sampling.fill(rest.sampling)
        images = [part for image in frames.images for part in wire.bytes_field(1, [_encoded(image)])]
        return wire.bytes_field(4, [*images, rest.SerializeToString()])
    if any(encoded):
        raise InputError("INVALID_ARGUMENT", "Frames: encoded and decoded frames in one list")
    pixels = [_pixels(image, options) for image in frames.images]
    shapes = sorted({frame.shape for frame in pixels})
    if len(shapes) > 1 or len(shapes[0]) != 3:
        raise InputError("INVALID_ARGUMENT", f"Frames: each must be [H, W, 3] of one size, got shapes {shapes[:3]}")
    return _rgb(pixels, len(pixels), shapes[0][:2], frames.fps, sampling)


def _rgb(pixels: Sequence[NDArray[Any]], frames: int, size: tuple[int, ...], fps: float | None,
         sampling: Sampling | None) -> list[wire.Buffer]:
    rest = RawRgb(frames=frames, height=size[0], width=size[1])
    if fps is not None:
        rest.fps = fps
    if sampling is not None:
        sampling.fill(rest.sampling)
    data = wire.bytes_field(1, [frame.data.cast("B") for frame in pixels])
    return wire.bytes_field(5, [*data, rest.SerializeToString()])


def _pixels(image: Any, options: Options) -> NDArray[Any]:
    """uint8 RGB [H, W, 3] or [T, H, W, 3], contiguous."""
    if _is_a(image, "PIL.Image", "Image"):
        if options.background is not None and image.has_transparency_data:
            raise InputError("INVALID_ARGUMENT", "background is for encoded images: compose this PIL image first")
        try:
            return np.ascontiguousarray(image.convert("RGB"))
        except OSError as error:  # PIL reads the file only now
            raise unreadable("PIL image", error) from None
    if _is_tensor(image):
        if image.dtype != sys.modules["torch"].uint8:
            raise InputError("INVALID_ARGUMENT", f"a tensor of pixels must be uint8, got {image.dtype}")
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise TypeError(f"{type(image).__name__} is no input: give a path, bytes, PIL image, uint8 array or tensor, "
                        "Video, Frames or Patches")
    if image.dtype != np.uint8 or image.ndim not in (3, 4) or image.shape[-1] != 3 or 0 in image.shape:
        raise InputError("INVALID_ARGUMENT", f"an array must be uint8 of shape [H, W, 3] or [T, H, W, 3], "
                                             f"got {image.dtype} {list(image.shape)}")
    return np.ascontiguousarray(image)


def _patches(patches: Patches) -> list[wire.Buffer]:
    rows, dtype = _rows(patches.pixel_values)
    grid = [int(side) for side in np.asarray(patches.grid_thw).reshape(-1)]
    if len(grid) != 3 or min(grid) < 1 or rows.ndim != 2 or rows.shape[0] != grid[0] * grid[1] * grid[2]:
        raise InputError("INVALID_ARGUMENT", f"Patches: pixel_values must be [t*h*w, values] of one grid (t, h, w), "
                                             f"got {list(rows.shape)} and grid_thw {grid}")
    rest = PatchRows(dtype=DTYPE_NUMBERS[dtype])
    rest.grid_thw.t, rest.grid_thw.h, rest.grid_thw.w = grid
    data = np.ascontiguousarray(rows).data.cast("B")
    return wire.bytes_field(6, [*wire.bytes_field(1, [data]), rest.SerializeToString()])


def _rows(values: Any) -> tuple[NDArray[Any], str]:
    if _is_tensor(values):
        torch = sys.modules["torch"]
        values = values.detach().cpu().contiguous()
        if values.dtype == torch.bfloat16:
            return values.view(torch.int16).numpy(), "bf16"
        values = values.numpy()
    names = {np.dtype(np.float32): "fp32", np.dtype(np.float16): "fp16"}
    if not isinstance(values, np.ndarray) or values.dtype not in names:
        kind = getattr(values, "dtype", type(values).__name__)
        raise InputError("INVALID_ARGUMENT", f"Patches: pixel_values must be float32, float16 or a bfloat16 tensor, "
                                             f"got {kind}")
    return values, names[values.dtype]


def _is_tensor(value: Any) -> bool:
    return _is_a(value, "torch", "Tensor")


def _is_a(value: Any, module: str, name: str) -> bool:
    """isinstance without importing what the caller has not imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name, ()))  # (): it is just being imported
