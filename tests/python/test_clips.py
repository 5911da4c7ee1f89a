"""Encoded clips through the clients, and a stream of everything at once, against a real server with a puppet for a tower
(which marks every item with its first pixel; a codec changes colours a little)."""

import clips
import numpy as np
import pytest
import vitower
from puppet import flat, flat_png, mark
from vitower import Client, Item, ItemError, Sampling, Video

CONTAINERS = {"mp4": ("h264", "mp4"), "mov": ("h264", "mov"), "mkv": ("hevc", "matroska"), "webm": ("vp9", "webm"),
              "avi": ("mpeg4", "avi"), "gif": ("gif", "gif")}


def plain(value, codec="mpeg4", container="matroska", frames=20, fps=10):
    """A clip of one grey."""
    return clips.clip(codec, container, frames=frames, fps=fps, width=64, height=64,
                      draw=lambda *_: np.full((64, 64, 3), value, np.uint8))


def first_pixel(embedding):
    return [int(value) for value in embedding.tokens.reshape(-1)[:3]]


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_clip_of_each_container_as_a_path_and_as_bytes(client, tmp_path, name):
    codec, container = CONTAINERS[name]
    grey = 255 if name == "gif" else 136  # its palette has few
    data, path = plain(grey, codec, container), tmp_path / f"clip.{name}"
    path.write_bytes(data)
    given = [Video(data, num_frames=5), Video(path, num_frames=5)]
    if name != "gif":  # the path of a GIF is an image
        given.append(Item(str(path), options=vitower.Options(sampling=Sampling(num_frames=5))))
    for got in client.embed(given):
        assert got.frame_indices == tuple(np.linspace(0, 19, 5).round()) and got.padded
        assert got.grid_thw[0] == 3 and got.source_fps == pytest.approx(10) and len(got.slice_timestamps) == 3
        assert np.abs(np.subtract(first_pixel(got), grey)).max() <= 8
        np.testing.assert_allclose(got.slice_timestamps, [0.25, 1.2, 1.9], atol=0.051)


def test_the_clips_own_sampling_goes_before_that_of_the_call(client):
    clip = plain(40, frames=40)
    got = client.embed([Video(clip), Video(clip, fps=5), Video(clip, start_seconds=1, end_seconds=2)],
                       sampling=Sampling(num_frames=6))
    assert [len(embedding.frame_indices) for embedding in got] == [6, 20, 4]
    assert got[2].frame_indices[0] == 10 and got[2].frame_indices[-1] == 19
    with pytest.raises(ValueError):
        Video(clip, fps=2, num_frames=4)


def test_a_damaged_clip_is_an_error_of_its_own(client):
    whole = plain(80)
    got = client.embed([Video(whole), Video(whole[: len(whole) // 2]), Video(b""), Video(b"no clip"), Video(whole)],
                       on_error="return")
    assert [getattr(outcome, "code", "OK") for outcome in got] == ["OK", *["INVALID_ARGUMENT"] * 3, "OK"]
    assert "truncated" in got[1].message and "empty" in got[2].message


def patches(value):
    rows = np.zeros((16, 1536), np.float32)
    rows.view(np.uint8)[0, :3] = value
    return vitower.Patches(rows, [1, 4, 4])


def mixed():
    """40 items of every kind with what the first pixel has to be; 5 % of them broken."""
    encoded = {value: plain(value, frames=6) for value in (16, 96, 176)}
    items = []
    for n in range(40):
        value = 8 * (1 + n % 25)
        made = [lambda: flat_png(n), lambda: flat(n), lambda: patches(value), lambda: np.stack([flat(n)] * 3),
                lambda: Video(encoded[(16, 96, 176)[n % 3]], num_frames=3)][n % 5]()
        items.append((made, None if n % 5 in (0, 1, 3) else value if n % 5 == 2 else (16, 96, 176)[n % 3]))
    items[14] = Video(encoded[16][:-200]), "INVALID_ARGUMENT"
    items[25] = flat_png(25)[:60], "INVALID_ARGUMENT"
    return items


@pytest.mark.parametrize("channels", [1, 3])
def test_a_thousand_items_of_every_kind_are_answered_once_each_with_its_own_answer(puppet, channels):
    items = mixed()
    with Client(puppet.address, channels=channels, max_in_flight=50) as client:
        stream = client.embed_stream((Item(items[n % 40][0], id=f"no {n}") for n in range(1000)), on_error="return")
        outcomes = {outcome.index: outcome for outcome in stream}
    assert sorted(outcomes) == list(range(1000))
    for n, outcome in outcomes.items():
        want = items[n % 40][1]
        assert outcome.id == f"no {n}"
        if isinstance(want, str):
            assert isinstance(outcome, ItemError) and outcome.code == want
        elif want is None:
            assert mark(outcome) == n % 40
        else:
            assert np.abs(np.subtract(first_pixel(outcome), want)).max() <= 8, (n, first_pixel(outcome), want)
