"""Throughput of the Python client's embed_stream against a puppet server, beside the C++ client's, as a table.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/bench/python_client_bench.py [--items 1000] [--least 0.75]

The tower takes no CPU, so the server's decoding, the wire and the client share the machine's cores. Both clients send
the same item over one stream, in turns, some rounds each: the ratio is the median of the rounds', since a machine's speed
changes from one minute to the next; rate and CPU are of each client's fastest. CPU is what the client's process spent.
"""

import argparse
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "client/python/src"), str(ROOT / "tests/python"), str(ROOT / "tests/support")]

from pictures import encoded, photo  # noqa: E402
from puppet import BIN, Puppet  # noqa: E402
from vitower import Client, bf16_to_float32  # noqa: E402


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def inputs():
    """(name, item, options) of each payload."""
    picture = photo(np.random.default_rng(0), 1280, 1280)
    for side in (224, 448):
        yield f"JPEG {side}x{side}", encoded(picture[:side, :side], "JPEG", quality=90), {}
    yield "JPEG 1280x720", encoded(picture[:720], "JPEG", quality=90), {}
    for height, width in ((128, 160), (448, 448), (1152, 1152)):
        yield f"rgb {width}x{height}", np.ascontiguousarray(picture[:height, :width]), {"do_resize": False}


def run_python(address, item, options, items, in_flight):
    """(items/s, client CPU ms an item)."""
    with Client(address, max_in_flight=in_flight) as client:
        for _ in client.embed_stream((item for _ in range(50)), **options):
            pass
        cpu, start = cpu_seconds(), time.perf_counter()
        for _ in client.embed_stream((item for _ in range(items)), **options):
            pass
        return items / (time.perf_counter() - start), (cpu_seconds() - cpu) / items * 1e3


def run_cc(address, item, options, items, in_flight):
    """The same of the C++ client."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(item if isinstance(item, bytes) else item.tobytes())
        file.flush()
        size = [] if isinstance(item, bytes) else ["--height", item.shape[0], "--width", item.shape[1]]
        tokens = ["--tokens"] if "tokens" in options else []
        command = [BIN / "cc_client", "--server", address, "--file", file.name, *size, *tokens, "--items", items,
                   "--in-flight", in_flight]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return tuple(map(float, done.stdout.split()))


def bf16_milliseconds():
    """Of widening a 760 x 2,560 result, the least and the most of 20."""
    bits = np.random.default_rng(0).integers(0, 1 << 16, (760, 2560), np.uint16)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        bf16_to_float32(bits)
        times.append(time.perf_counter() - start)
    return min(times) * 1e3, max(times) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--least", type=float, default=0, metavar="RATIO",
                        help="exit with 1 where the Python client reaches less than this of the C++ client's rate")
    flags = parser.parse_args()
    ratios = {}
    print("| item | back | Python, items/s | C++, items/s | ratio | Python CPU, ms/item | C++ CPU, ms/item |\n"
          "|---|---|---|---|---|---|---|")
    with Puppet("--device-us-per-patch", 0.05, "--device-min-us", 200, "--max-batch-patches", 8192) as puppet:
        for name, item, fixed in inputs():
            for output in ("pooled", "tokens"):
                load = (puppet.address, item, {output: True, **fixed}, flags.items, flags.in_flight)
                runs = [(run_python(*load), run_cc(*load)) for _ in range(flags.rounds)]
                (rate, cpu), (cc_rate, cc_cpu) = (max(client) for client in zip(*runs, strict=True))
                ratio = ratios[f"{name}, {output}"] = statistics.median(ours[0] / theirs[0] for ours, theirs in runs)
                rates = f"{rate:.0f} | {cc_rate:.0f} | {ratio:.2f}"
                print(f"| {name} | {output} | {rates} | {cpu:.2f} | {cc_cpu:.2f} |", flush=True)
    best, worst = bf16_milliseconds()
    print(f"\nbf16 760 x 2560 to float32: {best:.2f} to {worst:.2f} ms")
    slow = {name: ratio for name, ratio in ratios.items() if ratio < flags.least}
    for name, ratio in slow.items():
        print(f"FAILS: {name}: {ratio:.2f} of the C++ client's rate, below {flags.least:g}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
