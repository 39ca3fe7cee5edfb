"""An index over sets of hashes, kept current: what is put is found at once, what is removed is gone at once.

A set is what one owner has: the hashes of an image's keypoints, say, found by query, owner and place in the set.
Each hash may bear a tag, a small number that is told with it.

As in `live`, a reader takes one reference, to an immutable `_Version`, and waits for nobody. Additions go to a
short tail, which is scanned. When that is full, it is made tables of; and tables that are not much larger than
those put after them are merged with these, so that there are few. Small ones are merged by the writer, in some
milliseconds; large ones by a thread, beside everything else, step by step, so that a part of their memory is needed
twice at a time. A set that is removed or replaced bears the tick of
the clock at which it died, 0 while it lives, and is left out by the next merge.
"""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.index.protocol import checked_distance, checked_hashes, checked_ids
from app.index.set_contents import SetContents
from app.index.set_parts import SHARE, SetPart, carried, contents_of, due, merging
from app.index.set_tables import Hits, SetTables
from app.index.set_tail import SetTail

_logger = logging.getLogger(__name__)

# A search of 500 hashes scans so many more in 0.1 ms, and looks into small tables about as fast.
_TAIL = 4096
_WRITERS_OWN = 1 << 16  # hashes that a writer merges itself, in 4 ms
_MOST_QUERIES = 1 << 16  # in one go: their answer is in memory at once
_NICENESS = 10  # of merges in the background
_NOTHING = SetContents.checked(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class _Version:
    """What a reader sees: the sets of parts and tail that live at `clock`, each owner's in one of them."""

    parts: tuple[SetPart, ...]
    tail: SetTail
    clock: int

    @property
    def living(self) -> int:
        return sum(part.living for part in self.parts) + self.tail.living

    def near(self, queries: NDArray[np.uint64], sure: NDArray[np.uint64], radius: int) -> Hits:
        hits = self.tail.near(queries, sure, radius, self.clock)
        for part in reversed(self.parts):
            hits = part.near(queries, sure, radius, self.clock).merged(hits)
        return hits

    def contents(self) -> SetContents:
        return contents_of(self.parts, self.tail, self.clock)


class SetIndex:
    """Sets of hashes by owner, searchable while they change.

    Any number of threads may read, and none of them waits. Changes take effect one after the other; where several
    threads write, the caller's lock decides their order.
    """

    def __init__(self, parts: Sequence[SetTables] = ()) -> None:
        self._writing = threading.Lock()  # held for each change, and for the moment of a swap
        self._merging = threading.Lock()  # held for a whole merge
        self._held = 0  # so many parts, the first, are being merged: the writer leaves them alone
        self._thread: threading.Thread | None = None
        self._changed = 0  # hashes that were put, or died, so far
        self._retry_at = 0  # as many, before which a merge is not tried again after a failure
        self._tables_at = 0  # hashes of a tail, before which tables are not tried again after a failure
        self._version = _Version(tuple(map(SetPart.of, parts)), SetTail.empty(), 0)

    @classmethod
    def build(
        cls,
        hashes: NDArray[np.uint64],
        owners: NDArray[np.int64],
        counts: NDArray[np.int64],
        tags: NDArray[np.uint8] | None = None,
    ) -> Self:
        """Index `hashes` uint64[n]: the first counts[0] belong to owners[0], the next counts[1] to owners[1].

        `owners` int64[m] ascend, `counts` int64[m] add up to n, `tags` uint8[n] are 0 if not given; ValueError for
        others. On two threads.
        """
        contents = SetContents.checked(hashes, owners, counts, tags)
        if np.any(contents.owners[1:] <= contents.owners[:-1]):
            raise ValueError("owners must ascend, these do not")
        if len(contents) < _TAIL:
            index = cls()
            index.put(owners, hashes, counts, tags)
            return index
        return cls([SetTables.build(contents.without_empty(), threads=2)])

    def near(self, queries: NDArray[np.uint64], radius: int, sure: NDArray[np.uint64] | None = None) -> Hits:
        """All hashes within `radius` bits of each of `queries` uint64[q], and of those such as do not differ in the
        bits `sure` uint64[q] of each, if given. Of many sets those are found the sooner, the more is sure.

        ValueError for other arrays, or a radius not in 0..64.
        """
        queries, radius = checked_hashes(queries), checked_distance(radius)
        sure = np.zeros_like(queries) if sure is None else checked_hashes(sure)
        if len(sure) != len(queries):
            raise ValueError(f"what is sure is told of {len(sure)} hashes, there are {len(queries)}")
        version = self._version
        if len(queries) <= _MOST_QUERIES:
            return version.near(queries, sure, radius)
        firsts = range(0, len(queries), _MOST_QUERIES)
        some = [slice(first, first + _MOST_QUERIES) for first in firsts]
        found = [version.near(queries[own], sure[own], radius) for own in some]
        return Hits(
            np.concatenate(
                [hits.queries + np.int32(first) for first, hits in zip(firsts, found, strict=True)]
            ),
            *(np.concatenate(columns) for columns in zip(*(hits.columns[1:] for hits in found), strict=True)),
        )

    def contents(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint8]]:
        """All hashes uint64[n], the owner int64[n] and the tag uint8[n] of each, ordered by owner and place."""
        contents = self._version.contents()
        return contents.hashes, np.repeat(contents.owners, contents.counts), contents.tags

    def __len__(self) -> int:
        return self._version.living

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays take."""
        version = self._version
        return sum(part.nbytes for part in version.parts) + version.tail.nbytes

    def put(
        self,
        owners: NDArray[np.int64],
        hashes: NDArray[np.uint64],
        counts: NDArray[np.int64],
        tags: NDArray[np.uint8] | None = None,
    ) -> None:
        """Make sets findable, in the place of what their owners had; as for `build`, but owners need not ascend.

        A search sees all of them or none. ValueError for other arrays, or an owner twice; then nothing is put.
        """
        contents = SetContents.checked(hashes, owners, counts, tags)
        if len(np.unique(contents.owners)) < len(contents.owners):
            raise ValueError("each owner must be there once, some are more often")
        if len(contents.owners):
            with self._writing:
                self._change(contents.owners, contents.without_empty())

    def remove(self, owners: NDArray[np.int64]) -> None:
        """Let sets of `owners` int64[k] be found no more, all at the same moment; unknown ones are passed over."""
        owners = np.unique(checked_ids(owners))
        if len(owners):
            with self._writing:
                self._change(owners, _NOTHING)

    def merge_now(self) -> None:
        """Bring everything that was written before the call into one table; returns when that is done."""
        with self._merging:
            with self._writing:
                self._make_tables(0)
                self._held = len(self._version.parts)
            self._merge(0)

    def close(self) -> None:
        """Wait for a merge in the background, if there is one."""
        with self._writing:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _change(self, buried: NDArray[np.int64], new_sets: SetContents) -> None:
        """Bury the sets of `buried`, append others, publish both together; `_writing` is held."""
        version = self._version
        tick = version.clock + 1
        # What takes memory comes first: a failure must not leave ticks that the next change would publish.
        tail = version.tail.with_sets(new_sets)
        deaths = [part.living_sets(buried) for part in version.parts]
        died_in_tail = version.tail.living_sets(buried)
        lost = int(tail.counts[died_in_tail].sum())
        parts = tuple(part.without(dead) for part, dead in zip(version.parts, deaths, strict=True))
        new = _Version(parts, replace(tail, living=tail.living - lost), tick)
        for part, dead in zip(parts, deaths, strict=True):
            part.died[dead] = tick
        tail.died[died_in_tail] = tick
        self._version = new
        self._changed += 2 * len(new_sets) + version.living - new.living
        if tail.size >= max(_TAIL, self._tables_at):
            try:
                self._make_tables(_WRITERS_OWN)
            except Exception:  # The change took effect, and is not to be told of as one that failed.
                _logger.exception(
                    "No tables could be made of the sets put last; they are scanned until some can"
                )
                self._tables_at = 2 * tail.size
        self._merge_if_due()

    def _make_tables(self, most: int) -> None:
        """Make tables of the tail, and of what is before it and not much larger, but of `most` hashes only."""
        version = self._version
        first, total = len(version.parts), version.tail.living
        while first > self._held and version.parts[first - 1].living < SHARE * total:
            if total + len(version.parts[first - 1].tables) > most:
                break
            first -= 1
            total += version.parts[first].living
        *_, made = merging(version.parts[first:], version.tail, version.clock)
        self._version = _Version((*version.parts[:first], *made), SetTail.empty(), version.clock)
        self._tables_at = 0

    def _merge_if_due(self) -> None:
        """Start a merge in the background if parts are due, and none is under way; `_writing` is held."""
        if self._thread is not None or self._changed < self._retry_at or due(self._version.parts) is None:
            return
        thread = threading.Thread(target=self._merge_in_background, name="sets-merge")
        with suppress(RuntimeError):  # no thread to be had; parts serve until one is
            thread.start()
            self._thread = thread

    def _merge_in_background(self) -> None:
        # Searches and uploads go first; only Linux has priorities of threads.
        with suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            while self._merge_what_is_due():
                pass
        except Exception:
            _logger.exception("Sets could not be merged; searches go through more tables until they can be")
            with self._writing:
                self._thread = None
                # One that fails is not tried again at every change.
                self._retry_at = self._changed + max(len(self) // SHARE, 1)

    def _merge_what_is_due(self) -> bool:
        """Merge in the background once; False if there is nothing left, and the thread at its end."""
        with self._merging:
            with self._writing:
                first = due(self._version.parts)
                if first is None:
                    self._thread = None
                    return False
                # Before a writer can merge some of them itself: there might be fewer then.
                self._held = len(self._version.parts)
            self._merge(first)
        return True

    def _merge(self, first: int) -> None:
        """Merge the parts that are held from `first` on, beside everything else, and swap them; `_merging` is
        held."""
        try:
            for made, clock in self._steps(first):
                with self._writing:
                    new = (
                        self._version
                    )  # the parts that are held have the same tables: only merges change those
                    parts = carried(made, new.parts[first : self._held], clock)
                    self._version = replace(new, parts=(*new.parts[:first], *parts, *new.parts[self._held :]))
                    self._held = first + len(parts)
                del new, made  # the memory of what they have is to be free before the next step takes some
        finally:
            self._held = 0

    def _steps(self, first: int) -> Iterator[tuple[list[SetPart], int]]:
        """The steps of a merge, and the clock by which their sets lived; holds on to nothing that was before."""
        with self._writing:
            version = self._version
        clock = version.clock
        steps = merging(version.parts[first : self._held], SetTail.empty(), clock)
        del version
        for made in steps:
            yield made, clock
            del made
