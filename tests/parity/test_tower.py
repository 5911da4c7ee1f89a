"""The tower against transformers' Qwen3VLVisionModel, live, on weights and pictures drawn anew each run."""

import json
import os
import subprocess
from pathlib import Path

import numpy
import pytest
import reference
import torch
from safetensors.torch import load_file, save_file

TOWER_DUMP = Path(os.environ["VITOWER_BIN_DIR"]) / "tower_dump"
SEED = int(os.environ.get("VITOWER_TEST_SEED") or int.from_bytes(os.urandom(4), "little"))

# head_dim 72 and 64, with DeepStack and without.
TOWERS = {
    "72": dict(depth=3, hidden_size=144, num_heads=2, intermediate_size=304, out_hidden_size=112,
               deepstack_visual_indexes=[0, 2], **reference.TOWER),
    "64": dict(depth=4, hidden_size=128, num_heads=2, intermediate_size=256, out_hidden_size=96,
               deepstack_visual_indexes=[1, 2, 3], **reference.TOWER),
    "35": dict(depth=3, hidden_size=192, num_heads=3, intermediate_size=384, out_hidden_size=128,
               deepstack_visual_indexes=[], **reference.TOWER),
}
LAYOUTS = {
    "72": dict(prefix="model.visual."),
    "64": dict(prefix="visual.", shards=3),
    "35": dict(prefix="vision_tower.", linear_patch=True, dtype=torch.float32),
}


@pytest.fixture(autouse=True)
def print_seed():
    print(f"VITOWER_TEST_SEED={SEED} repeats this run")


def random_frames(rng, *shapes):
    """One item for each (frames, h, w)."""
    return [rng.integers(0, 256, (frames, 16 * h, 16 * w, 3), dtype=numpy.uint8) for frames, h, w in shapes]


def random_items(rng):
    """Stills of mixed sizes, two alike among them, and clips of two to four slices, of even and odd frame counts."""
    return random_frames(rng, (1, 4, 4), (1, 14, 14), (1, 14, 14), (1, 2, 18), (4, 6, 10), (1, 26, 8), (5, 4, 6), (7, 2, 8),
                         (2, 4, 4), (8, 6, 10))


def as_patches(item, dtype=torch.float32):
    """The item as a client of the reference's processors would send it."""
    rows, grid = reference.pixel_values(item)
    return rows.to(dtype), grid[0]


def write_items(items, path):
    tensors = {}
    for i, item in enumerate(items):
        if isinstance(item, tuple):
            tensors[str(i)], tensors[f"{i}.grid"] = item
        else:
            tensors[str(i)] = torch.from_numpy(item)
    save_file(tensors, path)


def run_vitower(model, items, dtype, folder, *options, env=None):
    write_items(items, folder / "items.safetensors")
    output = folder / f"out-{dtype}.safetensors"
    subprocess.run([TOWER_DUMP, "--model", model, "--dtype", dtype, "--input", folder / "items.safetensors",
                    "--output", output, *options], check=True, env={**os.environ, **(env or {})})
    return load_file(output)


def rel_l2(value, expected):
    return ((value - expected).norm() / expected.norm()).item()


def smallest_cosine(value, expected):
    return torch.nn.functional.cosine_similarity(value, expected, dim=1).min().item()


def check_fp32(name, value, expected):
    """relL2, and the largest difference for values of scale one."""
    scale = max(1.0, expected.pow(2).mean().sqrt().item())
    error, largest = rel_l2(value, expected), (value - expected).abs().max().item() / scale
    print(f"  fp32 {name}: relL2 {error:.1e}, max {largest:.1e}")
    assert error <= 1e-5 and largest <= 3e-5, name


def check_bf16(name, value, expected, reference_value, cosine_floor=0.9996):
    """Not further from fp32 than the reference's own bf16 is, with a margin for another order of the sums. Without a
    `cosine_floor` this holds for the worst token too: 1 - cosine goes with the square of the error."""
    own, error = rel_l2(reference_value, expected), rel_l2(value, expected)
    cosine = smallest_cosine(value, expected)
    own_cosine = smallest_cosine(reference_value, expected)
    print(f"  bf16 {name}: relL2 {error:.2e} ({own:.2e}), smallest cosine {cosine:.5f} ({own_cosine:.5f})")
    floor = cosine_floor if cosine_floor is not None else 1 - 1.2 ** 2 * (1 - own_cosine)
    assert error <= 1.2 * own and cosine >= floor, name


