"""The compiled loops of self-joins: every pair of a collection once; see `kernels` for what holds for all kernels.

A join stops where its answer has no more room or its share of work is done, and goes on from there when it is
called again: `state` int64[5] says where, zeros at first, and -1 comes first in it when there is nothing left.
"""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled
from app.index.band_kernels import (
    Addresses,
    Keys,
    _addresses,
    _is_first,
    _near,
    _next_of_as_many_bits,
    _opened,
    _reach,
    _row,
    _shift,
    _width,
)
from app.index.kernels import (
    _ALL,
    _ONE,
    _WINDOW,
    Distances,
    Hashes,
    Ids,
    _hashes,
    _ids,
    _lowest_bit,
    _near_64,
    _popcount,
    _radius,
)

State = NDArray[np.int64]

_SHORT_WINDOW = 8  # of `_near`
_TILE = 2048  # hashes that stay in the nearest cache while all others pass by
_pairs = (types.int64[::1], types.int64[::1], types.uint8[::1])


@njit(nogil=True)
def _put(ids: Ids, first: int, second: int, left: Ids, right: Ids, found: int) -> None:
    """Write a pair, the smaller id to the left."""
    left[found] = min(ids[first], ids[second])
    right[found] = max(ids[first], ids[second])


@njit(nogil=True)
def _next_key(turned: np.uint64, reach: int, keys: np.uint64) -> np.uint64:
    """The next of the numbers with at most `reach` bits set, by how many and by value; `keys` after the last."""
    bits = 0
    if turned != 0:
        bits = _popcount(turned)
        following = _next_of_as_many_bits(turned)
        if following < keys:
            return following
    if bits >= reach:
        return keys
    return (_ONE << np.uint64(bits + 1)) - _ONE


