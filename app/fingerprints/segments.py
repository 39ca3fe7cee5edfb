"""Crop-resistant segments: bright and dark regions, each with the difference hash of its box.

After Steinebach, Liu and Yannikos, "Efficient Cropping-Resistant Robust Image Hashing" (2014), and to the bit what
imagehash's `crop_resistant_hash` makes of the same picture, in its order: bright regions first, each kind by its
first pixel in reading order. Its quirk is kept: it stops looking for dark regions once the pixels of all regions of
two pixels and more, and the 1,200 around the picture, count as many as the picture has.
"""

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app.fingerprints.bits import words
from app.fingerprints.difference import difference_bits

SIDE = 300
"""Of the square picture that is segmented."""

_THRESHOLD = 128
_LEAST_PIXELS = 500
_BORDER = 4 * SIDE


@dataclass(frozen=True, slots=True)
class Segment:
    """One region: the hash of its box, and the box in pixels of the normalised picture."""

    hash: int
    left: int
    top: int
    right: int
    bottom: int


def segments(grey: Image.Image) -> list[Segment]:
    """Return the segments of a normalised picture in mode L; the whole picture where there is none."""
    wide, high = grey.width / SIDE, grey.height / SIDE
    found = []
    for top, left, bottom, right in boxes(smoothed(grey)):
        # Rounded as Pillow's crop does; a region of a very thin picture keeps one pixel.
        x, y = round(left * wide), round(top * high)
        box = (x, y, max(round(right * wide), x + 1), max(round(bottom * high), y + 1))
        small = grey.crop(box).resize((9, 8), Image.Resampling.LANCZOS)
        found.append(Segment(int(words(difference_bits(np.asarray(small)[None]))[0, 0]), *box))
    return found


def smoothed(grey: Image.Image) -> NDArray[np.uint8]:
    """Return the picture that is segmented: uint8 (300, 300), squeezed, blurred, medians of 3 x 3."""
    square = grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(2))
    return _median(np.asarray(square))


def boxes(smooth: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
    """Boxes (top, left, bottom, right) of the segments of uint8 (300, 300), ends excluded; at least one."""
    bright = smooth > _THRESHOLD
    found = []
    counted = _BORDER
    for mask in (bright, ~bright):
        # Neighbours share a side; labels come in the order of each region's first pixel.
        labels, _ = scipy.ndimage.label(mask)
        sizes = np.bincount(labels.ravel())[1:].tolist()
        places = scipy.ndimage.find_objects(labels)
        for size, (rows, columns) in zip(sizes, places, strict=True):
            if mask is not bright and counted >= smooth.size:
                break
            counted += size if size > 1 else 0
            if size > _LEAST_PIXELS:
                found.append((rows.start, columns.start, rows.stop, columns.stop))
    return found or [(0, 0, SIDE, SIDE)]


def _median(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Median of each 3 x 3 square, edges repeated: Pillow's `MedianFilter`, an eighth of its time.

    Sorts the three of each column, then takes the median of the largest low, the middle middle and the least
    high, as is well known; all by minima and maxima of whole pictures.
    """
    padded = np.pad(values, 1, mode="edge")
    low, middle, high = _sorted(padded[:-2], padded[1:-1], padded[2:])
    lowest = np.maximum(np.maximum(low[:, :-2], low[:, 1:-1]), low[:, 2:])
    _, central, _ = _sorted(middle[:, :-2], middle[:, 1:-1], middle[:, 2:])
    highest = np.minimum(np.minimum(high[:, :-2], high[:, 1:-1]), high[:, 2:])
    return _sorted(lowest, central, highest)[1]


def _sorted(
    a: NDArray[np.uint8], b: NDArray[np.uint8], c: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return least, middle and largest, element by element."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    return np.minimum(low, c), np.maximum(low, np.minimum(high, c)), np.maximum(high, c)
