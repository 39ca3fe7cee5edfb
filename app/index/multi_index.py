"""Multi-index hashing: exact range search by tables of bands of bits (Norouzi, Punjani and Fleet, CVPR 2012).

The 64 bits are cut into bands. Two hashes within r bits of each other are within r / bands bits in at least one
band, so a query looks up, in a table for each band, every key that near to its own, and compares whole hashes only
there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, log2
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from app.compiling import entry_point
from app.index import band_kernels, table_kernels
from app.index.band_kernels import BITS, LOOKUPS, Tables, band_width, keys_seen
from app.index.engine import BRIEF, BRIEF_ROOM, NONE_DIED, ArrayEngine, find
from app.index.pairs import join_by_scan, join_by_tables, tables_pay
from app.index.protocol import (
    LARGEST_HASH,
    MAX_DISTANCE,
    Neighbours,
    Pairs,
    checked_hashes,
    checked_ids,
)
from app.index.tree_kernels import COLUMNS

_SAMPLE = 4096  # hashes by which bits are put into bands

# In hashes that a scan compares meanwhile, 0.105 ns each. Fitted to searches of 150,000, a million and ten million
# hashes at radius 8 to 12: 29 and 3.6 ns where 40 MB of other memory were read in between, half of that where not.
LOOKUP_COST = 180
HASH_COST = 22
NEVER = np.iinfo(np.int64).max // 4
# So many hashes are in the processor's cache, mostly; to read one more than that takes a scan twice as long.
_CACHED = 4_000_000

NO_TREE = np.empty((0, COLUMNS), np.uint32)

_empty = np.empty
_ID, _DISTANCE = np.dtype(np.int64), np.dtype(np.uint8)

_search = entry_point(band_kernels.search_bands)
_search_briefly = entry_point(band_kernels.search_bands_keeping_gil)
_search_many = band_kernels.search_bands_many
_search_many_briefly = band_kernels.search_bands_many_keeping_gil


@dataclass(frozen=True, slots=True, eq=False)
class MultiIndex(ArrayEngine):
    """`ids` in the order of the first band's table, and the tables.

    `rearranged` uint64[n] are the hashes with their bits where `moves` puts them: see `band_kernels`. There are no
    `nodes` here. `costs` decide between tables and a scan of all: see `band_kernels.addresses_of`. By radius,
    `efforts` are what searches are likely to cost, and `rooms` is what `within` makes room for. `addresses` is
    where all is.
    """

    rearranged: NDArray[np.uint64]
    ids: NDArray[np.int64]
    tables: Tables
    moves: NDArray[np.uint64]
    nodes: NDArray[np.uint32]
    costs: NDArray[np.int64]
    efforts: tuple[int, ...] = field(init=False)
    rooms: tuple[int, ...] = field(init=False)
    addresses: band_kernels.Addresses = field(init=False)

    least_size: ClassVar[int] = 8192
    """Fewer hashes than that get no tables: they are scanned."""
    bands_at_least: ClassVar[int] = 3
    """A band of about log2(n) bits has about one hash for each key, but two bands would have 2**32 keys each."""
    bands_at_most: ClassVar[int] = 4
    """Each takes 12 bytes a hash: five would take more than 56 with hash and id."""

    @classmethod
    def build(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """Index copies of `hashes` uint64[n] and `ids` int64[n], n below 2**32."""
        hashes = checked_hashes(hashes)
        ids = checked_ids(ids, len(hashes))
        if len(hashes) >= 1 << 32:
            raise ValueError(f"a multi-index holds fewer than 2**32 hashes, these are {len(hashes)}")
        bands = cls._bands(hashes)
        moves = moves_of(bands)
        rearranged = np.empty_like(hashes)
        table_kernels.rearrange(hashes, moves, rearranged)
        tables = tables_of(rearranged, len(bands))
        costs = costs_of(len(hashes), len(bands))
        if bands:
            order = tables.places[0]
            position_of = np.empty_like(order)
            position_of[order] = np.arange(len(order), dtype=np.uint32)
            rearranged = tables.in_order[0].copy()
            tables = tables._replace(
                in_order=tables.in_order[1:].copy(), places=position_of[tables.places[1:]]
            )
            ids = ids[order]
        return cls(rearranged, ids.copy(), tables, moves, NO_TREE, costs)

    @classmethod
    def _bands(cls, hashes: NDArray[np.uint64]) -> list[list[int]]:
        """Which bits make each band; none where hashes are few."""
        if len(hashes) < cls.least_size:
            return []
        return bands_of(
            hashes, min(max(ceil(BITS / log2(len(hashes))), cls.bands_at_least), cls.bands_at_most)
        )

    def __post_init__(self) -> None:
        arrays = self.rearranged, self.ids, self.tables, self.moves, self.nodes, self.costs
        object.__setattr__(self, "efforts", efforts_of(len(self), self.tables.bands, self.costs))
        object.__setattr__(self, "rooms", tuple(map(self.likely_room, range(MAX_DISTANCE + 1))))
        object.__setattr__(self, "addresses", band_kernels.addresses_of(*arrays))

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        # A copy has arrays of its own, so addresses of its own.
        return type(self), (self.rearranged, self.ids, self.tables, self.moves, self.nodes, self.costs)

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """The hashes by position, uint64[n], made anew."""
        hashes = np.empty_like(self.rearranged)
        table_kernels.rearrange(self.rearranged, _inverse(self.moves), hashes)
        return hashes

    def __len__(self) -> int:
        return len(self.rearranged)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        in_order, places, starts, _ = self.tables
        arrays = self.rearranged, self.ids, in_order, places, starts, self.moves, self.nodes, self.costs
        return sum(array.nbytes for array in arrays)

    def _join(self, radius: int) -> Iterator[Pairs]:
        bands = self.tables.bands
        if tables_pay(self.addresses, bands, len(self), radius):
            yield from join_by_tables(self.addresses, bands, radius)
        else:
            yield from join_by_scan(self.rearranged, self.ids, radius)

    def within(self, query: Any, max_distance: int) -> Neighbours:
        """Ids and distances of all hashes within `max_distance` bits of `query`."""
        # As `find` for one part: each function less on the way is a thirtieth of the fastest searches.
        if (
            type(query) is type(max_distance) is int
            and 0 <= query <= LARGEST_HASH
            and 0 <= max_distance <= 64
        ):
            room = self.rooms[max_distance]
            is_brief = self.efforts[max_distance] <= BRIEF and room <= BRIEF_ROOM
            search: Any = _search_briefly if is_brief else _search
            ids, distances = _empty(room, _ID), _empty(room, _DISTANCE)
            found = search(self.addresses, NONE_DIED, 0, query, max_distance, ids, distances, 0)
            if found <= room:
                return Neighbours(ids[:found], distances[:found])
            return find(((self, NONE_DIED),), 0, query, max_distance, room=found)
        return find(((self, NONE_DIED),), 0, query, max_distance)

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
        """Go the way that costs least."""
        is_brief = self.efforts[radius] <= BRIEF and len(ids) <= BRIEF_ROOM
        search = _search_briefly if is_brief else _search
        return search(self.addresses, died, clock, query, radius, ids, distances, found)

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
        """Go the way that costs least, for each."""
        is_brief = self.efforts[radius] * len(queries) <= BRIEF and len(ids) <= BRIEF_ROOM
        search = _search_many_briefly if is_brief else _search_many
        return search(self.addresses, died, clock, queries, next_query, radius, numbers, ids, distances)


def costs_of(size: int, bands: int) -> NDArray[np.int64]:
    """Costs int64[65, 6] as `band_kernels.addresses_of` takes them, for `size` hashes and without a tree."""
    costs = [0, LOOKUP_COST, HASH_COST, NEVER, size * effort_of(size), 0]
    by_radius = np.tile(np.array(costs, np.int64), (MAX_DISTANCE + 1, 1))
    by_radius[:, LOOKUPS] = [sum(keys_seen(radius, bands)) for radius in range(MAX_DISTANCE + 1)]
    return by_radius


def effort_of(size: int) -> int:
    """How much longer a scan takes for each of `size` hashes than for one of few."""
    return 1 if size <= _CACHED else 2


def efforts_of(size: int, bands: int, costs: NDArray[np.int64]) -> tuple[int, ...]:
    """What a search costs among `size` random hashes with tables of so many bands, by radius: hashes scanned."""
    efforts = []
    for radius, (lookups, by_lookup, by_hash, by_tree, by_scan, _) in enumerate(costs.tolist()):
        keys = keys_seen(radius, bands)
        met = sum(count * size / 2.0 ** band_width(bands, band) for band, count in enumerate(keys))
        by_tables = lookups * by_lookup + int(met * by_hash) if bands else NEVER
        efforts.append(min(by_tables, by_tree, by_scan))
    return tuple(efforts)


def bands_of(hashes: NDArray[np.uint64], count: int) -> list[list[int]]:
    """Which bits make each of `count` bands of hashes uint64[n]: those that go together are put apart.

    So keys tell most. One bit after the other, the most dependent first, goes where its correlations, squared, add
    least.
    """
    widths = [band_width(count, band) for band in range(count)]
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


def moves_of(bands: list[list[int]]) -> NDArray[np.uint64]:
    """What each value of each byte of a hash adds to it once rearranged, uint64[8, 256]; no bands: all stays."""
    places = [bit for band in bands for bit in band] or list(range(BITS))
    values = np.arange(256, dtype=np.uint64)
    moves = np.zeros((8, 256), np.uint64)
    for place, bit in enumerate(places):
        moves[bit // 8] |= (values >> np.uint64(bit % 8) & np.uint64(1)) << np.uint64(place)
    return moves


def _inverse(moves: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The moves that put all bits back."""
    moved_to = [int(moves[bit // 8, 1 << bit % 8]).bit_length() - 1 for bit in range(BITS)]
    return moves_of([moved_to])


def tables_of(rearranged: NDArray[np.uint64], bands: int) -> Tables:
    """A table for each band of rearranged hashes uint64[n]."""
    count = len(rearranged)
    in_order, places = np.empty((bands, count), np.uint64), np.empty((bands, count), np.uint32)
    widths = [band_width(bands, band) for band in range(bands)]
    firsts = np.cumsum([0, *((1 << width) + 1 for width in widths)])
    starts = np.empty(firsts[-1], np.uint32)
    for band in range(bands):
        own_starts = starts[firsts[band] : firsts[band + 1]]
        table_kernels.fill_table(rearranged, bands, band, own_starts, in_order[band], places[band])
    return Tables(in_order, places, starts, bands)
