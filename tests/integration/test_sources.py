"""One picture and one clip through every source of the real server, against each other and against what the reference's
processors, run live, hand out."""

import io
import subprocess
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import reference
import torch
from PIL import Image

from pictures import encoded, photo
from serving import VITOWER, rel_l2, rows, serving, stubs

pb, _ = stubs()
OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = 0, 3, 8, 9
FLOOR = 1e-6  # of float32


def embed(stub, **sources):
    """One item of each source named, in one call: their results."""
    items = [pb.Item(id=name, **source) for name, source in sources.items()]
    return {result.id: result for result in stub.Embed(pb.EmbedRequest(items=items), timeout=120).results}


def all_rows(result):
    assert result.status.code == OK, result.status.message
    assert [output.name for output in result.outputs] == ["tokens", "deepstack_0", "deepstack_1", "deepstack_2"]
    return np.concatenate([rows(output) for output in result.outputs])


def distances(results, base):
    """relL2 of every result's rows to those of one of them."""
    want = all_rows(results[base])
    found = {name: rel_l2(all_rows(result), want) for name, result in results.items()}
    print({name: f"{distance:.1e}" for name, distance in found.items()}, want.shape)
    assert len({str(result.grid_thw) for result in results.values()}) == 1
    return found


def patches(values, grid, dtype=torch.float32):
    names = {torch.float32: pb.DTYPE_FP32, torch.bfloat16: pb.DTYPE_BF16, torch.float16: pb.DTYPE_FP16}
    t, h, w = grid.tolist()
    data = values.to(dtype).contiguous().view(torch.uint8).numpy().tobytes()
    return dict(patches=pb.PatchRows(data=data, dtype=names[dtype], grid_thw=pb.GridThw(t=t, h=h, w=w)))


def raw(pixels, **clip):
    height, width = pixels.shape[-3:-1]
    frames = len(pixels) if pixels.ndim == 4 else 0
    return dict(rgb=pb.RawRgb(data=pixels.tobytes(), frames=frames, height=height, width=width, **clip))


@pytest.mark.parametrize("width, height", [(500, 333), (640, 480), (97, 1200)])
def test_an_image_gives_the_same_rows_encoded_as_pixels_and_as_the_references_patches(width, height):
    jpeg = encoded(photo(np.random.default_rng(width), width, height), "JPEG")
    picture = Image.open(io.BytesIO(jpeg))
    out = reference.image_processor()(images=[picture], return_tensors="pt")
    values, grid = out["pixel_values"], out["image_grid_thw"][0]
    with serving("--dtype", "fp32") as server:
        results = embed(server.stub(), jpeg=dict(image=jpeg), rgb=raw(np.asarray(picture)),
                        patches=patches(values, grid), bf16=patches(values, grid, torch.bfloat16),
                        fp16=patches(values, grid, torch.float16))
    distance = distances(results, "jpeg")
    assert distance["rgb"] == 0
    assert distance["patches"] <= FLOOR
    assert distance["bf16"] < 2e-2 and distance["fp16"] < 2e-3  # the values themselves are rounded


def clip_of(rng, count, width, height):
    """A still that slides sideways, with grain: [count, height, width, 3]."""
    wide = photo(rng, width + 2 * count, height)
    return np.stack([wide[:, 2 * i : 2 * i + width] for i in range(count)])


def encode(frames, container="mp4", claimed_fps=30, fps=30):
    """An H.264 clip of `fps` frames a second. Matroska's header holds the claim instead, and no count of frames."""
    ticks = 600
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream("libx264", rate=claimed_fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, ticks)
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i * ticks // fps, Fraction(1, ticks)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def decode(data):
    with av.open(io.BytesIO(data)) as clip:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)])


def video(data, **sampling):
    return dict(video=pb.EncodedVideo(data=data, sampling=pb.Sampling(**sampling) if sampling else None))


