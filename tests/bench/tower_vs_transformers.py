#!/usr/bin/env python3
"""The tower against transformers' sdpa tower: same weights, same threads, one run, call by call in turn.

    VITOWER_BIN_DIR=build/bench/bin .venv/bin/python tests/bench/tower_vs_transformers.py [--repeats 1]

Each of the two lives in a process of its own, so that its memory can be told. Prints a Markdown table: medians, memory
after the row and at its peak, and parity with the reference's fp32 (relL2 of the tokens; in brackets the reference's own).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GRIDS = ["1*1x14x14", "4*1x14x14", "1*1x28x28", "8*1x20x38"]
REPEATS = {"1*1x14x14": 15, "4*1x14x14": 9, "1*1x28x28": 9, "8*1x20x38": 3}


def status_mb(key):
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(key)).split()[1]) / 1024


def items_of(grid):
    import numpy

    count, (t, h, w) = int(grid.split("*")[0]), map(int, grid.split("*")[1].split("x"))
    rng = numpy.random.default_rng(h * w)
    frames = 1 if t == 1 else 2 * t
    return [rng.integers(0, 256, (frames, 16 * h, 16 * w, 3), dtype=numpy.uint8) for _ in range(count)]


def serve_reference(folder, dtype, threads, grids):
    """Reads grids from stdin, answers each with its time and memory; "save GRID FILE" saves the tokens instead."""
    sys.path.insert(0, str(ROOT / "tests" / "parity"))
    import reference
    import torch
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(threads)
    reference.import_torchvision()
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    state = {name.removeprefix("model.visual."): value for name, value in load_file(folder / "model.safetensors").items()}
    config = Qwen3VLConfig.from_pretrained(folder).vision_config
    model = reference.build_tower(config, None, dtype)
    model.load_state_dict(state)
    del state
    inputs = {}
    for grid in grids:
        rows, thw = zip(*(reference.pixel_values(item) for item in items_of(grid)))
        inputs[grid] = torch.cat(rows).to(dtype), torch.cat(thw)
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        grid = words[1] if words[0] == "save" else words[0]
        begin = time.perf_counter()
        with torch.inference_mode():
            output = model(*inputs[grid])
        elapsed = time.perf_counter() - begin
        if words[0] == "save":
            save_file({"tokens": output.pooler_output.contiguous()}, words[2])
        print(grid, elapsed * 1e3, status_mb("VmRSS"), status_mb("VmHWM"), flush=True)


class Child:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self.process.stdout.readline().split()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def tokens_of_vitower(tower_dump, folder, dtype, grid, threads, scratch):
    import torch
    from safetensors.torch import load_file, save_file

    save_file({str(i): torch.from_numpy(item) for i, item in enumerate(items_of(grid))}, scratch / "items.safetensors")
    subprocess.run([tower_dump, "--model", folder, "--dtype", dtype, "--threads", str(threads), "--no-stages", "--input",
                    scratch / "items.safetensors", "--output", scratch / "out.safetensors"], check=True,
                   stdout=subprocess.DEVNULL)
    return load_file(scratch / "out.safetensors")["tokens"].float()


def rel_l2(value, expected):
    return ((value - expected).norm() / expected.norm()).item()


def compare(tower_dump, folder, dtype, threads, scratch, expected, repeats):
    from safetensors.torch import load_file

    ours = Child([tower_dump, "--model", folder, "--dtype", dtype, "--threads", str(threads), "--bench", "", "--serve"])
    theirs = Child([sys.executable, __file__, "--reference", folder, "--dtype", dtype, "--threads", str(threads), "--grids",
                    ",".join(repeats)])
    for grid in repeats:
        ours_ms, theirs_ms = [], []
        for i in range(repeats[grid] + 1):
            a = ours.ask(grid)
            b = theirs.ask(grid)
            if i > 0:
                ours_ms.append(float(a[1]))
                theirs_ms.append(float(b[1]))
        theirs.ask(f"save {grid} {scratch / 'reference.safetensors'}")
        own = load_file(scratch / "reference.safetensors")["tokens"].float()
        expected.setdefault(grid, own)
        value = tokens_of_vitower(tower_dump, folder, dtype, grid, threads, scratch)
        x, y = statistics.median(ours_ms), statistics.median(theirs_ms)
        print(f"| {dtype} | {grid.replace('*1x', ' x (')}) | {x:.0f} | {y:.0f} | {y / x:.2f} | {int(a[8]) / 1024:.0f} / "
              f"{int(a[9]) / 1024:.0f} | {float(b[2]):.0f} / {float(b[3]):.0f} | {rel_l2(value, expected[grid]):.1e} "
              f"({rel_l2(own, expected[grid]):.1e}) |", flush=True)
    ours.close()
    theirs.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", default="2b")
    parser.add_argument("--dtype", default="", help="bf16 or fp32 instead of both (bf16 alone: parity is with the reference's bf16)")
    parser.add_argument("--grids", default=",".join(GRIDS), help="ITEMS*TxHxW, comma-separated")
    parser.add_argument("--repeats", type=int, help="measured calls a row, instead of 3 to 15 by size")
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        return serve_reference(options.reference, options.dtype, options.threads, options.grids.split(","))
    tower_dump = Path(os.environ["VITOWER_BIN_DIR"]) / "tower_dump"
    repeats = {grid: options.repeats or REPEATS.get(grid, 5) for grid in options.grids.split(",")}
    print("| dtype | items x (grid) | vitower, ms | transformers, ms | ratio | vitower, MB now / peak | transformers, MB | "
          "relL2 to fp32 |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        subprocess.run([tower_dump, "--make", options.shape, folder], check=True)
        expected = {}
        for dtype in [options.dtype] if options.dtype else ["fp32", "bf16"]:
            compare(tower_dump, folder, dtype, options.threads, Path(scratch), expected, repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
