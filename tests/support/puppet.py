"""Starts `puppet_server`: a real server whose tower takes no CPU and marks every item's rows with its first pixel."""

import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.request

import numpy as np
from PIL import Image
from pictures import encoded

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("VITOWER_BIN_DIR", ROOT / "build" / "dev" / "bin"))


class Puppet:
    """A running puppet_server; `address`. As a context it is stopped at the end."""

    def __init__(self, *flags, port=0):
        command = [BIN / "puppet_server", "--listen", f"127.0.0.1:{port}", *map(str, flags)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"listening on (\d+) metrics (\d+)", line)
        if not found:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"puppet_server did not serve: {line!r}")
        self.port, self.metrics_port = int(found[1]), int(found[2])
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.stop()

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.stdout.close()

    def metrics(self):
        """{'name{label="value"}': float} of one scrape."""
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).read().decode()
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def await_idle(self, seconds=60):
        """Until nothing of any call is held any more: what a client that died left behind is done or dropped."""
        until = time.monotonic() + seconds
        while self.metrics()["vitower_inflight_bytes"] > 0:
            assert time.monotonic() < until, f"still busy after {seconds} s"
            time.sleep(0.02)

    def embedded(self):
        """How many items were answered with an embedding since the server started."""
        return sum(value for name, value in self.metrics().items()
                   if name.startswith("vitower_items_total") and 'code="OK"' in name)


def colour(number):
    """An RGB colour of its own for each number below 4096."""
    return (number % 16 * 8, number // 16 % 16 * 8, number // 256 % 16 * 8)


def flat(number, width=64, height=64):
    """A picture of one colour, which survives resizing: [height, width, 3] uint8."""
    return np.full((height, width, 3), colour(number), np.uint8)


def flat_png(number, **size):
    return encoded(flat(number, **size))


def pil(number):
    return Image.fromarray(flat(number))


def mark(embedding, output="tokens"):
    """Which number's colour the server saw."""
    red, green, blue = (int(value) // 8 for value in embedding[output].reshape(-1)[:3])
    return red + 16 * green + 256 * blue


def write_photos(folder, count):
    """`count` PNG files of their own colours, named by their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:04d}.png").write_bytes(flat_png(number))
    return folder
