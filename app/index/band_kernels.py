"""The compiled loops of multi-index hashing; see `kernels` for what holds for all kernels, and `multi_index`.

A query looks up, in the table of each band, every key within the band's radius of its own. That is done in two
steps: first the ranges of all those keys are read and their hashes counted, so that the cost is known before any of
it is paid, and memory is asked for ahead of its use; then the ranges are compared.

Hashes are held with their bits rearranged so that each band is a run of bits, the first the lowest: distances stay
as they are, and a key is a shift and a mask.
"""

from math import comb
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # type: ignore[attr-defined]
from numba.extending import intrinsic
from numpy.typing import NDArray

from app.compiling import compiled, keeping_gil
from app.index.kernels import (
    _ALL,
    Distances,
    Hashes,
    Ids,
    Ticks,
    _answer,
    _answers,
    _fetch_ids,
    _hashes,
    _lowest_bit,
    _near_8,
    _popcount,
    _prefetch,
    _progress,
    _radius,
    _scan,
)
from app.index.tree_kernels import COLUMNS, Nodes, _descend

Keys = NDArray[np.uint32]

BITS = 64
LOOKUPS, BY_LOOKUP, BY_HASH, BY_TREE, BY_SCAN, SMALLEST = range(6)
"""The columns of costs; see `addresses_of`."""
_ONE = np.uint64(1)
_WINDOW = 8  # hashes compared together: a key has few
_STACK = 1024  # numbers


class Tables(NamedTuple):
    """The tables of n hashes, one for each band.

    `in_order` uint64[tables, n] the hashes in the order of each table, and `places` uint32[tables, n] their
    positions. There may be a table less than `bands`: then positions are in the first one's order. `starts` uint32:
    where in that order the hashes of each key start, band after band, with the end of the last for each.
    """

    in_order: Hashes
    places: Keys
    starts: Keys
    bands: int


Arrays = tuple[Hashes, Ids, Hashes, Keys, Keys, Hashes, Nodes, Ids]
"""All that a search needs: see `addresses_of`."""

Addresses = NDArray[np.uint64]
"""Where those arrays are, as one: an argument costs a call 30 ns for each array."""


def addresses_of(
    hashes: Hashes, ids: Ids, tables: Tables, moves: Hashes, nodes: Nodes, costs: Ids
) -> Addresses:
    """The addresses and sizes of what a search needs; good for as long as the caller keeps the arrays.

    `hashes` uint64[n] rearranged by `moves`, and `ids` int64[n], in the order of the tree with these `nodes`.
    `costs` int64[65, 6], by radius: how many lookups a search needs; in scanned hashes, what a lookup costs,
    comparing a hash of a table, a search in the tree, and a scan; then `smallest` of `tree_kernels.search_tree`.
    ValueError for an array of another kind.
    """
    in_order, places, starts, bands = tables
    arrays: tuple[NDArray[Any], ...] = (hashes, ids, in_order, places, starts, moves, nodes, costs)
    for array, kind in zip(arrays, ("u8", "i8", "u8", "u4", "u4", "u8", "u4", "i8"), strict=True):
        if array.dtype != kind or not array.flags.c_contiguous:
            raise ValueError(f"arrays must be contiguous, this is {array.dtype}{list(array.shape)}")
    addresses = [array.ctypes.data for array in arrays]
    return np.array([*addresses, len(hashes), len(in_order), bands, len(starts), len(nodes)], np.uint64)


def band_width(bands: int, band: int) -> int:
    """Bits in a band: as near to equal as can be, the wider first."""
    return BITS // bands + (band < BITS % bands)


