"""The regions of all images that are large enough to be searched for, in one Hamming index."""

import numpy as np
from sqlalchemy import Connection

from app.catalog import segment_stamps
from app.collection.current import Current
from app.collection.replica import Contents, Replica
from app.index.live import LiveIndex
from app.index.protocol import Engine

# An id is the image's `created_seq` and the segment's ordinal, of which there are at most 179: 300 x 300 pixels
# in regions of more than 500.
ORDINAL_BITS = 8
_ORDINALS = np.arange(1 << ORDINAL_BITS)


class SegmentIndex(Replica[segment_stamps.Changes]):
    """One Hamming index over the segments of all searchable images."""

    def __init__(self, loaded: segment_stamps.Loaded, identity: tuple[int, int], hamming: type[Engine]):
        super().__init__(generation=loaded.generation, last=loaded.last, identity=identity)
        self.index = LiveIndex.build(loaded.hashes, ids_of(loaded.seqs, loaded.ordinals), engine=hamming)
        self._to_fill = set(loaded.to_fill.tolist())

    def lacking(self, name: str) -> int:  # noqa: ARG002 - as `TableIndex.lacking`
        """Number of images whose segments were not computed yet: a search would not find them."""
        return len(self._to_fill)

    def read_changes(self, connection: Connection, *, up_to: int, limit: int) -> segment_stamps.Changes:
        """Read the segments of changed images."""
        return segment_stamps.changes_after(connection, self.last, up_to=up_to, limit=limit)

    def apply(self, changes: segment_stamps.Changes) -> None:
        """Replace the segments of changed images."""
        new = ids_of(changes.seqs, changes.ordinals)
        # An image uploaded after `last` has nothing here yet: only what changed later on is looked for.
        known = changes.changed[changes.changed <= self.last]
        before = (known[:, None] << ORDINAL_BITS | _ORDINALS).ravel()
        # Of images that keep all their segments none is gone for a moment.
        self.index.remove(np.setdiff1d(before, new))
        self.index.add(changes.hashes, new)
        self._to_fill.difference_update(changes.changed.tolist())
        self._to_fill.update(changes.to_fill.tolist())

    def held(self) -> Contents:
        """Hashes uint64[n] of the segments."""
        return {"segments": self.index.contents()}

    def images_of(self, ids: np.ndarray) -> np.ndarray:
        """The `created_seq` in each id."""
        return ids >> ORDINAL_BITS


class SegmentCollection(Current[SegmentIndex]):
    """The current SegmentIndex of this process."""

    def load(self, connection: Connection, identity: tuple[int, int]) -> SegmentIndex:
        """Read all segments by binary COPY."""
        return SegmentIndex(segment_stamps.load(connection), identity, self._hamming)


def ids_of(seqs: np.ndarray, ordinals: np.ndarray) -> np.ndarray:
    """Ids int64[n] of segments by their images' `created_seq` int64[n] and ordinals."""
    return seqs << ORDINAL_BITS | ordinals.astype(np.int64)
