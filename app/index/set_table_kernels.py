"""The compiled loops that make the tables of an index over sets, and take hashes out of them again.

A table has, in the order of its keys, all of each hash but what its key tells, turned so that the table's band is
highest: 32 bits that are compared first, and 16 more beside them, in arrays of their own. See `set_tables`, and
`kernels` for what holds for all kernels.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled
from app.index.band_kernels import Keys, _rearranged, _shift, _width
from app.index.kernels import Hashes, Ids, _hashes, _ids

Rests = NDArray[np.uint16]
Number = Any
"""A whole number of numpy or Python: it is what a kernel's arguments make it."""

BANDS = 3
LEAST_KEY_BITS = 16
"""The first bits of a key, which with the 48 bits of a table are a hash."""
COARSE_SHIFT = 7
"""Of every so many positions (as a power of 2), it is kept which set the first belongs to."""

_BITS = 64
_ONE = np.uint64(1)
_LOW = np.uint64(2**32 - 1)
_FEW = 24  # hashes of a key that are sorted one by one
_SLICES = 3  # parts that a table is filled in, as a power of 2: what is written to stays in the cache


@njit(nogil=True)
def _turned(band: int, value: np.uint64) -> np.uint64:
    """A rearranged hash turned so that a band is its highest bits."""
    by = np.uint64(_BITS - _shift(BANDS, band) - _width(BANDS, band))
    return value << by | value >> (np.uint64(_BITS) - by & np.uint64(_BITS - 1))


@njit(nogil=True)
def _turned_back(band: int, value: np.uint64) -> np.uint64:
    by = np.uint64(_BITS - _shift(BANDS, band) - _width(BANDS, band))
    return value >> by | value << (np.uint64(_BITS) - by & np.uint64(_BITS - 1))


@njit(nogil=True)
def _whole(key: Number, key_bits: int, low: Keys, rest: Rests, place: Number) -> np.uint64:
    """The turned hash at a place of a table, which is one of that key."""
    high: np.uint64 = np.uint64(key) >> np.uint64(key_bits - LEAST_KEY_BITS) << np.uint64(48)
    return high | np.uint64(rest[place]) << np.uint64(32) | np.uint64(low[place])


@njit(nogil=True)
def _set_at(starts: Keys, coarse: Keys, position: Number) -> int:
    """The number of the set that a position belongs to; all of them are looked through where `coarse` is empty."""
    low, high = 0, starts.size - 1
    if coarse.size > 0:
        part = position >> COARSE_SHIFT
        low, high = int(coarse[part]), int(coarse[part + 1]) + 1
    while high - low > 1:
        middle = (low + high) >> 1
        if starts[middle] <= position:
            low = middle
        else:
            high = middle
    return low


@njit(nogil=True)
def _sort(values: Hashes) -> None:
    """Sort in place."""
    if values.size > _FEW:
        values.sort()
        return
    for number in range(1, values.size):
        value = values[number]
        place = number
        while place > 0 and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value


@njit(nogil=True)
def _order_keys(begins: Keys, low: Keys, rest: Rests, positions: Keys) -> None:
    """Put the hashes of each key in the order of what is compared first, then of their positions."""
    most = np.int64(0)
    for key in range(begins.size - 1):
        most = max(most, np.int64(begins[key + 1]) - np.int64(begins[key]))
    order = np.empty(most, np.uint64)
    own_rest, own_positions = np.empty(most, np.uint16), np.empty(most, np.uint32)
    for key in range(begins.size - 1):
        begin, end = np.int64(begins[key]), np.int64(begins[key + 1])
        count = end - begin
        if count < 2:
            continue
        for number in range(count):
            order[number] = np.uint64(low[begin + number]) << np.uint64(32) | np.uint64(number)
        _sort(order[:count])
        own_rest[:count], own_positions[:count] = rest[begin:end], positions[begin:end]
        for number in range(count):
            low[begin + number] = order[number] >> np.uint64(32)
            was = order[number] & _LOW
            rest[begin + number], positions[begin + number] = own_rest[was], own_positions[was]


_keys = types.uint32[::1]
_rests = types.uint16[::1]


_marks = types.Array(types.uint8, 1, "C", readonly=True)
_first_table = (_keys, _keys, _rests, _keys, types.int64)


