"""Writes the seeds of the fuzz targets to tests/fuzz/corpus: small, valid inputs of every kind, for libFuzzer to bend.

    .venv/bin/python tests/fuzz/make_seeds.py
"""

import json
import pathlib
import struct
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import clips  # noqa: E402
import serving  # noqa: E402

CORPUS = ROOT / "tests/fuzz/corpus"
IMAGES = ROOT / "tests/golden/images"
pb, _ = serving.stubs()


def write(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def videos():
    small = dict(frames=5, width=32, height=32)
    for codec, container in [("h264", "mp4"), ("h264", "mov"), ("h264", "matroska"), ("h264", "avi"), ("vp8", "webm"), ("vp9", "webm"),
                             ("mpeg4", "avi"), ("mpeg4", "mp4"), ("gif", "gif")]:
        write("video_fuzz", f"{codec}.{container}", clips.clip(codec, container, **small))
    for codec in ("hevc", "av1"):
        write("video_fuzz", f"{codec}.mp4", clips.clip(codec, "mp4", frames=3, width=64, height=64))
    write("video_fuzz", "audio.mp4", clips.clip("mpeg4", "mp4", audio=True, **small))
    write("video_fuzz", "fragmented.mp4",
          clips.clip("h264", "mp4", muxer_options={"movflags": "frag_keyframe+empty_moov"}, gop=2, **small))
    write("video_fuzz", "turned.mp4", clips.with_display_matrix(clips.clip("h264", "mp4", **small), (0, 1, -1, 0)))


def items():
    png = (IMAGES / "bits_1.png").read_bytes()
    jpeg = (IMAGES / "gray.jpg").read_bytes()
    yield "image", pb.Item(id="a", image=png, outputs=pb.Outputs(dtype=pb.DTYPE_FP32))
    yield "overrides", pb.Item(image=jpeg, preprocessing=pb.Preprocessing(min_pixels=1024, max_pixels=4096, apply_exif=False))
    yield "video", pb.Item(video=pb.EncodedVideo(data=clips.clip("mpeg4", "avi", frames=3, width=32, height=32),
                                                 sampling=pb.Sampling(fps=2, start_seconds=0.1, end_seconds=1)))
    yield "frames", pb.Item(frames=pb.FrameList(images=[png, png, png], fps=24, sampling=pb.Sampling(num_frames=2)))
    yield "rgb", pb.Item(rgb=pb.RawRgb(data=bytes(32 * 32 * 3), height=32, width=32))
    yield "clip", pb.Item(rgb=pb.RawRgb(data=bytes(3 * 32 * 32 * 3), frames=3, height=32, width=32))
    rows = np.zeros((4, 1536), np.float16).tobytes()
    yield "patches", pb.Item(patches=pb.PatchRows(data=rows, dtype=pb.DTYPE_FP16, grid_thw=pb.GridThw(t=1, h=2, w=2)))


def requests():
    every = list(items())
    for name, item in every:
        write("request_fuzz", name, pb.EmbedRequest(items=[item]).SerializeToString())
    write("request_fuzz", "all", pb.EmbedRequest(items=[item for name, item in every if name != "patches"]).SerializeToString())
    write("request_fuzz", "empty_items", pb.EmbedRequest(items=[pb.Item()] * 17).SerializeToString())


def streams():
    item = pb.Item(id="a", rgb=pb.RawRgb(data=bytes(12), height=2, width=2)).SerializeToString()
    part = lambda key, offset, total, data: pb.EmbedStreamRequest(key=key, part=pb.ItemPart(offset=offset, total=total, data=data))
    half = len(item) // 2
    whole = pb.EmbedStreamRequest(key=1, item=pb.Item.FromString(item))
    halves = [part(2, 0, len(item), item[:half]), part(2, half, len(item), item[half:])]
    for name, messages in {
        "item": [whole],
        "parts": halves,
        "mixed": [whole, halves[0], part(3, 0, 40, b"x" * 20), halves[1]],
        "gap": [part(1, 0, 40, b"x" * 10), part(1, 20, 40, b"x" * 20)],
        "too_large": [part(1, 0, 1 << 40, b"x")],
        "many": [part(key, 0, 4000, b"x") for key in range(6)],
    }.items():
        bodies = [message.SerializeToString() for message in messages]
        write("stream_fuzz", name, b"".join(bytes([len(body)]) + body for body in bodies))


def safetensors():
    def file(header, data):
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    one = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}
    write("safetensors_fuzz", "one", file({"a": one}, bytes(12)))
    write("safetensors_fuzz", "two", file({"__metadata__": {"format": "pt"}, "a": one,
                                           "b": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]}}, bytes(16)))
    write("safetensors_fuzz", "empty_tensor", file({"a": {"dtype": "I64", "shape": [0, 5], "data_offsets": [0, 0]}}, b""))
    write("safetensors_fuzz", "overlap", file({"a": one, "b": one}, bytes(12)))
    write("safetensors_fuzz", "long_header", struct.pack("<Q", 1 << 60) + b"{}")


def configs():
    vision = dict(depth=2, hidden_size=128, num_heads=2, intermediate_size=256, out_hidden_size=96, patch_size=16, temporal_patch_size=2,
                  spatial_merge_size=2, in_channels=3, num_position_embeddings=2304, deepstack_visual_indexes=[0, 1],
                  hidden_act="gelu_pytorch_tanh", model_type="qwen3_vl")
    image = dict(size=dict(shortest_edge=65536, longest_edge=16777216), patch_size=16, temporal_patch_size=2, merge_size=2,
                 image_mean=[0.5] * 3, image_std=[0.5] * 3, image_processor_type="Qwen2VLImageProcessorFast")
    video = dict(image, size=dict(shortest_edge=4096, longest_edge=25165824), fps=2, min_frames=4, max_frames=768)
    for name, config in {
        "config": {"model_type": "qwen3_vl", "torch_dtype": "bfloat16", "vision_config": vision},
        "image": image, "video": video,
        "processor": {"image_processor": image, "video_processor": video},
        "index": {"metadata": {"total_size": 4}, "weight_map": {"model.visual.pos_embed.weight": "model-00001-of-00002.safetensors"}},
    }.items():
        write("config_fuzz", name, json.dumps(config).encode())


for make in (videos, requests, streams, safetensors, configs):
    make()
print(f"{sum(1 for path in CORPUS.rglob('*') if path.is_file())} seeds in {CORPUS.relative_to(ROOT)}")
