#!/usr/bin/env python3
"""Parity and speed of the CUDA tower against the reference, as a Markdown report. Called by run.sh.

    report.py PROBE --shape 4b [--compile] [--parity-only] [--no-parity] [--grids 64*1x14x14,...] [--repeats 20]
"""

import argparse
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import reference  # noqa: E402

GRIDS = "64*1x14x14,8*1x20x38,16*1x28x28,16*1x44x80,1*1x28x28,1*1x14x14"
# Frames, rows and columns of patches: stills of several shapes, a clip, a clip of an odd number of frames.
ITEMS = [(1, 14, 14), (1, 28, 28), (4, 8, 12), (1, 2, 2), (3, 10, 6), (1, 20, 38)]
LIMITS = {"fp32": (1e-5, 3e-5)}


def call(probe, *arguments):
    return subprocess.run([probe, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True).stdout


def rel_l2(value, expected):
    return ((value - expected).norm() / expected.norm()).item()


def smallest_cosine(value, expected):
    return torch.nn.functional.cosine_similarity(value, expected, dim=1).min().item()


def run_reference(model, items):
    rows, grids = zip(*(reference.pixel_values(item.cuda()) for item in items))
    rows = torch.cat(rows).to(next(model.parameters()).dtype)
    with torch.inference_mode():
        return [value.float() for value in reference.outputs(model(rows, torch.tensor(grids, device="cuda")))]


def names_of(count):
    return ["tokens"] + [f"deepstack_{i}" for i in range(count - 1)]


def describe(value, expected):
    return f"{rel_l2(value, expected):.2e} / {(value - expected).abs().max().item():.1e} / {smallest_cosine(value, expected):.5f}"


def parity(probe, folder, scratch, title, extra, dtypes):
    from safetensors.torch import load_file, save_file

    generator = torch.Generator().manual_seed(1)
    items = [torch.randint(0, 256, (t, 16 * h, 16 * w, 3), dtype=torch.uint8, generator=generator) for t, h, w in ITEMS]
    save_file({str(i): item for i, item in enumerate(items)}, scratch / "frames.safetensors")
    expected = run_reference(reference.build(folder, torch.float32), items)
    half = run_reference(reference.build(folder, torch.bfloat16), items)
    failures = 0
    for dtype in dtypes:
        for way in (["graphs"] if dtype == "bf16" else []) + ["eager"]:
            flags = ["--no-graphs"] if way == "eager" else []
            call(probe, "dump", "--model", folder, "--dtype", dtype, "--input", scratch / "frames.safetensors", "--output",
                 scratch / "out.safetensors", "--single", *flags, *extra)
            out = {name: value.cuda().float() for name, value in load_file(scratch / "out.safetensors").items()}
            for i, name in enumerate(names_of(len(expected))):
                ours, own = out[name], half[i]
                single = torch.cat([out[f"{name}.{j}"] for j in range(len(items))])
                if dtype == "fp32":
                    good = rel_l2(ours, expected[i]) <= 1e-5 and (title != "plain" or (ours - expected[i]).abs().max() <= 3e-5)
                else:
                    good = (rel_l2(ours, expected[i]) <= 1.2 * rel_l2(own, expected[i])
                            and smallest_cosine(ours, expected[i]) >= min(0.9996, smallest_cosine(own, expected[i])))
                failures += not good
                print(f"| {title} | {dtype} {way} | {name} | {describe(ours, expected[i])} | "
                      f"{describe(own, expected[i]) if dtype != 'fp32' else ''} | {rel_l2(single, ours):.1e} | "
                      f"{'ok' if good else 'FAILED'} |", flush=True)
    return failures


def parse_grid(grid):
    count, size = grid.split("*")
    _, h, w = map(int, size.split("x"))
    return int(count), h, w


def compiled_ms(plain, rows, config, grid, repeats):
    torch._dynamo.reset()
    inputs = reference.straightforward_inputs(config, *grid, torch.bfloat16)
    run = torch.compile(plain, dynamic=False)
    with torch.inference_mode():
        return reference.median_ms(lambda: run(rows, *inputs, grid[1] * grid[2]), repeats)


def bench(probe, folder, grids, repeats, extra, compiled):
    ours = {}
    for line in call(probe, "bench", "--model", folder, "--grids", grids, "--repeats", repeats, *extra).splitlines():
        words = line.split()
        ours[words[0]] = [float(word) for word in words[1:]]
    ceiling = reference.gemm_ceiling()
    config = reference.load_config(folder)
    print(f"\n8192^3 bf16 product: {ceiling:.0f} TFLOP/s; start {ours['ready'][0] / 1e3:.1f} s\n")
    print("| items x (grid) | device, ms | wall, ms | reference, ms | with its Linear, ms | torch.compile, ms | reference / ours | "
          "TFLOP/s | share of the ceiling | upload, patch_embed, position, blocks, merger, download, ms |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    models = reference.build(folder, torch.bfloat16), reference.build(folder, torch.bfloat16, linear=True)
    plain = reference.Straightforward(folder, torch.bfloat16) if compiled else None
    for grid in grids.split(","):
        count, h, w = parse_grid(grid)
        rows = torch.rand(count * h * w, 1536, device="cuda", dtype=torch.bfloat16) * 2 - 1
        thw = torch.tensor([(1, h, w)] * count, device="cuda")
        times = []
        for model in models:
            with torch.inference_mode():
                times.append(f"{reference.median_ms(lambda: model(rows, thw), max(5, repeats // 3)):.2f}")
        times.append("")
        if plain and grid in compiled:
            times[2] = f"{compiled_ms(plain, rows, config, (count, h, w), repeats):.2f}"
        device, wall, *stages = ours[grid]
        rate = reference.work_flops(config, count, h, w) / device / 1e9
        print(f"| {count} x ({h}x{w}) | {device:.2f} | {wall:.2f} | {' | '.join(times)} | {float(times[0]) / device:.1f} | "
              f"{rate:.0f} | {rate / ceiling:.0%} | {', '.join(f'{stage:.3f}' for stage in stages)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("probe")
    parser.add_argument("--shape", default="4b")
    parser.add_argument("--grids", default=GRIDS)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--compile", default="", help="grids to run torch.compile on, comma-separated (half a minute each)")
    parser.add_argument("--no-parity", action="store_true")
    parser.add_argument("--no-bench", action="store_true")
    parser.add_argument("--extra", default="", help="more flags for the probe")
    options = parser.parse_args()
    reference.exact_fp32()
    extra = options.extra.split()
    import transformers

    print(f"\n## {options.shape}: {torch.cuda.get_device_name()}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, "
          f"transformers {transformers.__version__}, Python {platform.python_version()}\n")
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        call(options.probe, "make", options.shape, scratch / "plain")
        if not options.no_parity:
            print("| weights | ours | output | relL2 / max / smallest cosine against fp32 | the reference's own bf16 | single to batch, "
                  "relL2 | |\n|---|---|---|---|---|---|---|")
            call(options.probe, "make", options.shape, scratch / "outliers", "--outliers")
            failures += parity(options.probe, scratch / "plain", scratch, "plain", extra, ["fp32", "bf16"])
            failures += parity(options.probe, scratch / "outliers", scratch, "outliers", extra, ["fp32", "bf16"])
        if not options.no_bench:
            bench(options.probe, scratch / "plain", options.grids, options.repeats, extra,
                  [grid for grid in options.compile.split(",") if grid])
    if failures:
        print(f"\n{failures} comparisons FAILED")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
