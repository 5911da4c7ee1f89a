"""What a client has taken belongs to its owner again: the memory may hold the next item while this one is on its way."""

import asyncio

import numpy as np
import pytest
import torch
import vitower
from PIL import Image
from numbered import gif, patches
from puppet import colour, flat_png, mark, pil, write_photos


def reused_frame(give):
    """100 items of one array that is filled anew for each."""
    frame = np.empty((512, 512, 3), np.uint8)
    for number in range(100):
        frame[:] = colour(number)
        yield give(frame)
    frame[:] = 255


def reused_buffer(give):
    """100 items of one buffer with a file of its own for each."""
    pictures = [flat_png(number) for number in range(100)]
    buffer = bytearray(max(map(len, pictures)))
    for picture in pictures:
        buffer[:] = picture.ljust(len(buffer), b"\0")
        yield give(buffer)
    buffer[:] = bytes(len(buffer))


def reused_clip(give):
    buffer = bytearray()
    for number in range(100):
        buffer[:] = gif(number).data
        yield vitower.Video(buffer)
    buffer[:] = b""


def reused_rows(give):
    shared = patches(0)
    for number in range(100):
        shared.pixel_values[:] = patches(number).pixel_values
        yield shared
    shared.pixel_values[:] = 0


def sliding_list(give):
    """Frames of a list that moves on."""
    frames = [pil(0)]
    for number in range(100):
        frames[:] = [pil(number)]
        yield vitower.Frames(frames)
    frames.clear()


REUSED = [pytest.param(way, give, id=name) for name, way, give in [
    ("array", reused_frame, lambda frame: frame),
    ("clip", reused_frame, lambda frame: frame[None]),
    ("tensor", reused_frame, torch.from_numpy),
    ("frames", reused_frame, lambda frame: vitower.Frames([frame, frame])),
    ("tensors", reused_frame, lambda frame: vitower.Frames([torch.from_numpy(frame)])),
    ("array-beside-pil", reused_frame, lambda frame: vitower.Frames([frame, Image.new("RGB", (512, 512))])),
    ("buffer", reused_buffer, lambda buffer: buffer),
    ("view", reused_buffer, memoryview),
    ("buffers", reused_buffer, lambda buffer: vitower.Frames([buffer, buffer])),
    ("video", reused_clip, None),
    ("patches", reused_rows, None),
    ("list", sliding_list, None),
]]


@pytest.mark.parametrize(("items", "give"), REUSED)
def test_what_was_taken_may_be_used_again(client, items, give):
    assert [mark(embedding) for embedding in client.embed_stream(items(give), ordered=True)] == list(range(100))


def test_a_buffer_beside_a_path_may_be_used_again(client, tmp_path):
    path = write_photos(tmp_path, 1) / "0000.png"
    items = reused_buffer(lambda buffer: vitower.Frames([buffer, path]))
    assert [mark(embedding) for embedding in client.embed_stream(items, ordered=True)] == list(range(100))


@pytest.mark.parametrize(("items", "give"), REUSED)
def test_aio_what_was_taken_may_be_used_again(puppet, items, give):
    async def run():
        async with vitower.aio.Client(puppet.address, timeout=60) as client:
            return [mark(embedding) async for embedding in client.embed_stream(items(give), ordered=True)]

    assert asyncio.run(run()) == list(range(100))
