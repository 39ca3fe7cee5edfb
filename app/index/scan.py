"""The exhaustive popcount scan: the oracle of every test, and the best engine at very large radii."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.compiling import entry_point
from app.index import kernels
from app.index.engine import BRIEF, BRIEF_ROOM, ArrayEngine
from app.index.pairs import join_by_scan
from app.index.protocol import Pairs, checked_hashes, checked_ids

_search = entry_point(kernels.scan)
_search_briefly = entry_point(kernels.scan_keeping_gil)
_search_many = kernels.scan_many
_search_many_briefly = kernels.scan_many_keeping_gil


@dataclass(frozen=True, slots=True, eq=False)
class Scan(ArrayEngine):
    """Compares every hash with every query; `hashes` and `ids` stay in the order they were given."""

    hashes: NDArray[np.uint64]
    ids: NDArray[np.int64]

    @classmethod
    def build(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """Index copies of `hashes` uint64[n] and `ids` int64[n]."""
        hashes = checked_hashes(hashes).copy()
        return cls(hashes, checked_ids(ids, len(hashes)).copy())

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.hashes.nbytes + self.ids.nbytes

    def _join(self, radius: int) -> Iterator[Pairs]:
        return join_by_scan(self.hashes, self.ids, radius)

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
        is_brief = len(self.hashes) <= BRIEF and len(ids) <= BRIEF_ROOM
        search = _search_briefly if is_brief else _search
        return search(self.hashes, self.ids, died, clock, query, radius, ids, distances, found)

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
        is_brief = len(self.hashes) * len(queries) <= BRIEF and len(ids) <= BRIEF_ROOM
        search = _search_many_briefly if is_brief else _search_many
        return search(
            self.hashes, self.ids, died, clock, queries, next_query, radius, numbers, ids, distances
        )
