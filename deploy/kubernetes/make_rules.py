#!/usr/bin/env python3
"""Writes monitoring/prometheusrule.yaml from deploy/prometheus/rules, for the Prometheus Operator. A test compares.

    deploy/kubernetes/make_rules.py [FILE]
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
HEAD = """# Made by make_rules.py from deploy/prometheus/rules: change those.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: vitower
  labels: {app.kubernetes.io/name: vitower}
spec:
  groups:
"""


def groups(path):
    """The lines below "groups:", without comments, indented as they stand below spec."""
    lines = path.read_text().split("groups:\n", 1)[1].splitlines()
    return [f"  {line}" for line in lines if line.strip() and not line.lstrip().startswith("#")]


def main():
    target = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "monitoring" / "prometheusrule.yaml")
    rules = HERE.parent / "prometheus" / "rules"
    target.write_text(HEAD + "\n".join(groups(rules / "recording.yml") + groups(rules / "alerts.yml")) + "\n")


if __name__ == "__main__":
    main()
