#!/usr/bin/env python3
"""Writes dashboards/*.json, which Grafana loads as they are. Change a panel here, run this, commit both; a test compares.

    deploy/grafana/make_dashboards.py [FOLDER]
"""

import json
import pathlib
import sys

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WHERE = 'job="$job", instance=~"$instance"'
STAGES = "vitower_stage_duration_seconds"


def rate(metric, labels="", by="", how="sum"):
    selector = f"{{{WHERE}{', ' + labels if labels else ''}}}"
    return f"{how}{f' by ({by}) ' if by else ''}(rate({metric}{selector}[$__rate_interval]))"


def quantile(q, histogram, labels="", by=""):
    return f"histogram_quantile({q}, {rate(histogram + '_bucket', labels, by=', '.join(filter(None, [by, 'le'])))})"


def mean(histogram, labels="", by=""):
    return f"{rate(histogram + '_sum', labels, by)} / {rate(histogram + '_count', labels, by)}"


def panel(title, queries, unit="short", kind="timeseries", width=8, height=8, stack=False, about="", most=None):
    """queries: {legend: expression}."""
    custom = {"fillOpacity": 60 if stack else 10, "lineWidth": 1 if stack else 2, "showPoints": "never",
              "stacking": {"mode": "normal" if stack else "none"}}
    made = {
        "title": title, "type": kind, "datasource": DATASOURCE, "description": about, "size": (width, height),
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, **({"max": most} if most else {})}, "overrides": []},
        "targets": [{"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
                    for i, (legend, expression) in enumerate(queries.items())],
        "options": {},
    }
    if kind == "timeseries":
        made["fieldConfig"]["defaults"]["custom"] = custom
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"},
                           "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "stat":
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none", "graphMode": "area"}
    return made


