"""The colour hash: shares of black, grey and twelve hues, in eight levels each (imagehash's `colorhash`).

imagehash writes each of the 14 levels in three bits, so that levels 4 and 6 share a code and a step from 3 to 4
flips two bits: 42 bits that can be looked up but not compared by counting. The thermometer code writes level n as
n ones and 7 - n zeros; its Hamming distance is the sum of the differences of the levels. 14 x 7 = 98 bits, in
two words.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.fingerprints.value import COLOUR_BITS

VALUES = 14
LEVELS = 8

_BLACK = 256 // 8  # below it in intensity
_GREY = 256 // 3  # below it in saturation
_BETWEEN = 256 * 2 // 3  # faint below it, bright above; pixels of just this saturation count as coloured only
_HUES = 6
_NEITHER = VALUES  # the place of those
_NO_PADDING = np.uint32(0xFFFFFF)


def colour_levels(image: Image.Image) -> NDArray[np.int64]:
    """Levels 0 to 7 of a picture (mode RGB): int64 (14,): black, grey, faint hues, bright hues.

    The shares of black and grey are of all pixels, those of hues of the coloured pixels.
    """
    colours = np.frombuffer(image.tobytes("raw", "RGBX"), "<u4") & _NO_PADDING
    bins = _bin_of_colour().take(colours)
    # Pillow counts bytes as they are; numpy would widen each to eight first.
    histogram = Image.frombuffer("L", image.size, bins.tobytes()).histogram()
    counts: NDArray[np.int64] = np.array(histogram[: VALUES + 1], np.int64)
    shares = np.concatenate([counts[:2] / bins.size, counts[2:VALUES] / max(1, counts[2:].sum())])
    return np.minimum(LEVELS - 1, (shares * LEVELS).astype(np.int64))


def colour_hash(levels: NDArray[np.int64]) -> int:
    """imagehash's 42 bits of int64 (14,), the first level's in the highest place."""
    value = 0
    for level in levels.tolist():
        value = value << 3 | _CODE[level]
    return value


def thermometer(levels: NDArray[np.int64]) -> NDArray[np.uint64]:
    """98 bits of int64 (14,) in uint64 (2,): 64 in the first word, 34 at the top of the second.

    >>> levels = np.array([2, 7] + 12 * [0])
    >>> f"{thermometer(levels)[0]:064b}"[:14]
    '11000001111111'
    """
    bits = np.zeros(128, np.bool_)
    bits[:COLOUR_BITS] = (np.arange(LEVELS - 1) < levels[:, None]).ravel()
    return np.packbits(bits).view(">u8").astype(np.uint64)


@cache
def _bin_of_colour() -> NDArray[np.uint8]:
    """Bin of each of the 2^24 colours, red in the lowest eight bits, then green, then blue.

    Takes 0.3 s, once a process, and 16 MB; then a colour costs a look instead of a conversion to HSV: 0.5 ms a
    picture instead of 2.2.
    """
    bins = np.empty((256, 256, 256), np.uint8)
    plane = np.empty((256, 256, 3), np.uint8)
    plane[..., 0] = np.arange(256)
    plane[..., 1] = np.arange(256)[:, None]
    of_hue = _bin_of_hue()
    for blue in range(256):
        plane[..., 2] = blue
        image = Image.fromarray(plane)
        hsv = np.asarray(image.convert("HSV"))
        bins[blue] = of_hue.take((hsv[..., 0].astype(np.uint16) << 8) | hsv[..., 1])
        bins[blue][np.asarray(image.convert("L")) < _BLACK] = 0
    return bins.ravel()


def _bin_of_hue() -> NDArray[np.uint8]:
    """Bin of each hue x 256 + saturation, for a pixel that is not black."""
    edges = np.linspace(0, 255, _HUES + 1)
    hues = np.clip(np.searchsorted(edges, np.arange(256), side="right") - 1, 0, _HUES - 1)
    saturation = np.arange(256)
    first = np.where(saturation < _BETWEEN, 2, 2 + _HUES)
    bins = hues[:, None] + first
    bins[:, saturation == _BETWEEN] = _NEITHER
    bins[:, saturation < _GREY] = 1
    return bins.ravel().astype(np.uint8)


# imagehash's digits of a level: its highest, whether the upper two make a number, its lowest.
_CODE = [(level >> 2) << 2 | (level >> 1 > 0) << 1 | level & 1 for level in range(LEVELS)]
