"""Client of vitower: Qwen3-VL vision tower embeddings of images and clips.

    from vitower import Client

    with Client("localhost:50051") as client:
        for embedding in client.embed_stream(paths):
            print(embedding.id, embedding.tokens.shape)

`vitower.aio` has the same for asyncio; the command `vitower-embed` works on folders, tars and Parquet files.
"""

from vitower import aio
from vitower.client import Client
from vitower.connection import Tls
from vitower.embedding import Embedding, Times, bf16_to_float32
from vitower.errors import CallError, ItemError, OutputNotSentError, VitowerError
from vitower.info import Limits, ModelInfo
from vitower.inputs import Frames, Item, Patches, Video
from vitower.options import Options, Sampling
from vitower.retry import Retry

__all__ = ["CallError", "Client", "Embedding", "Frames", "Item", "ItemError", "Limits", "ModelInfo", "Options",
           "OutputNotSentError", "Patches", "Retry", "Sampling", "Times", "Tls", "Video", "VitowerError", "aio",
           "bf16_to_float32"]
