#!/usr/bin/env bash
# Measures what README.md reports: JPEG decode and resize, patch embedding as Conv3d and as Linear, the tower's stages by
# batch, and the whole tower beside transformers in one run. Wants a quiet machine; takes about 23 minutes on 2 cores. Other shapes, rows
# and peers (torch.compile, OpenVINO): tests/bench/tower_vs_transformers.py --help.
#   scripts/bench.sh [--threads N]
set -euo pipefail
cd "$(dirname "$0")/.."
threads=$(nproc)
[[ ${1:-} != --threads ]] || threads=$2
scripts/install.sh --tests
cmake --preset bench >/dev/null
cmake --build --preset bench --target preprocess_bench tower_bench tower_dump tower_serve
bin=build/bench/bin
printf '%s, %s threads, libtorch %s, transformers %s\n' "$(sed -n 's/^model name\t*: //p' /proc/cpuinfo | head -1)" "$threads" \
  "$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("torch"))')" \
  "$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("transformers"))')"
"$bin/preprocess_bench"
"$bin/tower_bench" --threads "$threads"
VITOWER_BIN_DIR=$bin .venv/bin/python tests/bench/tower_vs_transformers.py --threads "$threads"
