"""Three times what the puppet device can do, in open loop: goodput, waits, refusals and memory over minutes.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/load/overload.py [--seconds 180]

First the capacity is measured with as many items in flight as make full batches. Then items come at random times at three
times that rate. Wanted: in every tenth of the time at least 95 % of the best (the capacity, or a tenth above it) is answered, the 99th percentile of the
answered is within the batcher's bound for a full queue, that of the refused is below 5 ms, and memory does not grow.
"""

import argparse
import sys

from loads import Puppet, Sampler, Table, Verdict, batcher_bound, bench, machine, process_counts, slope_per_minute

PATCHES = 196


def tenths(timeline, parts=10):
    """Answers, refusals and failures a second, in equal parts of the time; the last, uneven second is left out."""
    whole = timeline[:-1] if len(timeline) > parts else timeline
    size = max(len(whole) // parts, 1)
    for start in range(0, len(whole) - size + 1, size):
        part = whole[start : start + size]
        yield start, *(sum(second[key] for second in part) / len(part) for key in ("ok", "refused", "failed"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--factor", type=float, default=3, help="offered load, in capacities")
    parser.add_argument("--us-per-patch", type=float, default=8, help="slow enough for three times that on the same cores")
    parser.add_argument("--max-batch-patches", type=int, default=1024)
    parser.add_argument("--max-queue-patches", type=int, default=16_384)
    parser.add_argument("--stream", action="store_true", help="a stream (which is kept waiting) in place of calls")
    flags = parser.parse_args()
    calls = {"stream": True} if flags.stream else {}
    verdict = Verdict()
    shape = {"mix": "jpeg:224x224", "min_pixels": PATCHES * 256, "outputs": "pooled", **calls}
    print(f"{machine()}; {flags.us_per_patch} us a patch, batches of {flags.max_batch_patches} patches\n")
    with Puppet("--device-us-per-patch", flags.us_per_patch, "--max-batch-patches", flags.max_batch_patches,
                "--max-item-patches", flags.max_queue_patches, "--max-queue-patches", flags.max_queue_patches) as puppet:
        best = bench(puppet.address, seconds=max(flags.seconds / 10, 1), concurrency=32, **shape)["items_per_second"]
        rate = flags.factor * best
        with Sampler(lambda: process_counts(puppet.process.pid)[2], every=1) as memory:
            report = bench(puppet.address, seconds=flags.seconds, warm_up=1, rate=round(rate, 1), **shape)
        best = max(best, *(tenth[1] for tenth in tenths(report["timeline"][1:])))
        table = Table("from second", "answered/s", "of the best", "refused/s", "failed/s")
        shares = []
        for start, ok, refused, failed in tenths(report["timeline"][1:]):  # the first second fills the queue
            shares.append(ok / best)
            table.row(start, f"{ok:.1f}", f"{ok / best:.1%}", f"{refused:.0f}", f"{failed:.1f}")
    bound = batcher_bound(flags.max_queue_patches, flags.max_batch_patches, PATCHES, flags.us_per_patch, 0.002)
    answered, refused = report["latency_seconds"], report["refusal_latency_seconds"]
    grown = [sample for sample in memory.samples if sample[0] > flags.seconds / 5]
    print(f"\ncapacity {best:.1f} items/s, offered {rate:.1f}, answered {report['items_per_second']:.1f}; memory "
          f"{memory.samples[0][1]:.0f} MB at first, {memory.samples[-1][1]:.0f} MB at last")
    verdict.check(min(shares) >= 0.95, f"goodput at least {min(shares):.1%} of the best, 95 % wanted")
    verdict.check(answered["p99"] <= bound, f"answered p50 {answered['p50'] * 1e3:.0f} ms, p99 {answered['p99'] * 1e3:.0f} "
                                            f"ms; bound {bound * 1e3:.0f} ms")
    verdict.check(refused["p99"] < 0.005, f"refused p50 {refused['p50'] * 1e3:.2f} ms, p99 {refused['p99'] * 1e3:.2f} ms, "
                                          "below 5 ms wanted")
    verdict.check(set(report["errors"]) <= {"RESOURCE_EXHAUSTED"}, f"errors: {sorted(report['errors']) or 'none'}")
    if len(grown) > 2:
        slope = slope_per_minute(grown)
        verdict.check(slope < 1, f"memory grows by {slope:.2f} MB a minute, below 1 wanted")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
