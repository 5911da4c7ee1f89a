"""The real server under real clients: mixed batches, bad input, overload, memory, shutdown, metrics, Prometheus."""

import concurrent.futures
import io
import pathlib
import random
import shutil
import struct
import subprocess
import time
import urllib.request
import json
import zlib

import grpc
import numpy as np
import pytest
from PIL import Image

from pictures import encoded, photo
from serving import rel_l2, rows, serving, stubs

pb, _ = stubs()
OK, INVALID_ARGUMENT, UNIMPLEMENTED = 0, 3, 12
DEVICE_STAGES = ["upload", "patch_embed", "position", "blocks", "merger", "download"]
STAGES = ["receive", "admit", "decode", "resize", "queue", *DEVICE_STAGES, "encode", "send"]


def mixed_images(count, seed, low=40, high=400):
    rng = np.random.default_rng(seed)
    kinds = ["JPEG", "PNG", "WEBP", "BMP"]
    return [encoded(photo(rng, int(rng.integers(low, high)), int(rng.integers(low, high))), kinds[i % 4])
            for i in range(count)]


def embed(stub, *images, **options):
    request = pb.EmbedRequest(items=[pb.Item(id=str(i), image=image, **options) for i, image in enumerate(images)])
    return stub.Embed(request, timeout=120).results


def all_rows(result):
    assert result.status.code == OK, result.status.message
    return np.concatenate([rows(output) for output in result.outputs])


# bf16: half of its noise against fp32; measured with libtorch 2.13 on AVX512-BF16: exactly 0.
@pytest.mark.parametrize("dtype, limit", [("fp32", 1e-6), ("bf16", 5e-3)])
def test_twenty_mixed_items_in_one_call_equal_the_items_alone(dtype, limit):
    images = mixed_images(20, seed=1)
    # The budget holds the call in three batches; the delay lets the idle device wait for them to be decoded.
    with serving("--dtype", dtype, "--max-batch-patches", 4096, "--max-batch-delay", "2s") as server:
        stub = server.stub()
        order = list(range(20))
        random.Random(1).shuffle(order)
        before = server.metrics()["vitower_batch_items_count"]
        together = embed(stub, *[images[i] for i in order])
        batches = server.metrics()["vitower_batch_items_count"] - before
    with serving("--dtype", dtype) as server:
        stub = server.stub()
        alone = [embed(stub, images[i])[0] for i in order]
    worst = max(rel_l2(all_rows(a), all_rows(b)) for a, b in zip(together, alone))
    print(f"{dtype}: 20 items in {batches:.0f} batches, worst relL2 to the item alone {worst:.2e}")
    assert [r.grid_thw for r in together] == [r.grid_thw for r in alone]
    assert len({len(r.outputs) for r in together}) == 1 and together[0].outputs[0].name == "tokens"
    assert worst <= limit
    assert batches <= 3


