"""The real binary: its help, options, files, exit codes and signals."""

import filecmp
import json
import os
import pathlib
import signal
import socket
import subprocess

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from pictures import encoded, photo
from reference import image_processor
from serving import VITOWER, rel_l2, serving

COMMANDS = ["serve", "embed", "preprocess", "healthcheck", "make-checkpoint", "inspect"]
OK, FAILURE, USAGE, REFUSED = 0, 1, 2, 3
SETTINGS = {name: value for name, value in os.environ.items() if not name.startswith("VITOWER_")}


def vitower(*arguments, stdin=None, env=None, cwd=None):
    """The finished process; its output as text."""
    done = subprocess.run([VITOWER, *map(str, arguments)], input=stdin, capture_output=True, timeout=120, cwd=cwd,
                          env={**SETTINGS, **(env or {})})
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


def embed(*arguments, expect=OK, **kwargs):
    done = vitower("embed", *arguments, **kwargs)
    assert done.returncode == expect, done.stderr
    return done


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Good images of several formats and sizes in nested folders, two of one name; bad ones beside them."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(5)
    (folder / "sub").mkdir()
    for name, width, height, kind in [("a.jpg", 320, 240, "JPEG"), ("a.png", 150, 401, "PNG"),
                                      ("b.webp", 64, 64, "WEBP"), ("c.bmp", 333, 222, "BMP"),
                                      ("sub/a.jpg", 500, 90, "JPEG")]:
        (folder / name).write_bytes(encoded(photo(rng, width, height), kind))
    return folder


@pytest.fixture(scope="module")
def photos_with_bad_ones(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "good.jpg").write_bytes((photos / "a.jpg").read_bytes())
    (folder / "cut.jpg").write_bytes((photos / "a.jpg").read_bytes()[:2000])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"this is no image")
    (folder / "thin.png").write_bytes(encoded(np.zeros((1, 201, 3), np.uint8)))
    (folder / "zgood.png").write_bytes((photos / "a.png").read_bytes())
    return folder


@pytest.fixture(scope="module")
def server():
    with serving("--max-batch-patches", 512) as running:
        yield running


# ---- Help, version, options


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_every_subcommand(command):
    done = vitower(command, "--help")
    assert done.returncode == OK and done.stderr == ""
    assert "Examples:\n  vitower " + command in done.stdout
    assert "Exit codes:" in done.stdout and "VITOWER_" in done.stdout and "--print-config" in done.stdout


def test_help_lists_the_subcommands_and_version_the_libraries():
    done = vitower("--help")
    assert done.returncode == OK and all(f"\n  {command} " in done.stdout for command in COMMANDS)
    version = vitower("--version")
    assert version.returncode == OK
    assert all(name in version.stdout for name in ["vitower 0.", "libtorch 2.", "OpenCV 4.", "gRPC 1."])


