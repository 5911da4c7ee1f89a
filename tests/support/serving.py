"""Starts the real `vitower serve` for Python tests and speaks its API with stubs generated from the .proto."""

import contextlib
import importlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request

import grpc
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("VITOWER_BIN_DIR", ROOT / "build" / "dev" / "bin"))
VITOWER = BIN / "vitower"
DTYPES = {2: np.float16, 3: np.float32}  # DTYPE_FP16, DTYPE_FP32; numpy has no bf16


def stubs():
    """The modules generated from vitower.proto: (messages, services)."""
    if "vitower.v1.vitower_pb2" not in sys.modules:
        from grpc_tools import protoc

        out = tempfile.mkdtemp(prefix="vitower-stubs-")
        code = protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={out}", f"--grpc_python_out={out}",
                            str(ROOT / "proto/vitower/v1/vitower.proto")])
        assert code == 0, "protoc failed"
        sys.path.insert(0, out)
    return importlib.import_module("vitower.v1.vitower_pb2"), importlib.import_module("vitower.v1.vitower_pb2_grpc")


def rows(tensor):
    """A Tensor of a reply as a float32 array of its shape."""
    if tensor.dtype == 1:  # bf16: the upper half of a float32
        wide = np.frombuffer(tensor.data, np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32).reshape(tensor.shape)
    return np.frombuffer(tensor.data, DTYPES[tensor.dtype]).astype(np.float32).reshape(tensor.shape)


def rel_l2(got, want):
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


class Server:
    """A running `vitower serve`; `process`, `address`, `metrics_url`, its log in `log`."""

    def __init__(self, *flags, model="random:tiny", env=None):
        command = [VITOWER, "serve", "--model", model, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
                   *map(str, flags)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, **(env or {})})
        self.log = []
        self._drain = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self._drain.start()
        line = self.process.stdout.readline()
        found = re.search(r"serving on (\S+), metrics on (\S+)", line)
        if not found:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"vitower did not serve: {line!r} {''.join(self.log)}")
        self.address, self.metrics_url = found[1], f"http://{found[2]}/metrics"

    def stub(self):
        channel = grpc.insecure_channel(self.address, options=[("grpc.max_receive_message_length", -1),
                                                               ("grpc.use_local_subchannel_pool", 1)])
        return stubs()[1].VisionEmbedderStub(channel)

    def metrics(self):
        """{'name{label="value"}': float} of one scrape."""
        text = urllib.request.urlopen(self.metrics_url, timeout=10).read().decode()
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def rss(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def stop(self, timeout=60):
        """SIGTERM, then the exit code; `log` is whole then."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        finally:
            self.process.kill()
            self._drain.join(timeout)


@contextlib.contextmanager
def serving(*flags, **kwargs):
    server = Server(*flags, **kwargs)
    try:
        yield server
    finally:
        server.stop()
