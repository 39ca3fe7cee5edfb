"""The BK-tree, and beside it what wins: tables of bands where keys tell hashes apart, a scan of all at large radii.

Each search goes the way that costs least. What the tables cost is counted for the query itself, before anything is
compared; what the tree costs is measured when it is built, on some of its own hashes; a scan costs what it costs.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from app.index import band_kernels, kernels
from app.index.bktree import COST_OF_NODE, BKTree
from app.index.engine import ArrayEngine
from app.index.multi_index import HASH_COST, LOOKUP_COST, NEVER, MultiIndex, tables_of
from app.index.protocol import MAX_DISTANCE

_SAMPLE = 64  # hashes that the tree is searched for, to know what it costs


@dataclass(frozen=True, slots=True, eq=False)
class Adaptive(ArrayEngine):
    """`hashes`, `ids` and `nodes` as `bktree.BKTree` has them, and `tables` (`band_kernels.Tables`) of them.

    `costs` by radius, each int64[5], as `band_kernels.search_bands` takes them.
    """

    nodes: NDArray[np.uint32]
    tables: band_kernels.Tables
    costs: tuple[NDArray[np.int64], ...]

    bands_kind: ClassVar[type[MultiIndex]] = MultiIndex
    tree_kind: ClassVar[type[BKTree]] = BKTree

    @classmethod
    def build(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """Index copies of `hashes` uint64[n] and `ids` int64[n], n below 2**32."""
        tree = cls.tree_kind.build(hashes, ids)
        tables = tables_of(tree.hashes, cls.bands_kind.least_size)
        return cls(tree.hashes, tree.ids, tree.nodes, tables, cls._costs(tree))

    @classmethod
    def _costs(cls, tree: BKTree) -> tuple[NDArray[np.int64], ...]:
        costs = np.tile(np.array([LOOKUP_COST, HASH_COST, NEVER, len(tree), 0]), (MAX_DISTANCE + 1, 1))
        costs[:, 4] = cls.tree_kind.smallest_node
        if len(tree.nodes):
            sample = tree.hashes[:: max(len(tree) // _SAMPLE, 1)].copy()
            for radius, cost in enumerate(costs):
                cost[2] = band_kernels.tree_cost(
                    tree.hashes, tree.nodes, cost[4], COST_OF_NODE, sample, radius
                )
        return tuple(costs)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.ids.nbytes + self.nodes.nbytes + sum(array.nbytes for array in self.tables)

    def _search(
        self, query: np.uint64, radius: int, positions: NDArray[np.int64], distances: NDArray[np.uint8]
    ) -> int:
        if not len(self.tables[1]):  # few hashes: passing more to the kernel costs more than the search
            return kernels.scan(self.hashes, query, radius, positions, distances)
        way = (self.tables, self.nodes, self.costs[radius])
        return band_kernels.search_bands(*way, query, radius, positions, distances)

    def _search_many(
        self,
        queries: NDArray[np.uint64],
        next_query: int,
        radius: int,
        numbers: NDArray[np.int64],
        positions: NDArray[np.int64],
        distances: NDArray[np.uint8],
    ) -> tuple[int, int, int]:
        way = (self.tables, self.nodes, self.costs[radius])
        return band_kernels.search_bands_many(
            *way, queries, next_query, radius, numbers, positions, distances
        )
