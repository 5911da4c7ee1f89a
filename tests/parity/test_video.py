"""preprocess/video.h against the reference, run live: PyAV's frames, the video processor's sampling, sizes and pixels."""

import io
import random
import struct

import av
import clips
import numpy as np
import pytest
import torch
from clip_cases import BT709, CASES, UNLIMITED, ask, made
from pictures import encoded, photo
from reference import import_torchvision

import_torchvision()
from transformers import Qwen3VLVideoProcessor  # noqa: E402
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor  # noqa: E402
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize  # noqa: E402
from transformers.video_utils import VideoMetadata  # noqa: E402

__all__ = ["made"]  # a fixture


def resized(frames, height, width):
    if frames.shape[1:3] == (height, width):
        return frames
    planes = torch.from_numpy(frames.copy()).permute(0, 3, 1, 2)
    one = lambda plane: torch.ops.aten._upsample_bicubic2d_aa(plane[None].contiguous(), [height, width], False)[0]
    return torch.stack([one(plane) for plane in planes]).permute(0, 2, 3, 1).numpy()


def pixel_values(frames):
    """Rows of patches [t*h*w, 1536] of resized frames: normalised, the last frame repeated, in merge blocks."""
    values = (frames.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
    if len(values) % 2:
        values = np.concatenate([values, values[-1:]])
    t, h, w = len(values) // 2, frames.shape[1] // 16, frames.shape[2] // 16
    values = values.reshape(t, 2, h // 2, 2, 16, w // 2, 2, 16, 3)
    return values.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(t * h * w, -1)


# ---- Decoded frames


@pytest.mark.parametrize("name", CASES)
def test_decoded_frames_equal_pyav(made, name):
    want = clips.decode(made[name])
    count = len(want)
    request = {"mode": "video", "sampling": {"num_frames": count}, "options": UNLIMITED}
    header, answer = ask(({"mode": "probe"}, made[name]), (request, made[name]))
    assert "error" not in answer, answer
    assert answer["indices"] == list(range(count))
    assert (header["height"], header["width"]) == want.shape[1:3]
    assert header["frame_count"] == count or header["container"] == "matroska"  # which does not count
    assert np.array_equal(answer["rgb"], resized(want, answer["height"], answer["width"]))


@pytest.mark.parametrize("options", [dict(height=97), dict(width=161, height=97), dict(pixels="yuv420p10le")])
def test_interpolated_chroma_is_near_pyav(options):
    """Frames of odd height and of more than 8 bits: swscale interpolates chroma there, and version 9, which PyAV brings,
    does it by another filter than the 6 of Debian 12. What must hold of ours: no shift, no other colour space."""
    clip = clips.clip("vp9" if "pixels" not in options else "hevc", "mp4", frames=4, colours=BT709, **options)
    (answer,) = ask(({"mode": "video", "options": UNLIMITED}, clip))
    want = resized(clips.decode(clip), answer["height"], answer["width"])
    difference = answer["rgb"].astype(int) - want
    assert np.abs(difference).mean() < 0.6 and np.abs(difference.mean(axis=(0, 1, 2))).max() < 0.1


TURNS = {(1, 0, 0, 1): lambda f: f, (0, 1, -1, 0): lambda f: np.rot90(f, -1), (-1, 0, 0, -1): lambda f: np.rot90(f, 2),
         (0, -1, 1, 0): lambda f: np.rot90(f, 1), (-1, 0, 0, 1): lambda f: f[:, ::-1], (1, 0, 0, -1): lambda f: f[::-1],
         (0, 1, 1, 0): lambda f: f.transpose(1, 0, 2), (0, -1, -1, 0): lambda f: np.rot90(f, 2).transpose(1, 0, 2)}  # fmt: skip


@pytest.mark.parametrize("matrix", TURNS)
def test_the_display_matrix_is_applied(made, matrix):
    clip = clips.with_display_matrix(made["h264 mp4"], matrix)
    want = np.stack([TURNS[matrix](frame) for frame in clips.decode(clip)])
    with av.open(io.BytesIO(clip)) as source:
        rotation = next(source.decode(video=0)).rotation
    if TURNS[matrix] in list(TURNS.values())[:4]:  # PyAV tells turns, not flips
        assert np.array_equal(want[0], np.rot90(clips.decode(clip)[0], rotation // 90))
    header, answer = ask(({"mode": "probe"}, clip), ({"mode": "video", "sampling": {"num_frames": 20}}, clip))
    assert (header["height"], header["width"]) == want.shape[1:3]
    assert np.array_equal(answer["rgb"], resized(want, answer["height"], answer["width"]))


# ---- Which frames are decoded

LONG = {
    "h264": ("h264", "mp4", dict(gop=12, b_frames=3)),
    "h264 open gop": ("h264", "matroska", dict(gop=10, b_frames=3, options={"x264-params": "open-gop=1:scenecut=0"})),
    "h264 intra refresh": ("h264", "mp4", dict(gop=15, options={"x264-params": "intra-refresh=1"})),
    "h264 avi": ("h264", "avi", dict(gop=12, b_frames=3)),
    "hevc open gop": ("hevc", "mp4", dict(options={"x265-params": "log-level=none:pools=1:frame-threads=1:keyint=12:"
                                                   "min-keyint=12:open-gop=1:bframes=4"})),
    "vp9": ("vp9", "webm", dict(gop=20)),
    "av1": ("av1", "mp4", dict(gop=16)),
    "mpeg4": ("mpeg4", "mp4", dict(gop=12, b_frames=2)),
    "gif": ("gif", "gif", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG)
def test_skipping_to_key_frames_changes_no_pixel(name):
    codec, container, options = LONG[name]
    clip = clips.clip(codec, container, frames=150, width=64, height=64, **options)
    want = clips.decode(clip)
    assert len(want) == 150
    rng = random.Random(name)
    requests = [{"num_frames": rng.randint(1, 40)} for _ in range(8)] + [{"num_frames": n} for n in (1, 2, 150)]
    requests += [{"num_frames": 2 + i, "start_seconds": rng.uniform(0, 2), "end_seconds": rng.uniform(2.2, 4)}
                 for i in range(8)]
    answers = ask(*(({"mode": "video", "sampling": sampling, "options": UNLIMITED}, clip) for sampling in requests))
    for sampling, answer in zip(requests, answers):
        assert "error" not in answer, (sampling, answer)
        assert np.array_equal(answer["rgb"], want[answer["indices"]]), sampling


def test_a_clip_cut_out_without_encoding_gives_the_frames_pyav_gives():
    """Its edit list hides the packets before the cut; where a container has none, they come to nothing in the decoder."""
    whole = clips.clip("h264", "mp4", frames=90, width=64, height=64, gop=20, b_frames=3,
                       options={"x264-params": "open-gop=1:scenecut=0"})
    for container in ("mp4", "matroska"):
        out = io.BytesIO()
        with av.open(io.BytesIO(whole)) as source, av.open(out, "w", format=container) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            packets = [packet for packet in source.demux(video=0) if packet.size]
            first = [i for i, packet in enumerate(packets) if packet.is_keyframe][2]
            for packet in packets[first:]:
                packet.stream = stream
                target.mux(packet)
        want = clips.decode(out.getvalue())
        (answer,) = ask(({"mode": "video", "sampling": {"num_frames": len(want)}, "options": UNLIMITED}, out.getvalue()))
        assert "error" not in answer, (container, answer)
        assert np.array_equal(answer["rgb"], want), container


def with_a_dropped_frame(avi, after):
    """An empty chunk behind packet `after`, as recorders write for a frame they lost; header and index count it."""
    movi = avi.index(b"movi")
    at = movi + 4
    for _ in range(after):
        size = struct.unpack_from("<I", avi, at + 4)[0]
        at += 8 + size + size % 2
    index = avi.index(b"idx1")
    entries = [list(entry) for entry in struct.iter_unpack("<4sIII", avi[index + 8 :])]
    moved = [[tag, flags, offset + 8 * (offset >= at - movi), size] for tag, flags, offset, size in entries]
    moved.insert(after, [b"00dc", 0, at - movi, 0])
    packed = b"".join(struct.pack("<4sIII", *entry) for entry in moved)
    out = bytearray(avi[:at] + b"00dc" + bytes(4) + avi[at:index] + b"idx1" + struct.pack("<I", len(packed)) + packed)
    struct.pack_into("<I", out, movi - 4, struct.unpack_from("<I", out, movi - 4)[0] + 8)
    struct.pack_into("<I", out, out.index(b"strh") + 40, len(moved))
    struct.pack_into("<I", out, 4, len(out) - 8)
    return bytes(out)


def test_frames_that_a_recorder_dropped_are_no_damage():
    clip = with_a_dropped_frame(clips.clip("mpeg4", "avi", frames=10, width=64, height=64), after=5)
    want = clips.decode(clip)
    assert len(want) == 10
    (answer,) = ask(({"mode": "video", "sampling": {"fps": 30}, "options": UNLIMITED}, clip))
    assert "error" not in answer and np.array_equal(answer["rgb"], want), answer


# ---- The reference processor


def processor(min_pixels, max_pixels, **options):
    return Qwen3VLVideoProcessor(size={"shortest_edge": min_pixels, "longest_edge": max_pixels}, patch_size=16,
                                 temporal_patch_size=2, merge_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3,
                                 cap_pixels_per_frame=False, **options)


def reference_clip(frames, fps, sampling, min_pixels, max_pixels):
    """What the processor makes of decoded frames: its metadata and tensors."""
    metadata = VideoMetadata(total_num_frames=len(frames), fps=fps, duration=len(frames) / fps)
    options = {key: value for key, value in sampling.items() if key in ("fps", "num_frames")}
    if "num_frames" in options:
        options["fps"] = None  # else its default of 2 is taken as given too, and both are refused
    limits = {key: value for key, value in sampling.items() if key in ("min_frames", "max_frames")}
    return processor(min_pixels, max_pixels, **limits)(
        videos=[torch.from_numpy(frames).permute(0, 3, 1, 2)], video_metadata=[metadata], do_sample_frames=True,
        return_metadata=True, return_tensors="pt", **options)


def random_clips(rng):
    for index in range(120):
        frames = (2, 3, 5, 7)[index % 4] if index % 2 else rng.randint(2, 70)
        fps = rng.choice((6, 10, 15, 24, 25, 29.97, 30, 50, 60))
        size = rng.choice(((160, 96), (96, 160), (64, 64), (130, 66), (40, 22), (20, 62), (256, 32)))
        sampling = rng.choice(({}, {"fps": 2}, {"fps": rng.uniform(0.3, 30)}, {"num_frames": rng.randint(2, 2 + frames)},
                               {"fps": 4, "min_frames": rng.randint(2, 9)}, {"fps": 20, "max_frames": rng.randint(2, 9)}))
        min_pixels = int(2 ** rng.uniform(9, 17))
        yield frames, fps, size, sampling, min_pixels, int(min_pixels * 2 ** rng.uniform(0.5, 5))


def test_sampled_clips_equal_the_video_processor():
    wanted, requests = list(random_clips(random.Random(5))), []
    for index, (frames, fps, (width, height), sampling, low, high) in enumerate(wanted):
        codec, container = (("mpeg4", "mp4"), ("h264", "mp4"), ("h264", "matroska"), ("mpeg4", "avi"))[index % 4]
        clip = clips.clip(codec, container, frames=frames, fps=fps, width=width, height=height, seed=index)
        requests.append(({"mode": "video", "sampling": sampling, "options": {"min_pixels": low, "max_pixels": high}}, clip))
    for given, (_, clip), answer in zip(wanted, requests, ask(*requests)):
        frames = clips.decode(clip)
        assert len(frames) == given[0] and "error" not in answer, (given, answer)
        assert answer["source_fps"] == pytest.approx(given[1], rel=1e-4)
        want = reference_clip(frames, answer["source_fps"], *given[3:])
        indices = want["video_metadata"][0].frames_indices
        assert answer["indices"] == list(indices), given
        assert [answer["grid"]] == want["video_grid_thw"].tolist(), given
        assert answer["timestamps"] == Qwen3VLProcessor._calculate_timestamps(None, list(indices), answer["source_fps"])
        assert answer["padded"] == (len(indices) % 2 == 1)
        assert np.array_equal(pixel_values(answer["rgb"]), want["pixel_values_videos"].numpy()), given


def test_one_frame_is_a_still_repeated_once():
    """The reference refuses it; what it makes of the frame given twice is what comes."""
    for clip in (clips.clip(frames=1), clips.clip("gif", "gif", frames=1)):
        frames = clips.decode(clip)
        (answer,) = ask(({"mode": "video", "options": {"min_pixels": 4096, "max_pixels": 1 << 20}}, clip))
        assert answer["indices"] == [0] and answer["padded"] and len(answer["timestamps"]) == 1
        want = processor(4096, 1 << 20)(videos=[torch.from_numpy(np.repeat(frames, 2, 0)).permute(0, 3, 1, 2)],
                                        do_sample_frames=False, return_tensors="pt")
        assert [answer["grid"]] == want["video_grid_thw"].tolist()
        assert np.array_equal(pixel_values(answer["rgb"]), want["pixel_values_videos"].numpy())


def test_frame_lists_and_raw_frames_equal_the_video_processor():
    rng = np.random.default_rng(3)
    for count, width, height in ((1, 90, 70), (2, 64, 96), (3, 96, 64), (7, 121, 55), (4, 40, 20)):
        frames = np.stack([photo(rng, width, height) for _ in range(count)])
        options = {"min_pixels": 8192, "max_pixels": 1 << 16}
        images = [encoded(frame) for frame in frames]
        raw = {"mode": "raw", "frames": count, "height": height, "width": width, "options": options}
        listed, given, sampled = ask(({"mode": "list", "source_fps": 5.0, "options": options}, *images),
                                     (raw, frames.tobytes()),
                                     ({**raw, "source_fps": 5.0, "sampling": {"fps": 2, "min_frames": 2}}, frames.tobytes()))
        both = np.repeat(frames, 2, 0) if count == 1 else frames
        want = processor(8192, 1 << 16)(videos=[torch.from_numpy(both).permute(0, 3, 1, 2)], do_sample_frames=False,
                                        return_tensors="pt")
        for answer in (listed, given):
            assert answer["indices"] == list(range(count)) and [answer["grid"]] == want["video_grid_thw"].tolist()
            assert np.array_equal(pixel_values(answer["rgb"]), want["pixel_values_videos"].numpy())
        assert given["timestamps"] == [] and "source_fps" not in given
        assert listed["timestamps"] == Qwen3VLProcessor._calculate_timestamps(None, list(range(count)), 5.0)
        if count > 1:
            want = reference_clip(frames, 5.0, {"fps": 2, "min_frames": 2}, 8192, 1 << 16)
            assert sampled["indices"] == list(want["video_metadata"][0].frames_indices)
            assert np.array_equal(pixel_values(sampled["rgb"]), want["pixel_values_videos"].numpy())


def test_frame_indices_equal_the_references_rule():
    rng = random.Random(11)
    requests = []
    for _ in range(5000):
        sampling = rng.choice(({}, {"fps": rng.uniform(0.05, 40)}, {"num_frames": rng.randint(1, 900)}))
        if "num_frames" not in sampling and rng.random() < 0.3:
            sampling = {**sampling, "min_frames": rng.randint(1, 60), "max_frames": rng.randint(1, 800)}
        fps = rng.choice((None, 24, 25, 30, 24000 / 1001, 30000 / 1001, 15.0075, 29.999999999999996, rng.uniform(1, 120)))
        request = {"mode": "sample", "total": int(2 ** rng.uniform(0, 17)), "sampling": sampling}
        requests.append(request if fps is None else {**request, "source_fps": fps})
    for request, answer in zip(requests, ask(*((request,) for request in requests))):
        limits = {key: request["sampling"][key] for key in ("min_frames", "max_frames") if key in request["sampling"]}
        options = {key: value for key, value in request["sampling"].items() if key not in limits}
        metadata = VideoMetadata(total_num_frames=request["total"], fps=request.get("source_fps"))
        want = processor(1, 2, **limits).sample_frames(metadata, **options).tolist()
        assert answer["indices"] == want, request
        assert answer["timestamps"] == Qwen3VLProcessor._calculate_timestamps(None, want, metadata.fps or 24)


def reference_size(frames, height, width, low, high):
    try:
        size = smart_resize(max(frames, 2), height, width, 2, 32, low, high)
        return {"height": size[0], "width": size[1]}
    except ValueError as error:
        return str(error)


def test_sizes_equal_the_references_rule():
    rng = random.Random(12)
    rows = [(5, 1120, 3760, 4096, 25165824), (2, 16, 16, 4096, 25165824), (2, 1, 201, 4096, 25165824),
            (180, 1080, 1920, 4096, 25165824), (768, 1080, 1920, 4096, 469762048)]
    for _ in range(10_000):
        height = int(2 ** rng.uniform(0, 13))
        low = int(2 ** rng.uniform(4, 24))
        rows.append((rng.randint(1, 800), height, max(1, int(height * 2 ** rng.uniform(-8.5, 8.5))), low,
                     int(low * 2 ** rng.uniform(0, 16))))
    requests = [({"mode": "size", "frames": frames, "height": height, "width": width,
                  "options": {"min_pixels": low, "max_pixels": high}},) for frames, height, width, low, high in rows]
    refused = 0
    for row, answer in zip(rows, ask(*requests)):
        want = reference_size(*row)
        if isinstance(want, str):
            refused += 1
            assert answer["error"].startswith("absolute aspect ratio must be smaller than 200, got"), (row, answer)
        else:
            assert answer == want, row
    assert 50 < refused < 2000
