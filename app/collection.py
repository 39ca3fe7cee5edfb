"""The collection in memory: one Hamming index per hash over the image table, and how it keeps up with it."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, Engine

from app.catalog import session, stamps
from app.index.live import LiveIndex
from app.index.verifiers import Verifiers
from app.index.wide import WideScan

# Changes applied per read while catching up; a burst larger than this takes several reads.
CHANGES_PER_READ = 10_000
# The name of the index over colour codes: of two words, and searched by scan.
COLOURS = "colorhash"
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

    @property
    def total(self) -> int:
        """Images that the old index would have answered wrongly."""
        return self.missing + self.extra + self.differing


class TableIndex:
    """The Hamming indexes and verifiers of the image table, with `last`: the change stamp they stand at.

    The ids in them are `created_seq`: unique, never reused, and in upload order. One thread at a time catches
    up; searching takes no lock. Always search the object that was caught up, not the one that replaced it.
    """

    def __init__(self, loaded: stamps.Loaded, identity: tuple[int, int]):
        self.generation = loaded.generation
        self.identity = identity
        self.last = loaded.last
        filled = loaded.filled
        self.indexes: Mapping[str, LiveIndex] = {
            **{name: LiveIndex.build(loaded.hashes[name], loaded.seqs) for name in stamps.FIRST_HASHES},
            stamps.LATER_HASH: LiveIndex.build(loaded.hashes[stamps.LATER_HASH][filled], loaded.seqs[filled]),
            COLOURS: LiveIndex.build(loaded.colour_codes[filled], loaded.seqs[filled], engine=WideScan),
        }
        self.verifiers = Verifiers(loaded.seqs, loaded.verifiers)
        self._to_fill = set(loaded.seqs[~filled].tolist())
        self._catching_up = threading.Lock()
        self._began_ns = 0
        self._asked_generation = loaded.generation

    def __len__(self) -> int:
        return len(self.indexes[stamps.FIRST_HASHES[0]])

    def lacking(self, name: str) -> int:
        """Number of images that this hash was not computed for yet: a search by it would not find them."""
        return 0 if name in stamps.FIRST_HASHES else len(self._to_fill)

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
            changes = stamps.changes_after(connection, self.last, up_to=up_to, limit=CHANGES_PER_READ)
            if changes.newest < self.last:
                raise Outlived
            self._apply(changes)
            if changes.complete:
                return changes.generation

    def _apply(self, changes: stamps.Changes) -> None:
        if len(changes.changed):
            # Only the newest change of an image counts; the reads are in stamp order, one row an image.
            stay = changes.searchable
            filled = stay & changes.filled
            # Before the hashes: what a search finds has its verifier.
            self.verifiers.put(changes.changed[stay], changes.verifiers[stay])
            for name, index in self.indexes.items():
                known = stay if name in stamps.FIRST_HASHES else filled
                if not known.all():
                    index.remove(changes.changed[~known])
                if known.any():
                    hashes = changes.colour_codes if name == COLOURS else changes.hashes[name]
                    index.add(hashes[known], changes.changed[known])
            self._to_fill.difference_update(changes.changed.tolist())
            self._to_fill.update(changes.changed[stay & ~filled].tolist())
        # Last: a search that sees this stamp must find what it stands for.
        self.last = changes.last

    def contents(self) -> tuple[int, dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Return `last` and (values, ids int64[n]) sorted by id, as they stand together.

        Values are uint64[n] for the name of a hash, uint64[n, 2] for COLOURS, uint64[n, 4] for "verifier".
        """
        with self._catching_up:
            found = {name: index.contents() for name, index in self.indexes.items()}
            _, ids = found[stamps.FIRST_HASHES[0]]
            return self.last, found | {"verifier": (self.verifiers.of(ids), ids)}


class Outlived(Exception):
    """The table is not the one that this index was built from."""


class Collection:
    """The current TableIndex of this process, and the way to replace it: built beside, swapped in one step."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._current: TableIndex | None = None
        self._rebuilding = threading.Lock()
        self.asked_generation = 0

    @property
    def current(self) -> TableIndex | None:
        """The index that answers now."""
        return self._current

    def caught_up(self, connection: Connection, *, committed: int = 0) -> TableIndex:
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

    def _load_first(self) -> TableIndex:
        with self._rebuilding:
            if self._current is None:
                self._current = self._load()
            return self._current

    def _replace(self, outlived: TableIndex) -> TableIndex:
        with self._rebuilding:
            if self._current is outlived or self._current is None:
                self._current = self._load()
            return self._current

    def _load(self) -> TableIndex:
        with self._engine.connect() as connection:
            identity = session.identity(connection)
            connection.rollback()
            return TableIndex(stamps.load(connection), identity)


def difference(old: TableIndex, new: TableIndex, connection: Connection) -> Difference:
    """Compare two indexes of the same table at the same stamp: what `old` lacks, has too much, has otherwise."""
    old.catch_up(connection)
    last, old_contents = old.contents()
    new.advance_to(connection, last)
    _, new_contents = new.contents()
    # What changed again since `last` has its newer stamp only: whether `new` has met the older one is chance.
    unsettled = stamps.changed_after(connection, last)
    missing = extra = differing = 0
    for name in new_contents:
        old_values, old_ids = _without(unsettled, *old_contents[name])
        new_values, new_ids = _without(unsettled, *new_contents[name])
        _, in_old, in_new = np.intersect1d(old_ids, new_ids, assume_unique=True, return_indices=True)
        missing = max(missing, len(new_ids) - len(in_new))
        extra = max(extra, len(old_ids) - len(in_old))
        unequal = old_values[in_old] != new_values[in_new]
        unequal = unequal.any(axis=tuple(range(1, unequal.ndim)))
        differing = max(differing, int(np.count_nonzero(unequal)))
    return Difference(missing, extra, differing)


def _without(unwanted: np.ndarray, values: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    wanted = ~np.isin(ids, unwanted)
    return values[wanted], ids[wanted]
