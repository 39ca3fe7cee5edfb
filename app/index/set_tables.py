"""Multi-index hashing for many hashes in little memory: 23 bytes each, and 24 MB for the keys of many millions.

As `multi_index`, in three bands, but what tells of a hash is in its place in a table: the key it stands under is
21 bits of it at most and 16 at least, so that 48 more, beside it, make it whole. A table is thus compared without
a look elsewhere; of keys with few hashes 32 bits do for nearly all. Only the first table knows the positions of
hashes; what the others find is looked up there. Hashes are in the order of the sets they belong to, so that the set
and the place within it follow from the position.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from math import comb
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.index import set_answer_kernels, set_kernels, set_table_kernels, table_kernels
from app.index.band_kernels import band_reach
from app.index.multi_index import _inverse, bands_of, moves_of
from app.index.set_contents import SetContents
from app.index.set_table_kernels import BANDS, COARSE_SHIFT, LEAST_KEY_BITS
from app.index.set_window_kernels import WINDOW

Word = TypeVar("Word", np.uint16, np.uint32)

_MOST_KEY_BITS = 21  # that each of three bands has

_MOST_REACH = 4  # bits in which keys may differ: for more, all is compared

# Nanoseconds, of searches of 24 million hashes like those of real photos.
_LOOKUP_NS = 30
_HASH_NS = 0.15
_SCANNED_NS = 0.25

_LINE = 64  # bytes of a line of the cache
_ROOM = 512  # found by a query, without a second search; memory that is not touched costs nothing


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What lies within a radius of several hashes, ordered by query, then owner, then place.

    `queries` int32[k] numbers the hashes asked for from 0; `owners` int64[k] are the sets that the hashes found
    belong to, `places` int32[k] their places in those, from 0; `distances` uint8[k] (bits); `tags` uint8[k] what
    they were put with.
    """

    queries: NDArray[np.int32]
    owners: NDArray[np.int64]
    places: NDArray[np.int32]
    distances: NDArray[np.uint8]
    tags: NDArray[np.uint8]

    @classmethod
    def room(cls, count: int) -> Self:
        """So many, with anything in them."""
        return cls(
            np.empty(count, np.int32),
            np.empty(count, np.int64),
            np.empty(count, np.int32),
            np.empty(count, np.uint8),
            np.empty(count, np.uint8),
        )

    @property
    def columns(
        self,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8]]:
        """The five arrays."""
        return self.queries, self.owners, self.places, self.distances, self.tags

    def __len__(self) -> int:
        return len(self.queries)

    def taken(self, which: NDArray[np.int64] | slice) -> Self:
        """Some of them."""
        queries, owners, places, distances, tags = self.columns
        return type(self)(queries[which], owners[which], places[which], distances[which], tags[which])

    def merged(self, other: Self) -> Self:
        """These and others, of other sets."""
        if not len(other):
            return self
        if not len(self):
            return other
        both = self.room(len(self) + len(other))
        set_answer_kernels.merge_found(*self.columns, *other.columns, *both.columns)
        return both


