#!/usr/bin/env python3
"""Draws the sample images and the clip of docs/samples: scenes of our own, so that anybody may use them for anything.

Run with the Python that holds Pillow, numpy and PyAV: .venv/bin/python scripts/make_samples.py
"""
import pathlib

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

OUT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "samples"


def landscape(width, height, seed):
    """Sky, sun and three ranges of hills, with the grain of a photograph."""
    rng = np.random.default_rng(seed)
    y = np.linspace(0, 1, height)[:, None, None]
    top, low = np.array([70, 120, 190]), np.array([240, 200, 150])
    picture = np.broadcast_to(top * (1 - y) + low * y, (height, width, 3)).copy()
    yy, xx = np.mgrid[0:height, 0:width]
    sun = np.exp(-(((xx - 0.7 * width) ** 2 + (yy - 0.35 * height) ** 2) / (0.06 * width) ** 2))
    picture += sun[..., None] * np.array([120, 110, 60])
    for layer, colour in enumerate(([90, 110, 120], [60, 90, 70], [35, 60, 40])):
        x = np.linspace(0, 6 + 3 * layer, width) + rng.uniform(0, 9)
        ridge = height * (0.5 + 0.13 * layer) + height * 0.06 * (np.sin(x) + 0.5 * np.sin(2.7 * x))
        picture[yy > ridge] = colour
    picture += rng.normal(0, 4, picture.shape)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def chart(size):
    """Bars, axes and words: the kind of picture that documents hold."""
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)
    draw.text((size // 6, size // 16), "tokens per second, by batch", fill="black")
    base = size * 7 // 8
    for i, value in enumerate((0.2, 0.38, 0.55, 0.66, 0.7)):
        left = size // 8 + i * size // 7
        draw.rectangle([left, base - value * size, left + size // 10, base], fill=(40 + 35 * i, 90, 200 - 30 * i))
        draw.text((left, base + 6), f"{2 ** i}", fill="black")
    draw.line([size // 10, size // 8, size // 10, base, size * 15 // 16, base], fill="black", width=3)
    return image


def still_life(width, height, seed):
    """Soft overlapping discs with alpha: a logo-like picture with transparent ground."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    for _ in range(9):
        layer = Image.new("RGBA", (width, height), (0, 0, 0, 0))
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(20, 70)
        colour = tuple(int(c) for c in rng.integers(30, 230, 3)) + (200,)
        ImageDraw.Draw(layer).ellipse([x - r, y - r, x + r, y + r], fill=colour)
        image = Image.alpha_composite(image, layer.filter(ImageFilter.GaussianBlur(1)))
    return image


def pan(path, width, height, seconds, fps=30):
    """A slow pan over the hills with a sun that sinks: H.264, tagged BT.709, a key frame every second."""
    hills = np.asarray(landscape(width * 2, height, 4).filter(ImageFilter.GaussianBlur(1)))
    frames = seconds * fps
    bt709 = {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}
    with av.open(str(path), "w", options={"movflags": "faststart", "fflags": "bitexact"}) as target:
        stream = target.add_stream("libx264", rate=fps, options={"crf": "27", "threads": "1", "preset": "slow"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = fps
        for name, value in bt709.items():
            setattr(stream.codec_context, name, value)
        for index in range(frames):
            left = index * width // frames
            picture = Image.fromarray(hills[:, left : left + width])
            y = height * (0.15 + 0.25 * index / frames)
            ImageDraw.Draw(picture).ellipse([width * 0.6, y, width * 0.6 + 36, y + 36], fill=(255, 236, 170))
            frame = av.VideoFrame.from_image(picture).reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1)
            frame.pts = index
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    landscape(1280, 720, 1).save(OUT / "hills-720p.jpg", quality=85)
    upright = landscape(360, 480, 2)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying down, to be turned by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(OUT / "portrait-exif6.jpg", quality=85, exif=exif)
    chart(448).save(OUT / "chart.png", optimize=True)
    still_life(320, 240, 3).save(OUT / "discs-alpha.webp", quality=80)
    frames = [chart(256).rotate(10 * i, fillcolor="white").quantize(32) for i in range(3)]
    pan(OUT / "pan.mp4", 480, 270, 3)
    frames[0].save(OUT / "turning.gif", save_all=True, append_images=frames[1:], duration=200, loop=0)


if __name__ == "__main__":
    main()
