#!/usr/bin/env python3
"""The service people write themselves, to measure vitower against: grpc.aio around transformers' processor and tower.

    .venv/bin/python tests/bench/baseline/service.py --model FOLDER [--threads 2] [--batch 4] [--port 50052]

Speaks the Embed and GetModelInfo of vitower.proto for encoded images and sends tokens and DeepStack levels in bf16.
Meant to be as good as such a service is: bf16 and sdpa, the patch embedding as one Linear in place of the Conv3d, the
processor of torchvision in threads of one core each, batches by count with a short wait, the next decoded while one runs.
Prints "serving on HOST:PORT, metrics on HOST:PORT".
"""

import argparse
import asyncio
import http.server
import io
import json
import pathlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import torch
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests/parity"), str(ROOT / "tests/support")]

import reference  # noqa: E402
from serving import stubs  # noqa: E402

messages, services = stubs()
MOST_SWEPT_PATCHES = 6272  # eight pictures of 448x448


class Tower:
    """The model and what is timed of it. `run` is for one thread."""

    def __init__(self, folder):
        reference.import_torchvision()
        from safetensors.torch import load_file
        from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLConfig

        config = Qwen3VLConfig.from_pretrained(folder).vision_config
        self.model = reference.build_tower(config, None, torch.bfloat16)
        self.model.load_state_dict({name.removeprefix("model.visual."): value for file in sorted(folder.glob("*.safetensors"))
                                    for name, value in load_file(file).items()})
        self.levels = list(config.deepstack_visual_indexes)
        self.width, self.merge = config.out_hidden_size, config.spatial_merge_size**2
        self.busy_seconds = 0.0
        self._linearise()

    def _linearise(self):
        """The kernel covers a patch exactly, so the convolution is a product with the flattened weight."""
        proj = self.model.patch_embed.proj
        weight = proj.weight.detach().flatten(1)
        self.model.patch_embed.forward = lambda rows: torch.nn.functional.linear(rows.to(weight.dtype), weight, proj.bias)

    def run(self, rows, grids):
        """[(grid, tokens, DeepStack levels...)] of each item, as bf16 tensors."""
        begun = time.perf_counter()
        with torch.inference_mode():
            output = self.model(torch.cat(rows).to(torch.bfloat16), torch.cat(grids))
            tensors = [output.pooler_output, *output.deepstack_features]
        self.busy_seconds += time.perf_counter() - begun
        counts = [int(grid.prod()) // self.merge for grid in torch.cat(grids)]
        return list(zip(*(tensor.split(counts) for tensor in tensors), strict=True))


class Batches:
    """Items waiting for the tower, taken `count` at a time, or fewer once the first has waited."""

    def __init__(self, tower, count, wait_seconds, thread):
        self.tower, self.count, self.wait_seconds, self.thread = tower, count, wait_seconds, thread
        self.queue = asyncio.Queue()

    async def embed(self, rows, grid):
        done = asyncio.get_running_loop().create_future()
        await self.queue.put((rows, grid, done))
        return await done

    async def serve(self):
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next()
            rows, grids, waiting = zip(*batch, strict=True)
            try:
                outputs = await loop.run_in_executor(self.thread, self.tower.run, rows, grids)
                for future, output in zip(waiting, outputs, strict=True):
                    if not future.done():
                        future.set_result((output, len(batch)))
            except Exception as error:
                for future in waiting:
                    if not future.done():
                        future.set_exception(error)

    async def _next(self):
        batch = [await self.queue.get()]
        until = time.monotonic() + self.wait_seconds
        while len(batch) < self.count:
            try:
                batch.append(await asyncio.wait_for(self.queue.get(), max(until - time.monotonic(), 0.0001)))
            except asyncio.TimeoutError:
                break
        return batch


class Service(services.VisionEmbedderServicer):
    def __init__(self, tower, batches, decoders):
        self.tower, self.batches, self.decoders = tower, batches, decoders
        self.processor = reference.image_processor()

    async def Embed(self, request, context):
        return messages.EmbedResponse(results=await asyncio.gather(*(self._embed(item) for item in request.items)))

    async def _embed(self, item):
        loop = asyncio.get_running_loop()
        try:
            begun = time.perf_counter()
            rows, grid = await loop.run_in_executor(self.decoders, self._decode, item)
            decoded = time.perf_counter()
            outputs, together = await self.batches.embed(rows, grid)
            done = time.perf_counter()
        except (OSError, ValueError) as error:
            return messages.Result(id=item.id, status=messages.Status(code=3, message=f"image: {error}"))
        result = self._result(item, grid[0], outputs)
        result.times.decode_seconds, result.times.blocks_seconds = decoded - begun, done - decoded
        result.times.batch_items = together
        return result

    def _decode(self, item):
        picture = torch.from_numpy(np.array(Image.open(io.BytesIO(item.image)).convert("RGB"))).permute(2, 0, 1)
        asked = item.preprocessing
        size = {"shortest_edge": asked.min_pixels if asked.HasField("min_pixels") else self.processor.size["shortest_edge"],
                "longest_edge": asked.max_pixels if asked.HasField("max_pixels") else self.processor.size["longest_edge"]}
        out = self.processor(images=[picture], size=size, return_tensors="pt")
        return out["pixel_values"], out["image_grid_thw"]

    def _result(self, item, grid, outputs):
        asked = item.outputs
        everything = not (asked.tokens or asked.deepstack_levels)
        names = ["tokens"] if asked.tokens or everything else []
        names += [f"deepstack_{level}" for level in (range(len(self.tower.levels)) if everything else asked.deepstack_levels)]
        t, h, w = map(int, grid)
        result = messages.Result(id=item.id, grid_thw=messages.GridThw(t=t, h=h, w=w), token_count=t * h * w // 4,
                                 hidden_size=self.tower.width, dtype=1)
        for name in names:
            tensor = outputs[0 if name == "tokens" else 1 + int(name.removeprefix("deepstack_"))]
            result.outputs.add(name=name, shape=tensor.shape, dtype=1,
                               data=tensor.contiguous().view(torch.uint8).numpy().tobytes())
        return result

    async def GetModelInfo(self, request, context):
        return messages.ModelInfo(name="transformers", fingerprint="baseline", dtype=1, device="cpu",
                                  out_hidden_size=self.tower.width, deepstack_visual_indexes=self.tower.levels)


def sweep(flags):
    """Prints {side: {batch size: seconds an item}} of the tower, for square pictures: the least of the rounds."""
    torch.set_num_threads(flags.threads)
    tower = Tower(flags.model)
    least = {side: {} for side in flags.sweep}
    for number in range(flags.rounds + 1):  # the first is to warm up, with single pictures
        for side in flags.sweep:
            rows, grid = torch.rand((side // 16) ** 2, 1536), torch.tensor([[1, side // 16, side // 16]])
            for count in (1,) if number == 0 else (1, 2, 4, 8, 16):
                if count > 1 and count * len(rows) > MOST_SWEPT_PATCHES:
                    continue
                begun = time.perf_counter()
                tower.run([rows] * count, [grid] * count)
                seconds = (time.perf_counter() - begun) / count
                if number > 0:
                    least[side][count] = min(seconds, least[side].get(count, seconds))
    print(json.dumps(least))


def start_threads(count, torch_threads):
    """A pool whose threads are there and compute on so many cores each."""
    everyone = threading.Barrier(count + 1)
    pool = ThreadPoolExecutor(count, initializer=lambda: torch.set_num_threads(torch_threads))
    for _ in range(count):
        pool.submit(everyone.wait)
    everyone.wait()
    return pool


def serve_metrics(tower):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = f'vitower_device_busy_seconds_total{{device="cpu"}} {tower.busy_seconds}\n'
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *ignored):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


async def serve(flags):
    decoders = start_threads(flags.threads, 1)
    thread = start_threads(1, flags.threads)  # after the others: what is set last holds for threads to come
    tower = Tower(flags.model)
    batches = Batches(tower, flags.batch, flags.wait_ms / 1000, thread)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    services.add_VisionEmbedderServicer_to_server(Service(tower, batches, decoders), server)
    port = server.add_insecure_port(f"127.0.0.1:{flags.port}")
    await server.start()
    print(f"serving on 127.0.0.1:{port}, metrics on 127.0.0.1:{serve_metrics(tower)}", flush=True)
    await batches.serve()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=2, help="of the tower, and decoding threads")
    parser.add_argument("--batch", type=int, default=4, help="items in one forward pass")
    parser.add_argument("--wait-ms", type=float, default=2, help="how long the first of a batch waits for others")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--sweep", type=int, nargs="+", metavar="SIDE", help="time batches of such pictures, do not serve")
    parser.add_argument("--rounds", type=int, default=2, help="of the sweep")
    flags = parser.parse_args()
    sweep(flags) if flags.sweep else asyncio.run(serve(flags))


if __name__ == "__main__":
    main()
