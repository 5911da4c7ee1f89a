"""Decoding clips of some minutes: time, and peak memory, which must follow the sampled frames and not the length.

    .venv/bin/python tests/bench/long_clip.py build/bench/bin/video_probe [seconds ...]

Makes 720p H.264 clips of these lengths, 30 frames a second, and samples each as the model does (2 frames a second) and
down to 64 frames. The file itself is part of the memory: it is held once.
"""

import json
import resource
import subprocess
import sys
import tempfile

import av
import numpy as np

WIDTH, HEIGHT, FPS = 1280, 720, 30


def write_clip(path, seconds):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:HEIGHT, 0 : 2 * WIDTH]
    scene = np.stack([x // 7 % 256, y // 3 + x // 19 % 40, 200 - y // 4], axis=-1) + rng.normal(0, 3, (*x.shape, 3))
    scene = scene.clip(0, 255).astype(np.uint8)
    with av.open(path, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=FPS, options={"preset": "superfast", "crf": "25"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        whole = av.VideoFrame.from_ndarray(scene, format="rgb24").reformat(format="yuv420p").to_ndarray()
        for index in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(shifted(whole, 4 * index % WIDTH // 4 * 4), format="yuv420p")
            frame.pts = index
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


def shifted(whole, left):
    """A window of the planes of a picture twice as wide."""
    luma = whole[:HEIGHT, left : left + WIDTH]
    chroma = whole[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH)[:, :, left // 2 : left // 2 + WIDTH // 2]
    return np.concatenate([luma, chroma.reshape(HEIGHT // 2, WIDTH)])


def measure(probe, data, sampling, max_pixels):
    request = {"mode": "video", "discard": True, "sampling": sampling, "sizes": [len(data)],
               "options": {"min_pixels": 4096, "max_pixels": max_pixels}}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run([probe], input=json.dumps(request).encode() + b"\n" + data, stdout=subprocess.PIPE, check=True)
    answer = json.loads(output.stdout)
    if "error" in answer:
        raise SystemExit(answer["error"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    kept = answer["frames"] * answer["height"] * answer["width"] * 3
    print(f"  {answer['frames']:4} frames of {answer['width']} x {answer['height']}: decode "
          f"{answer['decode_ms'] / 1e3:.2f} s, resize {answer['resize_ms'] / 1e3:.2f} s, CPU {cpu:.2f} s, peak "
          f"{answer['peak_rss_kib'] / 1024:.0f} MiB = file {len(data) / 2**20:.0f} + frames {kept / 2**20:.0f} + "
          f"{answer['peak_rss_kib'] / 1024 - (len(data) + kept) / 2**20:.0f}")


def main():
    probe, *lengths = sys.argv[1:]
    for seconds in [int(length) for length in lengths] or [60, 240]:
        with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
            write_clip(file.name, seconds)
            data = file.read()
        print(f"{seconds} s, {seconds * FPS} frames of {WIDTH} x {HEIGHT}, {len(data) / 2**20:.1f} MiB")
        for sampling in ({}, {"num_frames": 64}, {"num_frames": 8}):
            measure(probe, data, sampling, 25_165_824)


if __name__ == "__main__":
    main()
