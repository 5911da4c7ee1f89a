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
until [[ -s $work/ready ]]; do
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.2
done
cat "$work/ready"
address=$(sed -E 's/.*serving on ([^,]+),.*/\1/' "$work/ready")

"$vitower" embed --server "$address" docs/samples --output "$work/embeddings" --times
echo "demo: the answer to expect (grid, tokens and the rows of each image; first values of the first token to about 1 %)"
cat docs/samples/expected.txt
kill -TERM "$server"
wait "$server"
server=
echo "demo: the server drained and stopped"
