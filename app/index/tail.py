"""The writer's side of a live index's tail: entries in the order of their addition, found again by id."""

import numpy as np
from numpy.typing import NDArray

from app.index.growth import grown
from app.index.scan import Scan
from app.index.wide import WideScan

_LEAST_ROOM = 64  # entries


class Tail:
    """Arrays that grow at the end, with the tick at which each entry died, 0 while it lives.

    Places once written keep their hash and id, and growing copies into new arrays: a view handed out stays as
    it is, except that ticks later than the view appear in it. Only one thread at a time may call anything
    here.
    """

    def __init__(self, words: tuple[int, ...] = ()) -> None:
        self._scan: type[Scan | WideScan] = WideScan if words else Scan
        self._count = 0
        self._hashes = np.empty((_LEAST_ROOM, *words), np.uint64)
        self._ids = np.empty(_LEAST_ROOM, np.int64)
        self._died = np.zeros(_LEAST_ROOM, np.uint32)
        self._places: dict[int, int] = {}  # of the living: one for each id

    def reserve(self, count: int) -> None:
        """Make room for `count` more entries; afterwards `change` of so many does not grow."""
        needed = self._count + count
        self._hashes = grown(self._hashes, needed)
        self._ids = grown(self._ids, needed)
        self._died = grown(self._died, needed)

    def change(
        self, buried: NDArray[np.int64], tick: int, hashes: NDArray[np.uint64], ids: NDArray[np.int64]
    ) -> int:
        """Let the living entries of `buried` die at `tick` and append others; returns how many died.

        Room is reserved for those; none of their ids occurs twice, or lives here and is not buried. What takes
        memory comes first.
        """
        start, end = self._count, self._count + len(ids)
        living = [(id_, place) for id_ in buried.tolist() if (place := self._places.get(id_)) is not None]
        died = np.array([place for _, place in living], np.int64)
        added = dict(zip(ids.tolist(), range(start, end), strict=True))
        self._hashes[start:end] = hashes
        self._ids[start:end] = ids
        self._places.update(added)  # the last that takes memory
        for id_, _ in living:
            if id_ not in added:
                del self._places[id_]
        self._died[died] = tick
        self._count = end
        return len(living)

    def view(self) -> tuple[Scan | WideScan, NDArray[np.uint32]]:
        """The entries so far, as an engine, and the ticks of their deaths."""
        count = self._count
        return self._scan(self._hashes[:count], self._ids[:count]), self._died[:count]
