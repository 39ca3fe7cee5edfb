"""What every Hamming engine answers, and the values it answers with."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

MAX_DISTANCE = 64  # bits in which two 64-bit hashes can differ
LARGEST_HASH = (1 << 64) - 1


@dataclass(slots=True, eq=False)
class Neighbours:
    """What lies within a radius of one hash, in no particular order.

    `ids` int64[k] and `distances` uint8[k] (bits) belong together place by place. Nobody writes to either. (Not
    frozen: that takes 0.2 us more to make, of a search of 2.)
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)

    def nearest_first(self) -> Self:
        """The same neighbours ordered by distance, then id."""
        order = np.lexsort((self.ids, self.distances))
        return type(self)(self.ids[order], self.distances[order])


@dataclass(frozen=True, slots=True, eq=False)
class ManyNeighbours:
    """What lies within a radius of each of several hashes; row by row `queries[i]` found `ids[i]`.

    `queries` int64[k] numbers the hashes asked for from 0 and never decreases; within one query there is no
    particular order. `ids` int64[k], `distances` uint8[k] (bits).
    """

    queries: NDArray[np.int64]
    ids: NDArray[np.int64]
    distances: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)

    def nearest_first(self) -> Self:
        """The same neighbours ordered by query, then distance, then id."""
        order = np.lexsort((self.ids, self.distances, self.queries))
        return type(self)(self.queries[order], self.ids[order], self.distances[order])


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Some of the pairs: `left` int64[k] the smaller ids, `right` int64[k] the larger, `distances` uint8[k] (bits).

    `done` is the share of the work done so far, 0 to 1.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    distances: NDArray[np.uint8]
    done: float

    def __len__(self) -> int:
        return len(self.left)


class Searchable(Protocol):
    """Whatever can be searched for hashes: an engine, or a live index."""

    def within(self, query: Any, max_distance: int) -> Neighbours:
        """Every id whose hash differs from `query` in at most `max_distance` bits.

        Raises ValueError if `max_distance` is not in 0..64 or `query` not in 0..2**64 - 1.
        """
        ...

    def within_many(self, queries: NDArray[np.uint64], max_distance: int) -> ManyNeighbours:
        """`within` for each of `queries` uint64[m]; ValueError also for any other array."""
        ...

    def pairs_within(self, max_distance: int) -> Iterator[Pairs]:
        """Every pair within `max_distance` bits of each other, each once, in steps, of which some may be empty.

        Whoever asks for no further step has cancelled it. The ids of an engine must be distinct. ValueError as for
        `within`, at once.
        """
        ...

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        ...


class Part(Protocol):
    """What `engine.find` asks of an engine: to add what it finds to an answer that others add to as well."""

    def checked_query(self, query: Any, max_distance: int) -> tuple[Any, int]:
        """Query and radius as `search` takes them; ValueError as for `within`."""
        ...

    def checked_queries(
        self, queries: NDArray[np.uint64], max_distance: int
    ) -> tuple[NDArray[np.uint64], int]:
        """Queries and radius as `search_many` takes them; ValueError as for `within_many`."""
        ...

    def likely_room(self, radius: int) -> int:
        """Neighbours that a search may find: room to begin with."""
        ...

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
        """Append what lives and is within `radius` of a checked query to an answer of `found`; returns the count.

        `died` uint32[n] has by position the tick at which an entry died: those live that have 0 or one after
        `clock`, and all where it is empty. What finds no room in `ids` and `distances` is counted all the same.
        """
        ...

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
        """As `search` for the checked queries from `next_query` on, `numbers` telling which found what.

        Returns the first query for which there is no room, the count of what those before found, and how much
        room it needs.
        """
        ...


class Engine(Searchable, Part, Protocol):
    """An immutable exact index over hashes and ids; safe for any number of threads.

    A hash is one 64-bit word, but for `wide.WideScan`, where it is a row of words, and so is a query.
    `hashes` uint64[n] and `ids` int64[n] are in the engine's own order: place i of one belongs to place i of
    the other, and positions are such places. Nobody writes to them. An id or a hash may occur several times.
    """

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """The hashes by position, uint64[n]."""
        ...

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids by position, int64[n]."""
        ...

    @classmethod
    def build(cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> Self:
        """Index copies of `hashes` uint64[n] and `ids` int64[n]; ValueError for other dtypes or lengths."""
        ...


def checked_distance(max_distance: int) -> int:
    """`max_distance` as an int in 0..64; anything else is a ValueError."""
    if not 0 <= max_distance <= MAX_DISTANCE or max_distance != int(max_distance):
        raise ValueError(
            f"max_distance is {max_distance}, it must be a whole number from 0 to {MAX_DISTANCE}"
        )
    return int(max_distance)


def checked_hash(value: int | np.uint64) -> int:
    """One hash as an int; a ValueError unless it is a whole number from 0 to 2**64 - 1."""
    try:
        number = int(value)
    except (TypeError, OverflowError, ValueError):  # None, infinity, not a number
        number = -1
    if number != value or not 0 <= number <= LARGEST_HASH:
        raise ValueError(f"the hash is {value}, it must be a whole number from 0 to 2**64 - 1")
    return number


def checked_hashes(values: NDArray[np.uint64], words: tuple[int, ...] = ()) -> NDArray[np.uint64]:
    """`values` as a contiguous, writable uint64[n, *words], copied only if needed; else a ValueError."""
    is_array = isinstance(values, np.ndarray)
    if not is_array or values.dtype != np.uint64 or values.ndim == 0 or values.shape[1:] != words:
        wanted = ", ".join(map(str, ("n", *words)))
        raise ValueError(f"hashes must be uint64[{wanted}], these are {kind_of(values)}")
    return np.require(values, requirements=["C", "W", "A"])


def checked_ids(values: NDArray[np.int64], count: int | None = None) -> NDArray[np.int64]:
    """`values` as a contiguous int64[count], any length if that is None; ValueError for any other array."""
    is_array = isinstance(values, np.ndarray)
    if not is_array or values.dtype != np.int64 or values.ndim != 1 or count not in {None, len(values)}:
        wanted = "k" if count is None else count
        raise ValueError(f"ids must be int64[{wanted}], these are {kind_of(values)}")
    return np.require(values, requirements=["C", "W", "A"])


def kind_of(values: Any) -> str:
    """What an argument is, to tell of in an error."""
    if isinstance(values, np.ndarray):
        return f"{values.dtype}{list(values.shape)}"
    return f"a {type(values).__name__}"
