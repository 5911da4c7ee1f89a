#!/usr/bin/env python3
"""The server with a GPU end to end, driven by `vitower bench` over the loopback, as a Markdown report.

    end_to_end.py VITOWER PROBE MODEL [--seconds 4]

PROBE is gpu_probe, which says what the device does by itself in the same run; MODEL a checkpoint folder. Exits with 1
where a target is missed.
"""

import json
import pathlib
import sys
import tempfile
import time

from serving import (
    COMPUTED, CONNECTIONS, Load, Server, Table, Verdict, device_alone,
    flag_parser, measure, note, summed, told,
)

RAW, JPEG = {"no_resize": True}, {"min_pixels": 50_176}
# name, mix, what the device alone does, preprocessing, outputs, in flight
ROWS = [
    ("raw 224x224", "raw:224x224", "64*1x14x14", RAW, "tokens", 512),
    ("JPEG 224x224", "jpeg:224x224", "64*1x14x14", JPEG, "tokens", 768),
    ("raw 224x224", "raw:224x224", "64*1x14x14", RAW, "tokens,deepstack", 512),
    ("raw 608x320", "raw:608x320", "16*1x20x38", RAW, "tokens", 128),
    ("raw 1280x704", "raw:1280x704", "3*1x44x80", RAW, "tokens", 32),
]
CLIPS, CLIP_PICTURES = 30_000, 8


def throughput(server, alone, seconds):
    table = Table("items", "outputs", "in flight", "items/s", "of the device alone", "p50, ms", "device computes",
                  "patches a pass", "server, cores", "both ways, GB/s", "errors")
    results = {}
    for name, mix, grid, preprocessing, outputs, in_flight in ROWS:
        result = measure(server, mix, seconds, concurrency=in_flight, stream=True, outputs=outputs, **preprocessing)
        by_itself = alone[grid, outputs == "tokens"]
        results[name, outputs] = result["rate"], result["rate"] / by_itself, result
        table.row(name, outputs, in_flight, f"{result['rate']:.0f}", f"{result['rate'] / by_itself:.1%} ({by_itself:.0f})",
                  f"{result['p50'] * 1e3:.1f}", f"{result['computing']:.1%}", f"{result['batch_patches']:.0f}",
                  f"{result['cores']:.1f}", f"{result['bytes'] / 1e9:.2f}", told(result))
    return results


def mean_ms(before, after, stage):
    """Of an item's stage that its answer cannot tell, between two scrapes."""
    total, count = (after[key] - before.get(key, 0.0) for key in (
        f'vitower_stage_duration_seconds_{what}{{stage="{stage}"}}' for what in ("sum", "count")))
    return 1e3 * total / max(count, 1)


def one_at_a_time(server, seconds):
    """{(mix, outputs): p50 - device, ms}, and the stages an item went through."""
    table = Table("one in flight", "outputs", "call", "p50, ms", "device, ms", "p50 - device, ms",
                  "receive, admit, resize, queue, upload, download, encode, send, ms")
    overhead = {}
    for mix, outputs, stream in [("raw:448x448", "tokens", False), ("raw:448x448", "tokens", True),
                                 ("raw:448x448", "pooled", False), ("raw:224x224", "tokens", False)]:
        calls = {"stream": True} if stream else {}
        before = server.metrics()
        load = Load(server, mix, seconds, processes=1, connections=1, concurrency=1, outputs=outputs, **calls, **RAW)
        result = summed(load.reports())
        stages = {stage: 1e3 * value for stage, value in result["stages"].items()}
        stages.update((stage, mean_ms(before, server.metrics(), stage)) for stage in ("encode", "send"))
        device = sum(stages.get(stage, 0.0) for stage in COMPUTED)
        overhead[mix, outputs, stream] = 1e3 * result["p50"] - device
        rest = ("receive", "admit", "resize", "queue", "upload", "download", "encode", "send")
        table.row(mix, outputs, "stream" if stream else "unary", f"{1e3 * result['p50']:.2f}", f"{device:.2f}",
                  f"{overhead[mix, outputs, stream]:.2f}", ", ".join(f"{stages.get(stage, 0.0):.3f}" for stage in rest))
    return overhead


def trace(server, seconds=1):
    """Medians of the spans of one trace, ms, at one 448x448 call at a time."""
    load = Load(server, "raw:448x448", seconds + 2, processes=1, connections=1, concurrency=1, outputs="tokens", **RAW)
    time.sleep(1.5)
    code, body = server.get(f"/debug/trace?seconds={seconds}")
    load.reports()
    if code != 200:
        return f"no trace: {code} {body}"
    path = pathlib.Path(body.split()[-1])
    spans = {}
    for event in json.loads(path.read_text())["traceEvents"]:
        if "dur" in event:
            spans.setdefault(event["name"], []).append(event["dur"] / 1e3)
    return ", ".join(f"{name} {sorted(times)[len(times) // 2]:.3f}" for name, times in spans.items())


def main():
    flags = flag_parser(__doc__).parse_args()
    verdict = Verdict()
    alone = {(row[2], row[4] == "tokens"): None for row in ROWS}
    for grid, tokens in alone:
        alone[grid, tokens] = device_alone(flags.probe, flags.model, grid, tokens_only=tokens)
    with Server(flags.vitower, flags.model, "cuda:0", "--trace-dir", tempfile.mkdtemp()) as server:
        note(f"\n## The server end to end\n\nStreams over {CONNECTIONS} connections; serving after {server.started:.2f} s.")
        overhead = one_at_a_time(server, flags.seconds)
        note(f"\nMedians of a trace of one second, 448x448 one at a time, ms: {trace(server)}.")
        results = throughput(server, alone, flags.seconds)
        code, seconds = server.stop()
    note("")
    pictures = results["raw 608x320", "tokens"][0]
    everything = results["raw 224x224", "tokens,deepstack"][2]
    note(f"- {CLIPS} clips of {CLIP_PICTURES} pictures of 20x38 patches, raw: {CLIPS * CLIP_PICTURES / pictures / 60:.1f} "
         f"minutes at {pictures:.0f} pictures a second")
    note(f"- all DeepStack levels in bf16: {everything['rate']:.0f} items/s of 224x224, {everything['bytes'] / 1e9:.2f} GB/s "
         "both ways")
    share = results["raw 224x224", "tokens"][1]
    verdict.check(share >= 0.9, f"raw frames of 224x224, tokens: {share:.1%} of the device alone, wanted 90 %")
    share = results["JPEG 224x224", "tokens"][1]
    verdict.check(share >= 0.85, f"JPEG of 224x224, tokens: {share:.1%} of the device alone, wanted 85 %")
    more = min(overhead["raw:448x448", "tokens", False], overhead["raw:448x448", "tokens", True])
    verdict.check(more <= 1, f"p50 of one 448x448 at a time: the device's time + {more:.2f} ms, wanted + 1 ms")
    verdict.check(code == 0, f"SIGTERM ended the server with {code} after {seconds:.1f} s")
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
