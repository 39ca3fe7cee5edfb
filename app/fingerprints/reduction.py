"""One grey picture -> the small pictures that hashes are computed from, in all eight orientations.

Pillow's Lanczos `resize` spends 2.4 ms on the four sizes of one orientation, so eight cost 20 ms. Its
arithmetic is integer and two-pass: a weighted sum along one axis with 22-bit weights, rounded to 8 bits,
then the same along the other. Sums of 8-bit pixels times 22-bit integers are exact in float64, whatever the
order of addition, so matrix products reproduce every pixel; and the weights are symmetric, so a mirrored
picture's reduction is the mirrored reduction. Two passes along each axis then serve all eight orientations.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.fingerprints.orientation import TRANSFORMS, turn, turned_stack

SIZES: tuple[tuple[int, int], ...] = ((8, 8), (9, 8), (32, 32), (64, 64))
"""(width, height) for the average hash, the difference hash, the perceptual hash, wavelet and verifier."""

_SIDES = (8, 9, 32, 64)
_BAND_ROWS = 4  # measured: 0.9 ms for all of 512 x 288, against 1.2 with 8 rows and 2.2 without bands
_ONE = 1 << 22
_LOBES = 3

_Pixels = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reductions:
    """Eight orientations of one picture at each of `SIZES`: uint8, axis 0 in the order of `TRANSFORMS`."""

    eight: NDArray[np.uint8]
    """(8, 8, 8)"""
    nine: NDArray[np.uint8]
    """(8, 8 rows, 9 columns)"""
    thirty_two: NDArray[np.uint8]
    """(8, 32, 32)"""
    sixty_four: NDArray[np.uint8]
    """(8, 64, 64)"""


def reductions(grey: Image.Image) -> Reductions:
    """What `Image.resize` with Lanczos makes of the turned pictures, to the last bit; `grey` has mode L.

    Falls back to Pillow itself where its arithmetic is not the one known here (another version).
    """
    if _pillow_agrees():
        return _by_products(np.asarray(grey))
    return plain_reductions(grey)


def plain_reductions(grey: Image.Image) -> Reductions:
    """The definition, and the slow way: turn, then resize, for every orientation and size."""
    turned = [turn(grey, transform) for transform in TRANSFORMS]
    return Reductions(
        *(
            np.stack([np.asarray(picture.resize(size, Image.Resampling.LANCZOS)) for picture in turned])
            for size in SIZES
        )
    )


def reduced_boxes(
    grey: Image.Image, boxes: Sequence[tuple[int, int, int, int]], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Reduce what `Image.crop` cuts out, turned in all eight ways: uint8 (boxes, 8, rows, columns).

    As `reductions` for each box (left, top, right, bottom) inside `grey`, which has mode L; `size` is (columns,
    rows).
    """
    if not _pillow_agrees():
        cut = [turn(grey.crop(box), transform) for box in boxes for transform in TRANSFORMS]
        small = [np.asarray(picture.resize(size, Image.Resampling.LANCZOS)) for picture in cut]
        return np.stack(small).reshape(len(boxes), len(TRANSFORMS), *small[0].shape)
    pixels = np.asarray(grey).astype(np.float64)
    columns, rows = size
    upright, transposed = np.empty((2, len(boxes), rows, columns), np.uint8)
    for place, (left, top, right, bottom) in enumerate(boxes):
        box = pixels[top:bottom, left:right]
        height, width = box.shape
        if _height_goes_first(width, height, columns, rows):
            upright[place] = _narrowed(_lowered(box, rows), columns)
        else:
            upright[place] = _lowered(_narrowed(box, columns), rows)
        # As in `_by_products`: left as it lies, its rows are our columns.
        if _height_goes_first(height, width, columns, rows):
            transposed[place] = _lowered(_narrowed(box, rows), columns).T
        else:
            transposed[place] = _narrowed(_lowered(box, columns), rows).T
    return turned_stack(upright, transposed)


