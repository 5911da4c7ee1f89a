"""Small clips for tests, encoded anew with PyAV; no file is kept."""

import io
import os
import pathlib
import struct
import tempfile
from fractions import Fraction

import av
import numpy as np

os.environ.setdefault("SVT_LOG", "0")

# Each codec with the encoder and options that make a clip of it quickly, a container for it and a pixel format.
CODECS = {
    "h264": ("libx264", {"preset": "veryfast", "crf": "23", "threads": "1"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"}),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "600k"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "600k"}),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}),
    "mpeg4": ("mpeg4", {"q": "4", "threads": "1"}),
    "gif": ("gif", {}),
}
PIXELS = {"gif": "rgb8"}


def moving_picture(index, width, height, seed=0):
    """Frame `index` of a scene: colour fields that drift, a square that runs, and a little grain; every frame differs."""
    x, y = np.arange(width)[None], np.arange(height)[:, None]
    phase = index * 0.21 + seed
    red = 128 + 110 * np.sin(x / 37 + phase) * np.cos(y / 53 - phase)
    green = (x * 2 + index * 5) % 256 * 0.5 + y * 90 / height + np.zeros_like(x)
    blue = 128 + 90 * np.cos((x + y) / 29 - phase * 1.7)
    picture = np.stack([np.broadcast_to(plane, (height, width)) for plane in (red, green, blue)], axis=-1).copy()
    side = max(2, height // 4)
    left, top = (index * 7 + 3) % max(1, width - side), (index * 3 + 5) % max(1, height - side)
    picture[top : top + side, left : left + side] = (240, 30 + index * 11 % 200, 60)
    picture += np.random.default_rng(seed * 1000 + index).normal(0, 3, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def clip(codec="h264", container="mp4", *, frames=20, width=160, height=96, fps=30, options=None, pixels=None, gop=None,
         b_frames=None, colours=None, muxer_options=None, times=None, seed=0, audio=False, draw=moving_picture):
    """The bytes of a clip. `colours`: attributes of the codec context, as colorspace=1; `times`: pts in 1/fps."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "clip"  # a file, since a muxer that moves its header to the front reads it again
        write_clip(path, codec, container, frames, width, height, fps, options, pixels, gop, b_frames, colours,
                   muxer_options, times, seed, audio, draw)
        return path.read_bytes()


def write_clip(path, codec, container, frames, width, height, fps, options, pixels, gop, b_frames, colours,
               muxer_options, times, seed, audio, draw):
    encoder, defaults = CODECS[codec]
    with av.open(str(path), "w", format=container, options=muxer_options or {}) as target:
        stream = target.add_stream(encoder, rate=Fraction(fps).limit_denominator(100_000),
                                   options={**defaults, **(options or {})})
        stream.width, stream.height = width, height
        stream.pix_fmt = pixels or PIXELS.get(codec, "yuv420p")
        if gop:
            stream.codec_context.gop_size = gop
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        for name, value in (colours or {}).items():
            setattr(stream.codec_context, name, value)
        sound = target.add_stream("aac", rate=8000) if audio else None
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(index, width, height, seed), format="rgb24")
            if colours:
                frame = frame.reformat(format=stream.pix_fmt, dst_colorspace=colours.get("colorspace"),
                                       dst_color_range=colours.get("color_range"))
            frame.pts = times[index] if times else index
            frame.time_base = 1 / Fraction(fps).limit_denominator(100_000)
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
        if sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 8000
            target.mux(sound.encode(silence))
            target.mux(sound.encode(None))


def with_display_matrix(mp4, matrix):
    """The clip with the first track header's matrix replaced: (a, b, c, d) of the turn, in whole numbers."""
    at = mp4.index(b"tkhd") + 4
    at += 40 if mp4[at] == 0 else 52
    a, b, c, d = (value * 0x10000 for value in matrix)
    return mp4[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000) + mp4[at + 36 :]


def box(kind, *parts):
    """A box of an MP4 file."""
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def with_boxes(boxes, path, new, without=None):
    """A clip whose header is the last box of the file, with the boxes `new` added to the first box at `path`, and those
    of the kind `without` left out there."""
    at, rebuilt = 0, b""
    while at < len(boxes):
        size, kind = struct.unpack(">I4s", boxes[at : at + 8])
        if path and kind == path[0]:
            rebuilt += box(kind, with_boxes(boxes[at + 8 : at + size], path[1:], new, without))
            path = [None]
        elif path or kind != without:
            rebuilt += boxes[at : at + size]
        at += size
    return rebuilt if path else rebuilt + new


def decode(data):
    """Every frame as PyAV decodes it: [n, height, width, 3] uint8 RGB, not rotated."""
    with av.open(io.BytesIO(data)) as source:
        source.streams.video[0].codec_context.thread_count = 1
        return np.stack([frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)])
