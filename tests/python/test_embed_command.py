"""vitower-embed: inputs, outputs, refusals, and above all that a killed job loses and repeats nothing."""

import contextlib
import io
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import tarfile
import termios

import numpy as np
import pyarrow as pa
import pytest
import vitower
from puppet import Puppet, flat_png, mark, write_photos
from pyarrow import parquet
from safetensors.torch import load_file
from vitower.embed import read_shards
from vitower.embed.command import main

OK, FAILURE, USAGE, REFUSED = 0, 1, 2, 3
SLOW = ["--hidden", 64, "--device-min-us", 10_000, "--max-batch-patches", 512]
SOURCE = pathlib.Path(__file__).resolve().parents[2] / "client/python/src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}


def start(*arguments, stderr=subprocess.PIPE):
    return subprocess.Popen([sys.executable, "-m", "vitower.embed.command", *map(str, arguments)], env=ENVIRONMENT,
                            stderr=stderr, text=True)


def embed(*arguments, expect=OK, cwd=None):
    """What the command said on stderr, run in this process; `start` runs it in one that can be stopped."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.chdir(cwd or os.getcwd()):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:  # argparse
            code = exit.code
    assert code == expect, said.getvalue()
    return said.getvalue()


def await_shards(process, folder, count):
    """Returns once there are so many shards; a job that ends before fails the test."""
    while len(list(folder.glob("part-*"))) < count:
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"the job ended too soon: {process.stderr.read()}")


def marks(folder):
    """{id: the number whose colour the server saw}, of every row; ids must be unique."""
    rows = list(read_shards(folder))
    found = {row.id: mark(row.outputs) for row in rows}
    assert len(found) == len(rows), "an item was written twice"
    return found


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), 40)


@pytest.fixture(scope="module")
def slow():
    """About 200 items a second, so that there is a middle to stop in."""
    with Puppet(*SLOW) as running:
        yield running


def test_folders_files_and_globs_become_parquet(puppet, photos, tmp_path):
    nested = write_photos(tmp_path / "in/deep", 3).parent
    (nested / "notes.txt").write_text("no image")
    embed(nested, photos / "0007.png", str(photos / "001?.png"), photos / "0007.png", "--server", puppet.address,
          "--output", tmp_path / "out", "--shard-items", 5)
    want = {str(nested / f"deep/{n:04d}.png"): n for n in range(3)}
    want |= {str(photos / f"{n:04d}.png"): n for n in [7, *range(10, 20)]}
    assert marks(tmp_path / "out") == want
    assert [path.name for path in sorted((tmp_path / "out").glob("*.parquet"))] == [
        f"part-{n:06d}.parquet" for n in range(3)]


def test_the_values_on_disk_are_those_the_client_gets(puppet, tmp_path):
    write_photos(tmp_path / "in", 6)
    with vitower.Client(puppet.address) as client:
        want = client.embed(sorted((tmp_path / "in").iterdir()), tokens=True, deepstack="all", pooled=True,
                            pooled_slices=True)
    for format in ("parquet", "safetensors"):
        embed(tmp_path / "in", "--server", puppet.address, "--output", tmp_path / format, "--format", format,
              "--outputs", "tokens,deepstack,pooled,pooled_slices")
        rows = {row.id: row for row in read_shards(tmp_path / format)}
        for embedding in want:
            row = rows.pop(embedding.id)
            assert row.grid_thw == embedding.grid_thw and sorted(row.outputs) == sorted(embedding.keys())
            for name in embedding.keys():
                np.testing.assert_array_equal(row.outputs[name], embedding[name])
        assert not rows


def test_shards_can_be_read_without_this_package(puppet, tmp_path):
    write_photos(tmp_path / "in", 2)
    for format in ("parquet", "safetensors"):
        embed(tmp_path / "in", "--server", puppet.address, "--output", tmp_path / format, "--format", format,
              "--outputs", "tokens,pooled", "--dtype", "bf16")
    table = parquet.read_table(tmp_path / "parquet/part-000000.parquet").sort_by("id")
    assert table.schema.field("pooled").type == pa.list_(pa.float32(), 64)
    about = json.loads(table.schema.metadata[b"vitower"])
    assert about["dtype"] == "bf16" and about["fingerprint"] and about["options"]["dtype"] == "bf16"
    tensors = load_file(tmp_path / "safetensors/part-000000.safetensors")
    tokens = tensors[f"{tmp_path}/in/0001.png/tokens"]
    assert str(tokens.dtype) == "torch.bfloat16" and mark({"tokens": tokens.float().numpy()}) == 1
    assert tokens.contiguous().view(dtype=__import__("torch").uint8).numpy().tobytes() == table["tokens"][1].as_py()


def test_tars_of_webdataset_and_parquet_columns_are_read(puppet, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in [("000.png", flat_png(1)), ("000.json", b"{}"), ("001.png", flat_png(2)), ("001.txt", b"x")]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (tmp_path / "5.png").write_bytes(flat_png(5))
    columns = {"image": [flat_png(3), flat_png(4)], "path": [str(tmp_path / "5.png")] * 2,
               "hub": [{"bytes": flat_png(6), "path": "a"}, {"bytes": flat_png(7), "path": "b"}], "label": [1, 2]}
    parquet.write_table(pa.table(columns), tmp_path / "b.parquet", row_group_size=1)
    embed("a.tar", "b.parquet:image", "b.parquet:path", "*.parquet:hub", "--server", puppet.address, "--output", "out",
          cwd=tmp_path)
    assert marks(tmp_path / "out") == {
        "a.tar/000.png": 1, "a.tar/001.png": 2, "b.parquet:image:0": 3, "b.parquet:image:1": 4, "b.parquet:path:0": 5,
        "b.parquet:path:1": 5, "b.parquet:hub:0": 6, "b.parquet:hub:1": 7}
    said = embed("b.parquet:label", "--server", puppet.address, "--output", "other", expect=USAGE, cwd=tmp_path)
    assert 'column "label" is int64' in said
    said = embed("b.parquet:nothing", "--server", puppet.address, "--output", "other", expect=USAGE, cwd=tmp_path)
    assert "it has: image, path, hub, label" in said


@pytest.mark.parametrize("format", ["parquet", "safetensors"])
def test_a_killed_job_that_is_started_again_loses_and_repeats_nothing(slow, tmp_path, format):
    write_photos(tmp_path / "in", 300)
    (tmp_path / "in/bad.png").write_bytes(b"no image")
    command = [tmp_path / "in", "--server", slow.address, "--output", tmp_path / "out", "--format", format,
               "--shard-items", 10, "--in-flight", 32]
    for shards in (4, 9):
        process = start(*command)
        await_shards(process, tmp_path / "out", shards)
        process.kill()
        process.communicate()
    on_disk = marks(tmp_path / "out")
    assert 0 < len(on_disk) < 300
    slow.await_idle()
    before = slow.embedded()
    said = embed(*command, expect=REFUSED)
    assert slow.embedded() - before == 300 - len(on_disk)
    assert re.search(rf"{300 - len(on_disk)} embedded into \d+ shards", said)
    assert marks(tmp_path / "out") == {str(tmp_path / f"in/{n:04d}.png"): n for n in range(300)}
    errors = [json.loads(line) for line in (tmp_path / "out/errors.jsonl").read_text().splitlines()]
    assert [error["id"] for error in errors] == [str(tmp_path / "in/bad.png")]
    assert not list((tmp_path / "out").glob(".*.tmp"))


def test_a_finished_job_is_not_done_again(puppet, photos, tmp_path):
    command = [photos, "--server", puppet.address, "--output", tmp_path / "out"]
    embed(*command)
    before = puppet.embedded()
    assert "0 embedded into 0 shards, 40 were done before" in embed(*command)
    assert puppet.embedded() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_finishes_what_is_in_flight(slow, tmp_path, number):
    write_photos(tmp_path / "in", 300)
    command = [tmp_path / "in", "--server", slow.address, "--output", tmp_path / "out", "--shard-items", 10]
    before = slow.embedded()
    process = start(*command)
    await_shards(process, tmp_path / "out", 1)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == FAILURE and "interrupted; the same command goes on from here" in said
    first = marks(tmp_path / "out")
    assert len(first) < 300 and slow.embedded() - before == len(first)  # nothing that was in flight was thrown away
    embed(*command)
    assert len(marks(tmp_path / "out")) == 300


def test_a_resume_with_other_options_is_refused_by_name(puppet, photos, tmp_path):
    command = [photos, "--server", puppet.address, "--output", tmp_path / "out", "--max-pixels", 65536]
    embed(*command, "--outputs", "pooled", "--dtype", "fp32")
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    said = embed(*command, "--outputs", "pooled,tokens", "--format", "safetensors", expect=USAGE)
    for words in ["tokens was unset and is now True", "dtype was fp32 and is now unset",
                  "format was parquet and is now safetensors"]:
        assert words in said
    assert "max_pixels" not in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before


def test_bad_inputs_are_reported_and_only_tried_again_when_asked(puppet, tmp_path):
    write_photos(tmp_path / "in", 3)
    (tmp_path / "in/bad.png").write_bytes(b"no image")
    command = [tmp_path / "in", "--server", puppet.address, "--output", tmp_path / "out"]
    assert "bad.png: INVALID_ARGUMENT" in embed(*command, expect=REFUSED)
    error = json.loads((tmp_path / "out/errors.jsonl").read_text())
    assert error["id"].endswith("bad.png") and error["code"] == "INVALID_ARGUMENT" and error["message"]
    (tmp_path / "in/bad.png").write_bytes(flat_png(9))
    embed(*command, expect=REFUSED)
    assert len(marks(tmp_path / "out")) == 3
    embed(*command, "--retry-errors")
    assert marks(tmp_path / "out")[str(tmp_path / "in/bad.png")] == 9
    assert not (tmp_path / "out/errors.jsonl").exists()


def test_what_could_not_be_read_this_time_is_tried_again(puppet, tmp_path):
    write_photos(tmp_path / "in", 3)
    loop = tmp_path / "in/loop.png"
    loop.symlink_to(loop)
    command = [tmp_path / "in", "--server", puppet.address, "--output", tmp_path / "out"]
    assert "UNAVAILABLE" in embed(*command, expect=FAILURE)
    loop.unlink()
    loop.write_bytes(flat_png(9))
    embed(*command)
    assert marks(tmp_path / "out") == {str(tmp_path / f"in/{n:04d}.png"): n for n in range(3)} | {str(loop): 9}


@pytest.mark.parametrize("format", ["parquet", "safetensors"])
def test_a_name_that_is_not_unicode_is_refused_alone(puppet, tmp_path, format):
    write_photos(tmp_path / "in", 3)
    with open(os.fsencode(tmp_path / "in") + b"/\xff.png", "wb") as file:
        file.write(flat_png(9))
    command = [tmp_path / "in", "--server", puppet.address, "--output", tmp_path / "out", "--format", format]
    for _ in range(2):  # nor does a resume stumble over it
        embed(*command, expect=REFUSED)
        error = json.loads((tmp_path / "out/errors.jsonl").read_text())
        assert error["code"] == "INVALID_ARGUMENT" and "is not Unicode" in error["message"]
        assert marks(tmp_path / "out") == {str(tmp_path / f"in/{n:04d}.png"): n for n in range(3)}


def photos_tar(path, count, mode="w"):
    with tarfile.open(path, mode) as tar:
        for number in range(count):
            data = flat_png(number)
            member = tarfile.TarInfo(f"{number:03d}.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path.read_bytes()


@pytest.mark.parametrize("suffix, keep, overwrite", [
    ("tar", 2.5, b""), ("tar", 2.1, b""), ("tar", 2, b"no header " * 60), ("tar", 0, b"no tar at all" * 99), ("tar", 0, b""),
    ("tar.gz", 2.5, b""), ("tar.gz", 2, b"no gzip " * 60), ("tar.xz", 2.5, b""), ("tar.bz2", 2.5, b"")])
def test_a_damaged_tar_costs_its_own_rest_only(puppet, tmp_path, suffix, keep, overwrite):
    """Cut in a member's content, cut in its header, with something else in its place."""
    kind = suffix.partition(".")[2]
    whole = photos_tar(tmp_path / f"cut.{suffix}", 4, f"w:{kind}")
    size = 1024 if not kind else len(whole) // 4
    (tmp_path / f"cut.{suffix}").write_bytes(whole[: int(keep * size)] + overwrite)
    photos_tar(tmp_path / "next.tar", 2)
    command = [f"cut.{suffix}", "next.tar", "--server", puppet.address, "--output", "out"]
    for _ in range(2):
        embed(*command, expect=REFUSED, cwd=tmp_path)
        got = marks(tmp_path / "out")
        assert {id: number for id, number in got.items() if id.startswith("next")} == {
            "next.tar/000.png": 0, "next.tar/001.png": 1}
        if not kind:
            assert sum(id.startswith("cut") for id in got) == int(keep)
        error = json.loads((tmp_path / "out/errors.jsonl").read_text())
        assert (error["id"], error["code"]) == (f"cut.{suffix}", "INVALID_ARGUMENT") and error["message"]


