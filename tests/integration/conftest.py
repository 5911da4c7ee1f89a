"""Inputs and a server that tests of several sub-commands share."""

import numpy as np
import pytest

from clips import clip
from pictures import encoded, photo
from serving import serving


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Good images of several formats and sizes in nested folders, two of one name; bad ones beside them."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(5)
    (folder / "sub").mkdir()
    for name, width, height, kind in [("a.jpg", 320, 240, "JPEG"), ("a.png", 150, 401, "PNG"),
                                      ("b.webp", 64, 64, "WEBP"), ("c.bmp", 333, 222, "BMP"),
                                      ("sub/a.jpg", 500, 90, "JPEG")]:
        (folder / name).write_bytes(encoded(photo(rng, width, height), kind))
    return folder


@pytest.fixture(scope="module")
def photos_with_bad_ones(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "good.jpg").write_bytes((photos / "a.jpg").read_bytes())
    (folder / "cut.jpg").write_bytes((photos / "a.jpg").read_bytes()[:2000])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"this is no image")
    (folder / "thin.png").write_bytes(encoded(np.zeros((1, 201, 3), np.uint8)))
    (folder / "zgood.png").write_bytes((photos / "a.png").read_bytes())
    return folder


@pytest.fixture(scope="module")
def server():
    with serving("--max-batch-patches", 512) as running:
        yield running


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips of every container, of even and odd lengths, and an image beside them."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "even.mp4").write_bytes(clip("h264", "mp4", frames=60))
    (folder / "odd.mkv").write_bytes(clip("h264", "matroska", frames=5, width=96, height=160))
    (folder / "nine.webm").write_bytes(clip("vp9", "webm", frames=9, fps=3))
    (folder / "old.avi").write_bytes(clip("mpeg4", "avi", frames=20, fps=10))
    (folder / "turns.mov").write_bytes(clip("h264", "mov", frames=45, fps=15))
    (folder / "still.jpg").write_bytes(encoded(photo(np.random.default_rng(5), 320, 240), "JPEG"))
    return folder
