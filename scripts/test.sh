#!/usr/bin/env bash
# Installs what is missing, builds the check preset (dev in batches of sources) and passes every test.
#   scripts/test.sh               all tests
#   scripts/test.sh -R Batcher    arguments go to ctest
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh --tests
cmake --preset check >/dev/null
cmake --build --preset check
ctest --preset check -j2 "$@"
# ctest counts a file of Python tests as one; these are their own counts.
grep -hE '^[0-9]+ (passed|failed).* in ' build/check/Testing/Temporary/LastTest.log | sed 's/^/Python tests: /' || true
