"""What goes on inside the passes of a device, by a trace that the server wrote (--trace-dir)."""

import json
import pathlib
import urllib.request

STAGES = {"upload", "patch_embed", "position", "blocks", "merger", "download"}


def recorded(puppet, seconds):
    """The trace events of the next seconds; the puppet runs with a --trace-dir."""
    url = f"http://127.0.0.1:{puppet.metrics_port}/debug/trace?seconds={seconds}"
    path = urllib.request.urlopen(url, timeout=seconds + 60).read().decode().strip()
    return json.loads(pathlib.Path(path).read_text())["traceEvents"]


def spans(events, name):
    """[(begin, end)] in microseconds of what one thread did, or of waits."""
    found = [(event["ts"], event["ts"] + event["dur"]) for event in events if event["ph"] == "X" and event["name"] == name]
    begun = {event["id"]: event["ts"] for event in events if event["ph"] == "b" and event["name"] == name}
    return found + [(begun[event["id"]], event["ts"]) for event in events if event["ph"] == "e" and event["name"] == name]


def passes(events):
    """[(called, computing, end)] of each pass: a worker hands a batch to its encoder, which uploads it and waits for its
    turn, then it is computed."""
    of_batch = {}
    for event in events:
        if event["ph"] == "X" and event["name"] in STAGES | {"pass"}:
            of_batch.setdefault(event["args"]["batch"], {})[event["name"]] = event
    found = []
    for named in of_batch.values():
        stages = [event["ts"] for name, event in named.items() if name != "pass"]
        if "pass" in named and stages:
            begin = named["pass"]["ts"]
            found.append((begin, min(stages), begin + named["pass"]["dur"]))
    return sorted(found)


def inside_passes(events, upload_seconds=None):
    """How many passes the trace holds, and in how many of them, while they were computed, each of these went on from its
    beginning to its end, which can only be other batches': a decode, a send, the upload of a batch, all of these.
    Uploads are looked for where an encoder is known to take that long for one beside the device's work."""
    computing = [(begin, end) for _, begin, end in passes(events)]
    wanted = {name: spans(events, name) for name in ("decode", "send")}
    if upload_seconds:
        wanted["upload"] = [(called, called + upload_seconds * 1e6) for called, _, _ in passes(events)]
    held = [{name for name, times in wanted.items() if any(begin <= a and b <= end for a, b in times)}
            for begin, end in computing]
    counts = {name: sum(name in names for names in held) for name in wanted}
    return {"passes": len(computing), **counts, "all of these": sum(len(names) == len(wanted) for names in held)}
