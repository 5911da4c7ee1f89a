"""Runs the real binary, for the tests of its sub-commands."""

import os
import subprocess

import numpy as np

from pictures import encoded, photo
from serving import VITOWER

COMMANDS = ["serve", "embed", "preprocess", "bench", "healthcheck", "make-checkpoint", "inspect"]
OK, FAILURE, USAGE, REFUSED = 0, 1, 2, 3
SETTINGS = {name: value for name, value in os.environ.items() if not name.startswith("VITOWER_")}


def vitower(*arguments, stdin=None, env=None, cwd=None):
    """The finished process; its output as text."""
    done = subprocess.run([VITOWER, *map(str, arguments)], input=stdin, capture_output=True, timeout=120, cwd=cwd,
                          env={**SETTINGS, **(env or {})})
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


def embed(*arguments, expect=OK, **kwargs):
    done = vitower("embed", *arguments, **kwargs)
    assert done.returncode == expect, done.stderr
    return done


def written(folder):
    """What is below a folder, by relative path."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def write_photos(folder, count, seed, *, kind="PNG", size=lambda i: (200, 200)):
    """A new folder of `count` pictures, 00.png and so on."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:02}.{'jpg' if kind == 'JPEG' else kind.lower()}").write_bytes(encoded(photo(rng, *size(i)), kind))
    return folder
