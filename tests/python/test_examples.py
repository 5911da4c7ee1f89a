"""The examples of the package, run as their users run them."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import reference
import torch
import vitower
from PIL import Image
from pictures import encoded, photo
from pyarrow import parquet
from serving import serving

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "client/python"
RNG = np.random.default_rng(13)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(12):
        (folder / f"{number:02d}.jpg").write_bytes(encoded(photo(RNG, 90 + number, 70), "JPEG"))
    return folder


@pytest.fixture(scope="module")
def server():
    with serving("--dtype", "fp32") as running:
        yield running


def example(name, *arguments):
    """What an example printed."""
    done = subprocess.run([sys.executable, PACKAGE / "examples" / name, *map(str, arguments)], capture_output=True,
                          text=True, timeout=400, env={**os.environ, "PYTHONPATH": str(PACKAGE / "src"),
                                                       "RAY_USAGE_STATS_ENABLED": "0"})
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def vectors_by_transformers(tower, paths):
    """What transformers' processor and vision tower make of the files: the mean of each one's tokens, at length 1."""
    tokens = []
    hook = tower.merger.register_forward_hook(lambda _module, _arguments, output: tokens.append(output))
    for path in paths:
        made = reference.image_processor()(images=[Image.open(path)], return_tensors="pt")
        with torch.inference_mode():
            tower(made["pixel_values"], made["image_grid_thw"])
    hook.remove()
    return [torch.nn.functional.normalize(values.mean(dim=0), dim=0).numpy() for values in tokens]


def test_ray_data_embeds_a_folder_into_parquet_as_transformers_does(photos, tmp_path):
    shape = dict(depth=3, hidden_size=128, num_heads=2, intermediate_size=256, out_hidden_size=96,
                 deepstack_visual_indexes=[0, 1], **reference.TOWER)
    state = reference.random_tower_state(shape, seed=5)
    (tmp_path / "weights").mkdir()
    reference.save_tower(tmp_path / "weights", shape, state, dtype=torch.float32)
    (photos / "bad.jpg").write_bytes(b"no image")
    try:
        with serving(model=tmp_path / "weights") as server:
            example("ray_data.py", photos, tmp_path / "out", "--server", server.address, "--batch-size", 5, "--local")
    finally:
        (photos / "bad.jpg").unlink()
    rows = {pathlib.Path(row["path"]).name: row for row in parquet.read_table(tmp_path / "out").to_pylist()}
    assert "INVALID_ARGUMENT" in rows.pop("bad.jpg")["error"]
    paths = sorted(photos.iterdir())
    assert sorted(rows) == [path.name for path in paths]
    wanted = vectors_by_transformers(reference.build_tower(shape, state, torch.float32), paths)
    for path, want in zip(paths, wanted, strict=True):
        assert rows[path.name]["error"] == ""
        np.testing.assert_allclose(rows[path.name]["pooled"], want, rtol=0, atol=1e-4)  # fp32; near 0.1 each


@pytest.mark.parametrize("workers", [0, 2])
def test_a_torch_dataset_yields_every_image_once(server, photos, workers):
    lines = example("torch_dataset.py", photos, "--server", server.address, "--workers", workers).splitlines()
    with vitower.Client(server.address) as client:
        want = {e.id: e for e in client.embed(sorted(photos.iterdir()), tokens=True)}
    got = {path: (shape, dtype, mean) for path, shape, dtype, mean in (line.split("\t") for line in lines)}
    assert len(lines) == 12 and got.keys() == want.keys()
    for path, (shape, dtype, mean) in got.items():
        assert shape == str(want[path].tokens.shape) and dtype == "torch.float32"
        assert float(mean) == pytest.approx(want[path].tokens.mean(), abs=1e-5)
