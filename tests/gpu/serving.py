"""What end_to_end.py and devices.py share: a server, `vitower bench` in several processes, figures from /metrics, tables."""

import argparse
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

# Last: there is another serving.py there.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from findings import Table, Verdict  # noqa: E402

__all__ = ["COMPUTED", "CONNECTIONS", "LOADERS", "Load", "Server", "Table", "Verdict", "device_alone", "flag_parser", "measure",
           "note", "of_devices", "summed", "told"]

BATCH_PATCHES = 12544  # 64 pictures of 14x14 patches
CONNECTIONS = 8  # to a server with one device
LOADERS = 4  # processes, so that the load is not what limits
STAGES = ("upload", "patch_embed", "position", "blocks", "merger", "download")
COMPUTED = ("patch_embed", "position", "blocks", "merger")


def note(text):
    print(text, flush=True)


def flag_parser(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vitower")
    parser.add_argument("probe")
    parser.add_argument("model")
    parser.add_argument("--seconds", type=float, default=4, help="of a row")
    return parser


class Server:
    """`vitower serve` on free ports of this host; as a context it is stopped at the end. `started`: seconds to serving."""

    def __init__(self, program, model, device, *flags, env=None):
        self.program = program
        self.log = tempfile.NamedTemporaryFile("w+", suffix=".log", delete=False)
        command = [program, "serve", "--model", model, "--device", device, "--listen", "0.0.0.0:0", "--metrics-listen",
                   "127.0.0.1:0", "--max-batch-patches", BATCH_PATCHES, "--max-queue-patches", 2_000_000,
                   "--max-inflight-bytes", "32GiB", "--max-stream-items", 4096, "--max-reply-bytes", "256MiB", *flags]
        began = time.monotonic()
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env={**os.environ, **(env or {})})
        line = self.process.stdout.readline()
        self.started = time.monotonic() - began
        ports = re.findall(r":(\d+)", line)
        if len(ports) != 2:
            self.process.wait(30)
            raise RuntimeError(f"the server did not serve: {self.log_text()[-2000:]}")
        self.port, self.metrics_port = map(int, ports)
        # Of this host's own addresses each is a target of its own, with a connection of its own.
        self.addresses = [f"127.0.0.{i + 1}:{self.port}" for i in range(250)]

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.stop()

    def log_text(self):
        return pathlib.Path(self.log.name).read_text()

    def stop(self):
        """(exit code, seconds)."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return code, time.monotonic() - began

    def get(self, path):
        """(HTTP code, body) of a page of the metrics port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=90) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self):
        """{'name{label="value"}': float} of one scrape."""
        samples = (line.rsplit(" ", 1) for line in self.get("/metrics")[1].splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def of_devices(metrics, name):
    return {found[1]: value for key, value in metrics.items() if (found := re.fullmatch(name + r'\{device="([^"]+)"\}', key))}


class Load:
    """`vitower bench` in `processes` processes, which share the connections and what is in flight or the rate."""

    def __init__(self, server, mix, seconds, *, processes=LOADERS, concurrency=None, rate=None, connections=CONNECTIONS,
                 warm_up=1.0, **flags):
        self.files = []
        self.processes = []
        for i in range(processes):
            command = [server.program, "bench", "--quiet", "--mix", mix, "--duration", f"{seconds:g}s", "--warm-up",
                       f"{warm_up:g}s", "--seed", i + 1, "--timeout", "30s"]
            for address in server.addresses[:connections][i::processes] or server.addresses[:1]:
                command += ["--server", address]
            command += ["--concurrency", max(concurrency // processes, 1)] if rate is None else ["--rate", rate / processes]
            for name, value in flags.items():
                command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [value])
            self.files.append(tempfile.NamedTemporaryFile("r", suffix=".json"))
            command += ["--output", self.files[-1].name]
            self.processes.append(subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL,
                                                   stderr=subprocess.PIPE, text=True))

    def reports(self):
        reports = []
        for process, file in zip(self.processes, self.files, strict=True):
            _, err = process.communicate()
            text = pathlib.Path(file.name).read_text()
            if not text:
                raise RuntimeError(f"vitower bench: {err}")
            reports.append(json.loads(text))
        return reports


def summed(reports):
    """One report of several: rates add up, percentiles are the means of the processes'."""
    latency = [report["latency_seconds"] for report in reports]
    errors = {}
    for report in reports:
        for code, error in report["errors"].items():
            kept = errors.setdefault(code, {"count": 0, "first_message": error["first_message"]})
            kept["count"] += error["count"]
    return {
        "items": sum(report["items"] for report in reports),
        "rate": sum(report["items_per_second"] for report in reports),
        "bytes": sum(report["sent_bytes_per_second"] + report["received_bytes_per_second"] for report in reports),
        "p50": statistics.fmean(one["p50"] for one in latency),
        "p99": statistics.fmean(one["p99"] for one in latency),
        "batch_items": statistics.fmean(report["batch_items_mean"] for report in reports),
        "stages": {stage: statistics.fmean(report["stage_seconds_mean"].get(stage, 0.0) for report in reports)
                   for stage in reports[0]["stage_seconds_mean"]},
        "errors": errors,
    }


def measure(server, mix, seconds, **settings):
    """A summed report, with what the server did meanwhile: busy seconds by device, cores, passes. Counters are read within
    the measured time."""
    warm_up = settings.setdefault("warm_up", 1.0)
    load = Load(server, mix, seconds, **settings)
    busy_at_start = of_devices(server.metrics(), "vitower_device_busy_seconds_total")
    while of_devices(server.metrics(), "vitower_device_busy_seconds_total") == busy_at_start:  # payloads are being made
        time.sleep(0.05)
        if all(process.poll() is not None for process in load.processes):
            break
    time.sleep(warm_up)
    before, cpu, at = server.metrics(), server.cpu_seconds(), time.monotonic()
    time.sleep(seconds * 0.8)
    after, cpu_after, then = server.metrics(), server.cpu_seconds(), time.monotonic()
    result = summed(load.reports())
    spent = then - at
    busy = {device: value - of_devices(before, "vitower_device_busy_seconds_total")[device]
            for device, value in of_devices(after, "vitower_device_busy_seconds_total").items()}
    result["busy"] = {device: value / spent for device, value in busy.items()}
    result["cores"] = (cpu_after - cpu) / spent

    def change(name):
        return after.get(name, 0.0) - before.get(name, 0.0)

    passes = change('vitower_batch_stage_duration_seconds_count{stage="blocks"}')
    result["pass_ms"] = {stage: 1e3 * change(f'vitower_batch_stage_duration_seconds_sum{{stage="{stage}"}}') / max(passes, 1)
                         for stage in STAGES}
    result["computing"] = passes * sum(result["pass_ms"][stage] for stage in COMPUTED) / 1e3 / spent
    result["batch_patches"] = change("vitower_batch_patches_sum") / max(passes, 1)
    return result


def told(result):
    """The errors of a report in words."""
    return "; ".join(f"{error['count']} {code}: {error['first_message']}" for code, error in result["errors"].items()) or "none"


def device_alone(probe, model, grid, *, tokens_only, device="cuda:0", seconds=3):
    """Items a second of the devices' encoders fed from memory."""
    command = [probe, "flow", "--model", model, "--grids", grid, "--seconds", seconds, "--device", device]
    command += ["--tokens-only"] if tokens_only else []
    out = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return float(out.split()[1])
