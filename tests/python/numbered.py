"""Inputs of the client's own kinds that the puppet server knows by their number, beside those of support/puppet.py."""

import io

import numpy as np
import vitower
from puppet import colour, pil


def patches(number):
    """Patch rows whose first bytes are the number's colour, since the puppet marks with what it is given."""
    rows = np.zeros((16, 1536), np.float32)
    rows.view(np.uint8)[0, :3] = colour(number)
    return vitower.Patches(rows, [1, 4, 4])


def gif(number):
    out = io.BytesIO()
    frames = [pil(number + i) for i in range(4)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=500)
    return vitower.Video(out.getvalue())