@pytest.mark.parametrize("arguments, message", [
    ([], "subcommand"),
    (["bogus"], '"bogus" is no sub-command'),
    (["serve", "--bogus"], "--bogus"),
    (["serve"], "random:2b"),
    (["serve", "--model", "random:tiny", "--max-batch-patches", "many"], '"many" is not a whole number'),
    (["serve", "--model", "random:tiny", "--listen", "nowhere"], '--listen is "nowhere"'),
    (["serve", "--model", "random:tiny", "--max-queue-patches", "8"], "--max-item-patches"),
    (["serve", "--model", "random:tiny", "--max-queue-patches", "128", "--max-item-patches", "64",
      "--max-batch-patches", "256"], "--max-batch-patches"),
    (["serve", "--model", "random:tiny", "--max-inflight-bytes", "1MiB"], "--max-request-bytes"),
    (["embed", "a.jpg", "--output", "x"], "--server or --model"),
    (["embed", "a.jpg", "--output", "x", "--model", "random:tiny", "--server", "localhost:1"], "contradict"),
    (["embed", "--output", "x", "--model", "random:tiny"], "no input"),
    (["embed", "a.jpg", "--model", "random:tiny"], "--output is required"),
    (["embed", "a.jpg", "--output", "x", "--model", "random:tiny", "--outputs", "vectors"], "--outputs"),
    (["embed", "a.jpg", "--output", "x", "--model", "random:tiny", "--outputs", "deepstack_7"], "deepstack_7"),
    (["embed", "a.jpg", "--output", "x.npy", "--format", "safetensors", "--model", "random:tiny"], "contradicts"),
    (["preprocess", "a.jpg", "--output", "x", "--min-pixels", "90000000"], "--max-pixels"),
    (["make-checkpoint"], "--output is required"),
    (["make-checkpoint", "--output", "x", "--shape", "3b"], "tiny"),
    (["inspect"], "--model is required"),
    (["healthcheck", "--server", "nowhere"], "HOST:PORT"),
])
def test_usage_errors_are_exit_code_2_and_say_the_way_out(arguments, message, tmp_path):
    done = vitower(*arguments, cwd=tmp_path)
    assert done.returncode == USAGE and message in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_print_config_tells_where_every_value_came_from(tmp_path):
    config = tmp_path / "vitower.toml"
    config.write_text('max-reply-bytes = 1MiB\n[serve]\nmax-batch-patches = 64\ndrain-timeout = "5s"\n[embed]\nquiet = true\n')
    done = vitower("serve", "--config", config, "--print-config", "--dtype", "fp32", "--drain-timeout", "7s",
                   env={"VITOWER_MODEL": "random:tiny", "VITOWER_MAX_BATCH_PATCHES": "32"})
    assert done.returncode == OK and done.stderr == ""
    lines = {line.split(" = ")[0]: line.split(" = ")[1].split("#") for line in done.stdout.splitlines() if " = " in line}
    got = {name: (value.strip(), source.strip()) for name, (value, source) in lines.items()}
    assert got["model"] == ("random:tiny", "environment VITOWER_MODEL")
    assert got["max-batch-patches"] == ("32", "environment VITOWER_MAX_BATCH_PATCHES")
    assert got["max-reply-bytes"] == ("1MiB", f"config file {config}")
    assert got["dtype"] == ("fp32", "command line")
    assert got["drain-timeout"] == ("7s", "command line")
    assert got["max-request-bytes"] == ("256MiB", "default")
    help_text = vitower("serve", "--help").stdout
    flags = {word[2:] for word in help_text.split("Exit codes")[0].split() if word.startswith("--") and word[2:].islower()}
    assert all(f"{flag} " in done.stdout for flag in flags - {"config", "print-config", "flag"} if flag in help_text)


def test_a_typo_in_the_config_file_is_refused_by_name(tmp_path):
    (tmp_path / "v.toml").write_text("[serve]\nmax-batch-patch = 64\n")
    done = vitower("serve", "--config", tmp_path / "v.toml", "--model", "random:tiny")
    assert done.returncode == USAGE and 'no option "max-batch-patch"' in done.stderr


# ---- embed


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_embedding_in_process_equals_embedding_by_the_server(photos, server, tmp_path):
    everything = ["--outputs", "tokens,deepstack,pooled", "--quiet"]
    embed(photos, "--model", "random:tiny", "--output", tmp_path / "local", *everything)
    embed(photos, "--server", server.address, "--output", tmp_path / "remote", *everything, "--batch-items", 2)
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


def test_a_folder_of_many_images_runs_with_calls_in_flight(server, tmp_path):
    rng = np.random.default_rng(3)
    (tmp_path / "in").mkdir()
    for i in range(40):
        (tmp_path / f"in/{i:02}.jpg").write_bytes(encoded(photo(rng, 40 + 7 * i, 100), "JPEG"))
    done = embed(tmp_path / "in", "--server", server.address, "--output", tmp_path / "out", "--concurrency", 8,
                 "--batch-items", 3, "--times")
    assert len(written(tmp_path / "out")) == 40
    lines = done.stdout.splitlines()
    assert [pathlib.Path(line.split()[0]).name for line in lines[:40]] == [f"{i:02}.jpg" for i in range(40)]
    assert [line.split()[0] for line in lines[40:]] == [
        "stage", "receive", "admit", "decode", "resize", "queue", "upload", "patch_embed", "position", "blocks", "merger",
        "download", "total"]
    assert "embed: 20 of 40 files" in done.stderr