def _by_products(grey: NDArray[np.uint8]) -> Reductions:
    height, width = grey.shape
    pixels = grey.astype(np.float64)
    lower = {side: _lowered(pixels, side) for side in _SIDES}
    narrower = {side: _narrowed(pixels, side) for side in _SIDES}
    found = []
    for columns, rows in SIZES:
        if _height_goes_first(width, height, columns, rows):
            upright = _narrowed(lower[rows], columns)
        else:
            upright = _lowered(narrower[columns], rows)
        # The same of the transposed picture, left as it lies: its rows are our columns.
        if _height_goes_first(height, width, columns, rows):
            transposed = _lowered(narrower[rows], columns)
        else:
            transposed = _narrowed(lower[columns], rows)
        found.append(turned_stack(upright.astype(np.uint8), transposed.T.astype(np.uint8)))
    return Reductions(*found)


def _lowered(pixels: _Pixels, side: int) -> _Pixels:
    """One pass down the columns: `side` rows of whole numbers 0 to 255, as those of `pixels`."""
    sums = np.empty((side, pixels.shape[1]))
    for places, reach, weights in _bands(len(pixels), side):
        np.matmul(weights, pixels[reach], out=sums[places])
    return _rounded(sums)


def _narrowed(pixels: _Pixels, side: int) -> _Pixels:
    """One pass along the rows: `side` columns."""
    sums = np.empty((len(pixels), side))
    for places, reach, weights in _bands(pixels.shape[1], side):
        sums[:, places] = pixels[:, reach] @ weights.T
    return _rounded(sums)


def _rounded(sums: _Pixels) -> _Pixels:
    sums += _ONE // 2
    sums *= 1 / _ONE  # a power of two: exact
    np.floor(sums, out=sums)
    return np.clip(sums, 0, 255, out=sums)


def _height_goes_first(width: int, height: int, columns: int, rows: int) -> bool:
    # Observed on Pillow 13, which reduces first along the axis that shrinks the work most.
    return height > rows and height - rows > 2 * (width - columns)


# About 0.2 MB for the four sides of one length, which uploads of one phone share, and 0.02 MB for the two that
# boxes are reduced to: of those every length up to 512 comes up.
@lru_cache(maxsize=1200)
def _bands(length: int, side: int) -> tuple[tuple[slice, slice, _Pixels], ...]:
    """The weights in blocks of rows, without the zeros beside them: (rows, pixels they reach, weights)."""
    weights = _lanczos(length, side)
    bands = []
    for first in range(0, side, _BAND_ROWS):
        rows = slice(first, min(first + _BAND_ROWS, side))
        used = np.flatnonzero(weights[rows].any(axis=0))
        reach = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((rows, reach, np.ascontiguousarray(weights[rows, reach])))
    return tuple(bands)


def _lanczos(length: int, side: int) -> _Pixels:
    """Whole numbers (side, length): what each pixel along an axis adds to each reduced one, times 2^22."""
    if length == side:
        return np.eye(side) * _ONE
    scale = length / side
    stretch = max(scale, 1.0)
    weights = np.zeros((side, length))
    for row in range(side):
        centre = (row + 0.5) * scale
        first = max(int(centre - _LOBES * stretch + 0.5), 0)
        last = min(int(centre + _LOBES * stretch + 0.5), length)
        offsets: _Pixels = (np.arange(first, last, dtype=np.float64) - centre + 0.5) * (1 / stretch)
        inside = (offsets >= -_LOBES) & (offsets < _LOBES)
        window = np.where(inside, _sinc(offsets) * _sinc(offsets / _LOBES), 0.0)
        # cumsum adds one after the other as Pillow does; np.sum adds pairwise and rounds differently
        window /= np.cumsum(window)[-1]
        weights[row, first:last] = np.trunc(window * _ONE + np.copysign(0.5, window))
    return weights


def _sinc(x: _Pixels) -> _Pixels:
    angles = x * math.pi
    # The C library's sine, which Pillow uses; numpy's vectorised one may differ in the last place.
    sines = np.fromiter(map(math.sin, angles.tolist()), np.float64, len(angles))
    return np.divide(sines, angles, out=np.ones_like(angles), where=angles != 0)


@cache
def _pillow_agrees() -> bool:
    """Whether this Pillow still computes as above, tried on both sides of its choice of the first axis."""
    noise = np.random.default_rng(22)
    for size in ((512, 384), (160, 312), (313, 160), (7, 90)):
        grey = noise.integers(0, 256, size[::-1], dtype=np.uint8)
        fast, plain = _by_products(grey), plain_reductions(Image.fromarray(grey))
        if not all(
            np.array_equal(getattr(fast, name), getattr(plain, name)) for name in Reductions.__slots__
        ):
            return False
    return True