def test_a_damaged_parquet_file_costs_its_own_rest_only(puppet, tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.bytes(5000) for _ in range(4)]
    parquet.write_table(pa.table({"image": noise}), tmp_path / "a.parquet", row_group_size=1, compression="none",
                        use_dictionary=False, write_statistics=False)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    at = data.index(noise[2]) - 30  # the header of its page
    data[at : at + 30] = bytes(30)
    (tmp_path / "a.parquet").write_bytes(data)
    write_photos(tmp_path / "in", 2)
    embed("a.parquet:image", "in", "--server", puppet.address, "--output", "out", expect=REFUSED, cwd=tmp_path)
    assert marks(tmp_path / "out") == {"in/0000.png": 0, "in/0001.png": 1}
    errors = [json.loads(line)["id"] for line in (tmp_path / "out/errors.jsonl").read_text().splitlines()]
    assert sorted(errors) == ["a.parquet:image", "a.parquet:image:0", "a.parquet:image:1"]


def test_a_torn_line_of_the_errors_file_is_tried_again(puppet, tmp_path):
    write_photos(tmp_path / "in", 2)
    (tmp_path / "in/bad.png").write_bytes(b"no image")
    command = [tmp_path / "in", "--server", puppet.address, "--output", tmp_path / "out"]
    embed(*command, expect=REFUSED)
    line = (tmp_path / "out/errors.jsonl").read_text()
    (tmp_path / "out/errors.jsonl").write_text(line[: len(line) // 2])
    embed(*command, expect=REFUSED)
    assert (tmp_path / "out/errors.jsonl").read_text() == line


def test_two_jobs_do_not_write_to_one_folder(slow, tmp_path):
    write_photos(tmp_path / "in", 100)
    command = [tmp_path / "in", "--server", slow.address, "--output", tmp_path / "out", "--shard-items", 5]
    process = start(*command)
    await_shards(process, tmp_path / "out", 1)
    process.send_signal(signal.SIGSTOP)
    assert "another vitower-embed is writing there" in embed(*command, expect=USAGE)
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == OK, process.stderr.read()
    process.stderr.close()
    assert len(marks(tmp_path / "out")) == 100


def test_a_server_that_goes_away_leaves_a_job_that_can_go_on(tmp_path):
    write_photos(tmp_path / "in", 300)
    first = Puppet(*SLOW)
    command = [tmp_path / "in", "--server", first.address, "--output", tmp_path / "out", "--shard-items", 10]
    process = start(*command, "--attempts", 2)
    await_shards(process, tmp_path / "out", 1)
    first.stop(signal.SIGKILL)
    assert "stopped: UNAVAILABLE" in process.communicate(timeout=60)[1] and process.returncode == FAILURE
    with Puppet(*SLOW, port=first.port):
        embed(*command)
    assert len(marks(tmp_path / "out")) == 300


@pytest.mark.parametrize("arguments, message", [
    (["nothing/there"], "nothing/there: no such file or folder"),
    (["*.jpg"], "*.jpg: no such file or folder"),
    (["empty"], "empty: no image or clip"),
    (["a.png", "--outputs", "vectors"], '"vectors" is not tokens'),
    (["a.png", "--fps", "2", "--num-frames", "4"], "exclude each other"),
    (["a.png", "--tls-cert", "x.pem"], "go together"),
    (["a.png", "--token-file", "a.png"], "--plain-text-tokens says so"),
    (["a.png", "--dtype", "int8"], "invalid choice"),
    (["a.png", "--shard-bytes", "many"], "is not a size"),
    (["a.png", "--background", "red"], "is not a colour"),
    (["a.png", "--channels", "0"], "not above 0"),
])
def test_usage_errors_name_the_flag_and_write_nothing(puppet, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.png").write_bytes(flat_png(1))
    said = embed(*arguments, "--server", puppet.address, "--output", "out", expect=USAGE, cwd=tmp_path)
    assert message in said and not (tmp_path / "out").exists()


def test_no_server_is_a_failure(tmp_path):
    (tmp_path / "a.png").write_bytes(flat_png(1))
    said = embed("a.png", "--server", "127.0.0.1:1", "--output", "out", "--attempts", 1, expect=FAILURE, cwd=tmp_path)
    assert "UNAVAILABLE" in said and not (tmp_path / "out").exists()


def test_clips_in_containers_are_told_by_their_first_bytes():
    from vitower.embed.sources import media

    for head in (b"\0\0\0\x18ftypisom", b"\x1a\x45\xdf\xa3....", b"RIFF\0\0\0\0AVI LIST"):
        assert isinstance(media(head), vitower.Video)
    for head in (flat_png(1), b"RIFF\0\0\0\0WEBPVP8 ", b"GIF89a", b"\xff\xd8\xff\xe0", b""):
        assert isinstance(media(head), bytes)


def test_a_bar_is_drawn_on_a_terminal(puppet, photos, tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = start(photos, "--server", puppet.address, "--output", tmp_path / "out", stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait() == OK and b"40/40" in said
