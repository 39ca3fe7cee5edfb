"""Where in stored pictures is something that looks like a region: a template's, or any picture's."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.pattern import grids, tile_boxes
from app.fingerprints.value import Pattern
from app.matching.place_kernels import FAR, nearest_places

FARTHEST = 2 * FAR
"""Bits: what a region can be away from a picture, 256 at each scale."""


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """The tiles of n pictures, one picture's after the other's.

    `words` uint64[t, 4], `flat` bool[t], `starts` int64[n]; `grids` uint8[n, 4]: rows and columns of blocks at the
    coarser scale, then at the finer.
    """

    words: NDArray[np.uint64]
    flat: NDArray[np.bool_]
    starts: NDArray[np.int64]
    grids: NDArray[np.uint8]

    @classmethod
    def of(cls, patterns: list[Pattern], sizes: list[tuple[int, int]]) -> Self:
        """Those of pictures of these widths and heights."""
        counts = [len(each.tiles) for each in patterns]
        return cls(
            np.concatenate([np.empty((0, 4), np.uint64), *(each.tiles for each in patterns)]),
            np.concatenate([np.empty(0, np.bool_), *(each.flat for each in patterns)]),
            np.cumsum([0, *counts])[:-1].astype(np.int64),
            np.array([grids_of(*size) for size in sizes], np.uint8).reshape(-1, 4),
        )

    def nearest(self, region: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How far each picture is from a region uint64[2, 4], and by which of its tiles: int64[n] each.

        Bits, 0 to 512: of the tile of the coarser scale that, with the nearest tile of the finer one inside, is
        nearest. 512 for a picture without any pattern.
        """
        distances, places = np.empty(len(self.starts), np.int64), np.empty(len(self.starts), np.int64)
        nearest_places(self.words, self.flat, self.starts, self.grids, region, distances, places)
        return distances, places


def grids_of(width: int, height: int) -> tuple[int, int, int, int]:
    """Rows and columns of blocks of a picture of that size, at the coarser scale and at the finer."""
    coarse, fine = grids(width, height)
    return coarse.rows, coarse.columns, fine.rows, fine.columns


def box_of(place: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of that tile in a picture of that size, in pixels."""
    left, top, right, bottom = tile_boxes(width, height)[place].tolist()
    return left, top, right, bottom
