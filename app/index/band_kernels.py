"""The compiled loops of multi-index hashing; see `kernels` for what holds for all kernels, and `multi_index`.

A query looks up, in the table of each band, every key within the band's radius of its own. That is done in two
steps: first the ranges of all those keys are read and their hashes counted, so that the cost is known before any of
it is paid, and memory is asked for ahead of its use; then the ranges are compared.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from app.index.compiling import compiled
from app.index.kernels import (
    _FIRST,
    Distances,
    Hashes,
    Nodes,
    Positions,
    _answer,
    _answers,
    _collect,
    _descend,
    _hashes,
    _inner,
    _lowest_bit,
    _nodes,
    _popcount,
    _progress,
    _radius,
)

Keys = NDArray[np.uint32]
Tables = tuple[Hashes, NDArray[np.uint64], Keys, Keys, Positions, Hashes, Keys, Keys, NDArray[np.int64]]
"""The tables of n hashes in some bands:

- the hashes in the order of the first band's table, uint64[n], and of the others, uint64[bands - 1, n];
- where the hashes of the others are in the first, uint32[bands - 1, n];
- where the hashes of each key start, uint32, and where each band's keys start in that, int64[bands];
- the bits of each band, uint64[bands], and what each value of each byte of a hash adds to its key,
  uint32[bands, 8, 256];
- differences of keys by how many bits are set, uint32[bands, k], and how many of them have at most so many,
  int64[bands, 7].

