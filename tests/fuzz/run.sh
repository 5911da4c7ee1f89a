#!/usr/bin/env bash
# Builds the fuzz targets with libFuzzer (preset fuzz: clang, asan, ubsan) and lets each look for a finding.
#   tests/fuzz/run.sh [seconds a target, default 300] [target ...]
# Takes clang with libFuzzer (Debian: libclang-rt-14-dev, or the one of your clang). What it learns goes to build/fuzz/corpus/TARGET; a finding stops it, with the input in build/fuzz/findings.
#   tests/fuzz/run.sh --keep   adds to tests/fuzz/corpus what reaches code that the files there do not.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build/fuzz/findings
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
targets=(image_fuzz video_fuzz request_fuzz stream_fuzz safetensors_fuzz config_fuzz)
seeds() { printf 'tests/fuzz/corpus/%s\n' "$1"; [[ $1 != image_fuzz ]] || echo tests/golden/images; }
if [[ ${1:-} == --keep ]]; then
  for target in "${targets[@]}"; do
    build/fuzz/bin/"$target" -set_cover_merge=1 -use_counters=0 -max_len=4000 "tests/fuzz/corpus/$target" \
      "build/fuzz/corpus/$target" 2>&1 | tail -1
  done
  exit
fi
seconds=${1:-300}; shift || true
(($#)) && targets=("$@")
for target in "${targets[@]}"; do
  mkdir -p "build/fuzz/corpus/$target"
  mapfile -t corpus < <(seeds "$target")
  echo "== $target, $seconds s"
  build/fuzz/bin/"$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix=build/fuzz/findings/"$target"- "build/fuzz/corpus/$target" "${corpus[@]}" >"build/fuzz/$target.log" 2>&1 ||
    { tail -40 "build/fuzz/$target.log"; exit 1; }
  grep -E '^Done|stat::(number_of|average|peak)' "build/fuzz/$target.log"
done
