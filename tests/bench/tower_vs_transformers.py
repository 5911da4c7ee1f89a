#!/usr/bin/env python3
"""The tower against transformers' sdpa tower and, if asked, torch.compile and OpenVINO: same weights, same threads, one run,
call by call in turn.

    VITOWER_BIN_DIR=build/bench/bin .venv/bin/python tests/bench/tower_vs_transformers.py [--repeats 1]
        [--shape 8b] [--dtype bf16] [--grids 1*1x14x14,8*1x20x38] [--peers transformers,compile,frozen,openvino,static]

Each lives in a process of its own, so that its memory can be told. Prints a Markdown table, a line a peer: medians; how
many times as long the peer takes; vitower's GFLOP/s, and their share of the rate of the block's Linears alone (packed, in the
same process, right before; the better of ours and oneDNN's) for the whole tower and for attention alone; memory after the
row and at its peak (of peers that compile, the compiler's), above the weights; relL2 of the tokens to the reference's fp32,
in brackets the peer's own (with bf16 alone: to the reference's bf16). OpenVINO is not among what scripts/install.sh installs: pip install openvino.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tower_peers import PEERS, items_of, serve

GRIDS = ["1*1x14x14", "4*1x14x14", "1*1x28x28", "8*1x20x38", "1*1x44x80"]
REPEATS = {"1*1x14x14": 15, "4*1x14x14": 9, "1*1x28x28": 9, "8*1x20x38": 3, "1*1x44x80": 3}


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


def counts(grid):
    items, t, h, w = map(int, grid.replace("*", "x").split("x"))
    return items * t * h * w, h * w  # patches, of a segment


def gflop(folder, grid):
    tower = json.loads((folder / "config.json").read_text())["vision_config"]
    patches, length = counts(grid)
    hidden, inner, merged = tower["hidden_size"], tower["intermediate_size"], 4 * tower["hidden_size"]
    block = 2 * hidden * (4 * hidden + 2 * inner) + 4 * length * hidden
    merger = 2 * merged * (merged + tower["out_hidden_size"]) / 4
    mergers = 1 + len(tower["deepstack_visual_indexes"])
    return patches * (tower["depth"] * block + mergers * merger + 2 * 1536 * hidden) / 1e9


def tokens_of_vitower(bin_dir, folder, dtype, grid, threads, scratch):
    import torch
    from safetensors.torch import load_file, save_file

    save_file({str(i): torch.from_numpy(item) for i, item in enumerate(items_of(grid))}, scratch / "items.safetensors")
    subprocess.run([bin_dir / "tower_dump", "--model", folder, "--dtype", dtype, "--threads", str(threads), "--no-stages",
                    "--input", scratch / "items.safetensors", "--output", scratch / "out.safetensors"], check=True,
                   stdout=subprocess.DEVNULL)
    return load_file(scratch / "out.safetensors")["tokens"].float()


def rel_l2(value, expected):
    return ((value - expected).norm() / expected.norm()).item()


class Run:
    def __init__(self, options, folder, scratch):
        self.options, self.folder, self.scratch = options, folder, scratch
        self.bin_dir = Path(os.environ["VITOWER_BIN_DIR"])
        self.expected = {}  # by grid

    def compare(self, dtype, repeats):
        threads = str(self.options.threads)
        ours = Child([self.bin_dir / "tower_serve", "--model", self.folder, "--dtype", dtype, "--threads", threads])
        peers = {peer: Child([sys.executable, __file__, "--peer", peer, "--model", self.folder, "--dtype", dtype, "--threads",
                              threads, "--grids", ",".join(repeats)]) for peer in self.options.peers.split(",")}
        for grid in repeats:
            self.row(dtype, grid, repeats[grid], ours, peers)
        for child in (ours, *peers.values()):
            child.close()

    def row(self, dtype, grid, repeats, ours, peers):
        from safetensors.torch import load_file

        patches, length = counts(grid)
        times = {name: [] for name in ("ours", *peers)}
        for i in range(repeats + 1):
            answers = {name: child.ask(grid) for name, child in {"ours": ours, **peers}.items()}
            for name, answer in answers.items():
                if i > 0:
                    times[name].append(float(answer[1]))
        gemm = max(map(float, ours.ask(f"gemm {patches}")[2:4]))
        attention = float(ours.ask(f"attention {length} {patches // length}")[3])
        mine = statistics.median(times["ours"])
        rate = gflop(self.folder, grid) / mine * 1e3
        for peer, child in peers.items():
            child.ask(f"save {grid} {self.scratch / 'peer.safetensors'}")
            own = load_file(self.scratch / "peer.safetensors")["tokens"].float()
            if peer == "transformers":
                expected = self.expected.setdefault(grid, own)
                error = rel_l2(tokens_of_vitower(self.bin_dir, self.folder, dtype, grid, self.options.threads, self.scratch),
                               expected)
            theirs = statistics.median(times[peer])
            weights = float(ours.first[1])
            print(f"| {dtype} | {grid.replace('*1x', ' x (')}) | {PEERS[peer]} | {mine:.0f} | {theirs:.0f} | {theirs / mine:.2f} "
                  f"| {rate:.0f} | {rate / gemm:.0%} | {attention / gemm:.0%} | {float(answers['ours'][3]) - weights:.0f} / "
                  f"{float(answers['ours'][4]) - weights:.0f} | {float(answers[peer][2]) - weights:.0f} / "
                  f"{float(answers[peer][3]) - weights:.0f} | {error:.1e} ({rel_l2(own, expected):.1e}) |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", default="2b")
    parser.add_argument("--dtype", default="", help="bf16 or fp32 instead of both (bf16 alone: parity is with the reference's bf16)")
    parser.add_argument("--grids", default=",".join(GRIDS), help="ITEMS*TxHxW, comma-separated")
    parser.add_argument("--peers", default="transformers", help=f"of {', '.join(PEERS)}; transformers first")
    parser.add_argument("--repeats", type=int, help="measured calls a row, instead of 3 to 15 by size")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return serve(options.peer, options.model, options.dtype, options.threads, options.grids.split(","))
    if not options.peers.startswith("transformers") or not set(options.peers.split(",")) <= set(PEERS):
        parser.error(f"--peers is {options.peers}, expected transformers and then any of {', '.join(PEERS)}")
    if {"openvino", "static"} & set(options.peers.split(",")) and importlib.util.find_spec("openvino") is None:
        parser.error("--peers names OpenVINO: pip install openvino")
    repeats = {grid: options.repeats or REPEATS.get(grid, 5) for grid in options.grids.split(",")}
    print(f"Shape {options.shape}, {options.threads} threads\n\n"
          "| dtype | items x (grid) | peer | vitower, ms | peer, ms | ratio | GFLOP/s | of GEMM rate | attention, of GEMM rate | "
          "vitower, MB above weights, now / peak | peer, MB above weights | relL2 to fp32 |\n" + "|---" * 12 + "|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        subprocess.run([Path(os.environ["VITOWER_BIN_DIR"]) / "tower_dump", "--make", options.shape, folder], check=True)
        run = Run(options, folder, Path(scratch))
        for dtype in [options.dtype] if options.dtype else ["fp32", "bf16"]:
            run.compare(dtype, repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
