"""The tower against transformers' Qwen3VLVisionModel, live, on weights and pictures drawn anew each run."""

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


def random_items(rng):
    """Stills of mixed sizes, two alike among them, and a clip of two slices."""
    shapes = [(1, 4, 4), (1, 14, 14), (1, 14, 14), (1, 2, 18), (4, 6, 10), (1, 26, 8)]
    return [rng.integers(0, 256, (frames, 16 * h, 16 * w, 3), dtype=numpy.uint8) for frames, h, w in shapes]


def run_vitower(model, items, dtype, folder, *options, env=None):
    save_file({str(i): torch.from_numpy(item) for i, item in enumerate(items)}, folder / "frames.safetensors")
    output = folder / f"out-{dtype}.safetensors"
    subprocess.run([TOWER_DUMP, "--model", model, "--dtype", dtype, "--input", folder / "frames.safetensors",
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
    """Not further from fp32 than the reference's own bf16 is, with a margin for another order of the sums."""
    own, error = rel_l2(reference_value, expected), rel_l2(value, expected)
    cosine = smallest_cosine(value, expected)
    print(f"  bf16 {name}: relL2 {error:.2e}, reference {own:.2e}, smallest cosine {cosine:.5f}")
    assert error <= 1.2 * own and cosine >= cosine_floor, name


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


def test_a_small_tower_agrees_on_a_machine_without_avx512(tmp_path):
    check_small_tower("72", tmp_path, {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"})


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


def two_stills():
    rng = numpy.random.default_rng(SEED)
    return [rng.integers(0, 256, (1, *size, 3), dtype=numpy.uint8) for size in [(256, 256), (96, 160)]]


def check_made(folder, config, state, items, scratch, cosine_floor=0.9996):
    stages = [reference.run_tower(reference.build_tower(config, state, dtype), items)
              for dtype in (torch.float32, torch.bfloat16)]
    outputs = [outputs_of(run_vitower(folder, items, dtype, scratch, "--no-stages")) for dtype in ("fp32", "bf16")]
    check_against(outputs_expected(config.deepstack_visual_indexes), *stages, *outputs, cosine_floor)


def test_the_2b_shape_agrees(tmp_path):
    config, state = make_checkpoint(tmp_path / "model", "2b")
    check_made(tmp_path / "model", config, state, two_stills(), tmp_path)


def test_massive_activations_agree(tmp_path):
    """Channels of 3e3 and a hidden unit that fp16 cannot hold. Rounding such a channel to bf16 moves the mean of a row
    that is only 128 wide, in the reference as here: the floor of the cosine is lower."""
    config, state = make_checkpoint(tmp_path / "model", "tiny", "--outliers")
    items = two_stills()
    largest = {}
    model = reference.build_tower(config, state, torch.float32)
    model.blocks[-1].mlp.linear_fc1.register_forward_hook(
        lambda _module, _args, output: largest.update(fc1=output.abs().max().item()))
    stages = reference.run_tower(model, items)
    assert stages["block_1"].abs().max() > 2900 and largest["fc1"] > 65504
    overflowed = reference.run_tower(reference.build_tower(config, state, torch.float16), items)
    assert not overflowed["merger"].isfinite().all()
    check_made(tmp_path / "model", config, state, items, tmp_path, cosine_floor=0.999)
