"""The compiled loops of clustering; see `clusters`.

Codes are columns of `planes` uint64[words, m]: a word of many codes lies together, so that the compiler compares
eight at once. Columns are taken a block at a time, which stays in the nearest cache while codes pass by it.

A degree is two counts of rows in one number: those within the radius, and `CORE` bits above those within the core.
"""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled
from app.index.kernels import _popcount

Planes = NDArray[np.uint64]
Numbers = NDArray[np.int64]

CORE = 32
"""Bits that the count within the core is shifted by."""
NEAR = (1 << CORE) - 1
"""The bits of a degree that count what is within the radius."""

_BLOCK = 512  # columns: 36 KB of four words, weights, degrees and distances
_GONE = -(1 << 62)  # degree of a column that is in a star: below 0 whatever is taken off it, up to 2**29 rows

_planes = types.uint64[:, ::1]
_numbers = types.int64[::1]


@njit(nogil=True)
def _measure(planes: Planes, query: Planes, number: int, start: int, bits: Numbers) -> None:
    """Write the distances of column `number` of `query` and the columns of `planes` from `start` on."""
    stop = start + bits.size
    first, own = planes[0, start:stop], query[0, number]
    if planes.shape[0] == 4:  # all at once: the distances are written a single time
        second, third, fourth = planes[1, start:stop], planes[2, start:stop], planes[3, start:stop]
        own2, own3, own4 = query[1, number], query[2, number], query[3, number]
        for place in range(bits.size):
            bits[place] = (
                _popcount(first[place] ^ own)
                + _popcount(second[place] ^ own2)
                + _popcount(third[place] ^ own3)
                + _popcount(fourth[place] ^ own4)
            )
        return
    for place in range(bits.size):
        bits[place] = _popcount(first[place] ^ own)
    for word in range(1, planes.shape[0]):
        further, own = planes[word, start:stop], query[word, number]
        for place in range(bits.size):
            bits[place] += _popcount(further[place] ^ own)


@compiled(types.void(_planes, _numbers, types.int64, types.int64, types.int64, types.int64, _numbers))
def count(
    planes: Planes, weights: Numbers, radius: int, core: int, begin: int, end: int, degrees: Numbers
) -> None:
    """Add columns `begin` to `end` to the degrees of those before them, and those before to theirs."""
    buffer = np.empty(_BLOCK, np.int64)
    for start in range(0, end, _BLOCK):
        for number in range(max(start, begin), end):
            bits = buffer[: min(start + _BLOCK, number) - start]
            own = weights[number]
            _measure(planes, planes, number, start, bits)
            others, theirs = weights[start : start + bits.size], degrees[start : start + bits.size]
            total, total_core = 0, 0
            for place in range(bits.size):
                near, nearest = np.int64(bits[place] <= radius), np.int64(bits[place] <= core)
                total += near * others[place]
                total_core += nearest * others[place]
                theirs[place] += (near + (nearest << CORE)) * own
            degrees[number] += total + (total_core << CORE)


@compiled(types.int64(_numbers, types.int64))
def highest(degrees: Numbers, least: int) -> int:
    """The first column of the highest degree among those with `least` rows within the radius; -1 if none has.

    That is the one with the most within the core; of several the one with the most within the radius.
    """
    best = -1
    for place in range(degrees.size):
        degree = degrees[place]
        best = max(best, degree if degree & NEAR >= least else -1)
    if best >= 0:
        for place in range(degrees.size):
            if degrees[place] == best:
                return place
    return -1


@compiled(types.int64(_planes, _numbers, types.int64, types.int64, _numbers))
def take_star(planes: Planes, degrees: Numbers, medoid: int, radius: int, members: Numbers) -> int:
    """Write which columns that are left are within the radius of one, and mark them as gone; returns the count."""
    buffer = np.empty(_BLOCK, np.int64)
    found = 0
    for start in range(0, degrees.size, _BLOCK):
        bits = buffer[: min(_BLOCK, degrees.size - start)]
        _measure(planes, planes, medoid, start, bits)
        for place in range(bits.size):
            if bits[place] <= radius and degrees[start + place] >= 0:
                members[found] = start + place
                degrees[start + place] = _GONE
                found += 1
    return found


@compiled(types.void(_planes, _numbers, types.int64, types.int64, _numbers, _numbers))
def take_off(
    planes: Planes, weights: Numbers, radius: int, core: int, members: Numbers, degrees: Numbers
) -> None:
    """Take some columns off the degrees of all."""
    buffer = np.empty(_BLOCK, np.int64)
    for start in range(0, degrees.size, _BLOCK):
        bits = buffer[: min(_BLOCK, degrees.size - start)]
        theirs = degrees[start : start + bits.size]
        for member in members:
            own = weights[member]
            _measure(planes, planes, member, start, bits)
            for place in range(bits.size):
                near, nearest = np.int64(bits[place] <= radius), np.int64(bits[place] <= core)
                theirs[place] -= (near + (nearest << CORE)) * own


@compiled(types.void(_planes, _planes, types.int64, types.int64, _numbers, _numbers))
def find_nearest(
    planes: Planes, medoids: Planes, begin: int, end: int, nearest: Numbers, distances: Numbers
) -> None:
    """Write which medoid is nearest to columns `begin` to `end`, of several the first, and how far it is."""
    buffer = np.empty(_BLOCK, np.int64)
    for start in range(begin, end, _BLOCK):
        bits = buffer[: min(_BLOCK, end - start)]
        own, numbers = distances[start : start + bits.size], nearest[start : start + bits.size]
        for medoid in range(medoids.shape[1]):
            _measure(planes, medoids, medoid, start, bits)
            for place in range(bits.size):
                nearer = bits[place] < own[place]
                own[place] = bits[place] if nearer else own[place]
                numbers[place] = medoid if nearer else numbers[place]


@njit(nogil=True)
def _root(parents: Numbers, one: int) -> int:
    while parents[one] != one:
        parents[one] = parents[parents[one]]
        one = parents[one]
    return one


@compiled(types.void(_numbers, _numbers, _numbers, _numbers, _numbers))
def link(parents: Numbers, degrees: Numbers, weights: Numbers, left: Numbers, right: Numbers) -> None:
    """Join the trees of each pair, the root that comes first on top; add their weights to each other's degrees."""
    for pair in range(left.size):
        one, other = left[pair], right[pair]
        degrees[one] += weights[other]
        degrees[other] += weights[one]
        one, other = _root(parents, one), _root(parents, other)
        parents[max(one, other)] = min(one, other)


@compiled(types.void(_numbers))
def find_roots(parents: Numbers) -> None:
    """Put the root of each tree in the place of every parent."""
    for one in range(parents.size):
        parents[one] = _root(parents, one)
