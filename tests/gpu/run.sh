#!/usr/bin/env bash
# On a host with an NVIDIA GPU, nvcc and a CUDA build of torch: builds model/ and the probe, checks parity with the reference in
# fp32 and bf16 (4B and 8B shapes, plain weights and outliers), every graph against the same kernels launched one by one, memory over 10,000 batches
# and our kernels under compute-sanitizer, times the tower, its stages, the reference and torch.compile, and drives a server with
# `vitower bench`. Writes a Markdown report; 0 if all of it held. About nine minutes on an H100. Several GPUs: devices.sh.
#
#   tests/gpu/run.sh REPORT.md
#
# Takes what build.sh takes, and transformers and safetensors. SERVER: a vitower that runs with the model library built
# here, without which the server is left out. COMPILE: the grids that torch.compile is timed on (half a minute each), may be empty.
set -euo pipefail
report=$(realpath -m "$1")
cd "$(dirname "$0")/../.."
source tests/gpu/build.sh
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT

# check NAME COMMAND...: a line with the last that the command prints; the report fails if it does.
check() {
  local name=$1 out
  shift
  if out=$(timeout 300 "$@" 2>"$scratch/err"); then
    echo "- $name: $(tail -1 <<<"$out")"
  else
    failed=1
    echo "- $name: FAILED: $(tail -1 <<<"$out") $(tail -2 "$scratch/err")"
  fi
}

other() {
  local way=$1 grids=$2
  shift 2
  "$probe" bench --model "$scratch/4b" --grids "$grids" --repeats 15 "$@" 2>/dev/null |
    awk -v way="$way" '$1 != "ready" {printf "| %s | %s | %.2f | %.2f |\n", way, $1, $2, $3}' || failed=1
}

measure() {
  failed=0
  echo "# The CUDA tower, measured"
  echo
  echo "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader); $(nvcc --version | grep -o 'release.*' | sed 's/release/nvcc/'); $(g++ --version | head -1); $(nproc) cores"
  python3 tests/gpu/report.py "$probe" --shape 4b --compile "${COMPILE-64*1x14x14,8*1x20x38}" || failed=1
  "$probe" make 4b "$scratch/4b"
  [[ -z ${SERVER:-} ]] || python3 tests/gpu/end_to_end.py "$SERVER" "$probe" "$scratch/4b" || failed=1
  echo; echo "## Time by kernel"
  for grid in "64*1x14x14" "16*1x44x80" "1*1x28x28"; do
    ncu --clock-control none --cache-control none --profile-from-start off --metrics gpu__time_duration.sum --csv "$probe" profile \
      --model "$scratch/4b" --no-graphs --grids "$grid" 2>/dev/null | python3 tests/gpu/kernel_times.py "4B, $grid" || failed=1
  done
  echo; echo "## Other ways (4B; device and wall, ms)"; echo; echo "| way | items x grid | device | wall |"; echo "|---|---|---|---|"
  local large="64*1x14x14,8*1x20x38,16*1x28x28,16*1x44x80" small="1*1x14x14,1*1x28x28,8*1x20x38"
  other "as served" "$large,1*1x14x14,1*1x28x28"
  other "FlashAttention 2 by libtorch, no graphs" "$large" --flash
  other "our kernels, no graphs" "$small" --no-graphs
  other "tokens alone" "64*1x14x14,8*1x20x38" --tokens-only
  python3 tests/gpu/report.py "$probe" --shape 8b || failed=1
  echo; echo "## Checks"; echo
  check "every graph against the same kernels one by one (4B, relL2)" "$probe" buckets --model "$scratch/4b"
  check "memory" "$probe" steady --model random:tiny
  "$probe" make 4b "$scratch/outliers" --outliers
  echo "- fp16 of a tower with outliers: $("$probe" bench --model "$scratch/outliers" --dtype fp16 2>&1 >/dev/null | tail -1)"
  check "our kernels against fp64 on the host" "$build/bin/kernel_probe"
  check "two passes in flight, each against the same batch by itself" "$probe" flow --model "$scratch/4b" --grids "64*1x14x14,8*1x20x38"
  for tool in memcheck racecheck; do
    check "compute-sanitizer $tool, our kernels" compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/bin/kernel_probe" few
  done
  for model in tiny 8b; do  # whole passes, our kernels instrumented alone
    check "compute-sanitizer memcheck, $model" compute-sanitizer --tool memcheck --error-exitcode 1 --kernel-regex kns=vitower \
      "$probe" profile --model "random:$model" --no-graphs --grids "2*2x6x12"
  done
  return $failed
}
measure | tee "$report"
exit "${PIPESTATUS[0]}"