def png_claiming(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


BAD = {
    "empty": (b"", "empty"),
    "text": (b"these are words, not an image, whatever the name says" * 10, "format"),
    "tiff": (b"II*\0" + b"\0" * 200, "format"),
    "huge": (png_claiming(60000, 60000), "178956970"),
    "large": (png_claiming(30000, 30000), "178956970"),
    "thin": (encoded(np.zeros((201, 1, 3), np.uint8)), "200"),
    "truncated png": (encoded(photo(np.random.default_rng(0), 300, 200))[:-3000], "truncated"),
    "truncated jpeg": (encoded(photo(np.random.default_rng(0), 300, 200), "JPEG")[:3000], "truncated"),
    "truncated webp": (encoded(photo(np.random.default_rng(0), 300, 200), "WEBP")[:2000], "truncated"),
}


def test_bad_items_are_answered_by_name_and_neighbours_are_unharmed():
    good = mixed_images(len(BAD) + 1, seed=2)
    mixed = [good[0]]
    for (data, _), neighbour in zip(BAD.values(), good[1:]):
        mixed += [data, neighbour]
    with serving("--dtype", "fp32") as server:
        stub = server.stub()
        results = embed(stub, *mixed)
        alone = [embed(stub, image)[0] for image in good]
    for (name, (_, words)), result in zip(BAD.items(), results[1::2]):
        print(f"{name}: {result.status.code} {result.status.message}")
        assert result.status.code == INVALID_ARGUMENT, name
        assert words in result.status.message.lower(), name
        assert not result.outputs
    for got, want in zip(results[0::2], alone):
        assert rel_l2(all_rows(got), all_rows(want)) <= 1e-6


def test_two_hundred_concurrent_calls_are_each_answered_right_and_memory_stays():
    images = mixed_images(200, seed=3)
    with serving("--dtype", "fp32", "--max-queue-patches", 16384, "--max-item-patches", 8192) as server:
        stubs_ = [server.stub() for _ in range(8)]
        alone = [all_rows(embed(stubs_[0], image)[0]) for image in images]

        def call(i):
            try:
                return i, embed(stubs_[i % 8], images[i])[0]
            except grpc.RpcError as error:
                return i, error

        memory, codes = [], []
        for _ in range(5):
            with concurrent.futures.ThreadPoolExecutor(200) as pool:
                answers = list(pool.map(call, range(200)))
            for i, answer in answers:
                if isinstance(answer, grpc.RpcError):
                    assert answer.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, answer
                    codes.append("RESOURCE_EXHAUSTED")
                else:
                    assert rel_l2(all_rows(answer), alone[i]) <= 1e-6
                    codes.append("OK")
            memory.append(server.rss())
        print({code: codes.count(code) for code in set(codes)}, "RSS MiB:", [m >> 20 for m in memory])
        assert len(codes) == 1000 and codes.count("OK") > 200 and codes.count("RESOURCE_EXHAUSTED") > 0
        assert memory[4] <= memory[1] * 1.05


def test_sigterm_in_the_middle_loses_no_accepted_call():
    images = mixed_images(60, seed=4)
    with serving("--dtype", "fp32", "--max-queue-patches", 200_000) as server:
        stub = server.stub()
        alone = [all_rows(embed(stub, image)[0]) for image in images]
        with concurrent.futures.ThreadPoolExecutor(60) as pool:
            calls = [pool.submit(embed, stub, image) for image in images]
            while server.metrics()["vitower_queue_patches"] == 0:
                time.sleep(0.001)  # waits for the load to arrive, not for an answer
            code = server.stop()
        outcome = []
        for i, future in enumerate(calls):
            error = future.exception()
            if error is None:
                assert rel_l2(all_rows(future.result()[0]), alone[i]) <= 1e-6
                outcome.append("OK")
            else:  # a torn connection would be UNAVAILABLE too: only the server's own refusal counts
                assert error.code() == grpc.StatusCode.UNAVAILABLE and "shutting down" in error.details(), error
                outcome.append("refused")
        print({o: outcome.count(o) for o in set(outcome)}, "exit code", code)
        assert outcome.count("OK") > 0
        assert code == 0


def test_stages_of_one_item_add_up_to_the_request_time():
    with serving("--dtype", "fp32") as server:
        stub = server.stub()
        for image in mixed_images(20, seed=5, low=300, high=700):
            embed(stub, image)
        metrics = settled_metrics(server, requests=20)
    stages = {s: metrics[f'vitower_stage_duration_seconds_sum{{stage="{s}"}}'] for s in STAGES}
    total = sum(v for k, v in metrics.items() if k.startswith("vitower_request_duration_seconds_sum") and "Embed" in k)
    print({k: f"{v / total:.1%}" for k, v in stages.items()}, f"sum {sum(stages.values()) / total:.1%}")
    assert 0.95 <= sum(stages.values()) / total <= 1.001
    for stage in STAGES:
        assert metrics[f'vitower_stage_duration_seconds_count{{stage="{stage}"}}'] == 20
    for stage in DEVICE_STAGES:
        assert metrics[f'vitower_batch_stage_duration_seconds_count{{stage="{stage}"}}'] >= 20


def settled_metrics(server, requests):
    """The metrics once the last request is counted: that is when gRPC is done with it, after its client has the reply."""
    name = 'vitower_request_duration_seconds_count{code="OK",method="Embed"}'
    for _ in range(100):
        metrics = server.metrics()
        if metrics[name] == requests:
            return metrics
    raise AssertionError(f"{name} is {metrics[name]}")


def test_a_real_prometheus_scrapes_without_an_error(tmp_path):
    prometheus = shutil.which("prometheus")
    assert prometheus, "Debian's package prometheus is not installed: scripts/install.sh --tests"
    with serving() as server:
        embed(server.stub(), *mixed_images(4, seed=6))
        config = tmp_path / "prometheus.yml"
        target = server.metrics_url.split("/")[2]
        config.write_text("global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
                          f"scrape_configs: [{{job_name: vitower, static_configs: [{{targets: ['{target}']}}]}}]\n")
        port = free_port()
        process = subprocess.Popen([prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                                    f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
        try:
            series = query(port, 'vitower_stage_duration_seconds_count{stage="blocks"}')
            targets = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/targets"))["data"]["activeTargets"]
        finally:
            process.kill()
            process.wait()
    assert series[0]["value"][1] == "4"
    assert targets[0]["health"] == "up" and targets[0]["lastError"] == ""


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def query(port, expression, patience=60):
    """Asks until Prometheus has scraped once."""
    deadline = time.monotonic() + patience
    url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.request.quote(expression)}"
    while time.monotonic() < deadline:
        try:
            result = json.load(urllib.request.urlopen(url, timeout=5))["data"]["result"]
            if result:
                return result
        except OSError:
            pass
        time.sleep(0.1)  # polls another program that gives no signal when it has scraped
    raise AssertionError(f"Prometheus never had {expression}")
