"""What the engines share: room for an answer of unknown length, and searches of several parts as one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.index.protocol import (
    LARGEST_HASH,
    MAX_DISTANCE,
    ManyNeighbours,
    Neighbours,
    Pairs,
    Part,
    checked_distance,
    checked_hash,
    checked_hashes,
)

NONE_DIED = np.zeros(0, np.uint32)
"""The ticks of a part of which every entry lives."""

Ticked = tuple[Part, NDArray[np.uint32]]
"""An engine, and the ticks at which its entries died, by position: see `Part.search`."""

# Searches that together are likely to compare at most so many hashes, or to take as long (0.2 ms), keep
# the GIL: to wait until a thread that adds gives it back takes longer, for one in a hundred
# (`benchmarks.live_index`). Not with room for more neighbours than that: many take longer to write than to find.
BRIEF, BRIEF_ROOM = 2_000_000, 4096

_LEAST_ROOM = 126  # neighbours: enough for nearly every answer, and of the sizes that numpy keeps ready
_MOST_ROOM_AT_FIRST = 1 << 20  # neighbours of a batch: 17 MB

_empty = np.empty
_ID, _DISTANCE = np.dtype(np.int64), np.dtype(np.uint8)

# Share of random hashes within r bits of a given one: the binomial distribution's sum up to r.
_SHARE_WITHIN = tuple(accumulate(comb(64, bits) / 2.0**64 for bits in range(MAX_DISTANCE + 1)))
_FEW_WITHIN = 12  # bits: half of the least room is filled by random neighbours in 270 million hashes


class ArrayEngine(ABC):
    """An engine of 64-bit hashes: what follows from `search` and `search_many`, which see `protocol.Part`."""

    __slots__ = ()

    @abstractmethod
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
        """Append what lives and is within `radius` of a checked query to an answer of `found`."""

    @abstractmethod
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
        """Write what the checked queries from `next_query` on find."""

    @abstractmethod
    def __len__(self) -> int: ...

    def within(self, query: Any, max_distance: int) -> Neighbours:
        """Ids and distances of all hashes within `max_distance` bits of `query`."""
        # As `find`, without what that spends on there being several parts: of the fastest search a tenth.
        query, radius = self.checked_query(query, max_distance)
        room = _LEAST_ROOM if radius <= _FEW_WITHIN else self.likely_room(radius)
        ids, distances = _empty(room, _ID), _empty(room, _DISTANCE)
        found = self.search(NONE_DIED, 0, query, radius, ids, distances, 0)
        if found > room:
            return find(((self, NONE_DIED),), 0, query, radius, room=found)
        return Neighbours(ids[:found], distances[:found])

    def within_many(self, queries: NDArray[np.uint64], max_distance: int) -> ManyNeighbours:
        """`within` for each of `queries` uint64[m]."""
        return find_many(((self, NONE_DIED),), 0, queries, max_distance)

    def pairs_within(self, max_distance: int) -> Iterator[Pairs]:
        """Every pair of hashes within `max_distance` bits of each other, in steps; the ids must be distinct."""
        return self._join(checked_distance(max_distance))

    @abstractmethod
    def _join(self, radius: int) -> Iterator[Pairs]:
        """`pairs_within` a checked distance."""

    def checked_query(self, query: Any, max_distance: int) -> tuple[Any, int]:
        """Query and radius, or a ValueError."""
        plain = type(query) is int and type(max_distance) is int
        if plain and 0 <= query <= LARGEST_HASH and 0 <= max_distance <= MAX_DISTANCE:
            return query, max_distance  # as nearly always, and for half the price
        return checked_hash(query), checked_distance(max_distance)

    def checked_queries(
        self, queries: NDArray[np.uint64], max_distance: int
    ) -> tuple[NDArray[np.uint64], int]:
        """Queries and radius, or a ValueError."""
        return checked_hashes(queries), checked_distance(max_distance)

    def likely_room(self, radius: int) -> int:
        """Room for twice the neighbours that random hashes have; a wrong guess costs a second search."""
        count = len(self)
        room = _LEAST_ROOM + int(2 * _SHARE_WITHIN[radius] * count)
        return room if room < count else max(count, _LEAST_ROOM)


def find(parts: Sequence[Ticked], clock: int, query: Any, max_distance: int, *, room: int = 0) -> Neighbours:
    """Everything in any of the parts, at least one, that lives at `clock` and is within the distance.

    `room` is for how many neighbours at first, 0 for as many as are likely.
    """
    first = parts[0][0]
    query, radius = first.checked_query(query, max_distance)
    room = room or first.likely_room(radius)
    while True:
        ids, distances = _empty(room, _ID), _empty(room, _DISTANCE)
        found = 0
        for engine, died in parts:
            found = engine.search(died, clock, query, radius, ids, distances, found)
        if found <= room:
            return Neighbours(ids[:found], distances[:found])
        room = found


def find_many(
    parts: Sequence[Ticked], clock: int, queries: NDArray[np.uint64], max_distance: int
) -> ManyNeighbours:
    """`find` for each of the queries."""
    queries, radius = parts[0][0].checked_queries(queries, max_distance)
    columns = [_find_many(engine, died, clock, queries, radius) for engine, died in parts]
    filled = [each for each in columns if len(each[0])]
    if len(filled) < 2:  # as nearly always: a tail is small
        return ManyNeighbours(*(filled or columns)[0])
    numbers, ids, distances = (np.concatenate(each) for each in zip(*filled, strict=True))
    order = np.argsort(numbers, kind="stable")
    return ManyNeighbours(numbers[order], ids[order], distances[order])


def _find_many(
    engine: Part, died: NDArray[np.uint32], clock: int, queries: NDArray[np.uint64], radius: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Query numbers int64[k], ids int64[k], distances uint8[k]."""
    room = min(engine.likely_room(radius) * max(len(queries), 1), _MOST_ROOM_AT_FIRST)
    filled = []
    next_query = 0
    while True:
        numbers, ids = np.empty(room, np.int64), np.empty(room, np.int64)
        distances = np.empty(room, np.uint8)
        next_query, found, needed = engine.search_many(
            died, clock, queries, next_query, radius, numbers, ids, distances
        )
        filled.append((numbers[:found], ids[:found], distances[:found]))
        if next_query == len(queries):
            break
        room = max(room, needed)
    if len(filled) == 1:
        return filled[0]
    numbers, ids, distances = (np.concatenate(each) for each in zip(*filled, strict=True))
    return numbers, ids, distances
