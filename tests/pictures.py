"""Pictures for tests: drawn, or the photographs inside scikit-image's wheel; and edits of them."""

import io
from functools import cache

import numpy as np
import skimage.data
from PIL import Image

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


@cache
def photo(name: str = "astronaut") -> Image.Image:
    """One of scikit-image's photographs, mode RGB."""
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def drawn(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture with smooth random blobs: another seed, another fingerprint."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """Bytes of a picture file."""
    out = io.BytesIO()
    picture.save(out, form, **({"quality": 88} | options if form == "JPEG" else options))
    return out.getvalue()
