"""The sets put last into an index over sets: hashes in the order they came in, few enough to be scanned."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.index.growth import grown
from app.index.set_contents import SetContents
from app.index.set_tables import Hits, named, scanned

_LEAST_ROOM = 64  # as many as are compared together, and so of every room for hashes a divisor


@dataclass(frozen=True, slots=True, eq=False)
class SetTail:
    """`size` hashes of `count` sets, `living` of them not dead, in arrays with room for more, that only a writer
    fills.

    `hashes` uint64 and `tags` uint8, `owners` int64, `starts` uint32 (the first of each set's hashes, and where the
    last set ends), `died` int64 the ticks at which sets died, or 0. Places once written stay as they are, but for
    later ticks; so a copy of this value is a view that stays.
    """

    hashes: NDArray[np.uint64]
    tags: NDArray[np.uint8]
    owners: NDArray[np.int64]
    starts: NDArray[np.uint32]
    died: NDArray[np.int64]
    size: int = 0
    count: int = 0
    living: int = 0

    @classmethod
    def empty(cls) -> Self:
        """One without sets."""
        return cls(
            np.zeros(_LEAST_ROOM, np.uint64),
            np.zeros(_LEAST_ROOM, np.uint8),
            np.zeros(_LEAST_ROOM, np.int64),
            np.zeros(_LEAST_ROOM, np.uint32),
            np.zeros(_LEAST_ROOM, np.int64),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return sum(own.nbytes for own in (self.hashes, self.tags, self.owners, self.starts, self.died))

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many hashes each set has, int64[count]."""
        return self.starts[1 : self.count + 1].astype(np.int64) - self.starts[: self.count]

    def with_sets(self, new: SetContents) -> Self:
        """These and more, none of whose sets is empty, in the same arrays where those have room.

        ValueError if there were 2**32 hashes or more.
        """
        size, count = self.size + len(new), self.count + len(new.owners)
        if size >= 1 << 32:
            raise ValueError(f"a tail holds fewer than 2**32 hashes, these would be {size}")
        longer = replace(
            self,
            hashes=grown(self.hashes, -(-size // _LEAST_ROOM) * _LEAST_ROOM),
            tags=grown(self.tags, size),
            owners=grown(self.owners, count),
            starts=grown(self.starts, count + 1),
            died=grown(self.died, count),
            size=size,
            count=count,
            living=self.living + len(new),
        )
        longer.hashes[self.size : size], longer.tags[self.size : size] = new.hashes, new.tags
        longer.owners[self.count : count] = new.owners
        longer.starts[self.count + 1 : count + 1] = self.size + np.cumsum(new.counts)
        return longer

    def living_sets(self, owners: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the sets of `owners` that live here."""
        are_theirs = np.isin(self.owners[: self.count], owners)
        return np.flatnonzero(are_theirs & (self.died[: self.count] == 0))

    def near(self, queries: NDArray[np.uint64], sure: NDArray[np.uint64], radius: int, clock: int) -> Hits:
        """As `SetTables.near`, of the sets that are here."""
        if not self.size:
            return Hits.room(0)
        found = scanned(self.hashes, self.size, queries, sure, radius)
        starts = self.starts[: self.count + 1]
        hits = named(found, starts, np.empty(0, np.uint32), self.owners, self.tags, self.died, clock)
        return hits.taken(np.lexsort((hits.places, hits.owners, hits.queries)))
