"""Photo-like pictures for tests, made anew from a seed."""

import io

import numpy as np
from PIL import Image


def photo(rng, width, height):
    """Smooth colour fields with edges and grain: [height, width, 3] uint8."""
    small = rng.uniform(0, 255, (max(2, height // 40), max(2, width // 40), 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    picture = picture + rng.normal(0, 6, picture.shape)
    x, y = rng.integers(0, width), rng.integers(0, height)
    picture[y : y + height // 3, x : x + width // 3] = rng.uniform(0, 255, 3)
    return picture.clip(0, 255).astype(np.uint8)


def encoded(pixels, kind="PNG", **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()
