#!/usr/bin/env bash
# Every C++ file and every test_*.py below tests/ is named in the CMakeLists.txt of its own folder: no test lies unbuilt.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"
fail=0
while IFS= read -r file; do
  tr -s ' ()\n' '\n' <"$(dirname "$file")/CMakeLists.txt" | grep -qE "(^|/)$(basename "$file" | sed "s/[.]/[.]/g")$" ||
    { echo "not named in its folder's CMakeLists.txt: $file" >&2; fail=1; }
done < <(find tests -name '*.cc' -o -name 'test_*.py')
((fail == 0)) && echo "tests: every file is built or run"
exit $fail
