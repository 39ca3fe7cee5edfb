"""Impulses: single pixels that noise has turned white or black, which no correlation of small parts survives."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_FAR = 60  # levels from the median around: of photos one pixel in 10,000 is, at the median
_MANY = 0.0005  # of the pixels
# Exchanges after which the fifth of nine values is their median (Paeth, Graphics Gems 1990; Smith 1996).
_EXCHANGES = (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3)),
    *((5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)


def without_impulses(one: Image.Image, other: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Both pictures of mode L, each pixel the median of the nine around it if either has many impulses: so what is
    lost of the finest is lost of both."""
    pixels = [np.asarray(each) for each in (one, other)]
    medians = [median_of_nine(each) for each in pixels]
    noisy = any(
        np.mean(np.maximum(own, median) - np.minimum(own, median) > _FAR) >= _MANY
        for own, median in zip(pixels, medians, strict=True)
    )
    return (Image.fromarray(medians[0]), Image.fromarray(medians[1])) if noisy else (one, other)


def median_of_nine(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The median of each pixel and the eight around it; beyond the edges lies the edge again. uint8[h, w]."""
    height, width = pixels.shape
    padded = np.pad(pixels, 1, mode="edge")
    nine = [padded[y : y + height, x : x + width] for y, x in product(range(3), repeat=2)]
    for low, high in _EXCHANGES:
        nine[low], nine[high] = np.minimum(nine[low], nine[high]), np.maximum(nine[low], nine[high])
    return nine[4]
