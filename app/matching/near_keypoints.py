"""Which stored keypoints are near to those of a picture, in which of its states.

A hash is filed under what it is in that state in which its two telling bits are 0 (`canonical`), so that it is
asked for once, and not in each of the four states. Where a keypoint asked for hardly tells, it is asked for as what
it would be otherwise, too. What it is sure of has to be the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.keypoint_value import STATES, TELLING, TURNED, Keypoints, canonical
from app.index.set_tables import Hits
from app.index.sets import SetIndex


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is asked for: `hashes` uint64[p], of the keypoints `numbers` int32[p], ascending, the state uint8[p]
    that each is the canonical hash of, and the bits uint64[p] that are sure of it."""

    numbers: NDArray[np.int32]
    hashes: NDArray[np.uint64]
    states: NDArray[np.uint8]
    sure: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.hashes)

    @classmethod
    def of(cls, keypoints: Keypoints) -> Self:
        """All ways to read keypoints that their doubts leave."""
        hashes, states = canonical(keypoints.codes)
        other = np.arange(len(STATES), dtype=np.uint8)
        ways = (other & ~keypoints.doubts[:, None]) == 0
        numbers, others = np.nonzero(ways)
        # The telling bits stay 0: what is asked for otherwise is another hash in the same state.
        rest = TURNED & ~TELLING
        return cls(
            numbers.astype(np.int32),
            hashes[numbers] ^ rest[others],
            states[numbers] ^ others.astype(np.uint8),
            keypoints.sure[numbers] | TELLING,
        )


def near(index: SetIndex, pictures: Sequence[Keypoints], radius: int) -> list[Hits]:
    """Keypoints of an index of canonical hashes, tagged with their states, near to those of pictures in some state.

    Near are hashes of which all but the telling bits differ in `radius` bits at most, in none that the picture's
    keypoint is sure of, and the telling ones only where there is doubt. Keypoint n of a picture in a state is the
    query `state * len(keypoints) + n` of what is found for it, in the order of n. Several pictures together take
    less time than each by itself.
    """
    asked = [Asked.of(keypoints) for keypoints in pictures]
    all_hits = index.near(
        np.concatenate([np.empty(0, np.uint64), *(each.hashes for each in asked)]),
        radius,
        np.concatenate([np.empty(0, np.uint64), *(each.sure for each in asked)]),
    )
    ends = np.cumsum([0, *map(len, asked)])
    cuts = np.searchsorted(all_hits.queries, ends)
    return [
        _told(keypoints, own, all_hits.taken(slice(cut, end)), first)
        for keypoints, own, first, cut, end in zip(
            pictures, asked, ends[:-1].tolist(), cuts[:-1].tolist(), cuts[1:].tolist(), strict=True
        )
    ]


def _told(keypoints: Keypoints, asked: Asked, hits: Hits, first: int) -> Hits:
    """What was found for one picture, whose first query was of this number."""
    own = hits.queries - first
    states = (asked.states[own] ^ hits.tags).astype(np.int32)
    return replace(hits, queries=states * np.int32(len(keypoints)) + asked.numbers[own])
