#!/usr/bin/env python3
"""One server over several GPUs of a host against one over the first, as a Markdown report.

    devices.py VITOWER PROBE MODEL [--seconds 4] [--fault libfault.so] [--no-speed] [--no-faults]

PROBE is gpu_probe, MODEL a checkpoint folder; what is to be made fail needs the library of fault.cu. Exits with 1 where
something that is wanted does not hold.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from serving import (
    CONNECTIONS, LOADERS, Load, Server, Table, Verdict, device_alone,
    flag_parser, measure, note, of_devices, summed, told,
)

RAW = {"no_resize": True, "stream": True}
# name, mix, a batch of it, outputs, in flight for each device
ROWS = [
    ("14x14", "raw:224x224", "64*1x14x14", "tokens", 512),
    ("44x80", "raw:1280x704", "3*1x44x80", "tokens", 32),
    ("14x14", "raw:224x224", "64*1x14x14", "tokens,deepstack", 768),
    ("44x80", "raw:1280x704", "3*1x44x80", "tokens,deepstack", 32),
]
SMALL = "raw:224x224"
MIXED = "raw:224x224=8,raw:448x448=3,raw:608x320=2,raw:1280x704=1"
WANTED = {2: 1.9, 4: 3.6}
STALL_LIMIT, STALL = 0.5, 3.0  # seconds


def loaders(count):
    """The load grows with the devices."""
    return {"processes": LOADERS * count, "connections": CONNECTIONS * count, **RAW}


def first(count):
    return ",".join(f"cuda:{i}" for i in range(count))


def speed(flags, counts, verdict):
    """{number of devices: {(mix, outputs): items a second}}, and what there is for mixed sizes."""
    table = Table("patches", "outputs", "devices", "items/s", "against one", "encoders from memory, items/s",
                  "against one", "busy, workers by device", "device computes", "patches a pass", "server, cores",
                  "both ways, GB/s", "p50, ms", "errors")
    rates, alone, starts, mixed = {}, {}, {}, {}
    for count in counts:
        with Server(flags.vitower, flags.model, first(count)) as server:
            ready = [line.split(" info ")[-1] for line in server.log_text().splitlines() if " ready in " in line]
            starts[count] = server.started, ready
            for name, mix, _, outputs, in_flight in ROWS:
                result = measure(server, mix, flags.seconds, concurrency=in_flight * count, outputs=outputs, **loaders(count))
                rates[count, mix, outputs] = result
            mixed[count] = measure(server, MIXED, flags.seconds, concurrency=256 * count, outputs="tokens", **loaders(count))
        for name, mix, grid, outputs, _ in ROWS:
            alone[count, mix, outputs] = device_alone(flags.probe, flags.model, grid, tokens_only=outputs == "tokens",
                                                      device=first(count), seconds=2)
        for name, mix, _, outputs, _ in ROWS:
            result = rates[count, mix, outputs]
            by_itself = alone[count, mix, outputs]
            table.row(name, outputs, count, f"{result['rate']:.0f}", f"{result['rate'] / rates[1, mix, outputs]['rate']:.2f}x",
                      f"{by_itself:.0f}", f"{by_itself / alone[1, mix, outputs]:.2f}x",
                      " ".join(f"{busy:.2f}" for busy in result["busy"].values()), f"{result['computing'] / count:.1%}",
                      f"{result['batch_patches']:.0f}", f"{result['cores']:.1f}", f"{result['bytes'] / 1e9:.2f}",
                      f"{result['p50'] * 1e3:.0f}", told(result))
    note("")
    for count in counts:
        seconds, lines = starts[count]
        note(f"- {count} device{'s' if count > 1 else ''}: serving after {seconds:.2f} s; {'; '.join(lines)}")
    for count in counts[1:]:
        for name, mix, _, outputs, _ in ROWS:
            gain = rates[count, mix, outputs]["rate"] / rates[1, mix, outputs]["rate"]
            wanted = WANTED.get(count, 0.9 * count)
            verdict.check(gain >= wanted, f"{name}, {outputs}: {count} devices {gain:.2f}x one, wanted {wanted}x")
        busy = mixed[count]["busy"]
        spread = max(busy.values()) / min(busy.values()) - 1
        verdict.check(spread <= 0.05, f"mixed sizes ({MIXED}), {count} devices: busy seconds a second "
                      f"{', '.join(f'{device} {value:.3f}' for device, value in busy.items())}: {spread:.1%} apart, wanted 5 %; "
                      f"{mixed[count]['rate'] / mixed[1]['rate']:.2f}x the items of one")
    capacity = {(count, SMALL): rates[count, SMALL, "tokens"]["rate"] for count in counts}
    return capacity | {(count, MIXED): mixed[count]["rate"] for count in counts}


def latency(flags, counts, capacity, verdict):
    table = Table("items", "devices", "items/s asked", "items/s", "p50, ms", "p99, ms", "errors")
    late = {}
    for count in counts:
        with Server(flags.vitower, flags.model, first(count)) as server:
            for mix in (SMALL, MIXED):
                rate = 0.7 * capacity[count, mix]
                result = summed(Load(server, mix, flags.seconds + 2, rate=rate, outputs="tokens", warm_up=2.0,
                                     **loaders(count)).reports())
                late[count, mix] = result["p99"]
                table.row(mix, count, f"{rate:.0f}", f"{result['rate']:.0f}", f"{result['p50'] * 1e3:.1f}",
                          f"{result['p99'] * 1e3:.1f}", told(result))
    note("")
    for count in counts[1:]:
        for mix in (SMALL, MIXED):
            verdict.check(late[count, mix] <= 1.05 * late[1, mix], f"p99 at 70 % of what {count} devices do, {mix}: "
                          f"{late[count, mix] * 1e3:.1f} ms, with one device {late[1, mix] * 1e3:.1f}")


class Watch:
    """What /metrics and the probes say, sampled while something fails."""

    def __init__(self, server):
        self.server, self.samples, self.began = server, [], time.monotonic()

    def until(self, seconds):
        while time.monotonic() - self.began < seconds:
            metrics = self.server.metrics()
            self.samples.append((time.monotonic() - self.began, of_devices(metrics, "vitower_device_up"),
                                 self.server.get("/readyz")[0], self.server.get("/healthz")[0]))
            time.sleep(0.05)

    def history(self):
        """When the devices' states or the probes changed."""
        changes, last = [], None
        for at, *state in self.samples:
            if state != last:
                up, ready, alive = state
                changes.append(f"{at:.2f} s: {' '.join(f'{device} {value:.0f}' for device, value in up.items())}, "
                               f"readyz {ready}, healthz {alive}")
                last = state
        return changes


