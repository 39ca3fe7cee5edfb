"""The pattern fingerprints of all images, 64 bits each, in one Hamming index.

Beside the other whole-image hashes, not with them: the service is ready, and uploads are answered, without it.
"""

import numpy as np
from sqlalchemy import Connection

from app.catalog import pattern_stamps
from app.collection.current import Current
from app.collection.replica import Contents, Replica
from app.index.live import LiveIndex
from app.index.protocol import Engine

PATTERN = "pattern"


class PatternIndex(Replica[pattern_stamps.Changes]):
    """One Hamming index; its ids are `created_seq`."""

    def __init__(self, loaded: pattern_stamps.Loaded, identity: tuple[int, int], hamming: type[Engine]):
        super().__init__(generation=loaded.generation, last=loaded.last, identity=identity)
        self.indexes = {PATTERN: LiveIndex.build(loaded.hashes, loaded.seqs, engine=hamming)}
        self._to_fill = set(loaded.to_fill.tolist())

    def lacking(self, name: str) -> int:  # noqa: ARG002 - as `TableIndex.lacking`
        """Number of images that it was not computed for yet: a search would not find them."""
        return len(self._to_fill)

    def read_changes(self, connection: Connection, *, up_to: int, limit: int) -> pattern_stamps.Changes:
        """Read the patterns of changed images."""
        return pattern_stamps.changes_after(connection, self.last, up_to=up_to, limit=limit)

    def apply(self, changes: pattern_stamps.Changes) -> None:
        """Make changes findable."""
        index = self.indexes[PATTERN]
        index.remove(np.setdiff1d(changes.changed, changes.seqs))
        index.add(changes.hashes, changes.seqs)
        self._to_fill.difference_update(changes.changed.tolist())
        self._to_fill.update(changes.to_fill.tolist())

    def held(self) -> Contents:
        """Hashes uint64[n]."""
        return {PATTERN: self.indexes[PATTERN].contents()}


class PatternCollection(Current[PatternIndex]):
    """The current PatternIndex of this process."""

    def load(self, connection: Connection, identity: tuple[int, int]) -> PatternIndex:
        """Read all by binary COPY."""
        return PatternIndex(pattern_stamps.load(connection), identity, self._hamming)
