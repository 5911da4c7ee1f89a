#!/usr/bin/env bash
# From a clone to embeddings: installs what is missing, builds, serves the built-in 2B-shaped tower (random weights, no
# download), embeds the sample images through gRPC, shows the answer to expect beside the answer, and stops.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh
cmake --preset release >/dev/null
cmake --build --preset release
vitower=build/release/bin/vitower

work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
echo "demo: starting the server on random:2b"
"$vitower" serve --model random:2b --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 >"$work/ready" 2>"$work/log" &
server=$!
for _ in {1..600}; do
  [[ -s $work/ready ]] && break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.2
done
[[ -s $work/ready ]] || { echo "demo: the server is not ready; its log:" >&2; cat "$work/log" >&2; exit 1; }
cat "$work/ready"
address=$(sed -E 's/.*serving on ([^,]+),.*/\1/' "$work/ready")

"$vitower" embed --server "$address" docs/samples/*.* --output "$work/embeddings" --format npy --dtype fp32 --times
echo "demo: the first four values of each image's first token, and what to expect (bf16: to 0.1)"
same=yes
while read -r name expected; do
  # A .npy file of these is a header of 128 bytes, then float32 rows.
  got=$(od -A n -t f4 -j 128 -N 16 "$work/embeddings/$name.npy" | xargs printf '%7.3f')
  verdict=$(awk -v a="$got" -v b="$expected" 'BEGIN {
    n = split(a, x); split(b, y); for (i = 1; i <= n; ++i) if ((x[i] - y[i]) ^ 2 > 0.01) n = 0; print n == 4 ? "ok" : "DIFFERS" }')
  [[ $verdict == ok ]] || same=no
  printf '  %-20s %s   expected %s   %s\n' "$name" "$got" "$expected" "$verdict"
done <scripts/demo-expected.txt
kill -TERM "$server"
wait "$server"
server=
echo "demo: the server drained and stopped"
[[ $same == yes ]]