Without a band there is only the first."""

_ONE = np.uint64(1)
_SHORT = 8  # hashes in a range: up to there, counting first costs more than it saves


def _prefetch_code(_context: Any, values: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        number = ir.IntType(32)
        pointer = ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer, number, number, number]),
            "llvm.prefetch.p0",
        )
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), pointer)
        builder.call(
            function, [address, *(ir.Constant(number, value) for value in (0, 3, 1))]
        )  # read, keep, data
        return context.get_dummy_value()

    return types.void(values, place), generate


_prefetch: Any = intrinsic(_prefetch_code)  # ask for the cache line of values[place], and do not wait


@njit(nogil=True)
def _key(keys: Keys, band: int, value: np.uint64) -> np.uint64:
    """The bits of a hash in a band, as one number."""
    key = np.uint32(0)
    for byte in range(8):
        key |= keys[band, byte, (value >> np.uint64(8 * byte)) & np.uint64(255)]
    return np.uint64(key)


@njit(nogil=True)
def _reach(radius: int, bands: int, band: int) -> int:
    """Bits in which a band may differ: of radius = a * bands + b, a for the bands up to b, else a - 1.

    If every band up to b differed in more than a bits and every later one in more than a - 1, the whole would in
    more than the radius (Norouzi, Punjani and Fleet, 2012).
    """
    return radius // bands if band <= radius % bands else radius // bands - 1


@njit(nogil=True)
def _look_up(
    tables: Tables, query: np.uint64, radius: int, most: int, begins: Keys, ends: Keys, stops: Positions
) -> int:
    """Write the ranges of all keys that a query has to see, and where those of each band stop among them.

    Returns how many hashes are in them, or, early, a number above `most`.
    """
    hashes, others, _, starts, firsts, masks, keys, ball, sizes = tables
    bands = masks.size
    count = np.uint64(0)
    total = 0
    for band in range(bands):
        reach = _reach(radius, bands, band)
        if reach >= 0:
            first = np.uint64(firsts[band])
            key = _key(keys, band, query)
            row = hashes if band == 0 else others[band - 1]
            for mask in range(sizes[band, reach]):
                place = first + (key ^ np.uint64(ball[band, mask]))
                begin = starts[place]
                end = starts[place + _ONE]
                _prefetch(row, np.int64(begin))
                begins[count] = begin
                ends[count] = end
                count += np.uint64(end > begin)
                total += end - begin
            if total > most:
                return total
        stops[band] = count
    return total


@njit(nogil=True)
def _is_first(masks: Hashes, band: int, radius: int, difference: np.uint64) -> bool:
    """Whether no earlier band finds a hash that differs so: each is reported once."""
    for earlier in range(band):
        if _popcount(difference & masks[earlier]) <= _reach(radius, masks.size, earlier):
            return False
    return True


@njit(nogil=True)
def _compare(
    tables: Tables,
    query: np.uint64,
    radius: int,
    begins: Keys,
    ends: Keys,
    stops: Positions,
    positions: Positions,
    distances: Distances,
    found: int,
) -> int:
    """Append what is within the radius in the ranges of `_look_up` to an answer of `found`; returns the count."""
    hashes, others, places, _, _, masks, _, _, _ = tables
    number = np.uint64(0)
    for band in range(masks.size):
        row = hashes if band == 0 else others[band - 1]
        while number < np.uint64(stops[band]):
            begin, end = np.uint64(begins[number]), np.uint64(ends[number])
            number += _ONE
            if end - begin > np.uint64(_SHORT):
                hits = 0
                for position in range(begin, end):
                    hits += _popcount(row[position] ^ query) <= radius
                if hits == 0:
                    continue
            for position in range(begin, end):
                difference = row[position] ^ query
                distance = _popcount(difference)
                if distance <= radius and _is_first(masks, band, radius, difference):
                    if found + 1 < positions.size:
                        positions[found] = position if band == 0 else places[band - 1, position]
                        distances[found] = distance
                    found += 1
    return found


@njit(nogil=True)
def _search(
    tables: Tables,
    tree: tuple[Hashes, Keys, Nodes],
    costs: Positions,
    query: np.uint64,
    radius: int,
    positions: Positions,
    distances: Distances,
    found: int,
) -> int:
    """Append what one hash finds, by the cheapest way; see `search_bands`."""
    hashes, _, _, _, _, masks, _, _, sizes = tables
    by_lookup, by_hash, by_tree, most, smallest = costs
    bands = masks.size
    if bands > 0 and radius // bands < sizes.shape[1]:
        lookups = 0
        for band in range(bands):
            reach = _reach(radius, bands, band)
            lookups += sizes[band, reach] if reach >= 0 else 0
        affordable = (min(by_tree, most) - lookups * by_lookup) // by_hash
        if affordable >= 0:
            begins, ends = np.empty(lookups, np.uint32), np.empty(lookups, np.uint32)
            stops = np.empty(bands, np.int64)
            if _look_up(tables, query, radius, affordable, begins, ends, stops) <= affordable:
                return _compare(tables, query, radius, begins, ends, stops, positions, distances, found)
    if by_tree < hashes.size:
        tree_hashes, tree_places, nodes = tree
        after = _descend(tree_hashes, nodes, smallest, query, radius, positions, distances, found)
        if after < positions.size:  # else there are gaps in it, and the search is done again with more room
            for place in range(found, after):
                positions[place] = tree_places[positions[place]]
        return after
    return _collect(hashes, 0, hashes.size, query, radius, positions, distances, found)


_tables = types.Tuple(  # type: ignore[no-untyped-call]
    (
        _hashes,
        types.uint64[:, ::1],
        types.uint32[:, ::1],
        types.uint32[::1],
        types.int64[::1],
        _hashes,
        types.uint32[:, :, ::1],
        types.uint32[:, ::1],
        types.int64[:, ::1],
    )
)
_tree = types.Tuple((_hashes, types.uint32[::1], _nodes))  # type: ignore[no-untyped-call]
_costs = types.int64[::1]


@compiled(types.int64(_tables, _tree, _costs, types.uint64, _radius, *_answer))
def search_bands(
    tables: Tables,
    tree: tuple[Hashes, Keys, Nodes],
    costs: Positions,
    query: np.uint64,
    radius: int,
    positions: Positions,
    distances: Distances,
) -> int:
    """As `kernels.scan`, through the tables, the tree (hashes, places among `tables`, nodes) or by scan.

    `costs` int64[5]: in scanned hashes, what a lookup costs, comparing a hash of a table, and a search of this
    radius in the tree, and the most that the tables may cost; then `smallest` of `kernels.search_tree`.
    """
    return _search(tables, tree, costs, query, radius, positions, distances, 0)


@compiled(_progress(_tables, _tree, _costs, _hashes, types.int64, _radius, *_answers))
def search_bands_many(
    tables: Tables,
    tree: tuple[Hashes, Keys, Nodes],
    costs: Positions,
    queries: Hashes,
    next_query: int,
    radius: int,
    numbers: Positions,
    positions: Positions,
    distances: Distances,
) -> tuple[int, int, int]:
    """As `kernels.scan_many`, each query as `search_bands`."""
    found = 0
    for number in range(next_query, queries.size):
        after = _search(tables, tree, costs, queries[number], radius, positions, distances, found)
        if after >= positions.size:
            return number, found, after - found
        for place in range(found, after):
            numbers[place] = number
        found = after
    return queries.size, found, 0


@compiled(
    types.void(_hashes, types.uint32[:, :, ::1], types.int64, types.uint32[::1], _hashes, types.uint32[::1])
)
def fill_table(hashes: Hashes, keys: Keys, band: int, starts: Keys, in_order: Hashes, places: Keys) -> None:
    """Counting sort by the keys of a band: `in_order` the hashes, `places` where they were, `starts` by key.

    `starts` has a place for each key and one more; those of key k end where those of k + 1 start.
    """
    starts[:] = 0
    for position in range(hashes.size):
        starts[_key(keys, band, hashes[position]) + _ONE] += np.uint32(1)
    for value in range(1, starts.size):
        starts[value] += starts[value - 1]
    for position in range(hashes.size):
        key = _key(keys, band, hashes[position])
        place = starts[key]
        starts[key] = place + np.uint32(1)
        in_order[place] = hashes[position]
        places[place] = position
    # Each start has moved on to the next one's.
    for value in range(starts.size - 1, 0, -1):
        starts[value] = starts[value - 1]
    starts[0] = 0


@compiled(types.float64(_hashes, _nodes, types.int64, types.int64, _hashes, _radius))
def tree_cost(
    hashes: Hashes, nodes: Nodes, smallest: int, node_cost: int, queries: Hashes, radius: int
) -> float:
    """Hashes that a search of the tree compares and `node_cost` for each node it looks at: mean over `queries`."""
    total = 0
    stack = np.empty(64 * 64, np.uint32)
    for number in range(queries.size):
        stack[0] = 0
        top = 1
        while top > 0:
            top -= 1
            node = stack[top]
            distance = _popcount(hashes[nodes[node, 0]] ^ queries[number])
            low = max(distance - radius, 0)
            high = min(distance + radius, 64)
            total += node_cost + nodes[node, high + 1] - nodes[node, low]
            inner = _inner(nodes, node)
            child = nodes[node, _FIRST]
            while inner != 0:
                bucket = _lowest_bit(inner) + 1
                inner &= inner - _ONE
                size = int(nodes[node, bucket + 1]) - int(nodes[node, bucket])
                if low <= bucket <= high and size >= smallest:
                    total -= size
                    stack[top] = child
                    top += 1
                child += np.uint32(1)
    return total / queries.size
