"""`vitower embed`: files in, tensors out, in process and by a server."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from clips import clip
from pictures import photo
from serving import VITOWER, rel_l2, serving
from vitower_cli import FAILURE, OK, REFUSED, SETTINGS, USAGE, embed, write_photos, written


def test_embedding_in_process_equals_embedding_by_the_server(photos, server, tmp_path):
    everything = ["--outputs", "tokens,deepstack,pooled", "--quiet"]
    embed(photos, "--model", "random:tiny", "--output", tmp_path / "local", *everything)
    embed(photos, "--server", server.address, "--output", tmp_path / "remote", *everything)
    names = ["a.jpg", "a.png", "b.webp", "c.bmp", "sub/a.jpg"]
    assert written(tmp_path / "local") == written(tmp_path / "remote") == [f"{n}.safetensors" for n in names]
    for name in written(tmp_path / "local"):
        local, remote = load_file(tmp_path / "local" / name), load_file(tmp_path / "remote" / name)
        assert local.keys() == remote.keys() == {"tokens", "deepstack_0", "deepstack_1", "deepstack_2", "pooled", "grid_thw"}
        for tensor in local:
            assert local[tensor].dtype == remote[tensor].dtype and local[tensor].shape == remote[tensor].shape
            assert rel_l2(local[tensor].float().numpy(), remote[tensor].float().numpy()) < 1e-2, (name, tensor)


def test_safetensors_names_shapes_and_metadata(photos, tmp_path):
    out = tmp_path / "a.safetensors"
    done = embed(photos / "a.jpg", "--model", "random:tiny", "--output", out)
    assert "a.jpg  grid 1x16x20  80 tokens" in done.stdout
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
        assert metadata["source"] == "a.jpg" and metadata["model"] == "random:tiny"
        assert len(metadata["fingerprint"]) == 64 and metadata["vitower_version"].startswith("0.")
        assert file.get_tensor("grid_thw").tolist() == [1, 16, 20]
        assert set(file.keys()) == {"tokens", "deepstack_0", "deepstack_1", "deepstack_2", "grid_thw"}
        assert list(file.get_tensor("tokens").shape) == [80, 96] and str(file.get_tensor("tokens").dtype) == "torch.bfloat16"


@pytest.mark.parametrize("dtype, numpy_dtype", [("bf16", np.float32), ("fp16", np.float16), ("fp32", np.float32)])
def test_npy_is_read_by_numpy(photos, server, tmp_path, dtype, numpy_dtype):
    where = ["--server", server.address, "--dtype", dtype, "--outputs", "tokens,deepstack,pooled"]
    embed(photos / "a.jpg", *where, "--output", tmp_path / "x.npy")
    embed(photos / "a.jpg", *where, "--output", tmp_path / "x.safetensors")
    tensors = load_file(tmp_path / "x.safetensors")
    for name, tensor in tensors.items():
        array = np.load(tmp_path / ("x.npy" if name == "tokens" else f"x.{name}.npy"))
        assert array.dtype == (np.int64 if name == "grid_thw" else numpy_dtype)
        assert np.array_equal(array, tensor.float().numpy() if dtype == "bf16" else tensor.numpy())
    assert len(list(tmp_path.iterdir())) == len(tensors) + 1


def test_preprocessing_flags_mean_the_same_in_process_and_by_the_server(server, tmp_path):
    picture = Image.fromarray(photo(np.random.default_rng(1), 96, 128)).convert("RGBA")
    picture.putalpha(100)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    for i, flags in enumerate([["--no-exif"], ["--no-resize"], ["--background", "#00ff80"],
                               ["--min-pixels", 200_000, "--max-pixels", 250_000], ["--outputs", "pooled"]]):
        local, remote = tmp_path / f"{i}.safetensors", tmp_path / f"{i}-remote.safetensors"
        embed(tmp_path / "a.png", *flags, "--model", "random:tiny", "--output", local)
        embed(tmp_path / "a.png", *flags, "--server", server.address, "--output", remote)
        got, want = load_file(remote), load_file(local)
        assert got.keys() == want.keys() and all(got[name].equal(want[name]) for name in got), flags
    grids = [load_file(tmp_path / f"{i}.safetensors")["grid_thw"].tolist() for i in range(4)]
    assert grids[0] == [1, 20, 14] and grids[1] == [1, 6, 8] and grids[3][1] * grids[3][2] * 256 in range(200_000, 250_001)


def test_a_folder_of_many_images_runs_with_files_in_flight(server, tmp_path):
    write_photos(tmp_path / "in", 40, seed=3, kind="JPEG", size=lambda i: (40 + 7 * i, 100))
    done = embed(tmp_path / "in", "--server", server.address, "--output", tmp_path / "out", "--in-flight", 8, "--times")
    assert len(written(tmp_path / "out")) == 40
    lines = done.stdout.splitlines()
    assert sorted(pathlib.Path(line.split()[0]).name for line in lines[:40]) == [f"{i:02}.jpg" for i in range(40)]
    assert [line.split()[0] for line in lines[40:]] == [
        "stage", "receive", "admit", "decode", "resize", "queue", "upload", "patch_embed", "position", "blocks", "merger",
        "download", "total"]
    assert "embed: 20 of 40 files" in done.stderr


def test_a_server_with_room_for_two_images_embeds_thirty(tmp_path):
    write_photos(tmp_path / "in", 30, seed=4)
    with serving("--max-queue-patches", 512, "--max-item-patches", 512, "--max-batch-patches", 512) as small:
        embed(tmp_path / "in", "--server", small.address, "--output", tmp_path / "out", "--in-flight", 64)
    assert len(written(tmp_path / "out")) == 30


def test_what_a_full_server_refuses_is_sent_again_until_all_is_done(tmp_path):
    folders = [write_photos(tmp_path / f"in{i}", 20, seed=i) for i in range(3)]
    with serving("--max-queue-patches", 256, "--max-item-patches", 256, "--max-batch-patches", 256) as busy:
        clients = [subprocess.Popen([VITOWER, "embed", folder, "--server", busy.address, "--output", f"{folder}-out"],
                                    env=SETTINGS, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for folder in folders]
        for client in clients:
            assert client.wait(120) == OK, client.stderr.read()
        rejected = sum(value for name, value in busy.metrics().items() if name.startswith("vitower_rejected_total"))
    assert all(len(written(tmp_path / f"in{i}-out")) == 20 for i in range(3)) and rejected > 0


def test_a_result_larger_than_a_chunk_arrives_whole(photos, tmp_path):
    wide = ["--dtype", "fp32", "--min-pixels", 400_000]
    with serving("--stream-chunk-bytes", "64KiB", "--dtype", "fp32") as chunked:
        embed(photos / "a.jpg", "--server", chunked.address, "--output", tmp_path / "remote.safetensors", *wide)
    embed(photos / "a.jpg", "--model", "random:tiny", "--output", tmp_path / "local.safetensors", *wide)
    remote, local = load_file(tmp_path / "remote.safetensors"), load_file(tmp_path / "local.safetensors")
    assert remote["tokens"].numel() * 4 > 2 * 65536
    assert all(rel_l2(remote[name].float().numpy(), local[name].float().numpy()) < 1e-5 for name in local)


def test_a_file_larger_than_the_server_takes_is_refused_and_the_others_done(photos, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/small.webp").write_bytes((photos / "b.webp").read_bytes())
    (tmp_path / "in/large.bmp").write_bytes((photos / "c.bmp").read_bytes())
    with serving("--max-request-bytes", "100KiB") as small:
        done = embed(tmp_path / "in", "--server", small.address, "--output", tmp_path / "out", expect=REFUSED)
    assert "large.bmp" in done.stderr and "max_request_bytes" in done.stderr
    assert written(tmp_path / "out") == ["small.webp.safetensors"]


# ---- clips


CLIPS = ["even.mp4", "nine.webm", "odd.mkv", "old.avi", "still.jpg", "turns.mov"]


def test_clips_and_images_of_a_folder_are_embedded_alike_in_process_and_by_the_server(clips, server, tmp_path):
    everything = ["--outputs", "tokens,deepstack,pooled,pooled_slices", "--l2-normalize", "--dtype", "fp32", "--quiet",
                  "--video-max-pixels", 400_000]
    with serving("--dtype", "fp32") as exact:
        embed(clips, "--server", exact.address, "--output", tmp_path / "remote", *everything)
    embed(clips, "--model", "random:tiny", "--output", tmp_path / "local", *everything)
    assert written(tmp_path / "local") == written(tmp_path / "remote") == [f"{name}.safetensors" for name in CLIPS]
    for name in written(tmp_path / "local"):
        with safe_open(tmp_path / "local" / name, "pt") as local, safe_open(tmp_path / "remote" / name, "pt") as remote:
            assert local.metadata() == remote.metadata()
            assert set(local.keys()) == set(remote.keys()) >= {"pooled", "pooled_slices"}
            t, h, w = local.get_tensor("grid_thw").tolist()
            assert list(local.get_tensor("pooled_slices").shape) == [t, 96]
            assert list(local.get_tensor("tokens").shape) == [t * h * w // 4, 96]
            for tensor in local.keys():
                assert rel_l2(local.get_tensor(tensor).float().numpy(), remote.get_tensor(tensor).float().numpy()) < 1e-4
            norms = np.linalg.norm(local.get_tensor("pooled_slices").float().numpy(), axis=1)
            assert np.allclose(norms, 1, atol=1e-5)


def test_a_clips_frames_are_told_beside_its_tensors(clips, tmp_path):
    embed(clips / "nine.webm", "--model", "random:tiny", "--output", tmp_path / "x.safetensors", "--num-frames", 5)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        told = file.metadata()
        assert file.get_tensor("grid_thw").tolist()[0] == 3
    assert json.loads(told["frame_indices"]) == [0, 2, 4, 6, 8] and told["padded"] == "true"
    assert abs(json.loads(told["source_fps"]) - 3) < 1e-3
    assert np.allclose(json.loads(told["slice_timestamps"]), [1 / 3, 5 / 3, 8 / 3], atol=1e-3)


@pytest.mark.parametrize("where", ["model", "server"])
@pytest.mark.parametrize("flags, indices", [
    (["--video-fps", 1], [0, 20, 39, 59]), (["--video-fps", 4], [0, 8, 17, 25, 34, 42, 51, 59]),
    (["--num-frames", 2], [0, 59]), (["--max-frames", 4], [0, 20, 39, 59]), (["--start", "1s", "--num-frames", 2], [30, 59]),
    (["--end", "1s", "--num-frames", 3], [0, 14, 29])])
def test_sampling_flags_choose_the_frames(clips, server, tmp_path, where, flags, indices):
    source = ["--model", "random:tiny"] if where == "model" else ["--server", server.address]
    embed(clips / "even.mp4", *source, "--output", tmp_path / "x.safetensors", "--outputs", "pooled", *flags)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert json.loads(file.metadata()["frame_indices"]) == indices


def test_an_animated_gif_is_an_image_unless_asked_for_as_a_clip(tmp_path):
    (tmp_path / "a.gif").write_bytes(clip("gif", "gif", frames=8, fps=4))
    for name, flags in [("image", []), ("clip", ["--gif-clips"])]:
        embed(tmp_path / "a.gif", "--model", "random:tiny", "--output", tmp_path / f"{name}.safetensors", *flags)
    assert load_file(tmp_path / "image.safetensors")["grid_thw"].tolist()[0] == 1
    assert load_file(tmp_path / "clip.safetensors")["grid_thw"].tolist()[0] == 2


@pytest.mark.parametrize("where", ["model", "server"])
def test_a_clip_comes_through_standard_input_too(clips, server, tmp_path, where):
    source = ["--model", "random:tiny"] if where == "model" else ["--server", server.address]
    for name, arguments in [("file", [clips / "odd.mkv"]), ("stdin", ["-"])]:
        embed(*arguments, *source, "--output", tmp_path / f"{name}.safetensors", stdin=(clips / "odd.mkv").read_bytes())
    x, y = load_file(tmp_path / "file.safetensors"), load_file(tmp_path / "stdin.safetensors")
    assert all(x[name].equal(y[name]) for name in x)


# ---- what goes wrong


@pytest.mark.parametrize("where", ["model", "server"])
def test_bad_files_are_reported_by_name_and_the_others_written(photos_with_bad_ones, clips, server, tmp_path, where):
    source = ["--model", "random:tiny"] if where == "model" else ["--server", server.address]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((clips / "even.mp4").read_bytes()[:3000])
    done = embed(photos_with_bad_ones, cut, tmp_path / "missing.jpg", *source, "--output", tmp_path / "out", expect=REFUSED)
    assert [pathlib.Path(name).name for name in written(tmp_path / "out")] == ["good.jpg.safetensors", "zgood.png.safetensors"]
    for bad in ["cut.jpg", "cut.mp4", "empty.png", "text.jpg", "thin.png", "missing.jpg"]:
        assert sum(f"{bad}: " in line for line in done.stderr.splitlines()) == 1, done.stderr
    assert "6 of 8 files have no result, 2 are done" in done.stderr


def test_a_terminal_gets_a_progress_bar(photos, tmp_path):
    terminal, stderr = os.openpty()
    done = subprocess.run([VITOWER, "embed", photos, "--model", "random:tiny", "--output", tmp_path / "out"], env=SETTINGS,
                          stdout=subprocess.PIPE, stderr=stderr, timeout=120)
    os.close(stderr)
    drawn = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert done.returncode == OK and "embed [##################............] 3/5" in drawn
    assert drawn.endswith("\r\x1b[K") and b"\r" not in done.stdout


def test_standard_input_goes_to_a_file(photos, tmp_path):
    embed("-", "--model", "random:tiny", "--output", tmp_path / "x.safetensors", stdin=(photos / "a.jpg").read_bytes())
    embed(photos / "a.jpg", "--model", "random:tiny", "--output", tmp_path / "y.safetensors")
    x, y = load_file(tmp_path / "x.safetensors"), load_file(tmp_path / "y.safetensors")
    assert all(x[name].equal(y[name]) for name in y)


def test_nothing_is_overwritten_unless_asked(photos, tmp_path):
    out = tmp_path / "x.safetensors"
    out.write_bytes(b"precious")
    done = embed(photos / "a.jpg", "--model", "random:tiny", "--output", out, expect=USAGE)
    assert "exists already" in done.stderr and out.read_bytes() == b"precious"
    embed(photos / "a.jpg", "--model", "random:tiny", "--output", out, "--overwrite")
    assert "tokens" in load_file(out)


def test_a_flag_outweighs_a_contradicting_variable(photos, server, tmp_path):
    embed(photos / "a.jpg", "--server", server.address, "--output", tmp_path / "x.npy",
          env={"VITOWER_MODEL": "/nowhere", "VITOWER_OUTPUTS": "pooled"})
    assert np.load(tmp_path / "x.npy").shape == (96,)


def test_an_unreachable_server_is_a_failure(photos, tmp_path):
    done = embed(photos, "--server", "127.0.0.1:1", "--output", tmp_path / "out", expect=FAILURE)
    assert "127.0.0.1:1" in done.stderr


def test_an_output_that_cannot_be_written_is_a_failure(photos, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    done = embed(photos / "a.jpg", "--model", "random:tiny", "--output", tmp_path / "file/x.safetensors", expect=FAILURE)
    assert "file" in done.stderr
