"""The compiled loops that rank images by the keypoints that are near to theirs; see `kernels` in `app.index`."""

import numpy as np
from numba import types
from numpy.typing import NDArray

from app.compiling import compiled

Ids = NDArray[np.int64]
Numbers = NDArray[np.int32]

_numbers = types.Array(types.int32, 1, "C", readonly=True)
_ids = types.Array(types.int64, 1, "C", readonly=True)
_weights = types.Array(types.float64, 1, "C", readonly=True)
_cells = types.Array(types.int32, 1, "C")
_MIXER = np.uint64(0x9E3779B97F4A7C15)  # Knuth's, for multiplicative hashing


@compiled(types.int64(_ids, _cells, _cells, types.Array(types.int64, 1, "C"), _cells))
def number_owners(owners: Ids, slots: Numbers, numbers: Numbers, known: Ids, hits: Numbers) -> int:
    """Number `owners` int64[k] in the order they are met; returns how many there are.

    `slots` int32, all 0, has a power of two of places, more than there are owners. Writes `numbers` int32[k]; and
    by number `known` int64[k], the owner, and `hits` int32[k], how often it is there.
    """
    count = 0
    for place in range(owners.size):
        owner = owners[place]
        slot = int((np.uint64(owner) * _MIXER) >> np.uint64(32)) & (slots.size - 1)
        while slots[slot] != 0 and known[slots[slot] - 1] != owner:
            slot = (slot + 1) & (slots.size - 1)
        if slots[slot] == 0:
            known[count], hits[count] = owner, 0
            count += 1
            slots[slot] = count
        numbers[place] = slots[slot] - 1
        hits[numbers[place]] += 1
    return count


@compiled(
    types.void(
        _numbers,
        _numbers,
        _numbers,
        types.int64,
        types.Array(types.float64, 1, "C"),
        types.Array(types.float64, 2, "C"),
        types.Array(types.int32, 2, "C"),
        types.Array(types.int32, 2, "C"),
    )
)
def weigh_owners(
    queries: Numbers,
    numbers: Numbers,
    rows: Numbers,
    keypoints: int,
    weights: NDArray[np.float64],
    sums: NDArray[np.float64],
    counts: Numbers,
    latest: Numbers,
) -> None:
    """Add up what speaks for each owner that has a row.

    `queries` int32[k] are `state * keypoints + n`, all of keypoint n one after the other, `numbers` int32[k] those
    of their owners, `rows` int32 those of owners by number, -1 where one was met once only: it has none. Writes
    `weights` float64[4 * keypoints], one through the root of how many owners are near to each query; and by row and
    state `sums` float64[m, 4] of weights and `counts` int32[m, 4] of queries. `latest` int32[m, 4], the last of
    these, is all -1 before.
    """
    weights[:], sums[:], counts[:] = 0, 0, 0
    for place in range(queries.size):
        row, query = rows[numbers[place]], queries[place]
        if row < 0:
            weights[query] += 1
        elif latest[row, query // keypoints] != query:
            latest[row, query // keypoints] = query
            weights[query] += 1
    for query in range(weights.size):
        if weights[query] > 0:
            weights[query] = 1 / np.sqrt(weights[query])
    latest[:] = -1
    for place in range(queries.size):
        row, query = rows[numbers[place]], queries[place]
        state = query // keypoints
        if row >= 0 and latest[row, state] != query:
            latest[row, state] = query
            sums[row, state] += weights[query]
            counts[row, state] += 1


@compiled(
    types.void(
        _numbers,
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
    queries: Numbers,
    numbers: Numbers,
    rows: Numbers,
    places: Numbers,
    keypoints: int,
    position: Ids,
    states: Ids,
    most: int,
    pairs: NDArray[np.int64],
    ends: Ids,
) -> None:
    """Of owners with a position, write the pairs of query and place in their state, `most` at most of each.

    `rows` are as in `weigh_owners`, `position` and `states` int64[m] by row, the first -1 where it has none. Those
    of position p begin at pairs[p * most], `pairs` int64[most * chosen, 2]; `ends` int64[chosen] is how many they
    are, 0 before.
    """
    for place in range(queries.size):
        row = rows[numbers[place]]
        own = -1 if row < 0 else position[row]
        if own >= 0 and queries[place] // keypoints == states[row] and ends[own] < most:
            pair = own * most + ends[own]
            pairs[pair, 0], pairs[pair, 1] = queries[place], places[place]
            ends[own] += 1
