"""The compiled loop that looks for the place in many pictures that is most like a region; see `places`."""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled
from app.index.kernels import _popcount

FAR = 256
"""Bits: as far as a tile can be, and one without a pattern is."""
_MOST_FINE = 256  # tiles of the finer scale that a picture may have

_words = types.Array(types.uint64, 2, "C", readonly=True)
_flat = types.Array(types.boolean, 1, "C", readonly=True)
_starts = types.Array(types.int64, 1, "C", readonly=True)
_grids = types.Array(types.uint8, 2, "C", readonly=True)
_found = types.Array(types.int64, 1, "C")


@njit(nogil=True)
def _distance(words: NDArray[np.uint64], place: int, query: NDArray[np.uint64], scale: int) -> int:
    bits = 0
    for word in range(4):
        bits += _popcount(words[place, word] ^ query[scale, word])
    return bits


@compiled(types.void(_words, _flat, _starts, _grids, _words, _found, _found))
def nearest_places(
    words: NDArray[np.uint64],
    flat: NDArray[np.bool_],
    starts: NDArray[np.int64],
    grids: NDArray[np.uint8],
    query: NDArray[np.uint64],
    distances: NDArray[np.int64],
    places: NDArray[np.int64],
) -> None:
    """For each picture, the tile of the coarser scale that with the nearest finer one inside is nearest.

    Tiles `words` uint64[t, 4] and `flat` bool[t] from `starts` int64[n] on, of a picture with `grids` uint8[n, 4]:
    rows and columns of blocks, 2 to 16, coarser then finer. `query` uint64[2, 4]. Fills `distances` int64[n] and
    `places` int64[n], the first on a tie.
    """
    fine_bits = np.empty(_MOST_FINE, np.int64)
    for picture in range(starts.size):
        rows, columns = int(grids[picture, 0]), int(grids[picture, 1])
        fine_rows, fine_columns = int(grids[picture, 2]), int(grids[picture, 3])
        first = int(starts[picture])
        first_fine = first + (rows - 1) * (columns - 1)
        across = fine_columns - 1
        for place in range((fine_rows - 1) * across):
            fine_bits[place] = (
                FAR if flat[first_fine + place] else _distance(words, first_fine + place, query, 1)
            )
        best, where = 2 * FAR, 0
        for row in range(rows - 1):
            # Inside is a finer tile whose edges are not beyond the coarser one's.
            top, bottom = -(-row * fine_rows // rows), (row + 2) * fine_rows // rows - 2
            for column in range(columns - 1):
                place = row * (columns - 1) + column
                if flat[first + place]:
                    continue
                bits = _distance(words, first + place, query, 0)
                if bits >= best:
                    continue
                left, right = -(-column * fine_columns // columns), (column + 2) * fine_columns // columns - 2
                inside = FAR
                for fine_row in range(top, bottom + 1):
                    for fine_column in range(left, right + 1):
                        inside = min(inside, int(fine_bits[fine_row * across + fine_column]))
                if bits + inside < best:
                    best, where = bits + inside, place
        distances[picture] = best
        places[picture] = where
