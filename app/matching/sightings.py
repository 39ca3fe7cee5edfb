"""Where pictures show a detail of another one: a logo, a print, a thing, as its keypoints tell.

Looked for from either side, many details in one picture and one in many pictures, and found is the same: in both
the detail is what is laid on the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.keypoint_value import STATES, Keypoints
from app.fingerprints.orientation import TRANSFORMS
from app.index.sets import SetIndex
from app.matching.candidates import asked
from app.matching.evidence import Size, unexamined
from app.matching.kinds import nearest_transform
from app.matching.overlaps import LEAST_PROPOSING, PROPOSING_BITS, find_overlap
from app.matching.regions import Box

_STATES = range(len(STATES))
_CODE_BYTES, _PLACE_BYTES = 8 * len(STATES), 16

KEYPOINT_BYTES = _CODE_BYTES + _PLACE_BYTES
"""Of each keypoint of a detail, as `Detail.to_bytes` writes it."""


@dataclass(frozen=True, slots=True, eq=False)
class Detail:
    """What is looked for: keypoints in all of STATES, placed in a picture of `size`, width and height in pixels."""

    keypoints: Keypoints
    size: Size

    @classmethod
    def within(cls, keypoints: Keypoints, box: Box) -> Self:
        """What of a picture lies in a box, with what keypoints of the picture are in there."""
        corner = np.array([box.x, box.y], np.float32)
        places = keypoints.places - np.append(corner, np.zeros(2, np.float32))
        inside = ((places[:, :2] >= 0) & (places[:, :2] < (box.width, box.height))).all(axis=1)
        return cls(Keypoints(keypoints.codes[inside], places[inside]), (box.width, box.height))

    def to_bytes(self) -> bytes:
        """Its keypoints, KEYPOINT_BYTES each."""
        return b"".join(self.keypoints.to_whole_bytes())

    @classmethod
    def from_bytes(cls, stored: bytes | memoryview, size: Size) -> Self:
        """What `to_bytes` wrote. ValueError for a number of bytes that it does not write."""
        data = bytes(stored)
        codes = len(data) // KEYPOINT_BYTES * _CODE_BYTES
        return cls(Keypoints.from_whole_bytes(data[:codes], data[codes:]), size)


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
        codes = [detail.keypoints.codes[:, state] for detail in details for state in _STATES]
        hashes = np.concatenate([np.empty(0, np.uint64), *codes])
        owners = np.arange(len(codes), dtype=np.int64)
        counts = np.array([len(each) for each in codes], np.int64)
        self._index = SetIndex.build(hashes, owners[counts > 0], counts[counts > 0])

    def __len__(self) -> int:
        return len(self._details)

    def seen_in(self, stored: Keypoints, size: Size) -> dict[int, Sighting]:
        """Those that a picture shows, by their numbers."""
        if not self._details:
            return {}
        hits = self._index.near(np.ascontiguousarray(stored.codes[:, 0]), PROPOSING_BITS)
        found = {}
        for number, states in _proposed(hits.owners).items():
            seen = sighting(self._details[number], stored, size, states)
            if seen is not None:
                found[number] = seen
        return found


def pictures_near(index: SetIndex, detail: Detail) -> dict[int, list[int]]:
    """The owners in an index of pictures' keypoints that may show a detail, and in which states each."""
    hits = index.near(asked(detail.keypoints), PROPOSING_BITS)
    states = hits.queries // max(len(detail.keypoints), 1)
    return _proposed(hits.owners * len(STATES) + states)


def _proposed(owners_in_states: NDArray[np.int64]) -> dict[int, list[int]]:
    """Owners of which enough keypoints are near in a state, and these; each number is len(STATES) owner + state."""
    numbers, counts = np.unique(owners_in_states, return_counts=True)
    enough = numbers[counts >= LEAST_PROPOSING].tolist()
    by_owner = groupby(enough, lambda number: number // len(STATES))
    return {owner: [number % len(STATES) for number in some] for owner, some in by_owner}
