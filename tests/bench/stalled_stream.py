"""A client that writes to a stream and reads nothing for some seconds: what it costs the server and another client.

    VITOWER_BIN_DIR=build/bench/bin .venv/bin/python tests/bench/stalled_stream.py [--seconds 10]

A puppet server, a client of single calls, one after the other, and a stream of 1,000 items whose answers have 1 MB
each. Before, while and after the stream stalls: the calls' latencies, the server's memory and what it says it holds.
Exits with 1 where the calls get slower, memory is not bounded by what the server may hold, or an answer is lost.
"""

import argparse
import pathlib
import subprocess
import sys
import time

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "client/python/src"), str(ROOT / "tests/load")]

from loads import Puppet, Sampler, Table, Verdict, machine, process_counts  # noqa: E402
from puppet import flat_png  # noqa: E402
from vitower import Item, Options, wire  # noqa: E402
from vitower.inputs import item_buffers, options_body  # noqa: E402
from vitower.messages import SERVICE, message  # noqa: E402

ITEMS, LEVELS = 1000, 3
LIMIT_MB = 256


def serialised(**options):
    """An Item: a picture of 64 x 64 pixels."""
    chosen = Options(**options)
    return b"".join(item_buffers(Item(flat_png(7)), chosen, options_body(chosen, LEVELS)))


def stall(address):
    """The stream, in a process of its own. Reads once there is a line on stdin; prints how many answers came whole."""
    item = serialised(tokens=True, dtype="fp16", min_pixels=512 * 512)
    channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
    answers = channel.stream_stream(SERVICE + "EmbedStream")(wire.item_request(key, [item]) for key in range(ITEMS))
    print("writing", flush=True)
    sys.stdin.readline()
    received = {}
    for answer in answers:
        key, number, body = wire.split_answer(answer)
        received[key] = received.get(key, 0) + len(body)
    whole = sum(size > 1 << 20 for size in received.values())
    print(whole, sum(received.values()), flush=True)


class Caller:
    """Calls with one picture, one after the other."""

    def __init__(self, address):
        request = message("EmbedRequest")()
        request.items.add().ParseFromString(serialised(pooled=True))
        self._request = request.SerializeToString()
        self._call = grpc.insecure_channel(address).unary_unary(SERVICE + "Embed")

    def milliseconds(self, seconds):
        """Of each call, sorted."""
        times, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            start = time.perf_counter()
            self._call(self._request)
            times.append((time.perf_counter() - start) * 1e3)
        return sorted(times)


def measure(puppet, caller, seconds, phase, table):
    """(p99 in ms, the most resident MB) of a phase."""

    def take():
        return process_counts(puppet.process.pid)[2], puppet.metrics()["vitower_inflight_bytes"] / 2**20

    with Sampler(take) as sampler:
        times = caller.milliseconds(seconds)
    resident, held = (max(column) for column in zip(*(value for _, value in sampler.samples), strict=True))
    p99 = times[len(times) * 99 // 100]
    table.row(phase, len(times), f"{times[len(times) // 2]:.2f}", f"{p99:.2f}", f"{times[-1]:.2f}", f"{resident:.0f}",
              f"{held:.1f}")
    return p99, resident


def await_standstill(puppet):
    """Until the server has read nothing more for a second."""
    before = -1
    while (now := puppet.metrics()["vitower_bytes_received_total"]) != before:
        before = now
        time.sleep(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of each phase (default: 10)")
    parser.add_argument("--stall", metavar="HOST:PORT", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.stall:
        return stall(flags.stall)
    print(machine() + "\n")
    verdict, table = Verdict(), Table("phase", "calls", "p50, ms", "p99, ms", "longest, ms", "server MB", "held MB")
    with Puppet("--max-inflight-bytes", f"{LIMIT_MB}MiB", "--device-us-per-patch", 0.05) as puppet:
        caller = Caller(puppet.address)
        caller.milliseconds(1)
        p99_before, resident_before = measure(puppet, caller, flags.seconds, "before", table)
        command = [sys.executable, __file__, "--stall", puppet.address]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stream:
            stream.stdout.readline()
            await_standstill(puppet)
            p99, resident = measure(puppet, caller, flags.seconds, "the stream stalls", table)
            whole, size = map(int, stream.communicate("read\n")[0].split())
        puppet.await_idle()
        measure(puppet, caller, flags.seconds, "it has read everything", table)
    print()
    grown = resident - resident_before
    verdict.check(p99 <= 1.5 * p99_before + 1,
                  f"the calls' p99 is {p99:.2f} ms while the stream stalls, {p99_before:.2f} before")
    verdict.check(grown <= LIMIT_MB,
                  f"the server grew by {grown:.0f} MB; it may hold {LIMIT_MB} MB, and half of it for a stream")
    verdict.check(whole == ITEMS, f"{whole} of {ITEMS} answers came whole, {size / 2**20:.0f} MB")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
