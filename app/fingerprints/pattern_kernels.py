"""The compiled loops of the pattern fingerprint: histograms of local binary patterns; see `pattern`.

Whole numbers throughout, so that every processor counts alike. The inner loops run along whole rows, for the
compiler to do sixteen pixels at once: 17 ns a pixel for 8 and 16 neighbours together.
"""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled

MARGIN = 2
"""Pixels around a picture that neighbours are read from: of the larger circle's radius."""
ONE = 64
"""What the weights of a neighbour's four pixels add up to: 255 times that, and its negative, are int16."""

Picture = NDArray[np.int16]
Edges = NDArray[np.int64]
Circle = NDArray[np.int16]
Classes = NDArray[np.int64]
Counts = NDArray[np.int32]

_picture = types.Array(types.int16, 2, "C", readonly=True)
_edges = types.Array(types.int64, 1, "C", readonly=True)
_circle = types.Array(types.int16, 2, "C", readonly=True)
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


@compiled(types.void(_picture, _edges, _edges, _circle, _edges, _counts, _sums))
def count_codes(
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
    of four pixels, from the pixel's own, and the weights of the four. `classes` int64[2**p] tells the class, of
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
                for x in range(columns[place], columns[place + 1]):
                    bright = picture[first + y + MARGIN, x + MARGIN] >= least_bright[x]
                    code = classes[signs[y, x]] * kinds + classes[strong[x]]
                    histogram[2 * code + np.int64(bright)] += 1
                    strengths[block, place] += sums[y, x]
