"""The files that vitower-embed writes: shards of many embeddings, as Parquet or safetensors, whole or not at all."""

import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from vitower.embedding import Embedding, array, bf16_to_float32

FORMATS = ("parquet", "safetensors")
_VECTORS = ("pooled", "pooled_slices")  # Columns of numbers in Parquet; the others hold raw values.
_SAFETENSORS = {"bf16": "BF16", "fp16": "F16", "fp32": "F32"}
_DTYPES = {name: dtype for dtype, name in _SAFETENSORS.items()}


@dataclass(frozen=True)
class Row:
    """One embedding as read back: float32 arrays by the names of the outputs (float16 where fp16 was written raw)."""

    id: str
    grid_thw: tuple[int, int, int]
    outputs: dict[str, NDArray[Any]]
    frame_indices: tuple[int, ...]
    source_fps: float | None
    slice_timestamps: tuple[float, ...]
    padded: bool


def shard_path(folder: pathlib.Path, number: int, format: str) -> pathlib.Path:
    return folder / f"part-{number:06d}.{format}"


def shard_paths(folder: pathlib.Path) -> list[pathlib.Path]:
    """Every complete shard, in the order they were written."""
    return sorted(path for path in folder.glob("part-*") if path.suffix[1:] in FORMATS)


def write_shard(path: pathlib.Path, rows: Sequence[Embedding], about: dict[str, Any]) -> None:
    """Writes a shard under its name once all of it is on disk. `about` (weights, options) goes into its metadata."""
    about = {**about, "dtype": rows[0].dtype}
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        (_write_parquet if path.suffix == ".parquet" else _write_safetensors)(file, rows, about)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def shard_ids(path: pathlib.Path) -> list[str]:
    """The ids of a shard, without reading its values."""
    if path.suffix == ".safetensors":
        return [item["id"] for item in _safetensors_header(path)[1]["items"]]
    from pyarrow import parquet

    return list(parquet.read_table(path, columns=["id"]).column(0).to_pylist())


def read_shards(folder: Union[str, "os.PathLike[str]"]) -> Iterator[Row]:
    """Every embedding that vitower-embed wrote to the folder."""
    for path in shard_paths(pathlib.Path(folder)):
        yield from (_read_parquet if path.suffix == ".parquet" else _read_safetensors)(path)


def _widen(values: Any, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    held = array(values, dtype, shape)
    return bf16_to_float32(held) if dtype == "bf16" else held


# ---- Parquet: a row an item; tokens and DeepStack levels as raw little-endian values, vectors as lists of floats.


def _write_parquet(file: Any, rows: Sequence[Embedding], about: dict[str, Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    hidden = next(iter(rows[0].raw.values())).shape[-1]
    columns: dict[str, Any] = {
        "id": pa.array([row.id for row in rows], pa.string()),
        "grid_thw": pa.array([row.grid_thw for row in rows], pa.list_(pa.uint32(), 3)),
        "token_count": pa.array([row.token_count for row in rows], pa.uint32()),
    }
    for name in rows[0].raw:
        columns[name] = _vectors(rows, name, hidden) if name in _VECTORS else _raw_column(rows, name)
    columns |= {
        "frame_indices": pa.array([row.frame_indices for row in rows], pa.list_(pa.uint64())),
        "source_fps": pa.array([row.source_fps for row in rows], pa.float64()),
        "slice_timestamps": pa.array([row.slice_timestamps for row in rows], pa.list_(pa.float64())),
        "padded": pa.array([row.padded for row in rows], pa.bool_()),
    }
    table = pa.table(columns).replace_schema_metadata({"vitower": json.dumps({**about, "hidden_size": hidden})})
    parquet.write_table(table, file, compression="none", use_dictionary=False)


def _raw_column(rows: Sequence[Embedding], name: str) -> Any:
    import pyarrow as pa

    sizes = [row.raw[name].nbytes for row in rows]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    values = np.concatenate([row.raw[name].reshape(-1).view(np.uint8) for row in rows])
    return pa.Array.from_buffers(pa.large_binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(values)])


def _vectors(rows: Sequence[Embedding], name: str, hidden: int) -> Any:
    import pyarrow as pa

    values = np.concatenate([row[name].reshape(-1, hidden) for row in rows]).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), hidden)
    if name == "pooled":
        return vectors
    slices = np.cumsum([0] + [row.raw[name].shape[0] for row in rows]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(slices), vectors)


def _read_parquet(path: pathlib.Path) -> Iterator[Row]:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    about = json.loads(file.schema_arrow.metadata[b"vitower"])
    names = [name for name in file.schema_arrow.names if name == "tokens" or name.startswith(("deepstack_", "pooled"))]
    for batch in file.iter_batches(64):
        for row in batch.to_pylist():
            shape = (row["token_count"], about["hidden_size"])
            outputs = {name: np.asarray(row[name], np.float32) if name in _VECTORS
                       else _widen(row[name], about["dtype"], shape) for name in names}
            yield _row(row, outputs)


# ---- safetensors: tensors ID/OUTPUT in the dtype they were sent in; what belongs to items in the metadata.


def _write_safetensors(file: Any, rows: Sequence[Embedding], about: dict[str, Any]) -> None:
    items = [{"id": row.id, "grid_thw": row.grid_thw, "token_count": row.token_count,
              "frame_indices": row.frame_indices, "source_fps": row.source_fps,
              "slice_timestamps": row.slice_timestamps, "padded": row.padded} for row in rows]
    header: dict[str, Any] = {"__metadata__": {"vitower": json.dumps({**about, "items": items})}}
    at = 0
    for row in rows:
        for name, values in row.raw.items():
            header[f"{row.id}/{name}"] = {"dtype": _SAFETENSORS[row.dtype], "shape": list(values.shape),
                                          "data_offsets": [at, at + values.nbytes]}
            at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for row in rows:
        for values in row.raw.values():
            file.write(values.reshape(-1).view(np.uint8).data)


def _safetensors_header(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """(tensors by name, our metadata, where the values begin)."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return header, json.loads(header.pop("__metadata__")["vitower"]), 8 + size


def _read_safetensors(path: pathlib.Path) -> Iterator[Row]:
    header, about, start = _safetensors_header(path)
    outputs: dict[str, dict[str, NDArray[Any]]] = {}
    with open(path, "rb") as file:
        for name, tensor in header.items():
            id, output = name.rsplit("/", 1)
            begin, end = tensor["data_offsets"]
            file.seek(start + begin)
            outputs.setdefault(id, {})[output] = _widen(file.read(end - begin), _DTYPES[tensor["dtype"]],
                                                        tuple(tensor["shape"]))
    for item in about["items"]:
        yield _row(item, outputs[item["id"]])


def _row(item: dict[str, Any], outputs: dict[str, NDArray[Any]]) -> Row:
    t, h, w = item["grid_thw"]
    return Row(item["id"], (t, h, w), outputs, tuple(item["frame_indices"]), item["source_fps"],
               tuple(item["slice_timestamps"]), item["padded"])
