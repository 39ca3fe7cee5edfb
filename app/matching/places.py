"""Where in stored pictures is something that looks like a region: a template's, or any picture's."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.tiles import tile_boxes
from app.fingerprints.value import Pattern, tiles_of_blocks
from app.matching.place_kernels import FAR, nearest_places

MOST_BLOCKS = 16  # along a side; `nearest_places` has room for the tiles of so many
FARTHEST = 2 * FAR
"""Bits: what a region can be away from a picture, 256 at each scale."""


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """The tiles of n pictures, one picture's after the other's.

    `words` uint64[t, 4], `flat` bool[t], `starts` int64[n]; `blocks` uint8[n, 4] as in `Pattern`. ValueError where
    these do not fit each other.
    """

    words: NDArray[np.uint64]
    flat: NDArray[np.bool_]
    starts: NDArray[np.int64]
    blocks: NDArray[np.uint8]

    def __post_init__(self) -> None:
        counts = tiles_of_blocks(self.blocks)
        if (self.blocks < 2).any() or (self.blocks > MOST_BLOCKS).any():
            raise ValueError(f"a picture has 2 to {MOST_BLOCKS} blocks along each side")
        if not np.array_equal(self.starts, np.cumsum(counts) - counts) or not (
            len(self.words) == len(self.flat) == counts.sum()
        ):
            raise ValueError("there are not as many tiles as the blocks of all pictures make")

    @classmethod
    def of(cls, patterns: list[Pattern]) -> Self:
        """Those of pictures with these patterns."""
        counts = [len(each.tiles) for each in patterns]
        return cls(
            np.concatenate([np.empty((0, 4), np.uint64), *(each.tiles for each in patterns)]),
            np.concatenate([np.empty(0, np.bool_), *(each.flat for each in patterns)]),
            np.cumsum([0, *counts])[:-1].astype(np.int64),
            np.array([each.blocks for each in patterns], np.uint8).reshape(-1, 4),
        )

    def nearest(self, region: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How far each picture is from a region uint64[2, 4], and by which of its tiles: int64[n] each.

        Bits, 0 to 512: of the tile of the coarser scale that, with the nearest tile of the finer one inside, is
        nearest. 512 for a picture without any pattern.
        """
        distances, places = np.empty(len(self.starts), np.int64), np.empty(len(self.starts), np.int64)
        nearest_places(self.words, self.flat, self.starts, self.blocks, region, distances, places)
        return distances, places


def box_of(place: int, width: int, height: int, blocks: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of that tile in a picture of that size with these blocks, in pixels."""
    left, top, right, bottom = _boxes(width, height, blocks.tobytes())[place].tolist()
    return left, top, right, bottom


@lru_cache(
    maxsize=256
)  # pictures of a collection have a few sizes, and a template may be in thousands of them
def _boxes(width: int, height: int, blocks: bytes) -> NDArray[np.int64]:
    return tile_boxes(width, height, np.frombuffer(blocks, np.uint8))
