"""preprocess/video.h with clips that are cut, damaged or made to cost time and memory: an error each, never fewer frames."""

import io
import random
import struct
import zlib

import av
import clips
import numpy as np
import pytest
from clip_cases import ask, made

__all__ = ["made"]  # a fixture


CUTS = ("h264 mp4", "h264 moov first", "h264 sound", "h264 fragments", "h264 mkv", "h264 avi", "hevc mp4", "vp8 webm",
        "vp9 webm", "av1 mp4", "av1 webm", "mpeg4 mp4", "mpeg4 avi", "mpeg4 mkv", "gif")  # fmt: skip


@pytest.mark.parametrize("name", CUTS)
def test_a_clip_cut_anywhere_is_an_error(made, name):
    clip = made[name]
    request = {"mode": "video", "sampling": {"num_frames": 4}}
    sizes = sorted({*range(0, len(clip), max(10, len(clip) // 300)), *range(len(clip) - 40, len(clip))})
    if name == "h264 fragments":  # cut between two of them it is a whole clip
        ends = [i - 4 for i in range(len(clip)) if clip[i : i + 4] in (b"moof", b"mfra")]
        sizes = [size for size in sizes if not any(end <= size < end + 8 for end in ends)]
    whole, *answers = ask((request, clip), *((request, clip[:size]) for size in sizes))
    assert "error" not in whole
    refused = 0
    for size, answer in zip(sizes, answers):
        if "error" in answer:
            refused += 1
            assert answer["code"] == 3, answer
        else:  # what is cut off is no part of a frame
            assert answer["indices"] == whole["indices"] and np.array_equal(answer["rgb"], whole["rgb"]), size
    assert refused > 0.8 * len(sizes)


@pytest.mark.parametrize("name", ("h264 moov first", "h264 mkv", "h264 avi", "hevc mp4", "vp9 webm", "mpeg4 mp4", "gif"))
def test_damaged_bytes_never_cost_a_frame_in_silence(made, name):
    rng = random.Random(name)
    request = {"mode": "video", "sampling": {"num_frames": 20}}
    damaged = []
    for round_ in range(120):
        clip = bytearray(made[name])
        for _ in range(1 + round_ % 5):
            clip[rng.randrange(len(clip))] = rng.randrange(256)
        if round_ % 6 == 0:
            at = rng.randrange(len(clip))
            del clip[at : at + 100]
        damaged.append(bytes(clip))
    refused = 0
    for answer in ask(*((request, clip) for clip in damaged)):
        if "error" in answer:
            refused += 1
            assert answer["code"] == 3, answer
        else:
            assert len(answer["indices"]) == 20 == len(answer["rgb"])
    assert refused > 10


def audio_only():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as target:
        stream = target.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        target.mux(stream.encode(sound))
        target.mux(stream.encode(None))
    return out.getvalue()


def without_frames(clip):
    """The same header, in which every table of the samples is empty."""
    for box in (b"stsz", b"stts", b"stco", b"stsc", b"ctts", b"stss"):
        at = clip.find(box)
        if at >= 0:
            at += 12 if box == b"stsz" else 8
            clip = clip[:at] + bytes(4) + clip[at + 4 :]
    return clip


def billion_frames(clip):
    """One size and one duration for 10^9 frames: tables of a few bytes."""
    sizes, times = clip.index(b"stsz") + 8, clip.index(b"stts") + 12
    clip = clip[:sizes] + struct.pack(">II", 16, 10**9) + clip[sizes + 8 :]
    return clip[:times] + struct.pack(">II", 10**9, 1) + clip[times + 8 :]


def many_edits(clip, count):
    """An edit list that shows the whole clip so many times."""
    edits = clips.box(b"elst", struct.pack(">II", 0, count), struct.pack(">IiI", 1000, 0, 1 << 16) * count)
    return clips.with_boxes(clip, [b"moov", b"trak"], clips.box(b"edts", edits), without=b"edts")


def sound_in_one_chunk(samples, inside=()):
    """A track of raw sound, of which one number says how many samples its only chunk has."""
    description = bytes(6) + struct.pack(">H8xHHIHH", 1, 1, 16, 0, 8000, 0)
    tables = (clips.box(b"stsd", struct.pack(">II", 0, 1), clips.box(b"sowt", description, *inside)),
              clips.box(b"stts", struct.pack(">IIII", 0, 1, samples, 1)),
              clips.box(b"stsc", struct.pack(">IIIII", 0, 1, 1, samples, 1)),
              clips.box(b"stsz", struct.pack(">III", 0, 2, 1)), clips.box(b"stco", struct.pack(">III", 0, 1, 40)))
    media = (clips.box(b"mdhd", struct.pack(">12xII4x", 8000, 8000)), clips.box(b"hdlr", bytes(8) + b"soun" + bytes(13)),
             clips.box(b"minf", clips.box(b"stbl", *tables)))
    return clips.box(b"trak", clips.box(b"tkhd", bytes(84)), clips.box(b"mdia", *media))


def compressed_header(clip):
    at = clip.index(b"moov") - 4
    data = struct.pack(">I", len(clip) - at) + zlib.compress(clip[at:])
    packed = clips.box(b"cmov", clips.box(b"dcom", b"zlib"), clips.box(b"cmvd", data))
    return clip[:at] + clips.box(b"moov", packed)


def sizes_of(clip, kind, count, *path):
    """`count` samples of a size that the table `kind` says once, or in half a byte each."""
    table = clips.box(kind, struct.pack(">III", 0, 4 if kind == b"stz2" else 16, count), bytes(count // 2))
    return clips.with_boxes(clip, path, table)


def test_tables_that_grow_when_they_are_read_are_refused_before_that(made):
    """Each of them made libav keep an index many times as large as the file."""
    clip = made["h264 mp4"]
    assert "error" not in ask(({"mode": "video"}, many_edits(clip, 2)))[0]
    table = b"moov", b"trak", b"mdia", b"minf", b"stbl"
    cases = {
        "claims 20000 samples": many_edits(clip, 1000),
        "claims 13421793 samples": clips.with_boxes(clip, [b"moov"], sound_in_one_chunk((1 << 31) - 1)),
        "claims 107374204 samples": clips.with_boxes(clip, [b"moov"], sound_in_one_chunk((1 << 31) - 1) * 8),
        "compressed header": compressed_header(clip),
        "claims 100020 samples": sizes_of(clip, b"stz2", 100_000, *table),
        "claims 100021 samples": sizes_of(clip, b"stz2", 100_001, *table[:2]),
        "box stts inside of stsd": clips.with_boxes(
            clip, [b"moov"], sound_in_one_chunk(16, [clips.box(b"stts", struct.pack(">IIII", 0, 1, 1, 2))])),
    }
    for mode in ("probe", "video"):
        for message, answer in zip(cases, ask(*(({"mode": mode}, crafted) for crafted in cases.values()))):
            assert message in answer.get("error", ""), (mode, message, answer)
            assert answer["code"] == 3 and answer.get("peak_rss_kib", 0) < 150_000


def test_raw_sound_does_not_count_by_its_samples(made):
    """One entry for many of them: else every second of it would look like 48,000 frames."""
    crafted = clips.with_boxes(made["h264 mp4"], [b"moov"], sound_in_one_chunk(100_000))
    (answer,) = ask(({"mode": "video"}, crafted))
    assert answer["frames"] == 4


def billion_in_avi(clip):
    at = clip.index(b"strh") + 8 + 32
    return clip[:at] + struct.pack("<I", 10**9) + clip[at + 4 :]


def test_hostile_clips_are_refused_at_once_and_by_name(made):
    huge = clips.clip("mpeg4", "mp4", frames=2, width=4096, height=4096, draw=lambda *_: np.zeros((4096, 4096, 3), np.uint8))
    cases = {
        "video is empty: 0 bytes": b"",
        "unknown video format": b"hello, I am a text and not a clip" * 9,
        "has no video stream": audio_only(),
        "video has no frames": without_frames(made["h264 mp4"]),
        "claims 1000000000 samples": billion_frames(made["h264 mp4"]),
        "video has 1000000000 frames, the limit is": billion_in_avi(made["h264 avi"]),
        "claims frames of 4096 x 4096": huge,
        "no moov box": made["h264 mp4"][:40],
    }
    limits = {"max_frame_pixels": 1 << 23, "max_frames": 100_000, "max_seconds": 1e9}
    for message, clip in cases.items():
        for mode in ("probe", "video"):
            (answer,) = ask(({"mode": mode, "limits": limits}, clip))
            if (mode, message) != ("probe", "video has no frames"):
                assert message in answer.get("error", ""), (mode, message, answer)
                assert answer["code"] == 3
            assert answer.get("peak_rss_kib", 0) < 150_000


@pytest.fixture(scope="module")
def eight_k():
    """7,680 x 4,320: 50 MB a decoded frame."""
    picture = np.zeros((4320, 7680, 3), np.uint8)
    picture[:, ::64] = 200
    return clips.clip("h264", "mp4", frames=8, width=7680, height=4320, options={"preset": "ultrafast", "bf": "0"},
                      draw=lambda *_: picture)


def test_an_8k_clip_above_the_limit_is_refused_before_it_costs_memory(eight_k):
    for mode in ("probe", "video"):
        (answer,) = ask(({"mode": mode, "limits": {"max_frame_pixels": 1 << 24}}, eight_k))
        assert "7680 x 4320 = 33177600 pixels, the limit is 16777216" in answer["error"] and answer["code"] == 3
        assert answer.get("peak_rss_kib", 0) < 150_000


def test_an_8k_clip_below_the_limit_takes_the_memory_of_few_frames(eight_k):
    """However many are sampled: each is resized when it is decoded, and the codec keeps some for reference."""
    peaks = []
    for count in (2, 8):
        (answer,) = ask(({"mode": "video", "sampling": {"num_frames": count}, "limits": {"max_frame_pixels": 1 << 26},
                          "options": {"min_pixels": 4096, "max_pixels": 1 << 20}}, eight_k))
        assert "error" not in answer and answer["frames"] == count
        peaks.append(answer["peak_rss_kib"])
    assert max(peaks) < 700_000 and peaks[1] - peaks[0] < 100_000, peaks


def test_memory_follows_the_sampled_frames_and_not_the_length():
    """The same scene for 10 s and for 120 s: the file alone may be larger. All frames would be 40 MB more."""
    scene = [clips.moving_picture(index, 64, 64) for index in range(16)]
    made_of = [clips.clip("h264", "mp4", frames=frames, width=64, height=64, gop=60, draw=lambda index, *_: scene[index % 16])
               for frames in (300, 3600)]
    peaks = []
    for clip in made_of:
        (answer,) = ask(({"mode": "video", "discard": True, "sampling": {"num_frames": 16}}, clip))
        assert answer["frames"] == 16
        peaks.append(answer["peak_rss_kib"] * 1024)
    assert peaks[1] - peaks[0] < len(made_of[1]) - len(made_of[0]) + (4 << 20), peaks


def test_limits_are_named(made):
    clip = made["h264 mp4"]
    for limits, message in (({"max_frames": 19}, "video has 20 frames, the limit is 19"),
                            ({"max_seconds": 0.5}, "s long, the limit is 0.5 s"),
                            ({"max_frame_pixels": 15359}, "160 x 96 = 15360 pixels, the limit is 15359")):
        for mode in ("probe", "video"):
            (answer,) = ask(({"mode": mode, "limits": limits}, clip))
            assert message in answer["error"], answer
    (answer,) = ask(({"mode": "video", "options": {"max_patches": 59}}, clip))
    assert "patches, the limit is 59" in answer["error"]


@pytest.mark.parametrize("name", ("h264 unusual size", "vp9 odd width", "gif"))
def test_a_clip_of_just_the_most_pixels_is_taken(made, name):
    """Also where a decoder's rows are longer than the picture's."""
    (header,) = ask(({"mode": "probe"}, made[name]))
    pixels = header["width"] * header["height"]
    exact, below = ask(*(({"mode": "video", "limits": {"max_frame_pixels": most}}, made[name])
                         for most in (pixels, pixels - 1)))
    assert "error" not in exact and f"pixels, the limit is {pixels - 1}" in below["error"]


def test_a_size_that_the_header_hides_is_refused(made):
    """The container claims a small picture, the codec's own header a large one."""
    big = clips.clip("h264", "mp4", frames=2, width=640, height=480)
    at = big.index(b"avc1", big.index(b"stsd")) + 28
    (answer,) = ask(({"mode": "video"}, big[:at] + struct.pack(">HH", 64, 64) + big[at + 4 :]))
    assert "the header says 64 x 64 pixels, the data 640 x 480" in answer["error"]


def test_codecs_that_are_not_on_the_list_are_refused():
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as target:
        stream = target.add_stream("mjpeg", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(clips.moving_picture(0, 64, 64), format="rgb24")
        target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    (answer,) = ask(({"mode": "probe"}, out.getvalue()))
    assert "video codec mjpeg is not accepted; accepted are H.264" in answer["error"]
