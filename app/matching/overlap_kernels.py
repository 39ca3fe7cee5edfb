"""The compiled loops that tell whether keypoints of two pictures agree on how one lies on the other."""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled
from app.index.kernels import _ALL, _lowest_bit, _near_64, _popcount

CELLS = 256
"""Along each side of a picture, for telling its places apart."""

_SAME = 2.0  # pixels
_WINDOW = 64  # hashes compared together
_ONE = np.uint64(1)

Floats = NDArray[np.float32]
Counts = NDArray[np.int64]

_codes = types.Array(types.uint64, 1, "C", readonly=True)
_places = types.Array(types.float32, 2, "C", readonly=True)
_pairs = types.Array(types.int64, 2, "C")
_kept_pairs = types.Array(types.int64, 2, "C", readonly=True)
_marks = types.Array(types.boolean, 1, "C")


@compiled(types.int64(_codes, _codes, types.int64, _pairs))
def find_pairs(queries: NDArray[np.uint64], stored: NDArray[np.uint64], radius: int, pairs: Counts) -> int:
    """Write places in `queries` and `stored`, and bits, of all pairs within a radius; return how many there are.

    Of more than `pairs` int64[m, 3] has room for, only the number is told.
    """
    windows = np.zeros(-(-stored.size // _WINDOW) * _WINDOW, np.uint64)
    windows[: stored.size] = stored
    count = 0
    for query in range(queries.size):
        for window in range(0, stored.size, _WINDOW):
            near = _near_64(windows, np.uint64(window), queries[query], np.uint64(radius))
            if window + _WINDOW > stored.size:
                near &= _ALL >> np.uint64(window + _WINDOW - stored.size)
            while near != 0:
                place = window + _lowest_bit(near)
                near &= near - _ONE
                if count < pairs.shape[0]:
                    bits = _popcount(queries[query] ^ windows[place])
                    pairs[count, 0], pairs[count, 1], pairs[count, 2] = query, place, bits
                count += 1
    return count


@njit(nogil=True)
def _cell(place: float, side: float) -> int:
    return min(max(int(place * (CELLS / side)), 0), CELLS - 1)


@njit(nogil=True)
def _agree(
    queries: Floats,
    stored: Floats,
    pairs: Counts,
    first: int,
    most_off: float,
    most_scaled: float,
    most_turned: float,
    agreeing: NDArray[np.bool_],
) -> None:
    """Which pairs agree with one of them on scale, rotation and shift."""
    q, s = queries[pairs[first, 0]], stored[pairs[first, 1]]
    scale = np.log2(s[2] / q[2])
    turn = s[3] - q[3]
    factor = s[2] / q[2]
    cosine, sine = factor * np.cos(turn), factor * np.sin(turn)
    for place in range(pairs.shape[0]):
        other, found = queries[pairs[place, 0]], stored[pairs[place, 1]]
        x, y = other[0] - q[0], other[1] - q[1]
        across = cosine * x - sine * y + s[0] - found[0]
        down = sine * x + cosine * y + s[1] - found[1]
        agreeing[place] = False
        if not across * across + down * down <= most_off * most_off:
            continue  # most are: what takes long is told of few
        turned = (found[3] - other[3] - turn) % (2 * np.pi)
        turned = min(turned, 2 * np.pi - turned)
        scaled = abs(np.log2(found[2] / other[2]) - scale)
        agreeing[place] = scaled <= most_scaled and turned <= most_turned


@compiled(types.int64(_places, _places, _kept_pairs, *[types.float64] * 5, types.int64, _marks))
def most_agreeing(
    queries: Floats,
    stored: Floats,
    pairs: Counts,
    query_side: float,
    stored_side: float,
    most_off: float,
    most_scaled: float,
    most_turned: float,
    tried: int,
    agreeing: NDArray[np.bool_],
) -> int:
    """Find the pair that most others agree with on one similarity; mark those, and return how many places they are.

    Places float32[k, 4] as in `Keypoints`; `pairs` int64[n, 3], of which the first `tried` are tried. Others agree
    within `most_off` pixels of the stored picture, `most_scaled` octaves and `most_turned` radians. The count is of
    distinct places, in the picture where those are fewer: one place may have several keypoints. Sides are the long
    ones of the pictures, in pixels.
    """
    # Zeros cost nothing where they are not touched.
    seen_queries = np.zeros(CELLS * CELLS, np.int32)
    seen_stored = np.zeros(CELLS * CELLS, np.int32)
    own = np.empty(pairs.shape[0], np.bool_)
    best = 0
    for first in range(min(tried, pairs.shape[0])):
        _agree(queries, stored, pairs, first, most_off, most_scaled, most_turned, own)
        in_query, in_stored = 0, 0
        for place in range(pairs.shape[0]):
            if not own[place]:
                continue
            query, found = queries[pairs[place, 0]], stored[pairs[place, 1]]
            cell = CELLS * _cell(query[1], query_side) + _cell(query[0], query_side)
            if seen_queries[cell] != first + 1:
                seen_queries[cell] = first + 1
                in_query += 1
            cell = CELLS * _cell(found[1], stored_side) + _cell(found[0], stored_side)
            if seen_stored[cell] != first + 1:
                seen_stored[cell] = first + 1
                in_stored += 1
        if min(in_query, in_stored) > best:
            best = min(in_query, in_stored)
            agreeing[:] = own
    return best


@njit(nogil=True)
def _apart(one: Floats, other: Floats) -> bool:
    """Whether two places are not one and the same."""
    return bool(abs(one[0] - other[0]) + abs(one[1] - other[1]) > _SAME)


@compiled(
    types.void(
        _places,
        _places,
        _kept_pairs,
        types.Array(types.float64, 1, "C", readonly=True),
        types.Array(types.int64, 1, "C", readonly=True),
        types.Array(types.float64, 1, "C", readonly=True),
        types.float64,
        types.float64,
        types.Array(types.float64, 1, "C"),
    )
)
def weigh_agreeing(
    queries: Floats,
    stored: Floats,
    pairs: Counts,
    weights: NDArray[np.float64],
    starts: Counts,
    most_off: NDArray[np.float64],
    most_scaled: float,
    most_turned: float,
    found: NDArray[np.float64],
) -> None:
    """Of each picture, write the greatest weight of pairs that agree, as in `most_agreeing`; 0 where no two do.

    Picture n has pairs[starts[n] : starts[n + 1]], ordered by query: int64[m, 2], of places float32[k, 4], with
    `weights` float64[m], and the limit most_off[n] in pixels. A place of the query counts once.
    """
    own = np.empty(pairs.shape[0], np.bool_)
    for picture in range(starts.size - 1):
        begin, end = starts[picture], starts[picture + 1]
        some = pairs[begin:end]
        best = 0.0
        for first in range(end - begin):
            _agree(queries, stored, some, first, most_off[picture], most_scaled, most_turned, own)
            total, two = 0.0, False
            one = some[first]
            last = -1
            for place in range(end - begin):
                if not own[place]:
                    continue
                if some[place, 0] != last:
                    last = some[place, 0]
                    total += weights[begin + place]
                two = two or (
                    _apart(queries[one[0]], queries[some[place, 0]])
                    and _apart(stored[one[1]], stored[some[place, 1]])
                )
            if two and total > best:
                best = total
        found[picture] = best