@dataclass(frozen=True, slots=True, eq=False)
class BandTable:
    """Hashes by one of their bands: `begins` uint32[keys + 1] where those of each key begin, `low` uint32 and
    `rest` uint16 what they are beside it, turned so that the band is highest. After both there is room for two
    windows at most."""

    begins: NDArray[np.uint32]
    low: NDArray[np.uint32]
    rest: NDArray[np.uint16]

    @classmethod
    def room(cls, keys: int, size: int) -> Self:
        """For so many hashes of so many keys, with anything in it."""
        return cls(np.empty(keys + 1, np.uint32), _row(size, np.uint32), _row(size, np.uint16))

    def __len__(self) -> int:
        return int(self.begins[-1])

    @property
    def columns(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint16]]:
        """The three arrays."""
        return self.begins, self.low, self.rest

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.begins.nbytes + self.low.nbytes + self.rest.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class SetTables:
    """Hashes in sets, searchable by tables; immutable, so safe for any number of threads.

    `bands` are three tables of them; `positions` uint32[n] where those of the first are among all, set after set;
    `tags` uint8[n] by position. The bits of hashes are where `moves` puts them. `owners` int64[m] ascending,
    `starts` uint32[m + 1] the first position of each, `coarse` the sets that every 128th position belongs to. No
    set is empty.

    What the second and third table have beside the hashes of the first is not found: while sets are merged, those
    of all of them may be there.
    """

    bands: tuple[BandTable, ...]
    positions: NDArray[np.uint32]
    moves: NDArray[np.uint64]
    tags: NDArray[np.uint8]
    owners: NDArray[np.int64]
    starts: NDArray[np.uint32]
    coarse: NDArray[np.uint32]

    @classmethod
    def build(cls, contents: SetContents, *, threads: int = 1) -> Self:
        """Index sets, none of them empty, whose owners ascend; 0 < n < 2**32 hashes. Tags are told with what is
        found."""
        # Bits that go with others are the highest of their bands: what is compared first has few of those.
        moves = moves_of([band[::-1] for band in bands_of(contents.hashes, BANDS)])
        return cls._filled(contents, moves, _key_bits(len(contents)), threads)

    @classmethod
    def _filled(cls, contents: SetContents, moves: NDArray[np.uint64], key_bits: int, threads: int) -> Self:
        hashes, size = contents.hashes, len(contents)
        rearranged = np.empty_like(hashes)
        bands = tuple(BandTable.room(1 << key_bits, size) for _ in range(BANDS))
        positions = np.empty(size, np.uint32)
        nowhere = np.empty(0, np.uint32)
        cuts = np.linspace(0, size, threads + 1).astype(np.int64).tolist()

        def rearrange(part: int) -> None:
            own = slice(cuts[part], cuts[part + 1])
            table_kernels.rearrange(hashes[own], moves, rearranged[own])

        def fill(band: int) -> None:
            own = nowhere if band else positions
            set_table_kernels.fill_set_table(rearranged, band, key_bits, *bands[band].columns, own)

        if threads == 1:
            rearrange(0)
            for band in range(BANDS):
                fill(band)
        else:
            with ThreadPoolExecutor(threads, "set-tables") as pool:
                list(pool.map(rearrange, range(threads)))
                list(pool.map(fill, range(BANDS)))
        starts = np.concatenate([[0], np.cumsum(contents.counts)]).astype(np.uint32)
        tags, owners = contents.tags.copy(), contents.owners.copy()
        return cls(bands, positions, moves, tags, owners, starts, _coarse(starts))

    def alike(self, contents: SetContents) -> Self | None:
        """Tables of other sets, as for `build`, that `joined` can put among these.

        None where owners do not come after these, or where so many hashes together have other keys; or where these
        were half merged when something failed.
        """
        comes_after = contents.owners[0] > self.owners[-1]
        same_keys = _key_bits(len(self) + len(contents)) == self.key_bits
        whole = all(len(band) == len(self) for band in self.bands)
        if not (comes_after and same_keys and whole):
            return None
        return self._filled(contents, self.moves, self.key_bits, 1)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def key_bits(self) -> int:
        """Bits of a key."""
        return (len(self.bands[0].begins) - 1).bit_length() - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many hashes each set has, int64[m]."""
        return self.starts[1:].astype(np.int64) - self.starts[:-1]

    def counts_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many hashes the sets with these numbers, from 0 in the order of owners, have."""
        return self.starts[numbers + 1].astype(np.int64) - self.starts[numbers]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        own = self.positions, self.moves, self.tags, self.owners, self.starts, self.coarse
        return sum(each.nbytes for each in own) + sum(band.nbytes for band in self.bands)

    def near(
        self,
        queries: NDArray[np.uint64],
        sure: NDArray[np.uint64],
        radius: int,
        died: NDArray[np.int64],
        clock: int,
    ) -> Hits:
        """All within `radius` bits of `queries` uint64[q], q at most 2**25, that do not differ in what of them is
        `sure` uint64[q], but for sets dead by `clock`."""
        moved, moved_sure = np.empty_like(queries), np.empty_like(sure)
        table_kernels.rearrange(queries, self.moves, moved)
        table_kernels.rearrange(sure, self.moves, moved_sure)
        seen = keys_seen(self.key_bits, radius)
        if self._tables_pay(sum(seen), radius):
            flips = _flips(self.key_bits, band_reach(radius, BANDS, 0))
            begins, lows, rests = zip(*(band.columns for band in self.bands), strict=True)
            tables = begins, lows, rests, self.positions, self.key_bits
            asked = moved, moved_sure, flips, np.array(seen, np.int64), radius
            how: tuple[Any, ...] = (set_kernels.search_sets, *tables, *asked)
        else:
            how = (set_answer_kernels.scan_sets, *self._first, moved, moved_sure, radius)
        found = _found(*how, room=_ROOM * len(queries))
        return named(found, self.starts, self.coarse, self.owners, self.tags, died, clock)

    @property
    def _first(
        self,
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint16], NDArray[np.uint32], int]:
        """The first table, which has all hashes and where they are, as kernels take it."""
        return *self.bands[0].columns, self.positions, self.key_bits

    def _tables_pay(self, lookups: int, radius: int) -> bool:
        if band_reach(radius, BANDS, 0) > _MOST_REACH:
            return False
        met = lookups * len(self) / (1 << self.key_bits)
        return lookups * _LOOKUP_NS + met * _HASH_NS < len(self) * _SCANNED_NS

    def unfold(self, targets: NDArray[np.int64], hashes: NDArray[np.uint64], tags: NDArray[np.uint8]) -> None:
        """Write hashes uint64 and tags uint8 of each set from its place of `targets` int64[m] on; none if < 0."""
        sets = self.tags, self.starts, self.coarse
        set_table_kernels.unfold_sets(*self._first, _inverse(self.moves), *sets, targets, hashes, tags)


