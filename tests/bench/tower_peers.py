"""The towers that tower_vs_transformers.py measures vitower against, each in a process of its own, asked a line at a time."""

import sys
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = {"transformers": "transformers, sdpa", "compile": "its torch.compile", "frozen": "torch.compile, weights frozen, one grid",
         "openvino": "OpenVINO", "static": "OpenVINO, one grid"}


def status_mb(key):
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(key)).split()[1]) / 1024


def items_of(grid):
    import numpy

    count, (t, h, w) = int(grid.split("*")[0]), map(int, grid.split("*")[1].split("x"))
    rng = numpy.random.default_rng(h * w)
    frames = 1 if t == 1 else 2 * t
    return [rng.integers(0, 256, (frames, 16 * h, 16 * w, 3), dtype=numpy.uint8) for _ in range(count)]


def inputs_of(grid, dtype):
    import reference
    import torch

    rows, thw = zip(*(reference.pixel_values(item) for item in items_of(grid)))
    return torch.cat(rows).to(dtype), torch.cat(thw)


def load_reference(folder, dtype):
    import reference
    from safetensors.torch import load_file
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

    state = {name.removeprefix("model.visual."): value for name, value in load_file(folder / "model.safetensors").items()}
    model = reference.build_tower(Qwen3VLConfig.from_pretrained(folder).vision_config, None, dtype)
    model.load_state_dict(state)
    return model


class ForOneGrid:
    """A tower made anew for each grid, of which only the one asked for last is kept. The first call of a grid makes it, and
    is not counted."""

    def __init__(self, make):
        self._make, self._grid, self._tower = make, None, None

    def __call__(self, grid):
        if grid != self._grid:
            self._grid, self._tower = grid, None  # one at a time in memory
            self._tower = self._make(grid)
        return self._tower()


def transformers_tower(folder, dtype, _threads, grids, *, compiled=False):
    import torch

    model = load_reference(folder, dtype)
    if compiled:
        model = torch.compile(model)
    inputs = {grid: inputs_of(grid, dtype) for grid in grids}
    return lambda grid: model(*inputs[grid]).pooler_output


def frozen_tower(folder, dtype, _threads, grids):
    """torch.compile of the reference for one grid, with its weights packed into the compiled code."""
    import torch
    from torch._dynamo import config as dynamo
    from torch._inductor import config

    config.freezing = True
    dynamo.recompile_limit = 256  # each block has its own weights in its code; above 8 blocks the rest would not be compiled
    model = load_reference(folder, dtype)
    inputs = {grid: inputs_of(grid, dtype) for grid in grids}

    def make(grid):
        torch.compiler.reset()
        compiled = torch.compile(model, dynamic=False)

        def run():
            with torch.inference_mode(False), torch.no_grad():  # freezing asks for no_grad
                return compiled(*inputs[grid]).pooler_output

        return run

    return ForOneGrid(make)


def openvino_tower(folder, dtype, threads, grids, *, static=False):
    """The blocks and mergers as a graph over [items, patches, ...] of any equal sizes, or compiled for each grid's own;
    positions come ready made, untimed."""
    import openvino
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    model = load_reference(folder, torch.float32)
    heads = model.config.num_heads
    first = {}
    model.blocks[0].register_forward_pre_hook(lambda _, args, kwargs: first.update(kwargs, x=args[0]), with_kwargs=True)

    def prepare(grid):
        rows, thw = inputs_of(grid, torch.float32)
        model(rows, thw)
        items, patches = len(thw), len(rows) // len(thw)
        cos, sin = (part[:patches] for part in first["position_embeddings"])
        position = (first["x"] - model.patch_embed(rows))[:patches]
        return [part.clone() for part in (rows.view(items, patches, -1), position, cos, sin)]

    def rotate(x, cos, sin):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat((-b, a), -1) * sin

    class Graph(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = model
            proj = model.patch_embed.proj
            self.embed = torch.nn.Linear(proj.weight[0].numel(), len(proj.bias))
            self.embed.weight.data, self.embed.bias.data = proj.weight.flatten(1), proj.bias

        def attention(self, attn, x, cos, sin):
            q, k, v = attn.qkv(x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
            out = scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
            return attn.proj(out.transpose(1, 2).flatten(2))

        def forward(self, rows, position, cos, sin):
            tower = self.tower
            x, levels = self.embed(rows) + position, []
            for i, block in enumerate(tower.blocks):
                x = x + self.attention(block.attn, block.norm1(x), cos, sin)
                x = x + block.mlp(block.norm2(x))
                if i in tower.deepstack_visual_indexes:
                    levels.append(tower.deepstack_merger_list[len(levels)](x))
            return tower.merger(x), *levels

    with torch.no_grad():
        inputs = {grid: prepare(grid) for grid in grids}
        graph = openvino.convert_model(Graph().eval(), example_input=tuple(next(iter(inputs.values()))))
    hint = "bf16" if dtype == torch.bfloat16 else "f32"

    def compiled():
        return openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY",
                                                            "INFERENCE_NUM_THREADS": threads})

    def call(request, grid):
        return torch.from_numpy(request([part.numpy() for part in inputs[grid]])[0])

    def make(grid):
        graph.reshape({i: list(part.shape) for i, part in enumerate(inputs[grid])})
        request = compiled()
        return lambda: call(request, grid)

    if static:
        return ForOneGrid(make)
    request = compiled()
    return lambda grid: call(request, grid)


def serve(peer, folder, dtype, threads, grids):
    """Reads grids from stdin, answers each with its time and memory; "save GRID FILE" saves the tokens as well."""
    sys.path.insert(0, str(ROOT / "tests" / "parity"))
    import reference
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(threads)
    reference.import_torchvision()
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    towers = {"transformers": transformers_tower, "compile": partial(transformers_tower, compiled=True), "frozen": frozen_tower,
              "openvino": openvino_tower, "static": partial(openvino_tower, static=True)}
    run = towers[peer](folder, dtype, threads, grids)
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        grid = words[1] if words[0] == "save" else words[0]
        begin = time.perf_counter()
        with torch.inference_mode():
            tokens = run(grid)
        elapsed = time.perf_counter() - begin
        if words[0] == "save":
            save_file({"tokens": tokens.contiguous()}, words[2])
        print(grid, elapsed * 1e3, status_mb("VmRSS"), status_mb("VmHWM"), flush=True)
