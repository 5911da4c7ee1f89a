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
# ctest counts a suite of C++ tests and a file of Python tests as one; these are their own counts.
log=build/check/Testing/Temporary/LastTest.log
awk '/^\[  PASSED  \] [0-9]+ test/ { passed += $4 } END { if (passed) print "C++ tests: " passed " passed" }' "$log"
grep -hE '^[0-9]+ (passed|failed).* in ' "$log" | sed 's/^/Python tests: /' || true