def stages_of(dump):
    return {name.removeprefix("stage."): value for name, value in dump.items() if name.startswith("stage.")}


def outputs_of(dump):
    return {"merger" if name == "tokens" else name: value.float() for name, value in dump.items()
            if name == "tokens" or name.startswith("deepstack_")}


def outputs_expected(deepstack_visual_indexes):
    return {"merger", *(f"deepstack_{i}" for i in range(len(deepstack_visual_indexes)))}


def stages_expected(depth, deepstack_visual_indexes):
    stages = {"pixel_values", "patch_embed", "position", *(f"block_{i}" for i in range(depth))}
    return stages | outputs_expected(deepstack_visual_indexes)


def check_against(names, reference_fp32, reference_bf16, fp32, bf16, cosine_floor=0.9996):
    assert set(fp32) == set(bf16) == names <= set(reference_fp32)
    for name, value in fp32.items():
        if name == "pixel_values":
            assert torch.equal(value, reference_fp32[name]) and torch.equal(bf16[name], reference_bf16[name])
            continue
        check_fp32(name, value, reference_fp32[name])
        check_bf16(name, bf16[name], reference_fp32[name], reference_bf16[name], cosine_floor)


def check_small_tower(name, folder, env=None):
    tower = TOWERS[name]
    state = reference.random_tower_state(tower, SEED)
    items = random_items(numpy.random.default_rng(SEED))
    reference.save_tower(folder, tower, state, **LAYOUTS[name])
    stages = [reference.run_tower(reference.build_tower(tower, state, dtype), items)
              for dtype in (torch.float32, torch.bfloat16)]
    dumps = [run_vitower(folder, items, dtype, folder, env=env) for dtype in ("fp32", "bf16")]
    names = stages_expected(tower["depth"], tower["deepstack_visual_indexes"])
    assert set(stages[0]) == names
    check_against(names, *stages, *map(stages_of, dumps))
    check_against(outputs_expected(tower["deepstack_visual_indexes"]), *stages, *map(outputs_of, dumps))


@pytest.mark.parametrize("name", TOWERS)
def test_small_towers_agree_stage_by_stage(name, tmp_path):
    check_small_tower(name, tmp_path)


@pytest.mark.parametrize("onednn, torch_", [("AVX512_CORE", "avx512"), ("AVX2", "avx2"), ("SSE41", "default")])
def test_a_small_tower_agrees_on_a_machine_of_fewer_instructions(onednn, torch_, tmp_path):
    check_small_tower("72", tmp_path, {"ONEDNN_MAX_CPU_ISA": onednn, "ATEN_CPU_CAPABILITY": torch_})


@pytest.mark.parametrize("name", TOWERS)
def test_clips_images_and_patches_in_one_batch_equal_one_by_one(name, tmp_path):
    tower = TOWERS[name]
    reference.save_tower(tmp_path, tower, reference.random_tower_state(tower, SEED), **LAYOUTS[name])
    rng = numpy.random.default_rng(SEED)
    items = random_frames(rng, (1, 4, 4), (5, 4, 6), (2, 6, 4), (1, 4, 4), (3, 4, 4))
    items += [as_patches(item, dtype) for item, dtype in zip(random_frames(rng, (1, 4, 6), (5, 4, 4), (4, 2, 6)),
                                                             (torch.float32, torch.float16, torch.bfloat16))]
    dump = run_vitower(tmp_path, items, "fp32", tmp_path, "--no-stages")
    batch, offsets = outputs_of(dump), dump["token_offsets"][0].tolist()
    errors = []
    for item, begin, end in zip(items, offsets[:-1], offsets[1:], strict=True):
        alone = outputs_of(run_vitower(tmp_path, [item], "fp32", tmp_path, "--no-stages"))
        errors += [rel_l2(batch[output][begin:end], expected) for output, expected in alone.items()]
    print(f"  fp32, mixed batch against single: relL2 {max(errors):.1e}")
    assert len(errors) == len(items) * len(batch) and all(error <= 1e-6 for error in errors)


