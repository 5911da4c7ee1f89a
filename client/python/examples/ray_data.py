"""A Ray Data job: embeds every image below a folder and writes Parquet, a row an image.

    python ray_data.py photos/ out/ --server localhost:50051

Needs ray[data]. Each actor holds one client; the server batches what all of them send, so a batch here is only what
Ray hands over at a time. An image that is refused keeps its row, with `error` set and a vector of zeros.
"""

import argparse
from typing import Any

import numpy as np
import ray

from vitower import Client, ItemError


class Embedder:
    """One vector an image: the mean of its tokens, at length 1."""

    def __init__(self, server: str) -> None:
        self._client = Client(server)
        self._width = self._client.info().out_hidden_size

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        answers = self._client.embed(list(batch["bytes"]), on_error="return", pooled=True, l2_normalize=True,
                                     dtype="fp32")
        nothing = np.zeros(self._width, np.float32)
        return {
            "path": batch["path"],
            "pooled": np.stack([nothing if isinstance(answer, ItemError) else answer.pooled for answer in answers]),
            "error": np.array([str(answer) if isinstance(answer, ItemError) else "" for answer in answers], object),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("output")
    parser.add_argument("--server", required=True)
    parser.add_argument("--actors", type=int, default=1, help="clients at work at one time")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--local", action="store_true", help="a small Ray on this machine instead of a cluster")
    flags = parser.parse_args()

    if flags.local:
        ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 << 20)
    images = ray.data.read_binary_files(flags.folder, include_paths=True)
    images.map_batches(Embedder, fn_constructor_args=(flags.server,), batch_size=flags.batch_size,
                       compute=ray.data.ActorPoolStrategy(size=flags.actors)).write_parquet(flags.output)


if __name__ == "__main__":
    main()
