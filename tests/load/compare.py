"""vitower against the service people write themselves, on the same weights and the same JPEGs, one after the other.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/load/compare.py [--scale 1]

The other is tests/bench/baseline/service.py; its batch size is found by a sweep first. Both have all of this machine's
cores as threads, both are loaded by `vitower bench` (which runs on the same cores), in closed loop, with pictures whose
patches are those of their pixels (min_pixels 50,176), tokens and DeepStack levels in the answer. Before that both embed the
same pictures, which must agree. Busy is the share of the time in which the tower computed. About 12 minutes on two cores.
"""

import argparse
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

import grpc
import numpy as np

from loads import ROOT, VITOWER, Sampler, Table, Verdict, bench, machine
from pictures import encoded, photo
from serving import rel_l2, rows, stubs

MIN_PIXELS = 50_176
SECONDS = {224: {1: 15, 8: 20, 32: 30}, 448: {1: 20, 8: 40, 32: 60}}


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
    return running(sys.executable, ROOT / "tests/bench/baseline/service.py", "--model", folder, "--threads", threads,
                   "--batch", batch)


def vitower(folder, threads):
    return running(VITOWER, "serve", "--model", folder, "--threads", threads, "--listen", "127.0.0.1:0", "--metrics-listen",
                   "127.0.0.1:0")


def embeddings(service):
    """{(side, output): array} of a picture of each size."""
    messages, services = stubs()
    channel = grpc.insecure_channel(service.address, options=[("grpc.max_receive_message_length", -1)])
    stub = services.VisionEmbedderStub(channel)
    found = {}
    for side in SECONDS:
        item = messages.Item(image=encoded(photo(np.random.default_rng(side), side, side), "JPEG", quality=90))
        item.preprocessing.min_pixels = MIN_PIXELS
        result = stub.Embed(messages.EmbedRequest(items=[item]), timeout=120).results[0]
        assert not result.status.code, result.status.message
        found.update({(side, tensor.name): rows(tensor) for tensor in result.outputs})
    return found


def load(service, side, concurrency, seconds):
    with Sampler(lambda: Sampler.busy_seconds(service)) as busy:
        report = bench(service.address, mix=f"jpeg:{side}x{side}", min_pixels=MIN_PIXELS, concurrency=concurrency,
                       seconds=seconds, warm_up=min(2, seconds / 4), timeout="600s")
    return report, busy.share(skip=min(2, seconds / 4))


def best_batch(folder, threads, seconds):
    """The batch size with the highest throughput at 32 in flight, small pictures."""
    rates = {}
    for batch in (1, 2, 4, 8, 16):
        with baseline(folder, threads, batch) as service:
            rates[batch] = load(service, 224, 32, seconds)[0]["items_per_second"]
    print("baseline, items/s by batch size, 224x224, 32 in flight: "
          + ", ".join(f"{batch}: {rate:.2f}" for batch, rate in rates.items()), flush=True)
    return max(rates, key=rates.get)


def all_rows(service, scale):
    return {(side, concurrency): load(service, side, concurrency, seconds * scale)
            for side, by_concurrency in SECONDS.items() for concurrency, seconds in by_concurrency.items()}


def check_parity(ours, theirs, verdict):
    assert ours.keys() == theirs.keys(), (ours.keys(), theirs.keys())
    worst = max(rel_l2(ours[key], theirs[key]) for key in ours)
    # Both are bf16, each about 1e-2 from fp32.
    verdict.check(worst < 3e-2, f"the answers agree: relL2 at most {worst:.1e} over {len(ours)} outputs")


def print_rows(ours, theirs, verdict):
    table = Table("JPEG", "in flight", "vitower, items/s", "baseline", "ratio", "vitower p50 / p99, ms", "baseline p50 / p99",
                  "p50 ratio", "vitower busy", "baseline busy")
    for (side, concurrency), (report, busy) in ours.items():
        other, other_busy = theirs[side, concurrency]
        (rate, other_rate), (a, b) = ([r["items_per_second"] for r in (report, other)],
                                      [r["latency_seconds"] for r in (report, other)])
        if not all((rate, other_rate, a["count"], b["count"])):
            verdict.check(False, f"{side}x{side}, {concurrency} in flight: nothing was answered in the measured time")
            continue
        table.row(f"{side}x{side}", concurrency, f"{rate:.2f}", f"{other_rate:.2f}", f"{rate / other_rate:.2f}",
                  f"{a['p50'] * 1e3:.0f} / {a['p99'] * 1e3:.0f}", f"{b['p50'] * 1e3:.0f} / {b['p99'] * 1e3:.0f}",
                  f"{b['p50'] / a['p50']:.2f}", f"{busy:.1%}", f"{other_busy:.1%}")
        verdict.exit_code |= bool(report["errors"] or other["errors"]) or rate <= other_rate or a["p50"] >= b["p50"]
    saturated = min(ours[side, 32][1] for side in SECONDS)
    verdict.check(saturated >= 0.95, f"vitower's tower is busy {saturated:.1%} at 32 in flight, at least 95 % wanted")
    print(f"ahead in throughput and p50 in every row, without errors: {'yes' if not verdict.exit_code else 'no'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1, help="of all durations; below 0.5 the rows mean little")
    parser.add_argument("--shape", default="2b")
    parser.add_argument("--batch", type=int, default=0, help="of the baseline; 0: find the best")
    flags = parser.parse_args()
    verdict, threads = Verdict(), len(os.sched_getaffinity(0))
    print(f"{machine()}; {flags.shape} shape, bf16, {threads} threads each\n", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "model"
        subprocess.run([VITOWER, "make-checkpoint", "--shape", flags.shape, "--output", folder, "--quiet"], check=True)
        batch = flags.batch or best_batch(folder, threads, 12 * flags.scale)
        with vitower(folder, threads) as service:
            ours, our_rows = embeddings(service), all_rows(service, flags.scale)
        with baseline(folder, threads, batch) as service:
            theirs, their_rows = embeddings(service), all_rows(service, flags.scale)
    check_parity(ours, theirs, verdict)
    print(f"baseline with batches of {batch}\n")
    print_rows(our_rows, their_rows, verdict)
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