@pytest.mark.parametrize("width, height, count, container", [(320, 180, 90, "mp4"), (98, 150, 75, "matroska")])
def test_a_clip_gives_the_same_rows_encoded_as_images_as_pixels_and_as_the_references_patches(width, height, count,
                                                                                              container):
    data = encode(clip_of(np.random.default_rng(count), count, width, height), container)
    frames = decode(data)
    with serving("--dtype", "fp32") as server:
        stub = server.stub()
        clip = embed(stub, video=video(data))["video"]
        assert clip.status.code == OK, clip.status.message
        sampled = frames[list(clip.frame_indices)]
        out = reference.video_processor()(videos=[torch.from_numpy(sampled).permute(0, 3, 1, 2)], do_sample_frames=False,
                                          return_tensors="pt")
        images = [encoded(pixels) for pixels in sampled]
        results = embed(stub, images=dict(frames=pb.FrameList(images=images)), rgb=raw(sampled),
                        rgb_sampled=raw(frames, fps=30, sampling=pb.Sampling()),
                        patches=patches(out["pixel_values_videos"], out["video_grid_thw"][0]))
    results["video"] = clip
    distance = distances(results, "video")
    assert distance["images"] == distance["rgb"] == distance["rgb_sampled"] == 0
    assert distance["patches"] <= FLOOR
    assert len(sampled) == count // 15 and clip.padded == (len(sampled) % 2 == 1)
    assert clip.frame_indices[0] == 0 and clip.frame_indices[-1] == count - 1
    assert clip.source_fps == results["rgb_sampled"].source_fps == 30
    times = np.array([*clip.frame_indices, *clip.frame_indices[-1:]][: 2 * clip.grid_thw.t]) / 30
    assert np.allclose(clip.slice_timestamps, (times[0::2] + times[1::2]) / 2)
    assert list(results["rgb"].frame_indices) == list(range(len(sampled))) and not results["rgb"].slice_timestamps


def test_what_is_held_for_a_clip_is_put_right_once_it_is_decoded():
    claims_more = encode(clip_of(np.random.default_rng(1), 120, 128, 96), "matroska", claimed_fps=30, fps=10)
    claims_less = encode(clip_of(np.random.default_rng(2), 120, 128, 96), "matroska", claimed_fps=10, fps=30)
    with serving("--dtype", "fp32", "--max-batch-delay", "5s", "--max-batch-patches", 16384) as server:
        stub = server.stub()
        for data, expected in [(claims_more, 119 * 48), (claims_less, 21 * 48)]:
            call = stub.Embed.future(pb.EmbedRequest(items=[pb.Item(**video(data, fps=20))]), timeout=120)
            held = set()
            while not call.done():  # it waits for company for 5 s
                held.add(server.metrics()["vitower_queue_patches"])
                time.sleep(0.01)  # leaves the processor to the server
            grid = call.result().results[0].grid_thw
            taken = grid.t * grid.h * grid.w
            print(f"of the header {expected} patches were expected, {taken} there were; held were {sorted(held)}")
            assert taken != expected and taken in held and held <= {0, expected, taken}
        for _ in range(100):
            metrics = server.metrics()
            if metrics["vitower_inflight_bytes"] == 0:
                break
        assert metrics["vitower_inflight_bytes"] == metrics["vitower_queue_patches"] == 0


@pytest.mark.parametrize("flag, limit, code", [("--max-item-patches", 1_500, INVALID_ARGUMENT),
                                               ("--max-reply-bytes", 500_000, RESOURCE_EXHAUSTED)])
def test_a_clip_longer_than_its_header_says_is_refused_alone_once_it_is_decoded(flag, limit, code):
    data = encode(clip_of(np.random.default_rng(2), 120, 128, 96), "matroska", claimed_fps=10, fps=30)
    picture = encoded(photo(np.random.default_rng(3), 64, 64))
    size = pb.Preprocessing(min_pixels=64 * 64)
    with serving("--dtype", "fp32", flag, limit) as server:
        results = embed(server.stub(), clip=video(data, fps=20), image=dict(image=picture, preprocessing=size))
    print(results["clip"].status)
    assert results["clip"].status.code == code
    assert str(limit) in results["clip"].status.message
    assert results["image"].status.code == OK


def test_a_checkpoint_without_a_video_processor_refuses_clips_by_the_missing_file(tmp_path):
    subprocess.run([VITOWER, "make-checkpoint", "--output", tmp_path / "tower"], check=True, capture_output=True)
    (tmp_path / "tower" / "video_preprocessor_config.json").unlink()
    pixels = clip_of(np.random.default_rng(4), 4, 64, 64)
    out = reference.pixel_values(pixels)
    with serving("--dtype", "fp32", model=tmp_path / "tower") as server:
        results = embed(server.stub(), video=video(encode(pixels)), rgb=raw(pixels), image=raw(pixels[0]),
                        patches=patches(out[0], out[1][0]))
    for name in ("video", "rgb"):
        assert results[name].status.code == FAILED_PRECONDITION
        assert "video_preprocessor_config.json" in results[name].status.message
    assert results["image"].status.code == results["patches"].status.code == OK
