"""Three times what the puppet device can do, in open loop: goodput, waits, refusals and memory over minutes.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/load/overload.py [--seconds 180] [--mixes small sizes giants]

For each mix of items the capacity is measured first, in patches a second, with as many items in flight as make full
batches. Then items come at random times at three times that rate. `small` is pictures of one size, all alike to the door;
`sizes` are three, which claim room from each other; among `giants` there is one that needs most of the queue and, like all
here, never tries again. Wanted: in every tenth of the time at least 95 % of the best (the capacity, or a tenth above it) is
answered, the 99th percentile of the answered is within the batcher's bound for a full queue, that of the refused is below
5 ms, and memory does not grow.
"""

import sys
from dataclasses import dataclass

from loads import Puppet, Sampler, Table, Verdict, batcher_bound, bench, flag_parser, machine, process_counts, slope_per_minute


@dataclass
class Mix:
    text: str
    largest: int  # patches of its largest item


MIXES = {
    "small": Mix("jpeg:224x224", 196),
    "sizes": Mix("raw:224x224=4,raw:448x448=2,raw:1280x704=1", 3520),
    "giants": Mix("jpeg:224x224=60,jpeg:1792x1792=1", 12_544),
}


def tenths(timeline, parts=10):
    """(first second, {what: a second}) of equal parts of the time; the last, uneven second is left out."""
    whole = timeline[:-1] if len(timeline) > parts else timeline
    size = max(len(whole) // parts, 1)
    for start in range(0, len(whole) - size + 1, size):
        part = whole[start : start + size]
        yield start, {key: sum(second[key] for second in part) / len(part) for key in part[0]}


def check_goodput(best, report, verdict):
    parts = list(tenths(report["timeline"][1:]))  # the first second fills the queue
    best = max(best, *(rates["ok_patches"] for _, rates in parts))
    table = Table("from second", "answered patches/s", "of the best", "answered/s", "refused/s", "failed/s")
    for start, rates in parts:
        table.row(start, f"{rates['ok_patches']:.0f}", f"{rates['ok_patches'] / best:.1%}", f"{rates['ok']:.1f}",
                  f"{rates['refused']:.0f}", f"{rates['failed']:.1f}")
    print()
    least = min(rates["ok_patches"] for _, rates in parts) / best
    verdict.check_speed(least >= 0.95, f"goodput at least {least:.1%} of the best, 95 % wanted")


def check_waits(mix, flags, report, verdict):
    bound = batcher_bound(flags.max_queue_patches, flags.max_batch_patches, mix.largest, flags.us_per_patch, 0.002)
    answered, refused = report["latency_seconds"], report["refusal_latency_seconds"]
    verdict.check_speed(answered["p99"] <= bound, f"answered p50 {answered['p50'] * 1e3:.0f} ms, p99 "
                                                  f"{answered['p99'] * 1e3:.0f} ms; bound {bound * 1e3:.0f} ms")
    verdict.check_speed(refused["p99"] < 0.005, f"refused p50 {refused['p50'] * 1e3:.2f} ms, p99 {refused['p99'] * 1e3:.2f} "
                                                "ms, below 5 ms wanted")


def check_memory(samples, seconds, verdict):
    grown = [sample for sample in samples if sample[0] > seconds / 5]
    if len(grown) > 2:
        slope = slope_per_minute(grown)
        verdict.check_speed(slope < 1, f"memory {samples[0][1]:.0f} MB at first, {samples[-1][1]:.0f} MB at last; grows by "
                                       f"{slope:.2f} MB a minute, below 1 wanted")


def overload(mix, flags, verdict):
    calls = {"stream": True} if flags.stream else {}
    shape = {"mix": mix.text, "min_pixels": 50_176, "outputs": "pooled", **calls}
    with Puppet("--device-us-per-patch", flags.us_per_patch, "--max-batch-patches", flags.max_batch_patches,
                "--max-item-patches", flags.max_queue_patches, "--max-queue-patches", flags.max_queue_patches) as puppet:
        best = bench(puppet.address, seconds=max(flags.seconds / 10, 1), concurrency=32, warm_up=min(2, flags.seconds / 5),
                     **shape)
        rate = round(flags.factor * best["items_per_second"], 1)
        with Sampler(lambda: process_counts(puppet.process.pid)[2], every=1) as memory:
            report = bench(puppet.address, seconds=flags.seconds, warm_up=1, rate=rate, **shape)
    print(f"capacity {best['patches_per_second']:.0f} patches/s, {best['items_per_second']:.1f} items/s; offered {rate:.1f}, "
          f"answered {report['items_per_second']:.1f}")
    check_goodput(best["patches_per_second"], report, verdict)
    check_waits(mix, flags, report, verdict)
    check_memory(memory.samples, flags.seconds, verdict)
    verdict.check(set(report["errors"]) <= {"RESOURCE_EXHAUSTED"}, f"errors: {sorted(report['errors']) or 'none'}")


def main(arguments=None):
    parser = flag_parser(__doc__, seconds=180)  # of each mix
    parser.add_argument("--mixes", nargs="+", choices=MIXES, default=list(MIXES))
    parser.add_argument("--factor", type=float, default=3, help="offered load, in capacities")
    parser.add_argument("--us-per-patch", type=float, default=8, help="slow enough for three times that on the same cores")
    parser.add_argument("--max-batch-patches", type=int, default=1024)
    parser.add_argument("--max-queue-patches", type=int, default=16_384)
    parser.add_argument("--stream", action="store_true", help="a stream (which is kept waiting) in place of calls")
    flags = parser.parse_args(arguments)
    verdict = Verdict(flags.smoke)
    print(f"{machine()}; {flags.us_per_patch} us a patch, batches of {flags.max_batch_patches} patches")
    for name in flags.mixes:
        print(f"\n{name}: {MIXES[name].text}")
        overload(MIXES[name], flags, verdict)
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
