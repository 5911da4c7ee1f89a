"""`vitower preprocess`, `make-checkpoint` and `inspect`: what they write and tell."""

import filecmp
import io
import json
import os

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from clips import decode
from pictures import photo
from reference import image_processor, import_torchvision, video_processor
from vitower_cli import OK, REFUSED, vitower, written

# ---- preprocess


def pictures_of_every_kind(folder):
    rng = np.random.default_rng(9)
    rgb = [photo(rng, width, height) for width, height in
           [(640, 427), (401, 300), (64, 64), (33, 900), (1200, 1000), (224, 224), (97, 301), (256, 512), (150, 80), (90, 120)]]
    exif = Image.Exif()
    exif[0x0112] = 6
    saves = [("jpeg.jpg", rgb[0], {}), ("png.png", rgb[1], {}), ("small.bmp", rgb[2], {}), ("tall.webp", rgb[3], {}),
             ("large.jpg", rgb[4], {"progressive": True, "quality": 90}), ("exact.png", rgb[5], {}),
             ("turned.jpg", rgb[6], {"exif": exif})]
    for name, pixels, options in saves:
        Image.fromarray(pixels).save(folder / name, **options)
    alpha = np.dstack([rgb[7], rng.integers(0, 256, rgb[7].shape[:2], dtype=np.uint8)])
    Image.fromarray(alpha).save(folder / "alpha.png")
    Image.fromarray(rgb[8]).quantize(32).save(folder / "palette.png")
    Image.fromarray(rgb[9]).convert("L").save(folder / "gray.jpg")


def reference_pixels(path, **limits):
    from PIL import ImageOps

    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    out = image_processor(**limits)(images=[image], return_tensors="pt")
    return out["pixel_values"], out["image_grid_thw"]


def test_preprocess_gives_what_the_reference_processor_gives(tmp_path):
    (tmp_path / "in").mkdir()
    pictures_of_every_kind(tmp_path / "in")
    assert vitower("preprocess", tmp_path / "in", "--output", tmp_path / "out").returncode == OK
    names = written(tmp_path / "in")
    assert len(names) == 10 and written(tmp_path / "out") == [f"{name}.safetensors" for name in names]
    for name in names:
        got = load_file(tmp_path / "out" / f"{name}.safetensors")
        pixels, grid = reference_pixels(tmp_path / "in" / name)
        assert got["image_grid_thw"].equal(grid), name
        assert got["pixel_values"].dtype == pixels.dtype and got["pixel_values"].equal(pixels), name


def test_preprocess_keeps_within_the_limits_given(tmp_path):
    Image.fromarray(photo(np.random.default_rng(2), 700, 500)).save(tmp_path / "a.png")
    done = vitower("preprocess", tmp_path / "a.png", "--output", tmp_path / "a.safetensors", "--min-pixels", 1024,
                   "--max-pixels", 100_000)
    assert done.returncode == OK
    pixels, grid = reference_pixels(tmp_path / "a.png", shortest_edge=1024, longest_edge=100_000)
    got = load_file(tmp_path / "a.safetensors")
    assert got["image_grid_thw"].equal(grid) and got["pixel_values"].equal(pixels)


def test_preprocess_takes_the_limits_of_a_checkpoint(tmp_path):
    assert vitower("make-checkpoint", "--output", tmp_path / "tower").returncode == OK
    processor = tmp_path / "tower" / "preprocessor_config.json"
    config = json.loads(processor.read_text())
    config["size"] = {"shortest_edge": 1024, "longest_edge": 40_000}
    processor.write_text(json.dumps(config))
    Image.fromarray(photo(np.random.default_rng(2), 700, 500)).save(tmp_path / "a.png")
    done = vitower("preprocess", tmp_path / "a.png", "--output", tmp_path / "a.safetensors", "--model", tmp_path / "tower")
    assert done.returncode == OK, done.stderr
    pixels, grid = reference_pixels(tmp_path / "a.png", shortest_edge=1024, longest_edge=40_000)
    assert load_file(tmp_path / "a.safetensors")["pixel_values"].equal(pixels)


def reference_clip(data, **sampling):
    import_torchvision()
    from transformers.video_utils import VideoMetadata

    with av.open(io.BytesIO(data)) as source:
        fps = float(source.streams.video[0].average_rate)
    frames = torch.from_numpy(decode(data)).permute(0, 3, 1, 2)
    metadata = VideoMetadata(total_num_frames=len(frames), fps=fps, duration=len(frames) / fps)
    out = video_processor()(videos=[frames], video_metadata=[metadata], return_tensors="pt", **sampling)
    return out["pixel_values_videos"], out["video_grid_thw"]


@pytest.mark.parametrize("name, flags, sampling", [
    ("even.mp4", [], {}), ("odd.mkv", [], {}), ("nine.webm", ["--video-fps", 1], {"fps": 1}),
    ("old.avi", ["--num-frames", 7], {"num_frames": 7, "fps": None}), ("turns.mov", [], {})])
