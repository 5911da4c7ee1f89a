#!/usr/bin/env python3
"""Makes tests/golden/images anew: small files of every format and mode, and what the reference makes of them.

  .venv/bin/python scripts/make_test_images.py

expected.json      per file: format, stored size, EXIF orientation, and the SHA-256 of the RGB bytes that Pillow gives after
                   exif_transpose and convert("RGB") (what the reference's load_image does); "on_white" where the file has
                   transparency. One exception: 16-bit gray is value >> 8, where Pillow clips to white.
smart_resize.json  rows [height, width, factor, min_pixels, max_pixels, "height width" or the error]
resample.json      rows [seed, in_h, in_w, out_h, out_w, SHA-256 of torch's uint8 antialiased bicubic]; the input is
                   pattern(seed, ...) below, which the C++ test makes too
"""

import hashlib
import io
import json
import pathlib
import random
import struct
import sys
import zlib

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/golden/images"
sys.path.insert(0, str(ROOT / "tests/parity"))
from reference import import_torchvision  # noqa: E402

import_torchvision()
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize  # noqa: E402

RNG = np.random.default_rng(20260101)


def photo(height, width):
    """Smooth colours with an edge and grain."""
    small = Image.fromarray(RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    pixels = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels[height // 3 :, width // 2 :] = 255 - pixels[height // 3 :, width // 2 :]
    return Image.fromarray((pixels + RNG.integers(-9, 10, pixels.shape)).clip(0, 255).astype(np.uint8))


def alpha(height, width):
    small = Image.fromarray(RNG.integers(0, 256, (3, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BILINEAR)


def saved(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def exif(orientation, endian="<"):
    """A TIFF structure of one directory with one tag."""
    order = b"II*\0" if endian == "<" else b"MM\0*"
    entry = struct.pack(endian + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return order + struct.pack(endian + "IH", 8, 1) + entry + struct.pack(endian + "I", 0)


def png(color_type, bit_depth, samples, extra=(), late=()):
    """A PNG of [height, width(, channels)] samples, for what Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = samples.shape[:2]
    rows = samples.astype(">u2") if bit_depth == 16 else samples.astype(np.uint8)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0))
    body = [chunk(*part) for part in extra] + [chunk(b"IDAT", data)] + [chunk(*part) for part in late]
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(body) + chunk(b"IEND", b"")


def interlaced_png(pixels):
    """Adam7, which Pillow reads but does not write."""
    height, width = pixels.shape[:2]
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = []
    for top, left, down, right in passes:
        part = pixels[top::down, left::right]
        rows += [b"\0" + row.tobytes() for row in part] if part.size else []
    plain = png(2, 8, pixels)
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    data = b"IDAT" + zlib.compress(b"".join(rows))
    parts = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in (header, data, b"IEND")]
    return plain[:8] + b"".join(parts)


def bitfields_bmp(rgba):
    """32 bits a pixel with channel masks, alpha among them, which Pillow reads but does not write."""
    height, width = rgba.shape[:2]
    data = np.ascontiguousarray(rgba[::-1, :, [2, 1, 0, 3]]).tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"\0" * 52
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(data), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 122 + len(data), 0, 0, 122) + info + masks + data


def gif(screen, frame, indices, palette=b"", local=b"", transparent=None):
    """One frame at (x, y, w, h) on a screen of (w, h); LZW without compression."""
    flags = lambda table: 0x80 | (len(table) // 3).bit_length() - 2 if table else 0
    bits, codes = 8, []
    for start in range(0, len(indices), 100):
        codes += [1 << bits, *indices[start : start + 100]]
    packed = sum(code << (bits + 1) * place for place, code in enumerate(codes + [(1 << bits) + 1]))
    data = packed.to_bytes(((len(codes) + 1) * (bits + 1) + 7) // 8, "little")
    blocks = b"".join(bytes([len(part)]) + part for part in (data[i : i + 255] for i in range(0, len(data), 255)))
    control = b"" if transparent is None else b"!\xf9\x04" + bytes([1, 0, 0, transparent, 0])
    return (b"GIF89a" + struct.pack("<HHBBB", *screen, flags(palette), 0, 0) + palette + control
            + b"," + struct.pack("<HHHHB", *frame, flags(local)) + local + bytes([bits]) + blocks + b"\0;")  # fmt: skip


def sample_files():
    picture = photo(37, 45)
    gray, cover = picture.convert("L"), alpha(37, 45)
    rgba = picture.copy()
    rgba.putalpha(cover)
    palette = picture.quantize(20)
    files = {
        "baseline_420.jpg": saved(picture, "JPEG", quality=88, subsampling=2),
        "progressive_422.jpg": saved(picture, "JPEG", quality=80, subsampling=1, progressive=True),
        "full_444.jpg": saved(picture, "JPEG", quality=92, subsampling=0),
        "gray.jpg": saved(gray, "JPEG"),
        "cmyk.jpg": saved(picture.convert("CMYK"), "JPEG", quality=85),
        "rgb.png": saved(picture, "PNG"),
        "rgba.png": saved(rgba, "PNG"),
        "gray.png": saved(gray, "PNG"),
        "gray_alpha.png": saved(Image.merge("LA", (gray, cover)), "PNG"),
        "gray_trns.png": saved(gray, "PNG", transparency=gray.getpixel((20, 20))),
        "palette_trns.png": saved(palette, "PNG", transparency=3),
        "bits_1.png": saved(picture.convert("1"), "PNG"),
        "gray_16.png": png(0, 16, RNG.integers(0, 1 << 16, (21, 30))),
        "rgb_16.png": png(2, 16, RNG.integers(0, 1 << 16, (9, 14, 3))),
        "interlaced.png": interlaced_png(np.asarray(photo(19, 21))),
        "exif_before.png": png(2, 8, np.asarray(photo(16, 24)), extra=[(b"eXIf", exif(3, ">"))]),
        "exif_after.png": png(2, 8, np.asarray(photo(16, 24)), late=[(b"eXIf", exif(8))]),
        "lossy.webp": saved(picture, "WEBP", quality=75),
        "lossless.webp": saved(picture, "WEBP", lossless=True),
        "alpha.webp": saved(rgba, "WEBP", quality=75),
        "exif.webp": saved(photo(16, 24), "WEBP", exif=b"Exif\0\0" + exif(6)),
        "rgb.bmp": saved(picture, "BMP"),
        "palette.bmp": saved(palette, "BMP"),
        "bits_32.bmp": saved(rgba, "BMP"),
        "bitfields.bmp": bitfields_bmp(np.asarray(rgba)),
        "animated.gif": saved(palette, "GIF", save_all=True, append_images=[palette.rotate(90), palette.rotate(180)]),
        "interlaced.gif": saved(palette, "GIF", interlace=1),
        "transparent.gif": saved(palette, "GIF", transparency=3),
    }
    for orientation in range(1, 9):
        tags = b"Exif\0\0" + exif(orientation, "<>"[orientation % 2])
        files[f"exif_{orientation}.jpg"] = saved(photo(16, 24), "JPEG", quality=80, exif=tags)
    files["xmp.jpg"] = saved(photo(16, 24), "JPEG", quality=80, xmp=b'<x:xmpmeta><r tiff:Orientation="6"/></x:xmpmeta>')
    colors, indices = RNG.integers(0, 256, 48, dtype=np.uint8).tobytes(), RNG.integers(0, 16, 12 * 9).tolist()
    files["offset.gif"] = gif((20, 15), (3, 4, 12, 9), indices, colors)
    files["offset_transparent.gif"] = gif((20, 15), (3, 4, 12, 9), indices, colors, transparent=5)
    files["beyond_screen.gif"] = gif((10, 5), (3, 4, 12, 9), indices, colors, local=colors[::-1])
    files["no_palette.gif"] = gif((12, 9), (0, 0, 12, 9), [16 * index for index in indices])
    return files


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def on_white(picture):
    if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
        return {}
    layer = picture.convert("RGBA")
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(layer, mask=layer.getchannel("A"))
    return {"on_white": digest(np.asarray(white))}


def expected(data):
    stored = Image.open(io.BytesIO(data))
    orientation = stored.getexif().get(0x0112, 1)
    upright = ImageOps.exif_transpose(stored)
    pixels = np.asarray(upright.convert("RGB"))
    if upright.mode == "I;16":
        pixels = np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    size = {"height": stored.size[1], "width": stored.size[0], "orientation": orientation}
    return {"format": stored.format, **size, "rgb": digest(pixels), **on_white(upright)}


def smart_resize_rows():
    rng = random.Random(5)
    rows = [(1365, 2048), (1080, 1920), (1, 1), (16, 16), (255, 255), (272, 272), (48, 80), (10, 2000), (1, 200),
            (5000, 5000), (1, 201), (201, 1), (2, 401)]  # fmt: skip
    rows = [(*size, 32, 65536, 1 << 24) for size in rows]
    while len(rows) < 300:
        height = int(2 ** rng.uniform(0, 13))
        width = max(1, int(height * 2 ** rng.uniform(-8, 8)))
        low = int(2 ** rng.uniform(8, 20))
        rows.append((height, width, rng.choice((28, 32)), low, int(low * 2 ** rng.uniform(0, 10))))
    answer = []
    for row in rows:
        try:
            answer.append([*row, "%d %d" % smart_resize(*row)])
        except ValueError as error:
            answer.append([*row, str(error)])
    return answer


def pattern(seed, count):
    value = np.arange(count, dtype=np.uint64) * 2654435761 + seed * 40503 & 0xFFFFFFFF
    value = (value ^ value >> 15) * 2246822519 & 0xFFFFFFFF
    return (value >> 24).astype(np.uint8)


def resample_rows():
    sizes = [(1, 1, 96, 64), (1, 200, 32, 60), (200, 1, 60, 32), (3, 900, 2, 40), (900, 3, 40, 2), (2, 2, 3, 5),
             (64, 64, 64, 33), (64, 64, 33, 64), (270, 268, 224, 224), (119, 213, 74, 74)]  # fmt: skip
    while len(sizes) < 60:
        sizes.append(tuple(int(np.exp(side)) + 1 for side in RNG.uniform(0, np.log(200), 4)))
    rows = []
    for seed, (in_h, in_w, out_h, out_w) in enumerate(sizes):
        pixels = torch.from_numpy(pattern(seed, 3 * in_h * in_w).reshape(in_h, in_w, 3)).permute(2, 0, 1)[None]
        resized = torch.ops.aten._upsample_bicubic2d_aa(pixels.contiguous(), [out_h, out_w], False)
        rows.append([seed, in_h, in_w, out_h, out_w, digest(resized[0].permute(1, 2, 0).numpy())])
    return rows


def write_json(name, rows):
    lines = ",\n".join(" " + (json.dumps(key) + ": " if key else "") + json.dumps(row) for key, row in rows)
    opening, closing = "{}" if rows[0][0] else "[]"
    (OUT / name).write_text(f"{opening}\n{lines}\n{closing}\n")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    files = sample_files()
    for name, data in files.items():
        (OUT / name).write_bytes(data)
    versions = f"Pillow {PIL.__version__}, torch {torch.__version__}, transformers {__import__('transformers').__version__}"
    write_json("expected.json", [(name, expected(data)) for name, data in files.items()])
    write_json("smart_resize.json", [("", row) for row in smart_resize_rows()])
    write_json("resample.json", [("", row) for row in resample_rows()])
    (OUT / "VERSIONS").write_text(f"Made by scripts/make_test_images.py with {versions}.\n")
    print(f"{len(files)} files, {sum(path.stat().st_size for path in OUT.iterdir())} bytes in {OUT}")


if __name__ == "__main__":
    main()
