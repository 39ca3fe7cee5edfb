"""The tiles of a picture: two blocks by two, at two scales, overlapping by half. Quick to import."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Edges = NDArray[np.int64]

BLOCKS = 4
"""Along the short side at the coarser scale; at the finer one twice as many."""
LONGEST = 1.5
"""Blocks along the long side are at most so many times those: of a longer picture they are longer."""


def edges_of(length: int, blocks: int) -> Edges:
    """Where blocks begin along a side of so many pixels, and where the last ends: int64[blocks + 1]."""
    edges = np.empty(blocks + 1, np.int64)
    for block in range(blocks + 1):
        edges[block] = (block * length * 2 + blocks) // (2 * blocks)
    return edges


@dataclass(frozen=True, slots=True)
class Grid:
    """Blocks of a picture at one scale, rows and columns of them."""

    rows: int
    columns: int

    def tiles(self) -> list[tuple[int, int]]:
        """Row and column of the upper left block of each tile."""
        return [(row, column) for row in range(self.rows - 1) for column in range(self.columns - 1)]


def grids(width: int, height: int) -> tuple[Grid, Grid]:
    """The blocks of a picture of that size, coarser scale first."""
    found = []
    for blocks in (BLOCKS, 2 * BLOCKS):
        long = min(
            max(round(blocks * max(width, height) / min(width, height)), blocks), int(blocks * LONGEST)
        )
        found.append(Grid(blocks, long) if width >= height else Grid(long, blocks))
    return found[0], found[1]


def tile_boxes(width: int, height: int, blocks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where tiles of so many blocks are in a picture of that size, int64[t, 4]: left, top, right, bottom in pixels.

    >>> tile_boxes(400, 400, np.array([4, 4, 8, 8], np.uint8))[[0, 9]].tolist()
    [[0, 0, 200, 200], [0, 0, 100, 100]]
    """
    rows, columns, fine_rows, fine_columns = blocks.tolist()
    boxes = []
    for grid in (Grid(rows, columns), Grid(fine_rows, fine_columns)):
        down, across = edges_of(height, grid.rows), edges_of(width, grid.columns)
        boxes += [
            (across[column], down[row], across[column + 2], down[row + 2]) for row, column in grid.tiles()
        ]
    return np.array(boxes, np.int64)
