"""preprocess/ against the reference, run live: torch's uint8 bicubic, the processor's size rule, Pillow's pictures."""

import io
import os
import pathlib
import random
import struct
import subprocess

import numpy as np
import torch
from PIL import Image, ImageOps

from reference import import_torchvision

import_torchvision()
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize  # noqa: E402

PROBE = pathlib.Path(os.environ["VITOWER_BIN_DIR"]) / "preprocess_probe"


def probe(mode, data):
    return subprocess.run([PROBE, mode], input=data, stdout=subprocess.PIPE, check=True).stdout


def torch_resize(pixels, height, width):
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
    resized = torch.ops.aten._upsample_bicubic2d_aa(planes, [height, width], False)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def random_resizes(rng):
    """(in_h, in_w, out_h, out_w): up, down, odd, extreme, one axis kept, and what smart_resize asks for."""
    sizes = [
        (1, 1, 256, 256), (1, 200, 32, 3648), (200, 1, 3648, 32), (10, 2000, 32, 3648), (2000, 10, 3648, 32),
        (2, 3, 1, 2), (1, 7, 5, 1), (719, 1279, 448, 448), (720, 1280, 448, 448), (2160, 3840, 32, 64),
        (3, 5000, 3, 17), (5000, 3, 17, 3), (64, 64, 64, 65), (64, 64, 65, 64), (40, 40, 40, 40), (1, 3, 1, 31),
    ]  # fmt: skip
    side = lambda: int(np.exp(rng.uniform(0, np.log(1200))))
    # (1 x 1 outputs are left out: there torch itself stops with an internal assertion.)
    sizes += [(side(), side(), side(), 1 + side()) for _ in range(120)]
    for _ in range(40):
        kept = side()
        sizes += [(kept, side(), kept, side()), (side(), kept, side(), kept)]
    for ratio in (200, 199.5, 150, 100, 50, 20):
        short = rng.integers(1, 12)
        long = int(short * ratio)
        for size in ((short, long), (long, short)):
            sizes.append((*map(int, size), *smart_resize(*map(int, size), 32, 65536, 1 << 24)))
    for _ in range(30):
        size = tuple(int(value) for value in rng.integers(30, 900, 2))
        sizes.append((*size, *smart_resize(*size, 32, 4096, 1 << 18)))
    return sizes


def test_resized_bytes_equal_torch():
    rng = np.random.default_rng(2026)
    sizes = random_resizes(rng)
    assert len(sizes) >= 200
    pictures = [noise_or_ramp(rng, index, height, width) for index, (height, width, _, _) in enumerate(sizes)]
    records = b"".join(struct.pack("<4i", *size) + pixels.tobytes() for size, pixels in zip(sizes, pictures))
    output = probe("resample", records)
    assert len(output) == sum(3 * height * width for _, _, height, width in sizes)
    for (in_h, in_w, out_h, out_w), pixels in zip(sizes, pictures):
        ours, output = np.frombuffer(output[: 3 * out_h * out_w], np.uint8), output[3 * out_h * out_w :]
        want = torch_resize(pixels, out_h, out_w).reshape(-1)
        assert np.array_equal(ours, want), f"{in_h}x{in_w} -> {out_h}x{out_w}: {(ours != want).sum()} bytes differ"


def noise_or_ramp(rng, index, height, width):
    """Black-and-white noise overshoots most, plain noise is the usual case, a ramp shows shifts."""
    if index % 3 == 0:
        return (rng.integers(0, 2, (height, width, 3)) * 255).astype(np.uint8)
    if index % 3 == 1:
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    ramp = np.arange(height)[:, None] * 3 + np.arange(width)[None] * 5
    return np.stack([ramp, ramp * 7, 255 - ramp], axis=-1).astype(np.uint8)


def reference_size(row):
    try:
        return "%d %d" % smart_resize(*row)
    except ValueError as error:
        return str(error)


