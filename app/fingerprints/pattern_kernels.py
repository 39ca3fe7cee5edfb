"""The compiled loops of the pattern fingerprint: histograms of local binary patterns; see `pattern`.

Whole numbers throughout, so that every processor counts alike. The inner loops run along whole rows, for the
compiler to do sixteen pixels at once: 17 ns a pixel for 8 and 16 neighbours together.
"""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled
from app.fingerprints.tiles import Edges, edges_of

MARGIN = 2
"""Pixels around a picture that neighbours are read from: of the larger circle's radius."""
FEATURE_ONE = 1 << 12
ONE = 64
"""What the weights of a neighbour's four pixels add up to: 255 times that, and its negative, are int16."""

Picture = NDArray[np.int16]
Circle = NDArray[np.int16]
Classes = NDArray[np.uint8]
Features = NDArray[np.int16]
Counts = NDArray[np.int32]

_circle = types.Array(types.int16, 2, "C", readonly=True)
_classes = types.Array(types.uint8, 1, "C", readonly=True)
_pixels = types.Array(types.uint8, 2, "C", readonly=True)
_histograms = types.Array(types.int32, 2, "C", readonly=True)
_bounds = types.Array(types.int64, 1, "C", readonly=True)
_rows = types.Array(types.int16, 2, "C")
_counts = types.Array(types.int32, 3, "C")
_sums = types.Array(types.int64, 2, "C")


@njit(nogil=True)
def _compare(
    above: Picture,
    below: Picture,
    own: Picture,
    weights: Circle,
    number: int,
    signs: NDArray[np.uint16],
    differences: Picture,
    sums: Counts,
) -> None:
    """One neighbour of each pixel of a row: whether it is as bright, and by how much it differs, in 1 / `ONE`.

    `above` and `below` start at the upper left of the four pixels between which the neighbour of the first lies.
    """
    first, second, third, fourth = weights[2], weights[3], weights[4], weights[5]
    bit = np.uint16(number)
    if first == ONE:
        for x in range(own.size):
            difference = np.int16((above[x] - own[x]) * np.int16(ONE))
            signs[x] |= np.uint16(difference >= 0) << bit
            strength = np.int16(abs(difference))
            differences[x] = strength
            sums[x] += strength
    else:
        for x in range(own.size):
            upper = np.int16(first * above[x] + second * above[x + 1])
            lower = np.int16(third * below[x] + fourth * below[x + 1])
            difference = np.int16(upper + lower - own[x] * np.int16(ONE))
            signs[x] |= np.uint16(difference >= 0) << bit
            strength = np.int16(abs(difference))
            differences[x] = strength
            sums[x] += strength


@njit(nogil=True)
def _look_around(
    picture: Picture,
    row: int,
    circle: Circle,
    signs: NDArray[np.uint16],
    differences: Picture,
    sums: Counts,
) -> None:
    """All neighbours of each pixel of a row: their signs, what they differ by one by one, and in all."""
    signs[:] = 0
    sums[:] = 0
    own = picture[row + MARGIN, MARGIN : MARGIN + sums.size]
    for number in range(circle.shape[0]):
        above, left = row + MARGIN + circle[number, 0], MARGIN + circle[number, 1]
        below = min(above + 1, picture.shape[0] - 1)  # where it is past the end its weights are 0
        _compare(
            picture[above, left:],
            picture[below, left:],
            own,
            circle[number],
            number,
            signs,
            differences[number],
            sums,
        )


