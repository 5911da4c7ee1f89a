"""A PyTorch IterableDataset over a folder of images: (path, tokens) pairs, embedded while the training step runs.

    python torch_dataset.py photos/ --server localhost:50051 --workers 2

Each DataLoader worker takes its share of the files and has a client of its own. Workers are spawned, since gRPC does
not survive a fork.
"""

import argparse
import os
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from vitower import Client


class EmbeddedImages(IterableDataset[tuple[str, torch.Tensor]]):
    """Yields a path and its tokens [n, hidden], in the tower's dtype, in order of completion."""

    def __init__(self, paths: list[str], server: str, max_in_flight: int = 32) -> None:
        self._paths, self._server, self._max_in_flight = paths, server, max_in_flight

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        worker = get_worker_info()
        mine = self._paths[worker.id :: worker.num_workers] if worker else self._paths
        with Client(self._server, max_in_flight=self._max_in_flight) as client:
            for embedding in client.embed_stream(mine, tokens=True):
                yield embedding.id, embedding.to_torch("tokens")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--server", required=True)
    parser.add_argument("--workers", type=int, default=0)
    flags = parser.parse_args()

    paths = sorted(entry.path for entry in os.scandir(flags.folder) if entry.is_file())
    loader = DataLoader(EmbeddedImages(paths, flags.server), batch_size=None, num_workers=flags.workers,
                        multiprocessing_context="spawn" if flags.workers else None)
    for path, tokens in loader:
        print(f"{path}\t{tuple(tokens.shape)}\t{tokens.dtype}\t{tokens.float().mean():.6f}")


if __name__ == "__main__":
    main()
