#!/usr/bin/env bash
# The way of somebody new, in the README's own words: clones this repository, runs the commands of its section "Watch it"
# as they stand there, and asks the page and Prometheus for what it was promised. Prints the time of each step and of the
# whole. Not part of ctest: it builds all, which takes minutes, and it takes the ports that the README names.
#
#   tests/deploy/newcomer.sh [FOLDER]     FOLDER: where the clone goes (default: a temporary one, removed at the end)
#
# CCACHE_DISABLE=1    builds as where nothing has ever been built
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
clone=${1:-$work/vitower}
begun=$SECONDS
pid=
trap '[[ -z $pid ]] || kill -- "-$pid" 2>/dev/null || true; rm -rf "$work"' EXIT

say() { printf 'newcomer: %4d s  %s\n' "$((SECONDS - begun))" "$*"; }
fail() { say "FAILED: $*" >&2; exit 1; }
ask() { curl -fsS --noproxy '*' "$@"; }
# The number that a query gives, nothing where it gives none.
query() { ask -G http://localhost:9091/api/v1/query --data-urlencode "query=$1" | sed -n 's/.*"value":\[[^,]*,"\([^"]*\)"\].*/\1/p'; }

for port in 50051 9464 9091; do
  ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is taken"
done
git clone -q "$root" "$clone"
cd "$clone"
say "cloned $(git rev-parse --short HEAD)"
# One shell, as a reader has one, that says what it runs and when; in a process group of its own, with what it leaves in
# the background.
sed -n '/^## Watch it$/,/^## /{/^```sh$/,/^```$/p}' README.md | sed '/^```/d' >"$work/commands"
[[ -s $work/commands ]] || fail "the README has no commands below \"Watch it\""
export no_proxy='*'
cat - "$work/commands" >"$work/shell" <<'SHELL'
SECONDS=$already
trap 'printf "newcomer: %4d s  $ %.100s\n" "$SECONDS" "$BASH_COMMAND"' DEBUG
SHELL
already=$((SECONDS - begun)) setsid bash -euo pipefail "$work/shell" &
pid=$!
wait "$pid" || fail "a command of the README ended with an error"

ask http://localhost:9464/ | grep -q '<title>vitower' || fail "no page on the metrics port"
say "the page is there: http://localhost:9464/"
for expression in 'vitower_state{state="serving"}' 'instance:vitower_items:rate1m > 0' 'instance:vitower_patches:rate1m > 0' \
  'instance_stage:vitower_stage_duration_seconds:p99_5m{stage="blocks"} > 0'; do
  for _ in {1..60}; do
    value=$(query "$expression")
    [[ -z $value ]] || break
    sleep 1
  done
  [[ -n $value ]] || fail "no data: $expression"
  say "$expression is $value"
done
say "from the clone to numbers in Prometheus"
