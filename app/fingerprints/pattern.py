"""The pattern fingerprint: texture and structure of a surface, whatever its lighting, rotation and place.

Each pixel gets a code of its neighbours on a circle: which are as bright as it is, which differ from it by more
than most do, and whether it is bright itself (completed local binary patterns: Guo, Zhang and Zhang, IEEE TIP
2010); of patterns of neighbours only the number of set bits counts, and all that change more than twice around
the circle are one class (Ojala, Pietikäinen and Mäenpää, IEEE TPAMI 2002). Histograms of codes at three scales are
projected on what tells surfaces apart but not two views of one, and the signs of 256 more projections of that are
the fingerprint.

Codes are counted in blocks. A tile is two blocks by two, at two scales and overlapping by half, and its histogram
the sum of theirs; the whole picture's is that of all the blocks of the coarser scale. All is whole numbers up to
the signs: no library or processor moves a bit.
"""

import math
from functools import cache
from importlib import resources
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.fingerprints.bits import words
from app.fingerprints.pattern_kernels import ONE, count_blocks, find_features, half
from app.fingerprints.tiles import Grid, grids
from app.fingerprints.value import Pattern

BITS = 256
SHORT = 192
"""Pixels of the short side at the coarser scale; at the finer one twice as many."""
MOST_STRETCHED = 3.0
"""A picture still longer is made shorter before it is looked at."""
MOST_TILES = 3 * 5 + 7 * 11
LEAST_REGION = 8
"""A region's sides are at least such a part of the picture's short one, and 8 pixels at the coarser scale."""

_Whole = TypeVar("_Whole", np.int32, np.int64)

_TILES = (SHORT // 2, SHORT)  # pixels that a quarter of a picture has at each scale
_RESIZED = Image.Resampling.BILINEAR
_LEAST_SIDE = 8  # pixels of a region: made four times smaller, its blocks have one
_LEAST_CUT_OUT = 16  # pixels of a side: made twelve times larger, what is on it is Pillow's doing
# Levels of grey that neighbours differ by on average, at least, for there to be a pattern: a smooth surface has
# one, a blank sheet has not.
_FLAT = 0.25


def _circle(points: int, radius: int) -> NDArray[np.int16]:
    """Neighbours on a circle, between four pixels each: rows as `pattern_kernels.count_blocks` takes them."""
    rows = []
    for point in range(points):
        angle = 2 * math.pi * point / points
        y, x = round(-radius * math.sin(angle), 9), round(radius * math.cos(angle), 9)
        top, left = math.floor(y), math.floor(x)
        down, right = y - top, x - left
        shares = ((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right)
        weights = [math.floor(share * ONE + 0.5) for share in shares]
        weights[weights.index(max(weights))] += ONE - sum(weights)
        rows.append((top, left, *weights))
    return np.array(rows, np.int16)


def _classes(points: int) -> NDArray[np.uint8]:
    """The class of each pattern of neighbours: how many bits are set, or `points` + 1 if they change too often."""
    patterns = np.arange(1 << points)
    bits = patterns[:, None] >> np.arange(points) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), points + 1).astype(np.uint8)


_NARROW = _circle(8, 1), _classes(8)
_WIDE = _circle(16, 2), _classes(16)
# Where the histograms are: of the narrow circle, of the wide one, of the narrow one twice and four times as large.
_BOUNDS = np.array([0, 200, 848, 1048, 1248])
FEATURES = 1248


def pattern(grey: Image.Image) -> Pattern:
    """Fingerprint a picture of mode L as a whole and in tiles."""
    fine = scaled(grey)
    histograms: list[NDArray[np.int32]] = []
    flat: list[NDArray[np.bool_]] = []
    both = grids(grey.width, grey.height)
    for grid, picture in zip(both, (half(fine), fine), strict=True):
        counts, strength = block_histograms(picture, grid)
        if not histograms:
            histograms.append(counts.sum(axis=(0, 1))[None])
        histograms.append(_in_tiles(counts).reshape(-1, FEATURES))
        pixels = _in_tiles(counts[..., : _BOUNDS[1]].sum(axis=-1))
        flat.append(_is_flat(_in_tiles(strength), pixels).ravel())
    found = signs(features(np.concatenate(histograms)))
    blocks = np.array([side for grid in both for side in (grid.rows, grid.columns)], np.uint8)
    return Pattern(found[0], found[1:], np.concatenate(flat), blocks)