def heat_map(title, histogram, labels, about):
    made = panel(title, {"{{le}}": rate(histogram + "_bucket", labels, by="le")}, kind="heatmap", width=24, height=9,
                 about=about)
    made["targets"][0]["format"] = "heatmap"
    made["fieldConfig"] = {"defaults": {}, "overrides": []}
    made["options"] = {"calculate": False, "yAxis": {"unit": "s"}, "cellGap": 1, "tooltip": {"mode": "single"},
                       "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64}, "filterValues": {"le": 1e-9}}
    return made


THROUGHPUT = [
    panel("Items", {"{{kind}} {{code}}": rate("vitower_items_total", by="kind, code") + " > 0"}, "reqps", stack=True,
          about="Items answered a second, by source and code."),
    panel("Patches", {"{{instance}}": rate("vitower_patches_total", by="instance")}, "cps", stack=True,
          about="Patches of 16 x 16 pixels through the tower a second."),
    panel("Tokens", {"{{instance}}": rate("vitower_tokens_total", by="instance")}, "cps", stack=True,
          about="Rows of the main embedding made a second."),
    panel("Bytes", {"received": rate("vitower_bytes_received_total"), "sent": rate("vitower_bytes_sent_total")}, "Bps"),
    panel("Calls", {"{{method}} {{code}}": rate("vitower_request_duration_seconds_count", by="method, code") + " > 0"},
          "reqps", stack=True),
    panel("Device busy", {"{{instance}} {{device}}": rate("vitower_device_busy_seconds_total", by="instance, device")},
          "percentunit", most=1, about="The share of the time in which a device computes. Near 1: it is the bottleneck."),
    panel("Batch fill", {"mean": mean("vitower_batch_fill_ratio"), "p50": quantile(0.5, "vitower_batch_fill_ratio")},
          "percentunit", about="Patches of a forward pass against --max-batch-patches."),
    panel("Items a batch", {"mean": mean("vitower_batch_items"), "p99": quantile(0.99, "vitower_batch_items")}),
    panel("Patches a batch", {"mean": mean("vitower_batch_patches"), "p99": quantile(0.99, "vitower_batch_patches")}),
]

LATENCY = [
    panel("p50 by stage, stacked", {"{{stage}}": quantile(0.5, STAGES, by="stage")}, "s", width=12, height=10, stack=True,
          about="Medians of the stages of an item; their sum is near, not equal to, the median of the whole."),
    panel("p99 by stage, stacked", {"{{stage}}": quantile(0.99, STAGES, by="stage")}, "s", width=12, height=10, stack=True,
          about="The worst stage of one item is seldom the worst of the next: the sum overstates the whole's p99."),
    panel("Mean by stage, stacked", {"{{stage}}": mean(STAGES, by="stage")}, "s", width=12, stack=True,
          about="Means do add up: the stack's height is an item's mean time in the server."),
    panel("A call", {"p50": quantile(0.5, "vitower_request_duration_seconds", 'method="Embed", code="OK"'),
                     "p99": quantile(0.99, "vitower_request_duration_seconds", 'method="Embed", code="OK"')},
          "s", width=12, about="Embed calls that succeeded, from the handler's start until the reply was sent."),
    panel("Device stages of a batch", {"{{stage}}": mean("vitower_batch_stage_duration_seconds", by="stage")}, "s",
          width=24, stack=True, about="The mean of a forward pass by stage, once a batch."),
    heat_map("Time in the selected stage", STAGES, 'stage=~"$stage"', "Items a second in each bucket of time."),
]

SATURATION = [
    panel("Queue", {"{{instance}}": f"vitower_queue_patches{{{WHERE}}}",
                    "{{instance}} limit": f'vitower_limit{{{WHERE}, name="max_queue_patches"}}'}, width=12,
          about="Patches admitted and not yet answered; at the limit calls are refused. What autoscaling looks at."),
    panel("Bytes in flight", {"{{instance}}": f"vitower_inflight_bytes{{{WHERE}}}",
                              "{{instance}} limit": f'vitower_limit{{{WHERE}, name="max_inflight_bytes"}}'}, "bytes",
          width=12, about="Requests, decoded pictures and replies held; at the limit calls are refused."),
    panel("Queue, share of the limit", {"{{instance}}": f"instance:vitower_queue_patches:saturation{{{WHERE}}}"},
          "percentunit", most=1),
    panel("Items in the queue", {"{{instance}}": f"vitower_queue_items{{{WHERE}}}"}),
    panel("Waiting for a batch", {"p50": quantile(0.5, STAGES, 'stage="queue"'), "p99": quantile(0.99, STAGES, 'stage="queue"')},
          "s"),
    panel("Refused", {"{{method}} {{reason}}": rate("vitower_rejected_total", by="method, reason")}, "reqps", stack=True,
          about="Calls, and items of streams, that were not accepted."),
    panel("Items dropped", {"{{reason}}": rate("vitower_dropped_total", by="reason")}, "reqps", stack=True,
          about="Accepted, then not worked on: the client went away or was late, or a drain ran out of time."),
    panel("Refused for want of room", {"{{instance}} {{method}}": f"instance_method:vitower_rejects:ratio5m{{{WHERE}}}"},
          "percentunit", about="The share of the calls, and of the items for those of streams."),
]

PROCESS = [
    panel("State", {"{{instance}} {{state}}": f"vitower_state{{{WHERE}}} == 1"}, kind="stat", width=8, height=5),
    panel("Serving", {"{{name}} {{dtype}} {{fingerprint}}": f"vitower_model_info{{{WHERE}}}"}, kind="stat", width=8, height=5),
    panel("Version", {"{{version}}": f"count by (version) (vitower_build_info{{{WHERE}}})"}, kind="stat", width=8, height=5,
          about="How many servers run which version."),
    panel("Devices", {"{{instance}} {{device}}": f"vitower_device_up{{{WHERE}}}"}, width=8, most=1,
          about="1: the device's last forward pass succeeded."),
    panel("Memory of devices", {"{{device}} {{kind}}": f"vitower_device_memory_bytes{{{WHERE}}}"}, "bytes", stack=True),
    panel("Resident memory", {"{{instance}}": f"process_resident_memory_bytes{{{WHERE}}}",
                              "{{instance}} limit": f"vitower_memory_limit_bytes{{{WHERE}}}"}, "bytes"),
    panel("CPU", {"{{instance}}": rate("process_cpu_seconds_total", by="instance")}, about="Cores in use."),
    panel("Threads", {"{{instance}}": f"process_threads{{{WHERE}}}"}),
    panel("Open files", {"{{instance}}": f"process_open_fds{{{WHERE}}}", "{{instance}} limit": f"process_max_fds{{{WHERE}}}"}),
    panel("Values not finite", {"{{instance}}": f"increase(vitower_nonfinite_items_total{{{WHERE}}}[$__range])"}, kind="stat",
          width=8, height=5, about="Items refused because an output held NaN or an infinity."),
    panel("Up for", {"{{instance}}": f"time() - process_start_time_seconds{{{WHERE}}}"}, "s", kind="stat", width=8, height=5),
    panel("Scrape", {"{{instance}}": f"scrape_duration_seconds{{{WHERE}}}"}, "s", kind="stat", width=8, height=5,
          about="How long Prometheus took to fetch the metrics."),
]


def query_variable(name, query, label, multi):
    return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE, "query": query, "definition": query,
            "refresh": 2, "multi": multi, "includeAll": multi, "allValue": ".*" if multi else None, "sort": 1,
            "current": {"selected": True, "text": "All", "value": "$__all"} if multi else {}}


def laid_out(panels):
    x = y = row_height = 0
    for number, made in enumerate(panels, start=1):
        width, height = made.pop("size")
        if x + width > 24:
            x, y, row_height = 0, y + row_height, 0
        made |= {"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}}
        x, row_height = x + width, max(row_height, height)
        yield made


def dashboard(name, title, panels, extra_variables=()):
    return {
        "uid": f"vitower-{name}", "title": f"vitower: {title}", "tags": ["vitower"], "schemaVersion": 38, "version": 1,
        "editable": True, "timezone": "browser", "refresh": "10s", "time": {"from": "now-30m", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["vitower"], "title": "vitower", "asDropdown": False, "keepTime": True,
                   "includeVars": True}],
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            query_variable("job", "label_values(vitower_build_info, job)", "Job", False),
            query_variable("instance", 'label_values(vitower_build_info{job="$job"}, instance)', "Server", True),
            *extra_variables]},
        "panels": list(laid_out(panels)),
    }


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "dashboards")
    stage = query_variable("stage", f"label_values({STAGES}_count, stage)", "Stage of the heat map", True)
    for name, title, panels, variables in [("throughput", "Throughput", THROUGHPUT, ()),
                                           ("latency", "Latency by stage", LATENCY, (stage,)),
                                           ("saturation", "Saturation", SATURATION, ()),
                                           ("process", "Process", PROCESS, ())]:
        text = json.dumps(dashboard(name, title, panels, variables), indent=1)
        (folder / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
