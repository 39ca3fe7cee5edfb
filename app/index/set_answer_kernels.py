"""The compiled loops around the answers of an index over sets: by scan, what they mean, and two made one.

See `set_kernels` for the words that an answer is made of, and `kernels` for what holds for all kernels.
"""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled
from app.index.band_kernels import Keys
from app.index.kernels import Distances, Hashes, Ids, _hashes, _ids, _lowest_bit, _near_64, _popcount
from app.index.set_table_kernels import (
    Number,
    Rests,
    _first_table,
    _keys,
    _marks,
    _set_at,
    _turned_back,
    _whole,
)
from app.index.set_window_kernels import _ask_for

Numbers = NDArray[np.int32]

QUERY_SHIFT, POSITION_SHIFT = 39, 7

_BITS = 64
_ONE = np.uint64(1)
_TOGETHER = 256  # found hashes of which sets are told together: memory of all is asked for before it is read
_BLOCK = 4096  # hashes scanned together: they stay in the processor's first cache

_answer = types.uint64[::1]
_found = (types.int32[::1], _ids, types.int32[::1], types.uint8[::1], types.uint8[::1])


@njit(nogil=True)
def _word(query: int, place: Number, distance: int) -> np.uint64:
    return (
        np.uint64(query) << np.uint64(QUERY_SHIFT)
        | np.uint64(place) << np.uint64(POSITION_SHIFT)
        | np.uint64(distance)
    )


@njit(nogil=True)
def _name_positions(positions: Keys, found: Hashes) -> None:
    """Put positions in the place of places in the first table: of all at once, to wait for them once."""
    low = _ONE << np.uint64(QUERY_SHIFT - POSITION_SHIFT)
    for number in range(found.size):
        word = found[number]
        place = word >> np.uint64(POSITION_SHIFT) & (low - _ONE)
        other = word & ~((low - _ONE) << np.uint64(POSITION_SHIFT))
        found[number] = other | np.uint64(positions[place]) << np.uint64(POSITION_SHIFT)


@njit(nogil=True)
def _scan_block(
    hashes: Hashes,
    size: int,
    first: int,
    queries: Hashes,
    sure: Hashes,
    radius: int,
    found: Hashes,
    count: int,
) -> int:
    """Compare hashes[:size], whose positions begin with `first`, with all queries, in what is `sure` of each too;
    there are whole windows."""
    for number in range(queries.size):
        for window in range(0, size, _BITS):
            bits = _near_64(hashes, np.uint64(window), queries[number], np.uint64(radius))
            if window + _BITS > size:
                bits &= (_ONE << np.uint64(size - window)) - _ONE
            while bits != 0:
                place = window + _lowest_bit(bits)
                bits &= bits - _ONE
                different = hashes[np.uint64(place)] ^ queries[number]
                if different & sure[number] != 0:
                    continue
                if count < found.size:
                    found[count] = _word(number, first + place, _popcount(different))
                count += 1
    return count


@compiled(types.int64(*_first_table, _hashes, _hashes, types.int64, _answer))
def scan_sets(
    begins: Keys,
    low: Keys,
    rest: Rests,
    positions: Keys,
    key_bits: int,
    queries: Hashes,
    sure: Hashes,
    radius: int,
    found: Hashes,
) -> int:
    """As `search_sets`, comparing all hashes of the first table with all queries."""
    block = np.zeros(_BLOCK, np.uint64)
    count = first = size = 0
    for key in range(begins.size - 1):
        for place in range(begins[key], begins[key + 1]):
            block[size] = _turned_back(0, _whole(np.uint64(key), key_bits, low, rest, np.uint64(place)))
            size += 1
            if size == _BLOCK:
                count = _scan_block(block, size, first, queries, sure, radius, found, count)
                first += size
                size = 0
    count = _scan_block(block, size, first, queries, sure, radius, found, count)
    if count <= found.size:
        _name_positions(positions, found[:count])
    return count


@compiled(types.int64(_hashes, types.int64, _hashes, _hashes, types.int64, _answer))
def scan_tail(hashes: Hashes, size: int, queries: Hashes, sure: Hashes, radius: int, found: Hashes) -> int:
    """As `scan_sets` for hashes[:size] by position, as they are; there is room for whole windows of 64."""
    count = 0
    for first in range(0, size, _BLOCK):
        block = hashes[first:]
        count = _scan_block(block, min(size - first, _BLOCK), first, queries, sure, radius, found, count)
    return count


@compiled(
    types.int64(
        _answer,
        _keys,
        _keys,
        _ids,
        _marks,
        _ids,
        types.int64,
        *_found,
    )
)
def name_sets(
    found: Hashes,
    starts: Keys,
    coarse: Keys,
    owners: Ids,
    tags: Distances,
    died: Ids,
    clock: int,
    queries: Numbers,
    named: Ids,
    places: Numbers,
    distances: Distances,
    tags_found: Distances,
) -> int:
    """Write what sorted words of an answer mean, but for sets that are dead by `clock`; returns the count.

    `starts` uint32[m + 1] are the sets' first positions, `coarse` uint32 the sets that every so many positions
    belong to, or empty; `tags` uint8[n] are by position, `died` int64[m] the tick at which each set died, or 0.
    """
    count = 0
    mask = (_ONE << np.uint64(QUERY_SHIFT - POSITION_SHIFT)) - _ONE
    sets = np.empty(_TOGETHER, np.int64)
    for first in range(0, found.size, _TOGETHER):
        some = found[first : first + _TOGETHER]
        for number in range(some.size):
            position = np.int64(some[number] >> np.uint64(POSITION_SHIFT) & mask)
            _ask_for(tags, np.uint64(position))
            own = _set_at(starts, coarse, position)
            _ask_for(died, np.uint64(own))
            _ask_for(owners, np.uint64(own))
            sets[number] = own
        for number in range(some.size):
            word, own = some[number], sets[number]
            if 0 < died[own] <= clock:
                continue
            position = np.int64(word >> np.uint64(POSITION_SHIFT) & mask)
            queries[count] = word >> np.uint64(QUERY_SHIFT)
            named[count] = owners[own]
            places[count] = position - starts[own]
            distances[count] = word & np.uint64((1 << POSITION_SHIFT) - 1)
            tags_found[count] = tags[position]
            count += 1
    return count


@compiled(types.void(*_found, *_found, *_found))
def merge_found(
    queries: Numbers,
    owners: Ids,
    places: Numbers,
    distances: Distances,
    tags: Distances,
    other_queries: Numbers,
    other_owners: Ids,
    other_places: Numbers,
    other_distances: Distances,
    other_tags: Distances,
    all_queries: Numbers,
    all_owners: Ids,
    all_places: Numbers,
    all_distances: Distances,
    all_tags: Distances,
) -> None:
    """Merge two answers that are ordered by query and owner, and have no owner in common, into a third."""
    one = other = 0
    for number in range(all_queries.size):
        take = other == other_queries.size
        if not take and one < queries.size:
            if queries[one] != other_queries[other]:
                take = queries[one] < other_queries[other]
            else:
                take = owners[one] < other_owners[other]
        if take:
            all_queries[number], all_owners[number] = queries[one], owners[one]
            all_places[number], all_distances[number] = places[one], distances[one]
            all_tags[number] = tags[one]
            one += 1
        else:
            all_queries[number], all_owners[number] = other_queries[other], other_owners[other]
            all_places[number], all_distances[number] = other_places[other], other_distances[other]
            all_tags[number] = other_tags[other]
            other += 1
