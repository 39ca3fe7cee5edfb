"""What the engines share: room for an answer of unknown length, and ids for positions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.index.protocol import (
    MAX_DISTANCE,
    ManyNeighbours,
    Neighbours,
    checked_distance,
    checked_hash,
    checked_hashes,
)

_LEAST_ROOM = 254  # neighbours: two small allocations, and enough for nearly every answer
_MOST_ROOM_AT_FIRST = 1 << 20  # neighbours of a batch: 17 MB

# Share of random hashes within r bits of a given one: the binomial distribution's sum up to r.
_SHARE_WITHIN = tuple(accumulate(comb(64, bits) / 2.0**64 for bits in range(MAX_DISTANCE + 1)))


@dataclass(frozen=True, slots=True, eq=False)
class Arrays(ABC):
    """Hashes and ids by position, and what follows from finding positions."""

    hashes: NDArray[np.uint64]
    ids: NDArray[np.int64]

    @abstractmethod
    def positions_within(self, query: Any, max_distance: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Positions int64[k] and distances uint8[k] of all hashes within `max_distance` bits of `query`."""

    @abstractmethod
    def positions_within_many(
        self, queries: NDArray[np.uint64], max_distance: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """Query numbers int64[k], positions int64[k], distances uint8[k]: `positions_within` of each hash."""

    def within(self, query: Any, max_distance: int) -> Neighbours:
        """Ids and distances of all hashes within `max_distance` bits of `query`."""
        positions, distances = self.positions_within(query, max_distance)
        return Neighbours(self.ids[positions], distances)

    def within_many(self, queries: NDArray[np.uint64], max_distance: int) -> ManyNeighbours:
        """`within` for each of `queries` uint64[m]."""
        numbers, positions, distances = self.positions_within_many(queries, max_distance)
        return ManyNeighbours(numbers, self.ids[positions], distances)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.hashes.nbytes + self.ids.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class ArrayEngine(Arrays):
    """An engine whose kernel writes positions and distances into arrays that it is given."""

    @abstractmethod
    def _search(
        self, query: np.uint64, radius: int, positions: NDArray[np.int64], distances: NDArray[np.uint8]
    ) -> int:
        """Fill the output with what one hash finds, and count it; see `kernels.scan`."""

    @abstractmethod
    def _search_many(
        self,
        queries: NDArray[np.uint64],
        next_query: int,
        radius: int,
        numbers: NDArray[np.int64],
        positions: NDArray[np.int64],
        distances: NDArray[np.uint8],
    ) -> tuple[int, int, int]:
        """Fill the output with what the hashes from `next_query` find; see `kernels.scan_many`."""

    def positions_within(
        self, query: int | np.uint64, max_distance: int
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Positions int64[k] and distances uint8[k] of all hashes within `max_distance` bits of `query`."""
        radius, query = checked_distance(max_distance), checked_hash(query)
        room = self._likely_room(radius)
        while True:
            positions, distances = np.empty(room + 1, np.int64), np.empty(room + 1, np.uint8)
            found = self._search(query, radius, positions, distances)
            if found <= room:
                return positions[:found], distances[:found]
            room = found

    def positions_within_many(
        self, queries: NDArray[np.uint64], max_distance: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """Query numbers int64[k], positions int64[k], distances uint8[k]: `positions_within` of each hash."""
        radius, queries = checked_distance(max_distance), checked_hashes(queries)
        room = min(self._likely_room(radius) * max(len(queries), 1), _MOST_ROOM_AT_FIRST)
        parts = []
        next_query = 0
        while True:
            numbers, positions = np.empty(room + 1, np.int64), np.empty(room + 1, np.int64)
            distances = np.empty(room + 1, np.uint8)
            output = (numbers, positions, distances)
            next_query, found, needed = self._search_many(queries, next_query, radius, *output)
            parts.append((numbers[:found], positions[:found], distances[:found]))
            if next_query == len(queries):
                break
            room = max(room, needed)
        if len(parts) == 1:
            return parts[0]
        numbers, positions, distances = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return numbers, positions, distances

    def _likely_room(self, radius: int) -> int:
        """Room for twice the neighbours that random hashes have; a wrong guess costs a second search."""
        count = len(self.hashes)
        room = _LEAST_ROOM + int(2 * _SHARE_WITHIN[radius] * count)
        return room if room < count else max(count, _LEAST_ROOM)
