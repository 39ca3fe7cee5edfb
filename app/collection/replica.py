"""A replica: some part of the image table held in memory, and how it keeps up with the table."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import numpy as np
from sqlalchemy import Connection

from app.catalog import stamps

# Changes applied per read while catching up; a burst larger than this takes several reads.
CHANGES_PER_READ = 10_000

Contents = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""By name: values (n rows) and their ids int64[n], sorted by id."""


class Changes(Protocol):
    """What a read of changes tells of itself: see `catalog.stamps.Changes`."""

    @property
    def generation(self) -> int:
        """Generation of the indexes that the table asks for."""
        ...

    @property
    def newest(self) -> int:
        """The table's newest change stamp."""
        ...

    @property
    def last(self) -> int:
        """The newest change stamp read."""
        ...

    @property
    def complete(self) -> bool:
        """Whether nothing was left to read."""
        ...


C = TypeVar("C", bound=Changes)


class Outlived(Exception):
    """The table is not the one that this replica was loaded from."""


class Replica(ABC, Generic[C]):
    """A part of the image table, with `last`: the change stamp it stands at.

    One thread at a time catches up; reading takes no lock. Always read the object that was caught up, not the
    one that replaced it.
    """

    def __init__(self, *, generation: int, last: int, identity: tuple[int, int]):
        self.generation = generation
        self.identity = identity
        self.last = last
        self._catching_up = threading.Lock()
        self._began_ns = 0
        self._asked_generation = generation

    @abstractmethod
    def read_changes(self, connection: Connection, *, up_to: int, limit: int) -> C:
        """Read at most `limit` changes after `last` and not after `up_to`, oldest first, in one snapshot."""

    @abstractmethod
    def apply(self, changes: C) -> None:
        """Make the changes that `read_changes` gave visible; `last` is moved afterwards."""

    @abstractmethod
    def held(self) -> Contents:
        """All that is held; called while nothing is applied."""

    @abstractmethod
    def lacking(self, name: str) -> int:
        """Number of images whose fingerprint of that name was not computed yet: a search would not find them."""

    def images_of(self, ids: np.ndarray) -> np.ndarray:
        """The `created_seq` of the image that each id int64[n] in `held` belongs to."""
        return ids

    def catch_up(self, connection: Connection, *, committed: int = 0) -> int:
        """Apply every change committed before this call; return the generation that the table asks for.

        `committed` is a stamp that the caller knows to be in the table. Raises Outlived when the table is behind
        this index, as after a restore from a backup.
        """
        wanted_ns = time.monotonic_ns()
        with self._catching_up:
            # Whoever held the lock may have begun its read after we asked: then ours is done already.
            if self._began_ns <= wanted_ns:
                began_ns = time.monotonic_ns()
                self._asked_generation = self._read_on(connection, committed)
                self._began_ns = began_ns
            return self._asked_generation

    def _read_on(self, connection: Connection, committed: int) -> int:
        if self.last >= committed:
            generation, newest = stamps.newest(connection)
            if newest == self.last:
                return generation
        return self._advance(connection, stamps.NEWEST)

    def advance_to(self, connection: Connection, last: int) -> None:
        """Apply the changes up to the stamp `last` and none after it."""
        with self._catching_up:
            self._advance(connection, last)

    def _advance(self, connection: Connection, up_to: int) -> int:
        while True:
            changes = self.read_changes(connection, up_to=up_to, limit=CHANGES_PER_READ)
            if changes.newest < self.last:
                raise Outlived
            self.apply(changes)
            # Last: a search that sees this stamp must find what it stands for.
            self.last = changes.last
            if changes.complete:
                return changes.generation

    def contents(self) -> tuple[int, Contents]:
        """Return `last` and what is held, as they stand together."""
        with self._catching_up:
            return self.last, self.held()