def joined(one: SetTables, later: SetTables) -> Iterator[list[SetTables]]:
    """Make one of tables and those that they made `alike`, in a tenth of the time of `build`, step by step.

    What each step gives has all sets and can be searched, so that it takes the place of what was before: a table of
    a band is made of both, and when nobody needs theirs any longer, their memory is free before the next is made.
    """
    yield [one, later]
    nowhere = np.empty(0, np.uint32)
    for band in range(BANDS - 1, 0, -1):
        table = _joined(one.bands[band], nowhere, later.bands[band], nowhere, nowhere)
        one, later = (
            replace(each, bands=(*each.bands[:band], table, *each.bands[band + 1 :])) for each in (one, later)
        )
        yield [one, later]
    positions = np.empty(len(one) + len(later), np.uint32)
    first = _joined(one.bands[0], one.positions, later.bands[0], later.positions, positions)
    starts = np.concatenate([one.starts, later.starts[1:] + np.uint32(len(one))])
    tags, owners = np.concatenate([one.tags, later.tags]), np.concatenate([one.owners, later.owners])
    bands = (first, *one.bands[1:])
    yield [SetTables(bands, positions, one.moves, tags, owners, starts, _coarse(starts))]


def _joined(
    one: BandTable,
    positions: NDArray[np.uint32],
    later: BandTable,
    later_positions: NDArray[np.uint32],
    all_positions: NDArray[np.uint32],
) -> BandTable:
    made = BandTable.room(len(one.begins) - 1, len(one) + len(later))
    set_table_kernels.join_set_tables(
        *(*one.columns, positions),
        *(*later.columns, later_positions),
        len(one),
        *(*made.columns, all_positions),
    )
    return made


def _key_bits(size: int) -> int:
    """A hash for each key, and a few; but no fewer keys than make hashes whole. ValueError for too many hashes."""
    if size >= 1 << 32:
        raise ValueError(f"tables hold fewer than 2**32 hashes, these are {size}")
    return min(max(size.bit_length() - 2, LEAST_KEY_BITS), _MOST_KEY_BITS)


def _coarse(starts: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The sets that every so many positions belong to, and the last one."""
    size = int(starts[-1])
    firsts = np.append(np.arange(0, size + 1, 1 << COARSE_SHIFT), size - 1)
    return (np.searchsorted(starts[:-1], firsts, side="right") - 1).astype(np.uint32)


def keys_seen(key_bits: int, radius: int) -> list[int]:
    """How many keys of each band a query sees at most: those within the band's reach of its own."""
    reaches = [band_reach(radius, BANDS, band) for band in range(BANDS)]
    return [sum(comb(key_bits, bits) for bits in range(reach + 1)) for reach in reaches]


def scanned(
    hashes: NDArray[np.uint64],
    size: int,
    queries: NDArray[np.uint64],
    sure: NDArray[np.uint64],
    radius: int,
) -> NDArray[np.uint64]:
    """Sorted words of which of hashes[:size] are near, as `SetTables.near` finds them; there is room for whole
    windows."""
    return _found(
        set_answer_kernels.scan_tail, hashes, size, queries, sure, radius, room=_ROOM * len(queries)
    )


def named(
    found: NDArray[np.uint64],
    starts: NDArray[np.uint32],
    coarse: NDArray[np.uint32],
    owners: NDArray[np.int64],
    tags: NDArray[np.uint8],
    died: NDArray[np.int64],
    clock: int,
) -> Hits:
    """What sorted words mean, but for sets that are dead by `clock`: see `set_answer_kernels.name_sets`."""
    hits = Hits.room(len(found))
    count = set_answer_kernels.name_sets(found, starts, coarse, owners, tags, died, clock, *hits.columns)
    return hits if count == len(found) else hits.taken(slice(count))


def _found(kernel: Any, *arguments: Any, room: int) -> NDArray[np.uint64]:
    """What a kernel finds, sorted."""
    found = np.empty(room, np.uint64)
    count = kernel(*arguments, found)
    if count > room:
        found = np.empty(count, np.uint64)
        kernel(*arguments, found)
    found = found[:count]
    found.sort()
    return found


def _row(size: int, dtype: type[Word]) -> NDArray[Word]:
    """Whole windows for so many hashes, 32 more at most; none is in two lines of the cache."""
    length = (size // WINDOW + 2) * WINDOW
    line = _LINE // np.dtype(dtype).itemsize
    memory = np.empty(length + line, dtype)
    first = -memory.ctypes.data % _LINE // memory.itemsize
    return memory[first : first + length]


@cache
def _flips(key_bits: int, reach: int) -> NDArray[np.uint32]:
    """What keys within `reach` bits of another differ from it in, those of fewer bits first."""
    chosen = (bits for count in range(reach + 1) for bits in combinations(range(key_bits), count))
    return np.array([sum(1 << bit for bit in bits) for bits in chosen], np.uint32)
