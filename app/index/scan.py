"""The exhaustive popcount scan: the oracle of every test, and the best engine at very large radii."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.index import kernels
from app.index.engine import ArrayEngine
from app.index.protocol import checked_hashes, checked_ids


@dataclass(frozen=True, slots=True, eq=False)
class Scan(ArrayEngine):
    """Compares every hash with every query; `hashes` and `ids` stay in the order they were given."""

    @classmethod
    def build(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """Index copies of `hashes` uint64[n] and `ids` int64[n]."""
        hashes = checked_hashes(hashes).copy()
        return cls(hashes, checked_ids(ids, len(hashes)).copy())

    def _search(
        self, query: np.uint64, radius: int, positions: NDArray[np.int64], distances: NDArray[np.uint8]
    ) -> int:
        return kernels.scan(self.hashes, query, radius, positions, distances)

    def _search_many(
        self,
        queries: NDArray[np.uint64],
        next_query: int,
        radius: int,
        numbers: NDArray[np.int64],
        positions: NDArray[np.int64],
        distances: NDArray[np.uint8],
    ) -> tuple[int, int, int]:
        return kernels.scan_many(self.hashes, queries, next_query, radius, numbers, positions, distances)
