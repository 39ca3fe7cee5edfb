"""The exhaustive scan over hashes of two words: for codes of 65 to 128 bits, which no tree is made for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.index.engine import ArrayEngine
from app.index.protocol import Pairs, checked_hashes, checked_ids, kind_of

WORDS = 2
MAX_DISTANCE = 64 * WORDS  # bits
_ROOM = 254  # neighbours
_JOINED = 64  # hashes compared with all others in a step of a join


@dataclass(frozen=True, slots=True, eq=False)
class WideScan(ArrayEngine):
    """An engine whose hashes are rows uint64[n, 2], and whose queries are such rows; else as `scan.Scan`."""

    hashes: NDArray[np.uint64]
    ids: NDArray[np.int64]

    @classmethod
    def build(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """Index copies of `hashes` uint64[n, 2] and `ids` int64[n]; ValueError for other arrays."""
        hashes = checked_hashes(hashes, (WORDS,)).copy()
        return cls(hashes, checked_ids(ids, len(hashes)).copy())

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.hashes.nbytes + self.ids.nbytes

    def _join(self, radius: int) -> Iterator[Pairs]:
        for start in range(0, len(self), _JOINED):
            found = self.within_many(self.hashes[start : start + _JOINED], radius)
            asked = self.ids[start + found.queries]
            later = found.ids > asked
            done = min(1.0, (start + _JOINED) / len(self))
            yield Pairs(asked[later], found.ids[later], found.distances[later], done)

    def pairs_within(self, max_distance: int) -> Iterator[Pairs]:
        """As `ArrayEngine.pairs_within`, `max_distance` 0 to 128."""
        return self._join(_checked_distance(max_distance))

    def checked_query(self, query: NDArray[np.uint64], max_distance: int) -> tuple[NDArray[np.uint64], int]:
        """Query uint64[2] and radius, 0 to 128, or a ValueError."""
        if not isinstance(query, np.ndarray) or query.dtype != np.uint64 or query.shape != (WORDS,):
            raise ValueError(f"a query must be uint64[{WORDS}], this is {kind_of(query)}")
        return query, _checked_distance(max_distance)

    def checked_queries(
        self, queries: NDArray[np.uint64], max_distance: int
    ) -> tuple[NDArray[np.uint64], int]:
        """Queries uint64[m, 2] and radius, 0 to 128, or a ValueError."""
        return checked_hashes(queries, (WORDS,)), _checked_distance(max_distance)

    def likely_room(self, radius: int) -> int:  # noqa: ARG002 - nothing is known of how such codes lie
        """Room for an answer at first."""
        return _ROOM

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
        """Compare all."""
        first, second = (np.bitwise_count(self.hashes[:, word] ^ query[word]) for word in range(WORDS))
        bits = first + second  # uint8: at most 128
        positions = np.flatnonzero(bits <= radius)
        if len(died):
            positions = positions[(died[positions] == 0) | (died[positions] > clock)]
        after = found + len(positions)
        if after <= len(ids):
            ids[found:after] = self.ids[positions]
            distances[found:after] = bits[positions]
        return after

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
        """Compare all with each."""
        found = 0
        for number in range(next_query, len(queries)):
            after = self.search(died, clock, queries[number], radius, ids, distances, found)
            if after > len(ids):
                return number, found, after - found
            numbers[found:after] = number
            found = after
        return len(queries), found, 0


def _checked_distance(max_distance: int) -> int:
    if not 0 <= max_distance <= MAX_DISTANCE or max_distance != int(max_distance):
        raise ValueError(f"max_distance is {max_distance}, it must be 0 to {MAX_DISTANCE}")
    return int(max_distance)
