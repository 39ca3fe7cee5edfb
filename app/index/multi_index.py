"""Multi-index hashing: exact range search by tables of bands of bits (Norouzi, Punjani and Fleet, CVPR 2012).

The 64 bits are cut into bands. Two hashes within r bits of each other are within r / bands bits in at least one
band, so a query looks up, in a table for each band, every key that near to its own, and compares whole hashes only
there.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import ceil, comb, log2
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from app.index import band_kernels
from app.index.engine import ArrayEngine
from app.index.protocol import checked_hashes, checked_ids

BITS = 64
# A band of about log2(n) bits has about one hash for each key. Fewer than three bands would be too wide for a table
# (2^32 keys), more than four would take more than 56 bytes a hash.
_LEAST_BANDS, _MOST_BANDS = 3, 4
_MOST_REACH = 6  # bits looked up around a key: 110,000 lookups in a band of 22 bits
_SAMPLE = 4096  # hashes by which bits are put into bands

# In hashes that a scan compares meanwhile, measured at 283,200 real hashes and a million random ones.
LOOKUP_COST = 130
HASH_COST = 12
NEVER = np.iinfo(np.int64).max // 4


@dataclass(frozen=True, slots=True, eq=False)
class MultiIndex(ArrayEngine):
    """`hashes` and `ids` in the order of the first band's table; `tables` are `band_kernels.Tables`."""

    tables: band_kernels.Tables

    least_size: ClassVar[int] = 8192
    """Fewer hashes than that get no tables: they are scanned."""

    @classmethod
    def build(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """Index copies of `hashes` uint64[n] and `ids` int64[n], n below 2**32."""
        hashes = checked_hashes(hashes)
        ids = checked_ids(ids, len(hashes))
        if len(hashes) >= 1 << 32:
            raise ValueError(f"a multi-index holds fewer than 2**32 hashes, these are {len(hashes)}")
        tables = hashes, in_order, places, *rest = tables_of(hashes.copy(), cls.least_size)
        if not len(in_order):
            return cls(hashes, ids.copy(), tables)
        first, order = in_order[0].copy(), places[0]
        position_of = np.empty_like(order)
        position_of[order] = np.arange(len(order), dtype=np.uint32)
        return cls(first, ids[order], (first, in_order[1:].copy(), position_of[places[1:]], *rest))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.ids.nbytes + sum(array.nbytes for array in self.tables)

    def _search(
        self, query: np.uint64, radius: int, positions: NDArray[np.int64], distances: NDArray[np.uint8]
    ) -> int:
        return band_kernels.search_bands(
            self.tables, _NO_TREE, _WHATEVER_IT_COSTS, query, radius, positions, distances
        )

    def _search_many(
        self,
        queries: NDArray[np.uint64],
        next_query: int,
        radius: int,
        numbers: NDArray[np.int64],
        positions: NDArray[np.int64],
        distances: NDArray[np.uint8],
    ) -> tuple[int, int, int]:
        way = (self.tables, _NO_TREE, _WHATEVER_IT_COSTS)
        return band_kernels.search_bands_many(
            *way, queries, next_query, radius, numbers, positions, distances
        )


_NO_TREE = np.empty((0, 69), np.uint32)
_WHATEVER_IT_COSTS = np.array([LOOKUP_COST, HASH_COST, NEVER, NEVER, 0])


def tables_of(hashes: NDArray[np.uint64], least_size: int) -> band_kernels.Tables:
    """The tables of hashes uint64[n] at their positions; none where there are fewer than `least_size`."""
    count = len(hashes)
    bits = _bands(hashes) if count >= least_size else []
    bands, widths = len(bits), [len(band) for band in bits]
    in_order, places = np.empty((bands, count), np.uint64), np.empty((bands, count), np.uint32)
    firsts = np.cumsum([0, *((1 << width) + 1 for width in widths)])
    starts = np.empty(firsts[-1], np.uint32)
    numbers = np.empty((bands, 2 + _MOST_REACH + 1), np.int64)
    keys = np.zeros((bands, 8 * 256 + len(_ball(max(widths, default=0)))), np.uint32)
    for band, own_bits in enumerate(bits):
        ball = _ball(widths[band])
        numbers[band, 0] = firsts[band]
        numbers[band, 1] = np.uint64(sum(1 << bit for bit in own_bits)).view(np.int64)
        numbers[band, 2:] = np.cumsum([comb(widths[band], reach) for reach in range(_MOST_REACH + 1)])
        keys[band, : 8 * 256] = _key_parts(own_bits).ravel()
        keys[band, 8 * 256 : 8 * 256 + len(ball)] = ball
        own_starts = starts[firsts[band] : firsts[band + 1]]
        band_kernels.fill_table(hashes, keys, band, own_starts, in_order[band], places[band])
    return hashes, in_order, places, starts, numbers, keys


def _bands(hashes: NDArray[np.uint64]) -> list[list[int]]:
    """Which bits make each band: those that go together in different ones, so that keys tell most.

    One bit after the other, the most dependent first, is put where its correlations, squared, add least.
    """
    count = min(max(ceil(BITS / log2(len(hashes))), _LEAST_BANDS), _MOST_BANDS)
    widths = [BITS // count + (band < BITS % count) for band in range(count)]
    sample = hashes[:: ceil(len(hashes) / _SAMPLE)]
    values = (sample[:, None] >> np.arange(BITS, dtype=np.uint64) & np.uint64(1)).astype(np.float64)
    values -= values.mean(axis=0)
    spread = np.sqrt((values**2).sum(axis=0))
    # A bit that is always the same has no correlation; it tells nothing wherever it is put.
    dependence = (values.T @ values / np.maximum(np.outer(spread, spread), 1e-9)) ** 2
    bands: list[list[int]] = [[] for _ in widths]
    for bit in np.argsort(-dependence.sum(axis=0), kind="stable").tolist():
        room = [band for band in range(count) if len(bands[band]) < widths[band]]
        least = min(room, key=lambda band: (dependence[bit, bands[band]].sum(), len(bands[band])))
        bands[least].append(bit)
    return bands


def _key_parts(bits: list[int]) -> NDArray[np.uint32]:
    """What each value of each byte of a hash adds to its key: uint32[8, 256]."""
    values = np.arange(256, dtype=np.uint32)
    parts = np.zeros((8, 256), np.uint32)
    for place, bit in enumerate(bits):
        parts[bit // 8] |= (values >> np.uint32(bit % 8) & np.uint32(1)) << np.uint32(place)
    return parts


@cache
def _ball(width: int) -> NDArray[np.uint32]:
    """Numbers of `width` bits of which at most `_MOST_REACH` are set, by how many and then by value."""
    numbers: list[int] = []
    for reach in range(_MOST_REACH + 1):
        numbers += sorted(sum(1 << bit for bit in bits) for bits in combinations(range(width), reach))
    return np.array(numbers, np.uint32)
