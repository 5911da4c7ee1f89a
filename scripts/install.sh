#!/usr/bin/env bash
# Installs what vitower is built with, on Debian 12/13 or Ubuntu 24.04: Debian packages, and libtorch as the PyPI wheel
# in a private virtual environment (.venv). Does nothing that is done already; run it as often as you like.
#
#   scripts/install.sh            what building and running takes
#   scripts/install.sh --tests    and what the tests take: the reference implementation, a Prometheus, clang
#
# VITOWER_TORCH_INDEX   a package index to take torch from (a CPU-only one saves gigabytes where pip's default is the CUDA build)
# PYTHON                the python3 to make .venv with
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build ccache pkg-config python3-venv ca-certificates
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev
  libopencv-dev libjpeg-dev libgif-dev libwebp-dev libavformat-dev libavcodec-dev libavutil-dev libswscale-dev
  libssl-dev libspdlog-dev prometheus-cpp-dev libcivetweb-dev libcli11-dev nlohmann-json3-dev)
torch="torch==2.13.0"
python_packages=()
if [[ ${1:-} == --tests ]]; then
  packages+=(libgtest-dev libgmock-dev libbenchmark-dev clang clang-tidy libomp-dev prometheus docker-compose curl git procps)
  # Ubuntu has these two as snaps only.
  if grep -q '^ID=debian' /etc/os-release; then
    packages+=(chromium)
    command -v kubectl >/dev/null || packages+=(kubernetes-client)
  fi
  python_packages=(-r tests/requirements.txt)
elif [[ -n ${1:-} ]]; then
  sed -n '2,9p' "$0"; exit 2
fi

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "install: Debian packages: ${missing[*]}"
  as_root=(); ((EUID == 0)) || as_root=(sudo)
  log=$(mktemp)
  { "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
  rm "$log"
  # The tests start a Prometheus of their own; the package's service would hold port 9090 from now on.
  if [[ " ${missing[*]} " == *" prometheus "* && -d /run/systemd/system ]]; then
    "${as_root[@]}" systemctl disable --now -q prometheus
  fi
fi

[[ -x .venv/bin/python ]] || "${PYTHON:-python3}" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check)
pip_install=("${pip[@]}" install -q --no-compile)  # see below
if ! .venv/bin/python -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '${torch#torch==}')" 2>/dev/null; then
  index=(); [[ -z ${VITOWER_TORCH_INDEX:-} ]] || index=(--index-url "$VITOWER_TORCH_INDEX")
  if "${pip[@]}" install -q --dry-run --report - "${index[@]}" "$torch" 2>/dev/null | grep -q '"nvidia-'; then
    echo "install: $torch comes with CUDA here: about 3 GB to download, 6 GB on disk." \
         "Set VITOWER_TORCH_INDEX to a CPU index to avoid that."
  else
    echo "install: $torch (CPU build, about 200 MB)"
  fi
  "${pip_install[@]}" "${index[@]}" "$torch"
fi
if ((${#python_packages[@]})); then
  stamp=.venv/requirements.sha256
  if ! sha256sum --status -c "$stamp" 2>/dev/null ||
     ! .venv/bin/python -c "import av, grpc, grpc_tools, numpy, PIL, pyarrow, pytest, ray, safetensors, tqdm, transformers" 2>/dev/null; then
    echo "install: Python packages of the tests"
    "${pip_install[@]}" "${python_packages[@]}"
    "${pip_install[@]}" --no-deps -r tests/requirements-no-deps.txt
    # Half of pip's time, on one core, would go to compiling the modules; here all cores do. Some are templates, not Python.
    .venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null || true
    sha256sum tests/requirements*.txt >"$stamp"
  fi
fi
echo "install: complete"