@compiled(types.int64(_hashes, _ids, _radius, types.int64[::1], types.int64, *_pairs))
def join_scan(
    hashes: Hashes,
    ids: Ids,
    radius: int,
    state: State,
    most_windows: int,
    left: Ids,
    right: Ids,
    distances: Distances,
) -> int:
    """Write pairs within `radius`, having compared each with each; returns the count.

    `left` and `right` have room for 64 at least. Stops after about `most_windows` times 64 comparisons. State:
    first position of the tile, position that it is compared with, first position of the window.
    """
    tile, position, window = state[0], state[1], state[2]
    found = 0
    windows = 0
    size = hashes.size
    while tile < size:
        end = min(tile + _TILE, size)
        while position < end:
            query = hashes[position]
            # Windows begin at multiples of 64: the first one to look at is that of the next position.
            window = max(window, tile, (position + 1) // _WINDOW * _WINDOW)
            while window < end:
                if found + _WINDOW > left.size or windows >= most_windows:
                    state[0], state[1], state[2] = tile, position, window
                    return found
                windows += 1
                first = window
                if window + _WINDOW <= size:
                    near = _near_64(hashes, np.uint64(window), query, np.uint64(radius))
                elif size >= _WINDOW:
                    first = size - _WINDOW
                    near = _near_64(hashes, np.uint64(first), query, np.uint64(radius))
                    near &= _ALL << np.uint64(window - first)
                else:
                    near = np.uint64(0)
                    for place in range(window, size):
                        is_near = _popcount(hashes[place] ^ query) <= radius
                        near |= np.uint64(is_near) << np.uint64(place - window)
                if position >= first:
                    near &= _ALL << np.uint64(position - first) & ~(_ONE << np.uint64(position - first))
                while near != 0:
                    place = first + _lowest_bit(near)
                    near &= near - _ONE
                    _put(ids, position, place, left, right, found)
                    distances[found] = _popcount(hashes[place] ^ query)
                    found += 1
                window += _WINDOW
            window = 0
            position += 1
        tile = end
        position = 0
    state[0] = -1
    return found


@njit(nogil=True)
def _first_key(bands: int, band: int) -> int:
    """Where the starts of a band's keys begin."""
    first = 0
    for earlier in range(band):
        first += (1 << _width(bands, earlier)) + 1
    return first


@njit(nogil=True)
def _put_near(
    row: Hashes,
    ids: Ids,
    places: Keys,
    bands: int,
    band: int,
    radius: int,
    one: int,
    window: int,
    near: np.uint64,
    left: Ids,
    right: Ids,
    distances: Distances,
    found: int,
) -> int:
    """Write the pairs of one hash of a band's table with those of a window whose bit in `near` is set."""
    table = band + places.shape[0] - bands
    while near != 0:
        other = window + _lowest_bit(near)
        near &= near - _ONE
        difference = row[other] ^ row[one]
        if _is_first(bands, band, radius, difference):
            first = one if table < 0 else int(places[table, one])
            second = other if table < 0 else int(places[table, other])
            _put(ids, first, second, left, right, found)
            distances[found] = _popcount(difference)
            found += 1
    return found


@compiled(types.int64(_addresses, _radius, types.int64[::1], types.int64, *_pairs))
def join_bands(
    addresses: Addresses,
    radius: int,
    state: State,
    most_windows: int,
    left: Ids,
    right: Ids,
    distances: Distances,
) -> int:
    """Write pairs within `radius` by the tables at these addresses; returns the count.

    In each band the hashes of each key are compared with those of the keys near to it, each two keys once. `left`
    and `right` have room for 8 at least. Stops after about `most_windows` times 8 comparisons. State: band, key, in
    which bits the other key differs, number of the one hash, number of the other.
    """
    (hashes, ids, in_order, places, starts, _, _, _), bands = _opened(addresses)
    found = 0
    windows = 0
    for band in range(state[0], bands):
        row = _row(hashes, in_order, bands, band)
        reach = _reach(radius, bands, band)
        keys = 1 << _width(bands, band) if reach >= 0 else 0
        own_starts = starts[_first_key(bands, band) :]
        for key in range(state[1], keys):
            if windows >= most_windows:
                state[0], state[1] = band, key
                return found
            begin, end = int(own_starts[key]), int(own_starts[key + 1])
            turned = np.uint64(state[2])
            while begin < end and turned < np.uint64(keys):
                other = key ^ int(turned)
                other_end = int(own_starts[other + 1]) if other >= key else 0
                for one in range(max(begin, state[3]), end):
                    first = max(int(own_starts[other]), one + 1 if turned == 0 else 0, state[4])
                    state[4] = 0
                    for two in range(first, other_end, _SHORT_WINDOW):
                        if found + _SHORT_WINDOW > left.size or windows >= most_windows:
                            state[0], state[1], state[2] = band, key, np.int64(turned)
                            state[3], state[4] = one, two
                            return found
                        windows += 1
                        window, near = _near(row, two, other_end, row[one], radius)
                        if near != 0:
                            way = (row, ids, places, bands, band, radius, one)
                            found = _put_near(*way, window, near, left, right, distances, found)
                state[3] = 0
                turned = _next_key(turned, reach, np.uint64(keys))
                windows += 1
            state[2] = 0
        state[1] = 0
    state[0] = -1
    return found


@compiled(types.float64(_addresses, _radius, types.int64))
def mean_met(addresses: Addresses, radius: int, step: int) -> float:
    """Hashes that a query meets in the tables: mean over each `step`-th hash."""
    (hashes, _, _, _, starts, _, _, _), bands = _opened(addresses)
    total: float = 0.0
    for position in range(0, hashes.size, step):
        for band in range(bands):
            own_starts = starts[_first_key(bands, band) :]
            reach = _reach(radius, bands, band)
            keys = _ONE << np.uint64(_width(bands, band))
            key = hashes[position] >> np.uint64(_shift(bands, band)) & (keys - _ONE)
            turned = np.uint64(0) if reach >= 0 else keys
            while turned < keys:
                total += int(own_starts[(key ^ turned) + _ONE]) - int(own_starts[key ^ turned])
                turned = _next_key(turned, reach, keys)
    asked: int = max((hashes.size + step - 1) // step, 1)
    return total / asked