def test_a_full_server_is_tried_again_until_all_is_done(tmp_path):
    rng = np.random.default_rng(4)
    (tmp_path / "in").mkdir()
    for i in range(30):
        (tmp_path / f"in/{i:02}.png").write_bytes(encoded(photo(rng, 200, 200)))
    with serving("--max-queue-patches", 256, "--max-item-patches", 256, "--max-batch-patches", 256) as busy:
        embed(tmp_path / "in", "--server", busy.address, "--output", tmp_path / "out", "--concurrency", 8, "--batch-items", 1)
        rejected = sum(value for name, value in busy.metrics().items() if name.startswith("vitower_rejected_total"))
    assert len(written(tmp_path / "out")) == 30 and rejected > 0


def test_a_call_above_what_the_server_ever_holds_is_split(tmp_path):
    rng = np.random.default_rng(5)
    (tmp_path / "in").mkdir()
    for i in range(8):
        (tmp_path / f"in/{i}.png").write_bytes(encoded(photo(rng, 200, 200)))
    with serving("--max-queue-patches", 1024, "--max-item-patches", 1024, "--max-batch-patches", 1024) as small:
        embed(tmp_path / "in", "--server", small.address, "--output", tmp_path / "out", "--batch-items", 8)
        rejected = small.metrics()['vitower_rejected_total{reason="call_too_large"}']
    assert len(written(tmp_path / "out")) == 8 and rejected == 1


def test_a_reply_above_the_servers_limit_is_split(photos, tmp_path):
    with serving("--max-reply-bytes", "150KiB") as small:
        done = embed(photos, "--server", small.address, "--output", tmp_path / "out", "--quiet", expect=OK)
        assert len(written(tmp_path / "out")) == 5, done.stderr
        done = embed(photos, "--server", small.address, "--output", tmp_path / "wide", "--dtype", "fp32", "--min-pixels",
                     400_000, expect=REFUSED)
        assert "--max-reply-bytes" in done.stderr and "5 of 5 files have no result" in done.stderr


@pytest.mark.parametrize("where", ["model", "server"])
def test_bad_files_are_reported_by_name_and_the_others_written(photos_with_bad_ones, server, tmp_path, where):
    source = ["--model", "random:tiny"] if where == "model" else ["--server", server.address]
    done = embed(photos_with_bad_ones, tmp_path / "missing.jpg", *source, "--output", tmp_path / "out", expect=REFUSED)
    assert [pathlib.Path(name).name for name in written(tmp_path / "out")] == ["good.jpg.safetensors", "zgood.png.safetensors"]
    for bad in ["cut.jpg", "empty.png", "text.jpg", "thin.png", "missing.jpg"]:
        assert sum(f"{bad}: " in line for line in done.stderr.splitlines()) == 1, done.stderr
    assert "5 of 7 files have no result, 2 are done" in done.stderr


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


def test_preprocess_reports_bad_files_and_goes_on(photos_with_bad_ones, tmp_path):
    done = vitower("preprocess", photos_with_bad_ones, "--output", tmp_path / "out")
    assert done.returncode == REFUSED and "text.jpg: " in done.stderr
    assert written(tmp_path / "out") == ["good.jpg.safetensors", "zgood.png.safetensors"]


# ---- serve and healthcheck


def test_healthcheck_tells_serving_from_not(server):
    done = vitower("healthcheck", "--server", server.address)
    assert done.returncode == OK and "SERVING" in done.stdout
    assert vitower("healthcheck", env={"VITOWER_SERVER": server.address}).returncode == OK
    gone = vitower("healthcheck", "--server", "127.0.0.1:1", "--wait", 0.3)
    assert gone.returncode == FAILURE and "127.0.0.1:1" in gone.stderr


