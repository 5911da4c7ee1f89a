#!/usr/bin/env bash
# Every C++ file below tests/ is named by a CMakeLists.txt, every test_*.py is found by one: no test lies unbuilt.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"
fail=0
while IFS= read -r file; do
  grep -rqF "$(basename "$file")" --include=CMakeLists.txt tests || { echo "not built or run by any CMakeLists.txt: $file" >&2; fail=1; }
done < <(find tests -name '*.cc' -o -name 'test_*.py')
((fail == 0)) && echo "tests: every file is built or run"
exit $fail