def random_size_rows(rng):
    for _ in range(10_000):
        factor = rng.choice((32, 28, 32, 16, 48))
        height = int(2 ** rng.uniform(0, 14))
        width = max(1, int(height * 2 ** rng.uniform(-8, 8)))
        if rng.random() < 0.2:  # on the ties of the rounding
            height = max(1, height // factor) * factor + factor // 2
        min_pixels = int(2 ** rng.uniform(8, 20))
        yield height, width, factor, min_pixels, int(min_pixels * 2 ** rng.uniform(0, 10))


def test_smart_resize_equals_the_reference():
    rows = list(random_size_rows(random.Random(7)))
    rows += [(1, ratio, 32, 65536, 1 << 24) for ratio in range(195, 206)]
    lines = "".join("%d %d %d %d %d\n" % row for row in rows)
    answers = probe("smart_resize", lines.encode()).decode().splitlines()
    assert len(answers) == len(rows)
    refused = 0
    for row, answer in zip(rows, answers):
        want = reference_size(row)
        if "aspect" in want:
            refused += 1
            assert answer.startswith("error: absolute aspect ratio must be smaller than 200, got"), (row, answer)
        else:
            assert answer == want, (row, answer, want)
    assert 50 < refused < len(rows) // 2


def pillow_rgb(data):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def saved(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def random_files(rng):
    for _ in range(60):
        height, width = (int(side) for side in rng.integers(1, 90, 2))
        picture = Image.fromarray(noise_or_ramp(rng, int(rng.integers(3)), height, width))
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(1, 9))
        yield saved(picture, "JPEG", quality=int(rng.integers(20, 96)), subsampling=int(rng.integers(3)),
                    progressive=bool(rng.integers(2)), exif=exif)  # fmt: skip
        yield saved(picture, "PNG", exif=exif)
        yield saved(picture, "WEBP", quality=int(rng.integers(20, 96)), exif=exif)
        yield saved(picture, "WEBP", lossless=True)
        yield saved(picture, "BMP")
        yield saved(picture.quantize(int(rng.integers(2, 200))), "GIF", interlace=int(rng.integers(2)))
        yield saved(picture.convert("L"), "JPEG", quality=90, exif=exif)
        yield saved(Image.fromarray(rng.integers(0, 256, (height, width, 4), np.uint8), "CMYK"), "JPEG", quality=90)
        yield saved(picture.convert("1"), "PNG")
        yield saved(picture.quantize(int(rng.integers(2, 200))), "PNG", transparency=1)
        yield from with_alpha(rng, height, width)


def with_alpha(rng, height, width):
    rgba = Image.fromarray(rng.integers(0, 256, (height, width, 4), np.uint8), "RGBA")
    yield saved(rgba, "PNG")
    yield saved(rgba, "WEBP", lossless=True, exact=True)
    yield saved(rgba.convert("LA"), "PNG")


def test_decoded_pixels_equal_load_image():
    files = list(random_files(np.random.default_rng(11)))
    output = probe("decode", b"".join(struct.pack("<2i", len(data), -1) + data for data in files))
    for index, data in enumerate(files):
        height, width = struct.unpack_from("<2i", output)
        want = pillow_rgb(data)
        assert (height, width) == want.shape[:2], (index, data[:12], output[8 : 8 + max(width, 0)])
        ours = np.frombuffer(output, np.uint8, 3 * height * width, 8).reshape(want.shape)
        assert np.array_equal(ours, want), (index, data[:12], height, width)
        output = output[8 + 3 * height * width :]
    assert not output


def test_a_background_lies_under_what_is_transparent_as_pillow_lays_it():
    rng, color = np.random.default_rng(12), (255, 128, 7)
    files = [data for _ in range(40) for data in with_alpha(rng, *(int(side) for side in rng.integers(1, 90, 2)))]
    number = color[0] << 16 | color[1] << 8 | color[2]
    output = probe("decode", b"".join(struct.pack("<2i", len(data), number) + data for data in files))
    for index, data in enumerate(files):
        height, width = struct.unpack_from("<2i", output)
        picture = Image.open(io.BytesIO(data)).convert("RGBA")
        behind = Image.new("RGB", picture.size, color)
        behind.paste(picture, mask=picture.getchannel("A"))
        ours = np.frombuffer(output, np.uint8, 3 * height * width, 8).reshape(height, width, 3)
        assert np.array_equal(ours, np.asarray(behind)), (index, data[:12], height, width)
        output = output[8 + 3 * height * width :]
    assert not output
