"""The keypoints of all images, in one index over sets of hashes."""

import numpy as np
from sqlalchemy import Connection

from app.catalog import keypoint_stamps
from app.collection.current import Current
from app.collection.replica import Contents, Replica
from app.fingerprints.keypoint_value import KEYPOINTS, TURNED, canonical
from app.index.sets import SetIndex

# An id in `held` is the image's `created_seq` and the keypoint's place among its 160 at most.
_PLACE_BITS = 8


class KeypointIndex(Replica[keypoint_stamps.Changes]):
    """One index of sets, whose owners are images' `created_seq`: of canonical hashes, tagged with their states."""

    def __init__(self, loaded: keypoint_stamps.Loaded, identity: tuple[int, int]):
        super().__init__(generation=loaded.generation, last=loaded.last, identity=identity)
        hashes, states = canonical(loaded.hashes)
        self.index = SetIndex.build(hashes, loaded.seqs, loaded.counts, states)
        self._to_fill = set(loaded.to_fill.tolist())

    def lacking(self, name: str) -> int:  # noqa: ARG002 - as `TableIndex.lacking`
        """Number of images whose keypoints were not found yet: a search would not find them."""
        return len(self._to_fill)

    def read_changes(self, connection: Connection, *, up_to: int, limit: int) -> keypoint_stamps.Changes:
        """Read the keypoints of changed images."""
        return keypoint_stamps.changes_after(connection, self.last, up_to=up_to, limit=limit)

    def apply(self, changes: keypoint_stamps.Changes) -> None:
        """Replace the keypoints of changed images, each image's at once."""
        hashes, states = canonical(changes.hashes)
        self.index.put(changes.changed, hashes, changes.counts, states)
        self._to_fill.difference_update(changes.changed.tolist())
        self._to_fill.update(changes.to_fill.tolist())

    def held(self) -> Contents:
        """Hashes uint64[n] of the keypoints."""
        hashes, owners, states = self.index.contents()
        starts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])[: len(owners)]
        counts = np.diff(np.r_[starts, len(owners)])
        places = np.arange(len(owners)) - np.repeat(starts, counts)
        return {KEYPOINTS: (hashes ^ TURNED[states], owners << _PLACE_BITS | places)}

    def images_of(self, ids: np.ndarray) -> np.ndarray:
        """The `created_seq` in each id."""
        return ids >> _PLACE_BITS


class KeypointCollection(Current[KeypointIndex]):
    """The current KeypointIndex of this process."""

    def load(self, connection: Connection, identity: tuple[int, int]) -> KeypointIndex:
        """Read all by binary COPY."""
        return KeypointIndex(keypoint_stamps.load(connection), identity)
