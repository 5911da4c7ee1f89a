# shellcheck shell=bash
# For sourcing, from the repository's root: builds model/ with CUDA, the probes and fault.cu in BUILD (build/gpu) and sets
# `build` and `probe`. Takes CMake, ninja, nvcc, Python 3 with a CUDA build of torch; absl, OpenSSL's headers and
# nlohmann-json, where DEPS (a folder in CMake's prefix layout) says if not in the system's own places. ARCHS: CMake's CUDA
# architectures, by default the GPU's.
build=${BUILD:-build/gpu}
mkdir -p "$build"
torch=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))')
archs=${ARCHS:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)}
export LD_LIBRARY_PATH=${DEPS:+$DEPS/lib/x86_64-linux-gnu:}${LD_LIBRARY_PATH:-}
cmake -S tests/gpu -B "$build" -G Ninja -D VITOWER_TORCH_ROOT="$torch" -D CMAKE_CUDA_ARCHITECTURES="$archs" \
  ${DEPS:+-D CMAKE_PREFIX_PATH="$DEPS" -D CMAKE_LIBRARY_ARCHITECTURE=x86_64-linux-gnu} >"$build.log" 2>&1 ||
  { cat "$build.log" >&2; exit 1; }
ninja -C "$build" >>"$build.log" 2>&1 || { tail -40 "$build.log" >&2; exit 1; }
# shellcheck disable=SC2034  # for who sources this
probe=$build/bin/gpu_probe