def band_shift(bands: int, band: int) -> int:
    """Where in a hash a band begins."""
    return band * (BITS // bands) + min(band, BITS % bands)


def band_reach(radius: int, bands: int, band: int) -> int:
    """Bits in which a band may differ: of radius = a * bands + b, a for the bands up to b, else a - 1.

    If every band up to b differed in more than a bits and every later one in more than a - 1, the whole would in
    more than the radius (Norouzi, Punjani and Fleet, 2012).
    """
    return radius // bands if band <= radius % bands else radius // bands - 1


_width = njit(nogil=True)(band_width)
_shift = njit(nogil=True)(band_shift)
_reach = njit(nogil=True)(band_reach)


def keys_seen(radius: int, bands: int) -> list[int]:
    """How many keys of each band a query has to see: those within the band's reach of its own."""
    return [
        sum(comb(band_width(bands, band), bits) for bits in range(band_reach(radius, bands, band) + 1))
        for band in range(bands)
    ]


@njit(nogil=True)
def _next_of_as_many_bits(number: np.uint64) -> np.uint64:
    """The next larger number with as many bits set; of one that is not 0."""
    carried = number + (number & (~number + _ONE))
    return carried | (number ^ carried) >> np.uint64(_lowest_bit(number) + 2)


@njit(nogil=True)
def _rearranged(moves: Hashes, value: np.uint64) -> np.uint64:
    """A hash with its bits where `moves` uint64[8, 256] puts them: what each value of each of its bytes adds."""
    moved = np.uint64(0)
    for byte in range(8):
        moved |= moves[byte, value >> np.uint64(8 * byte) & np.uint64(255)]
    return moved


@njit(nogil=True)
def _row(hashes: Hashes, in_order: Hashes, bands: int, band: int) -> Hashes:
    """The hashes in the order of a band's table."""
    table = band + in_order.shape[0] - bands
    return in_order[table] if table >= 0 else hashes


@njit(nogil=True)
def _look_up(
    hashes: Hashes,
    in_order: Hashes,
    places: Keys,
    starts: Keys,
    bands: int,
    query: np.uint64,
    radius: int,
    most: int,
    begins: Keys,
    ends: Keys,
    stops: Keys,
) -> int:
    """Write the ranges of all keys that a query has to see, and where those of each band stop among them.

    Returns how many hashes are in them, or, early, a number above `most`.
    """
    count = np.uint64(0)
    total = 0
    first = np.uint64(0)
    for band in range(bands):
        width = np.uint64(_width(bands, band))
        limit = _ONE << width
        key = query >> np.uint64(_shift(bands, band)) & (limit - _ONE)
        row = _row(hashes, in_order, bands, band)
        table = band + in_order.shape[0] - bands
        reach = _reach(radius, bands, band)
        for bits in range(reach + 1):
            turned = (_ONE << np.uint64(bits)) - _ONE
            while turned < limit:
                place = first + (key ^ turned)
                begin = starts[place]
                end = starts[place + _ONE]
                _prefetch(row, np.int64(begin))
                _prefetch(row, np.int64(begin) + _WINDOW)
                if table >= 0 and reach == 0:  # where keys are few, positions are waited for as well
                    _prefetch(places[table], np.int64(begin))
                begins[count] = begin
                ends[count] = end
                count += np.uint64(end > begin)
                total += end - begin
                if turned == 0:
                    break
                turned = _next_of_as_many_bits(turned)
        stops[band] = count
        if total > most:
            return total
        first += limit + _ONE
    return total


@njit(nogil=True)
def _is_first(bands: int, band: int, radius: int, difference: np.uint64) -> bool:
    """Whether no earlier band finds a hash that differs so: each is reported once."""
    for earlier in range(band):
        own = difference >> np.uint64(_shift(bands, earlier)) & (
            (_ONE << np.uint64(_width(bands, earlier))) - _ONE
        )
        if _popcount(own) <= _reach(radius, bands, earlier):
            return False
    return True


@njit(nogil=True)
def _near(row: Hashes, begin: int, end: int, query: np.uint64, radius: int) -> tuple[int, np.uint64]:
    """Where a window of 8 hashes from `begin` on is, and which of them, up to `end`, are within the radius."""
    if row.size < _WINDOW:
        near = np.uint64(0)
        for place in range(begin, end):
            near |= np.uint64(_popcount(row[place] ^ query) <= radius) << np.uint64(place)
        return 0, near
    window = min(begin, row.size - _WINDOW)
    near = _near_8(row, np.uint64(window), query, np.uint64(radius))
    near &= _ALL << np.uint64(begin - window)
    near &= (_ONE << np.uint64(min(end - window, _WINDOW))) - _ONE
    return window, near


@njit(nogil=True)
def _compare(
    hashes: Hashes,
    ids: Ids,
    died: Ticks,
    clock: int,
    in_order: Hashes,
    places: Keys,
    bands: int,
    query: np.uint64,
    radius: int,
    begins: Keys,
    ends: Keys,
    stops: Keys,
    found_ids: Ids,
    distances: Distances,
    found: int,
) -> int:
    """Append what lives and is within the radius in the ranges of `_look_up` to an answer; returns the count."""
    before = found
    number = np.uint64(0)
    for band in range(bands):
        row = _row(hashes, in_order, bands, band)
        table = band + in_order.shape[0] - bands
        while number < np.uint64(stops[band]):
            begin, end = int(begins[number]), int(ends[number])
            number += _ONE
            while begin < end:
                window, near = _near(row, begin, end, query, radius)
                begin += _WINDOW
                while near != 0:
                    place = window + _lowest_bit(near)
                    near &= near - _ONE
                    difference = row[place] ^ query
                    position = place if table < 0 else np.int64(places[table, place])
                    if died.size > 0 and 0 < died[position] <= clock:
                        continue
                    if _is_first(bands, band, radius, difference):
                        _prefetch(ids, position)
                        if found < found_ids.size:
                            found_ids[found] = position
                            distances[found] = _popcount(difference)
                        found += 1
    _fetch_ids(ids, found_ids, before, found)
    return found


def _on_stack_code(_context: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        with builder.goto_entry_block():  # once for each call; not numba's own, which fills it with zeros
            room = builder.alloca(ir.ArrayType(ir.IntType(32), _STACK))
        return builder.bitcast(room, ir.IntType(32).as_pointer())

    return types.CPointer(types.uint32)(), generate  # type: ignore[no-untyped-call]


_on_stack: Any = intrinsic(_on_stack_code)  # room for _STACK uint32, with anything in it


@njit(nogil=True)
def _search(
    arrays: Arrays,
    bands: int,
    died: Ticks,
    clock: int,
    query: np.uint64,
    radius: int,
    found_ids: Ids,
    distances: Distances,
    found: int,
) -> int:
    """Append what one hash finds, by the cheapest way; see `search_bands`."""
    hashes, ids, in_order, places, starts, moves, nodes, costs = arrays
    lookups, by_lookup, by_hash, by_tree, by_scan, smallest = costs[radius]
    query = _rearranged(moves, query)
    if bands > 0:
        affordable = (min(by_tree, by_scan) - lookups * by_lookup) // by_hash
        # Keys have at least their share of the hashes, so this many are to be expected at the least.
        if lookups * hashes.size // (starts.size // bands) <= affordable:
            needed = 2 * lookups + bands
            # Of the shortest searches, asking for memory is a twentieth.
            scratch = carray(_on_stack(), (_STACK,)) if needed <= _STACK else np.empty(needed, np.uint32)
            ranges = scratch[:lookups], scratch[lookups : 2 * lookups], scratch[2 * lookups : needed]
            counted = _look_up(hashes, in_order, places, starts, bands, query, radius, affordable, *ranges)
            if counted <= affordable:
                way = (hashes, ids, died, clock, in_order, places, bands, query, radius)
                return _compare(*way, *ranges, found_ids, distances, found)
    if by_tree < by_scan:
        return _descend(hashes, ids, died, clock, nodes, smallest, query, radius, found_ids, distances, found)
    return _scan(hashes, ids, died, clock, query, radius, found_ids, distances, found)


def _pointer(kind: Any) -> Any:
    def code(_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(address), generate  # type: ignore[no-untyped-call]

    return intrinsic(code)


_to_uint64: Any = _pointer(types.uint64)
_to_int64: Any = _pointer(types.int64)
_to_uint32: Any = _pointer(types.uint32)


@njit(nogil=True)
def _opened(addresses: Addresses) -> Any:
    """The arrays that `Addresses` tells of, and the number of bands."""
    count, tables, bands, keys, nodes = (
        addresses[8],
        addresses[9],
        addresses[10],
        addresses[11],
        addresses[12],
    )
    return (
        carray(_to_uint64(addresses[0]), (count,)),
        carray(_to_int64(addresses[1]), (count,)),
        carray(_to_uint64(addresses[2]), (tables, count)),
        carray(_to_uint32(addresses[3]), (tables, count)),
        carray(_to_uint32(addresses[4]), (keys,)),
        carray(_to_uint64(addresses[5]), (8, 256)),
        carray(_to_uint32(addresses[6]), (nodes, COLUMNS)),
        carray(_to_int64(addresses[7]), (BITS + 1, 6)),
    ), np.int64(bands)


_addresses = types.uint64[::1]
_deaths = (types.uint32[::1], types.int64)


@compiled(types.int64(_addresses, *_deaths, types.uint64, _radius, *_answer))
def search_bands(
    addresses: Addresses,
    died: Ticks,
    clock: int,
    query: np.uint64,
    radius: int,
    found_ids: Ids,
    distances: Distances,
    found: int,
) -> int:
    """As `kernels.scan`, through the tables, through the tree, or by scan, over the arrays at these addresses."""
    arrays, bands = _opened(addresses)
    return _search(arrays, bands, died, clock, query, radius, found_ids, distances, found)


search_bands_keeping_gil = keeping_gil(search_bands)


@compiled(_progress(_addresses, *_deaths, _hashes, types.int64, _radius, *_answers))
def search_bands_many(
    addresses: Addresses,
    died: Ticks,
    clock: int,
    queries: Hashes,
    next_query: int,
    radius: int,
    numbers: Ids,
    found_ids: Ids,
    distances: Distances,
) -> tuple[int, int, int]:
    """As `kernels.scan_many`, each query as `search_bands`."""
    arrays, bands = _opened(addresses)
    found = 0
    for number in range(next_query, queries.size):
        query = queries[number]
        after = _search(arrays, bands, died, clock, query, radius, found_ids, distances, found)
        if after > found_ids.size:
            return number, found, after - found
        numbers[found:after] = number
        found = after
    return queries.size, found, 0


search_bands_many_keeping_gil = keeping_gil(search_bands_many)
