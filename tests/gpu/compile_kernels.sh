#!/usr/bin/env bash
# Compiles every kernel for every architecture that ships, warnings as errors: what a machine with nvcc and no GPU can check.
#   compile_kernels.sh NVCC
set -euo pipefail
cd "$(dirname "$0")/../.."
nvcc=$1
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT
common=(-std=c++17 -O2 -I. --Werror all-warnings -Xcompiler -Wall,-Wextra,-fPIC --threads 0)
shipped=()
for arch in 80 86 89 90 100 120; do shipped+=("--generate-code=arch=compute_$arch,code=sm_$arch"); done
shipped+=(--generate-code=arch=compute_120,code=compute_120)
for kernel in model/cuda/*.cu tests/gpu/fault.cu; do
  target=("${shipped[@]}")
  [[ $kernel == */hopper_* ]] && target=(--generate-code=arch=compute_90a,code=sm_90a)
  "$nvcc" "${common[@]}" "${target[@]}" -c "$kernel" -o "$out/$(basename "$kernel").o"
  echo "compiled $kernel"
done
