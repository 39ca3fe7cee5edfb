"""The replica that answers now, and the way to replace it: built beside, compared, swapped in one step."""

import threading
from abc import ABC, abstractmethod
from dataclasses import astuple, dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from sqlalchemy import Connection, Engine

from app.catalog import session, stamps
from app.collection.replica import Outlived, Replica
from app.index.adaptive import Adaptive
from app.index.protocol import Engine as HammingEngine

R = TypeVar("R", bound=Replica[Any])

# Where a connection keeps which cluster it leads to.
IDENTITY = "claimprint_identity"


@dataclass(frozen=True, slots=True)
class Difference:
    """What a rebuild found between the index it replaced and the table: numbers of images.

    All zero, unless memory or the program was at fault.
    """

    missing: int
    extra: int
    differing: int

    def worst(self, other: "Difference") -> "Difference":
        """The larger of each number."""
        return Difference(*map(max, zip(astuple(self), astuple(other), strict=True)))

    @property
    def total(self) -> int:
        """Images that the old index would have answered wrongly."""
        return self.missing + self.extra + self.differing


class Current(ABC, Generic[R]):
    """The current replica of this process; `hamming` is the kind of its indexes."""

    def __init__(self, engine: Engine, hamming: type[HammingEngine] = Adaptive):
        self._engine = engine
        self._hamming = hamming
        self._current: R | None = None
        self._rebuilding = threading.Lock()
        self.asked_generation = 0

    @property
    def current(self) -> R | None:
        """The index that answers now."""
        return self._current

    def caught_up(self, connection: Connection, *, committed: int = 0) -> R:
        """Return an index that holds every image committed before this call, `committed` being one known stamp.

        Rebuilds first when the database is another one than before. `connection` is in autocommit mode.
        """
        current = self._current
        if current is None:  # not "or": an empty index is false
            current = self._load_first()
        # A restored or promoted server can't be reached without connecting anew: each connection asks once.
        identity = connection.info.get(IDENTITY)
        if identity is None:
            identity = connection.info[IDENTITY] = session.identity(connection)
        if current.identity != identity:
            current = self._replace(current)
        try:
            self.asked_generation = current.catch_up(connection, committed=committed)
        except Outlived:
            current = self._replace(current)
            current.catch_up(connection)
        return current

    def rebuild(self) -> Difference:
        """Build a new index beside the current one, compare the two at one stamp, and swap."""
        old = self._current
        if old is None:
            self._load_first()
            return Difference(0, 0, 0)
        with self._rebuilding:
            new = self._load()
            with session.autocommit(self._engine) as connection:
                found = difference(old, new, connection)
            self._current = new
        return found

    def _load_first(self) -> R:
        with self._rebuilding:
            if self._current is None:
                self._current = self._load()
            return self._current

    def _replace(self, outlived: R) -> R:
        with self._rebuilding:
            if self._current is outlived or self._current is None:
                self._current = self._load()
            return self._current

    def _load(self) -> R:
        with self._engine.connect() as connection:
            identity = session.identity(connection)
            connection.rollback()
            return self.load(connection, identity)

    @abstractmethod
    def load(self, connection: Connection, identity: tuple[int, int]) -> R:
        """Read a new replica; the connection is in no transaction."""


def difference(old: Replica[Any], new: Replica[Any], connection: Connection) -> Difference:
    """Compare two replicas of the same table at the same stamp: what `old` lacks, has too much, has otherwise."""
    old.catch_up(connection)
    last, old_contents = old.contents()
    new.advance_to(connection, last)
    _, new_contents = new.contents()
    # What changed again since `last` has its newer stamp only: whether `new` has met the older one is chance.
    unsettled = stamps.changed_after(connection, last)
    missing = extra = differing = 0
    for name in new_contents:
        old_values, old_ids = _settled(old, unsettled, *old_contents[name])
        new_values, new_ids = _settled(new, unsettled, *new_contents[name])
        _, in_old, in_new = np.intersect1d(old_ids, new_ids, assume_unique=True, return_indices=True)
        unequal = old_values[in_old] != new_values[in_new]
        unequal = unequal.any(axis=tuple(range(1, unequal.ndim)))
        missing = max(missing, _images(new, np.delete(new_ids, in_new)))
        extra = max(extra, _images(old, np.delete(old_ids, in_old)))
        differing = max(differing, _images(old, old_ids[in_old][unequal]))
    return Difference(missing, extra, differing)


def _images(replica: Replica[Any], ids: np.ndarray) -> int:
    return len(np.unique(replica.images_of(ids)))


def _settled(
    replica: Replica[Any], unsettled: np.ndarray, values: np.ndarray, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    wanted = ~np.isin(replica.images_of(ids), unsettled)
    return values[wanted], ids[wanted]
