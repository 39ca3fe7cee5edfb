"""The exhaustive scan over hashes of two words: for codes of 65 to 128 bits, which no tree is made for."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.index.engine import Arrays
from app.index.protocol import checked_hashes, checked_ids

WORDS = 2
MAX_DISTANCE = 64 * WORDS  # bits


@dataclass(frozen=True, slots=True, eq=False)
class WideScan(Arrays):
    """An engine whose hashes are rows uint64[n, 2], and whose queries are such rows; else as `scan.Scan`."""

    @classmethod
    def build(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """Index copies of `hashes` uint64[n, 2] and `ids` int64[n]; ValueError for other arrays."""
        hashes = checked_hashes(hashes, (WORDS,)).copy()
        return cls(hashes, checked_ids(ids, len(hashes)).copy())

    def positions_within(
        self, query: NDArray[np.uint64], max_distance: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Positions int64[k] and distances uint8[k] of all hashes within `max_distance` bits of uint64[2]."""
        if not 0 <= max_distance <= MAX_DISTANCE or max_distance != int(max_distance):
            raise ValueError(f"max_distance is {max_distance}, it must be 0 to {MAX_DISTANCE}")
        if query.dtype != np.uint64 or query.shape != (WORDS,):
            raise ValueError(f"a query must be uint64[{WORDS}], this is {query.dtype}{list(query.shape)}")
        first, second = (np.bitwise_count(self.hashes[:, word] ^ query[word]) for word in range(WORDS))
        distances = first + second  # uint8: at most 128
        positions = np.flatnonzero(distances <= max_distance)
        return positions, distances[positions]

    def positions_within_many(
        self, queries: NDArray[np.uint64], max_distance: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """Query numbers int64[k], positions int64[k], distances uint8[k], for each row of uint64[m, 2]."""
        queries = checked_hashes(queries, (WORDS,))
        numbers = [np.empty(0, np.int64)]
        positions = [np.empty(0, np.int64)]
        distances = [np.empty(0, np.uint8)]
        for number, query in enumerate(queries):
            found, bits = self.positions_within(query, max_distance)
            numbers.append(np.full(len(found), number, np.int64))
            positions.append(found)
            distances.append(bits)
        return np.concatenate(numbers), np.concatenate(positions), np.concatenate(distances)
