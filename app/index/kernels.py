"""The compiled loops of the Hamming engines: popcount as one instruction, the GIL released.

Every kernel has an explicit signature: importing this module loads it from the cache, or compiles it there
and then; a call never compiles. The install step and the image build run `python -m app.index.kernels` to
fill the cache. `NUMBA_CACHE_DIR` says where it is; `NUMBA_CPU_NAME` fixes the processor that the code is made
for.

Positions are places in the engine's own order of its hashes. A kernel that writes an answer fills `positions`
and `distances` to one less than their length; it goes on counting what no longer fits, so the caller learns
the room that it needs.

`compiling` has the cache notice a change of any file whose name ends in `kernels.py`: kernels stay in those.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from app.index.compiling import compiled

Hashes = NDArray[np.uint64]
Ids = NDArray[np.int64]
Positions = NDArray[np.int64]
Distances = NDArray[np.uint8]
Nodes = NDArray[np.uint32]

# The columns of a tree's nodes; see `BKTree`.
_END = 65
_FIRST = 66
_INNER = 67
_COLUMNS = 69

_BLOCK = 64  # hashes tested together; measured: 128 and 256 save 10 % without a hit and cost 40 % among many
_LEVELS = 24  # of a tree; random hashes need four at 150,000 and five at 10 million
_ONE = np.uint64(1)


def _popcount_code(_context: Any, _value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


def _lowest_bit_code(_context: Any, _value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


_popcount: Any = intrinsic(_popcount_code)  # number of set bits of a uint64
_lowest_bit: Any = intrinsic(_lowest_bit_code)  # number of the lowest set bit of a uint64 that is not 0


@njit(nogil=True)
def _collect(
    hashes: Hashes,
    start: int,
    stop: int,
    query: np.uint64,
    radius: int,
    positions: Positions,
    distances: Distances,
    found: int,
) -> int:
    """Append what lies within `radius` among hashes[start:stop] to an answer of `found`; returns the count.

    A block is counted first, by vector instructions, and gone through again only if there is something in it.
    The stores of that are branch-free, hence the spare place at the end. Unsigned places keep numba from
    testing each for being negative, which would cost the vector instructions.
    """
    for block in range(start, stop, _BLOCK):
        end = min(block + _BLOCK, stop)
        hits = 0
        for position in range(block, end):
            hits += _popcount(hashes[np.uint64(position)] ^ query) <= radius
        if hits > 0:
            if found + hits < positions.size:
                place = np.uint64(found)
                for position in range(block, end):
                    distance = _popcount(hashes[np.uint64(position)] ^ query)
                    positions[place] = position
                    distances[place] = distance
                    place += np.uint64(distance <= radius)
            found += hits
    return found


@njit(nogil=True)
def _inner(nodes: Nodes, node: np.uint32) -> np.uint64:
    return np.uint64(nodes[node, _INNER]) | np.uint64(nodes[node, _INNER + 1]) << np.uint64(32)


@njit(nogil=True)
def _descend(
    hashes: Hashes,
    nodes: Nodes,
    smallest: int,
    query: np.uint64,
    radius: int,
    positions: Positions,
    distances: Distances,
    found: int,
) -> int:
    """As `_collect`, for all hashes, through the tree."""
    if nodes.shape[0] == 0:
        return _collect(hashes, 0, hashes.size, query, radius, positions, distances, found)
    stack = np.empty(64 * _LEVELS, np.uint32)
    stack[0] = 0
    top = 1
    while top > 0:
        top -= 1
        node = stack[top]
        distance = _popcount(hashes[nodes[node, 0]] ^ query)
        low = max(distance - radius, 0)
        high = min(distance + radius, 64)
        inner = _inner(nodes, node)
        below = np.uint64(max(low - 1, 0))
        above = np.uint64(64 - high)
        entered = inner >> below << below
        entered = (entered << above >> above) if high > 0 else np.uint64(0)
        run = int(nodes[node, low])
        while entered != 0:
            bit = _lowest_bit(entered)
            entered &= entered - _ONE
            begin = int(nodes[node, bit + 1])
            end = int(nodes[node, bit + 2])
            if end - begin >= smallest:
                found = _collect(hashes, run, begin, query, radius, positions, distances, found)
                run = end
                stack[top] = nodes[node, _FIRST] + _popcount(inner & ((_ONE << np.uint64(bit)) - _ONE))
                top += 1
        end = int(nodes[node, high + 1])
        found = _collect(hashes, run, end, query, radius, positions, distances, found)
    return found


_hashes = types.uint64[::1]
_ids = types.int64[::1]
_nodes = types.uint32[:, ::1]
_radius = types.int64
_answer = (types.int64[::1], types.uint8[::1])
_answers = (types.int64[::1], *_answer)
_progress: Any = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]


@compiled(types.int64(_hashes, types.uint64, _radius, *_answer))
def scan(hashes: Hashes, query: np.uint64, radius: int, positions: Positions, distances: Distances) -> int:
    """Write the positions of the hashes within `radius` of `query` and their distances; returns the count."""
    return _collect(hashes, 0, hashes.size, query, radius, positions, distances, 0)


@compiled(_progress(_hashes, _hashes, types.int64, _radius, *_answers))
def scan_many(
    hashes: Hashes,
    queries: Hashes,
    next_query: int,
    radius: int,
    numbers: Positions,
    positions: Positions,
    distances: Distances,
) -> tuple[int, int, int]:
    """`scan` for queries[next_query:], as many of them as there is room for; `numbers` says who found what.

    Returns the first query that is not answered, the count of the answers to those before, and how many
    answers that query has.
    """
    found = 0
    for number in range(next_query, queries.size):
        after = _collect(hashes, 0, hashes.size, queries[number], radius, positions, distances, found)
        if after >= positions.size:
            return number, found, after - found
        for place in range(found, after):
            numbers[place] = number
        found = after
    return queries.size, found, 0


@compiled(types.int64(_hashes, _nodes, types.int64, types.uint64, _radius, *_answer))
def search_tree(
    hashes: Hashes,
    nodes: Nodes,
    smallest: int,
    query: np.uint64,
    radius: int,
    positions: Positions,
    distances: Distances,
) -> int:
    """As `scan`, through the tree; nodes of fewer than `smallest` hashes are scanned like leaves."""
    return _descend(hashes, nodes, smallest, query, radius, positions, distances, 0)


@compiled(_progress(_hashes, _nodes, types.int64, _hashes, types.int64, _radius, *_answers))
def search_tree_many(
    hashes: Hashes,
    nodes: Nodes,
    smallest: int,
    queries: Hashes,
    next_query: int,
    radius: int,
    numbers: Positions,
    positions: Positions,
    distances: Distances,
) -> tuple[int, int, int]:
    """As `scan_many`, through the tree."""
    found = 0
    for number in range(next_query, queries.size):
        after = _descend(hashes, nodes, smallest, queries[number], radius, positions, distances, found)
        if after >= positions.size:
            return number, found, after - found
        for place in range(found, after):
            numbers[place] = number
        found = after
    return queries.size, found, 0


@njit(nogil=True)
def _split(
    hashes: Hashes, ids: Ids, begin: int, end: int, spare_hashes: Hashes, spare_ids: Ids, node: Nodes
) -> None:
    """Counting sort of hashes[begin:end] and their ids by distance to the middle one; fills the node."""
    vantage = hashes[(begin + end) // 2]
    places = np.zeros(_END + 1, np.int64)
    for position in range(begin, end):
        places[_popcount(hashes[position] ^ vantage) + 1] += 1
    places[0] = begin
    node[0] = begin
    for distance in range(_END):
        places[distance + 1] += places[distance]
        node[distance + 1] = places[distance + 1]
    for position in range(begin, end):
        spare_hashes[position] = hashes[position]
        spare_ids[position] = ids[position]
    for position in range(begin, end):
        distance = _popcount(spare_hashes[position] ^ vantage)
        place = places[distance]
        places[distance] = place + 1
        hashes[place] = spare_hashes[position]
        ids[place] = spare_ids[position]


@compiled(_nodes(_hashes, _ids, types.int64))
def build_tree(hashes: Hashes, ids: Ids, leaf_size: int) -> Nodes:
    """Bring `hashes` and `ids` into tree order, in place, and return the nodes, level by level.

    A bucket of more than `leaf_size` hashes becomes a node, except at the last of `_LEVELS` levels.
    """
    spare_hashes = np.empty(hashes.size, np.uint64)
    spare_ids = np.empty(hashes.size, np.int64)
    nodes = np.empty((64 + hashes.size // (leaf_size + 1), _COLUMNS), np.uint32)
    # a node that is numbered but not yet split holds its range in its first two columns
    nodes[0, 0] = 0
    nodes[0, 1] = hashes.size
    count = 1 if hashes.size > leaf_size else 0
    begin_of_level = 0
    for level in range(_LEVELS):
        end_of_level = count
        for number in range(begin_of_level, end_of_level):
            if count + 64 > nodes.shape[0]:
                more = np.empty((2 * nodes.shape[0] + 64, _COLUMNS), np.uint32)
                for row in range(count):
                    for column in range(_COLUMNS):
                        more[row, column] = nodes[row, column]
                nodes = more
            node = nodes[number]
            _split(hashes, ids, node[0], node[1], spare_hashes, spare_ids, node)
            node[_FIRST] = count
            node[_INNER] = 0
            node[_INNER + 1] = 0
            for distance in range(1, _END):
                if level + 1 < _LEVELS and node[distance + 1] - node[distance] > leaf_size:
                    node[_INNER + (distance - 1) // 32] |= np.uint32(1) << np.uint32((distance - 1) % 32)
                    nodes[count, 0] = node[distance]
                    nodes[count, 1] = node[distance + 1]
                    count += 1
        begin_of_level = end_of_level
    return nodes[:count].copy()


@compiled(types.int64[::1](_ids, types.uint32[::1], _ids))
def locate(ids: Ids, by_id: NDArray[np.uint32], wanted: Ids) -> Positions:
    """Where each of `wanted` is in `ids`, -1 if it is not there; `by_id` is the order that sorts `ids`."""
    positions = np.empty(wanted.size, np.int64)
    for number in range(wanted.size):
        low = 0
        high = by_id.size
        while low < high:
            middle = (low + high) // 2
            if ids[by_id[middle]] < wanted[number]:
                low = middle + 1
            else:
                high = middle
        is_there = low < by_id.size and ids[by_id[low]] == wanted[number]
        positions[number] = by_id[low] if is_there else -1
    return positions


def compile_kernels() -> None:
    """Fill the cache, as an install step does: importing the modules is all it takes."""
    import app.index.band_kernels  # noqa: F401


if __name__ == "__main__":
    compile_kernels()
