"""Every pair of a collection within a distance, each once: for audits and clusters.

A join is done in steps, between which there is word of its progress, and whoever asks for no further step has
cancelled it. Where tables of bands cost less than comparing each with each, the hashes of each key are compared
with those of the keys near to it: few with few, so that both stay in the cache.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.index import join_kernels
from app.index.band_kernels import Addresses, band_width, keys_seen
from app.index.protocol import MAX_DISTANCE, Pairs

_ROOM = 1 << 16  # pairs in a step
_WORK = 4_000_000  # windows of hashes compared in a step: some 30 ms

# In halves of comparisons of a scan, 0.054 ns each. Fitted to joins of 150,000 and a million at radius 4 to 10,
# which took 6 ns for each lookup of a hash and 0.25 ns for each hash that it met.
_LOOKUP_COST, _HASH_COST = 110, 5
_SAMPLE = 1000  # hashes by which it is known what the tables cost

_State = NDArray[np.int64]
_Step = Callable[[_State, int, NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]], int]


def join_by_scan(hashes: NDArray[np.uint64], ids: NDArray[np.int64], radius: int) -> Iterator[Pairs]:
    """Compare each of `hashes` uint64[n] with each; a step may find nothing."""
    step = partial(join_kernels.join_scan, hashes, ids, radius)
    # A tile is compared with all before its end.
    return _steps(step, lambda state: (state[0] / len(hashes)) ** 2)


def join_by_tables(addresses: Addresses, bands: int, radius: int) -> Iterator[Pairs]:
    """Compare the hashes of keys that are near to each other; a step may find nothing."""
    step = partial(join_kernels.join_bands, addresses, radius)
    return _steps(step, lambda state: (state[0] + state[1] / (1 << band_width(bands, int(state[0])))) / bands)


def tables_pay(addresses: Addresses, bands: int, size: int, radius: int) -> bool:
    """Whether a join of `size` hashes by the tables at `addresses` costs less than one by scan."""
    cost = sum(keys_seen(radius, bands)) * _LOOKUP_COST
    # Where lookups alone cost too much, counting what they meet would take minutes.
    if not bands or radius >= MAX_DISTANCE or cost >= size:
        return False
    return cost + join_kernels.mean_met(addresses, radius, max(size // _SAMPLE, 1)) * _HASH_COST < size


def _steps(step: _Step, done: Callable[[_State], float]) -> Iterator[Pairs]:
    state = np.zeros(5, np.int64)
    while state[0] >= 0:
        left, right = np.empty(_ROOM, np.int64), np.empty(_ROOM, np.int64)
        distances = np.empty(_ROOM, np.uint8)
        found = step(state, _WORK, left, right, distances)
        share = float(done(state)) if state[0] >= 0 else 1.0
        yield Pairs(left[:found], right[:found], distances[:found], share)
