"""A real Prometheus with the rules of deploy/ scrapes a real server under load: every panel, rule and variable has data,
and no alert so much as wakes. VITOWER_LOAD_SECONDS makes the load longer."""

import contextlib
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest
import yaml

from load import loaded
from serving import ROOT, serving

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
LOAD_SECONDS = float(os.environ.get("VITOWER_LOAD_SECONDS", 5))
VARIABLES = {"$__rate_interval": "10s", "$__range": "1m", "$job": "vitower", "$instance": ".*", "$stage": ".*"}


class Prometheus:
    def __init__(self, port):
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path, **parameters):
        with urllib.request.urlopen(f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        """[(labels, value)] where the value is a number."""
        found = self.get("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in found
                if not math.isnan(float(sample["value"][1]))]


@contextlib.contextmanager
def prometheus(target, folder):
    program = shutil.which("prometheus")
    assert program, "Debian's package prometheus is not installed: scripts/install.sh --tests"
    # As deploy/prometheus/prometheus.yml, but for the address, the place of the rules and the pace.
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = [str(RULES / "*.yml")]
    config["scrape_configs"] = [{"job_name": config["scrape_configs"][0]["job_name"], "static_configs": [{"targets": [target]}]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
                                f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        yield Prometheus(port)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    with serving() as server, prometheus(server.metrics_url.split("/")[2], tmp_path_factory.mktemp("prometheus")) as watcher:
        with loaded(server):
            end = time.monotonic() + LOAD_SECONDS
            while time.monotonic() < end + 60:
                with contextlib.suppress(OSError):
                    if time.monotonic() > end and settled(watcher):
                        break
                time.sleep(0.2)  # polls another program, which gives no signal when it has evaluated a rule
            yield watcher


def settled(watcher):
    """Whether each group of rules was evaluated, at its own moment, since there were two scrapes of what it reads: all
    stages have their figures, and every rule has a series."""
    return (watcher.query('count(instance_stage:vitower_stage_duration_seconds:p99_5m > 0) == 13')
            and all(watcher.query(name) for name in records()))


def panels():
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield pytest.param(target["expr"], id=f"{path.stem}: {panel['title']} {target['refId']}")


def records():
    groups = yaml.safe_load((RULES / "recording.yml").read_text())["groups"]
    return [rule["record"] for group in groups for rule in group["rules"]]


def substituted(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


@pytest.mark.parametrize("expression", list(panels()))
def test_every_panel_has_data(watched, expression):
    assert watched.query(substituted(expression)), substituted(expression)


@pytest.mark.parametrize("name", records())
def test_every_recording_rule_has_data(watched, name):
    assert watched.query(name)


def test_stages_are_those_of_the_server(watched):
    stages = [labels["stage"] for labels, _ in watched.query("instance_stage:vitower_stage_duration_seconds:p50_5m")]
    assert len(stages) == 13


def test_no_alert_wakes_on_a_healthy_server(watched):
    assert [alert["labels"] for alert in watched.get("alerts")["alerts"]] == []
    groups = watched.get("rules")["groups"]
    assert [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")] == []
    assert sum(rule["type"] == "alerting" for group in groups for rule in group["rules"]) >= 8


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_variable_has_values(watched, path):
    for variable in json.loads(path.read_text())["templating"]["list"]:
        if variable["type"] != "query":
            continue
        metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
        assert any(label in labels for labels, _ in watched.query(substituted(metric)))


def test_the_dashboards_are_what_their_script_makes(tmp_path):
    subprocess.run([sys.executable, DEPLOY / "grafana" / "make_dashboards.py", tmp_path], check=True)
    assert len(DASHBOARDS) == 4
    for path in DASHBOARDS:
        assert path.read_text() == (tmp_path / path.name).read_text(), f"run deploy/grafana/make_dashboards.py for {path.name}"


def test_every_alert_is_in_the_runbook():
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert f"\n## {rule['alert']}\n" in runbook
            assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
            assert rule["labels"]["severity"] in ("page", "ticket")
