"""The BK-tree, and beside it what wins: tables of bands where keys tell hashes apart, a scan of all at large radii.

Each search goes the way that costs least. What the tables cost is counted for the query itself, before anything is
compared; what the tree costs is counted when it is built, for some of its own hashes; a scan costs what it costs.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from app.index import table_kernels, tree_kernels
from app.index.band_kernels import BY_TREE, SMALLEST
from app.index.bktree import COST_OF_NODE, BKTree
from app.index.multi_index import MultiIndex, costs_of, effort_of, moves_of, tables_of
from app.index.protocol import checked_hashes, checked_ids

_SAMPLE = 64  # hashes, at least, for which it is counted what the tree costs


@dataclass(frozen=True, slots=True, eq=False)
class Adaptive(MultiIndex):
    """As `multi_index.MultiIndex`, but in the order of a tree with `nodes` as `bktree.BKTree` has them."""

    tree_kind: ClassVar[type[BKTree]] = BKTree

    @classmethod
    def build(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """Index copies of `hashes` uint64[n] and `ids` int64[n], n below 2**32."""
        hashes = checked_hashes(hashes)
        bands = cls._bands(hashes)
        moves = moves_of(bands)
        rearranged = np.empty_like(hashes)
        table_kernels.rearrange(hashes, moves, rearranged)
        tree = cls.tree_kind.out_of(rearranged, checked_ids(ids, len(hashes)).copy())
        tables = tables_of(tree.hashes, len(bands))
        return cls(tree.hashes, tree.ids, tables, moves, tree.nodes, cls._costs(tree, len(bands)))

    @classmethod
    def _costs(cls, tree: BKTree, bands: int) -> NDArray[np.int64]:
        costs = costs_of(len(tree), bands)
        costs[:, SMALLEST] = cls.tree_kind.smallest_node
        if len(tree.nodes):
            sample = tree.hashes[:: max(len(tree) // _SAMPLE, 1)].copy()
            for radius, cost in enumerate(costs):
                cost[BY_TREE] = effort_of(len(tree)) * tree_kernels.tree_cost(
                    tree.hashes, tree.nodes, cost[SMALLEST], COST_OF_NODE, sample, radius
                )
        return costs
