"""Families: all that copies join, directly or through others."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

from app.matching.clusters import Clusters


def joined(count: int, pairs: NDArray[np.int64], *, min_size: int = 2) -> Clusters:
    """Cluster `count` rows so that all that pairs, int64[m, 2], join directly or through others are together.

    The medoid is the row in most pairs, of several the first. Distances are steps from it, not bits: 1 to its
    partners. Of clusters of one size that with the first medoid comes first.

    >>> found = joined(6, np.array([[0, 1], [1, 2], [4, 5]]))
    >>> found.medoids.tolist(), found.numbers.tolist(), found.distances.tolist()
    ([1, 4], [0, 0, 0, -1, 1, 1], [1, 0, 1, 0, 0, 1])
    """
    sides = np.concatenate([pairs, pairs[:, ::-1]])
    edges = csr_array((np.ones(len(sides), np.int8), (sides[:, 0], sides[:, 1])), (count, count))
    _, parts = connected_components(edges, directed=False)
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