@njit(nogil=True)
def _set_limits(
    picture: Picture,
    first: int,
    columns: Edges,
    sums: Counts,
    neighbours: int,
    least_strong: Picture,
    least_bright: Picture,
) -> None:
    """The means of each cell of a row of cells, rounded up, at each of its columns."""
    height, blocks = sums.shape[0], columns.size - 1
    for block in range(0, blocks, 2):
        left, right = columns[block], columns[min(block + 2, blocks)]
        strength, brightness = 0, 0
        for y in range(height):
            for x in range(left, right):
                strength += sums[y, x]
                brightness += picture[first + y + MARGIN, x + MARGIN]
        pixels = max(height * (right - left), 1)
        least_strong[left:right] = -(-strength // (pixels * neighbours))
        least_bright[left:right] = -(-brightness // pixels)


@njit(nogil=True)
def _find_strong(differences: Picture, least_strong: Picture, strong: NDArray[np.uint16]) -> None:
    """Which neighbours of each pixel of a row differ by the limit or more."""
    strong[:] = 0
    for number in range(differences.shape[0]):
        own = differences[number]
        bit = np.uint16(number)
        for x in range(strong.size):
            strong[x] |= np.uint16(own[x] >= least_strong[x]) << bit


@njit(nogil=True)
def _count_codes(
    picture: Picture,
    rows: Edges,
    columns: Edges,
    circle: Circle,
    classes: Classes,
    counts: Counts,
    strengths: NDArray[np.int64],
) -> None:
    """Count what codes the pixels of each block have.

    `picture` int16[h + 4, w + 4] has a margin of 2. `rows` int64[r + 1] and `columns` int64[c + 1] are the edges
    of blocks, 0 to h and to w. `circle` int16[p, 6] has for each neighbour the row and column of the upper left
    of four pixels, from the pixel's own, and the weights of the four. `classes` uint8[2**p] tells the class, of
    k, of each pattern of neighbours. Adds to `counts` int32[r, c, 2 k**2], and to `strengths` int64[r, c] what
    the neighbours differ by.

    A code is the class of which neighbours are as bright, the class of which differ by more than most, and
    whether the pixel is bright (Guo, Zhang and Zhang 2010). What is more than most, and bright, is the mean of
    a cell: two blocks by two.
    """
    neighbours = circle.shape[0]
    kinds = neighbours + 2
    down, across = rows.size - 1, columns.size - 1
    width = columns[across]
    least_strong, least_bright = np.empty(width, np.int16), np.empty(width, np.int16)
    strong = np.empty(width, np.uint16)
    for top in range(0, down, 2):
        end = min(top + 2, down)
        first = rows[top]
        height = rows[end] - first
        signs = np.empty((height, width), np.uint16)
        differences = np.empty((height, neighbours, width), np.int16)
        sums = np.empty((height, width), np.int32)
        for y in range(height):
            _look_around(picture, first + y, circle, signs[y], differences[y], sums[y])
        _set_limits(picture, first, columns, sums, neighbours, least_strong, least_bright)
        for y in range(height):
            _find_strong(differences[y], least_strong, strong)
            block = top + (first + y >= rows[top + 1])
            for place in range(across):
                histogram = counts[block, place]
                strength = np.int64(0)
                for x in range(columns[place], columns[place + 1]):
                    bright = picture[first + y + MARGIN, x + MARGIN] >= least_bright[x]
                    code = np.int64(classes[signs[y, x]]) * kinds + np.int64(classes[strong[x]])
                    histogram[2 * code + np.int64(bright)] += 1
                    strength += sums[y, x]
                strengths[block, place] += strength


_edges_of = njit(nogil=True)(edges_of)


@njit(nogil=True)
def _with_margin(picture: NDArray[np.uint8]) -> Picture:
    """The picture with its outermost pixels repeated around it."""
    height, width = picture.shape
    found = np.empty((height + 2 * MARGIN, width + 2 * MARGIN), np.int16)
    for y in range(found.shape[0]):
        row = picture[min(max(y - MARGIN, 0), height - 1)]
        found[y, MARGIN : MARGIN + width] = row
        found[y, :MARGIN] = row[0]
        found[y, MARGIN + width :] = row[width - 1]
    return found


@njit(nogil=True)
def _half(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    found = np.empty((picture.shape[0] // 2, picture.shape[1] // 2), np.uint8)
    for y in range(found.shape[0]):
        upper, lower = picture[2 * y], picture[2 * y + 1]
        for x in range(found.shape[1]):
            total = int(upper[2 * x]) + int(upper[2 * x + 1]) + int(lower[2 * x]) + int(lower[2 * x + 1])
            found[y, x] = (total + 2) >> 2
    return found


@compiled(types.uint8[:, ::1](_pixels))
def half(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of two pixels by two of uint8[h, w]: uint8[h / 2, w / 2]; an odd last row or column is left out."""
    return _half(picture)


@compiled(types.void(_pixels, _circle, _classes, _circle, _classes, _counts, _sums))
def count_blocks(
    picture: NDArray[np.uint8],
    narrow: Circle,
    narrow_classes: Classes,
    wide: Circle,
    wide_classes: Classes,
    counts: Counts,
    strengths: NDArray[np.int64],
) -> None:
    """Count codes at three scales: `counts` int32[r, c, 1248] of r by c blocks of a picture uint8[h, w].

    See `_count_codes`: those of the narrow circle, then of the wide one, then of the narrow one in the picture
    made smaller by two and by four. `strengths` int64[r, c] are of the first.
    """
    rows, columns = counts.shape[0], counts.shape[1]
    narrow_size, wide_size = 2 * (narrow.shape[0] + 2) ** 2, 2 * (wide.shape[0] + 2) ** 2
    ignored = np.empty_like(strengths)
    strengths[:] = 0
    first = 0
    for scale in range(3):
        padded = _with_margin(picture)
        down, across = _edges_of(picture.shape[0], rows), _edges_of(picture.shape[1], columns)
        found = np.zeros((rows, columns, narrow_size), np.int32)
        strong = strengths if scale == 0 else ignored
        _count_codes(padded, down, across, narrow, narrow_classes, found, strong)
        counts[:, :, first : first + narrow_size] = found
        first += narrow_size
        if scale == 0:
            found = np.zeros((rows, columns, wide_size), np.int32)
            _count_codes(padded, down, across, wide, wide_classes, found, ignored)
            counts[:, :, first : first + wide_size] = found
            first += wide_size
        picture = _half(picture)


@compiled(types.void(_histograms, _bounds, _rows))
def find_features(histograms: NDArray[np.int32], bounds: Edges, features: Features) -> None:
    """Square roots of shares: of `histograms` int32[n, k], each between two of `bounds`, 4096 standing for 1."""
    for row in range(histograms.shape[0]):
        for part in range(bounds.size - 1):
            first, end = bounds[part], bounds[part + 1]
            total = 0
            for place in range(first, end):
                total += histograms[row, place]
            for place in range(first, end):
                share = histograms[row, place] / max(total, 1)
                features[row, place] = np.int16(np.rint(np.sqrt(share) * FEATURE_ONE))
