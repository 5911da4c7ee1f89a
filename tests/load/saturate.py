"""The puppet device kept busy: raw frames of three sizes and JPEGs, one to 64 items in flight.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/load/saturate.py [--seconds 5]

The device takes max(2 ms, 1.3 us a patch) and no CPU, so what it idles is the fault of what is around it: server, wire and
load share this machine's cores. A row says how busy it was, and the 99th percentile of the latency beside the batcher's
bound for as many items of the largest kind as are in flight. The bound holds for what waits for the device: where the
cores are the bottleneck (JPEGs, and more bytes than they can move) it may be exceeded. Wanted: 95 % busy at saturation.
"""

import argparse
import sys

from loads import Puppet, Sampler, Table, Verdict, batcher_bound, bench, machine

MIXES = {  # name: (mix, patches of the largest item)
    "raw 224": ("raw:224x224", 196),
    "raw 448": ("raw:448x448", 784),
    "raw 1280x704": ("raw:1280x704", 3520),
    "raw mix": ("raw:224x224=4,raw:448x448=2,raw:1280x704=1", 3520),
    "JPEG mix": ("jpeg:224x224=4,jpeg:448x448=2,jpeg:1280x704=1", 3520),
}


def measure(puppet, flags, mix, concurrency):
    calls = {} if flags.unary else {"stream": True}
    with Sampler(lambda: Sampler.busy_seconds(puppet)) as busy:
        report = bench(puppet.address, mix=mix, seconds=flags.seconds, warm_up=flags.seconds / 4, concurrency=concurrency,
                       outputs=flags.outputs, min_pixels=50_176, distinct=4, **calls)
    return report, busy.share(skip=flags.seconds / 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="of a row (30 of them)")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4, 8, 16, 64])
    parser.add_argument("--mixes", nargs="+", choices=MIXES, default=list(MIXES))
    parser.add_argument("--outputs", default="pooled", help="more move more bytes, which takes the cores")
    parser.add_argument("--us-per-patch", type=float, default=1.3)
    parser.add_argument("--max-batch-patches", type=int, default=6144)
    parser.add_argument("--unary", action="store_true", help="a call an item, not one stream")
    flags = parser.parse_args()
    verdict = Verdict()
    print(f"{machine()}; {flags.us_per_patch} us a patch, batches of {flags.max_batch_patches} patches\n")
    table = Table("items", "in flight", "items/s", "patches/s", "device busy", "p50, ms", "p99, ms", "bound, ms", "errors")
    with Puppet("--device-us-per-patch", flags.us_per_patch, "--max-batch-patches", flags.max_batch_patches) as puppet:
        for name in flags.mixes:
            mix, largest = MIXES[name]
            best, late = 0.0, []
            for concurrency in flags.concurrency:
                report, busy = measure(puppet, flags, mix, concurrency)
                bound = batcher_bound(concurrency * largest, flags.max_batch_patches, largest, flags.us_per_patch, 0.002)
                latency = report["latency_seconds"]
                errors = sum(error["count"] for error in report["errors"].values())
                best, late = max(best, busy), late + ([concurrency] if latency["p99"] > bound else [])
                table.row(name, concurrency, f"{report['items_per_second']:.0f}", f"{report['patches_per_second']:.0f}",
                          f"{busy:.1%}", f"{latency['p50'] * 1e3:.2f}", f"{latency['p99'] * 1e3:.2f}", f"{bound * 1e3:.1f}",
                          errors)
                verdict.exit_code |= errors > 0
            if name == "JPEG mix":
                continue  # the cores' affair
            verdict.check(best >= 0.95, f"{name}: device busy {best:.1%} at saturation, at least 95 % wanted")
            verdict.check(not late, f"{name}: p99 within the bound" + (f", but for {late} in flight" if late else ""))
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
