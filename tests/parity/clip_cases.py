"""Clips of every codec and container that is accepted, and video_probe, which shows what preprocess/video.h makes of them."""

import io
import json
import os
import pathlib
import subprocess

import clips
import numpy as np
import pytest

PROBE = pathlib.Path(os.environ["VITOWER_BIN_DIR"]) / "video_probe"
UNLIMITED = {"min_pixels": 1, "max_pixels": 1 << 40}


def ask(*requests):
    """Answers of video_probe: dicts, the resized frames as "rgb" [n, height, width, 3]."""
    lines = b""
    for request, *blobs in requests:
        lines += json.dumps({**request, "sizes": [len(blob) for blob in blobs]}).encode() + b"\n" + b"".join(blobs)
    output = io.BytesIO(subprocess.run([PROBE], input=lines, stdout=subprocess.PIPE, check=True).stdout)
    answers = []
    while line := output.readline():
        answer = json.loads(line)
        if size := answer.get("rgb_bytes", 0):
            shape = answer["frames"], answer["height"], answer["width"], 3
            answer["rgb"] = np.frombuffer(output.read(size), np.uint8).reshape(shape)
        answers.append(answer)
    assert len(answers) == len(requests)
    return answers


BT709 = dict(colorspace=1, color_primaries=1, color_trc=1, color_range=1)
CASES = {
    "h264 mp4": ("h264", "mp4", {}),
    "h264 mov": ("h264", "mov", {}),
    "h264 mkv": ("h264", "matroska", {}),
    "h264 avi": ("h264", "avi", {}),
    "h264 b-frames avi": ("h264", "avi", dict(b_frames=3, gop=8)),
    "h264 sound": ("h264", "mp4", dict(audio=True)),
    "h264 moov first": ("h264", "mp4", dict(audio=True, muxer_options={"movflags": "faststart"})),
    "h264 fragments": ("h264", "mp4", dict(gop=5, muxer_options={"movflags": "frag_keyframe+empty_moov"})),
    "h264 fragments after a header": ("h264", "mp4", dict(gop=5, muxer_options={"movflags": "frag_keyframe"})),
    "h264 open gop": ("h264", "mp4", dict(gop=6, b_frames=3, options={"x264-params": "open-gop=1"})),
    "h264 unusual size": ("h264", "mp4", dict(width=174, height=102)),
    "h264 slices": ("h264", "mp4", dict(options={"x264-params": "slices=4"})),
    "h264 4:4:4": ("h264", "mp4", dict(pixels="yuv444p")),
    "h264 4:2:2": ("h264", "mkv", dict(pixels="yuv422p")),
    "h264 bt.709": ("h264", "mp4", dict(colours=BT709)),
    "h264 bt.709 full range": ("h264", "mp4", dict(colours={**BT709, "color_range": 2})),
    "h264 full range": ("h264", "mkv", dict(pixels="yuvj420p", colours=dict(colorspace=5, color_range=2))),
    "h264 bt.2020": ("h264", "mp4", dict(colours=dict(colorspace=9, color_range=1))),
    "h264 irregular times": ("h264", "mkv", dict(times=[i * i // 3 + i for i in range(20)])),
    "hevc mp4": ("hevc", "mp4", {}),
    "hevc mkv bt.709": ("hevc", "matroska", dict(colours=BT709, gop=7)),
    "vp8 webm": ("vp8", "webm", {}),
    "vp8 hidden frames": ("vp8", "webm", dict(options={"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good"})),
    "vp9 webm": ("vp9", "webm", {}),
    "vp9 hidden frames": ("vp9", "webm", dict(options={"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good"})),
    "vp9 odd width": ("vp9", "webm", dict(width=161)),
    "av1 mp4": ("av1", "mp4", {}),
    "av1 webm": ("av1", "webm", {}),
    "mpeg4 mp4": ("mpeg4", "mp4", {}),
    "mpeg4 b-frames mp4": ("mpeg4", "mp4", dict(b_frames=2)),
    "mpeg4 avi": ("mpeg4", "avi", {}),
    "mpeg4 b-frames avi": ("mpeg4", "avi", dict(b_frames=2)),
    "mpeg4 mkv": ("mpeg4", "matroska", dict(b_frames=2)),
    "gif": ("gif", "gif", {}),
}


class Made(dict):
    """Each case's clip, encoded when it is first asked for."""

    def __missing__(self, name):
        codec, container, options = CASES[name]
        self[name] = clips.clip(codec, "matroska" if container == "mkv" else container, **options)
        return self[name]


@pytest.fixture(scope="module")
def made():
    return Made()
