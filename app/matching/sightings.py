"""Where pictures show a detail of another one: a logo, a print, a thing, as its keypoints tell.

Looked for from either side, many details in one picture and one in many pictures, and found is the same: in both
the detail is what is laid on the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.keypoint_value import STATES, Keypoints, canonical
from app.fingerprints.orientation import TRANSFORMS
from app.index.sets import SetIndex
from app.matching.evidence import Size, unexamined
from app.matching.kinds import nearest_transform
from app.matching.near_keypoints import Asked, near
from app.matching.overlaps import LEAST_PROPOSING, PROPOSING_BITS, find_overlap
from app.matching.regions import Box

_STATES = range(len(STATES))


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """What is looked for: keypoints placed in a picture of `size`, width and height in pixels."""

    keypoints: Keypoints
    size: Size

    @classmethod
    def within(cls, keypoints: Keypoints, box: Box) -> Self:
        """What of a picture lies in a box, with what keypoints of the picture are in there, as they are stored:
        without what is sure of them."""
        corner = np.array([box.x, box.y], np.float32)
        places = keypoints.places - np.append(corner, np.zeros(2, np.float32))
        inside = np.all((places[:, :2] >= 0) & (places[:, :2] < (box.width, box.height)), axis=1)
        plain = replace(keypoints, places=places, sure=np.zeros_like(keypoints.sure))
        return cls(plain.taken(inside), (box.width, box.height))


@dataclass(frozen=True, slots=True)
class Sighting:
    """That a picture shows a detail: the median distance in bits of hashes that agree, the orientation that turns
    the detail about so, and the box of the picture that it is in."""

    bits: int
    transform: str
    box: Box


def sighting(
    detail: Detail, stored: Keypoints, size: Size, states: Sequence[int] = _STATES
) -> Sighting | None:
    """Where a picture of a size, with these stored keypoints, shows the detail in one of some states."""
    overlap = find_overlap(detail.keypoints, detail.size, stored, size, states)
    if overlap is None:
        return None
    told = unexamined(detail.keypoints, detail.size, overlap, stored, size, page=False)
    if told is None:
        return None
    left, top = np.floor(told.other_region.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(told.other_region.max(axis=0)).astype(int).tolist()
    left, top = min(max(left, 0), size[0] - 1), min(max(top, 0), size[1] - 1)
    box = Box(left, top, max(min(right, size[0]) - left, 1), max(min(bottom, size[1]) - top, 1))
    return Sighting(overlap.bits, TRANSFORMS[nearest_transform(told)], box)


class Details:
    """Many details that are looked for at once."""

    def __init__(self, details: Sequence[Detail]):
        self._details = list(details)
        asked = [Asked.of(detail.keypoints) for detail in details]
        self._index = SetIndex.build(
            np.concatenate([np.empty(0, np.uint64), *(each.hashes for each in asked)]),
            np.arange(len(asked), dtype=np.int64),
            np.array([len(each.hashes) for each in asked], np.int64),
            np.concatenate([np.empty(0, np.uint8), *(each.states for each in asked)]),
        )

    def __len__(self) -> int:
        return len(self._details)

    def seen_in(self, stored: Keypoints, size: Size) -> dict[int, Sighting]:
        """Those that a picture shows, by their numbers."""
        if not self._details:
            return {}
        hashes, own = canonical(stored.codes)
        hits = self._index.near(hashes, PROPOSING_BITS)
        found = {}
        for number, states in _proposed(hits.owners, own[hits.queries] ^ hits.tags).items():
            seen = sighting(self._details[number], stored, size, states)
            if seen is not None:
                found[number] = seen
        return found


def pictures_near(index: SetIndex, detail: Detail) -> dict[int, list[int]]:
    """The owners in an index of pictures' keypoints that may show a detail, and in which states each."""
    [hits] = near(index, [detail.keypoints], PROPOSING_BITS)
    return _proposed(hits.owners, hits.queries // max(len(detail.keypoints), 1))


def _proposed(owners: NDArray[np.int64], states: NDArray[np.integer[Any]]) -> dict[int, list[int]]:
    """Owners of which enough keypoints are near in a state, and these."""
    numbers, counts = np.unique(owners * len(STATES) + states, return_counts=True)
    enough = numbers[counts >= LEAST_PROPOSING].tolist()
    by_owner = groupby(enough, lambda number: number // len(STATES))
    return {owner: [number % len(STATES) for number in some] for owner, some in by_owner}