def region_pattern(grey: Image.Image, box: tuple[int, int, int, int] | None = None) -> NDArray[np.uint64]:
    """Fingerprint a region of a picture of mode L as tiles are, at both scales: uint64[2, 4], the coarser first.

    `box` is left, top, right, bottom in pixels. Without one the picture is taken for a cut-out, a quarter of what
    it was cut from: then it has the size of a tile of the coarser scale. ValueError for a box that is not inside
    the picture, or has a side of less than an eighth of the picture's short one, or less than 8 pixels at the
    coarser scale; for a cut-out with a side of less than 16 pixels; or for what has no pattern.
    """
    if box is None:
        if min(grey.size) < _LEAST_CUT_OUT:
            raise ValueError(
                f"a cut-out of {grey.width} x {grey.height} pixels is smaller than {_LEAST_CUT_OUT}"
            )
        return _of_regions([np.asarray(grey.resize((side, side), _RESIZED)) for side in _TILES])
    left, top, right, bottom = box
    least = min(grey.size) / LEAST_REGION
    if not (0 <= left < right <= grey.width and 0 <= top < bottom <= grey.height):
        raise ValueError(f"the region {box} is not inside the picture of {grey.width} x {grey.height} pixels")
    if min(right - left, bottom - top) < least:
        raise ValueError(f"a side of the region {box} has less than {math.ceil(least)} pixels")
    fine = scaled(grey)
    regions = []
    for picture in (half(fine), fine):
        across, down = picture.shape[1] / grey.width, picture.shape[0] / grey.height
        rows, columns = (
            slice(round(top * down), round(bottom * down)),
            slice(round(left * across), round(right * across)),
        )
        if min(rows.stop - rows.start, columns.stop - columns.start) < _LEAST_SIDE:
            raise ValueError(
                f"the region {box} is too narrow in a picture of {grey.width} x {grey.height} pixels"
            )
        regions.append(picture[rows, columns])
    return _of_regions(regions)


def _of_regions(regions: list[NDArray[np.uint8]]) -> NDArray[np.uint64]:
    """The words of a region as of one tile at each scale."""
    histograms, flat = [], []
    for region in regions:
        counts, strength = block_histograms(region, Grid(2, 2))
        histograms.append(counts.sum(axis=(0, 1), dtype=np.int32))
        flat.append(_is_flat(strength.sum(), counts[..., : _BOUNDS[1]].sum()))
    if all(flat):
        raise ValueError("there is no pattern: neighbouring pixels are all but the same")
    return signs(features(np.stack(histograms)))


def _is_flat(strength: NDArray[np.int64], pixels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether so many pixels differ from their neighbours too little for there to be a pattern."""
    return strength < _FLAT * ONE * len(_NARROW[0]) * pixels


def scaled(grey: Image.Image) -> NDArray[np.uint8]:
    """The picture at the finer scale: rows and columns even, the short side 384."""
    long = SHORT * min(max(grey.size) / min(grey.size), MOST_STRETCHED)
    size = (SHORT, round(long)) if grey.width < grey.height else (round(long), SHORT)
    return np.asarray(grey.resize((2 * size[0], 2 * size[1]), _RESIZED))


def block_histograms(picture: NDArray[np.uint8], grid: Grid) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """How often each block has each code, int32[rows, columns, 1248], and what its pixels' neighbours differ by.

    The second is int64[rows, columns], summed over 8 neighbours of each pixel, in 64ths of a level of grey.
    """
    counts = np.empty((grid.rows, grid.columns, FEATURES), np.int32)
    strengths = np.empty((grid.rows, grid.columns), np.int64)
    count_blocks(np.ascontiguousarray(picture), *_NARROW, *_WIDE, counts, strengths)
    return counts, strengths


def features(histograms: NDArray[np.int32]) -> NDArray[np.int16]:
    """Square roots of shares, int16[n, 1248], 4096 standing for 1."""
    found = np.empty(histograms.shape, np.int16)
    find_features(np.ascontiguousarray(histograms, np.int32), _BOUNDS, found)
    return found


def numbers(found: NDArray[np.int16]) -> NDArray[np.float64]:
    """What of features int16[n, 1248] tells surfaces apart: float64[n, 128], nearer where they are more alike.

    Products and sums of whole numbers below 2**53 are exact in float64, whatever the order of addition.
    """
    return found.astype(np.float64) @ _constants()[0]


def signs(found: NDArray[np.int16]) -> NDArray[np.uint64]:
    """The 256 bits of each row of features: uint64[n, 4]; exact as `numbers`."""
    _, rotation, thresholds = _constants()
    return words((numbers(found) @ rotation > thresholds)[:, None, :])


def _in_tiles(blocks: NDArray[_Whole]) -> NDArray[_Whole]:
    """The sums of two blocks by two."""
    return blocks[:-1, :-1] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[1:, 1:]


@cache
def _constants() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What `benchmarks.pattern_constants` learned: projection (1248, 128), rotation (128, 256), thresholds."""
    with (
        resources.files("app.fingerprints").joinpath("pattern.npz").open("rb") as file,
        np.load(file) as kept,
    ):
        projection, rotation, thresholds = kept["projection"], kept["rotation"], kept["thresholds"]
    return projection.astype(np.float64), rotation.astype(np.float64), thresholds.astype(np.float64)
