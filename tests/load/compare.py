"""vitower against the service people write themselves, on the same weights and the same JPEGs, one after the other.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/load/compare.py [--scale 1]

The other is tests/bench/baseline/service.py, for each size of picture with the batch size that its tower is fastest with,
which is measured first. Both have all of this machine's cores as threads, both are loaded by `vitower bench` (which runs on
the same cores), in closed loop, with pictures whose patches are those of their pixels (min_pixels 50,176), tokens and
DeepStack levels in the answer. Before that both embed the same pictures, which must agree.

A row is measured once each item in flight has been answered as often as it takes to fill the queue, which is by the p50 of
one in flight times as many, and for twice that again, 15 to 45 s. Its rate is the slope of the answers over that time. Busy
is the share of the time in which the tower computed, from the end of one pass to the end of another. About 14 minutes on
two cores with AVX512-BF16.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import grpc
import numpy as np

from loads import ROOT, VITOWER, Sampler, Table, Verdict, bench, flag_parser, machine, steady_rate
from pictures import encoded, photo
from serving import rel_l2, rows, stubs

MIN_PIXELS = 50_176
BASELINE = ROOT / "tests/bench/baseline/service.py"
SIDES = (224, 448)
CONCURRENCIES = (1, 8, 32)


class Service:
    """A server process that prints "serving on HOST:PORT, metrics on HOST:PORT"."""

    def __init__(self, *command):
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = re.search(r"serving on (\S+), metrics on (\S+)", self.process.stdout.readline())
        if not found:
            raise RuntimeError(f"{command} did not serve")
        self.address, self.metrics_url = found[1], f"http://{found[2]}/metrics"

    def metrics(self):
        text = urllib.request.urlopen(self.metrics_url, timeout=60).read().decode()
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}


@contextlib.contextmanager
def running(*command):
    service = Service(*command)
    try:
        yield service
    finally:
        service.process.terminate()
        service.process.wait(120)


def baseline(folder, threads, batch):
    return running(sys.executable, BASELINE, "--model", folder, "--threads", threads, "--batch", batch)


def vitower(folder, threads):
    return running(VITOWER, "serve", "--model", folder, "--threads", threads, "--listen", "127.0.0.1:0", "--metrics-listen",
                   "127.0.0.1:0")


def embeddings(service, sides=SIDES):
    """{(side, output): array} of a picture of each size."""
    messages, services = stubs()
    channel = grpc.insecure_channel(service.address, options=[("grpc.max_receive_message_length", -1)])
    stub = services.VisionEmbedderStub(channel)
    found = {}
    for side in sides:
        item = messages.Item(image=encoded(photo(np.random.default_rng(side), side, side), "JPEG", quality=90))
        item.preprocessing.min_pixels = MIN_PIXELS
        result = stub.Embed(messages.EmbedRequest(items=[item]), timeout=120).results[0]
        assert not result.status.code, result.status.message
        found.update({(side, tensor.name): rows(tensor) for tensor in result.outputs})
    return found


@dataclasses.dataclass
class Row:
    rate: float  # items a second
    p50: float  # seconds
    p99: float
    busy: float
    errors: dict


def load(service, side, concurrency, warm_up, seconds):
    with Sampler(lambda: Sampler.busy_seconds(service), every=0.1) as busy:
        report = bench(service.address, mix=f"jpeg:{side}x{side}", min_pixels=MIN_PIXELS, concurrency=concurrency,
                       seconds=seconds, warm_up=warm_up, timeout="600s")
    latency = report["latency_seconds"]
    return Row(steady_rate(report["timeline"], math.ceil(warm_up), warm_up + seconds), latency["p50"], latency["p99"],
               busy.share(warm_up, seconds), report["errors"])


def rows_of(service, side, scale):
    """{concurrency: Row}"""
    found, alone = {}, 0.0
    for concurrency in CONCURRENCIES:
        latency = 1.1 * concurrency * alone  # more than it will be, since batches are not slower
        seconds = min(max(12 * alone, 2 * latency, 15), 45)
        found[concurrency] = load(service, side, concurrency, max(latency, 3) * scale, seconds * scale)
        alone = alone or found[concurrency].p50
    return found


def best_batches(folder, threads, smoke):
    """{side: how many pictures the other's tower is fastest with}"""
    command = [sys.executable, BASELINE, "--model", folder, "--threads", threads, "--rounds", 1 if smoke else 2, "--sweep",
               *SIDES]
    out = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout
    best = {}
    for side, seconds in json.loads(out).items():
        print(f"baseline, {side}x{side}, tower seconds an item by batch size: "
              + ", ".join(f"{batch}: {each:.3f}" for batch, each in seconds.items()), flush=True)
        best[int(side)] = int(min(seconds, key=seconds.get))
    return best


def check_parity(ours, theirs, verdict):
    assert ours.keys() == theirs.keys(), (ours.keys(), theirs.keys())
    worst = max(rel_l2(ours[key], theirs[key]) for key in ours)
    # Both are bf16, each about 1e-2 from fp32.
    verdict.check(worst < 3e-2, f"the answers agree: relL2 at most {worst:.1e} over {len(ours)} outputs")


def print_rows(ours, theirs, verdict):
    table = Table("JPEG", "in flight", "vitower, items/s", "baseline", "ratio", "vitower p50 / p99, ms", "baseline p50 / p99",
                  "p50 ratio", "vitower busy", "baseline busy")
    ahead, errors = True, [row.errors for row in (*ours.values(), *theirs.values()) if row.errors]
    for key, row in ours.items():
        other, (side, concurrency) = theirs[key], key
        if not all((row.rate, other.rate, row.p50, other.p50)):
            verdict.check_speed(False, f"{side}x{side}, {concurrency} in flight: hardly anything was answered")
            continue
        table.row(f"{side}x{side}", concurrency, f"{row.rate:.3f}", f"{other.rate:.3f}", f"{row.rate / other.rate:.2f}",
                  f"{row.p50 * 1e3:.0f} / {row.p99 * 1e3:.0f}", f"{other.p50 * 1e3:.0f} / {other.p99 * 1e3:.0f}",
                  f"{other.p50 / row.p50:.2f}", f"{row.busy:.1%}", f"{other.busy:.1%}")
        ahead = ahead and row.rate > other.rate and row.p50 < other.p50
    verdict.check(not errors, f"no errors {errors or ''}")
    verdict.check_speed(ahead, "ahead in throughput and p50 in every row")
    saturated = min(ours[side, 32].busy for side in SIDES)
    verdict.check_speed(saturated >= 0.95, f"vitower's tower is busy {saturated:.1%} at 32 in flight, 95 % wanted")


def main(arguments=None):
    parser = flag_parser(__doc__)
    parser.add_argument("--scale", type=float, default=1, help="of all durations; below 1 the rows mean little")
    parser.add_argument("--shape", default="2b")
    flags = parser.parse_args(arguments)
    verdict, threads, begun = Verdict(flags.smoke), len(os.sched_getaffinity(0)), time.monotonic()
    print(f"{machine()}; {flags.shape} shape, bf16, {threads} threads each", flush=True)
    ours, theirs, their_embeddings = {}, {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "model"
        subprocess.run([VITOWER, "make-checkpoint", "--shape", flags.shape, "--output", folder, "--quiet"], check=True)
        batches = best_batches(folder, threads, flags.smoke)
        with vitower(folder, threads) as service:
            our_embeddings = embeddings(service)
            for side in SIDES:
                ours.update({(side, at): row for at, row in rows_of(service, side, flags.scale).items()})
        for side in SIDES:
            with baseline(folder, threads, batches[side]) as service:
                their_embeddings.update(embeddings(service, [side]))
                theirs.update({(side, at): row for at, row in rows_of(service, side, flags.scale).items()})
    check_parity(our_embeddings, their_embeddings, verdict)
    print(f"baseline with batches of {' and '.join(map(str, batches.values()))}")
    print_rows(ours, theirs, verdict)
    print(f"{(time.monotonic() - begun) / 60:.1f} minutes")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