def order(path, text):
    """Atomically: the library reads the file as soon as it is there."""
    pathlib.Path(path + ".new").write_text(text)
    os.rename(path + ".new", path)


def health(server):
    return subprocess.run([server.program, "healthcheck", "--server", f"127.0.0.1:{server.port}"], capture_output=True,
                          text=True).returncode


class Failure:
    """What a server and its clients saw while its last device failed, one second into a closed loop, or just before it;
    told as it is made."""

    def __init__(self, flags, count, what, mix, seconds, before=False):
        self.count, self.victim = count, f"cuda:{count - 1}"
        path = tempfile.mkdtemp() + "/fault"
        environment = {"LD_PRELOAD": flags.fault, "FAULT_FILE": path}
        with Server(flags.vitower, flags.model, first(count), "--device-stall-timeout", f"{STALL_LIMIT:g}s",
                    env=environment) as server:
            if before:
                order(path, what.format(count - 1))
                time.sleep(1)
            load = Load(server, mix, seconds, warm_up=0.0, concurrency=256 * count, outputs="tokens", **RAW)
            while server.metrics()["vitower_patches_total"] == 0:
                time.sleep(0.02)
            self.watch = Watch(server)
            self.watch.until(1)
            if not before:
                order(path, what.format(count - 1))
            self.watch.until(seconds)
            reports = load.reports()
            self.result = summed(reports)
            self.health = health(server)
            log = [line for line in server.log_text().splitlines() if " error " in line or " warning " in line]
            self.exit_code, took = server.stop()
        self.timeline = [sum(report["timeline"][i]["ok"] for report in reports if i < len(report["timeline"]))
                         for i in range(int(seconds))]
        note(f"\n### `{what.format(self.victim)}`, {256 * count} in flight ({mix})\n")
        for change in self.watch.history():
            note(f"- {change}")
        note(f"- embedded each second: {' '.join(map(str, self.timeline))}; not embedded: {told(self.result)}")
        note(f"- healthcheck exits with {self.health}; SIGTERM ended the server with {self.exit_code} after {took:.1f} s")
        for line in list(dict.fromkeys(line.split(" ", 2)[-1] for line in log if "plain text" not in line))[:6]:
            note(f"- log: {line[:240]}")

    def down(self, device):
        return [at for at, up, *_ in self.watch.samples if up[device] == 0]

    def others_go_on(self):
        return (self.health == 0 and all(ready == 200 for _, _, ready, _ in self.watch.samples)
                and not any(self.down(f"cuda:{i}") for i in range(self.count - 1))
                and min(self.timeline[2:-1]) > 0.8 * self.timeline[0] * (self.count - 1) / self.count)

    def nothing_lost(self):
        """With a timeout of 30 s an item that nobody answers ends as DEADLINE_EXCEEDED."""
        return set(self.result["errors"]) <= {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL"}


def faults(flags, count, verdict):
    answered = "every item is embedded or refused with a status"
    stalled = Failure(flags, count, f"stall {{}} {STALL:g}", "raw:224x224", 8)
    down = stalled.down(stalled.victim)
    verdict.check(bool(down), "`vitower_device_up` tells" + (f" {down[0] - 1:.2f} s after" if down else ""))
    verdict.check(stalled.others_go_on(), "the others go on, and the server stays ready")
    verdict.check(stalled.nothing_lost(), answered)
    verdict.check(stalled.watch.samples[-1][1][stalled.victim] == 1, "the device is back once it works again")
    filled = Failure(flags, count, "fill {}", "raw:224x224=100,raw:2560x1440=1", 6, before=True)
    verdict.check(filled.others_go_on(), "the server stays ready; who is refused is told why")
    verdict.check(filled.nothing_lost(), answered)
    broken = Failure(flags, count, "break {}", "raw:224x224", 5)
    verdict.check(bool(broken.down(broken.victim)) and broken.health != 0,
                  "a fault that CUDA does not forgive, which takes all devices of a process: the metrics and health tell")
    verdict.check(broken.nothing_lost(), answered)


def main():
    parser = flag_parser(__doc__)
    parser.add_argument("--fault", help="the library of fault.cu")
    parser.add_argument("--no-speed", action="store_true")
    flags = parser.parse_args()
    query = "--query-gpu=name,driver_version,pcie.link.gen.max,pcie.link.width.max"
    names = subprocess.run(["nvidia-smi", query, "--format=csv,noheader"], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len(visible.split(",")) if visible else len(names)
    counts = [count for count in (1, 2, 4, 8) if count <= there]
    if len(counts) < 2:
        note("one device only: nothing to compare")
        return 2
    note(f"# One server over several GPUs\n\n{len(names)} x {names[0]} (name, driver, PCIe generation, lanes); "
         f"{os.cpu_count()} cores; {LOADERS} processes of `vitower bench` "
         f"for each device load it over {CONNECTIONS} connections, streams.")
    verdict = Verdict()
    if not flags.no_speed:
        note("\n## Throughput")
        capacity = speed(flags, counts, verdict)
        note("\n## At 70 % of each one's capacity, open loop")
        latency(flags, counts, capacity, verdict)
    if flags.fault:
        note("\n## A device that fails")
        faults(flags, counts[-1], verdict)
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
