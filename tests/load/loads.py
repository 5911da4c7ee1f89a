"""What the load scripts of this folder share: servers, `vitower bench`, figures from /metrics and /proc, tables.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/load/SCRIPT.py [--seconds N]

Each script says in its header what it shows and exits with 1, naming it, where that does not hold. They want a quiet
machine and release programs. With --smoke and a few --seconds they show that they run, on any machine: what depends on
its speed is then printed and not judged.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

from findings import Table, Verdict  # noqa: E402
from puppet import BIN, Puppet  # noqa: E402

VITOWER = BIN / "vitower"
__all__ = ["BIN", "ROOT", "VITOWER", "Bench", "Puppet", "Sampler", "Table", "Verdict", "batcher_bound", "bench", "flag_parser",
           "machine", "process_counts", "slope_per_minute", "steady_rate", "svg_plot"]


def flag_parser(description, seconds=None):
    """With the flags that all scripts have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if seconds is not None:
        parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--smoke", action="store_true", help="print what depends on the machine's speed, do not judge it")
    return parser


def machine():
    """One line about where figures come from."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())[1]
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, programs of {BIN}"


class Bench:
    """A running `vitower bench`; `report` waits for its end and returns its JSON."""

    def __init__(self, *addresses, mix, seconds, warm_up=2.0, **flags):
        command = [VITOWER, "bench", "--quiet", "--output", "-", "--mix", mix, "--duration",
                   f"{seconds * 1000:.0f}ms", "--warm-up", f"{warm_up * 1000:.0f}ms"]
        for address in addresses:
            command += ["--server", address]
        for name, value in flags.items():
            command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [value])
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def report(self):
        out, err = self.process.communicate()
        if not out:
            raise RuntimeError(f"vitower bench: {err}")
        return json.loads(out)


def bench(*addresses, **settings):
    return Bench(*addresses, **settings).report()


def process_counts(pid):
    """(threads, file descriptors, resident MB) of a process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    number = {key: int(re.search(rf"^{key}:\s+(\d+)", status, re.MULTILINE)[1]) for key in ("Threads", "VmRSS")}
    return number["Threads"], len(os.listdir(f"/proc/{pid}/fd")), number["VmRSS"] / 1024


class Sampler:
    """Calls `take` every `every` seconds on a thread of its own; `samples` are (seconds since the start, value)."""

    def __init__(self, take, every=0.25):
        self.samples = []
        self._take, self._every, self._stop = take, every, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._start = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *ignored):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(self._every):
            value = self._take()
            self.samples.append((time.monotonic() - self._start, value))

    @staticmethod
    def busy_seconds(server):
        """Of all devices of a server."""
        return sum(value for name, value in server.metrics().items()
                   if name.startswith("vitower_device_busy_seconds_total"))

    @staticmethod
    def core_seconds():
        """Used up on the cores that this process may run on, by whomever, the hypervisor's share included."""
        ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        used = 0
        for line in pathlib.Path("/proc/stat").read_text().splitlines():
            name, *counts = line.split()
            if name in ours:
                user, nice, system, _idle, _wait, *interrupted = map(int, counts[:8])
                used += user + nice + system + sum(interrupted)
        return used / os.sysconf("SC_CLK_TCK")

    def share(self, skip, seconds=float("inf")):
        """How fast a counter of seconds grew, a second, within `seconds` of the time in which it grew, `skip` seconds after
        the beginning of that. From one sample that shows growth to another: a counter that grows by whole passes is
        right there only."""
        grown = [after for before, after in zip(self.samples, self.samples[1:], strict=False) if after[1] > before[1]]
        inside = [sample for sample in grown if skip <= sample[0] - grown[0][0] <= skip + seconds]
        if len(inside) < 2:
            return 0.0
        return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])


def batcher_bound(in_flight_patches, budget_patches, largest_patches, us_per_patch, shortest_seconds, encoders=1,
                  upload_seconds=0.0):
    """Seconds within which an item is computed, by the bound in server/batcher.h (no delay, one priority): its wait, and
    the pass it is in. Encoders of one device take turns, so each has passes as long as theirs together."""
    full = min(max(budget_patches, largest_patches), in_flight_patches)
    forward = encoders * max(shortest_seconds, us_per_patch * 1e-6 * full) + upload_seconds
    return (2 * in_flight_patches / (budget_patches * encoders) + 2) * forward + forward


def steady_rate(timeline, begin, end):
    """Answers a second between two whole seconds of a closed loop: the slope of the line through the moments of the answers.
    Answers come a batch at a time, so that counting them between two moments is wrong by up to a batch; this is not."""
    points = []
    for second in range(int(begin), min(int(end), len(timeline))):
        points += [(second + 0.5, len(points) + i) for i in range(timeline[second]["ok"])]
    return slope_per_minute(points) / 60 if len({at for at, _ in points}) > 1 else 0.0


def slope_per_minute(samples):
    """Of the line through (seconds, value) with the least squares."""
    count = len(samples)
    mean_x, mean_y = (sum(axis) / count for axis in zip(*samples, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return 60 * sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread


def svg_plot(samples, title, unit, width=720, height=300):
    """A line through (seconds, value), with axes, as the text of an SVG file."""
    left, bottom, top, right = 60, 36, 30, 14
    end, high = max(x for x, _ in samples), max(y for _, y in samples) * 1.1
    across = (width - left - right) / max(end, 1e-9)
    up = (height - top - bottom) / max(high, 1e-9)

    def place(x, y):
        return f"{left + x * across:.1f},{height - bottom - y * up:.1f}"

    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>', f'<text x="{left}" y="18">{title}</text>']
    for i in range(5):
        y = high * i / 4
        at = height - bottom - y * up
        lines.append(f'<path d="M{left},{at:.1f}H{width - right}" stroke="#ddd"/>'
                     f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{y:.0f}</text>')
    for i in range(6):
        x = end * i / 5
        lines.append(f'<text x="{left + x * across:.1f}" y="{height - bottom + 16}" text-anchor="middle">{x / 60:.1f}</text>')
    lines.append(f'<text x="{width - right}" y="{height - 6}" text-anchor="end">minutes</text><text x="6" y="18">{unit}</text>')
    lines.append(f'<polyline points="{" ".join(place(x, y) for x, y in samples)}" fill="none" stroke="#06c" '
                 'stroke-width="1.5"/></svg>')
    return "\n".join(lines) + "\n"
