"""An engine kept current: additions are found at once, removals are gone at once, no search ever waits.

An immutable base is searched beside a short tail of later additions. Entries are never taken out of either:
each carries the tick of the clock at which it died, 0 while it lives. A reader takes one reference, to a
`_Version`, and sees exactly the entries that were there and alive at that version's tick, whatever is written
meanwhile: later additions lie beyond its tail, later deaths bear later ticks. That reference is published
last, so whatever was acknowledged before a search started is in the version that the search takes. Taking and
publishing it happen under the GIL, which also orders the array contents written before; a tick is a single
aligned word.

When the tail has grown, a thread builds a new base from one version, beside everything else. Only to swap it
in does it stop writers for a moment, to carry over what was added and what died since that version.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.index import id_kernels
from app.index.adaptive import Adaptive
from app.index.engine import find, find_many
from app.index.protocol import Engine, ManyNeighbours, Neighbours, Pairs, checked_hashes, checked_ids
from app.index.tail import Tail

_logger = logging.getLogger(__name__)

# A merge costs about half a microsecond for each hash of the base; spread over this many changes that is a
# few dozen microseconds each, and a tail of a 64th of the base is scanned in a fraction of the time of a
# search.
_LEAST_MERGED = 4096
_SHARE_MERGED = 64

_BRIEF = 100  # ids found in 20 us, even among ten million
_NICENESS = 10  # of merges
_TICK_OF_SWAP = 1  # the first of a new base: who died while it was built


@dataclass(frozen=True, slots=True, eq=False)
class _Version:
    """What a reader sees: the entries of base and tail that live at `clock`, `living` in all.

    `base_by_id` uint32[n] sorts the base's ids. `base_died` uint32[n] (empty while nothing in it has died)
    and `tail_died` uint32[t] hold the ticks of deaths; the writer goes on putting later ticks there.
    `parts` are base and tail with their ticks, without the tail if it is empty.
    """

    base: Engine
    base_by_id: NDArray[np.uint32]
    base_died: NDArray[np.uint32]
    tail: Engine
    tail_died: NDArray[np.uint32]
    clock: int
    living: int
    parts: tuple[tuple[Engine, NDArray[np.uint32]], ...] = field(init=False)

    def __post_init__(self) -> None:
        base, tail = (self.base, self.base_died), (self.tail, self.tail_died)
        object.__setattr__(self, "parts", (base, tail) if len(self.tail) else (base,))

    def alive(self, ticks: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which entries live: those without a tick (0 wraps to the largest number) or with a later one."""
        return (ticks - np.uint32(1)) >= np.uint32(self.clock)

    def contents(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Hashes and ids of the living, in no particular order."""
        parts = []
        for part, died in self.parts:
            alive = self.alive(died) if len(died) else slice(None)
            parts.append((part.hashes[alive], part.ids[alive]))
        hashes, ids = (np.concatenate(column) for column in zip(*parts, strict=True))
        return hashes, ids


class LiveIndex:
    """Hashes by id, one for each id, searchable while they change.

    Readers take no lock and never wait. Changes take effect one after the other; where several threads write,
    the caller's lock decides their order.
    """

    def __init__(self, hashes: NDArray[np.uint64], ids: NDArray[np.int64], engine: type[Engine]) -> None:
        self._engine = engine
        self._writing = threading.Lock()  # held for each change, and for the moment of a swap
        self._merging = threading.Lock()  # held for a whole merge
        self._merge_scheduled = False
        self._words = hashes.shape[1:]  # () where a hash is one word
        self._tail = Tail(self._words)
        base, by_id = _base(engine, hashes, ids)
        no_ticks = np.zeros(0, np.uint32)
        self._version = _Version(base, by_id, no_ticks, *self._tail.view(), clock=0, living=len(base))
        self._unmerged = 0  # entries of the tail, and deaths in the base
        self._merge_at = _merge_threshold(len(base))

    @classmethod
    def build(
        cls, hashes: NDArray[np.uint64], ids: NDArray[np.int64], *, engine: type[Engine] = Adaptive
    ) -> Self:
        """Index `hashes` uint64[n] under `ids` int64[n]; ValueError for other arrays or a repeated id.

        Hashes and queries are rows of words where the engine's are: see `wide.WideScan`.
        """
        return cls(hashes, ids, engine)

    def within(self, query: Any, max_distance: int) -> Neighbours:
        """Every id whose hash is within `max_distance` bits of `query`; ValueError as for an engine."""
        version = self._version
        return find(version.parts, version.clock, query, max_distance)

    def within_many(self, queries: NDArray[np.uint64], max_distance: int) -> ManyNeighbours:
        """`within` for each of `queries` uint64[m], all answered as of the same moment."""
        version = self._version
        return find_many(version.parts, version.clock, queries, max_distance)

    def pairs_within(self, max_distance: int) -> Iterator[Pairs]:
        """Every pair within `max_distance` bits that was there together at the moment of the call, in steps."""
        version = self._version
        whole = len(version.parts) == 1 and not len(version.base_died)
        engine = version.base if whole else self._engine.build(*version.contents())
        return engine.pairs_within(max_distance)

    def contents(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """All hashes uint64[n] and their ids int64[n], ordered by id."""
        hashes, ids = self._version.contents()
        order = np.argsort(ids)
        return hashes[order], ids[order]

    def __len__(self) -> int:
        return self._version.living

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the arrays of base and tail take."""
        version = self._version
        return version.base_by_id.nbytes + sum(part.nbytes + died.nbytes for part, died in version.parts)

    def add(self, hashes: NDArray[np.uint64], ids: NDArray[np.int64]) -> None:
        """Make `hashes` uint64[k] findable under `ids` int64[k]; an id that is present gets the new hash.

        A search sees all of them or none. Of an id that occurs several times the last hash counts. ValueError
        for other dtypes or lengths; then nothing is added.
        """
        hashes = checked_hashes(hashes, self._words)
        hashes, ids = _last_of_each_id(hashes, checked_ids(ids, len(hashes)))
        if len(ids):
            self._change(buried=ids, hashes=hashes, ids=ids)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Let `ids` int64[k] be found no more, all at the same moment; those not present are passed over."""
        ids = np.unique(checked_ids(ids))
        if len(ids):
            self._change(buried=ids, hashes=np.empty((0, *self._words), np.uint64), ids=np.empty(0, np.int64))

    def merge_now(self) -> None:
        """Bring everything that was written before the call into the base; returns when that is done."""
        with self._merging:
            self._merge()

    def _change(
        self, *, buried: NDArray[np.int64], hashes: NDArray[np.uint64], ids: NDArray[np.int64]
    ) -> None:
        """Bury what lives under `buried`, append `hashes` under `ids`, publish both together."""
        with self._writing:
            version = self._version
            tick = version.clock + 1
            # what allocates comes first: a failure must not leave ticks that the next change would publish
            self._tail.reserve(len(ids))
            locate = id_kernels.locate_keeping_gil if len(buried) <= _BRIEF else id_kernels.locate
            positions = locate(version.base.ids, version.base_by_id, buried)
            positions = positions[positions >= 0]
            base_died = version.base_died
            if len(positions):
                if not len(base_died):
                    base_died = np.zeros(len(version.base), np.uint32)
                positions = positions[base_died[positions] == 0]
            deaths = len(positions) + self._tail.change(buried, tick, hashes, ids)
            base_died[positions] = tick
            tail, tail_died = self._tail.view()
            living = version.living + len(ids) - deaths
            self._version = _Version(
                version.base, version.base_by_id, base_died, tail, tail_died, tick, living
            )
            self._unmerged += len(ids) + len(positions)
            self._merge_if_due()

    def _merge_if_due(self) -> None:
        """Start a merge in the background unless one is under way; `_writing` is held."""
        if self._unmerged < self._merge_at or self._merge_scheduled:
            return
        self._merge_at *= 2  # until a merge succeeds: one that fails is not tried again at every change
        merge = threading.Thread(target=self._merge_in_background, name="index-merge")
        with suppress(RuntimeError):  # no thread to be had; the tail serves until one is
            merge.start()
            self._merge_scheduled = True

    def _merge_in_background(self) -> None:
        # Searches and uploads go first; only Linux has priorities of threads.
        with suppress(AttributeError, OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            self.merge_now()
        except Exception:
            _logger.exception("The index could not be merged; it answers from a longer tail until it can be")
        finally:
            with self._writing:
                self._merge_scheduled = False

    def _merge(self) -> None:
        """Build a base from one version, beside everything else, and swap it in; `_merging` is held."""
        old = self._version
        base, by_id = _base(self._engine, *old.contents())
        with self._writing:
            new = self._version  # same base and tail as the old one: only merges change those
            died_in_tail = new.tail_died[: len(old.tail)] > old.clock
            died_in_base = new.base_died > old.clock
            died = np.concatenate(
                (old.tail.ids[died_in_tail], old.base.ids[: len(died_in_base)][died_in_base])
            )
            base_died = np.zeros(len(base) if len(died) else 0, np.uint32)
            base_died[id_kernels.locate(base.ids, by_id, died)] = _TICK_OF_SWAP
            later = slice(len(old.tail), None)
            alive = new.alive(new.tail_died[later])
            tail = Tail(self._words)
            tail.reserve(int(np.count_nonzero(alive)))
            nobody = np.empty(0, np.int64)
            tail.change(nobody, 0, new.tail.hashes[later][alive], new.tail.ids[later][alive])
            seen_tail, tail_died = tail.view()
            self._tail = tail
            self._version = _Version(base, by_id, base_died, seen_tail, tail_died, _TICK_OF_SWAP, new.living)
            self._unmerged = len(seen_tail) + len(died)
            self._merge_at = _merge_threshold(len(base))


def _base(
    engine: type[Engine], hashes: NDArray[np.uint64], ids: NDArray[np.int64]
) -> tuple[Engine, NDArray[np.uint32]]:
    """The engine over these hashes, and uint32[n] that sorts its ids; ValueError if an id occurs twice."""
    if len(hashes) >= 1 << 32:
        raise ValueError(f"an index holds fewer than 2**32 hashes, these are {len(hashes)}")
    base = engine.build(hashes, ids)
    by_id = id_kernels.order_of(base.ids)
    in_order = base.ids[by_id]
    repeated = np.flatnonzero(in_order[1:] == in_order[:-1])
    if len(repeated):
        raise ValueError(f"id {in_order[repeated[0]]} occurs more than once")
    return base, by_id


def _merge_threshold(size: int) -> int:
    """Changes after which a base of `size` hashes is built anew."""
    return max(_LEAST_MERGED, size // _SHARE_MERGED)


def _last_of_each_id(
    hashes: NDArray[np.uint64], ids: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    if len(ids) < 2:
        return hashes, ids
    distinct, from_end = np.unique(ids[::-1], return_index=True)
    return hashes[len(ids) - 1 - from_end], distinct
