"""The parts of an index over sets: tables with the deaths in them, and how several and a tail are made one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.index.set_contents import SetContents
from app.index.set_tables import Hits, SetTables, joined
from app.index.set_tail import SetTail

# Tables so many times as large as all after them are left alone: so 24 million hashes have 3 at most, for each
# takes its share of a search. Each hash is written 24 times on the way from one to the next, mostly by copying.
SHARE = 24
DEAD_SHARE = 8  # tables of which one hash in so many is dead are made anew


@dataclass(frozen=True, slots=True, eq=False)
class SetPart:
    """Tables, int64[m] the ticks at which their sets died or 0, and how many hashes of these are left."""

    tables: SetTables
    died: NDArray[np.int64]
    living: int

    @classmethod
    def of(cls, tables: SetTables) -> Self:
        """Tables of which all sets live."""
        return cls(tables, np.zeros(len(tables.owners), np.int64), len(tables))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        return self.tables.nbytes + self.died.nbytes

    def near(self, queries: NDArray[np.uint64], sure: NDArray[np.uint64], radius: int, clock: int) -> Hits:
        """As `SetTables.near`, but for what is dead."""
        return self.tables.near(queries, sure, radius, self.died, clock)

    def living_sets(self, owners: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the sets of `owners` that live here."""
        own = self.tables.owners
        numbers = np.minimum(np.searchsorted(own, owners), len(own) - 1)
        there: NDArray[np.int64] = numbers[(own[numbers] == owners) & (self.died[numbers] == 0)]
        return there

    def without(self, numbers: NDArray[np.int64]) -> Self:
        """This with fewer hashes left, as sets with these numbers die; their ticks are the caller's to write."""
        if not len(numbers):
            return self
        return replace(self, living=self.living - int(self.tables.counts_of(numbers).sum()))

    def with_deaths(self, owners: NDArray[np.int64], ticks: NDArray[np.int64]) -> Self:
        """This, in which sets of these owners are dead from these ticks on; those that are not here are passed
        over."""
        there = self.tables.owners
        own = np.minimum(np.searchsorted(there, owners), len(there) - 1)
        here = there[own] == owners
        self.died[own[here]] = ticks[here]
        return self.without(own[here])


def due(parts: Sequence[SetPart]) -> int | None:
    """The part from which on all are to be merged: there are as many dead, or as many after it."""
    first, after = None, 0
    for number in range(len(parts) - 1, -1, -1):
        part = parts[number]
        dead = len(part.tables) - part.living
        if DEAD_SHARE * dead > len(part.tables) or (after and part.living < SHARE * after):
            first = number
        after += part.living
    return first


def contents_of(parts: Sequence[SetPart], tail: SetTail, clock: int) -> SetContents:
    """What lives at `clock`, ordered by owner."""
    owners = np.concatenate([*(part.tables.owners for part in parts), tail.owners[: tail.count]])
    counts = np.concatenate([*(part.tables.counts for part in parts), tail.counts])
    died = np.concatenate([*(part.died for part in parts), tail.died[: tail.count]])
    living = np.flatnonzero((died == 0) | (died > clock))
    living = living[np.argsort(owners[living])]
    ends = np.cumsum(counts[living])
    targets = np.full(len(owners), -1, np.int64)
    targets[living] = ends - counts[living]
    hashes = np.empty(ends[-1] if len(ends) else 0, np.uint64)
    tags = np.empty(len(hashes), np.uint8)
    begin = 0
    for part in parts:
        end = begin + len(part.tables.owners)
        part.tables.unfold(targets[begin:end], hashes, tags)
        begin = end
    firsts = tail.starts[: tail.count].tolist()
    for first, target, count in zip(firsts, targets[begin:].tolist(), counts[begin:].tolist(), strict=True):
        if target >= 0:
            hashes[target : target + count] = tail.hashes[first : first + count]
            tags[target : target + count] = tail.tags[first : first + count]
    return SetContents(hashes, tags, owners[living], counts[living])


def merging(parts: Sequence[SetPart], tail: SetTail, clock: int) -> Iterator[list[SetPart]]:
    """Make one part of all that lives at `clock`, or none, step by step: see `set_tables.joined`."""
    if parts and DEAD_SHARE * (len(parts[0].tables) - parts[0].living) <= len(parts[0].tables):
        # Mostly all else came after what the first has, and is put among it key by key, the dead it has too.
        rest = contents_of(parts[1:], tail, clock)
        later = parts[0].tables.alike(rest) if len(rest) else None
        if later is not None:
            dead = np.flatnonzero((parts[0].died > 0) & (parts[0].died <= clock))
            deaths = parts[0].tables.owners[dead], parts[0].died[dead]
            # Without a reference to the tables: what a step sets free is to be free.
            return (
                [SetPart.of(each).with_deaths(*deaths) for each in made]
                for made in joined(parts[0].tables, later)
            )
    contents = contents_of(parts, tail, clock)
    return iter([[SetPart.of(SetTables.build(contents))] if len(contents) else []])


def carried(made: Sequence[SetPart], parts: Sequence[SetPart], clock: int) -> list[SetPart]:
    """Parts made of what lived at `clock`, with the deaths that parts of the same sets have had since."""
    told = list(made)
    for part in parts:
        later = np.flatnonzero(part.died > clock)
        told = [one.with_deaths(part.tables.owners[later], part.died[later]) for one in told]
    return told
