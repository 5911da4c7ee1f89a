"""What the client puts on the wire, read back with the protobuf library; no server."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import vitower
from PIL import Image
from vitower import messages, wire
from vitower.answer import Answer, read_answer
from vitower.embedding import array
from vitower.inputs import InputError, item_buffers, options_body

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "client/python"
RNG = np.random.default_rng(3)


def sent(source, levels=3, **options):
    """The Item message that goes out, parsed."""
    chosen = vitower.Options(**options)
    return messages.Item.FromString(b"".join(item_buffers(vitower.Item(source, "an id"), chosen, options_body(chosen, levels))))


def test_the_package_carries_the_api_of_the_tree():
    sys.path.insert(0, str(PACKAGE))
    from make_descriptor import descriptor

    assert (PACKAGE / "src/vitower/vitower.binpb").read_bytes() == descriptor(), "run client/python/make_descriptor.py"


def test_the_package_has_the_version_of_the_server():
    server = re.search(r"project\(vitower VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert f'version = "{server}"' in (PACKAGE / "pyproject.toml").read_text()


def test_it_installs_from_the_folder_and_the_command_runs(tmp_path):
    copy = tmp_path / "source"
    subprocess.run(["cp", "-r", PACKAGE, copy], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation",
                    "--target", tmp_path / "site", copy], check=True, capture_output=True)
    assert (tmp_path / "site/vitower/py.typed").exists() and (tmp_path / "site/vitower/vitower.binpb").exists()
    done = subprocess.run([tmp_path / "site/bin/vitower-embed", "--version"], capture_output=True, text=True,
                          env={"PYTHONPATH": str(tmp_path / "site")}, cwd=tmp_path)
    assert done.returncode == 0 and "vitower-embed 0." in done.stdout, done.stderr


def test_field_numbers_of_the_hand_cut_messages_are_those_of_the_api():
    numbers = {(name, field.name): field.number
               for name in ("EmbedStreamRequest", "EmbedStreamResponse", "ItemPart", "TensorPart", "Result", "Tensor",
                            "Item", "EncodedVideo", "FrameList", "RawRgb", "PatchRows")
               for field in messages.message(name).DESCRIPTOR.fields}
    assert numbers["EmbedStreamRequest", "item"] == wire.REQUEST_ITEM
    assert numbers["EmbedStreamRequest", "part"] == wire.REQUEST_PART
    assert numbers["EmbedStreamResponse", "result"] == wire.RESPONSE_RESULT
    assert numbers["EmbedStreamResponse", "part"] == wire.RESPONSE_PART
    assert (numbers["TensorPart", "output"], numbers["TensorPart", "data"]) == (wire.PART_OUTPUT, wire.PART_DATA)
    assert (numbers["Result", "outputs"], numbers["Tensor", "data"]) == (wire.RESULT_OUTPUTS, wire.TENSOR_DATA)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_encoded_bytes_of_every_kind_are_an_image(wrap):
    item = sent(wrap(b"\xff\xd8 some jpeg"))
    assert item.image == b"\xff\xd8 some jpeg" and item.id == "an id"


def test_paths_are_read_and_clips_told_by_their_extension(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    (tmp_path / "b.MP4").write_bytes(b"mp4")
    assert sent(tmp_path / "a.png").image == b"png" and sent(str(tmp_path / "a.png")).image == b"png"
    assert sent(tmp_path / "b.MP4").video.data == b"mp4"


def test_pixels_of_arrays_tensors_and_pil_images_are_equal():
    pixels = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    for source in (pixels, np.asfortranarray(pixels), torch.from_numpy(pixels), Image.fromarray(pixels)):
        rgb = sent(source).rgb
        assert (rgb.frames, rgb.height, rgb.width) == (0, 20, 30) and rgb.data == pixels.tobytes()
    grey = Image.fromarray(pixels[:, :, 0])
    assert sent(grey).rgb.data == np.repeat(pixels[:, :, :1], 3, axis=2).tobytes()


def test_clips_come_from_arrays_and_from_lists_of_frames():
    clip = RNG.integers(0, 256, (4, 8, 6, 3), np.uint8)
    for source in (clip, vitower.Frames(list(clip)), vitower.Frames([Image.fromarray(frame) for frame in clip])):
        rgb = sent(source).rgb
        assert (rgb.frames, rgb.height, rgb.width) == (4, 8, 6) and rgb.data == clip.tobytes()
        assert not rgb.HasField("fps") and not rgb.HasField("sampling")
    encoded = sent(vitower.Frames([b"one", b"two"], fps=24, sampling=vitower.Sampling(num_frames=2))).frames
    assert list(encoded.images) == [b"one", b"two"] and encoded.fps == 24 and encoded.sampling.num_frames == 2


def test_sampling_of_a_clip_goes_before_that_of_the_call():
    ours = vitower.Sampling(fps=5, max_frames=9)
    assert sent(vitower.Video(b"mp4", fps=1.5, start_seconds=2), sampling=ours).video.sampling.fps == 1.5
    of_call = sent(vitower.Video(b"mp4"), sampling=ours).video.sampling
    assert of_call.fps == 5 and of_call.max_frames == 9 and not of_call.HasField("start_seconds")
    assert not sent(vitower.Video(b"mp4")).video.HasField("sampling")
    assert sent(np.zeros((2, 8, 8, 3), np.uint8), sampling=ours).rgb.sampling.fps == 5


@pytest.mark.parametrize("dtype, number", [(torch.float32, 3), (torch.float16, 2), (torch.bfloat16, 1)])
def test_patches_keep_their_dtype_bit_by_bit(dtype, number):
    values = torch.randn(8, 12).to(dtype)
    patches = sent(vitower.Patches(values, torch.tensor([[1, 2, 4]]))).patches
    assert patches.dtype == number and (patches.grid_thw.t, patches.grid_thw.h, patches.grid_thw.w) == (1, 2, 4)
    assert patches.data == values.view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("source, message", [
    ("/nowhere/at/all.jpg", "no such file"),
    ("/", "/: Is a directory"),
    ("a\0b.jpg", "null byte"),
    (np.zeros((4, 4), np.uint8), "[4, 4]"),
    (np.zeros((4, 4, 3), np.float32), "float32"),
    (torch.zeros(4, 4, 3, dtype=torch.bfloat16), "bfloat16"),
    (np.zeros((0, 4, 3), np.uint8), "[0, 4, 3]"),
    (vitower.Frames([]), "empty"),
    (vitower.Frames([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]), "one size"),
    (vitower.Frames([b"x", np.zeros((4, 4, 3), np.uint8)]), "in one list"),
    (vitower.Patches(np.zeros((8, 4), np.float64), (1, 2, 4)), "float64"),
    (vitower.Patches(np.zeros((8, 4), np.float32), (1, 2, 2)), "[1, 2, 2]"),
])
def test_unusable_inputs_are_refused_with_what_was_got(source, message):
    with pytest.raises(InputError, match=re.escape(message)):
        sent(source)


def test_what_is_no_input_at_all_is_a_type_error():
    with pytest.raises(TypeError, match="int is no input"):
        sent(17)


def test_outputs_are_those_that_are_named():
    def names(**options):
        outputs = sent(b"x", **options).outputs
        return outputs.tokens, list(outputs.deepstack_levels), outputs.pooled, outputs.pooled_slices

    assert names() == (False, [], False, False)  # the server's default: everything
    assert names(tokens=True, deepstack="all") == (True, [0, 1, 2], False, False)
    assert names(deepstack="none") == (True, [], False, False)
    assert names(tokens=False) == (False, [0, 1, 2], False, False)
    assert names(deepstack=[1], pooled=True) == (False, [1], True, False)
    assert names(pooled_slices=True) == (False, [], False, True)


def test_every_option_arrives():
    item = sent(b"x", min_pixels=1, max_pixels=2, do_resize=False, apply_exif=False, background=(1, 2, 3),
                l2_normalize=True, dtype="fp16", priority="low")
    made = item.preprocessing
    assert (made.min_pixels, made.max_pixels, made.do_resize, made.apply_exif) == (1, 2, False, False)
    assert (made.background.red, made.background.green, made.background.blue) == (1, 2, 3)
    assert item.outputs.l2_normalize and item.outputs.dtype == 2 and item.priority == 3
    assert sent(b"x", background=(0, 0, 0)).preprocessing.HasField("background")


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"priority": "urgent"}, {"deepstack": "some"},
                                     {"background": (1, 2)}, {"background": (1, 2, 256)},
                                     {"tokens": False, "deepstack": "none"}])
def test_wrong_options_are_refused_when_they_are_made(options):
    with pytest.raises(ValueError):
        vitower.Options(**options)


def test_parts_of_an_upload_put_together_are_the_item():
    body = RNG.bytes(10_000)
    request = messages.message("EmbedStreamRequest")
    parts = [request.FromString(part) for part in wire.part_requests(300, body, 4096)]
    assert [part.key for part in parts] == [300] * 3 and {part.part.total for part in parts} == {10_000}
    assert [part.part.offset for part in parts] == [0, 4096, 8192]
    assert b"".join(part.part.data for part in parts) == body
    whole = request.FromString(wire.item_request(1 << 40, item_buffers(vitower.Item(b"x"), vitower.Options(), b"")))
    assert whole.key == 1 << 40 and whole.item.image == b"x"


def answer_in_parts(values, sizes):
    """An Answer of one fp32 output, whose bytes come in parts of those sizes."""
    result = messages.Result(id="a", dtype=3)
    result.outputs.add(name="tokens", shape=[len(values)], dtype=3, byte_count=4 * len(values))
    answer, data, at = Answer(result, [memoryview(b"")]), values.tobytes(), 0
    for size in sizes:
        assert not answer.complete
        answer.add(0, at, memoryview(data[at : at + size]))
        at += size
    return answer


@pytest.mark.parametrize("sizes", [[4000], [1, 2, 3997], [2000, 2000]])
def test_parts_of_an_answer_put_together_are_its_values(sizes):
    values = RNG.standard_normal(1000).astype(np.float32)
    answer = answer_in_parts(values, sizes)
    assert answer.complete and np.array_equal(answer.embedding(0, "", "")["tokens"], values)


def test_parts_out_of_order_or_too_long_break_the_protocol():
    for offset, data in [(4, b"12"), (0, b"x" * 4001)]:
        answer = answer_in_parts(np.zeros(1000, np.float32), [])
        with pytest.raises(ValueError):
            answer.add(0, offset, memoryview(data))


@pytest.mark.parametrize("values", [10_000, 100_000])
def test_an_answer_is_read_whole_and_in_parts_at_every_size(values):
    """Small messages go through the protobuf library, large ones are cut by hand."""
    data = RNG.standard_normal(values).astype(np.float32)
    response = messages.Response(key=1 << 40)
    response.result.outputs.add(name="tokens", shape=[values], dtype=3, data=data.tobytes())
    response.result.dtype = 3
    key, answer, _ = read_answer(response.SerializeToString())
    assert key == 1 << 40 and answer.complete and np.array_equal(answer.embedding(0, "", "")["tokens"], data)
    part = messages.Response(key=3)
    part.part.output, part.part.offset, part.part.data = 2, 77, data.tobytes()
    key, answer, (output, offset, got) = read_answer(part.SerializeToString())
    assert (key, answer, output, offset, bytes(got)) == (3, None, 2, 77, data.tobytes())


def test_a_cut_message_is_a_value_error():
    result = messages.Result(id="a")
    result.outputs.add(name="tokens", shape=[2], dtype=3, data=b"12345678")
    whole = result.SerializeToString()
    for length in range(len(whole) - 8, len(whole)):
        with pytest.raises(ValueError):
            wire.split_result(memoryview(whole[:length]))


def test_bf16_is_widened_as_torch_does_it():
    bits = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    want = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(vitower.bf16_to_float32(bits).view(np.uint32), want.view(np.uint32))


@pytest.mark.parametrize("name, dtype", [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)])
def test_to_torch_has_the_bits_and_shares_the_memory(name, dtype, recwarn):
    want = torch.randn(6, 4).to(dtype)
    raw = array(memoryview(want.view(torch.uint8).numpy().tobytes()), name, (6, 4))
    times = vitower.Times({}, 1, 1)
    embedding = vitower.Embedding(0, "a", (1, 2, 2), 6, name, {"tokens": raw}, (), times)
    tensor = embedding.to_torch("tokens")
    assert tensor.dtype == dtype and torch.equal(tensor, want) and tensor.data_ptr() == raw.ctypes.data
    np.testing.assert_array_equal(embedding["tokens"].astype(np.float32), want.float().numpy())
    assert not recwarn.list
