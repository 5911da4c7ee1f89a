#!/usr/bin/env bash
# Checks the include rights of docs/design.md: which folder may include which, and where third-party types may appear.
#   cli -> all; server -> preprocess, model/encoder.h, proto; client -> proto; model -> preprocess/frames.h;
#   preprocess, proto -> nothing of ours. Headers: std and, of absl, Status, StatusOr, Span, Time and annotations.
set -euo pipefail
cd "${1:-$(dirname "$0")/..}"
fail=0
sources() { find "$@" -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh'; }
complain() { echo "layering: $1" >&2; fail=1; }

# allowed FOLDER REGEX: every include of a file of ours in FOLDER must match REGEX.
allowed() {
  local folder=$1 regex=$2 line
  while IFS= read -r line; do
    [[ ${line#*[\"<]} =~ ^($regex) ]] || complain "$line is not among what $folder/ may include"
  done < <(sources "$folder" | xargs grep -HnoE '^#include ["<](preprocess|model|server|client|cli|proto|vitower|tests|\.\.)/[^">]*')
}
allowed preprocess 'preprocess/'
allowed proto 'proto/'
allowed model 'model/|preprocess/frames\.h'
allowed server 'server/|preprocess/|model/encoder\.h|proto/|vitower/v1/|grpc/health/v1/'
allowed client 'client/|proto/|vitower/v1/|grpc/health/v1/'
allowed cli 'cli/|server/|preprocess/|model/|client/|vitower/v1/'

# only FOLDER... may include what matches REGEX
only() {
  local what=$1 regex=$2 line; shift 2
  while IFS= read -r line; do
    local folder=${line%%/*}
    [[ " $* " == *" $folder "* ]] || complain "$line: $what belongs to: $*"
  done < <(sources proto preprocess model server client cli | xargs grep -HnE "^#include [<\"]($regex)")
}
only libtorch 'ATen|c10|torch|caffe2' model
only OpenCV 'opencv2' preprocess
only gRPC 'grpc' proto server client cli
only prometheus-cpp 'prometheus/' server
only spdlog 'spdlog/' server cli

# Third-party types stay in .cc files; a header that a folder keeps to itself says so with the comment "// private header".
while IFS= read -r header; do
  grep -q '^// private header' "$header" && continue
  while IFS= read -r line; do
    complain "$header:$line: a public header may use only std and absl's Status, StatusOr, Span, Time, annotations"
  done < <(grep -nE '^#include [<"][A-Za-z0-9_+.-]+(/|_lib\.h|lib\.h)' "$header" |
           grep -vE '[<"](preprocess|model|server|client)/|absl/(status/status(or)?|types/span|time/(time|clock)|base/(thread_annotations|attributes))\.h|<sys/')
done < <(find preprocess model server client -name '*.h' -o -name '*.cuh')  # nobody includes cli/
((fail == 0)) && echo "layering: ok"
exit $fail