def test_preprocess_of_a_clip_gives_what_the_reference_processor_gives(clips, tmp_path, name, flags, sampling):
    done = vitower("preprocess", clips / name, "--output", tmp_path / "x.safetensors", *flags)
    assert done.returncode == OK, done.stderr
    got = load_file(tmp_path / "x.safetensors")
    pixels, grid = reference_clip((clips / name).read_bytes(), **sampling)
    assert got.keys() == {"pixel_values_videos", "video_grid_thw"}
    assert got["video_grid_thw"].equal(grid)
    assert got["pixel_values_videos"].dtype == pixels.dtype and got["pixel_values_videos"].equal(pixels)


def test_preprocess_reports_bad_files_and_goes_on(photos_with_bad_ones, tmp_path):
    done = vitower("preprocess", photos_with_bad_ones, "--output", tmp_path / "out")
    assert done.returncode == REFUSED and "text.jpg: " in done.stderr
    assert written(tmp_path / "out") == ["good.jpg.safetensors", "zgood.png.safetensors"]


# ---- make-checkpoint and inspect


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "tower"
    assert vitower("make-checkpoint", "--output", folder, "--seed", 7, "--shards", 2).returncode == OK
    return folder


def test_equal_options_make_equal_checkpoints(checkpoint, tmp_path):
    for name, seed in [("same", 7), ("other", 8)]:
        assert vitower("make-checkpoint", "--output", tmp_path / name, "--seed", seed, "--shards", 2).returncode == OK
    names = written(checkpoint)
    assert {"config.json", "preprocessor_config.json", "model.safetensors.index.json"} < set(names)
    same, differ, errors = filecmp.cmpfiles(checkpoint, tmp_path / "same", names, shallow=False)
    assert (sorted(same), differ, errors) == (names, [], [])
    _, differ, _ = filecmp.cmpfiles(checkpoint, tmp_path / "other", names, shallow=False)
    assert all(name.endswith(".safetensors") for name in differ) and len(differ) == 2


def test_a_checkpoint_is_not_written_over_another(checkpoint):
    before = (checkpoint / "config.json").read_bytes()
    done = vitower("make-checkpoint", "--output", checkpoint)
    assert done.returncode != OK and str(checkpoint) in done.stderr
    assert (checkpoint / "config.json").read_bytes() == before


def test_inspect_tells_what_a_checkpoint_holds(checkpoint):
    done = vitower("inspect", "--model", checkpoint)
    assert done.returncode == OK and "tokens per image   64 to 16384" in done.stdout
    summary = json.loads(vitower("inspect", "--model", checkpoint, "--json").stdout)
    stored = [load_file(path) for path in sorted(checkpoint.glob("*.safetensors"))]
    assert summary["tensor_count"] == sum(len(shard) for shard in stored)
    assert summary["parameter_count"] == sum(tensor.numel() for shard in stored for tensor in shard.values())
    assert summary["weight_bytes_bf16"] == 2 * summary["parameter_count"]
    assert summary["prefix"] == "model.visual." and len(summary["files"]) == 2
    assert summary["video"] == {"min_pixels": 4096, "max_pixels": 25165824, "fps": 2.0, "min_frames": 4, "max_frames": 768,
                                "max_tokens": 12288}


def test_inspect_knows_the_named_shapes():
    done = vitower("inspect", "--model", "random:2b")
    assert done.returncode == OK and "24" in done.stdout
    assert "clip size          4096 to 25165824 pixels" in done.stdout and "2 frames a second, 4 to 768" in done.stdout
    summary = json.loads(vitower("inspect", "--model", "random:2b", "--json").stdout)
    assert (summary["depth"], summary["out_hidden_size"], summary["files"]) == (24, 2048, [])
    unknown = vitower("inspect", "--model", "random:3b")
    assert unknown.returncode == REFUSED and "3b" in unknown.stderr


def test_inspect_tells_that_clips_are_refused(tmp_path):
    assert vitower("make-checkpoint", "--output", tmp_path / "tower").returncode == OK
    (tmp_path / "tower" / "video_preprocessor_config.json").unlink()
    done = vitower("inspect", "--model", tmp_path / "tower")
    assert done.returncode == OK and "clips are refused" in done.stdout


@pytest.mark.parametrize("spoil, named", [
    (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
    (lambda folder: (folder / "preprocessor_config.json").unlink(), "preprocessor_config.json"),
    (lambda folder: os.truncate(next(folder.glob("*.safetensors")), 5000), "model.safetensors"),
    (lambda folder: next(folder.glob("*.safetensors")).unlink(), "safetensors"),
])
def test_inspect_refuses_what_would_not_serve(tmp_path, spoil, named):
    assert vitower("make-checkpoint", "--output", tmp_path / "tower").returncode == OK
    spoil(tmp_path / "tower")
    done = vitower("inspect", "--model", tmp_path / "tower")
    assert done.returncode == REFUSED and named in done.stderr and done.stdout == ""