def test_patches_of_the_reference_give_the_rows_of_the_item(tmp_path):
    tower = TOWERS["72"]
    reference.save_tower(tmp_path, tower, reference.random_tower_state(tower, SEED), **LAYOUTS["72"])
    items = random_items(numpy.random.default_rng(SEED))
    for dtype, patches in (("fp32", torch.float32), ("bf16", torch.float32), ("bf16", torch.bfloat16)):
        from_frames = run_vitower(tmp_path, items, dtype, tmp_path)
        from_patches = run_vitower(tmp_path, [as_patches(item, patches) for item in items], dtype, tmp_path)
        assert from_frames.keys() == from_patches.keys()
        for name, value in from_frames.items():
            assert torch.equal(value, from_patches[name]), (dtype, patches, name)


def load_reference(folder):
    """transformers' own reading of a folder that make-checkpoint wrote."""
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

    prefix = "model.visual."
    state = {}
    for file in sorted(folder.glob("*.safetensors")):
        state.update({name.removeprefix(prefix): value.float() for name, value in load_file(file).items()})
    return Qwen3VLConfig.from_pretrained(folder).vision_config, state


def make_checkpoint(folder, shape, *options):
    subprocess.run([TOWER_DUMP, "--make", shape, folder, "--seed", str(SEED), "--shards", "2", *options], check=True)
    return load_reference(folder)


def fingerprint(model, folder):
    write_items([numpy.zeros((1, 32, 32, 3), numpy.uint8)], folder / "items.safetensors")
    return subprocess.run([TOWER_DUMP, "--model", model, "--input", folder / "items.safetensors", "--output",
                           folder / "out.safetensors", "--no-stages"], check=True, stdout=subprocess.PIPE).stdout


def test_processors_that_transformers_saved_read_as_the_hubs(tmp_path):
    model = tmp_path / "model"
    make_checkpoint(model, "tiny")
    hub = fingerprint(model, tmp_path)
    files = ["preprocessor_config.json", "video_preprocessor_config.json"]
    saved = [json.loads(processor.to_json_string())
             for processor in (reference.image_processor(), reference.video_processor())]
    for file, content in zip(files, saved):
        (model / file).write_text(json.dumps(content))
    assert fingerprint(model, tmp_path) == hub
    for file in files:
        (model / file).unlink()
    (model / "processor_config.json").write_text(json.dumps({"image_processor": saved[0], "video_processor": saved[1]}))
    assert fingerprint(model, tmp_path) == hub
    saved[1]["size"]["longest_edge"] += 1
    (model / "processor_config.json").write_text(json.dumps({"image_processor": saved[0], "video_processor": saved[1]}))
    assert fingerprint(model, tmp_path) != hub


def stills_and_a_clip():
    return random_frames(numpy.random.default_rng(SEED), (1, 16, 16), (5, 8, 10), (1, 6, 10))


def check_made(folder, config, state, items, scratch, cosine_floor=0.9996):
    stages = [reference.run_tower(reference.build_tower(config, state, dtype), items)
              for dtype in (torch.float32, torch.bfloat16)]
    outputs = [outputs_of(run_vitower(folder, items, dtype, scratch, "--no-stages")) for dtype in ("fp32", "bf16")]
    check_against(outputs_expected(config.deepstack_visual_indexes), *stages, *outputs, cosine_floor)


def test_the_2b_shape_agrees(tmp_path):
    config, state = make_checkpoint(tmp_path / "model", "2b")
    check_made(tmp_path / "model", config, state, stills_and_a_clip(), tmp_path)


def test_massive_activations_agree(tmp_path):
    """Channels of 3e3 and a hidden unit that fp16 cannot hold. Rounding such a channel to bf16 moves the mean of a row
    that is only 128 wide, in the reference as here: the worst token is compared with the reference's worst."""
    config, state = make_checkpoint(tmp_path / "model", "tiny", "--outliers")
    items = stills_and_a_clip()
    largest = {}
    model = reference.build_tower(config, state, torch.float32)
    model.blocks[-1].mlp.linear_fc1.register_forward_hook(
        lambda _module, _args, output: largest.update(fc1=output.abs().max().item()))
    stages = reference.run_tower(model, items)
    assert stages["block_1"].abs().max() > 2900 and largest["fc1"] > 65504
    overflowed = reference.run_tower(reference.build_tower(config, state, torch.float16), items)
    assert not overflowed["merger"].isfinite().all()
    check_made(tmp_path / "model", config, state, items, tmp_path, cosine_floor=None)
