"""What a server serves, and the limits that a client can meet."""

from dataclasses import dataclass
from typing import Any

from vitower.messages import DTYPE_NAMES


@dataclass(frozen=True)
class Limits:
    """The server's limits, as in vitower.proto: bytes, items, pixels, patches, frames, seconds. 0: not known."""

    max_request_bytes: int
    max_reply_bytes: int
    max_request_items: int
    max_image_pixels: int
    max_item_patches: int
    max_batch_patches: int
    max_queue_patches: int
    max_inflight_bytes: int
    max_video_frames: int
    max_video_seconds: float
    max_stream_items: int
    stream_chunk_bytes: int


@dataclass(frozen=True)
class ModelInfo:
    """The tower that is served. Equal fingerprints give equal embeddings."""

    name: str
    fingerprint: str
    dtype: str
    device: str
    depth: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    out_hidden_size: int  # The width of every output.
    patch_size: int
    temporal_patch_size: int
    spatial_merge_size: int
    deepstack_visual_indexes: tuple[int, ...]
    outputs: tuple[str, ...]  # Every name that can be asked for.
    min_pixels: int
    max_pixels: int
    video_min_pixels: int
    video_max_pixels: int
    limits: Limits
    server_version: str


def from_message(message: Any) -> ModelInfo:
    """A ModelInfo of a protobuf ModelInfo."""
    values = {name: getattr(message, name) for name in ModelInfo.__dataclass_fields__}
    limits = {name: getattr(message.limits, name) for name in Limits.__dataclass_fields__}
    values.update(dtype=DTYPE_NAMES.get(message.dtype, ""), limits=Limits(**limits), outputs=tuple(message.outputs),
                  deepstack_visual_indexes=tuple(message.deepstack_visual_indexes))
    return ModelInfo(**values)
