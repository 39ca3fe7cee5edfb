"""Crop-resistant segments: bright and dark regions, each with the difference hash of its box.

After Steinebach, Liu and Yannikos, "Efficient Cropping-Resistant Robust Image Hashing" (2014), and to the bit what
imagehash's `crop_resistant_hash` makes of the same picture, in its order: bright regions first, each kind by its
first pixel in reading order. Its quirk is kept: it stops looking for dark regions once the pixels of all regions of
two pixels and more, and the 1,200 around the picture, count as many as the picture has.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from app.fingerprints.bits import words
from app.fingerprints.difference import difference_bits
from app.fingerprints.reduction import reduced_boxes
from app.fingerprints.value import Segment

SIDE = 300
"""Of the square picture that is segmented."""

_THRESHOLD = 128
_LEAST_PIXELS = 500
_BORDER = 4 * SIDE


def segments(grey: Image.Image) -> list[Segment]:
    """Return the segments of a normalised picture in mode L; the whole picture where there is none."""
    wide, high = grey.width / SIDE, grey.height / SIDE
    found = []
    for top, left, bottom, right in boxes(smoothed(grey)):
        # Rounded as Pillow's crop does; a region of a very thin picture keeps one pixel.
        x, y = round(left * wide), round(top * high)
        found.append((x, y, max(round(right * wide), x + 1), max(round(bottom * high), y + 1)))
    small = reduced_boxes(grey, found, (9, 8))
    hashes = words(difference_bits(small.reshape(-1, 8, 9))).reshape(len(found), -1)
    return [Segment(tuple(turned), *box) for turned, box in zip(hashes.tolist(), found, strict=True)]


def smoothed(grey: Image.Image) -> NDArray[np.uint8]:
    """Return the picture that is segmented: uint8 (300, 300), squeezed, blurred, medians of 3 x 3."""
    square = grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(2))
    return _median(np.asarray(square))


def boxes(smooth: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
    """Boxes (top, left, bottom, right) of the segments of uint8 (300, 300), ends excluded; at least one."""
    bright = smooth > _THRESHOLD
    found = []
    counted = _BORDER
    regions = _regions(bright)
    for is_bright, size, box in sorted(regions, key=lambda region: not region[0]):  # else as they come
        if not is_bright and counted >= bright.size:
            break
        counted += size if size > 1 else 0
        if size > _LEAST_PIXELS:
            found.append(box)
    return found or [(0, 0, SIDE, SIDE)]


def _regions(bright: NDArray[np.bool_]) -> list[tuple[bool, int, tuple[int, int, int, int]]]:
    """Regions of equal pixels that share sides: (bright, pixels, box), in the order of their first pixels.

    By runs: a picture of 90,000 pixels has a few hundred, and joining those costs less than labelling pixels.
    """
    width = bright.shape[1]
    changes = np.ones(
        bright.shape, np.bool_
    )  # where a run starts: at each row's first pixel, and at each change
    np.not_equal(bright[:, 1:], bright[:, :-1], out=changes[:, 1:])
    starts = np.flatnonzero(changes)
    kinds = bright.ravel()[starts]
    # Wherever a run of one row or of the next begins, one pair of runs begins to touch.
    above = np.flatnonzero(changes[:-1] | changes[1:])
    upper = np.searchsorted(starts, above, side="right") - 1
    lower = np.searchsorted(starts, above + width, side="right") - 1
    touch = kinds[upper] == kinds[lower]
    links = coo_array((touch[touch], (upper[touch], lower[touch])), shape=(len(starts),) * 2)
    count, region = connected_components(links, directed=False)

    lengths = np.diff(starts, append=bright.size)
    rows, lefts = np.divmod(starts, width)
    sizes = np.bincount(region, lengths, count).astype(np.int64)
    left, right = np.full(count, width), np.zeros(count, np.int64)
    np.minimum.at(left, region, lefts)
    np.maximum.at(right, region, lefts + lengths)
    # Runs come row by row: a region's first run has its top, its last the bottom.
    runs = np.arange(len(starts))
    first, last = np.full(count, len(starts)), np.zeros(count, np.int64)
    np.minimum.at(first, region, runs)
    np.maximum.at(last, region, runs)
    order = np.argsort(first)
    columns = (kinds[first], sizes, rows[first], left, rows[last] + 1, right)
    return [
        (is_bright, size, (top, start, bottom, end))
        for is_bright, size, top, start, bottom, end in zip(
            *(column[order].tolist() for column in columns), strict=True
        )
    ]


def _median(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Median of each 3 x 3 square, edges repeated: Pillow's `MedianFilter`, a ninth of its time.

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
