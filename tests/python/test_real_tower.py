"""The client against the real tower: its values are those of the command line tool and of the weights it says."""

import contextlib
import subprocess

import numpy as np
import pytest
import vitower
from pictures import encoded, photo
from safetensors.numpy import load_file
from serving import VITOWER, rel_l2, serving
from test_clips import mixed
from test_embed_command import USAGE, embed
from vitower.embed import read_shards

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number, (width, height) in enumerate([(320, 240), (150, 401), (64, 64), (333, 222)]):
        (folder / f"{number}.png").write_bytes(encoded(photo(RNG, width, height)))
    return folder


@pytest.fixture(scope="module")
def server():
    with serving("--dtype", "fp32") as running:
        yield running


@contextlib.contextmanager
def serving_at(address, model):
    """`vitower serve` where another has served before."""
    command = [VITOWER, "serve", "--model", model, "--listen", address, "--metrics-listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert "serving on" in process.stdout.readline()
        yield
    finally:
        process.terminate()
        process.communicate()


def test_values_equal_those_of_the_command_line_tool(server, photos, tmp_path):
    subprocess.run([VITOWER, "embed", photos, "--model", "random:tiny", "--dtype", "fp32", "--output", tmp_path / "cc",
                    "--outputs", "tokens,deepstack,pooled"], check=True, capture_output=True)
    paths = sorted(photos.iterdir())
    with vitower.Client(server.address) as client:
        got = client.embed(paths, tokens=True, deepstack="all", pooled=True)
    for path, embedding in zip(paths, got, strict=True):
        want = load_file(tmp_path / "cc" / f"{path.name}.safetensors")
        assert tuple(want.pop("grid_thw").reshape(-1)) == embedding.grid_thw
        assert sorted(want) == sorted(embedding.keys())
        for name, values in want.items():
            np.testing.assert_allclose(embedding[name], values.reshape(embedding[name].shape), rtol=0, atol=2e-5)


def test_pixels_and_patches_give_the_values_of_the_file(server, photos):
    from PIL import Image
    from reference import image_processor

    path = photos / "0.png"
    made = image_processor()(images=[Image.open(path)], return_tensors="pt")
    with vitower.Client(server.address) as client:
        want, *got = client.embed([path, Image.open(path), np.asarray(Image.open(path)),
                                   vitower.Patches(made["pixel_values"], made["image_grid_thw"])])
    for embedding in got:
        assert embedding.grid_thw == want.grid_thw
        np.testing.assert_allclose(embedding.tokens, want.tokens, rtol=0, atol=2e-5)


def test_each_of_two_thousand_mixed_items_gets_the_answer_that_it_gets_alone(server):
    kinds = [item for item, _ in mixed()]
    with vitower.Client(server.address, channels=2) as client:
        alone = [client.embed([item], on_error="return")[0] for item in kinds]
        stream = client.embed_stream((vitower.Item(kinds[n % 40], id=f"no {n}") for n in range(2000)), on_error="return")
        outcomes = {outcome.index: outcome for outcome in stream}
    assert sorted(outcomes) == list(range(2000))
    for n, got in outcomes.items():
        want = alone[n % 40]
        assert got.id == f"no {n}" and type(got) is type(want)
        if isinstance(want, vitower.ItemError):
            assert (got.code, got.message) == (want.code, want.message)
            continue
        assert got.grid_thw == want.grid_thw and sorted(got.keys()) == sorted(want.keys())
        for name in want.keys():
            assert rel_l2(got[name], want[name]) <= 1e-6, (n, name)
    assert sum(isinstance(outcome, vitower.ItemError) for outcome in outcomes.values()) == 100
    flats = [alone[n].tokens for n in (0, 5)]
    assert rel_l2(*flats) > 1e-3  # an answer of another item would be seen


def test_a_folder_in_parquet_holds_the_tokens(server, photos, tmp_path):
    embed(photos, "--server", server.address, "--output", tmp_path / "out", "--outputs", "tokens")
    with vitower.Client(server.address) as client:
        want = {embedding.id: embedding.tokens for embedding in client.embed(sorted(photos.iterdir()), tokens=True)}
    rows = {row.id: row.outputs["tokens"] for row in read_shards(tmp_path / "out")}
    assert rows.keys() == want.keys()
    for id, tokens in want.items():
        np.testing.assert_allclose(rows[id], tokens, rtol=0, atol=2e-5)


def test_other_weights_are_refused_by_a_resume_and_by_a_run(photos, tmp_path):
    for seed in (1, 2):
        subprocess.run([VITOWER, "make-checkpoint", "--shape", "tiny", "--seed", str(seed), "--output",
                        tmp_path / f"weights{seed}"], check=True, capture_output=True)
    with serving(model=tmp_path / "weights1") as first:
        embed(photos / "0.png", "--server", first.address, "--output", tmp_path / "out")
        with vitower.Client(first.address, retry=vitower.Retry(attempts=30, longest_seconds=0.5)) as client:
            fingerprint = client.info().fingerprint
            stream = client.embed_stream(path for _ in range(100) for path in sorted(photos.iterdir()))
            assert next(stream).fingerprint == fingerprint
            first.stop()
            with serving_at(first.address, tmp_path / "weights2"):
                with pytest.raises(vitower.CallError, match=f"FAILED_PRECONDITION.*not {fingerprint}"):
                    list(stream)
                said = embed(photos, "--server", first.address, "--output", tmp_path / "out", expect=USAGE)
                assert f"fingerprint was {fingerprint} and is now" in said
