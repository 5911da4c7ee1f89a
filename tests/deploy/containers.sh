#!/usr/bin/env bash
# Builds the Dockerfile and runs what comes out, without a Docker engine: buildah and podman, as root, on Debian 12 and also
# inside a container. Nothing here is part of ctest; a build takes six minutes and more on two cores.
#
#   containers.sh engines     install buildah, podman and podman-compose
#   containers.sh base        make the base image from Debian's archive (stands in for debian:12.12-slim)
#   containers.sh image       build the Dockerfile; prints the time and the size
#   containers.sh try         run the image confined: user, files, health, an embedding, SIGTERM, no CUDA
#   containers.sh compose     bring deploy/docker-compose.yml up with Debian's Prometheus in place of the upstream image,
#                             ask both, take it down. Grafana has no stand-in and is left out
#   containers.sh clean       remove containers, images and the folder
#
# CONTAINER_LAB       where images and layers lie (default /tmp/vitower-lab; several GB)
# VITOWER_TORCH_INDEX, PIP_FIND_LINKS     as the Dockerfile's arguments; a folder of wheels is mounted into the build
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
lab=${CONTAINER_LAB:-${TMPDIR:-/tmp}/vitower-lab}
base=debian:12.12-slim
image=localhost/vitower:local
export CONTAINERS_STORAGE_CONF=$lab/storage.conf CONTAINERS_CONF=${CONTAINERS_CONF:-$lab/host.conf}

configure() {
  mkdir -p "$lab"
  printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/store"\nrunroot = "%s/run"\n' "$lab" "$lab" >"$lab/storage.conf"
  # Inside a container there is no right to raise limits or to make control groups.
  local engine='[engine]\nruntime = "crun"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
  local limits='[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\ncgroups = "disabled"\n'
  printf "${limits}netns = \"host\"\n${engine}" >"$lab/host.conf"
  printf "${limits}${engine}[network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"$lab/networks\"\n" >"$lab/private.conf"
  printf '[global]\ncert = /run/host-certificates.crt\n' >"$lab/pip.conf"
}

# One whole test inside one call: a container can only be stopped from the mount namespace that started it. crun does not
# take a mix of control group versions, so the second is hidden. `privately` adds a network of its own, for bridges.
isolated() { unshare -m --propagation private bash -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"' _ "$@"; }
privately() {
  CONTAINERS_CONF=$lab/private.conf unshare -m -n --propagation private bash -c '
    umount /sys/fs/cgroup/unified 2>/dev/null; mkdir -p /run/netns; mount -t tmpfs tmpfs /run/netns; ip link set lo up; exec "$@"' _ "$@"
}

engines() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    buildah podman crun catatonit debootstrap netavark aardvark-dns iptables uidmap
  [[ -x $lab/compose/bin/podman-compose ]] || { python3 -m venv "$lab/compose" && "$lab/compose/bin/pip" install -q podman-compose; }
}

