"""The engines as they are, and kinds of them that small collections exercise."""

from typing import ClassVar

from app.index.adaptive import Adaptive
from app.index.band_kernels import BY_SCAN, BY_TREE
from app.index.bktree import BKTree
from app.index.live import LiveIndex
from app.index.multi_index import NEVER, MultiIndex
from app.index.scan import Scan


class BushyTree(BKTree):
    """A tree that makes a node of everything and enters every node."""

    leaf_size: ClassVar[int] = 1
    smallest_node: ClassVar[tuple[int, ...]] = (0,) * 65


class EagerBands(MultiIndex):
    """Tables for everything."""

    least_size: ClassVar[int] = 2

    @classmethod
    def build(cls, hashes, ids):
        made = super().build(hashes, ids)
        made.costs[:, BY_SCAN] = NEVER
        return made


class ThreeBands(EagerBands):
    """As many bands as three million hashes have: with tables of 34 MB, which take long for a small test."""

    bands_at_most: ClassVar[int] = 3


class EagerAdaptive(Adaptive):
    """Goes by the tables, by the tree and by scan in turns, radius by radius."""

    least_size: ClassVar[int] = 2
    tree_kind: ClassVar[type[BKTree]] = BushyTree

    @classmethod
    def build(cls, hashes, ids):
        made = super().build(hashes, ids)
        for radius, cost in enumerate(made.costs):
            cost[[BY_TREE, BY_SCAN]] = [(NEVER, NEVER), (-1, NEVER), (NEVER, -1)][radius % 3]
        return made


ENGINES = [Scan, BKTree, BushyTree, MultiIndex, EagerBands, Adaptive, EagerAdaptive, LiveIndex]
