"""The compiled loops that rank images by the keypoints that are near to theirs; see `kernels` in `app.index`."""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled

Ids = NDArray[np.int64]

_numbers = types.Array(types.int32, 1, "C", readonly=True)
_ids = types.Array(types.int64, 1, "C", readonly=True)
_weights = types.Array(types.float64, 1, "C", readonly=True)
_cells = types.Array(types.int32, 1, "C")
_MIXER = np.uint64(0x9E3779B97F4A7C15)  # Knuth's, for multiplicative hashing


@njit(nogil=True)
def _slot(table: Ids, used: NDArray[np.int32], owner: int) -> int:
    """Where an owner is in a table with open addressing, or would be; its size is a power of two."""
    slot = int((np.uint64(owner) * _MIXER) >> np.uint64(32)) & (table.size - 1)
    while used[slot] != 0 and table[slot] != owner:
        slot = (slot + 1) & (table.size - 1)
    return slot


@compiled(
    types.int64(
        _numbers,
        _ids,
        types.int64,
        types.Array(types.float64, 1, "C"),
        _cells,
        types.Array(types.int64, 1, "C"),
        _cells,
        types.Array(types.int64, 1, "C"),
        types.Array(types.float64, 2, "C"),
        types.Array(types.int32, 2, "C"),
        types.Array(types.int32, 2, "C"),
    )
)
def weigh_owners(
    queries: NDArray[np.int32],
    owners: Ids,
    keypoints: int,
    weights: NDArray[np.float64],
    numbers: NDArray[np.int32],
    table: Ids,
    used: NDArray[np.int32],
    known: Ids,
    sums: NDArray[np.float64],
    counts: NDArray[np.int32],
    latest: NDArray[np.int32],
) -> int:
    """Number the owners of what was found, in the order they are met, and add up what speaks for each.

    `queries` int32[k] are `state * keypoints + n`, all of keypoint n one after the other, of `owners` int64[k].
    `table` int64[t] and `used` int32[t], all 0, have a power of two of places, twice as many as there are owners at
    least. Writes `weights` float64[4 * keypoints], one through the root of how many owners are near to each query;
    `numbers` int32[k], the number of each owner; and by number `known` int64[k], `sums` float64[k, 4] of weights,
    `counts` int32[k, 4] of queries and `latest` int32[k, 4] the last of these, by state. Returns how many owners
    there are.
    """
    count = 0
    for place in range(queries.size):
        slot = _slot(table, used, owners[place])
        if used[slot] == 0:
            table[slot], known[count] = owners[place], owners[place]
            latest[count] = -1
            count += 1
            used[slot] = count
        numbers[place] = used[slot] - 1
    weights[:] = 0
    for place in range(queries.size):
        own, query = latest[numbers[place]], queries[place]
        if own[query // keypoints] != query:
            own[query // keypoints] = query
            weights[query] += 1
    for query in range(weights.size):
        if weights[query] > 0:
            weights[query] = 1 / np.sqrt(weights[query])
    sums[:count], counts[:count], latest[:count] = 0, 0, -1
    for place in range(queries.size):
        number, query = numbers[place], queries[place]
        state = query // keypoints
        if latest[number, state] != query:
            latest[number, state] = query
            sums[number, state] += weights[query]
            counts[number, state] += 1
    return count


@compiled(
    types.void(
        _numbers,
        _numbers,
        _numbers,
        types.int64,
        _ids,
        _ids,
        types.int64,
        types.Array(types.int64, 2, "C"),
        types.Array(types.int64, 1, "C"),
    )
)
def gather_pairs(
    queries: NDArray[np.int32],
    numbers: NDArray[np.int32],
    places: NDArray[np.int32],
    keypoints: int,
    position: Ids,
    states: Ids,
    most: int,
    pairs: NDArray[np.int64],
    ends: Ids,
) -> None:
    """Of owners with a position, write the pairs of query and place in their state, `most` at most of each.

    `position` and `states` int64[m] by owner's number, the first -1 where it has none. Those of position p begin at
    pairs[p * most], `pairs` int64[most * chosen, 2]; `ends` int64[chosen] is how many they are, 0 before.
    """
    for place in range(queries.size):
        number = numbers[place]
        own = position[number]
        if own >= 0 and queries[place] // keypoints == states[number] and ends[own] < most:
            row = own * most + ends[own]
            pairs[row, 0], pairs[row, 1] = queries[place], places[place]
            ends[own] += 1
