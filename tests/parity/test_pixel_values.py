"""Encoded bytes to pixel_values, the whole way (header, decode, resize, normalise, patches), against the reference's
image processor run live: equal to the last bit."""

import io
import os
import struct
import subprocess
from pathlib import Path

import numpy
import pytest
import reference
import torch
from PIL import Image

TOWER_DUMP = Path(os.environ["VITOWER_BIN_DIR"]) / "tower_dump"
LIMITS = {"hub": dict(shortest_edge=65536, longest_edge=16777216), "narrow": dict(shortest_edge=4095, longest_edge=90000)}


class Probe:
    """The program's answers, one image at a time: all of them together would not fit."""

    def __init__(self, limits):
        self.process = subprocess.Popen([TOWER_DUMP, "--pixel-values", "%d,%d" % tuple(limits.values())],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait() == 0

    def ask(self, data):
        """grid, rows; or None and the message of the refusal."""
        self.process.stdin.write(struct.pack("<i", len(data)) + data)
        self.process.stdin.flush()
        t, h, w = struct.unpack("<3i", self.process.stdout.read(12))
        if t == 0:
            return None, self.process.stdout.read(w).decode()
        values = numpy.frombuffer(self.process.stdout.read(t * h * w * 1536 * 4), numpy.float32)
        return [t, h, w], torch.from_numpy(values.copy()).view(t * h * w, 1536)


def random_sizes(rng, count):
    side = lambda: int(numpy.exp(rng.uniform(0, numpy.log(900))))
    sizes = set()
    while len(sizes) < count:
        height, width = side(), side()
        if max(height, width) / min(height, width) <= 200:
            sizes.add((height, width))
    return sorted(sizes)


def encoded(rng, index, height, width):
    """Noise, black-and-white noise or a ramp, as PNG; every fifth as JPEG or WebP."""
    ramp = (numpy.arange(height)[:, None, None] * 3 + numpy.arange(width)[None, :, None] * 5) * numpy.array([1, 7, 2])
    pixels = [rng.integers(0, 256, (height, width, 3)), rng.integers(0, 2, (height, width, 3)) * 255, ramp % 256][index % 3]
    kind, options = ("PNG", dict(compress_level=1)) if index % 5 else [("JPEG", {}), ("WEBP", {})][index % 2]
    out = io.BytesIO()
    Image.fromarray(pixels.astype(numpy.uint8)).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("name", LIMITS)
def test_pixel_values_equal_the_processors_on_random_sizes(name):
    rng = numpy.random.default_rng(2027 + len(name))
    processor = reference.image_processor(**LIMITS[name])
    sizes = random_sizes(rng, 120 if name == "hub" else 140)
    with Probe(LIMITS[name]) as probe:
        for index, (height, width) in enumerate(sizes):
            data = encoded(rng, index, height, width)
            want = processor(images=[Image.open(io.BytesIO(data))], return_tensors="pt")
            grid, rows = probe.ask(data)
            assert grid == want["image_grid_thw"][0].tolist(), (height, width, grid, rows)
            assert torch.equal(rows, want["pixel_values"]), (height, width)
    print(f"{len(sizes)} sizes, {name} limits: pixel_values equal")


def test_what_the_reference_refuses_is_refused():
    rng = numpy.random.default_rng(3)
    with Probe(LIMITS["hub"]) as probe:
        for height, width in ((1, 201), (402, 2)):
            data = encoded(rng, 1, height, width)
            with pytest.raises(ValueError, match="aspect ratio must be smaller than 200, got 201"):
                reference.image_processor()(images=[Image.open(io.BytesIO(data))])
            grid, message = probe.ask(data)
            assert grid is None and message.startswith("absolute aspect ratio must be smaller than 200, got 201")
        assert probe.ask(encoded(rng, 1, 40, 60))[0] == [1, 14, 20]
