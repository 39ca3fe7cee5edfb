"""Families: all that copies join, directly or through others."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

from app.matching.clusters import Clusters


def parts_of(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number `count` rows, int64[count], so that all that pairs, int64[m, 2], join directly or through others have
    one number, and no others have it.

    >>> parts_of(6, np.array([[0, 1], [1, 2], [4, 5]])).tolist()
    [0, 0, 0, 1, 2, 2]
    """
    return _parts(_edges(count, pairs))


def strongest(
    count: int, pairs: NDArray[np.int64], ranks: NDArray[np.int16], nearest: NDArray[np.int32]
) -> NDArray[np.int64]:
    """For each of `count` rows the place of the best pair whose second it is, int64[count]; -1 where there is none.

    The best has the least rank, then is nearest, then has the first partner: whatever order the pairs come in.
    Ranks are less than 7, rows fewer than 2^30.

    >>> pairs = np.array([[1, 2], [0, 2], [0, 1]])
    >>> strongest(4, pairs, np.array([3, 2, 2], np.int16), np.array([0, 9, 5], np.int32)).tolist()
    [-1, 2, 1, -1]
    """
    # In one word, 3 and 31 and 30 bits: ten times as fast as sorting, where a hub has millions of pairs.
    words = ranks.astype(np.uint64) << np.uint64(61) | nearest.astype(np.uint64) << np.uint64(30)
    words |= pairs[:, 0].astype(np.uint64)
    best = np.full(count, np.iinfo(np.uint64).max)
    np.minimum.at(best, pairs[:, 1], words)
    found = np.full(count, -1)
    chosen = np.flatnonzero(words == best[pairs[:, 1]])
    found[pairs[chosen, 1]] = chosen
    return found


def joined(count: int, pairs: NDArray[np.int64], *, min_size: int = 2) -> Clusters:
    """Cluster `count` rows so that all that pairs, int64[m, 2], join directly or through others are together.

    The medoid is the row in most pairs, of several the first. Distances are steps from it, not bits: 1 to its
    partners. Of clusters of one size that with the first medoid comes first.

    >>> found = joined(6, np.array([[0, 1], [1, 2], [4, 5]]))
    >>> found.medoids.tolist(), found.numbers.tolist(), found.distances.tolist()
    ([1, 4], [0, 0, 0, -1, 1, 1], [1, 0, 1, 0, 0, 1])
    """
    edges = _edges(count, np.concatenate([pairs, pairs[:, ::-1]]))
    parts = _parts(edges)
    sizes = np.bincount(parts, minlength=1)
    degrees = np.diff(edges.indptr)  # pairs that are told twice are one entry
    order = np.lexsort((np.arange(count), -degrees, parts))
    firsts = order[np.unique(parts[order], return_index=True)[1]]
    large = np.flatnonzero(sizes[parts[firsts]] >= min_size) if count else np.empty(0, np.int64)
    large = large[np.lexsort((firsts[large], -sizes[large]))]
    numbers = np.full(len(sizes), -1)
    numbers[large] = np.arange(len(large))
    medoids = firsts[large].astype(np.int64)
    distances = np.zeros(count, np.uint16)
    if len(medoids):
        steps = dijkstra(edges, directed=False, indices=medoids, unweighted=True, min_only=True)
        distances = np.where(np.isfinite(steps), steps, 0).astype(np.uint16)
    return Clusters(medoids, numbers[parts] if count else np.empty(0, np.int64), distances)


def _edges(count: int, pairs: NDArray[np.int64]) -> csr_array:
    return csr_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (count, count))


def _parts(edges: csr_array) -> NDArray[np.int64]:
    _, parts = connected_components(edges, directed=False)
    return np.asarray(parts, np.int64)
