"""The puppet device kept busy: raw frames of three sizes and JPEGs, one to 128 items in flight.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/load/saturate.py [--seconds 5]

The device takes max(2 ms, so many us a patch) for a pass, 0.3 ms before that to upload a batch, and no CPU. It has two
encoders, as a GPU has: a batch is uploaded while another is computed. What it idles is the fault of what is around it:
server, wire and load share this machine's cores. A row says how many items really were in flight (the rate times the mean
latency: fewer than meant where one thread cannot write them fast enough), how busy the device was (a pass counts until its
worker has woken up, so two that take turns make a little more than 100 %), which share of the patches a second that it
could do it did (passes shorter than 2 ms keep it busy and do little), how busy the cores were, and the 99th percentile of
the latency beside the batcher's bound for as many items of the largest kind as really were in flight. JPEGs are sent to a
slower device, of 4 us a patch, which the cores can keep up with. Then a trace is taken at 32 in flight. Wanted: 95 % of
both at saturation, p99 within the bound at every concurrency, and decoding, sending and the next batch's upload inside
passes.
"""

import os
import sys
import tempfile
import time
from dataclasses import dataclass

from loads import Bench, Puppet, Sampler, Table, Verdict, batcher_bound, bench, flag_parser, machine
from overlap import inside_passes, recorded

SHORTEST_SECONDS = 0.002


@dataclass
class Mix:
    text: str
    largest: int  # patches of its largest item
    us_per_patch: float = 1.3


MIXES = {
    "raw 224": Mix("raw:224x224", 196),
    "raw 448": Mix("raw:448x448", 784),
    "raw 1280x704": Mix("raw:1280x704", 3520),
    "raw mix": Mix("raw:224x224=4,raw:448x448=2,raw:1280x704=1", 3520),
    "JPEG mix": Mix("jpeg:224x224=4,jpeg:448x448=2,jpeg:1280x704=1", 3520, us_per_patch=4),
}


def load(puppet, flags, mix, concurrency, seconds, start=bench):
    calls = {} if flags.unary else {"stream": True}
    return start(puppet.address, mix=mix.text, seconds=seconds, warm_up=seconds / 4, concurrency=concurrency,
                 outputs=flags.outputs, min_pixels=50_176, distinct=4, **calls)


def saturate(puppet, flags, name, table):
    """The rows of one mix; what must hold of them as [(whether it depends on the machine, holds, text)]."""
    mix = MIXES[name]
    best_busy, best_rate, late, failed = 0.0, 0.0, [], 0
    for concurrency in flags.concurrency:
        with Sampler(lambda: Sampler.busy_seconds(puppet)) as samples, Sampler(Sampler.core_seconds) as spent:
            report = load(puppet, flags, mix, concurrency, flags.seconds)
        busy = samples.share(flags.seconds / 4, flags.seconds)
        cores = spent.share(flags.seconds / 4, flags.seconds) / len(os.sched_getaffinity(0))
        rate = report["patches_per_second"] * mix.us_per_patch * 1e-6
        latency = report["latency_seconds"]
        reached = report["items_per_second"] * latency["mean"]
        bound = batcher_bound(min(concurrency, reached) * mix.largest, flags.max_batch_patches, mix.largest,
                              mix.us_per_patch, SHORTEST_SECONDS, flags.encoders_per_device, flags.upload_us * 1e-6)
        errors = sum(error["count"] for error in report["errors"].values())
        best_busy, best_rate = max(best_busy, busy), max(best_rate, rate)
        late += [concurrency] if latency["p99"] > bound else []
        table.row(name, concurrency, f"{reached:.1f}", f"{report['items_per_second']:.0f}",
                  f"{report['patches_per_second']:.0f}", f"{busy:.1%}", f"{rate:.1%}", f"{cores:.0%}",
                  f"{latency['p50'] * 1e3:.2f}", f"{latency['p99'] * 1e3:.2f}", f"{bound * 1e3:.1f}", errors)
        failed += errors
    return [(False, not failed, f"{name}: {failed or 'no'} errors"),
            (True, best_busy >= 0.95, f"{name}: device busy {best_busy:.1%} at saturation, 95 % wanted"),
            (True, best_rate >= 0.95, f"{name}: {best_rate:.1%} of the device's patches a second, 95 % wanted"),
            (True, not late, f"{name}: p99 within the bound" + (f", but for {late} in flight" if late else ""))]


def look_inside(puppet, flags, name):
    """A trace at 32 in flight; what must hold of it."""
    seconds, before = max(1, round(min(2, flags.seconds))), puppet.embedded()
    running = load(puppet, flags, MIXES[name], 32, seconds + 60, start=Bench)
    while puppet.embedded() < before + 100 and running.process.poll() is None:
        time.sleep(0.05)
    staged = flags.upload_us * 1e-6 if flags.encoders_per_device > 1 else None
    found = inside_passes(recorded(puppet, seconds), staged)
    running.process.terminate()
    running.report()
    text = ", ".join(f"{kind} {count}" for kind, count in found.items())
    return False, found["all of these"] > 0, f"{name}: a trace of {seconds} s, what went on whole inside of passes: {text}"


def puppet_for(mix, flags, traces):
    return Puppet("--device-us-per-patch", mix.us_per_patch, "--max-batch-patches", flags.max_batch_patches,
                  "--max-queue-patches", 4_000_000, "--max-inflight-bytes", "8GiB",  # all that is meant to be in flight
                  "--encoders-per-device", flags.encoders_per_device, "--device-upload-us", flags.upload_us, "--trace-dir",
                  traces)


def main(arguments=None):
    parser = flag_parser(__doc__, seconds=5)  # of a row (40 of them)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64, 128])
    parser.add_argument("--mixes", nargs="+", choices=MIXES, default=list(MIXES))
    parser.add_argument("--outputs", default="pooled", help="more move more bytes, which takes the cores")
    parser.add_argument("--us-per-patch", type=float, help="of the device, for every mix")
    parser.add_argument("--max-batch-patches", type=int, default=6144)
    parser.add_argument("--encoders-per-device", type=int, default=2, help="1: as a CPU, which uploads in its pass")
    parser.add_argument("--upload-us", type=int, default=300, help="of a batch, before its pass")
    parser.add_argument("--unary", action="store_true", help="a call an item, not one stream")
    flags = parser.parse_args(arguments)
    verdict = Verdict(flags.smoke)
    print(f"{machine()}; batches of {flags.max_batch_patches} patches, {flags.encoders_per_device} encoders")
    table = Table("items", "in flight", "reached", "items/s", "patches/s", "device busy", "of its rate", "cores",
                  "p50, ms", "p99, ms", "bound, ms", "errors")
    found = []
    with tempfile.TemporaryDirectory() as traces:
        for name in flags.mixes:
            if flags.us_per_patch:
                MIXES[name].us_per_patch = flags.us_per_patch
            with puppet_for(MIXES[name], flags, traces) as puppet:
                found += saturate(puppet, flags, name, table)
                if "jpeg" in MIXES[name].text:  # the others are never decoded
                    found.append(look_inside(puppet, flags, name))
    print()
    for of_machine, holds, text in found:
        (verdict.check_speed if of_machine else verdict.check)(holds, text)
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
