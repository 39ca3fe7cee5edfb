"""Which cluster of a new run carries on which of the run before: by the images that they share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Succession:
    """`carried` int64[k]: for each new cluster the number of the old one that it carries on, -1 for none.

    `shared` int64[s, 3]: old cluster, new cluster, number of images that are in both; all such pairs, in order.
    """

    carried: Numbers
    shared: Numbers


def succession(
    old_images: Numbers, old_numbers: Numbers, new_images: Numbers, new_numbers: Numbers, count: int
) -> Succession:
    """Match `count` new clusters with old ones so that each old one is carried on once at most, by largest overlap.

    Images int64[n] and the number of the cluster that each is in, of one run and of the other; an image is there
    once in each. Pairs that share the most come first; of those that share as many, the lower old number, then the
    lower new one.

    >>> found = succession(*map(np.array, ([1, 2, 3], [0, 0, 1], [1, 2, 3], [1, 1, 1])), 2)
    >>> found.carried.tolist(), found.shared.tolist()
    ([-1, 0], [[0, 1, 2], [1, 1, 1]])
    """
    _, in_old, in_new = np.intersect1d(old_images, new_images, assume_unique=True, return_indices=True)
    pairs = np.stack([old_numbers[in_old], new_numbers[in_new]], axis=1)
    different, counts = np.unique(pairs, axis=0, return_counts=True)
    carried = np.full(count, -1)
    taken: set[int] = set()
    for place in np.argsort(-counts, kind="stable").tolist():
        old, new = different[place].tolist()
        if carried[new] < 0 and old not in taken:
            carried[new] = old
            taken.add(old)
    return Succession(carried, np.column_stack([different, counts]))