def test_healthcheck_waits_for_a_server_that_starts_later():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = "127.0.0.1:%d" % free.getsockname()[1]
    waiting = subprocess.Popen([VITOWER, "healthcheck", "--wait", "60", "--server", address], env=SETTINGS)
    starting = subprocess.Popen([VITOWER, "serve", "--model", "random:tiny", "--listen", address, "--metrics-listen",
                                 "127.0.0.1:0", "--log-level", "error"], env=SETTINGS)
    try:
        assert waiting.wait(60) == OK
    finally:
        starting.send_signal(signal.SIGTERM)
        assert starting.wait(60) == OK


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_server_with_exit_code_0(stop):
    with serving() as running:
        running.process.send_signal(stop)
        assert running.process.wait(30) == OK
    assert vitower("healthcheck", "--server", running.address).returncode == FAILURE


def test_a_signal_while_images_are_embedded_loses_none_that_was_accepted(tmp_path):
    rng = np.random.default_rng(6)
    (tmp_path / "in").mkdir()
    for i in range(24):
        (tmp_path / f"in/{i:02}.png").write_bytes(encoded(photo(rng, 300, 300)))
    with serving() as running:
        client = subprocess.Popen([VITOWER, "embed", tmp_path / "in", "--server", running.address, "--output", tmp_path / "out",
                                   "--batch-items", "24", "--concurrency", "1"], env=SETTINGS, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE)
        while running.metrics().get("vitower_inflight_bytes", 0) == 0 and client.poll() is None:
            pass
        assert running.stop() == OK, running.log
        assert client.wait(60) == OK, client.stderr.read()
    assert len(written(tmp_path / "out")) == 24


@pytest.fixture(scope="module")
def slow_image(tmp_path_factory):
    """An image whose forward pass takes seconds."""
    path = tmp_path_factory.mktemp("slow") / "slow.png"
    path.write_bytes(encoded(photo(np.random.default_rng(7), 2000, 2000)))
    return path


def embedding(server, image, output):
    """A client whose image was accepted by the server."""
    client = subprocess.Popen([VITOWER, "embed", image, "--server", server.address, "--output", output], env=SETTINGS,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while server.metrics().get("vitower_inflight_bytes", 0) == 0:
        assert client.poll() is None
    return client


def test_accepted_work_that_is_dropped_is_exit_code_1(slow_image, tmp_path):
    with serving("--drain-timeout", "0") as running:
        client = embedding(running, slow_image, tmp_path / "x.npy")
        assert running.stop() == FAILURE and any("--drain-timeout" in line for line in running.log)
        assert client.wait(60) == FAILURE
    assert not list(tmp_path.iterdir())


def test_a_second_signal_stops_at_once(slow_image, tmp_path):
    with serving() as running:
        client = embedding(running, slow_image, tmp_path / "x.npy")
        running.process.send_signal(signal.SIGTERM)
        while not any("stopping" in line for line in running.log):
            assert running.process.poll() is None
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == FAILURE
        assert client.wait(60) == FAILURE


def test_environment_variables_configure_the_server():
    with serving("--log-format", "json", env={"VITOWER_MAX_REQUEST_ITEMS": "3", "VITOWER_DTYPE": "fp32"}) as running:
        from serving import stubs

        info = running.stub().GetModelInfo(stubs()[0].GetModelInfoRequest())
        assert info.limits.max_request_items == 3 and info.dtype == 3
        assert running.stop() == OK
    assert all("message" in json.loads(line) for line in running.log)


def test_a_second_server_on_the_same_port_names_the_address(server):
    done = vitower("serve", "--model", "random:tiny", "--listen", server.address, "--metrics-listen", "127.0.0.1:0")
    assert done.returncode == FAILURE and f"cannot listen on {server.address}" in done.stderr
    metrics = server.metrics_url.removeprefix("http://").removesuffix("/metrics")
    done = vitower("serve", "--model", "random:tiny", "--listen", "127.0.0.1:0", "--metrics-listen", metrics)
    assert done.returncode == FAILURE and metrics in done.stderr


def test_a_model_that_cannot_be_served_is_refused(tmp_path):
    done = vitower("serve", "--model", tmp_path, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    assert done.returncode == REFUSED and str(tmp_path) in done.stderr


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
