#!/usr/bin/env python3
"""Sums ncu's CSV of gpu__time_duration by kernel: a Markdown table.   ncu --csv ... | kernel_times.py TITLE"""

import collections
import csv
import re
import sys

times = collections.defaultdict(list)
for row in csv.DictReader(line for line in sys.stdin if line.startswith('"')):
    if not row["ID"].isdigit():
        continue
    scale = {"ns": 1e-3, "nsecond": 1e-3, "us": 1, "usecond": 1, "ms": 1e3, "msecond": 1e3}[row["Metric Unit"]]
    name = re.sub(r"\(.*|void |vitower::|<unnamed>::|\(anonymous namespace\)::", "", row["Kernel Name"])
    times[name].append(float(row["Metric Value"].replace(",", "")) * scale)
total = sum(map(sum, times.values()))
print(f"\n{sys.argv[1]}: {total / 1e3:.2f} ms in kernels (each timed alone)\n\n| kernel | launches | us each | ms | share |\n|---|---|---|---|---|")
for name, each in sorted(times.items(), key=lambda item: -sum(item[1])):
    print(f"| `{name}` | {len(each)} | {sum(each) / len(each):.1f} | {sum(each) / 1e3:.2f} | {sum(each) / total:.1%} |")
