"""Twenty minutes at 80 % of the capacity: does memory grow? Writes a plot of it.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/load/soak.py [--seconds 1200] [--plot docs/measured/soak.svg]
    ... --model random:tiny        # the real tower in place of the puppet

JPEGs, PNGs, raw frames, patches and clips of several sizes, in open loop, over calls; the capacity is measured first. The
resident memory of the server is sampled every second; its slope is that of a line through what follows the first fifth of
the time, at least one and at most five minutes. Wanted: below 1 MB a minute, and no failures.
"""

import contextlib
import pathlib
import sys

from loads import ROOT, Puppet, Sampler, Verdict, bench, flag_parser, machine, process_counts, slope_per_minute, svg_plot

MIX = "jpeg:224x224=8,jpeg:448x448=4,png:320x240=1,raw:448x448=2,patches:224x224=1,clip:160x96x12=1"


@contextlib.contextmanager
def server(flags):
    """(address, process) of what is loaded."""
    if flags.model:
        from serving import serving

        with serving(model=flags.model) as running:
            yield running.address, running.process
    else:
        with Puppet("--device-us-per-patch", flags.us_per_patch) as puppet:
            yield puppet.address, puppet.process


def main(arguments=None):
    parser = flag_parser(__doc__, seconds=1200)
    parser.add_argument("--load", type=float, default=0.8, help="of the capacity")
    parser.add_argument("--model", help="serve this with vitower, not the puppet")
    parser.add_argument("--us-per-patch", type=float, default=8, help="of the puppet")
    parser.add_argument("--plot", type=pathlib.Path, default=ROOT / "docs/measured/soak.svg")
    flags = parser.parse_args(arguments)
    verdict = Verdict(flags.smoke)
    with server(flags) as (address, process):
        shape = {"mix": MIX, "outputs": "pooled"}
        warm_up = min(2, flags.seconds / 10)
        best = bench(address, seconds=max(min(flags.seconds / 10, 20), 1), concurrency=32, warm_up=warm_up,
                     **shape)["items_per_second"]
        rate = round(flags.load * best, 1)
        with Sampler(lambda: process_counts(process.pid), every=1 if flags.seconds > 30 else 0.2) as taken:
            report = bench(address, seconds=flags.seconds, rate=rate, warm_up=warm_up, **shape)
    memory = [(at, counts[2]) for at, counts in taken.samples]
    skip = min(max(flags.seconds / 5, min(60, flags.seconds / 2)), 300)
    slope = slope_per_minute([sample for sample in memory if sample[0] > skip])
    title = f"Resident memory at {rate:g} items/s ({flags.load:.0%} of the capacity), {slope:+.2f} MB a minute"
    flags.plot.write_text(svg_plot(memory, title, "MB"))
    (threads, fds, _), (threads_after, fds_after, _) = taken.samples[len(taken.samples) // 2][1], taken.samples[-1][1]
    latency = report["latency_seconds"]
    print(f"{machine()}; {flags.model or 'puppet'}\n{report['items_per_second']:.1f} items/s of {best:.1f}, p50 "
          f"{latency['p50'] * 1e3:.1f} ms, p99 {latency['p99'] * 1e3:.1f} ms; memory {memory[0][1]:.0f} to {memory[-1][1]:.0f} "
          f"MB; threads {threads} and {threads_after}, descriptors {fds} and {fds_after} in the middle and at the end\n"
          f"plot: {flags.plot}")
    verdict.check_speed(slope < 1, f"memory grows by {slope:+.2f} MB a minute after {skip:.0f} s, below 1 wanted")
    verdict.check(set(report["errors"]) <= {"RESOURCE_EXHAUSTED"}, f"errors: {report['errors'] or 'none'}")
    verdict.check_speed(not report["errors"], "nothing was refused")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