# Debian's own archive, with the sources that this machine uses.
base_() {
  local mirror tree=$lab/base
  mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/*.sources | head -1)
  rm -rf "$tree"
  debootstrap --variant=minbase bookworm "$tree" "$mirror" >"$lab/debootstrap.log" 2>&1
  : >"$tree/etc/apt/sources.list"
  cp /etc/apt/sources.list.d/debian.sources "$tree/etc/apt/sources.list.d/"
  rm -rf "$tree"/var/lib/apt/lists/* "$tree"/var/cache/apt/* "$tree"/usr/share/{man,locale,info}/* "$tree"/etc/{resolv.conf,hostname}
  tar -C "$tree" --numeric-owner --xattrs -c . | podman import -q --change 'CMD ["bash"]' - "$base"
  rm -rf "$tree"
}

# build TAG FOLDER [ARGUMENT...]: what it needs of this machine is its certificates, for pip, and perhaps its wheels.
build() {
  local tag=$1 folder=$2; shift 2
  local wheels=()
  [[ ! -d ${PIP_FIND_LINKS:-} ]] || wheels=(-v "$PIP_FIND_LINKS:/wheels:ro" --build-arg PIP_FIND_LINKS=/wheels)
  buildah build --isolation chroot --network host --pull=never --layers --format docker "${wheels[@]}" \
    -v /etc/ssl/certs/ca-certificates.crt:/run/host-certificates.crt:ro -v "$lab/pip.conf:/etc/pip.conf:ro" \
    "$@" -t "$tag" "$folder"
}

image() {
  local begun=$SECONDS index=()
  [[ -z ${VITOWER_TORCH_INDEX+set} ]] || index=(--build-arg "VITOWER_TORCH_INDEX=$VITOWER_TORCH_INDEX")
  build "$image" "$root" "${index[@]}" --build-arg "REVISION=$(git -C "$root" rev-parse --short HEAD)"
  echo "built in $((SECONDS - begun)) s"
  podman images --format '{{.Repository}}:{{.Tag}} {{.Size}}' "$image"
}

expect() { local what=$1; shift; if "$@"; then echo "ok: $what"; else echo "FAILED: $what" >&2; exit 1; fi; }

# THREAD TICKS of every thread of the server in a container, by thread.
ticks() {
  podman exec "$1" bash -c 'for stat in /proc/1/task/*/stat; do read -r line <"$stat"; set -- ${line%% *} ${line##*) }; echo "$1 ${13}"; done' | sort -k 1b,1
}

# Four values each, bf16.
near() { awk -v a="$1" -v b="$2" 'BEGIN { n = split(a, x); split(b, y); for (i in x) if ((x[i] - y[i]) ^ 2 > 0.01) n = 0; exit n != 4 }'; }

# Runs inside `isolated`.
try_inside() {
  local confined=(--read-only --read-only-tmpfs=false --cap-drop all --security-opt no-new-privileges)
  trap 'podman rm -f -t 1 vt >/dev/null 2>&1 || true' EXIT
  podman rm -f -t 0 vt >/dev/null 2>&1 || true
  expect "no file of CUDA" bash -c "! podman run --rm --no-healthcheck --entrypoint find $image /usr /opt /etc -xdev \
    '(' -name '*cudart*' -o -name '*cublas*' -o -name '*cudnn*' -o -name 'libtorch_cuda*' ')' 2>/dev/null | grep ."
  expect "not root" test "$(podman run --rm --no-healthcheck --entrypoint id $image -u)" = 10001
  podman run --rm --no-healthcheck "${confined[@]}" "$image" --version
  local begun; begun=$(date +%s%N)
  podman run -d --name vt --no-healthcheck "${confined[@]}" -v "$root/docs/samples:/samples:ro" -e VITOWER_MODEL="${1:-random:2b}" \
    "$image" serve --listen 127.0.0.1:50071 --metrics-listen 127.0.0.1:9471 >/dev/null
  podman exec vt vitower healthcheck --server localhost:50071 --wait 300s
  echo "serving after $(( ($(date +%s%N) - begun) / 1000000 )) ms"
  expect "the file system is read-only" bash -c "! podman exec vt touch /tmp/x 2>/dev/null"
  local before; before=$(ticks vt)
  rm -rf "$lab/out" && mkdir -p "$lab/out" && chmod 1777 "$lab/out"
  podman run --rm --no-healthcheck "${confined[@]}" -v "$root/docs/samples:/samples:ro" -v "$lab/out:/out" "$image" \
    embed --server localhost:50071 /samples/hills-720p.jpg --output /out --format npy --dtype fp32 --times
  local values; values=$(od -A n -t f4 -j 128 -N 16 "$lab/out/hills-720p.jpg.npy" | xargs printf '%7.3f')
  if [[ -z ${1:-} ]]; then
    expect "its first values are those of random:2b: $values" near "$values" "$(sed -n 's/^hills-720p.jpg *//p' "$root/scripts/demo-expected.txt")"
  fi
  expect "more than one thread computed it" test "$(join <(echo "$before") <(ticks vt) | awk '$3 - $2 >= 20' | wc -l)" -ge 2
  expect "the page" bash -c "curl -fsS --noproxy '*' http://127.0.0.1:9471/ | grep '<title>vitower' >/dev/null"
  expect "an embedding is counted" bash -c "curl -fsS --noproxy '*' http://127.0.0.1:9471/metrics | grep -E 'vitower_items_total.*OK.*image.* [1-9]'"
  podman kill -s TERM vt >/dev/null
  expect "SIGTERM drains it, exit code 0" test "$(podman wait vt)" = 0
  podman logs vt 2>&1 | tail -3
}

# Debian's Prometheus under the name and in the layout of the upstream image.
stand_in() {
  mkdir -p "$lab/prometheus"
  cat >"$lab/prometheus/Dockerfile" <<'DOCKERFILE'
ARG RUNTIME_IMAGE=debian:12.12-slim
FROM ${RUNTIME_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends prometheus wget && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /prometheus && chown nobody:nogroup /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
DOCKERFILE
  build "$(sed -n 's/^ *image: \(prom.*\)/\1/p' "$root/deploy/docker-compose.yml")" "$lab/prometheus" >/dev/null
}

asked() { curl -fsS --noproxy '*' -G http://127.0.0.1:9090/api/v1/query --data-urlencode "query=$1" | grep -o '"value":.*'; }

# Runs inside `privately`, with the services that have an image here.
compose_inside() {
  local i
  compose=("$lab/compose/bin/podman-compose" -f "$lab/compose.yml" -p vitower)  # not local: the trap needs it at the end
  # Limits need control groups, which are switched off above.
  sed -E '/^ *(mem_limit|pids_limit|cpus):/d; s#context: \.\.#context: '"$root"'#; s#(- "?)\./#\1'"$root"'/deploy/#; s#:-\./models#:-'"$root"'/deploy/models#' \
    "$root/deploy/docker-compose.yml" >"$lab/compose.yml"
  export VITOWER_IMAGE=$image
  trap '"${compose[@]}" down -v >/dev/null 2>&1 || true' EXIT
  "${compose[@]}" up -d --no-build vitower prometheus
  for i in {1..120}; do  # nobody runs the health checks here but us
    podman healthcheck run vitower_vitower_1 >/dev/null 2>&1 && podman healthcheck run vitower_prometheus_1 >/dev/null 2>&1 && break
    sleep 1
  done
  podman ps --format '{{.Names}} {{.Status}} {{.Ports}}'
  expect "vitower is healthy" podman healthcheck run vitower_vitower_1
  expect "Prometheus is healthy" podman healthcheck run vitower_prometheus_1
  expect "the page, from the host" bash -c "curl -fsS --noproxy '*' http://127.0.0.1:9464/ | grep '<title>vitower' >/dev/null"
  podman exec vitower_vitower_1 vitower bench --server localhost:50051 --duration 30s --quiet | head -12
  for i in {1..60}; do
    asked 'instance:vitower_items:rate1m > 0' && break
    sleep 1
  done
  expect "Prometheus scrapes it by name" asked 'up{job="vitower"} == 1'
  expect "its rules give data of the load" asked 'instance:vitower_items:rate1m > 0'
  expect "the alerts are there" bash -c "curl -fsS --noproxy '*' http://127.0.0.1:9090/api/v1/rules?type=alert | grep VitowerDown >/dev/null"
  expect "no alert fires or waits to" bash -c "curl -fsS --noproxy '*' http://127.0.0.1:9090/api/v1/alerts | grep '\"alerts\":\[\]'"
}

clean() {
  podman rm -fa -t 1 >/dev/null 2>&1 || true
  podman rmi -fa >/dev/null 2>&1 || true
  umount -R "$lab"/store*/overlay 2>/dev/null || true
  rm -rf "$lab"
}

configure
case ${1:-} in
  engines) engines ;;
  base) base_ ;;
  image) image ;;
  try) isolated "$0" try_inside "${@:2}" ;;
  compose) stand_in && privately "$0" compose_inside ;;
  try_inside | compose_inside) "$1" "${@:2}" ;;
  clean) clean ;;
  *) sed -n '2,16p' "$0"; exit 2 ;;
esac
