"""Sets of hashes as arrays: what an index over sets is made of, and what it gives back."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.index.protocol import checked_hashes, checked_ids


@dataclass(frozen=True, slots=True, eq=False)
class SetContents:
    """Sets by owner: of `hashes` uint64[n] and `tags` uint8[n] the first counts[0] belong to owners[0], the next
    counts[1] to owners[1]; `owners` and `counts` int64[m]."""

    hashes: NDArray[np.uint64]
    tags: NDArray[np.uint8]
    owners: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def checked(cls, hashes: Any, owners: Any, counts: Any, tags: Any = None) -> Self:
        """These arrays, `tags` 0 if not given; ValueError for others."""
        hashes, owners = checked_hashes(hashes), checked_ids(owners)
        counts = checked_ids(counts, len(owners))
        total = sum(counts.tolist())  # in Python: it might wrap
        if np.any(counts < 0) or total != len(hashes):
            raise ValueError(f"counts must add up to the {len(hashes)} hashes, these do to {total}")
        tags = np.zeros(len(hashes), np.uint8) if tags is None else np.asarray(tags)
        if tags.shape != hashes.shape or tags.dtype != np.uint8:
            raise ValueError(f"tags must be uint8[{len(hashes)}], these are {tags.dtype}{list(tags.shape)}")
        return cls(hashes, tags, owners, counts)

    def __len__(self) -> int:
        return len(self.hashes)

    def without_empty(self) -> Self:
        """Those of the sets that have hashes."""
        some = self.counts > 0
        return type(self)(self.hashes, self.tags, self.owners[some], self.counts[some])
