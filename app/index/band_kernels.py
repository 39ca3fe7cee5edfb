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
Tables = tuple[Hashes, Hashes, Keys, Keys, Positions, Keys]
"""The tables of n hashes, in some bands of their bits:

- the hashes by position, uint64[n];
- the hashes in the order of each table, uint64[tables, n], and their positions, uint32[tables, n]: a table for each
  band, but that the first may be left out where positions are in its order;
- where the hashes of each key start, uint32;
- for each band int64[bands, 9]: where its keys begin in that, its bits as one word, and of how many keys at most
  0, 1, ... 6 bits are set;
- uint32[bands, 2048 + k]: what each value of each byte of a hash adds to its key, then the differences of keys by
  how many bits are set.
"""

_ONE = np.uint64(1)
_FIRST_KEY, _MASK, _SIZES = 0, 1, 2  # columns of a band's numbers
_BALL = 2048  # where the differences of keys begin
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
        key |= keys[band, np.uint64(256 * byte) + (value >> np.uint64(8 * byte) & np.uint64(255))]
    return np.uint64(key)


@njit(nogil=True)
def _row(hashes: Hashes, in_order: Hashes, bands: int, band: int) -> Hashes:
    """The hashes in the order of a band's table."""
    table = band + in_order.shape[0] - bands
    return in_order[table] if table >= 0 else hashes


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
    hashes, in_order, _, starts, numbers, keys = tables
    bands = numbers.shape[0]
    count = np.uint64(0)
    total = 0
    for band in range(bands):
        reach = _reach(radius, bands, band)
        if reach >= 0:
            first = np.uint64(numbers[band, _FIRST_KEY])
            key = _key(keys, band, query)
            row = _row(hashes, in_order, bands, band)
            for mask in range(_BALL, _BALL + numbers[band, _SIZES + reach]):
                place = first + (key ^ np.uint64(keys[band, mask]))
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
def _is_first(numbers: Positions, band: int, radius: int, difference: np.uint64) -> bool:
    """Whether no earlier band finds a hash that differs so: each is reported once."""
    for earlier in range(band):
        bits = _popcount(difference & np.uint64(numbers[earlier, _MASK]))
        if bits <= _reach(radius, numbers.shape[0], earlier):
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
    hashes, in_order, places, _, numbers, _ = tables
    bands = numbers.shape[0]
    number = np.uint64(0)
    for band in range(bands):
        row = _row(hashes, in_order, bands, band)
        table = band + in_order.shape[0] - bands
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
                if distance <= radius and _is_first(numbers, band, radius, difference):
                    if found + 1 < positions.size:
                        positions[found] = position if table < 0 else places[table, position]
                        distances[found] = distance
                    found += 1
    return found


@njit(nogil=True)
def _search(
    tables: Tables,
    nodes: Nodes,
    costs: Positions,
    query: np.uint64,
    radius: int,
    positions: Positions,
    distances: Distances,
    found: int,
) -> int:
    """Append what one hash finds, by the cheapest way; see `search_bands`."""
    hashes, _, _, starts, numbers, _ = tables
    by_lookup, by_hash, by_tree, most, smallest = costs
    bands = numbers.shape[0]
    if bands > 0 and radius // bands < numbers.shape[1] - _SIZES:
        lookups = 0
        for band in range(bands):
            reach = _reach(radius, bands, band)
            lookups += numbers[band, _SIZES + reach] if reach >= 0 else 0
        affordable = (min(by_tree, most) - lookups * by_lookup) // by_hash
        # Keys have at least their share of the hashes, so this many are to be expected at the least.
        if lookups * hashes.size // (starts.size // bands) <= affordable:
            begins, ends = np.empty(lookups, np.uint32), np.empty(lookups, np.uint32)
            stops = np.empty(bands, np.int64)
            if _look_up(tables, query, radius, affordable, begins, ends, stops) <= affordable:
                return _compare(tables, query, radius, begins, ends, stops, positions, distances, found)
    if by_tree < most:
        return _descend(hashes, nodes, smallest, query, radius, positions, distances, found)
    return _collect(hashes, 0, hashes.size, query, radius, positions, distances, found)


_tables = types.Tuple(  # type: ignore[no-untyped-call]
    (
        _hashes,
        types.uint64[:, ::1],
        types.uint32[:, ::1],
        types.uint32[::1],
        types.int64[:, ::1],
        types.uint32[:, ::1],
    )
)
_costs = types.int64[::1]


@compiled(types.int64(_tables, _nodes, _costs, types.uint64, _radius, *_answer))
def search_bands(
    tables: Tables,
    nodes: Nodes,
    costs: Positions,
    query: np.uint64,
    radius: int,
    positions: Positions,
    distances: Distances,
) -> int:
    """As `kernels.scan`, through the tables, through the tree of which `nodes` are, or by scan.

    `costs` int64[5]: in scanned hashes, what a lookup costs, comparing a hash of a table, and a search of this
    radius in the tree, and a scan; then `smallest` of `kernels.search_tree`.
    """
    return _search(tables, nodes, costs, query, radius, positions, distances, 0)


@compiled(_progress(_tables, _nodes, _costs, _hashes, types.int64, _radius, *_answers))
def search_bands_many(
    tables: Tables,
    nodes: Nodes,
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
        after = _search(tables, nodes, costs, queries[number], radius, positions, distances, found)
        if after >= positions.size:
            return number, found, after - found
        for place in range(found, after):
            numbers[place] = number
        found = after
    return queries.size, found, 0


@compiled(
    types.void(_hashes, types.uint32[:, ::1], types.int64, types.uint32[::1], _hashes, types.uint32[::1])
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