@compiled(types.void(_hashes, types.int64, types.int64, _keys, _keys, _rests, _keys))
def fill_set_table(
    hashes: Hashes, band: int, key_bits: int, begins: Keys, low: Keys, rest: Rests, positions: Keys
) -> None:
    """Counting sort of rearranged hashes by a band's keys.

    `begins` has a place for each key and one more; `positions` may be empty: then they are not kept.
    """
    down = np.uint64(_BITS - key_bits)
    begins[:] = 0
    for position in range(hashes.size):
        begins[_turned(band, hashes[position]) >> down] += np.uint32(1)
    begin = np.uint32(0)
    for key in range(begins.size):
        count = begins[key]
        begins[key] = begin
        begin += count
    for part in range(1 << _SLICES):
        for position in range(hashes.size):
            value = _turned(band, hashes[position])
            if value >> np.uint64(_BITS - _SLICES) == np.uint64(part):
                own = value >> down
                place = np.uint64(begins[own])
                begins[own] += np.uint32(1)
                low[place] = np.uint32(value & _LOW)
                rest[place] = np.uint16(value >> np.uint64(32) & np.uint64(0xFFFF))
                if positions.size > 0:
                    positions[place] = position
    # Each key's hashes end where it stands now.
    for key in range(begins.size - 1, 0, -1):
        begins[key] = begins[key - 1]
    begins[0] = 0
    low[hashes.size :], rest[hashes.size :] = 0, 0
    if positions.size > 0:
        _order_keys(begins, low, rest, positions)


@compiled(types.void(*2 * (_keys, _keys, _rests, _keys), types.int64, _keys, _keys, _rests, _keys))
def join_set_tables(
    begins: Keys,
    low: Keys,
    rest: Rests,
    positions: Keys,
    later_begins: Keys,
    later_low: Keys,
    later_rest: Rests,
    later_positions: Keys,
    by: int,
    all_begins: Keys,
    all_low: Keys,
    all_rest: Rests,
    all_positions: Keys,
) -> None:
    """Make one table of two of the same keys: of each key the hashes of both, ordered by what is compared first.

    Positions in the second are moved by `by`; where there are none, the hashes of the second come last.
    """
    keeps_order = positions.size > 0
    to = np.int64(0)
    for key in range(begins.size - 1):
        all_begins[key] = to
        place, end = np.int64(begins[key]), np.int64(begins[key + 1])
        later, later_end = np.int64(later_begins[key]), np.int64(later_begins[key + 1])
        while place < end or later < later_end:
            takes_later = place == end or (
                keeps_order and later < later_end and later_low[later] < low[place]
            )
            if takes_later:
                all_low[to], all_rest[to] = later_low[later], later_rest[later]
                if keeps_order:
                    all_positions[to] = later_positions[later] + np.uint32(by)
                later += 1
            else:
                all_low[to], all_rest[to] = low[place], rest[place]
                if keeps_order:
                    all_positions[to] = positions[place]
                place += 1
            to += 1
    all_begins[begins.size - 1] = to
    all_low[to:], all_rest[to:] = 0, 0


@compiled(
    types.void(*_first_table, types.uint64[:, ::1], _marks, _keys, _keys, _ids, _hashes, types.uint8[::1])
)
def unfold_sets(
    begins: Keys,
    low: Keys,
    rest: Rests,
    positions: Keys,
    key_bits: int,
    moves: Hashes,
    tags: NDArray[np.uint8],
    starts: Keys,
    coarse: Keys,
    targets: Ids,
    hashes: Hashes,
    tags_of_hashes: NDArray[np.uint8],
) -> None:
    """Write hashes and tags of each set from its place of `targets` int64[m] on; none if < 0.

    Hashes are moved back by `moves`.
    """
    for key in range(begins.size - 1):
        for place in range(begins[key], begins[key + 1]):
            position = np.int64(positions[place])
            own = _set_at(starts, coarse, position)
            if targets[own] >= 0:
                value = _turned_back(0, _whole(np.uint64(key), key_bits, low, rest, np.uint64(place)))
                target = targets[own] + position - starts[own]
                hashes[target], tags_of_hashes[target] = _rearranged(moves, value), tags[position]
