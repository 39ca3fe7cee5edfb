"""The compiled loops of the BK-tree; see `kernels` for what holds for all kernels, and `bktree`."""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled, keeping_gil
from app.index.kernels import (
    Distances,
    Hashes,
    Ids,
    Ticks,
    _answer,
    _answers,
    _collect,
    _entries,
    _hashes,
    _ids,
    _lowest_bit,
    _popcount,
    _prefetch,
    _progress,
    _radius,
    _scan,
)

Nodes = NDArray[np.uint32]

# The columns of a tree's nodes; see `BKTree`.
_END = 65
_FIRST = 66
_INNER = 67
COLUMNS = 69

_LEVELS = 24  # of a tree; random hashes need three at 150,000 and six at ten million
_ONE = np.uint64(1)


@njit(nogil=True)
def _inner(nodes: Nodes, node: np.uint32) -> np.uint64:
    return np.uint64(nodes[node, _INNER]) | np.uint64(nodes[node, _INNER + 1]) << np.uint64(32)


@njit(nogil=True)
def _prefetch_node(nodes: Nodes, node: int) -> None:
    """Ask for the middle and the end of a node: most distances are near 32."""
    row = nodes[node]
    _prefetch(row, 24)
    _prefetch(row, 40)
    _prefetch(row, _INNER)


@njit(nogil=True)
def _descend(
    hashes: Hashes,
    ids: Ids,
    died: Ticks,
    clock: int,
    nodes: Nodes,
    smallest: int,
    query: np.uint64,
    radius: int,
    found_ids: Ids,
    distances: Distances,
    found: int,
) -> int:
    """As `_collect`, for all entries, through the tree."""
    if nodes.shape[0] == 0:
        return _scan(hashes, ids, died, clock, query, radius, found_ids, distances, found)
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
        # First all memory that is needed later is asked for, then what is there already is compared.
        rest = entered
        while rest != 0:
            bit = _lowest_bit(rest)
            rest &= rest - _ONE
            begin = int(nodes[node, bit + 1])
            if int(nodes[node, bit + 2]) - begin >= smallest:
                child = nodes[node, _FIRST] + _popcount(inner & ((_ONE << np.uint64(bit)) - _ONE))
                stack[top] = child
                top += 1
                _prefetch(hashes, begin)
                _prefetch_node(nodes, child)
        run = int(nodes[node, low])
        while entered != 0:
            bit = _lowest_bit(entered)
            entered &= entered - _ONE
            begin = int(nodes[node, bit + 1])
            end = int(nodes[node, bit + 2])
            if end - begin >= smallest:
                found = _collect(
                    hashes, ids, died, clock, run, begin, query, radius, found_ids, distances, found
                )
                run = end
        end = int(nodes[node, high + 1])
        found = _collect(hashes, ids, died, clock, run, end, query, radius, found_ids, distances, found)
    return found


_nodes = types.uint32[:, ::1]


@compiled(types.int64(*_entries, _nodes, types.int64, types.uint64, _radius, *_answer))
def search_tree(
    hashes: Hashes,
    ids: Ids,
    died: Ticks,
    clock: int,
    nodes: Nodes,
    smallest: int,
    query: np.uint64,
    radius: int,
    found_ids: Ids,
    distances: Distances,
    found: int,
) -> int:
    """As `scan`, through the tree; nodes of fewer than `smallest` hashes are scanned like leaves."""
    return _descend(hashes, ids, died, clock, nodes, smallest, query, radius, found_ids, distances, found)


search_tree_keeping_gil = keeping_gil(search_tree)


@compiled(_progress(*_entries, _nodes, types.int64, _hashes, types.int64, _radius, *_answers))
def search_tree_many(
    hashes: Hashes,
    ids: Ids,
    died: Ticks,
    clock: int,
    nodes: Nodes,
    smallest: int,
    queries: Hashes,
    next_query: int,
    radius: int,
    numbers: Ids,
    found_ids: Ids,
    distances: Distances,
) -> tuple[int, int, int]:
    """As `scan_many`, through the tree."""
    found = 0
    for number in range(next_query, queries.size):
        after = _descend(
            hashes, ids, died, clock, nodes, smallest, queries[number], radius, found_ids, distances, found
        )
        if after > found_ids.size:
            return number, found, after - found
        numbers[found:after] = number
        found = after
    return queries.size, found, 0


search_tree_many_keeping_gil = keeping_gil(search_tree_many)


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
    nodes = np.empty((64 + hashes.size // (leaf_size + 1), COLUMNS), np.uint32)
    # a node that is numbered but not yet split holds its range in its first two columns
    nodes[0, 0] = 0
    nodes[0, 1] = hashes.size
    count = 1 if hashes.size > leaf_size else 0
    begin_of_level = 0
    for level in range(_LEVELS):
        end_of_level = count
        for number in range(begin_of_level, end_of_level):
            if count + 64 > nodes.shape[0]:
                more = np.empty((2 * nodes.shape[0] + 64, COLUMNS), np.uint32)
                for row in range(count):
                    for column in range(COLUMNS):
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


@compiled(types.float64(_hashes, _nodes, types.int64, types.int64, _hashes, _radius))
def tree_cost(
    hashes: Hashes, nodes: Nodes, smallest: int, node_cost: int, queries: Hashes, radius: int
) -> float:
    """Hashes that a search of the tree compares and `node_cost` for each node it looks at: mean over `queries`."""
    total = 0
    stack = np.empty(64 * _LEVELS, np.uint32)
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
