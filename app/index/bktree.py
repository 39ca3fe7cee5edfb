"""The BK-tree over flat arrays.

A BK-tree (Burkhard and Keller, 1973) sorts hashes by their distance to a vantage hash. By the triangle
inequality, whatever lies within r of a query at distance d from the vantage is in the buckets d - r to d + r.

The tree is a permutation. Every node owns a range of the hashes; counting sort by distance puts the vantage
with its copies (distance 0) first and the buckets 1 to 64 behind it, so the buckets that a query has to see
are one run. Buckets larger than a leaf are nodes in turn; runs of leaves are scanned by popcount.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from app.compiling import entry_point
from app.index import tree_kernels
from app.index.engine import BRIEF, BRIEF_ROOM, ArrayEngine
from app.index.pairs import join_by_scan
from app.index.protocol import MAX_DISTANCE, Pairs, checked_hashes, checked_ids


def _share_seen(radius: int) -> float:
    """Share of a node's random hashes that a search of `radius` bits has to see.

    That is how often two distances, each the sum of 64 fair bits, differ by at most the radius; their
    difference is distributed like the sum of 128 fair bits, less 64.
    """
    return sum(comb(128, 64 + difference) / 2.0**128 for difference in range(-radius, radius + 1))


# Measured at 150,000 and a million random hashes with other work between searches, so that the tree is out of
# the processor's nearest cache. The optimum is flat: a factor of two either way costs under 10 %.
_LEAF_SIZE = 768  # hashes
COST_OF_NODE = 800  # looking at a node takes as long as scanning so many hashes

_search = entry_point(tree_kernels.search_tree)
_search_briefly = entry_point(tree_kernels.search_tree_keeping_gil)
_search_many = tree_kernels.search_tree_many
_search_many_briefly = tree_kernels.search_tree_many_keeping_gil


@dataclass(frozen=True, slots=True, eq=False)
class BKTree(ArrayEngine):
    """`hashes` and `ids` in tree order; `nodes` uint32[k, 69], level by level from the root, 276 bytes each.

    Columns 0 to 65 of a node: where the bucket at each distance starts, and the end of the last. Bucket 0 is
    the vantage, as often as it occurs. Columns 67 and 68: the low and high half of 64 bits, of which the bit
    d - 1 is set if bucket d is a node. Column 66: the number of the first of those, the others follow it. No
    nodes: one leaf.
    """

    hashes: NDArray[np.uint64]
    ids: NDArray[np.int64]
    nodes: NDArray[np.uint32]

    leaf_size: ClassVar[int] = _LEAF_SIZE
    # The fewest hashes, by radius, for which a node is entered: the share that it lets a search skip (as it
    # is for random hashes) has to pay for looking at the node. Smaller ones are scanned, so a radius that
    # lets nothing be skipped makes one scan of the whole.
    smallest_node: ClassVar[tuple[int, ...]] = tuple(
        int(COST_OF_NODE / max(1 - _share_seen(radius), 1e-9)) for radius in range(MAX_DISTANCE + 1)
    )

    @classmethod
    def build(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """Index copies of `hashes` uint64[n] and `ids` int64[n], n below 2**32, without the GIL."""
        hashes = checked_hashes(hashes).copy()
        return cls.out_of(hashes, checked_ids(ids, len(hashes)).copy())

    @classmethod
    def out_of(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """The tree over these arrays themselves, contiguous and of one length, which it brings into its order."""
        if len(hashes) >= 1 << 32:
            raise ValueError(f"a BK-tree holds fewer than 2**32 hashes, these are {len(hashes)}")
        nodes = tree_kernels.build_tree(hashes, ids, cls.leaf_size)
        return cls(hashes, ids, nodes)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.hashes.nbytes + self.ids.nbytes + self.nodes.nbytes

    def _join(self, radius: int) -> Iterator[Pairs]:
        return join_by_scan(self.hashes, self.ids, radius)

    def search(
        self,
        died: NDArray[np.uint32],
        clock: int,
        query: Any,
        radius: int,
        ids: NDArray[np.int64],
        distances: NDArray[np.uint8],
        found: int,
    ) -> int:
        """Descend."""
        way = self.nodes, self.smallest_node[radius], query, radius
        # At worst it compares all, and looks at nodes for as long.
        is_brief = len(self.hashes) <= BRIEF // 2 and len(ids) <= BRIEF_ROOM
        search = _search_briefly if is_brief else _search
        return search(self.hashes, self.ids, died, clock, *way, ids, distances, found)

    def search_many(
        self,
        died: NDArray[np.uint32],
        clock: int,
        queries: NDArray[np.uint64],
        next_query: int,
        radius: int,
        numbers: NDArray[np.int64],
        ids: NDArray[np.int64],
        distances: NDArray[np.uint8],
    ) -> tuple[int, int, int]:
        """Descend for each."""
        way = self.nodes, self.smallest_node[radius], queries, next_query, radius
        is_brief = len(self.hashes) * len(queries) <= BRIEF // 2 and len(ids) <= BRIEF_ROOM
        search = _search_many_briefly if is_brief else _search_many
        return search(self.hashes, self.ids, died, clock, *way, numbers, ids, distances)
