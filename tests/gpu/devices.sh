#!/usr/bin/env bash
# On a host with several NVIDIA GPUs: one server over two (and four, eight) of them against one over the first, what happens
# when one of them fails, and how long the start takes. Writes a Markdown report; 0 if all that is wanted held. About four
# minutes on two H100.
#
#   SERVER=build/cuda/bin/vitower tests/gpu/devices.sh REPORT.md [--seconds 4]
#
# Takes what build.sh takes. SERVER: a vitower that runs with the model library built here.
set -euo pipefail
report=$(realpath -m "$1")
shift
cd "$(dirname "$0")/../.."
source tests/gpu/build.sh
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
"$probe" make 4b "$scratch/4b"
python3 tests/gpu/devices.py "$SERVER" "$probe" "$scratch/4b" --fault "$(realpath "$build/lib/libfault.so")" "$@" | tee "$report"
exit "${PIPESTATUS[0]}"
